//! Facts: what every member holds and persists.

use std::fmt::Debug;

/// What a fact is about. The number is on the wire and on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FactKind(pub(crate) u8);

impl FactKind {
    pub(crate) const DEFINITION: Self = Self(1);
    pub(crate) const DELETED: Self = Self(2);
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Joined {
    Unchanged,
    Changed(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinError;

pub(crate) trait Join: Debug {
    fn join(&self, current: Option<&[u8]>, incoming: &[u8]) -> Result<Joined, JoinError>;
}
