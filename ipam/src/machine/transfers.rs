//! What is handed over unasked: gifts at a network's birth, and everything when this node leaves.

use std::collections::BTreeSet;
use std::time::Instant;

use weft_api::NodeId;

use super::{Ipam, Phase};
use crate::codec;
use crate::error::Error;
use crate::interval::IntervalMap;
use crate::message::{Message, TransferId};
use crate::output::Output;
use crate::ranges::{Mark, Ranges, encode_marks};
use crate::space::Space;

/// How often a gift is sent. Ranges reach their new owner through the facts in any case; the
/// message spares it the rest.
const GIFT_TRIES_MAX: u32 = 5;

/// A transfer that not all its receivers have acknowledged.
#[derive(Debug)]
pub(super) struct Transfer {
    to: BTreeSet<NodeId>,
    bytes: Vec<u8>,
    tries: u32,
    pub(super) next: Instant,
}

impl Ipam {
    /// Hands all ranges to live members; [`Output::LeaveDone`] follows when every one of them has
    /// them durably and gives this node nothing more, or when the time for it is over. Addresses
    /// that an endpoint of this node still holds stay behind: set endpoints down first.
    pub fn leave(&mut self, now: Instant) {
        let until = now + self.config.leave_timeout;
        match self.phase {
            Phase::Starting => {
                self.phase = Phase::Unready { until };
                self.fail_waiting(|_| true, &Error::Leaving);
            }
            Phase::Ready => self.leave_until(until, now),
            Phase::Unready { .. } | Phase::Leaving { .. } => {}
            // What a node with a rolled-back disk takes for its own may be another's.
            Phase::Left | Phase::Stopped => self.end_leave(),
        }
    }

    pub(super) fn leave_until(&mut self, until: Instant, now: Instant) {
        self.found_pending(now);
        self.phase = Phase::Leaving { until };
        self.asks.clear();
        self.transfers.clear();
        self.fail_waiting(|_| true, &Error::Leaving);
        self.announce_leave();
        let spaces: Vec<Space> = self.pools.keys().copied().collect();
        for space in spaces {
            self.hand_over(space, now);
        }
        self.end_leave_when_acknowledged(now);
    }

    pub(super) fn hand_over(&mut self, space: Space, now: Instant) {
        // To one that leaves too only where there is nobody else: it hands it on.
        let order = |&node: &NodeId| (!self.leaves(node), self.weight(&space, node), node);
        let stays = |node: &NodeId| !self.has_said_farewell(*node);
        let heir = self.alive.iter().copied().filter(stays).max_by_key(order);
        let (Some(heir), Some(pool)) = (heir, self.pools.get(&space)) else { return };
        let pieces: Vec<_> = pool.leaving().iter().map(|(l, h, ())| (l, h)).collect();
        if !pieces.is_empty() {
            let to = self.alive.clone();
            self.give_and_tell(space, &pieces, heir, to, now);
        }
    }

    /// Gives a node pieces of a space without being asked.
    pub(super) fn transfer(
        &mut self,
        space: Space,
        pieces: &[(u128, u128)],
        to: NodeId,
        now: Instant,
    ) {
        self.give_and_tell(space, pieces, to, BTreeSet::from([to]), now);
    }

    fn give_and_tell(
        &mut self,
        space: Space,
        pieces: &[(u128, u128)],
        owner: NodeId,
        to: BTreeSet<NodeId>,
        now: Instant,
    ) {
        let Some(pool) = self.pools.get_mut(&space) else { return };
        let rested = pieces.iter().flat_map(|&(l, h)| pool.free_in(l, h)).collect();
        let delta = pool.give(pieces, owner, &mut self.out);
        let id = self.next_id();
        let (subject, delta) = (space.subject(), encode_marks(&delta));
        self.tell(id, &Message::Transfer { id, subject, delta, rested }, to, now);
    }

