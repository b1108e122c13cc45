//! Reads for whoever keeps a data path: the records that count, live owner or not.

use weft_api::NetworkId;

use crate::db::NetworkDb;
use crate::table::Entry;

impl NetworkDb {
    /// Returns the record that counts for each key of a table, those of failed owners included:
    /// an agent that is down does not stop traffic.
    pub fn walk_counting(&self, network: NetworkId, table: &str) -> Vec<Entry> {
        self.sync.walk_counting(network, table)
    }

    /// Tells whether this node has live entries in a network.
    pub fn has_own_entries(&self, network: NetworkId) -> bool {
        self.sync.has_own_entries(network)
    }

    /// Returns a Lamport time that is greater than that of everything this node has heard of.
    pub fn lamport(&self) -> u64 {
        self.sync.lamport()
    }

    /// Returns the networks this node takes part in.
    pub fn own_attachments(&self) -> Vec<NetworkId> {
        self.sync.attachments(self.sync.node())
    }
}
