//! What must hold, by name, and the report of what does not.

use std::fmt;

/// What must hold. Where it is looked at is in docs/TESTING.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No address is bound to two live endpoints.
    OneEndpointAnAddress,
    /// A released address rests before it is bound again.
    AddressesRest,
    /// Each integer of each space has exactly one owner, who is in the cluster.
    RangesPartition,
    /// Of all disks at most one says that its node owns an integer.
    OneDurableOwner,
    /// What is durable is never replaced by something older.
    VersionsGrow,
    /// What was deleted, left or was forgotten does not come back.
    NothingResurrects,
    /// A name and a pool belong to one network; of two made in halves of a split one is frozen.
    OneNetworkAName,
    /// A VNI belongs to one network for ever.
    VniForEver,
    /// A claim in force is known to all who had to accept it.
    ClaimsKnown,
    /// No frame of one network arrives in another.
    NetworksApart,
    /// No entry of a live owner is missing, and no other is there, once the network is whole.
    EntriesWhole,
    /// Kernels hold what the peers' endpoints need, and nothing else, once quiet.
    KernelAsPlanned,
    /// Queues are bounded.
    QueuesBounded,
    /// Every node equals the model, once quiet.
    NodesEqualModel,
    /// No agent panics, alarms, or fails to start from its disk.
    NoFault,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::OneEndpointAnAddress,
        Self::AddressesRest,
        Self::RangesPartition,
        Self::OneDurableOwner,
        Self::VersionsGrow,
        Self::NothingResurrects,
        Self::OneNetworkAName,
        Self::VniForEver,
        Self::ClaimsKnown,
        Self::NetworksApart,
        Self::EntriesWhole,
        Self::KernelAsPlanned,
        Self::QueuesBounded,
        Self::NodesEqualModel,
        Self::NoFault,
    ];
}

/// One thing that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: Invariant,
    /// What was seen.
    pub what: String,
}

impl Violation {
    pub(super) fn new(invariant: Invariant, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.what)
    }
}

/// A check: what does not hold, if anything.
pub(super) type Check = Result<(), Violation>;

pub(super) fn ensure(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Violation::new(invariant, what())) }
}

/// A run that failed: what does not hold, and how it came to that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Of which run.
    pub seed: u64,
    /// What does not hold.
    pub violation: Violation,
    /// What was done before, line by line.
    pub history: Vec<String>,
    /// The last events between the hosts involved.
    pub diagram: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, violation, history, diagram } = self;
        writeln!(f, "seed {seed}: {violation}")?;
        writeln!(f, "replay: cargo run -p weft-tests --bin sim -- --seed {seed}")?;
        writeln!(f, "\nwhat was done before:\n{}", history.join("\n"))?;
        write!(f, "\nthe last events:\n{diagram}")
    }
}
