//! The state machine.

mod asks;
mod bindings;
mod blocks;
mod donor;
mod facts;
mod farewell;
mod holds;
mod inherit;
mod networks;
mod releases;
mod requests;
mod restore;
mod transfers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use weft_api::{Definition, NetworkId, NodeId};

use crate::codec;
use crate::interval::width;
use crate::message::{Message, TransferId};
use crate::output::{Output, Reason};
use crate::pool::{Cause, Pool, Rest};
use crate::record::Donation;
use crate::space::Space;

use asks::{Ask, Target};
use farewell::Leaver;
use holds::Hold;
use releases::Release;
use requests::Waiting;
use transfers::Transfer;

/// The most intervals a space may have before its owners give nothing more away.
const SPANS_MAX: usize = 1 << 17;

/// Who this node is, and its times.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Orders equals: whom to ask first, who gets a gift.
    pub seed: [u8; 32],
    /// How long a released address rests before reuse. Default 60 s.
    pub rest: Duration,
    /// How long a request may wait for others. Default 10 s.
    pub request_timeout: Duration,
    /// How long one owner may take to answer before it is asked again, and after three times
    /// another one. Default 500 ms.
    pub ask_timeout: Duration,
    /// How long a leave may take. Default 10 s.
    pub leave_timeout: Duration,
}

impl Config {
    /// The defaults for a node.
    pub fn new(node: NodeId, seed: [u8; 32]) -> Self {
        Self {
            node,
            seed,
            rest: Duration::from_secs(60),
            request_timeout: Duration::from_secs(10),
            ask_timeout: Duration::from_millis(500),
            leave_timeout: Duration::from_secs(10),
        }
    }
}

/// One line of `weft ipam ls`: what one node owns of one space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Which space.
    pub space: Space,
    /// Who owns.
    pub owner: NodeId,
    /// How many integers it owns.
    pub owned: u128,
    /// In how many intervals.
    pub intervals: usize,
    /// What this node has bound, is free to give, and lets rest; `None` for the holdings of others,
    /// whose use of them only they know.
    pub local: Option<Local>,
}

/// The state of this node's own part of a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// Bound to something.
    pub used: u128,
    /// Free at this time.
    pub free: u128,
    /// Released and resting.
    pub resting: u128,
}

/// What went wrong so far, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Messages and facts that did not decode.
    pub malformed: u64,
    /// Requests refused because too many wait.
    pub busy: u64,
    /// Asks that a live owner left unanswered three times.
    pub unanswered: u64,
    /// Donations refused because a space is in too many pieces.
    pub fragmented: u64,
    /// Rounds of asking not begun because too many are under way.
    pub asks_full: u64,
}

/// What this node may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Facts are not synced yet: neither allocate nor donate.
    Starting,
    Ready,
    /// Leaving as soon as it is ready; done at the latest at `until`.
    Unready {
        until: Instant,
    },
    /// Handing over; done at the latest at `until`.
    Leaving {
        until: Instant,
    },
    /// Handed over.
    Left,
    /// The disk was rolled back: this identity writes nothing any more.
    Stopped,
}

/// Allocation for one node of a cluster.
#[derive(Debug)]
pub struct Ipam {
    config: Config,
    node: NodeId,
    phase: Phase,
    pools: BTreeMap<Space, Pool>,
    definitions: BTreeMap<NetworkId, Definition>,
    forgotten: BTreeSet<NetworkId>,
    /// Forgotten members whose heir this node is. Durable.
    inherited: BTreeSet<NodeId>,
    /// Live members but this node.
    alive: BTreeSet<NodeId>,
    boot: u64,
    serial: u64,
    stamp: u64,
    /// In the order of their arrival; one timeout for all, so also of their deadlines.
    waiting: BTreeMap<u64, Waiting>,
    arrivals: u64,
    asks: BTreeMap<Target, Ask>,
    donations: BTreeMap<NodeId, BTreeMap<TransferId, Donation>>,
    transfers: BTreeMap<TransferId, Transfer>,
    /// Members that died while this node left, before they had its ranges.
    unacknowledged: BTreeSet<NodeId>,
    /// To whom this node, which leaves, has said farewell.
    said_farewell: BTreeSet<NodeId>,
    /// Others that leave.
    leavers: BTreeMap<NodeId, Leaver>,
    releases: BTreeMap<(Space, u128), Release>,
    /// One rest time for all, so in the order of their ends.
    rests: VecDeque<(Instant, Space, u128, u128)>,
    counters: Counters,
    out: VecDeque<Output>,
}

impl Ipam {
    /// Takes a message of another node's machine. Malformed ones are counted and change nothing.
    pub fn handle_message(&mut self, from: NodeId, bytes: &[u8], now: Instant) {
        let Some(message) = codec::decode::<Message>(bytes) else {
            self.counters.malformed += 1;
            return;
        };
        match message {
            Message::Ask { id, subject, want } => {
                self.on_ask(from, id, &subject, want, &[], now);
            }
            // One that is gone, or is being forgotten, gets nothing.
            Message::Pass { asker, .. } if !self.alive.contains(&asker) => {}
            Message::Pass { asker, id, subject, want, tried } => {
                self.on_ask(asker, id, &subject, want, &tried, now);
            }
            Message::Grant { id, subject, delta } => self.on_grant(id, &subject, &delta, now),
            Message::Refuse { id, subject, refusal, delta, passed } => {
                let told = (delta.as_deref(), passed);
                self.on_refuse(from, id, &subject, refusal, told, now);
            }
            Message::Transfer { id, subject, delta, rested } => {
                self.on_transfer(from, id, &subject, &delta, &rested, now);
            }
            Message::Received { id } => self.on_received(from, id, now),
            Message::Release { subject, at, generation } => {
                self.on_release(&subject, at, generation, now);
            }
            Message::Hold { id, subject, at, kind, claim, after } => {
                let hold = Hold { at, kind, claim, after };
                self.on_hold(from, id, &subject, &hold, now);
            }
            Message::Held { id, subject, state } => self.on_held(id, &subject, &state, now),
            Message::Leave { id, last } => self.on_leave(from, id, last),
            Message::Farewell { id, yours } => self.on_farewell(from, id, &yours, now),
        }
    }

