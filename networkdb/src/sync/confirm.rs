//! Own records, confirmed: whom a push to all did not reach hears of it again.
//!
//! A while after the push its owner announces its head to all that have not said that they hold
//! it; who lacks something pulls it, who holds it says so. That goes on, with growing pauses,
//! until all have said so, or for a bounded number of times. Then anti-entropy takes over.

use std::time::{Duration, Instant};

use weft_api::{NetworkId, NodeId};

use super::message::{Message, Wish};
use super::output::Carrier;
use super::{ATTACHMENTS, Sync};

/// The pause between two announcements grows to so many times the first one.
const PAUSE_MAX: u32 = 2;
/// Announcements in a row that bring no confirmation, at most.
const TRIES_MAX: u32 = 32;

/// Announcements of this node's log in one network.
#[derive(Debug)]
pub(crate) struct Wave {
    pub(crate) due: Instant,
    pause: Duration,
    /// The head that was announced last.
    announced: u64,
    /// Who had not confirmed it then.
    behind: usize,
    /// Announcements since somebody confirmed anything.
    tries: u32,
}

impl Sync {
    /// Records were pushed to all: confirmations are looked for a while later.
    pub(crate) fn confirm_later(&mut self, network: NetworkId, now: Instant) {
        let pause = self.timing.confirm;
        let wave = Wave { due: now + pause, pause, announced: 0, behind: usize::MAX, tries: 0 };
        self.waves.entry(network).or_insert(wave);
    }

    pub(crate) fn wave_due(&mut self, now: Instant) {
        let due: Vec<NetworkId> = self
            .waves
            .iter()
            .filter(|(_, wave)| wave.due <= now)
            .map(|(network, _)| *network)
            .collect();
        for network in due {
            self.announce_own(network, now);
        }
    }

    fn announce_own(&mut self, network: NetworkId, now: Instant) {
        let Some(mut wave) = self.waves.remove(&network) else { return };
        let head = self.own_head(network);
        let group = self.group(network, self.node);
        if group.len() > self.limits.push_to_all {
            return;
        }
        let lacks = |node: &NodeId, head: u64| self.confirmed_head(network, *node) < head;
        let lost = group.iter().filter(|node| lacks(node, wave.announced)).count();
        let behind: Vec<NodeId> = group.into_iter().filter(|node| lacks(node, head)).collect();
        if behind.is_empty() {
            return;
        }
        wave.tries = if lost < wave.behind { 1 } else { wave.tries + 1 };
        if wave.tries > TRIES_MAX {
            return;
        }
        if wave.announced > 0 {
            // Nothing was lost, there is only more: no hurry.
            let longer = if lost == 0 { self.timing.soon } else { wave.pause * 2 };
            wave.pause = longer.min(self.timing.confirm * PAUSE_MAX);
        }
        (wave.due, wave.announced, wave.behind) = (now + wave.pause, head, behind.len());
        self.waves.insert(network, wave);
        let heads = vec![(self.node, head)];
        self.send(
            behind,
            Message::Announce { network, heads, wish: Wish::Word },
            Carrier::Datagram,
        );
    }

    /// Some take part in networks, as is known only now. Where this node wrote a moment ago, as
    /// one does that has just joined, they were not among those it pushed to.
    pub(crate) fn welcome_late(&mut self, now: Instant) {
        if !self.late.is_empty() {
            self.queue.due.get_or_insert(now + self.timing.coalesce);
        }
    }

    pub(crate) fn announce_to_late(&mut self) {
        for (network, peer) in std::mem::take(&mut self.late) {
            let head = self.own_head(network);
            if self.is_attached(network) && self.confirmed_head(network, peer) < head {
                let heads = vec![(self.node, head)];
                let message = Message::Announce { network, heads, wish: Wish::Difference };
                self.send(vec![peer], message, Carrier::Datagram);
            }
        }
    }

    fn own_head(&self, network: NetworkId) -> u64 {
        self.shelves.get(&network).map_or(0, |shelf| shelf.extent(self.node).head)
    }

    /// How far a peer has said that it holds this node's log.
    pub(crate) fn confirmed_head(&self, network: NetworkId, peer: NodeId) -> u64 {
        self.confirmed.get(&(network, peer)).copied().unwrap_or(0)
    }

    pub(crate) fn take_held(&mut self, from: NodeId, network: NetworkId, heads: &[(NodeId, u64)]) {
        let own = self.own_head(network);
        for (_, head) in heads.iter().filter(|(owner, _)| *owner == self.node) {
            let confirmed = self.confirmed.entry((network, from)).or_default();
            *confirmed = (*confirmed).max(*head).min(own);
        }
    }

    /// What a peer confirmed counts no more: it started anew, or holds the network anew.
    pub(crate) fn forget_confirmed(&mut self, of: impl Fn(NetworkId, NodeId) -> bool) {
        self.confirmed.retain(|(network, peer), _| !of(*network, *peer));
    }

    /// After a detach nobody compares this node's log of the network with it any more, yet its
    /// last deletes must arrive: it announces its head until each attached node holds it.
    pub(crate) fn announce_farewells(&mut self, most: usize) {
        let mut due = Vec::new();
        for (network, shelf) in &self.shelves {
            let head = shelf.extent(self.node).head;
            if *network == ATTACHMENTS || self.is_attached(*network) || head == 0 {
                continue;
            }
            let takers = self.attached.get(network).into_iter().flatten();
            due.extend(
                takers
                    .filter(|peer| self.peers.is_up(**peer))
                    .filter(|peer| self.confirmed_head(*network, **peer) < head)
                    .map(|peer| (*network, *peer, head)),
            );
        }
        for (network, peer, head) in due.into_iter().take(most) {
            let heads = vec![(self.node, head)];
            let message = Message::Announce { network, heads, wish: Wish::Word };
            self.send(vec![peer], message, Carrier::Datagram);
        }
    }
}
