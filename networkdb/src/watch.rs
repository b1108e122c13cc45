//! Watches: who wants to hear of which keys.

use weft_api::NetworkId;

/// Names one watch; never reused in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u64);

/// Which keys a watch hears of: those that agree with every field that is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchFilter {
    /// Only this network.
    pub network: Option<NetworkId>,
    /// Only this table.
    pub table: Option<String>,
    /// Only keys that begin so.
    pub key_prefix: Option<String>,
}
