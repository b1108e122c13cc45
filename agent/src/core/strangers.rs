//! A bound on what datagrams cost that are not authentic.
//!
//! Whoever reaches the port can send at the rate of the line. Reading one that is refused takes a
//! few microseconds, so only so many are read in a time; what more there is the kernel drops.

use std::time::{Duration, Instant};

use weft_networkdb::Counters;

const WINDOW: Duration = Duration::from_millis(10);
/// Refused ones in a window: far more than restarts and late packets ever make.
const REFUSED_MAX: u64 = 256;

/// What is left for datagrams that are refused.
#[derive(Debug)]
pub(super) struct Strangers {
    ends: Instant,
    refused: u64,
}

impl Strangers {
    pub(super) const fn new(now: Instant) -> Self {
        Self { ends: now, refused: 0 }
    }

    /// Until when no datagram is to be read, if so.
    pub(super) fn held_until(&self, now: Instant) -> Option<Instant> {
        (self.refused >= REFUSED_MAX && now < self.ends).then_some(self.ends)
    }

    /// Datagrams were refused. Returns whether that was the last of this window.
    pub(super) fn refuse(&mut self, count: u64, now: Instant) -> bool {
        if now >= self.ends {
            *self = Self { ends: now + WINDOW, refused: 0 };
        }
        let was_left = self.refused < REFUSED_MAX;
        self.refused = self.refused.saturating_add(count);
        was_left && self.refused >= REFUSED_MAX
    }
}

/// How many datagrams a node refused since its start. Each costs about the same: of what it takes
/// to read one, to decrypt it is little.
pub(super) const fn refused(counters: &Counters) -> u64 {
    counters.foreign_cluster
        + counters.bad_auth
        + counters.replayed
        + counters.stale_boot
        + counters.undecodable
        + counters.too_large
        + counters.other_version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_refused_in_a_window_and_the_next_one_begins_anew() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        assert!(!strangers.refuse(REFUSED_MAX - 1, now));
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
