//! One owner's log in one network.

use serde::{Deserialize, Serialize};

use super::ranges::Ranges;

/// How far a log is held.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Extent {
    /// Everything up to here.
    pub head: u64,
    /// And these above it.
    pub above: Ranges,
}
