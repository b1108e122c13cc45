//! Each host's own clock, which runs a little fast or slow.

use std::time::{Duration, Instant};

/// Parts in a million.
const MILLION: i128 = 1_000_000;

/// A clock that was right at the start and drifts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    /// How much too fast, in parts in a million.
    pub(super) ppm: i32,
}

impl Clock {
    /// What it shows.
    pub(super) fn shows(self, start: Instant, now: Instant) -> Instant {
        start + scale(now - start, MILLION + i128::from(self.ppm), MILLION)
    }

    /// When it shows a time; a nanosecond later rather than earlier.
    pub(super) fn when(self, start: Instant, shown: Instant) -> Instant {
        let since = shown.saturating_duration_since(start);
        let after = scale(since, MILLION, MILLION + i128::from(self.ppm));
        let late = if self.ppm == 0 { Duration::ZERO } else { Duration::from_nanos(2) };
        start + after + late
    }

    /// How far it is off.
    pub(super) fn error(self, start: Instant, now: Instant) -> Duration {
        let shown = self.shows(start, now);
        shown.saturating_duration_since(now).max(now.saturating_duration_since(shown))
    }
}

fn scale(span: Duration, by: i128, of: i128) -> Duration {
    let nanos = i128::try_from(span.as_nanos()).unwrap_or(i128::MAX / MILLION) * by / of;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_over_on_the_hosts_clock_when_it_is_woken() {
        let start = Instant::now();
        for ppm in [-50_000, -37, 0, 1, 999, 50_000] {
            let clock = Clock { ppm };
            for nanos in [0u64, 1, 17, 999_999_937, 123_456_789_012_345] {
                let due = start + Duration::from_nanos(nanos);
                let woken = clock.when(start, due);
                assert!(clock.shows(start, woken) >= due, "{ppm} {nanos}");
                let early = clock.shows(start, woken).saturating_duration_since(due);
                assert!(early < Duration::from_nanos(5), "{ppm} {nanos}");
            }
        }
    }
}
