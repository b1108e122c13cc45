//! One space as this node sees it: everyone's ranges, and what is free in its own.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use weft_api::{EndpointId, NodeId};

use crate::allocation::{Allocation, Kind};
use crate::interval::{IntervalMap, IntervalSet, width};
use crate::output::{FactKind, Output};
use crate::ranges::{Change, Mark, encode_marks, merge};
use crate::record::{Bound, Cursor, Key};
use crate::space::Space;

/// Why an address of ours rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It was in use until lately, or may have been: after a boot nobody knows better.
    Released,
    /// It came to this node, which does not know whether it has rested.
    Gained,
}

/// A rest that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) until: Instant,
    pub(crate) cause: Cause,
}

/// One space.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) space: Space,
    node: NodeId,
    pub(crate) marks: IntervalMap<Mark>,
    /// Ours and rested. Durable: what is ours and not in it rests anew after a boot.
    settled: IntervalSet,
    /// Taken VNIs and blocks. Durable.
    spent: IntervalSet,
    /// VNIs and blocks that networks in force use, whoever took them.
    blocked: IntervalSet,
    endpoints: BTreeMap<u128, Bound>,
    by_endpoint: BTreeMap<EndpointId, u128>,
    allocations: BTreeMap<u128, Allocation>,
    rest: IntervalMap<Rest>,
    /// What may be given out now: always `ours ∩ settled ∩ usable` less all that is bound.
    free: IntervalSet,
    /// The last one given out, for serial order.
    cursor: Option<Cursor>,
    /// How much the last grant gave.
    pub(crate) last_grant: u128,
    /// No top-up is asked for before.
    pub(crate) top_up_after: Option<Instant>,
}

/// Which of the two durable sets.
#[derive(Debug, Clone, Copy)]
enum Set {
    Settled,
    Spent,
}

impl Pool {
    pub(crate) fn new(space: Space, node: NodeId) -> Self {
        Self {
            space,
            node,
            marks: IntervalMap::default(),
            settled: IntervalSet::default(),
            spent: IntervalSet::default(),
            blocked: IntervalSet::default(),
            endpoints: BTreeMap::new(),
            by_endpoint: BTreeMap::new(),
            allocations: BTreeMap::new(),
            rest: IntervalMap::default(),
            free: IntervalSet::default(),
            cursor: None,
            last_grant: 0,
            top_up_after: None,
        }
    }

    // ---- reading

    pub(crate) fn owner(&self, at: u128) -> Option<NodeId> {
        self.marks.get(at).map(|mark| mark.owner)
    }

    pub(crate) fn is_free(&self, at: u128) -> bool {
        self.free.get(at).is_some()
    }

    pub(crate) fn resting(&self, at: u128) -> Option<Rest> {
        self.rest.get(at).copied()
    }

    pub(crate) fn endpoint(&self, at: u128) -> Option<EndpointId> {
        self.endpoints.get(&at).map(|bound| bound.endpoint)
    }

    pub(crate) fn endpoint_offsets(&self) -> impl Iterator<Item = (u128, EndpointId)> {
        self.endpoints.iter().map(|(&at, bound)| (at, bound.endpoint))
    }

    pub(crate) fn of_endpoint(&self, endpoint: EndpointId) -> Option<u128> {
        self.by_endpoint.get(&endpoint).copied()
    }

    pub(crate) fn allocation(&self, at: u128) -> Option<&Allocation> {
        self.allocations.get(&at)
    }

    pub(crate) fn allocated(&self) -> impl Iterator<Item = (u128, &Allocation)> {
        self.allocations.iter().map(|(&at, allocation)| (at, allocation))
    }

    /// What holds an address without an endpoint.
    pub(crate) fn held(&self, at: u128) -> Option<&Kind> {
        self.allocation(at).and_then(Allocation::held)
    }

    /// The last generation known of an address; zero before the first.
    pub(crate) fn generation(&self, at: u128) -> u64 {
        self.allocation(at).map_or(0, Allocation::generation)
    }

    /// Where a gateway or a named auxiliary address is; a Swarm address has no one place.
    pub(crate) fn of_kind(&self, kind: &Kind) -> Option<u128> {
        match kind {
            Kind::Swarm => None,
            Kind::Gateway | Kind::Auxiliary(_) => {
                self.allocated().find(|(_, a)| a.held() == Some(kind)).map(|(at, _)| at)
            }
        }
    }

