//! Desired minus observed: the operations that repair drift.

use std::collections::BTreeMap;

use crate::op::KernelOp;

/// Whether the planner has heard of every peer there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// The tables are not synced since the start: FDB entries and neighbours that nobody named yet
    /// are kept, so that a restart does not interrupt traffic.
    Partial,
    /// The tables are synced: what nobody named is removed.
    Complete,
}

/// What kind of object drifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A network's namespace.
    Namespace,
    /// A bridge.
    Bridge,
    /// A VXLAN device.
    Vxlan,
    /// An endpoint's pair.
    Port,
    /// A way out.
    WayOut,
    /// An FDB entry.
    Fdb,
    /// A neighbour.
    Neighbour,
}

/// How many objects of one kind drifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drift {
    /// They were not there.
    pub missing: u64,
    /// They were there in another shape.
    pub wrong: u64,
    /// They were there and ours, and should not have been.
    pub stray: u64,
}

/// The outcome of a reconciliation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Repair {
    /// To be carried out in this order.
    pub ops: Vec<KernelOp>,
    /// Counts by kind; kinds without drift are absent.
    pub drift: BTreeMap<Kind, Drift>,
}
