//! What a [`NetworkDb`](crate::NetworkDb) is told when it is made.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use weft_api::{Boot, ClusterId, NodeId};

use crate::facts::{FactKind, Join};
use crate::keys::KeyRing;
use crate::sync;

/// Everything a database needs to know before it handles its first input.
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
    /// The key that the caller knows: the founder's, a token's, or the one that sealed last. Those
    /// that came by rotations are in the store.
    pub keys: KeyRing,
    /// Every random choice comes from here: one seed, one behaviour.
    /// Fresh entropy at each start, because nonces come from it, too.
    pub seed: [u8; 32],
    /// The joins of the facts of other crates. Definitions, deletes and leaves are known already.
    pub joins: BTreeMap<FactKind, Box<dyn Join>>,
    /// Bounds of queues, tables and packets.
    pub limits: Limits,
    /// Periods and patience.
    pub timing: Timing,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("cluster", &self.cluster)
            .field("node", &self.node)
            .field("boot", &self.boot)
            .field("name", &self.name)
            .field("advertise", &self.advertise)
            .finish_non_exhaustive()
    }
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
    /// Streams that stand at once, before another one is refused; 1024.
    pub incoming_streams: usize,
    /// Bytes that wait for one peer's stream to open; 8 MiB.
    pub stream_queue_bytes: usize,
    /// Of tables and facts.
    pub sync: sync::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            datagram_bytes: 1400,
            frame_bytes: 1 << 20,
            members: 4096,
            incoming_streams: 1024,
            stream_queue_bytes: 8 << 20,
            sync: sync::Limits::default(),
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
    /// How long a suspect of a small cluster has to refute; 3.5 s.
    pub suspicion: Duration,
    /// Between two hellos to a member that does not answer, at first; 500 ms.
    pub greet_first: Duration,
    /// And at most; 4 s.
    pub greet_longest: Duration,
    /// Patience for a stream to open and greet; 10 s.
    pub stream_patience: Duration,
    /// A cached stream without traffic is closed after this; 30 s.
    pub stream_idle: Duration,
    /// How long a leave is told to members that do not confirm it; 3 s.
    pub leave_patience: Duration,
    /// A claim not accepted by then is withdrawn; 5 s.
    pub claim_timeout: Duration,
    /// How long a key seals before another rotation may begin; longer than anything that was
    /// sealed before it is on its way; 2 s.
    pub key_rest: Duration,
    /// Of dissemination and anti-entropy.
    pub sync: sync::Timing,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            probe_period: Duration::from_secs(1),
            probe_rtt: Duration::from_millis(500),
            suspicion: Duration::from_millis(3500),
            greet_first: Duration::from_millis(500),
            greet_longest: Duration::from_secs(4),
            stream_patience: Duration::from_secs(10),
            stream_idle: Duration::from_secs(30),
            leave_patience: Duration::from_secs(3),
            claim_timeout: Duration::from_secs(5),
            key_rest: Duration::from_secs(2),
            sync: sync::Timing::default(),
        }
    }
}
