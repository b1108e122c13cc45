//! What a lab found out, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What was measured. `ok` is what the exit code says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Everything held: all pairs reached each other, none leaked, no address twice, also after
    /// the restart.
    pub ok: bool,
    /// Hosts.
    pub nodes: usize,
    /// Networks.
    pub networks: usize,
    /// Endpoints in all networks together.
    pub endpoints: usize,
    /// Ordered pairs of endpoints in one network.
    pub expected_pairs: usize,
    /// Those of them that answered to every kind of ping, before and after the restart.
    pub reachable_pairs: usize,
    /// Ordered pairs of endpoints of two networks that answered to any.
    pub leaked_pairs: usize,
    /// Addresses (IP or MAC) that more than one endpoint has.
    pub duplicate_addresses: usize,
    /// From the attach on one host to the first answered ping from another.
    pub first_ping_ms: Quantiles,
    /// From kill -9 of an agent, through its restart, to the first answered ping from another host
    /// to an endpoint attached there after.
    pub recovery_ms: Option<f64>,
    /// Round trips of pings between hosts.
    pub round_trip_ms: Quantiles,
    /// The longest time without an answer from an endpoint whose agent was killed.
    pub kill_gap_ms: Option<f64>,
    /// Pings of that endpoint that were not answered.
    pub kill_lost: u64,
    /// Whether IPv6 was measured, too.
    pub ipv6: bool,
    /// What did not hold, at most [`FAILURES_MAX`] lines.
    pub failures: Vec<String>,
    /// Time for all of it, in seconds.
    pub seconds: f64,
}

/// Lines of failures kept.
pub const FAILURES_MAX: usize = 20;

/// How samples of a time are spread, in milliseconds; all zero of no samples.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half of the samples are at most this.
    pub p50: f64,
    /// 99 of 100 samples are at most this.
    pub p99: f64,
    /// The greatest sample.
    pub max: f64,
    /// How many samples there are.
    pub samples: usize,
}

impl Quantiles {
    /// Sorts samples out: nearest rank, so each figure is a sample that was seen.
    pub fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let rank = |percent: usize| {
            let rank = (samples.len() * percent).div_ceil(100).max(1);
            samples.get(rank - 1).copied().map_or(0.0, milliseconds)
        };
        Self { p50: rank(50), p99: rank(99), max: rank(100), samples: samples.len() }
    }
}

/// Returns a time in milliseconds, to the microsecond.
pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, good: bool, what: &str, found: String| {
            writeln!(f, "  {} {what:<34} {found}", if good { "ok  " } else { "FAIL" })
        };
        let Self { nodes, networks, endpoints, .. } = self;
        writeln!(f, "{nodes} hosts, {networks} networks, {endpoints} endpoints")?;
        let pairs = format!("{} of {}", self.reachable_pairs, self.expected_pairs);
        let kinds =
            if self.ipv6 { "pairs that answer (v4, v6, full)" } else { "pairs that answer" };
        row(f, self.reachable_pairs == self.expected_pairs, kinds, pairs)?;
        let leaked = self.leaked_pairs;
        row(f, leaked == 0, "pairs across networks that answer", leaked.to_string())?;
        let twice = self.duplicate_addresses;
        row(f, twice == 0, "addresses given twice", twice.to_string())?;
        row(f, self.first_ping_ms.samples > 0, "attach to first ping", spread(self.first_ping_ms))?;
        row(f, true, "round trip between hosts", spread(self.round_trip_ms))?;
        let recovery = match self.recovery_ms {
            Some(time) => format!("{time:.1} ms"),
            None => "never".to_owned(),
        };
        row(f, self.recovery_ms.is_some(), "kill -9 to first ping of a new one", recovery)?;
        if let Some(gap) = self.kill_gap_ms {
            let lost = format!("{} lost, longest gap {gap:.1} ms", self.kill_lost);
            row(f, self.kill_lost == 0, "pings while the agent was down", lost)?;
        }
        for failure in &self.failures {
            writeln!(f, "  - {failure}")?;
        }
        let verdict = if self.ok { "All held" } else { "Not all held" };
        write!(f, "{verdict}. {:.1} s", self.seconds)
    }
}

fn spread(times: Quantiles) -> String {
    if times.samples == 0 {
        return "never".to_owned();
    }
    let Quantiles { p50, p99, max, samples } = times;
    format!("p50 {p50:.2}  p99 {p99:.2}  max {max:.2} ms  ({samples} samples)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(range: std::ops::RangeInclusive<u64>) -> Vec<Duration> {
        range.rev().map(Duration::from_millis).collect()
    }

    #[test]
    fn quantiles_are_samples_by_nearest_rank() {
        let hundred = Quantiles::of(millis(1..=100));
        assert_eq!((hundred.p50, hundred.p99, hundred.max), (50.0, 99.0, 100.0));
        let one = Quantiles::of(millis(7..=7));
        assert_eq!((one.p50, one.p99, one.max, one.samples), (7.0, 7.0, 7.0, 1));
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
    }

    fn report() -> Report {
        Report {
            ok: true,
            nodes: 3,
            networks: 2,
            endpoints: 12,
            expected_pairs: 60,
            reachable_pairs: 60,
            leaked_pairs: 0,
            duplicate_addresses: 0,
            first_ping_ms: Quantiles::of(millis(10..=20)),
            recovery_ms: Some(420.0),
            round_trip_ms: Quantiles::of(millis(1..=2)),
            kill_gap_ms: Some(20.0),
            kill_lost: 0,
            ipv6: false,
            failures: Vec::new(),
            seconds: 4.2,
        }
    }

    #[test]
    fn the_json_object_has_the_promised_members() {
        let json = serde_json::to_value(report()).unwrap();
        for member in [
            "ok",
            "nodes",
            "networks",
            "endpoints",
            "expected_pairs",
            "reachable_pairs",
            "leaked_pairs",
            "duplicate_addresses",
            "recovery_ms",
        ] {
            assert!(json.get(member).is_some(), "{member}");
        }
        for member in ["p50", "p99", "max"] {
            assert!(json["first_ping_ms"][member].is_f64(), "{member}");
        }
    }

    #[test]
    fn people_see_what_failed() {
        let text = report().to_string();
        assert!(!text.contains("FAIL") && text.contains("All held"), "{text}");
        let failures = vec!["blue-h1-1 does not reach blue-h2-1".to_owned()];
        let failed = Report { ok: false, leaked_pairs: 1, recovery_ms: None, failures, ..report() };
        let text = failed.to_string();
        assert_eq!(text.matches("FAIL").count(), 2, "{text}");
        assert!(text.contains("Not all held") && text.contains("blue-h1-1"), "{text}");
    }
}
