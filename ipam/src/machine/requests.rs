//! Requests for addresses: answered from this node's own ranges, or kept waiting for others.

use std::net::IpAddr;
use std::time::Instant;

use ipnetwork::IpNetwork;
use weft_api::EndpointId;

use super::asks::{Span, Target};
use super::{Ipam, Phase};
use crate::allocation::{Kind, NAME_BYTES_MAX};
use crate::error::Error;
use crate::message::{Claim, Urgency};
use crate::output::Output;
use crate::pool::{Cause, Pool, Rest};
use crate::record::Bound;
use crate::request::{BlockWant, Granted, Purpose, Request, Ticket, Want};
use crate::space::Space;

/// The most requests that wait at a time.
const WAITING_MAX: usize = 4096;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) job: Job,
    pub(super) wait: Wait,
    pub(super) deadline: Instant,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(super) enum Job {
    Address(Request),
    Block { want: BlockWant, avoid: Vec<IpNetwork> },
}

/// What a request waits for.
#[derive(Debug)]
pub(super) enum Wait {
    /// The answer of others.
    Ask(Target),
    /// Something to change here; the error tells what did not, once time is up.
    Hold(Error),
}

/// How far a request gets at once.
pub(super) enum Attempt {
    Done(Result<Granted, Error>),
    Wait(Wait),
}

impl Ipam {
    /// Asks for an address; answered by [`Output::Done`], at once or after asking others.
    pub fn request(&mut self, ticket: Ticket, request: Request, now: Instant) {
        self.submit(ticket, Job::Address(request), now);
    }

    /// Gives an address back. Of a free address, or one bound to another purpose: nothing.
    pub fn release(&mut self, space: Space, address: IpAddr, purpose: &Purpose, now: Instant) {
        let Some(at) = space.offset(address) else { return };
        let Some(pool) = self.pools.get_mut(&space) else { return };
        match purpose {
            Purpose::Endpoint(endpoint) => {
                if pool.endpoint(at) == Some(*endpoint) {
                    pool.unbind(at, &mut self.out);
                    self.start_rest(space, at, at, Cause::Released, now);
                }
            }
            Purpose::Gateway | Purpose::Auxiliary(_) | Purpose::Swarm => {
                let held = pool.allocation(at).filter(|a| a.held() == Kind::of(purpose).as_ref());
                if let Some(generation) = held.map(|a| a.generation()) {
                    self.release_held(space, at, generation, now);
                }
            }
        }
    }

    /// Hands an address of an endpoint on to another one of this node, which has none of the space:
    /// it is in use all the while, and does not rest. `false` when nothing has changed, as `from`
    /// does not have it or `to` has another.
    pub fn rebind(
        &mut self,
        space: Space,
        address: IpAddr,
        from: EndpointId,
        to: EndpointId,
    ) -> bool {
        let Some(at) = space.offset(address) else { return false };
        let Some(pool) = self.pools.get_mut(&space) else { return false };
        if pool.endpoint(at) != Some(from) || pool.of_endpoint(to).is_some() {
            return false;
        }
        self.stamp += 1;
        pool.rebind(at, Bound { endpoint: to, stamp: self.stamp }, &mut self.out);
        true
    }

    pub(super) fn submit(&mut self, ticket: Ticket, job: Job, now: Instant) {
        match self.attempt(&job, now) {
            Attempt::Done(result) => self.done(ticket, result),
            Attempt::Wait(_) if self.waiting.len() >= WAITING_MAX => {
                self.counters.busy += 1;
                self.done(ticket, Err(Error::Busy));
            }
            Attempt::Wait(wait) => {
                let deadline = now + self.config.request_timeout;
                self.arrivals += 1;
                self.keep(self.arrivals, Waiting { ticket, job, wait, deadline }, now);
            }
        }
    }

    /// Tries again what waits and is picked, oldest first.
    pub(super) fn retry(&mut self, pick: impl Fn(&Waiting) -> bool, now: Instant) {
        let picked: Vec<u64> =
            self.waiting.iter().filter(|(_, w)| pick(w)).map(|(&arrival, _)| arrival).collect();
        for arrival in picked {
            let Some(mut waiting) = self.waiting.remove(&arrival) else { continue };
            match self.attempt(&waiting.job, now) {
                Attempt::Done(result) => self.done(waiting.ticket, result),
                Attempt::Wait(wait) => {
                    waiting.wait = wait;
                    self.keep(arrival, waiting, now);
                }
            }
        }
    }

