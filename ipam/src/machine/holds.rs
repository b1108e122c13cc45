//! Allocations without an endpoint, at a certain address: its owner decides and writes the fact.
//!
//! Only in a replay does another node write it, while the owner is away. That two write one fact is
//! safe because its join is a total order, and what the owner may have written unheard was either
//! the same allocation or lies behind [`HOLD_LEAP`]; `docs/PROTOCOL.md`, section 8, has each case.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use weft_api::NodeId;

use super::asks::{Span, Target};
use super::requests::{Attempt, Wait};
use super::{Ipam, Phase};
use crate::allocation::{Allocation, Kind};
use crate::error::Error;
use crate::message::{Claim, Message, Refusal, TransferId};
use crate::output::{FactKind, Output};
use crate::pool::{Cause, Pool};
use crate::record::allocation_subject;
use crate::request::Granted;
use crate::space::Space;

/// How many generations a hold leaves to the owner, which is away and may have written some that
/// were not heard: an address rests between two, so it cannot write as many. What it wrote, a
/// release included, thus ends no hold.
const HOLD_LEAP: u64 = 1 << 16;

/// What another node wants held.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) at: u128,
    pub(super) kind: Kind,
    pub(super) claim: Claim,
    /// The last generation that it knows, and knows to be over.
    pub(super) after: u64,
}

/// Who decides about a certain address.
enum Judge {
    /// This node does: it may be held, or why not.
    Here(Result<(), Error>),
    /// Its live owner does, or nobody yet.
    Other(Wait),
    /// Nobody can: its owner is away, and a replay is taken at its word.
    Away,
}

impl Ipam {
    /// Has a certain address held for a kind; [`Claim::Replay`] is for Swarm alone.
    pub(super) fn attempt_hold(
        &mut self,
        space: Space,
        address: IpAddr,
        kind: Kind,
        claim: Claim,
        now: Instant,
    ) -> Attempt {
        let refused = |error| Attempt::Done(Err(error));
        let Some(at) = space.offset(address) else { return refused(Error::IpOutOfRange) };
        let Some(pool) = self.pools.get(&space) else { return refused(Error::BadPool) };
        // What a release on its way will end is as good as released, for who says it is in use.
        let ends = claim == Claim::Replay && self.releases.contains_key(&(space, at));
        let held = pool.held(at).filter(|_| !ends);
        if held != Some(&kind) {
            let judge = match held {
                Some(_) => Judge::Here(Err(Error::IpAlreadyAllocated)),
                None => self.judge(pool, at, &kind, claim, now),
            };
            match judge {
                Judge::Here(Ok(())) => self.hold(space, at, kind),
                Judge::Here(Err(error)) => return refused(error),
                Judge::Other(wait) => return Attempt::Wait(wait),
                Judge::Away => self.hold_after(space, at, kind, HOLD_LEAP),
            }
        }
        let granted = space.address(at).map(Granted::Address);
        Attempt::Done(granted.ok_or(Error::NoIpReturned))
    }

    /// Who decides about an address that nothing is known to hold.
    fn judge(&self, pool: &Pool, at: u128, kind: &Kind, claim: Claim, now: Instant) -> Judge {
        if self.is_barred(pool, at, kind) || pool.endpoint(at).is_some() {
            return Judge::Here(Err(Error::IpAlreadyAllocated));
        }
        let space = pool.space;
        match pool.owner(at) {
            None => Judge::Other(Wait::Hold(Error::OwnerUnknown(space.show(at)))),
            Some(owner) if owner == self.node => {
                Judge::Here(may_hold(pool, at, claim, now).map_err(|refusal| match refusal {
                    Obstacle::Rests(left) => Error::Resting(left),
                    Obstacle::Bound => Error::IpAlreadyAllocated,
                }))
            }
            Some(_) if claim == Claim::Replay && self.is_away(space, at) => Judge::Away,
            Some(_) => {
                let span = Span::Held { at, kind: kind.clone(), claim };
                Judge::Other(Wait::Ask(Target { space, span }))
            }
        }
    }

    /// Whether a kind may not be at an address, whoever owns it: it is never handed out, the kind
    /// has its one place elsewhere, or the network's definition has set it aside for another.
    fn is_barred(&self, pool: &Pool, at: u128, kind: &Kind) -> bool {
        let (low, high) = pool.space.usable();
        !(low..=high).contains(&at)
            || pool.of_kind(kind).is_some_and(|elsewhere| elsewhere != at)
            || self.set_aside(pool.space, at).is_some_and(|other| other != *kind)
    }

    /// What a network's definition has set an address aside for: known here even where the fact of
    /// it has not come.
    fn set_aside(&self, space: Space, at: u128) -> Option<Kind> {
        let mut aside = self.aside_of(space).into_iter();
        aside.find(|(other, _)| *other == at).map(|(_, kind)| kind)
    }

    /// Binds an address without an endpoint, for every node to see.
    pub(super) fn hold(&mut self, space: Space, at: u128, kind: Kind) {
        self.hold_after(space, at, kind, 0);
    }

