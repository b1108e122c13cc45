//! Watches: who wants to hear of which keys.

use std::collections::BTreeMap;

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

impl WatchFilter {
    /// Tells whether the watch hears of this key.
    pub fn admits(&self, network: NetworkId, table: &str, key: &str) -> bool {
        self.network.is_none_or(|wanted| wanted == network)
            && self.table.as_deref().is_none_or(|wanted| wanted == table)
            && self.key_prefix.as_deref().is_none_or(|prefix| key.starts_with(prefix))
    }
}

/// The open watches.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    open: BTreeMap<WatchId, WatchFilter>,
    last: u64,
}

impl Watches {
    /// Opens a watch; one beyond `max` gets an id and hears nothing.
    pub(crate) fn open(&mut self, filter: WatchFilter, max: usize) -> (WatchId, Opened) {
        self.last += 1;
        let id = WatchId(self.last);
        if self.open.len() >= max {
            return (id, Opened::Full);
        }
        self.open.insert(id, filter);
        (id, Opened::Hears)
    }

    pub(crate) fn close(&mut self, id: WatchId) {
        self.open.remove(&id);
    }

    /// Who hears of this key.
    pub(crate) fn hearing(
        &self,
        network: NetworkId,
        table: &str,
        key: &str,
    ) -> impl Iterator<Item = WatchId> {
        self.open
            .iter()
            .filter(move |(_, filter)| filter.admits(network, table, key))
            .map(|(id, _)| *id)
    }
}

/// Whether a new watch hears anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    Hears,
    Full,
}
