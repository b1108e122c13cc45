//! Entries: what tables hold, as one log per (network, owner).

pub(crate) mod durable;
pub mod log;
pub mod ranges;
pub mod record;
pub(crate) mod shelf;

use std::sync::Arc;

use weft_api::{NetworkId, NodeId};

/// One entry as reads show it: the record that counts for its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The network whose table holds it.
    pub network: NetworkId,
    /// The table's name.
    pub table: Arc<str>,
    /// Its key in the table.
    pub key: Arc<str>,
    /// What its owner wrote.
    pub value: Arc<[u8]>,
    /// The node that wrote it.
    pub owner: NodeId,
    /// Its place in the owner's log.
    pub seq: u64,
    /// Lamport time of the write: among owners the greatest (stamp, owner) counts.
    pub stamp: u64,
}

/// What became of a key (libnetwork's event types).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The key was not there before.
    Create,
    /// The key has another record.
    Update,
    /// The key is not there any more.
    Delete,
}

/// Why a key changed.
///
/// Events of `Output::Table` without those of [`Cause::Hidden`] and [`Cause::Returned`] are exactly
/// the changes of the record that counts, which is what a data path follows: it survives the
/// failure of an owner's agent and ends when the owner leaves, is forgotten or is superseded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The owner wrote or deleted it.
    Written,
    /// The owner failed; reads hide the key, nothing is lost.
    Hidden,
    /// The failed owner is back, and the key with it.
    Returned,
    /// The owner left the cluster or was forgotten.
    Left,
    /// Another owner's record counts now.
    Superseded,
    /// This node detached from the network, so it holds its tables no longer.
    Detached,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEvent {
    /// The network whose table changed.
    pub network: NetworkId,
    /// The table's name.
    pub table: Arc<str>,
    /// The key.
    pub key: Arc<str>,
    /// What became of it.
    pub change: Change,
    /// Why.
    pub cause: Cause,
    /// Owner of the record that counts now; for a delete, of the one that counted.
    pub owner: NodeId,
    /// The value now; for a delete, the value that is gone.
    pub value: Arc<[u8]>,
    /// The value before, where there was one.
    pub prev: Option<Arc<[u8]>>,
}

/// Why a call on a table was refused. The caller is at fault and nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// This node takes no part in the network.
    #[error("network {0} not attached")]
    NotAttached(NetworkId),
    /// A create of a key that is live.
    #[error("entry `{key}` in table `{table}` of network {network} exists")]
    Exists {
        /// The network.
        network: NetworkId,
        /// The table.
        table: String,
        /// The key.
        key: String,
    },
    /// An update or a delete of a key that is not live.
    #[error("entry `{key}` in table `{table}` of network {network} does not exist")]
    Absent {
        /// The network.
        network: NetworkId,
        /// The table.
        table: String,
        /// The key.
        key: String,
    },
    /// A delete of an entry that another node owns.
    #[error("entry `{key}` in table `{table}` of network {network} belongs to node {owner}")]
    NotOwner {
        /// The network.
        network: NetworkId,
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// Who may delete it.
        owner: NodeId,
    },
    /// A bound of `Limits` would be passed.
    #[error("{what} {size} exceeds the bound of {bound}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// How large it may be.
        bound: usize,
    },
    /// The network is deleted, or a delete of it is under way.
    #[error("network {0} is deleted or being deleted")]
    Deleted(NetworkId),
    /// The zero network id names the attachments and is no network.
    #[error("network id {0} is reserved")]
    Reserved(NetworkId),
    /// This node's disk was rolled back or cloned, so it writes no more under its NodeId.
    #[error("node {0} was rolled back and writes no more under this id")]
    RolledBack(NodeId),
}
