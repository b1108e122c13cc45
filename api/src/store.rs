//! Durable state as the pure crates see it: writes that somebody else carries out.

/// Whose records a key belongs to. The number is on disk: never change one, never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// The node itself: id, boot, cluster, keys. The agent's.
    Node = 1,
    /// Networks, endpoints and sandboxes of this node. The agent's controller's.
    Controller = 2,
    /// Known members. networkdb's.
    Members = 3,
    /// Facts. networkdb's.
    Facts = 4,
    /// This node's own logs, and everyone's attachments. networkdb's.
    Logs = 5,
    /// Claims made and accepted. networkdb's.
    Claims = 6,
    /// Addresses allocated out of this node's ranges, and donations under way. ipam's.
    Ipam = 7,
    /// The cluster's keys, once they were rotated. networkdb's.
    Keys = 8,
}

impl Space {
    /// All spaces, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Node,
        Self::Controller,
        Self::Members,
        Self::Facts,
        Self::Logs,
        Self::Claims,
        Self::Ipam,
        Self::Keys,
    ];
}

/// One durable change: a key set to a value, or removed.
///
/// A state machine puts it out before the outputs that rest on it; whoever drains the machine
/// commits all writes of one drain together, and carries out the rest only after.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Write {
    /// Whose record.
    pub space: Space,
    /// Unique in its space.
    pub key: Vec<u8>,
    /// The new value; `None` removes the key.
    pub value: Option<Vec<u8>>,
}
