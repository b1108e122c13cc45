//! Sets of seqs as ranges.

use serde::{Deserialize, Serialize};

/// A set of seqs: disjoint inclusive ranges, ascending, never adjacent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ranges(Vec<(u64, u64)>);
