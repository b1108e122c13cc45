//! Anti-entropy, first half: finding out what differs. Rule 9.

use std::collections::BTreeSet;
use std::time::Instant;

use weft_api::{NetworkId, NodeId};

use super::message::{Message, Wish};
use super::output::Carrier;
use super::{ATTACHMENTS, Sync};
use crate::table::shelf::Shelf;

/// How many checks or announcements beyond the ordinary ones a round may send.
const EXTRA_CHECKS: usize = 16;

impl Sync {
    /// One round: each network this node shares with anybody is checked with somebody.
    pub(crate) fn round(&mut self, now: Instant) {
        let tenth = self.timing.round / 10;
        let jitter = self.peers.random(201);
        let jitter = tenth * u32::try_from(jitter).unwrap_or(0) / 100;
        self.next_round = now + self.timing.round - tenth + jitter;
        self.written.retain(|_, at| now.saturating_duration_since(*at) < self.timing.round);
        let up: Vec<NodeId> = self.peers.up().collect();
        let walk = self.peers.pick(up, usize::MAX);
        let mut covered = BTreeSet::new();
        let mut checked = BTreeSet::new();
        for peer in walk {
            let shared = self.shared(peer);
            if shared.iter().all(|network| covered.contains(network)) {
                continue;
            }
            covered.extend(shared);
            checked.insert(peer);
            self.check(peer);
        }
        let unsynced = self.peers.unsynced().into_iter().filter(|peer| !checked.contains(peer));
        unsynced.take(EXTRA_CHECKS).collect::<Vec<_>>().into_iter().for_each(|p| self.check(p));
        self.announce_farewells(EXTRA_CHECKS);
    }

    /// A change makes the next round come sooner.
    pub(crate) fn round_soon(&mut self, now: Instant) {
        self.next_round = self.next_round.min(now + self.timing.soon);
    }

    /// Sends a peer one hash over all that both hold.
    pub(crate) fn check(&mut self, peer: NodeId) {
        let synced = self.peers.get(peer).is_some_and(|peer| peer.facts_synced);
        let wish = if synced { Wish::Difference } else { Wish::Word };
        let hash = self.shared_hash(peer);
        self.send(vec![peer], Message::Check { hash, wish }, Carrier::Datagram);
    }

    pub(crate) fn take_check(&mut self, from: NodeId, hash: u64, wish: Wish, now: Instant) {
        if hash != self.shared_hash(from) {
            // What follows is four datagrams; if any is lost, the next round must not be far.
            self.round_soon(now);
            let hash_of = |network: &NetworkId| {
                (*network, self.shelves.get(network).map_or(0, |shelf| shelf.hash()))
            };
            let networks: Vec<_> = self.shared(from).iter().map(hash_of).collect();
            let carrier = self.carrier(networks.len() * 25);
            let message = Message::Hashes { facts: self.facts.root(), networks };
            return self.send(vec![from], message, carrier);
        }
        self.mark_synced(from);
        if wish == Wish::Word {
            self.send(vec![from], Message::Same, Carrier::Datagram);
        }
    }

    pub(crate) fn take_hashes(
        &mut self,
        from: NodeId,
        facts: u64,
        networks: Vec<(NetworkId, u64)>,
        now: Instant,
    ) {
        self.round_soon(now);
        self.compare_facts(from, facts, now);
        for (network, hash) in networks {
            let own = self.shelves.get(&network).map_or(0, |shelf| shelf.hash());
            if self.holds(network) && hash != own && !self.is_fetching(network, now) {
                self.exchange(network, from, now);
            }
        }
    }

    /// Asks somebody for a whole network: after an attach.
    pub(crate) fn fetch(&mut self, network: NetworkId, now: Instant) {
        let up: Vec<NodeId> =
            self.peers.up().filter(|node| self.takes_part(*node, network)).collect();
        if let Some(peer) = self.peers.pick(up, 1).pop() {
            self.exchange(network, peer, now);
        }
    }

    /// Tells whether a peer was asked for a network's tables and may still answer.
    pub fn is_fetching(&self, network: NetworkId, now: Instant) -> bool {
        self.exchanges.get(&network).is_some_and(|(_, until)| *until > now)
    }

    /// Fetches the networks of which nothing by others is held: after a start, nobody may have
    /// been known to ask.
    pub(crate) fn fetch_unheard(&mut self, now: Instant) {
        for network in self.attachments(self.node) {
            let own_only = |shelf: &Shelf| shelf.logs().all(|(owner, _)| owner == self.node);
            let unheard = self.shelves.get(&network).is_none_or(own_only);
            if unheard && !self.is_fetching(network, now) {
                self.fetch(network, now);
            }
        }
    }

    /// Tells a peer how far this node holds a network's logs.
    pub(crate) fn exchange(&mut self, network: NetworkId, peer: NodeId, now: Instant) {
        self.exchanges.insert(network, (peer, now + self.timing.exchange));
        let extents = self.shelves.get(&network).map(|shelf| shelf.extents()).unwrap_or_default();
        let carrier = self.carrier(extents.len() * 40);
        self.send(vec![peer], Message::Heads { network, extents }, carrier);
    }

    /// The networks that this node and a peer both hold, sorted; the attachments always.
    fn shared(&self, peer: NodeId) -> Vec<NetworkId> {
        let both = |(_, nodes): &(&NetworkId, &BTreeSet<NodeId>)| {
            nodes.contains(&peer) && nodes.contains(&self.node)
        };
        let networks = self.attached.iter().filter(both).map(|(network, _)| *network);
        std::iter::once(ATTACHMENTS).chain(networks).collect()
    }

    fn shared_hash(&self, peer: NodeId) -> u64 {
        let hashes = self
            .shared(peer)
            .into_iter()
            .filter_map(|network| self.shelves.get(&network).map(|shelf| shelf.hash()));
        hashes.fold(self.facts.root(), u64::wrapping_add)
    }

    /// How a message of about so many bytes travels.
    pub(crate) fn carrier(&self, bytes: usize) -> Carrier {
        if bytes > self.limits.datagram_bytes { Carrier::Stream } else { Carrier::Datagram }
    }
}
