//! Asking others: one ask a target at a time, on behalf of all requests that wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use weft_api::NodeId;

use super::Ipam;
use super::requests::{Job, Wait};
use crate::allocation::Kind;
use crate::error::{Error, Shortage};
use crate::interval::width;
use crate::message::{AskWant, Claim, Message, Refusal, TransferId, Urgency};
use crate::ranges::Ranges;
use crate::space::Space;

/// The most asks under way at a time.
const ASKS_MAX: usize = 256;
/// How often one owner is asked before another is.
const TRIES_MAX: u32 = 3;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) space: Space,
    pub(super) span: Span,
}

/// One integer, or any out of some intervals.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Span {
    Exact(u128),
    Ranges(Vec<(u128, u128)>),
    /// One address, to be held by its owner, which keeps it.
    Held {
        at: u128,
        kind: Kind,
        claim: Claim,
    },
}

/// An ask under way.
#[derive(Debug)]
pub(super) struct Ask {
    id: TransferId,
    donor: NodeId,
    urgency: Urgency,
    /// Times this donor was asked.
    tries: u32,
    /// Donors that refused or were silent.
    tried: BTreeSet<NodeId>,
    silent: BTreeSet<NodeId>,
    /// When to ask again.
    pub(super) next: Instant,
}

impl Ipam {
    /// Asks for a target, unless that is being done.
    pub(super) fn ask(&mut self, target: Target, urgency: Urgency, now: Instant) {
        // One who waits may have what a top-up may not: that ask begins anew under a new id, so
        // that a refusal of the old one does not count.
        match self.asks.get(&target) {
            Some(ask) if urgency == Urgency::Waiting && ask.urgency == Urgency::TopUp => {}
            Some(_) => return,
            None => {}
        }
        if self.asks.len() >= ASKS_MAX {
            self.counters.asks_full += 1;
            self.conclude(&target, &Error::Busy);
            return;
        }
        let id = self.next_id();
        let ask = Ask {
            id,
            donor: self.node,
            urgency,
            tries: 0,
            tried: BTreeSet::new(),
            silent: BTreeSet::new(),
            next: now,
        };
        self.asks.insert(target.clone(), ask);
        self.advance(&target, now);
    }

    /// Asks the next donor, or concludes that there is none.
    fn advance(&mut self, target: &Target, now: Instant) {
        let Some(ask) = self.asks.get(target) else { return };
        match self.next_donor(target, &ask.tried) {
            Next::Donor(donor) => {
                let Some(ask) = self.asks.get_mut(target) else { return };
                (ask.donor, ask.tries) = (donor, 0);
                self.send_ask(target, now);
            }
            // What was asked for came another way, or its owner is not known any more.
            Next::Nobody => {
                self.asks.remove(target);
                self.retry(|w| matches!(&w.wait, Wait::Ask(t) if t == target), now);
            }
            Next::Fail(error) => {
                let urgency = self.asks.remove(target).map(|ask| ask.urgency);
                if urgency == Some(Urgency::TopUp) {
                    self.pause_top_up(target.space, now);
                }
                self.conclude(target, &error);
            }
        }
    }

    fn next_donor(&self, target: &Target, tried: &BTreeSet<NodeId>) -> Next {
        match &target.span {
            Span::Exact(at) => self.holder(target.space, *at, tried),
            // The request looks again, and this node holds the address itself.
            Span::Held { at, .. } if target.is_replay() && self.is_away(target.space, *at) => {
                Next::Nobody
            }
            Span::Held { at, .. } => self.holder(target.space, *at, tried),
            Span::Ranges(ranges) => match self.best_donor(target.space, ranges, tried) {
                Some(donor) => Next::Donor(donor),
                None => Next::Fail(self.shortage(target, ranges)),
            },
        }
    }

    /// Of the others that are there and were not tried, the one who owns most of some intervals.
    pub(super) fn best_donor(
        &self,
        space: Space,
        ranges: &[(u128, u128)],
        tried: &BTreeSet<NodeId>,
    ) -> Option<NodeId> {
        let owned = self.owned_by_others(space, ranges).into_iter();
        owned
            .filter(|(node, _)| self.alive.contains(node) && !tried.contains(node))
            .max_by_key(|&(node, owned)| (owned, self.weight(&space, node), node))
            .map(|(node, _)| node)
    }

