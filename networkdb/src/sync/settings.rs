//! Configuration: seed, joins, bounds and times.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use weft_api::NodeId;

use crate::facts::{FactKind, Join};

/// What a [`super::Sync`] is made of.
pub struct SyncConfig {
    /// This node.
    pub node: NodeId,
    /// Seeds the choice of peers.
    pub seed: [u8; 32],
    /// Bounds.
    pub limits: Limits,
    /// Times.
    pub timing: Timing,
    /// The join of each kind of fact; facts of other kinds are refused.
    pub joins: BTreeMap<FactKind, Box<dyn Join>>,
}

impl fmt::Debug for SyncConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncConfig").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Bounds of all that can grow. They are equal on every node: what one accepts, all can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a table's name. Default 64.
    pub table_name_bytes: usize,
    /// Bytes of a key. Default 256.
    pub key_bytes: usize,
    /// Bytes of a value. Default 32 KiB.
    pub value_bytes: usize,
    /// Live entries of one owner in one network. Default 65,536.
    pub entries_per_log: usize,
    /// Bytes of keys and values of one owner in one network. Default 16 MiB.
    pub bytes_per_log: usize,
    /// Tombstones kept for one log; beyond, the oldest go early. Default 4,096.
    pub tombstones_per_log: usize,
    /// Gaps above the head of one log; records that would open more are dropped. Default 256.
    pub gaps_per_log: usize,
    /// Networks this node can be attached to at once. Default 1,024.
    pub networks: usize,
    /// Members known at once. Default 4,096.
    pub owners: usize,
    /// Bytes that wait to be coalesced; beyond, anti-entropy delivers. Default 4 MiB.
    pub push_queue_bytes: usize,
    /// Payload of a message in a datagram, in bytes. Default 1,100.
    pub datagram_bytes: usize,
    /// Payload of a message on a stream, in bytes. Default 256 KiB.
    pub stream_bytes: usize,
    /// A burst of more bytes goes by stream. Default 16 KiB.
    pub burst_bytes: usize,
    /// Bytes of one answer to a pull; the rest is asked for again. Default 2 MiB.
    pub answer_bytes: usize,
    /// Facts known at once. Default 49,152: a digest of all (18 bytes each) fits a frame.
    pub facts: usize,
    /// Bytes of a fact's subject. Default 256.
    pub subject_bytes: usize,
    /// Bytes of a fact's state. Default 512 KiB.
    pub fact_bytes: usize,
    /// Watches open at once; a watch beyond hears nothing. Default 1,024.
    pub watches: usize,
    /// Attached nodes up to which an owner pushes to all of them. Default 32.
    pub push_to_all: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            table_name_bytes: 64,
            key_bytes: 256,
            value_bytes: 32 << 10,
            entries_per_log: 65_536,
            bytes_per_log: 16 << 20,
            tombstones_per_log: 4_096,
            gaps_per_log: 256,
            networks: 1_024,
            owners: 4_096,
            push_queue_bytes: 4 << 20,
            datagram_bytes: 1_100,
            stream_bytes: 256 << 10,
            burst_bytes: 16 << 10,
            answer_bytes: 2 << 20,
            facts: 49_152,
            subject_bytes: 256,
            fact_bytes: 512 << 10,
            watches: 1_024,
            push_to_all: 32,
        }
    }
}

/// Times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// How long changes wait for company. Default 2 ms.
    pub coalesce: Duration,
    /// Between two rounds of anti-entropy, less or more a tenth. Default 1 s.
    pub round: Duration,
    /// How long after a change the next round comes at the latest. Default 300 ms.
    pub soon: Duration,
    /// How long an announced head may take to arrive before it is pulled. Default 15 ms.
    pub pull_after: Duration,
    /// Between two pulls of what was announced, doubling. Default 150 ms, at first.
    pub pull_again: Duration,
    /// How long after a push to all its owner asks who does not hold it. Default 100 ms.
    pub confirm: Duration,
    /// How long an exchange may take before another peer is asked: less than the pause between
    /// rounds while out of step, so that a lost answer costs one such pause. Default 250 ms.
    pub exchange: Duration,
    /// How long after a member failed its entries are hidden. Default 5 s.
    pub hide_after: Duration,
    /// How long tombstones are kept. Default 10 min.
    pub keep_tombstones: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            coalesce: Duration::from_millis(2),
            round: Duration::from_secs(1),
            soon: Duration::from_millis(300),
            pull_after: Duration::from_millis(15),
            pull_again: Duration::from_millis(150),
            confirm: Duration::from_millis(100),
            exchange: Duration::from_millis(250),
            hide_after: Duration::from_secs(5),
            keep_tombstones: Duration::from_secs(600),
        }
    }
}