    pub(crate) fn free_in(&self, low: u128, high: u128) -> impl Iterator<Item = (u128, u128)> {
        self.free.within(low, high).map(|(l, h, ())| (l, h))
    }

    pub(crate) fn first_free(&self, low: u128, high: u128) -> Option<u128> {
        self.free.first_in(low, high)
    }

    /// The next free one after the last given out, from the start again behind the end.
    pub(crate) fn next_free(&self, low: u128, high: u128) -> Option<u128> {
        match self.cursor.map(|cursor| cursor.at).filter(|c| (low..high).contains(c)) {
            Some(c) => self.free.first_in(c + 1, high).or_else(|| self.free.first_in(low, c)),
            None => self.free.first_in(low, high),
        }
    }

    pub(crate) fn free_total(&self) -> u128 {
        self.free.total()
    }

    pub(crate) fn rest_total(&self, low: u128, high: u128) -> u128 {
        self.rest.within(low, high).map(|(l, h, _)| width(l, h)).fold(0, u128::saturating_add)
    }

    pub(crate) fn used_total(&self) -> u128 {
        let held = self.allocated().filter(|(at, a)| {
            let bound_twice = self.endpoints.contains_key(at);
            a.held().is_some() && !bound_twice && self.owner(*at) == Some(self.node)
        });
        self.spent.total().saturating_add((self.endpoints.len() + held.count()) as u128)
    }

    /// Blocks that were taken and that no network in force uses.
    pub(crate) fn pending(&self) -> Vec<u128> {
        let mut left = self.spent.clone();
        for (low, high, ()) in self.blocked.iter() {
            left.clear(low, high);
        }
        left.iter().flat_map(|(low, high, ())| low..=high).collect()
    }

    pub(crate) fn is_spent(&self, at: u128) -> bool {
        self.spent.get(at).is_some()
    }

    /// What this node may hand over when it leaves: all of its own but what an endpoint still
    /// holds and the VNIs that were ever taken, which nobody may take again.
    pub(crate) fn leaving(&self) -> IntervalSet {
        let mut pieces = IntervalSet::default();
        for (low, high, mark) in self.marks.iter() {
            if mark.owner == self.node {
                pieces.set(low, high, ());
            }
        }
        for at in self.endpoints.keys() {
            pieces.clear(*at, *at);
        }
        if self.space == Space::Vni {
            for (low, high, ()) in self.spent.iter() {
                pieces.clear(low, high);
            }
        }
        pieces
    }

    // ---- restoring

    pub(crate) fn restore_settled(&mut self, low: u128, high: u128) {
        self.settled.set(low, high, ());
    }

    pub(crate) fn restore_spent(&mut self, low: u128, high: u128) {
        self.spent.set(low, high, ());
    }

    pub(crate) fn restore_endpoint(&mut self, at: u128, bound: Bound) {
        self.endpoints.insert(at, bound);
        self.by_endpoint.insert(bound.endpoint, at);
        self.restore_cursor(Cursor { at, stamp: bound.stamp });
    }

    /// Moves the cursor on; the order of calls does not matter.
    pub(crate) fn restore_cursor(&mut self, cursor: Cursor) {
        if self.cursor.is_none_or(|last| last.stamp < cursor.stamp) {
            self.cursor = Some(cursor);
        }
    }

    pub(crate) fn restore_allocation(&mut self, at: u128, allocation: Allocation) {
        self.allocations.insert(at, allocation);
    }

    /// Ends the restoring: what is ours and not settled rests, all of it. Returns what does.
    pub(crate) fn restored(&mut self, until: Instant) -> Vec<(u128, u128)> {
        let mut unrested = IntervalSet::default();
        for (low, high, mark) in self.marks.iter() {
            if mark.owner == self.node {
                unrested.set(low, high, ());
            }
        }
        for (low, high, ()) in self.settled.iter() {
            unrested.clear(low, high);
        }
        for (low, high, ()) in unrested.iter() {
            self.rest.set(low, high, Rest { until, cause: Cause::Released });
        }
        let (low, high) = self.space.bounds();
        self.refresh(low, high);
        unrested.iter().map(|(low, high, ())| (low, high)).collect()
    }

    // ---- ranges

