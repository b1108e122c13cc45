//! Attachments, entries, watches and facts: calls that the tables answer.

use std::sync::Arc;
use std::time::Instant;

use weft_api::{NetworkId, NodeId};

use crate::db::NetworkDb;
use crate::facts::{FactError, FactKind};
use crate::table::{Entry, TableError};
use crate::watch::{WatchFilter, WatchId};

impl NetworkDb {
    /// Takes part in a network: its tables come here.
    ///
    /// # Errors
    /// [`TableError`] when a bound is met, or the network is deleted or about to be. Nothing has
    /// changed then.
    pub fn attach(&mut self, network: NetworkId, now: Instant) -> Result<(), TableError> {
        if self.definitions.is_deleted(network) || self.claims.is_barred(network) {
            return Err(TableError::Deleted(network));
        }
        let result = self.sync.attach(network, now);
        self.settle(now);
        result
    }

    /// Ends the part in a network: this node's entries there are deleted, its tables dropped.
    ///
    /// # Errors
    /// [`TableError::NotAttached`] when this node takes no part. Nothing has changed then.
    pub fn detach(&mut self, network: NetworkId, now: Instant) -> Result<(), TableError> {
        let result = self.sync.detach(network, now);
        self.settle(now);
        result
    }

    /// Tells whether this node takes part in a network.
    pub fn is_attached(&self, network: NetworkId) -> bool {
        self.sync.is_attached(network)
    }

    /// Tells whether a network's tables are on their way: a member that takes part was asked for
    /// them, after an attach or since they differ, and may still answer.
    pub fn is_fetching(&self, network: NetworkId, now: Instant) -> bool {
        self.sync.is_fetching(network, now)
    }

    /// Returns who takes part in a network, failed members included, sorted.
    pub fn attached(&self, network: NetworkId) -> Vec<NodeId> {
        self.sync.attached(network)
    }

    /// Returns the networks a node takes part in, sorted.
    pub fn attachments(&self, node: NodeId) -> Vec<NetworkId> {
        self.sync.attachments(node)
    }

    /// Creates an entry.
    ///
    /// # Errors
    /// [`TableError`]: not attached, the key is live, or a bound. Nothing has changed then.
    pub fn create_entry(
        &mut self,
        network: NetworkId,
        table: &str,
        key: &str,
        value: Vec<u8>,
        now: Instant,
    ) -> Result<(), TableError> {
        let result = self.sync.create_entry(network, table, key, value, now);
        self.settle(now);
        result
    }

    /// Updates an entry.
    ///
    /// # Errors
    /// [`TableError`]: not attached, the key is absent, or a bound. Nothing has changed then.
    pub fn update_entry(
        &mut self,
        network: NetworkId,
        table: &str,
        key: &str,
        value: Vec<u8>,
        now: Instant,
    ) -> Result<(), TableError> {
        let result = self.sync.update_entry(network, table, key, value, now);
        self.settle(now);
        result
    }

    /// Deletes an entry.
    ///
    /// # Errors
    /// [`TableError`]: not attached, the key is absent, or another node's. Nothing has changed
    /// then.
    pub fn delete_entry(
        &mut self,
        network: NetworkId,
        table: &str,
        key: &str,
        now: Instant,
    ) -> Result<(), TableError> {
        let result = self.sync.delete_entry(network, table, key, now);
        self.settle(now);
        result
    }

    /// Returns the entry that reads show for a key.
    pub fn entry(&self, network: NetworkId, table: &str, key: &str) -> Option<Entry> {
        self.sync.entry(network, table, key)
    }

    /// Returns the entries of a table, by key.
    pub fn walk(&self, network: NetworkId, table: &str) -> impl Iterator<Item = Entry> + '_ {
        self.sync.walk(network, table)
    }

    /// Returns the names of a network's tables that have entries, sorted.
    pub fn tables(&self, network: NetworkId) -> Vec<Arc<str>> {
        self.sync.tables(network)
    }

    /// Opens a watch: from now on, [`Output::Watch`](crate::Output::Watch) tells what changes.
    pub fn watch(&mut self, filter: WatchFilter) -> WatchId {
        self.sync.watch(filter)
    }

    /// Closes a watch.
    pub fn unwatch(&mut self, id: WatchId) {
        self.sync.unwatch(id);
    }

    /// Joins a state, or a part of one, into a fact, for the whole cluster.
    ///
    /// # Errors
    /// [`FactError`]: an unknown kind, malformed bytes, or a bound. Nothing has changed then.
    pub fn put_fact(
        &mut self,
        kind: FactKind,
        subject: &[u8],
        delta: &[u8],
        now: Instant,
    ) -> Result<(), FactError> {
        let result = self.sync.put_fact(kind, subject, delta, now);
        self.settle(now);
        result
    }

    /// Returns a fact's state.
    pub fn fact(&self, kind: FactKind, subject: &[u8]) -> Option<&[u8]> {
        self.sync.fact(kind, subject)
    }

    /// Tells whether facts were compared with a member since it came up, and are alike since.
    pub fn facts_synced(&self, node: NodeId) -> bool {
        self.sync.facts_synced(node)
    }

    /// Returns all facts of a kind, subject and state, by subject.
    pub fn facts(&self, kind: FactKind) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        self.sync.facts(kind)
    }
}