    /// Sends a message until it is answered under its id.
    pub(super) fn tell(
        &mut self,
        id: TransferId,
        message: &Message,
        to: BTreeSet<NodeId>,
        now: Instant,
    ) {
        for &node in &to {
            self.send(node, message);
        }
        let next = now + self.config.ask_timeout;
        let transfer = Transfer { to, bytes: codec::encode(message), tries: 1, next };
        self.transfers.insert(id, transfer);
    }

    pub(super) fn on_transfer(
        &mut self,
        from: NodeId,
        id: TransferId,
        subject: &[u8],
        delta: &[u8],
        rested: &[(u128, u128)],
        now: Instant,
    ) {
        let Some((space, Ok(Ranges::Marked(marks)))) =
            Space::from_subject(subject).map(|space| (space, Ranges::decode(delta)))
        else {
            self.counters.malformed += 1;
            return;
        };
        // What a node gets that has left, or has stopped, nobody has.
        if matches!(self.phase, Phase::Left | Phase::Stopped) {
            return;
        }
        self.join_told(space, &marks, now);
        if let Some(pool) = self.pools.get_mut(&space) {
            for &(low, high) in rested.iter().filter(|(low, high)| low <= high) {
                pool.trust(low, high, &marks, &mut self.out);
            }
        }
        self.send(from, &Message::Received { id });
        self.retry_space(space, now);
        self.top_up(now);
    }

    /// Joins what a message tells, and passes it on to the facts, where it becomes durable.
    pub(super) fn join_told(&mut self, space: Space, marks: &IntervalMap<Mark>, now: Instant) {
        if self.is_forgotten(space) || self.join_foreign(space, marks, now).is_empty() {
            return;
        }
        if let Some(pool) = self.pools.get(&space) {
            self.out.push_back(pool.fact(marks));
        }
    }

    pub(super) fn on_received(&mut self, from: NodeId, id: TransferId, now: Instant) {
        if let Some(transfer) = self.transfers.get_mut(&id) {
            transfer.to.remove(&from);
            if transfer.to.is_empty() {
                self.transfers.remove(&id);
            }
        }
        self.end_leave_when_acknowledged(now);
    }

    /// The dead acknowledge nothing.
    pub(super) fn forget_receivers(&mut self, now: Instant) {
        let (alive, lost) = (&self.alive, &mut self.unacknowledged);
        self.transfers.retain(|_, transfer| {
            lost.extend(transfer.to.iter().filter(|node| !alive.contains(node)));
            transfer.to.retain(|node| alive.contains(node));
            !transfer.to.is_empty()
        });
        if !matches!(self.phase, Phase::Leaving { .. }) {
            self.unacknowledged.clear();
        }
        self.end_leave_when_acknowledged(now);
    }

    pub(super) fn repeat_transfers(&mut self, now: Instant) {
        let endless = matches!(self.phase, Phase::Leaving { .. });
        self.transfers.retain(|_, t| t.next > now || endless || t.tries < GIFT_TRIES_MAX);
        let pause = self.config.ask_timeout;
        for transfer in self.transfers.values_mut().filter(|t| t.next <= now) {
            transfer.tries += 1;
            transfer.next = now + pause;
            for &to in &transfer.to {
                self.out.push_back(Output::Message { to, bytes: transfer.bytes.clone() });
            }
        }
    }

    pub(super) fn end_leave_when_acknowledged(&mut self, now: Instant) {
        let is_acknowledged =
            matches!(self.phase, Phase::Leaving { .. }) && self.transfers.is_empty();
        if is_acknowledged && !self.say_farewell(now) {
            self.end_leave();
        }
    }

    pub(super) fn end_leave(&mut self) {
        match self.phase {
            Phase::Unready { .. } => self.unacknowledged.extend(&self.alive),
            Phase::Leaving { .. } => {
                let silent = self.transfers.values().flat_map(|t| t.to.iter());
                self.unacknowledged.extend(silent);
            }
            Phase::Starting | Phase::Ready | Phase::Left | Phase::Stopped => {}
        }
        self.phase = Phase::Left;
        self.transfers.clear();
        let unacknowledged = self.unacknowledged.iter().copied().collect();
        self.out.push_back(Output::LeaveDone { unacknowledged });
    }
}