    /// Joins marks, ours or others'. What is lost is no longer settled; what is gained is for the
    /// caller to rest or to settle.
    pub(crate) fn join(
        &mut self,
        delta: &IntervalMap<Mark>,
        out: &mut VecDeque<Output>,
    ) -> Vec<Change> {
        let changes = merge(&mut self.marks, delta);
        for change in &changes {
            let was = change.before.is_some_and(|mark| mark.owner == self.node);
            if was && change.after.owner != self.node {
                self.alter(Set::Settled, change.low, change.high, IntervalMap::clear, out);
                self.rest.clear(change.low, change.high);
            }
            self.refresh(change.low, change.high);
        }
        changes
    }

    /// Gives pieces of ours to a node and returns the marks that say so; for the caller to answer
    /// with only after they are durable.
    pub(crate) fn give(
        &mut self,
        pieces: &[(u128, u128)],
        to: NodeId,
        out: &mut VecDeque<Output>,
    ) -> IntervalMap<Mark> {
        let mut delta = IntervalMap::default();
        for &(low, high) in pieces {
            for (l, h, mark) in self.marks.within(low, high) {
                if mark.owner == self.node {
                    delta.set(l, h, Mark { version: mark.version + 1, owner: to });
                }
            }
        }
        self.join(&delta, out);
        out.push_back(self.fact(&delta));
        delta
    }

    pub(crate) fn fact(&self, delta: &IntervalMap<Mark>) -> Output {
        Output::Fact {
            kind: FactKind::Ranges,
            subject: self.space.subject(),
            delta: encode_marks(delta),
        }
    }

    // ---- rest

    /// Starts the rest of what is ours in an interval.
    pub(crate) fn start_rest(
        &mut self,
        low: u128,
        high: u128,
        rest: Rest,
        out: &mut VecDeque<Output>,
    ) {
        self.alter(Set::Settled, low, high, IntervalMap::clear, out);
        for (l, h) in self.ours(low, high) {
            self.rest.set(l, h, rest);
        }
        self.refresh(low, high);
    }

    /// Ends the rests in an interval that are over.
    pub(crate) fn end_rest(
        &mut self,
        low: u128,
        high: u128,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        let over: Vec<_> = self
            .rest
            .within(low, high)
            .filter(|(_, _, rest)| rest.until <= now)
            .map(|(l, h, _)| (l, h))
            .collect();
        for (l, h) in over {
            self.settle(l, h, out);
        }
    }

    /// Ends the rests that only a gain began, where the marks are still those of the delta: the
    /// donor says that these parts have rested.
    pub(crate) fn trust(
        &mut self,
        low: u128,
        high: u128,
        delta: &IntervalMap<Mark>,
        out: &mut VecDeque<Output>,
    ) {
        let mut known = Vec::new();
        for (l, h, given) in delta.within(low, high) {
            for (l, h, mark) in self.marks.within(l, h) {
                if mark == given && mark.owner == self.node {
                    let gained = self.rest.within(l, h).filter(|r| r.2.cause == Cause::Gained);
                    known.extend(gained.map(|(l, h, _)| (l, h)));
                }
            }
        }
        for (l, h) in known {
            self.settle(l, h, out);
        }
    }

    /// Makes what is ours in an interval free for use.
    pub(crate) fn settle(&mut self, low: u128, high: u128, out: &mut VecDeque<Output>) {
        self.rest.clear(low, high);
        for (l, h) in self.ours(low, high) {
            self.alter(Set::Settled, l, h, |set, l, h| set.set(l, h, ()), out);
        }
        self.refresh(low, high);
    }

    // ---- binding

    pub(crate) fn bind(&mut self, at: u128, bound: Bound, out: &mut VecDeque<Output>) {
        out.push_back(Key::Endpoint(self.space, at).put(&bound));
        self.restore_endpoint(at, bound);
        self.refresh(at, at);
    }

    pub(crate) fn unbind(&mut self, at: u128, out: &mut VecDeque<Output>) {
        if let Some(bound) = self.endpoints.remove(&at) {
            self.by_endpoint.remove(&bound.endpoint);
            out.push_back(Key::Endpoint(self.space, at).remove());
            self.refresh(at, at);
        }
    }

    /// Binds an address to another endpoint than the one that has it, without a rest between.
    pub(crate) fn rebind(&mut self, at: u128, bound: Bound, out: &mut VecDeque<Output>) {
        if let Some(before) = self.endpoints.get(&at) {
            self.by_endpoint.remove(&before.endpoint);
        }
        self.bind(at, bound, out);
    }

