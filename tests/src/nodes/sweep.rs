//! Many seeds at once, and what they came to together.

use std::ops::Range;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::schedule::{Knobs, Report, run};
use super::{Failure, Tally};

/// Failures that are kept whole; all are counted.
const KEPT: usize = 20;

/// What a sweep came to.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Runs that held.
    pub held: u64,
    /// Runs that did not.
    pub failed: u64,
    /// The first of those.
    pub failures: Vec<Failure>,
    /// All counts together.
    pub tally: Tally,
    /// Hosts of all runs together, and of the largest.
    pub hosts: (u64, usize),
    /// Virtual time of all runs together.
    pub elapsed: Duration,
    /// How long each took to be quiet after all was mended, ascending.
    pub quiet: Vec<Duration>,
    /// Real time.
    pub took: Duration,
}

/// Runs seeds on so many threads; tells of each how many are done, and how it failed if it did.
pub fn sweep(
    seeds: Range<u64>,
    knobs: &Knobs,
    threads: usize,
    progress: impl Fn(u64, Option<&Failure>) + Sync,
) -> Sweep {
    let begin = Instant::now();
    let next = Mutex::new(seeds);
    let sum = Mutex::new(Sweep::default());
    let work = || {
        while let Some(seed) = next.lock().ok().and_then(|mut seeds| seeds.next()) {
            let outcome = run(seed, knobs);
            let Ok(mut sum) = sum.lock() else { return };
            progress(sum.held + sum.failed + 1, outcome.as_ref().err().map(|failure| &**failure));
            sum.add(outcome);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut sum = sum.into_inner().unwrap_or_default();
    sum.quiet.sort_unstable();
    sum.failures.sort_by_key(|failure| failure.seed);
    sum.took = begin.elapsed();
    sum
}

impl Sweep {
    fn add(&mut self, outcome: Result<Report, Box<Failure>>) {
        match outcome {
            Ok(report) => {
                self.held += 1;
                self.tally.add(&report.tally);
                self.hosts.0 += report.hosts as u64;
                self.hosts.1 = self.hosts.1.max(report.hosts);
                self.elapsed += report.elapsed;
                self.quiet.push(report.quiet_after);
            }
            Err(failure) => {
                self.failed += 1;
                if self.failures.len() < KEPT {
                    self.failures.push(*failure);
                }
            }
        }
    }

    /// Returns the time within which this part of the runs was quiet; part in 0..=1.
    pub fn quiet_within(&self, part: f64) -> Duration {
        let last = self.quiet.len().saturating_sub(1);
        let at = (last as f64 * part).round() as usize;
        self.quiet.get(at).copied().unwrap_or_default()
    }

    /// Returns every number by its name: seconds where the name says so.
    pub fn rows(&self) -> Vec<(String, f64)> {
        let row = |name: &str, value: f64| (name.to_owned(), value);
        let runs = (self.held + self.failed) as f64;
        let mut rows = vec![
            row("runs", runs),
            row("failed", self.failed as f64),
            row("took_s", self.took.as_secs_f64()),
            row("virtual_s", self.elapsed.as_secs_f64()),
            row("hosts_mean", self.hosts.0 as f64 / (self.held.max(1)) as f64),
            row("hosts_max", self.hosts.1 as f64),
            row("quiet_p50_s", self.quiet_within(0.5).as_secs_f64()),
            row("quiet_p99_s", self.quiet_within(0.99).as_secs_f64()),
            row("quiet_max_s", self.quiet_within(1.0).as_secs_f64()),
        ];
        rows.extend(self.tally.rows().into_iter().map(|(name, n)| row(name, n as f64)));
        rows
    }
}
