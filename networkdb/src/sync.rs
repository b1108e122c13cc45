//! Replication of entries and facts: push on change, hash, digest, delta (DESIGN 4.2, 4.3).

pub mod message;
pub mod output;
mod settings;

use std::time::Instant;

use weft_api::{NetworkId, NodeId, Space};

use crate::facts::{FactError, FactKind};
use crate::table::{Entry, TableError};
use crate::watch::{WatchFilter, WatchId};

pub use message::Message;
pub use output::{Alarm, Bound, Carrier, Counters, MemberChange, Output, Reason, RestoreError};
pub use settings::{Limits, SyncConfig, Timing};

/// The replicated state of one node, and the talk that keeps it equal to the others'.
pub struct Sync {
    config: SyncConfig,
    counters: Counters,
}

impl Sync {
    /// Starts from what was persisted.
    pub fn new(
        config: SyncConfig,
        restored: &[(Space, Vec<u8>, Vec<u8>)],
        now: Instant,
    ) -> Result<Self, RestoreError> {
        let _ = (restored, now);
        Ok(Self { config, counters: Counters::default() })
    }
    /// Tells what became of a member. Every member must be told before its records are stored.
    pub fn on_member(&mut self, node: NodeId, change: MemberChange, now: Instant) {
        let _ = (node, change, now);
    }
    /// Takes a message of a member.
    pub fn handle_message(&mut self, from: NodeId, message: Message, now: Instant) {
        let _ = (from, message, now);
    }
    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }
    /// Gives the next deadline and its reason.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        None
    }
    /// Gives the next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }
    /// Sends what waits to be coalesced now (before a stop).
    pub fn flush(&mut self, now: Instant) {
        let _ = now;
    }
    /// Stops writing under this NodeId: the disk was rolled back.
    pub fn halt(&mut self) {}
    /// Takes part in a network.
    pub fn attach(&mut self, network: NetworkId, now: Instant) -> Result<(), TableError> {
        let _ = (network, now);
        Ok(())
    }
    /// Ends the part in a network.
    pub fn detach(&mut self, network: NetworkId, now: Instant) -> Result<(), TableError> {
        let _ = (network, now);
        Ok(())
    }
    /// Tells whether this node takes part.
    pub fn is_attached(&self, network: NetworkId) -> bool {
        let _ = network;
        false
    }
    /// The members that take part in a network, failed ones included, sorted.
    pub fn attached(&self, network: NetworkId) -> Vec<NodeId> {
        let _ = network;
        Vec::new()
    }
    /// The networks a node takes part in, sorted.
    pub fn attachments(&self, node: NodeId) -> Vec<NetworkId> {
        let _ = node;
        Vec::new()
    }
    /// Creates an entry.
    pub fn create_entry(
        &mut self,
        network: NetworkId,
        table: &str,
        key: &str,
        value: Vec<u8>,
        now: Instant,
    ) -> Result<(), TableError> {
        let _ = (network, table, key, value, now);
        Ok(())
    }
    /// Updates an entry.
    pub fn update_entry(
        &mut self,
        network: NetworkId,
        table: &str,
        key: &str,
        value: Vec<u8>,
        now: Instant,
    ) -> Result<(), TableError> {
        let _ = (network, table, key, value, now);
        Ok(())
    }
    /// Deletes an entry.
    pub fn delete_entry(
        &mut self,
        network: NetworkId,
        table: &str,
        key: &str,
        now: Instant,
    ) -> Result<(), TableError> {
        let _ = (network, table, key, now);
        Ok(())
    }
    /// The entry that reads show for a key.
    pub fn entry(&self, network: NetworkId, table: &str, key: &str) -> Option<Entry> {
        let _ = (network, table, key);
        None
    }
    /// The entries of a table, by key.
    pub fn walk(&self, network: NetworkId, table: &str) -> impl Iterator<Item = Entry> + '_ {
        let _ = (network, table);
        std::iter::empty()
    }
    /// The names of the tables that have entries, sorted.
    pub fn tables(&self, network: NetworkId) -> Vec<std::sync::Arc<str>> {
        let _ = network;
        Vec::new()
    }
    /// Opens a watch.
    pub fn watch(&mut self, filter: WatchFilter) -> WatchId {
        let _ = filter;
        WatchId(0)
    }
    /// Closes a watch.
    pub fn unwatch(&mut self, id: WatchId) {
        let _ = id;
    }
    /// Joins a state, or a part of one, into a fact.
    pub fn put_fact(
        &mut self,
        kind: FactKind,
        subject: &[u8],
        delta: &[u8],
        now: Instant,
    ) -> Result<(), FactError> {
        let _ = (kind, subject, delta, now);
        Ok(())
    }
    /// A fact's state.
    pub fn fact(&self, kind: FactKind, subject: &[u8]) -> Option<&[u8]> {
        let _ = (kind, subject);
        None
    }
    /// All facts of a kind: subject and state, by subject.
    pub fn facts(&self, kind: FactKind) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        let _ = kind;
        std::iter::empty()
    }
    /// Whether the facts of this node and that one were synced since it came up.
    pub fn facts_synced(&self, node: NodeId) -> bool {
        let _ = node;
        false
    }
    /// Every overflow and refusal so far.
    pub fn counters(&self) -> &Counters {
        let _ = &self.config;
        &self.counters
    }
}