    /// Takes a newer state of an allocation without an endpoint; `false` when it is none. Serial
    /// order goes on behind what Swarm was given, under the stamp; other kinds stand where somebody
    /// wanted them.
    pub(crate) fn set_allocation(
        &mut self,
        at: u128,
        allocation: Allocation,
        stamp: u64,
        out: &mut VecDeque<Output>,
    ) -> bool {
        if self.allocations.get(&at).is_some_and(|known| *known >= allocation) {
            return false;
        }
        if allocation.held() == Some(&Kind::Swarm) {
            let cursor = Cursor { at, stamp };
            out.push_back(Key::Cursor(self.space).put(&cursor));
            self.restore_cursor(cursor);
        }
        self.allocations.insert(at, allocation);
        self.refresh(at, at);
        true
    }

    pub(crate) fn spend(&mut self, at: u128, out: &mut VecDeque<Output>) {
        self.alter(Set::Spent, at, at, |set, low, high| set.set(low, high, ()), out);
        self.refresh(at, at);
    }

    pub(crate) fn unspend(&mut self, low: u128, high: u128, out: &mut VecDeque<Output>) {
        self.alter(Set::Spent, low, high, IntervalMap::clear, out);
        self.refresh(low, high);
    }

    /// Says anew what networks in force use.
    pub(crate) fn block(&mut self, blocked: IntervalSet) {
        self.blocked = blocked;
        let (low, high) = self.space.bounds();
        self.refresh(low, high);
    }

    /// Adds to what networks in force use.
    pub(crate) fn block_more(&mut self, low: u128, high: u128) {
        self.blocked.set(low, high, ());
        self.refresh(low, high);
    }

    /// Removes every record of this space.
    pub(crate) fn erase(&self, out: &mut VecDeque<Output>) {
        out.extend(self.endpoints.keys().map(|at| Key::Endpoint(self.space, *at).remove()));
        out.extend(self.settled.iter().map(|(low, _, ())| Key::Settled(self.space, low).remove()));
        out.extend(self.spent.iter().map(|(low, _, ())| Key::Spent(self.space, low).remove()));
        out.extend(self.cursor.map(|_| Key::Cursor(self.space).remove()));
    }

    // ---- within

    /// The parts of an interval that this node owns.
    pub(crate) fn ours(&self, low: u128, high: u128) -> Vec<(u128, u128)> {
        let ours = self.marks.within(low, high).filter(|(_, _, mark)| mark.owner == self.node);
        ours.map(|(l, h, _)| (l, h)).collect()
    }

    fn refresh(&mut self, low: u128, high: u128) {
        self.free.clear(low, high);
        let (first, last) = self.space.usable();
        let (low, high) = (low.max(first), high.min(last));
        if low > high {
            return;
        }
        for (l, h, mark) in self.marks.within(low, high) {
            if mark.owner == self.node {
                for (l, h, ()) in self.settled.within(l, h) {
                    self.free.set(l, h, ());
                }
            }
        }
        for set in [&self.spent, &self.blocked] {
            for (l, h, ()) in set.within(low, high) {
                self.free.clear(l, h);
            }
        }
        for at in self.endpoints.range(low..=high).map(|(&at, _)| at) {
            self.free.clear(at, at);
        }
        for (&at, allocation) in self.allocations.range(low..=high) {
            if allocation.held().is_some() {
                self.free.clear(at, at);
            }
        }
    }

    /// Changes a durable set and writes the records of the intervals that changed with it.
    fn alter(
        &mut self,
        which: Set,
        low: u128,
        high: u128,
        change: fn(&mut IntervalSet, u128, u128),
        out: &mut VecDeque<Output>,
    ) {
        let set = match which {
            Set::Settled => &mut self.settled,
            Set::Spent => &mut self.spent,
        };
        let key = |at| match which {
            Set::Settled => Key::Settled(self.space, at),
            Set::Spent => Key::Spent(self.space, at),
        };
        let before: BTreeMap<_, _> = set.touching(low, high).into_iter().collect();
        change(set, low, high);
        let first = before.first_key_value().map_or(low, |(&l, _)| l.min(low));
        let last = before.last_key_value().map_or(high, |(_, &h)| h.max(high));
        let after: BTreeMap<_, _> = set.touching(first, last).into_iter().collect();
        out.extend(before.keys().filter(|&l| !after.contains_key(l)).map(|&l| key(l).remove()));
        let changed = after.iter().filter(|&(l, h)| before.get(l) != Some(h));
        out.extend(changed.map(|(&l, h)| key(l).put(h)));
    }
}
