//! Reads of the records that count, whether their owners answer or not: what a data path follows.

use weft_api::{NetworkId, NodeId};

use super::Sync;
use super::entries::to_entry;
use crate::table::Entry;

impl Sync {
    /// The record that counts for each key of a table, those of failed owners included.
    pub fn walk_counting(&self, network: NetworkId, table: &str) -> Vec<Entry> {
        let Some(shelf) = self.readable(network) else { return Vec::new() };
        shelf
            .keys_of(table)
            .filter_map(|at| Some(to_entry(network, at, shelf.counted(at)?)))
            .collect()
    }

    /// Tells whether this node has live entries in a network, superseded ones included.
    pub fn has_own_entries(&self, network: NetworkId) -> bool {
        let log = self.shelves.get(&network).and_then(|shelf| shelf.log(self.node));
        log.is_some_and(|log| log.live_entries() > 0)
    }

    /// This node's Lamport time: greater than that of everything it has heard of.
    pub fn lamport(&self) -> u64 {
        self.lamport + 1
    }

    /// This node's id.
    pub fn node(&self) -> NodeId {
        self.node
    }
}