    /// Hears who is alive; this node may be among them or not.
    pub fn on_members(&mut self, alive: &[NodeId], now: Instant) {
        self.alive = alive.iter().copied().filter(|&node| node != self.node).collect();
        self.said_farewell = self.said_farewell.intersection(&self.alive).copied().collect();
        self.forget_receivers(now);
        self.advance_asks_of_the_dead(now);
        self.drive_releases(now);
        self.retry_held(now);
        self.top_up(now);
    }

    /// Facts are synced with every live member since this start: allocation may begin.
    pub fn on_ready(&mut self, now: Instant) {
        match self.phase {
            Phase::Starting => self.phase = Phase::Ready,
            Phase::Unready { until } => {
                self.phase = Phase::Ready;
                return self.leave_until(until, now);
            }
            Phase::Ready | Phase::Leaving { .. } | Phase::Left | Phase::Stopped => return,
        }
        self.found_pending(now);
        self.drive_releases(now);
        self.retry_held(now);
        self.top_up(now);
    }

    /// Who owns how much of what, for people.
    pub fn holdings(&self) -> Vec<Holding> {
        let mut holdings = Vec::new();
        for pool in self.pools.values() {
            let mut owners: BTreeMap<NodeId, (u128, usize)> = BTreeMap::new();
            for (low, high, mark) in pool.marks.iter() {
                let entry = owners.entry(mark.owner).or_default();
                *entry = (entry.0.saturating_add(width(low, high)), entry.1 + 1);
            }
            for (owner, (owned, intervals)) in owners {
                let (low, high) = pool.space.bounds();
                let local = (owner == self.node).then(|| Local {
                    used: pool.used_total(),
                    free: pool.free_total(),
                    resting: pool.rest_total(low, high),
                });
                holdings.push(Holding { space: pool.space, owner, owned, intervals, local });
            }
        }
        holdings
    }

    /// What went wrong so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The next thing to do; drain to `None` after each input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call [`Self::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let leave = match self.phase {
            Phase::Unready { until } | Phase::Leaving { until } => Some(until),
            Phase::Starting | Phase::Ready | Phase::Left | Phase::Stopped => None,
        };
        let top_up = self.pools.values().filter_map(|pool| pool.top_up_after).min();
        [
            (self.waiting.values().next().map(|w| w.deadline), Reason::Deadline),
            (self.asks.values().map(|ask| ask.next).min(), Reason::Ask),
            (self.rests.front().map(|rest| rest.0), Reason::Rest),
            (top_up, Reason::TopUp),
            (self.transfers.values().map(|t| t.next).min(), Reason::Transfer),
            (self.releases.values().map(|r| r.next).min(), Reason::Release),
            (leave, Reason::Leave),
        ]
        .into_iter()
        .filter_map(|(at, reason)| at.map(|at| (at, reason)))
        .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, reason)) = self.poll_timeout().filter(|(at, _)| *at <= now) {
            match reason {
                Reason::Deadline => self.give_up_waiting(now),
                Reason::Ask => self.repeat_asks(now),
                Reason::Rest => self.end_rests(now),
                Reason::TopUp => self.top_up_again(now),
                Reason::Transfer => self.repeat_transfers(now),
                Reason::Release => self.repeat_releases(now),
                Reason::Leave => self.end_leave(),
            }
        }
    }

    // ---- shared by the parts

    fn send(&mut self, to: NodeId, message: &Message) {
        self.out.push_back(Output::Message { to, bytes: codec::encode(message) });
    }

    fn next_id(&mut self) -> TransferId {
        self.serial += 1;
        TransferId { boot: self.boot, serial: self.serial }
    }

    /// The space, made where it is not known yet; `None` when its network is deleted.
    fn pool_mut(&mut self, space: Space) -> Option<&mut Pool> {
        if let Space::Subnet { network, .. } = space
            && self.forgotten.contains(&network)
        {
            return None;
        }
        if !self.pools.contains_key(&space) {
            let mut pool = Pool::new(space, self.node);
            pool.block(self.blocked_of(space));
            self.pools.insert(space, pool);
        }
        self.pools.get_mut(&space)
    }

    fn start_rest(&mut self, space: Space, low: u128, high: u128, cause: Cause, now: Instant) {
        let until = now + self.config.rest;
        if let Some(pool) = self.pools.get_mut(&space) {
            pool.start_rest(low, high, Rest { until, cause }, &mut self.out);
            self.rests.push_back((until, space, low, high));
        }
    }

    fn end_rests(&mut self, now: Instant) {
        while let Some(&(until, space, low, high)) = self.rests.front() {
            if until > now {
                return;
            }
            self.rests.pop_front();
            if let Some(pool) = self.pools.get_mut(&space) {
                pool.end_rest(low, high, now, &mut self.out);
            }
        }
    }

    /// Orders nodes that are otherwise equal: the same on each call, different from node to node.
    fn weight(&self, space: &Space, node: NodeId) -> u64 {
        let bytes = self.config.seed.iter().chain(node.as_bytes()).copied();
        let hash = bytes.chain(space.subject()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        hash ^ (hash >> 29)
    }
}

#[cfg(test)]
mod tests;
