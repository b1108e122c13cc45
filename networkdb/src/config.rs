//! What a [`NetworkDb`](crate::NetworkDb) is told when it is made.

use std::net::SocketAddr;
use std::time::Duration;

use weft_api::{Boot, ClusterId, NodeId};

use crate::keys::KeyRing;

/// Everything a database needs to know before it handles its first input.
#[derive(Debug)]
pub struct Config {
    /// The cluster; clear in every packet.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// This start of it. Fsynced by the caller before the first output is carried out.
    pub boot: Boot,
    /// The node's label; at most 128 bytes.
    pub name: String,
    /// Where other members reach this one, for datagrams and for streams.
    pub advertise: SocketAddr,
    /// Up to three cluster keys; the first one seals.
    pub keys: KeyRing,
    /// Every random choice comes from here: one seed, one behaviour.
    pub seed: [u8; 32],
    /// Bounds of queues, tables and packets.
    pub limits: Limits,
    /// Periods and patience.
    pub timing: Timing,
}

/// Bounds. What exceeds one is refused or dropped, counted, and put out as
/// [`Output::Overflow`](crate::Output::Overflow).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a datagram on the wire, envelope included; 1400.
    pub datagram_bytes: usize,
    /// Bytes of a stream frame; 1 MiB.
    pub frame_bytes: usize,
    /// Members, those who left or were forgotten included; 4096.
    pub members: usize,
    /// Streams opened by others that stand at once; 256.
    pub incoming_streams: usize,
    /// Bytes waiting for one peer's stream to open; 8 MiB.
    pub stream_queue_bytes: usize,
    /// Networks known at once; 4096.
    pub networks: usize,
    /// Live entries of one owner in one network; 65536.
    pub entries_per_log: usize,
    /// Bytes of one entry's value; 256 KiB.
    pub entry_bytes: usize,
    /// Bytes of one fact; 512 KiB.
    pub fact_bytes: usize,
    /// Facts of one kind; 65536.
    pub facts_per_kind: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            datagram_bytes: 1400,
            frame_bytes: 1 << 20,
            members: 4096,
            incoming_streams: 256,
            stream_queue_bytes: 8 << 20,
            networks: 4096,
            entries_per_log: 1 << 16,
            entry_bytes: 256 << 10,
            fact_bytes: 512 << 10,
            facts_per_kind: 1 << 16,
        }
    }
}

/// Periods and patience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Between two probes of a random member; 1 s.
    pub probe_period: Duration,
    /// Patience for a direct answer before others are asked to probe; 500 ms.
    pub probe_rtt: Duration,
    /// Between two attempts to reach lost members; 5 s.
    pub retry_lost: Duration,
    /// Between one peer's stream attempts, at most (it starts at 1/16 of this); 30 s.
    pub stream_backoff_max: Duration,
    /// A cached stream without traffic is closed after this; 30 s.
    pub stream_idle: Duration,
    /// What is said to one peer within this span shares a datagram; 2 ms.
    pub coalesce: Duration,
    /// Between two anti-entropy rounds; 1 s.
    pub anti_entropy: Duration,
    /// A failed owner's entries are hidden after this; 5 s.
    pub hide_after: Duration,
    /// Tombstones covered by the head are kept at least this long; 10 min.
    pub tombstone_life: Duration,
    /// A claim not accepted by then is withdrawn; 5 s.
    pub claim_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            probe_period: Duration::from_secs(1),
            probe_rtt: Duration::from_millis(500),
            retry_lost: Duration::from_secs(5),
            stream_backoff_max: Duration::from_secs(30),
            stream_idle: Duration::from_secs(30),
            coalesce: Duration::from_millis(2),
            anti_entropy: Duration::from_secs(1),
            hide_after: Duration::from_secs(5),
            tombstone_life: Duration::from_secs(600),
            claim_timeout: Duration::from_secs(5),
        }
    }
}
