//! A bound on what datagrams cost that are not authentic.
//!
//! Whoever reaches the port can send at the rate of the line. Reading one that is refused takes a
//! microsecond or some, so only so many are read in a time; what more there is the kernel drops.

use std::time::{Duration, Instant};

use weft_networkdb::Counters;

const WINDOW: Duration = Duration::from_millis(10);
/// What refusing may cost in a window: far more than restarts and late packets ever make.
const COST_MAX: u64 = 2048;
/// What one costs whose header is refused, and one that had to be decrypted first.
const READ: u64 = 1;
const DECRYPTED: u64 = 8;

/// What is left for datagrams that are refused.
#[derive(Debug)]
pub(super) struct Strangers {
    ends: Instant,
    spent: u64,
}

impl Strangers {
    pub(super) const fn new(now: Instant) -> Self {
        Self { ends: now, spent: 0 }
    }

    /// Until when no datagram is to be read, if so.
    pub(super) fn held_until(&self, now: Instant) -> Option<Instant> {
        (self.spent >= COST_MAX && now < self.ends).then_some(self.ends)
    }

    /// Datagrams were refused. Returns whether that was the last of this window.
    pub(super) fn refuse(&mut self, cost: u64, now: Instant) -> bool {
        if now >= self.ends {
            *self = Self { ends: now + WINDOW, spent: 0 };
        }
        let was_left = self.spent < COST_MAX;
        self.spent = self.spent.saturating_add(cost);
        was_left && self.spent >= COST_MAX
    }
}

/// What a node's refusals since its start have cost.
pub(super) const fn cost(counters: &Counters) -> u64 {
    let read = counters.foreign_cluster
        + counters.undecodable
        + counters.too_large
        + counters.other_version;
    let decrypted = counters.bad_auth + counters.replayed + counters.stale_boot;
    read * READ + decrypted * DECRYPTED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_refused_in_a_window_and_the_next_one_begins_anew() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        assert!(!strangers.refuse(COST_MAX - 1, now));
        assert_eq!(strangers.held_until(now), None);
        assert!(strangers.refuse(1, now));
        assert_eq!(strangers.held_until(now), Some(now + WINDOW));
        assert!(!strangers.refuse(1, now), "told once");
        let next = now + WINDOW;
        assert_eq!(strangers.held_until(next), None);
        assert!(!strangers.refuse(1, next));
        assert_eq!(strangers.held_until(next), None);
    }
}