    pub(super) fn retry_held(&mut self, now: Instant) {
        self.retry(|waiting| matches!(waiting.wait, Wait::Hold(_)), now);
    }

    pub(super) fn retry_space(&mut self, space: Space, now: Instant) {
        self.retry(|waiting| waiting.job.is_of(space), now);
    }

    /// Answers what waits and is picked with an error.
    pub(super) fn fail_waiting(&mut self, pick: impl Fn(&Waiting) -> bool, error: &Error) {
        let picked: Vec<u64> =
            self.waiting.iter().filter(|(_, w)| pick(w)).map(|(&arrival, _)| arrival).collect();
        for arrival in picked {
            if let Some(waiting) = self.waiting.remove(&arrival) {
                self.done(waiting.ticket, Err(error.clone()));
            }
        }
    }

    pub(super) fn give_up_waiting(&mut self, now: Instant) {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.get().deadline > now {
                break;
            }
            let waiting = entry.remove();
            let error = match &waiting.wait {
                Wait::Hold(error) => error.clone(),
                Wait::Ask(target) => self.unanswered(target, &waiting.job),
            };
            self.done(waiting.ticket, Err(error));
        }
        self.drop_idle_asks();
    }

    fn keep(&mut self, arrival: u64, waiting: Waiting, now: Instant) {
        let target = match &waiting.wait {
            Wait::Ask(target) => Some(target.clone()),
            Wait::Hold(_) => None,
        };
        self.waiting.insert(arrival, waiting);
        if let Some(target) = target {
            self.ask(target, Urgency::Waiting, now);
        }
    }

    pub(super) fn done(&mut self, ticket: Ticket, result: Result<Granted, Error>) {
        self.out.push_back(Output::Done { ticket, result });
    }

    fn attempt(&mut self, job: &Job, now: Instant) -> Attempt {
        match self.phase {
            Phase::Starting => return Attempt::Wait(Wait::Hold(Error::NotReady)),
            Phase::Unready { .. } | Phase::Leaving { .. } | Phase::Left => {
                return Attempt::Done(Err(Error::Leaving));
            }
            Phase::Stopped => return Attempt::Done(Err(Error::RolledBack)),
            Phase::Ready => {}
        }
        match job {
            Job::Address(request) => self.attempt_address(request, now),
            Job::Block { want, avoid } => self.attempt_block(*want, avoid, now),
        }
    }

    fn attempt_address(&mut self, request: &Request, now: Instant) -> Attempt {
        if self.is_forgotten(request.space) || !matches!(request.space, Space::Subnet { .. }) {
            return Attempt::Done(Err(Error::BadPool));
        }
        let dynamic = match request.within.map(|within| request.space.sub_pool(within)) {
            None => request.space.usable(),
            Some(Some(range)) => range,
            Some(None) => return Attempt::Done(Err(Error::InvalidSubPool)),
        };
        if let Purpose::Auxiliary(name) = &request.purpose
            && name.len() > NAME_BYTES_MAX
        {
            return Attempt::Done(Err(Error::LongName(name.len())));
        }
        let Some(pool) = self.pools.get(&request.space).filter(|p| !p.marks.is_empty()) else {
            return Attempt::Wait(Wait::Hold(Error::BadPool));
        };
        let kind = Kind::of(&request.purpose);
        let existing = match (&request.purpose, &kind) {
            (Purpose::Endpoint(endpoint), _) => pool.of_endpoint(*endpoint),
            (_, Some(kind)) => pool.of_kind(kind),
            (_, None) => None,
        };
        let found = match (request.want, kind) {
            (Want::Exact(address), Some(kind)) => {
                return self.attempt_hold(request.space, address, kind, Claim::Exact, now);
            }
            (Want::Replay(address), Some(kind)) => {
                let claim = match kind {
                    Kind::Swarm | Kind::Auxiliary(_) => Claim::Replay,
                    Kind::Gateway => Claim::Exact,
                };
                return self.attempt_hold(request.space, address, kind, claim, now);
            }
            (Want::Exact(address) | Want::Replay(address), None) => {
                match self.exact(pool, address, request.space, existing, now) {
                    Ok(at) => at,
                    Err(attempt) => return attempt,
                }
            }
            (Want::First | Want::Serial, _) if existing.is_some() => existing,
            // One place for all who ask, so that its owner decides between them.
            (Want::First | Want::Serial, Some(Kind::Gateway)) => {
                let first = request.space.address(request.space.usable().0);
                let Some(first) = first else { return Attempt::Done(Err(Error::NoIpReturned)) };
                let (space, kind) = (request.space, Kind::Gateway);
                return self.attempt_hold(space, first.ip(), kind, Claim::Exact, now);
            }
            (Want::First, _) => pool.first_free(dynamic.0, dynamic.1),
            (Want::Serial, _) => pool.next_free(dynamic.0, dynamic.1),
        };
        match found {
            Some(at) => Attempt::Done(self.bind(request, at, existing)),
            None => {
                let span = Span::Ranges(vec![dynamic]);
                Attempt::Wait(Wait::Ask(Target { space: request.space, span }))
            }
        }
    }

    /// Binds an address that is free here, unless it is bound to this purpose already.
    fn bind(
        &mut self,
        request: &Request,
        at: u128,
        existing: Option<u128>,
    ) -> Result<Granted, Error> {
        let space = request.space;
        let free = self.pools.get(&space).is_some_and(|pool| pool.is_free(at));
        if existing != Some(at) && free {
            match (Kind::of(&request.purpose), &request.purpose) {
                (None, Purpose::Endpoint(endpoint)) => {
                    self.stamp += 1;
                    let bound = Bound { endpoint: *endpoint, stamp: self.stamp };
                    if let Some(pool) = self.pools.get_mut(&space) {
                        pool.bind(at, bound, &mut self.out);
                    }
                }
                (kind, _) => self.hold(space, at, kind.ok_or(Error::NoIpReturned)?),
            }
        }
        space.address(at).map(Granted::Address).ok_or(Error::NoIpReturned)
    }

    /// Judges an endpoint's explicit request: the address to bind or already bound, or how it ends
    /// or waits.
    fn exact(
        &self,
        pool: &Pool,
        address: IpAddr,
        space: Space,
        existing: Option<u128>,
        now: Instant,
    ) -> Result<Option<u128>, Attempt> {
        let refused = |error| Err(Attempt::Done(Err(error)));
        let Some(at) = space.offset(address) else { return refused(Error::IpOutOfRange) };
        if existing == Some(at) {
            return Ok(Some(at));
        }
        let (low, high) = space.usable();
        let taken = pool.held(at).is_some() || pool.endpoint(at).is_some();
        if taken || existing.is_some() || !(low..=high).contains(&at) {
            return refused(Error::IpAlreadyAllocated);
        }
        let target = Target { space, span: Span::Exact(at) };
        match pool.owner(at) {
            None => Err(Attempt::Wait(Wait::Hold(Error::OwnerUnknown(address.to_string())))),
            Some(owner) if owner != self.node => Err(Attempt::Wait(Wait::Ask(target))),
            Some(_) if pool.is_free(at) => Ok(Some(at)),
            Some(_) => match pool.resting(at) {
                Some(rest) if self.expects(&target, rest) => Err(Attempt::Wait(Wait::Ask(target))),
                Some(rest) => refused(Error::Resting(rest.until.saturating_duration_since(now))),
                None => refused(Error::IpAlreadyAllocated),
            },
        }
    }

    /// Whether an address rests only because the facts told of its donation before the donor's
    /// answer did, which is still to come and says that it has rested.
    pub(super) fn expects(&self, target: &Target, rest: Rest) -> bool {
        rest.cause == Cause::Gained && self.asks.contains_key(target)
    }
}

impl Job {
    /// Whether a change of `space` may help it.
    pub(super) fn is_of(&self, space: Space) -> bool {
        match self {
            Self::Address(request) => request.space == space,
            Self::Block { want, .. } => want.is_of(space),
        }
    }
}