    /// The same, under a generation that many beyond the next.
    fn hold_after(&mut self, space: Space, at: u128, kind: Kind, leap: u64) {
        let known = self.pools.get(&space).map_or(0, |pool| pool.generation(at));
        let generation = known.saturating_add(leap).saturating_add(1);
        self.write_allocation(space, at, Allocation::Live { generation, released: false, kind });
    }

    pub(super) fn write_allocation(&mut self, space: Space, at: u128, allocation: Allocation) {
        let Some(pool) = self.pools.get_mut(&space) else { return };
        self.out.push_back(Output::Fact {
            kind: FactKind::Allocation,
            subject: allocation_subject(&space, at),
            delta: allocation.encode(),
        });
        self.stamp += 1;
        pool.set_allocation(at, allocation, self.stamp, &mut self.out);
        self.end_release(space, at);
    }

    /// Takes what another node wrote; what was released in this node's ranges rests.
    pub(super) fn take_allocation(
        &mut self,
        space: Space,
        at: u128,
        allocation: Allocation,
        now: Instant,
    ) {
        let released = allocation.held().is_none();
        self.stamp += 1;
        let (node, stamp) = (self.node, self.stamp);
        let mut out = std::mem::take(&mut self.out);
        let rests = self.pool_mut(space).is_some_and(|pool| {
            let new = pool.set_allocation(at, allocation, stamp, &mut out);
            new && released && pool.owner(at) == Some(node)
        });
        self.out = out;
        if rests {
            self.start_rest(space, at, at, Cause::Released, now);
        }
        self.end_release(space, at);
        self.retry_space(space, now);
    }

    // ---- between nodes

    /// Answers a node that wants an address of this one's held.
    pub(super) fn on_hold(
        &mut self,
        from: NodeId,
        id: TransferId,
        subject: &[u8],
        hold: &Hold,
        now: Instant,
    ) {
        let Some(space) = Space::from_subject(subject).filter(|_| hold.kind.is_valid()) else {
            self.counters.malformed += 1;
            return;
        };
        let subject = subject.to_vec();
        if let Err(refusal) = self.answer_hold(space, hold, now) {
            let place = (refusal == Refusal::NotOwner).then_some(hold.at);
            let delta = self.whereabouts(space, place);
            let refuse = Message::Refuse { id, subject, refusal, delta, passed: None };
            return self.send(from, &refuse);
        }
        let state = self.pools.get(&space).and_then(|pool| pool.allocation(hold.at));
        if let Some(state) = state.map(Allocation::encode) {
            self.send(from, &Message::Held { id, subject, state });
        }
    }

    /// Holds what may be held. It is fine too where the asker lacks a later state: it is told.
    fn answer_hold(&mut self, space: Space, hold: &Hold, now: Instant) -> Result<(), Refusal> {
        let Hold { at, kind, claim, after } = hold;
        let at = *at;
        if self.phase != Phase::Ready {
            return Err(Refusal::NotReady);
        }
        let pool = self.pools.get(&space).ok_or(Refusal::NotOwner)?;
        if pool.owner(at) != Some(self.node) {
            return Err(Refusal::NotOwner);
        }
        let held = pool.held(at);
        if held.is_some_and(|held| held != kind) || self.is_barred(pool, at, kind) {
            return Err(Refusal::InUse);
        }
        let known = pool.generation(at);
        if known > *after {
            return Ok(());
        }
        if pool.endpoint(at).is_some() {
            return Err(Refusal::InUse);
        }
        // The asker knows that what this node holds it for is over; it goes on in the next.
        if held.is_none() {
            may_hold(pool, at, *claim, now).map_err(|refusal| match refusal {
                Obstacle::Rests(left) => {
                    Refusal::Resting(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
                }
                Obstacle::Bound => Refusal::InUse,
            })?;
        }
        self.hold_after(space, at, kind.clone(), after - known);
        Ok(())
    }

    /// Hears the state of an address that this node asked to have held.
    pub(super) fn on_held(&mut self, id: TransferId, subject: &[u8], state: &[u8], now: Instant) {
        let (Some(space), Ok(state @ Allocation::Live { .. })) =
            (Space::from_subject(subject), Allocation::decode(state))
        else {
            self.counters.malformed += 1;
            return;
        };
        let Some(target) = self.asked(id, space) else { return };
        let Span::Held { at, .. } = target.span else { return };
        self.asks.remove(&target);
        // The owner's own words, so two who write them write the same.
        self.out.push_back(Output::Fact {
            kind: FactKind::Allocation,
            subject: allocation_subject(&space, at),
            delta: state.encode(),
        });
        self.take_allocation(space, at, state, now);
    }
}

/// Why an address of this node's cannot be held.
enum Obstacle {
    Rests(Duration),
    Bound,
}

/// Whether an address of this node's that nothing is known to hold may be held.
fn may_hold(pool: &Pool, at: u128, claim: Claim, now: Instant) -> Result<(), Obstacle> {
    if pool.is_free(at) {
        return Ok(());
    }
    match (pool.resting(at), claim) {
        // The leader says that it is in use.
        (Some(_), Claim::Replay) => Ok(()),
        (Some(rest), Claim::Exact) => {
            Err(Obstacle::Rests(rest.until.saturating_duration_since(now)))
        }
        (None, Claim::Exact | Claim::Replay) => Err(Obstacle::Bound),
    }
}
