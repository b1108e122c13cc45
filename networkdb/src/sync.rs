//! Replication of entries and facts: push on change, hash, digest, delta (DESIGN 4.2, 4.3).

mod arcs;
mod attachment;
mod confirm;
mod counting;
mod delta;
mod digest;
mod entries;
mod events;
mod fact_exchange;
pub mod message;
pub mod output;
mod peers;
mod push;
mod receive;
mod restore;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use weft_api::{NetworkId, NodeId, Space};

use crate::facts::store::Store;
use crate::table::Cause;
use crate::table::durable::{coverage_removal, coverage_write, record_removal};
use crate::table::log::Log;
use crate::table::shelf::Shelf;
use crate::watch::{Opened, WatchFilter, WatchId, Watches};

pub use message::Message;
pub use output::{Alarm, Bound, Carrier, Counters, MemberChange, Output, Reason, RestoreError};
pub use settings::{Limits, SyncConfig, Timing};

use peers::{Peers, Standing};

/// The zero id stands for the cluster-wide log of attachments.
pub(crate) const ATTACHMENTS: NetworkId = NetworkId::from_bytes([0; 16]);

/// How many parts of the time that tombstones are kept pass between two collections.
const COLLECTIONS: u32 = 8;

/// The replicated state of one node, and the talk that keeps it equal to the others'.
pub struct Sync {
    node: NodeId,
    limits: Limits,
    timing: Timing,
    peers: Peers,
    /// The attachments, the networks this node is attached to, and its own logs of former ones.
    shelves: BTreeMap<NetworkId, Shelf>,
    attached: BTreeMap<NetworkId, BTreeSet<NodeId>>,
    facts: Store,
    watches: Watches,
    queue: push::Queue,
    /// Networks being compared: with whom, and until when nobody else is asked.
    exchanges: BTreeMap<NetworkId, (NodeId, Instant)>,
    fact_exchange: Option<(NodeId, Instant)>,
    /// Announced logs that have not arrived.
    pulls: BTreeMap<(NetworkId, NodeId), delta::Awaited>,
    /// How far others have said that they hold this node's logs.
    confirmed: BTreeMap<(NetworkId, NodeId), u64>,
    waves: BTreeMap<NetworkId, confirm::Wave>,
    /// Where this node wrote in this round.
    written: BTreeMap<NetworkId, Instant>,
    /// Who takes part there, as was heard since.
    late: Vec<(NetworkId, NodeId)>,
    next_round: Instant,
    next_collection: Instant,
    lamport: u64,
    rolled_back: bool,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl Sync {
    /// Starts from what was persisted: lines of [`Space::Facts`] and [`Space::Logs`]; others are
    /// passed over.
    ///
    /// # Errors
    /// [`RestoreError`] when a line cannot be read.
    pub fn new(
        config: SyncConfig,
        restored: &[(Space, Vec<u8>, Vec<u8>)],
        now: Instant,
    ) -> Result<Self, RestoreError> {
        let SyncConfig { node, seed, limits, timing, joins } = config;
        let mut sync = Self {
            node,
            peers: Peers::new(seed),
            shelves: BTreeMap::from([(ATTACHMENTS, Shelf::new(ATTACHMENTS))]),
            attached: BTreeMap::new(),
            facts: Store::new(joins),
            watches: Watches::default(),
            queue: push::Queue::default(),
            exchanges: BTreeMap::new(),
            fact_exchange: None,
            pulls: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            waves: BTreeMap::new(),
            written: BTreeMap::new(),
            late: Vec::new(),
            next_round: now + timing.soon,
            next_collection: now + timing.keep_tombstones / COLLECTIONS,
            lamport: 0,
            rolled_back: false,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            limits,
            timing,
        };
        sync.restore(restored, now)?;
        for network in sync.attachments(node) {
            sync.shelves.entry(network).or_insert_with(|| Shelf::new(network));
        }
        Ok(sync)
    }

    /// Tells what became of a member. A member must be told before its records are stored.
    pub fn on_member(&mut self, node: NodeId, change: MemberChange, now: Instant) {
        if node == self.node {
            return;
        }
        match change {
            MemberChange::Up { .. } => self.on_up(node, now),
            MemberChange::Failed => {
                if self.peers.is_gone(node) || !self.has_room_for(node) {
                    return;
                }
                let peer = self.peers.add(node);
                peer.standing = Standing::Absent;
                // What it learns meanwhile is not here.
                peer.facts_synced = false;
                self.peers.hide_later(node, now + self.timing.hide_after);
                self.exchanges.retain(|_, (with, _)| *with != node);
                if self.fact_exchange.is_some_and(|(with, _)| with == node) {
                    self.fact_exchange = None;
                }
            }
            MemberChange::Left | MemberChange::Forgotten => self.bury(node),
        }
    }

    fn on_up(&mut self, node: NodeId, now: Instant) {
        if self.peers.is_gone(node) || !self.has_room_for(node) {
            return;
        }
        let peer = self.peers.add(node);
        peer.standing = Standing::Up;
        peer.facts_synced = false;
        self.forget_confirmed(|_, peer| peer == node);
        self.unhide(node);
        self.check(node);
        self.round_soon(now);
        self.fetch_unheard(now);
    }

    fn has_room_for(&mut self, node: NodeId) -> bool {
        let room = self.peers.get(node).is_some() || self.peers.len() < self.limits.owners;
        if !room {
            self.overflow(Bound::Owners);
        }
        room
    }

    /// A member is gone for good: its logs are dropped and refused from now on.
    pub(crate) fn bury(&mut self, node: NodeId) {
        if node == self.node || !self.peers.remove(node) {
            return;
        }
        self.pulls.retain(|(_, owner), awaited| *owner != node && awaited.from != node);
        self.exchanges.retain(|_, (with, _)| *with != node);
        self.forget_confirmed(|_, peer| peer == node);
        if self.fact_exchange.is_some_and(|(with, _)| with == node) {
            self.fact_exchange = None;
        }
        let networks: Vec<NetworkId> = self.shelves.keys().copied().collect();
        for network in networks {
            let shelf = self.shelves.get_mut(&network);
            let effects = shelf.map(|shelf| shelf.drop_log(node, Cause::Left));
            let effects = effects.unwrap_or_default();
            if network == ATTACHMENTS {
                self.note_attachments(network, &effects);
                for effect in &effects {
                    let removal = record_removal(network, node, &effect.at);
                    self.outputs.push_back(Output::Persist(removal));
                }
                self.outputs.push_back(Output::Persist(coverage_removal(network, node)));
            }
            self.tell(network, &effects);
        }
    }

    /// Takes a message of a member.
    pub fn handle_message(&mut self, from: NodeId, message: Message, now: Instant) {
        if self.accept(from, from) != receive::Accept::Yes {
            return;
        }
        match message {
            Message::Push { network, relay, logs } => {
                self.take_push(from, network, relay, logs, now);
            }
            Message::PushFacts { relay, facts } => self.take_facts(relay, facts, now),
            Message::Check { hash, wish } => self.take_check(from, hash, wish, now),
            Message::Same => self.mark_synced(from),
            Message::Hashes { facts, networks } => self.take_hashes(from, facts, networks, now),
            Message::Heads { network, extents } => self.take_heads(from, network, extents),
            Message::Announce { network, heads, wish } => {
                self.take_announce(from, network, heads, wish, now);
            }
            Message::Held { network, heads } => self.take_held(from, network, &heads),
            Message::Pull { network, extents } => self.take_pull(from, network, extents),
            Message::Deltas { network, deltas, rest } => {
                self.take_deltas(from, network, &deltas, rest, now);
            }
            Message::FactBuckets { buckets } => self.take_buckets(from, &buckets),
            Message::FactDigest { buckets, items } => self.take_digest(from, &buckets, &items),
            Message::Facts { facts, rest, pull } => self.take_answer(from, facts, rest, pull, now),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((due, reason)) = self.poll_timeout() {
            if due > now {
                break;
            }
            match reason {
                Reason::Flush => self.flush_queue(now),
                Reason::Pull => self.pull_due(now),
                Reason::Confirm => self.wave_due(now),
                Reason::Round => self.round(now),
                Reason::Hide => {
                    self.peers.due_to_hide(now).into_iter().for_each(|node| self.hide(node));
                }
                Reason::Collect => self.collect(now),
            }
        }
    }

    /// Gives the next deadline and its reason.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let deadlines = [
            self.queue.due.map(|due| (due, Reason::Flush)),
            self.pulls.values().map(|awaited| (awaited.due, Reason::Pull)).min(),
            self.waves.values().map(|wave| (wave.due, Reason::Confirm)).min(),
            Some((self.next_round, Reason::Round)),
            self.peers.next_hide().map(|due| (due, Reason::Hide)),
            Some((self.next_collection, Reason::Collect)),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Gives the next output; to be called until it gives none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Sends what waits to be coalesced now, before a stop.
    pub fn flush(&mut self, now: Instant) {
        self.flush_queue(now);
    }

    /// Stops writing under this NodeId: its disk was rolled back or cloned.
    pub fn halt(&mut self) {
        self.rolled_back = true;
    }

    /// Rule 3: tombstones that are old, or too many, go.
    fn collect(&mut self, now: Instant) {
        self.next_collection = now + self.timing.keep_tombstones / COLLECTIONS;
        let since = now.checked_sub(self.timing.keep_tombstones);
        for (network, shelf) in &mut self.shelves {
            for (owner, dropped) in shelf.collect(since, self.limits.tombstones_per_log) {
                if owner != self.node && *network != ATTACHMENTS {
                    continue;
                }
                let log = shelf.log(owner).expect("a log that was collected stays");
                let lamport = if owner == self.node { self.lamport } else { 0 };
                // Coverage first: a removal alone would let a restart reuse the seqs.
                let coverage = coverage_write(*network, owner, log, lamport);
                self.outputs.push_back(Output::Persist(coverage));
                let removals = dropped.iter().map(|at| record_removal(*network, owner, at));
                self.outputs.extend(removals.map(Output::Persist));
            }
        }
        self.let_go();
    }

    /// A deleted network's logs go once their tombstones are gone: nobody writes there again.
    fn let_go(&mut self) {
        let is_empty = |shelf: &Shelf| shelf.logs().all(|(_, log)| log.iter().next().is_none());
        let over: Vec<NetworkId> = self
            .shelves
            .iter()
            .filter(|(network, shelf)| self.is_let_go(**network) && is_empty(shelf))
            .map(|(network, _)| *network)
            .collect();
        if over.is_empty() {
            return;
        }
        // The time that this node's logs had come to stays known.
        let attachments = self.shelves.get(&ATTACHMENTS).and_then(|shelf| shelf.log(self.node));
        let none = Log::default();
        let log = attachments.unwrap_or(&none);
        let coverage = coverage_write(ATTACHMENTS, self.node, log, self.lamport);
        self.outputs.push_back(Output::Persist(coverage));
        for network in over {
            self.forget_confirmed(|of, _| of == network);
            self.shelves.remove(&network);
            self.outputs.push_back(Output::Persist(coverage_removal(network, self.node)));
        }
    }

    /// Opens a watch.
    pub fn watch(&mut self, filter: WatchFilter) -> WatchId {
        let (id, opened) = self.watches.open(filter, self.limits.watches);
        match opened {
            Opened::Hears => {}
            Opened::Full => self.overflow(Bound::Watches),
        }
        id
    }

    /// Closes a watch.
    pub fn unwatch(&mut self, id: WatchId) {
        self.watches.close(id);
    }

    /// Every overflow and refusal so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn overflow(&mut self, bound: Bound) {
        let counter = match bound {
            Bound::Record => &mut self.counters.record_bound,
            Bound::Log => &mut self.counters.log_bound,
            Bound::Gaps => &mut self.counters.gap_bound,
            Bound::Owners => &mut self.counters.owner_bound,
            Bound::PushQueue => &mut self.counters.push_queue_bound,
            Bound::Facts => &mut self.counters.fact_bound,
            Bound::Watches => &mut self.counters.watch_bound,
        };
        *counter += 1;
        // One output tells as much as a thousand would, and cannot itself overflow anything.
        let output = Output::Overflow(bound);
        if self.outputs.back() != Some(&output) {
            self.outputs.push_back(output);
        }
    }
}
