//! Whether this process stood still: a timer that fires each second tells when it did not.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Between two beats.
const PERIOD: Duration = Duration::from_secs(1);
/// What a busy machine does to any timer is no standstill.
const STANDSTILL_MIN: Duration = Duration::from_secs(2);

/// A time in which nothing of this process ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standstill {
    /// How long it lasted.
    pub length: Duration,
    /// When it was over.
    pub ended: Instant,
}

/// Remembers the last standstill.
#[derive(Debug, Default)]
pub struct Pulse {
    last: Mutex<Option<Standstill>>,
}

impl Pulse {
    /// Beats until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            let due = Instant::now() + PERIOD;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(due.into()) => self.note(due, Instant::now()),
            }
        }
    }

    fn note(&self, due: Instant, now: Instant) {
        let length = now.saturating_duration_since(due);
        if length >= STANDSTILL_MIN {
            tracing::warn!(length_ms = length.as_millis(), "the agent stood still");
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(Standstill { length, ended: now });
        }
    }

    /// Returns the last standstill since the start.
    pub fn last(&self) -> Option<Standstill> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_that_comes_late_is_a_standstill_and_the_last_one_is_remembered() {
        let (pulse, due) = (Pulse::default(), Instant::now());
        pulse.note(due, due + Duration::from_millis(1900));
        assert_eq!(pulse.last(), None);
        for seconds in [9, 3] {
            let (length, now) = (Duration::from_secs(seconds), due + Duration::from_secs(seconds));
            pulse.note(due, now);
            assert_eq!(pulse.last(), Some(Standstill { length, ended: now }));
        }
    }
}
