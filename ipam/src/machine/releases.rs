//! Releases of allocations without an endpoint: the owner's to carry out, retried until it has.

use std::time::{Duration, Instant};

use super::{Ipam, Phase};
use crate::allocation::Allocation;
use crate::message::Message;
use crate::pool::Cause;
use crate::record::Key;
use crate::space::Space;

/// The first pause between two tries; it doubles.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The greatest number of doublings: about half a minute.
const DOUBLINGS_MAX: u32 = 5;

/// A release under way.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) generation: u64,
    pub(super) next: Instant,
    pub(super) tries: u32,
}

impl Ipam {
    /// Has an allocation without an endpoint released, durably asked for before anything else.
    pub(super) fn release_held(&mut self, space: Space, at: u128, generation: u64, now: Instant) {
        let release = Release { generation, next: now, tries: 0 };
        self.releases.insert((space, at), release);
        self.out.push_back(Key::Release(space, at).put(&generation));
        self.drive(space, at, now);
    }

    pub(super) fn on_release(&mut self, subject: &[u8], at: u128, generation: u64, now: Instant) {
        let Some(space) = Space::from_subject(subject) else {
            self.counters.malformed += 1;
            return;
        };
        self.carry_out(space, at, generation, now);
    }

    /// Tries what is due.
    pub(super) fn repeat_releases(&mut self, now: Instant) {
        self.drive_picked(|_, release| release.next <= now, now);
    }

    /// Tries everything: who is alive may have changed.
    pub(super) fn drive_releases(&mut self, now: Instant) {
        self.drive_picked(|_, _| true, now);
    }

    /// Tries what is of a space: its owners may have changed.
    pub(super) fn drive_releases_of(&mut self, space: Space, now: Instant) {
        self.drive_picked(|at, _| at.0 == space, now);
    }

    /// Ends what the allocation's state shows as done.
    pub(super) fn end_release(&mut self, space: Space, at: u128) {
        let Some(release) = self.releases.get(&(space, at)) else { return };
        let held = self.pools.get(&space).and_then(|pool| pool.allocation(at));
        let open = held.is_some_and(|a| is_held(a, release.generation));
        if !open {
            self.releases.remove(&(space, at));
            self.out.push_back(Key::Release(space, at).remove());
        }
    }

    fn drive_picked(&mut self, pick: impl Fn(&(Space, u128), &Release) -> bool, now: Instant) {
        let picked: Vec<_> =
            self.releases.iter().filter(|(at, r)| pick(at, r)).map(|(at, _)| *at).collect();
        for (space, at) in picked {
            self.drive(space, at, now);
        }
    }

    fn drive(&mut self, space: Space, at: u128, now: Instant) {
        let Some(release) = self.releases.get_mut(&(space, at)) else { return };
        release.next = now + PAUSE_MIN * 2u32.pow(release.tries.min(DOUBLINGS_MAX));
        release.tries = release.tries.saturating_add(1);
        let generation = release.generation;
        let owner = self.pools.get(&space).and_then(|pool| pool.owner(at));
        match owner {
            Some(owner) if owner == self.node => self.carry_out(space, at, generation, now),
            Some(owner) if self.alive.contains(&owner) => {
                let subject = space.subject();
                self.send(owner, &Message::Release { subject, at, generation });
            }
            Some(_) | None => {}
        }
        self.end_release(space, at);
    }

    /// Releases an address of this node's ranges, if this generation still holds it.
    fn carry_out(&mut self, space: Space, at: u128, generation: u64, now: Instant) {
        if self.phase != Phase::Ready {
            return;
        }
        let Some(pool) = self.pools.get(&space) else { return };
        if pool.owner(at) != Some(self.node) {
            return;
        }
        let held = pool.allocation(at).filter(|a| is_held(a, generation));
        if let Some(Allocation::Live { kind, .. }) = held.cloned() {
            let released = Allocation::Live { generation, released: true, kind };
            self.write_allocation(space, at, released);
            self.start_rest(space, at, at, Cause::Released, now);
        }
    }
}

fn is_held(allocation: &Allocation, by: u64) -> bool {
    allocation.held().is_some() && allocation.generation() == by
}