    /// The one who can be asked for a certain integer: its owner.
    fn holder(&self, space: Space, at: u128, tried: &BTreeSet<NodeId>) -> Next {
        let owner = self.pools.get(&space).and_then(|pool| pool.owner(at));
        match owner.filter(|&owner| owner != self.node) {
            None => Next::Nobody,
            Some(owner) if self.alive.contains(&owner) && !tried.contains(&owner) => {
                Next::Donor(owner)
            }
            Some(owner) => Next::Fail(Error::OwnerAway { address: space.show(at), owner }),
        }
    }

    /// Whether an integer has an owner who is not alive.
    pub(super) fn is_away(&self, space: Space, at: u128) -> bool {
        let owner = self.pools.get(&space).and_then(|pool| pool.owner(at));
        owner.is_some_and(|owner| owner != self.node && !self.alive.contains(&owner))
    }

    /// Whether anybody alive could be asked.
    pub(super) fn has_donor(&self, target: &Target) -> bool {
        matches!(self.next_donor(target, &BTreeSet::new()), Next::Donor(_))
    }

    fn owned_by_others(&self, space: Space, ranges: &[(u128, u128)]) -> BTreeMap<NodeId, u128> {
        let mut owned: BTreeMap<NodeId, u128> = BTreeMap::new();
        let Some(pool) = self.pools.get(&space) else { return owned };
        let (first, last) = space.usable();
        for &(low, high) in ranges {
            for (l, h, mark) in pool.marks.within(low.max(first), high.min(last)) {
                if mark.owner != self.node {
                    let sum = owned.entry(mark.owner).or_default();
                    *sum = sum.saturating_add(width(l, h));
                }
            }
        }
        owned
    }

    fn shortage(&self, target: &Target, ranges: &[(u128, u128)]) -> Error {
        let owned = self.owned_by_others(target.space, ranges);
        let away = owned.keys().filter(|node| !self.alive.contains(node)).copied().collect();
        let silent = self.asks.get(target).map(|ask| ask.silent.iter().copied().collect());
        let resting = self.pools.get(&target.space).map_or(0, |pool| {
            ranges.iter().map(|&(l, h)| pool.rest_total(l, h)).fold(0, u128::saturating_add)
        });
        let shortage = Shortage { away, silent: silent.unwrap_or_default(), resting };
        match target.space {
            Space::Subnet { .. } => Error::NoAvailableIps(shortage),
            Space::Vni | Space::Blocks(_) => Error::NoMoreBlocks(shortage),
        }
    }

    fn send_ask(&mut self, target: &Target, now: Instant) {
        let need = self.waiting.values().filter(|w| w.waits_for(target)).count() as u64;
        let last = self.pools.get(&target.space).map_or(0, |pool| pool.last_grant);
        let Some(ask) = self.asks.get_mut(target) else { return };
        ask.tries += 1;
        ask.next = now + self.config.ask_timeout;
        let (to, id, subject) = (ask.donor, ask.id, target.space.subject());
        let want = match &target.span {
            Span::Exact(at) => AskWant::Exact(*at),
            Span::Ranges(ranges) => {
                AskWant::Block { ranges: ranges.clone(), need, last, urgency: ask.urgency }
            }
            Span::Held { at, kind, claim } => {
                let (at, kind, claim) = (*at, kind.clone(), *claim);
                let after = self.pools.get(&target.space).map_or(0, |pool| pool.generation(at));
                return self.send(to, &Message::Hold { id, subject, at, kind, claim, after });
            }
        };
        self.send(to, &Message::Ask { id, subject, want });
    }

    pub(super) fn on_grant(&mut self, id: TransferId, subject: &[u8], delta: &[u8], now: Instant) {
        let Some((space, Ok(Ranges::Marked(marks)))) =
            Space::from_subject(subject).map(|space| (space, Ranges::decode(delta)))
        else {
            self.counters.malformed += 1;
            return;
        };
        self.join_told(space, &marks, now);
        let whole = space.bounds();
        if let Some(pool) = self.pools.get_mut(&space) {
            pool.trust(whole.0, whole.1, &marks, &mut self.out);
        }
        if let Some(target) = self.asked(id, space) {
            self.asks.remove(&target);
            if let (Some(pool), Span::Ranges(_)) = (self.pools.get_mut(&space), &target.span) {
                pool.last_grant = marks.total();
            }
        }
        self.retry_space(space, now);
        self.top_up(now);
    }

