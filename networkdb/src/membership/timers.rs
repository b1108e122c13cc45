//! Deadlines of the membership protocol, in our own queue.

use std::collections::BTreeMap;
use std::time::Instant;

use foca::Timer;

use crate::membership::identity::Identity;

/// What is due when.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeMap<(Instant, u64), Timer<Identity>>,
    serial: u64,
}

impl Timers {
    /// Puts a timer into the queue.
    pub(crate) fn schedule(&mut self, at: Instant, timer: Timer<Identity>) {
        self.serial += 1;
        self.queue.insert((at, self.serial), timer);
    }

    /// Says when the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    /// Takes all that is due, each with its deadline, in the order that the protocol wants: by
    /// deadline when we are in time, by kind among those of one instant.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(Instant, Timer<Identity>)> {
        let mut due = Vec::new();
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((at, _), timer) = entry.remove_entry();
            due.push((at, timer));
        }
        due.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.cmp(y)));
        due
    }

    /// Tells whether a suspicion of a member by us waits for its end.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = &Identity> {
        self.queue.values().filter_map(|timer| match timer {
            Timer::ChangeSuspectToDown { member_id, .. } => Some(member_id),
            Timer::ProbeRandomMember(_)
            | Timer::SendIndirectProbe { .. }
            | Timer::PeriodicAnnounce(_)
            | Timer::PeriodicAnnounceDown(_)
            | Timer::PeriodicGossip(_)
            | Timer::RemoveDown(_) => None,
        })
    }
}
