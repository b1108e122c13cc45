//! What others ask of the core, beyond plain reads.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use weft_api::Space;
use weft_ipam::{BlockWant, Granted, Request, Ticket};
use weft_networkdb::{ClaimId, Outcome, TableEvent, WatchFilter, WatchId};

use super::{Core, WATCH_QUEUED_MAX};
use crate::node::Node;
use crate::store::{Record, StoreError};

/// How ipam answers.
pub type Grant = Result<Granted, weft_ipam::Error>;

/// How a claim ended.
#[derive(Debug)]
pub struct Decision {
    /// How.
    pub outcome: Outcome,
    /// Whether others were asked to accept it.
    pub asked: bool,
}

impl Core {
    /// Returns the node, while there is one that is a member.
    pub const fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// Returns the node to change it.
    pub const fn node_mut(&mut self) -> Option<&mut Node> {
        self.node.as_mut()
    }

    /// Returns how the agent is set up.
    pub const fn settings(&self) -> &super::Settings {
        &self.settings
    }

    /// Reads the records of a space.
    ///
    /// # Errors
    /// The store failed.
    pub fn load(&self, space: Space) -> Result<Vec<Record>, StoreError> {
        self.store.load(space)
    }

    /// Asks for an address. Without a cluster the answer is dropped.
    pub fn request(&mut self, request: Request, answer: oneshot::Sender<Grant>, now: Instant) {
        let ticket = self.ticket(answer);
        if let Some(node) = &mut self.node {
            node.with_ipam(now, |ipam| ipam.request(ticket, request, now));
        }
    }

    /// Asks for a block. Without a cluster the answer is dropped.
    pub fn take_block(
        &mut self,
        want: BlockWant,
        avoid: &[ipnetwork::IpNetwork],
        answer: oneshot::Sender<Grant>,
        now: Instant,
    ) {
        let ticket = self.ticket(answer);
        if let Some(node) = &mut self.node {
            node.with_ipam(now, |ipam| ipam.take_block(ticket, want, avoid, now));
        }
    }

    fn ticket(&mut self, answer: oneshot::Sender<Grant>) -> Ticket {
        self.next_ticket += 1;
        if self.node.is_some() {
            self.tickets.insert(self.next_ticket, answer);
        }
        Ticket(self.next_ticket)
    }

    /// Makes a claim. Without a cluster the answer is dropped.
    pub fn claim(
        &mut self,
        make: impl FnOnce(&mut Node, Instant) -> ClaimId,
        answer: oneshot::Sender<Decision>,
        now: Instant,
    ) {
        let Some(node) = &mut self.node else { return };
        // The outcome is an output of the node, so it comes after this entry stands.
        let id = make(node, now);
        self.claims.insert(id, answer);
    }

    /// Follows entries; first what there is, then what changes. The channel ends when the
    /// receiver falls behind or the node leaves its cluster.
    pub fn watch(&mut self, filter: WatchFilter) -> Option<(WatchId, mpsc::Receiver<TableEvent>)> {
        let node = self.node.as_mut()?;
        let id = node.with_db(Instant::now(), |db| db.watch(filter));
        let (sender, receiver) = mpsc::channel(WATCH_QUEUED_MAX);
        self.watches.insert(id, sender);
        Some((id, receiver))
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, id: WatchId) {
        self.watches.remove(&id);
        if let Some(node) = &mut self.node {
            node.with_db(Instant::now(), |db| db.unwatch(id));
        }
    }

    /// Returns the core's own counters.
    pub const fn counters(&self) -> &BTreeMap<String, u64> {
        &self.counters
    }

    /// Returns what an operator must hear of, and how often it was said.
    pub const fn alarms(&self) -> &BTreeMap<String, u64> {
        &self.alarms
    }
}