    pub(super) fn on_refuse(
        &mut self,
        from: NodeId,
        id: TransferId,
        subject: &[u8],
        refusal: Refusal,
        (delta, passed): (Option<&[u8]>, Option<NodeId>),
        now: Instant,
    ) {
        let Some(space) = Space::from_subject(subject) else {
            self.counters.malformed += 1;
            return;
        };
        if let Some(Ok(Ranges::Marked(marks))) = delta.map(Ranges::decode) {
            self.join_told(space, &marks, now);
        }
        let Some(target) = self.asked(id, space) else { return };
        let Some(ask) = self.asks.get_mut(&target).filter(|ask| ask.donor == from) else { return };
        // It will be ready soon, or dead: the ask is repeated until either is known.
        if refusal == Refusal::NotReady && target.is_replay() {
            return;
        }
        ask.tried.insert(from);
        // The next one is being asked already; if that is lost, this node asks it.
        if let Some(next) = passed
            && self.alive.contains(&next)
            && !ask.tried.contains(&next)
        {
            (ask.donor, ask.tries) = (next, 0);
            ask.next = now + self.config.ask_timeout;
            return;
        }
        match (refusal, &target.span) {
            (Refusal::InUse, Span::Exact(_) | Span::Held { .. }) => {
                self.asks.remove(&target);
                self.conclude(&target, &Error::IpAlreadyAllocated);
            }
            (Refusal::Resting(left_ms), Span::Exact(_) | Span::Held { .. }) => {
                self.asks.remove(&target);
                self.conclude(&target, &Error::Resting(Duration::from_millis(left_ms)));
            }
            (Refusal::None | Refusal::NotOwner | Refusal::NotReady, _)
            | (Refusal::InUse | Refusal::Resting(_), Span::Ranges(_)) => {
                self.advance(&target, now);
            }
        }
    }

    pub(super) fn repeat_asks(&mut self, now: Instant) {
        let due: Vec<Target> =
            self.asks.iter().filter(|(_, ask)| ask.next <= now).map(|(t, _)| t.clone()).collect();
        for target in due {
            let Some(ask) = self.asks.get_mut(&target) else { continue };
            if ask.tries < TRIES_MAX || target.is_replay() {
                self.send_ask(&target, now);
                continue;
            }
            self.counters.unanswered += 1;
            ask.silent.insert(ask.donor);
            ask.tried.insert(ask.donor);
            self.advance(&target, now);
        }
    }

    pub(super) fn advance_asks_of_the_dead(&mut self, now: Instant) {
        let dead = self.asks.iter().filter(|(_, ask)| !self.alive.contains(&ask.donor));
        let dead: Vec<Target> = dead.map(|(target, _)| target.clone()).collect();
        for target in dead {
            self.advance(&target, now);
        }
    }

    /// Drops asks that nobody waits for any more. Their late grants are taken all the same.
    pub(super) fn drop_idle_asks(&mut self) {
        let waiting = &self.waiting;
        self.asks.retain(|target, ask| {
            ask.urgency == Urgency::TopUp || waiting.values().any(|w| w.waits_for(target))
        });
    }

    /// The error of a request whose time is up while others are being asked.
    pub(super) fn unanswered(&self, target: &Target, job: &Job) -> Error {
        match (&target.span, job) {
            (Span::Ranges(ranges), _) => self.shortage(target, ranges),
            (Span::Exact(at) | Span::Held { at, .. }, Job::Address(_) | Job::Block { .. }) => {
                let owner = self.asks.get(target).map_or(self.node, |ask| ask.donor);
                Error::OwnerAway { address: target.space.show(*at), owner }
            }
        }
    }

    /// Answers all requests that wait for a target with an error.
    fn conclude(&mut self, target: &Target, error: &Error) {
        self.fail_waiting(|waiting| waiting.waits_for(target), error);
    }

    pub(super) fn asked(&self, id: TransferId, space: Space) -> Option<Target> {
        let mut asks = self.asks.iter();
        asks.find(|(target, ask)| ask.id == id && target.space == space).map(|(t, _)| t.clone())
    }
}

impl Target {
    fn is_replay(&self) -> bool {
        matches!(&self.span, Span::Held { claim: Claim::Replay, .. })
    }
}

enum Next {
    Donor(NodeId),
    Nobody,
    Fail(Error),
}

impl super::Waiting {
    pub(super) fn waits_for(&self, target: &Target) -> bool {
        matches!(&self.wait, Wait::Ask(t) if t == target)
    }
}
