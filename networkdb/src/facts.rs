//! Facts: cluster-wide, rare and durable; every member holds all of them.

pub(crate) mod store;

use serde::{Deserialize, Serialize};
use weft_api::NetworkId;

/// What a fact is about. The number is on the wire and on disk: never change one, never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FactKind(pub u8);

impl FactKind {
    /// A network's definition; subject: the network's id.
    pub const DEFINITION: Self = Self(1);
    /// A deleted network; subject: the network's id. All other facts of the network end with it.
    pub const DELETED: Self = Self(2);
    /// A member that left; subject: its NodeId.
    pub const LEFT: Self = Self(3);
    /// A member that was forgotten; subject: its NodeId.
    pub const FORGOTTEN: Self = Self(4);
    /// Ranges of addresses or VNIs and their owners (ipam).
    pub const RANGES: Self = Self(5);
    /// An allocation without an endpoint (ipam).
    pub const ALLOCATION: Self = Self(6);
    /// Routes and name servers of a host; subject: its NodeId.
    pub const HOST_ROUTES: Self = Self(7);
    /// Which keys are in force, by their fingerprints; one subject.
    pub const KEYS: Self = Self(8);
    /// Which key a member seals with; subject: its NodeId.
    pub const KEY_USE: Self = Self(9);

    /// What tells who owns what: ceded to the heir of a forgotten member.
    pub(crate) const CEDED: [Self; 2] = [Self::RANGES, Self::ALLOCATION];
}

/// What a join made of two states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// The incoming state held nothing new.
    Unchanged,
    /// The new state, in canonical bytes: equal states have equal bytes.
    Changed(Vec<u8>),
}

/// The bytes are no state of this kind of fact. A peer's or the caller's fault; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JoinError(pub String);

/// The join of one kind of fact: stateless, commutative, associative and idempotent.
///
/// A part of a state (a delta) is a state, too: joining it must be as good as joining the whole
/// it was taken from, as far as the part goes.
pub trait Join: Send + std::marker::Sync {
    /// Joins `incoming` into `current`, where there is one.
    ///
    /// # Errors
    /// [`JoinError`] when the bytes are malformed; they come from a peer, so this never panics.
    fn join(&self, current: Option<&[u8]>, incoming: &[u8]) -> Result<Joined, JoinError>;

    /// The network that a fact is a part of: when that is deleted the fact is dropped, and from
    /// then on taken for known. Default: none, the fact stays for good.
    fn network(&self, _subject: &[u8]) -> Option<NetworkId> {
        None
    }

    /// What the subjects of all parts of a network begin with, where the kind has such. Default:
    /// none.
    fn parts(&self, _network: NetworkId) -> Option<Vec<u8>> {
        None
    }
}

/// Why a fact was not put. The caller is at fault and nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactError {
    /// No join is known for this kind.
    #[error("fact kind {0:?} is unknown")]
    Kind(FactKind),
    /// The join refused the bytes.
    #[error("fact is malformed: {0}")]
    Malformed(#[from] JoinError),
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
}
