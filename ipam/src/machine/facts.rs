//! What others wrote.

use std::time::Instant;

use super::{Ipam, Phase, inherit};
use crate::allocation::Allocation;
use crate::error::Error;
use crate::interval::IntervalMap;
use crate::output::{Alarm, FactKind, Output};
use crate::pool::Cause;
use crate::ranges::{Change, Mark, Ranges};
use crate::record::parse_at;
use crate::space::Space;

impl Ipam {
    /// Hears of a changed fact: its full bytes, already durable. Malformed ones are counted and
    /// change nothing.
    pub fn handle_fact(&mut self, kind: FactKind, subject: &[u8], bytes: &[u8], now: Instant) {
        let known = match kind {
            FactKind::Ranges => self.on_ranges(subject, bytes, now),
            FactKind::Allocation => self.on_allocation(subject, bytes, now),
        };
        if known.is_none() {
            self.counters.malformed += 1;
        }
    }

    fn on_ranges(&mut self, subject: &[u8], bytes: &[u8], now: Instant) -> Option<()> {
        let space = Space::from_subject(subject)?;
        match Ranges::decode(bytes).ok()? {
            Ranges::Dropped => self.drop_space(space, now),
            Ranges::Marked(_) if self.is_forgotten(space) => {
                self.drop_fact(FactKind::Ranges, subject.to_vec());
            }
            Ranges::Marked(marks) => {
                self.join_foreign(space, &marks, now);
                self.retry_space(space, now);
                self.drive_releases_of(space, now);
                self.top_up(now);
            }
        }
        Some(())
    }

    fn on_allocation(&mut self, subject: &[u8], bytes: &[u8], now: Instant) -> Option<()> {
        let (space, at) = parse_at(subject)?;
        let allocation = Allocation::decode(bytes).ok()?;
        match allocation {
            Allocation::Dropped => {}
            Allocation::Live { .. } if self.is_forgotten(space) => {
                self.drop_fact(FactKind::Allocation, subject.to_vec());
            }
            Allocation::Live { .. } => self.take_allocation(space, at, allocation, now),
        }
        Some(())
    }

    /// Joins marks that came from elsewhere. What this node gains rests; what it had and did not
    /// give away itself means that its disk was rolled back.
    pub(super) fn join_foreign(
        &mut self,
        space: Space,
        marks: &IntervalMap<Mark>,
        now: Instant,
    ) -> Vec<Change> {
        let node = self.node;
        let (first, last) = space.bounds();
        let mut inside = IntervalMap::default();
        for (low, high, mark) in marks.within(first, last) {
            inside.set(low, high, *mark);
        }
        let mut out = std::mem::take(&mut self.out);
        let changes = match self.pool_mut(space) {
            Some(pool) => pool.join(&inside, &mut out),
            None => Vec::new(),
        };
        self.out = out;
        let mut gained = false;
        for change in &changes {
            self.warn(space, change);
            if change.after.owner == node && change.before.is_none_or(|b| b.owner != node) {
                self.start_rest(space, change.low, change.high, Cause::Gained, now);
                gained = true;
            }
        }
        // What only somebody who was away knew of.
        if changes.iter().any(|change| self.inherited.contains(&change.after.owner)) {
            self.take_over(space, now);
            gained = true;
        }
        // A gift or a grant that was under way when the leave began goes on to the heir.
        if gained && matches!(self.phase, Phase::Leaving { .. }) {
            self.hand_over(space, now);
        }
        changes
    }

    fn warn(&mut self, space: Space, change: &Change) {
        let Some(before) = change.before else { return };
        if before.version == change.after.version {
            self.out.push_back(Output::Alarm(Alarm::TwoOwners {
                space,
                first: change.low,
                version: before.version,
                one: before.owner,
                other: change.after.owner,
            }));
        }
        if before.owner != self.node || self.phase == Phase::Stopped {
            return;
        }
        if inherit::is_taken_over(change) {
            let (first, heir) = (change.low, change.after.owner);
            self.out.push_back(Output::Alarm(Alarm::TakenOver { space, first, heir }));
        } else {
            self.phase = Phase::Stopped;
            self.asks.clear();
            self.fail_waiting(|_| true, &Error::RolledBack);
            self.out.push_back(Output::Alarm(Alarm::RolledBack { space, first: change.low }));
        }
    }

    pub(super) fn is_forgotten(&self, space: Space) -> bool {
        match space {
            Space::Subnet { network, .. } => self.forgotten.contains(&network),
            Space::Vni | Space::Blocks(_) => false,
        }
    }
}
