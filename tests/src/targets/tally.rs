//! What seeds note, how it is spread, and what it is compared with.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// What runs noted: times and counts, by what they are of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    times: BTreeMap<&'static str, Vec<Duration>>,
    counts: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Notes a time.
    pub fn time(&mut self, of: &'static str, took: Duration) {
        self.times.entry(of).or_default().push(took);
    }

    /// Adds to a count.
    pub fn count(&mut self, of: &'static str, more: u64) {
        *self.counts.entry(of).or_default() += more;
    }

    /// Takes in the notes of another run.
    pub fn add(&mut self, other: Self) {
        for (of, times) in other.times {
            self.times.entry(of).or_default().extend(times);
        }
        for (of, count) in other.counts {
            self.count(of, count);
        }
    }

    /// The times of one kind.
    pub fn spread(&self, of: &str) -> Spread {
        Spread::of(self.times.get(of).cloned().unwrap_or_default())
    }

    /// A count; zero when nothing was counted.
    pub fn total(&self, of: &str) -> u64 {
        self.counts.get(of).copied().unwrap_or(0)
    }
}

/// How times are spread, by nearest rank: each figure was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    /// Half of the samples are no greater.
    pub p50: Duration,
    /// Nine of ten are no greater.
    pub p90: Duration,
    /// All but one of a hundred are no greater.
    pub p99: Duration,
    /// The greatest.
    pub max: Duration,
    /// How many there are.
    pub samples: usize,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let rank = |percent: usize| {
            let index = (times.len() * percent).div_ceil(100).max(1) - 1;
            times.get(index).copied().unwrap_or_default()
        };
        Self { p50: rank(50), p90: rank(90), p99: rank(99), max: rank(100), samples: times.len() }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| short(time.as_secs_f64() * 1_000.0);
        let Self { p50, p90, p99, max, samples } = *self;
        let [p50, p90, p99, max] = [p50, p90, p99, max].map(ms);
        write!(f, "p50 {p50} / p90 {p90} / p99 {p99} / max {max} ms ({samples})")
    }
}

/// A figure with three digits that count.
pub(super) fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// How a figure compares with its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is within the target.
    Met,
    /// It is not.
    Missed,
    /// There is no target: it is told for comparison.
    Told,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was measured.
    pub what: String,
    /// The target.
    pub target: String,
    /// What others reach.
    pub anchor: String,
    /// What was seen.
    pub measured: String,
    /// How it compares.
    pub verdict: Verdict,
}

impl Finding {
    /// A figure with a target.
    pub fn judged(what: &str, target: &str, anchor: &str, measured: String, met: bool) -> Self {
        let verdict = if met { Verdict::Met } else { Verdict::Missed };
        Self { what: what.into(), target: target.into(), anchor: anchor.into(), measured, verdict }
    }

    /// A figure without a target.
    pub fn told(what: &str, anchor: &str, measured: String) -> Self {
        let (what, anchor) = (what.into(), anchor.into());
        Self { what, target: String::new(), anchor, measured, verdict: Verdict::Told }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_shows_samples_that_were_seen() {
        let spread = Spread::of((1..=200).rev().map(Duration::from_millis).collect());
        let seen = [spread.p50, spread.p90, spread.p99, spread.max].map(|time| time.as_millis());
        assert_eq!((seen, spread.samples), ([100, 180, 198, 200], 200));
        assert_eq!(Spread::of(vec![Duration::from_millis(7)]).p50, Duration::from_millis(7));
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }
}
