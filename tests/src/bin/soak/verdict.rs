//! Whether what was held stayed flat.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use weft_agent::lab::ping::Stream;

use crate::sample::{Process, Sample};

/// Looks that a judgement needs, the warm-up left out.
const LOOKS_MIN: usize = 6;
/// This share of the looks is warm-up, and one look at least.
const WARM_UP: usize = 10;

/// One number, followed.
#[derive(Debug)]
struct Series {
    name: String,
    /// The most of the first third after the warm-up, or its median.
    first: u64,
    /// The same of the last third.
    last: u64,
    /// The most that it may be.
    allowed: u64,
}

/// What a soak came to.
#[derive(Debug)]
pub(crate) struct Report {
    series: Vec<Series>,
    tally: BTreeMap<&'static str, u64>,
    pings: Vec<Stream>,
    looks: usize,
    time: Duration,
}

/// What of a third is compared.
#[derive(Debug, Clone, Copy)]
enum Of {
    Most,
    Median,
}

/// How much more the last third may have.
#[derive(Debug, Clone, Copy)]
struct Slack {
    of: Of,
    /// A share, in percent.
    percent: u64,
    more: u64,
}

/// What counts things that are made and unmade.
const EXACT: Slack = Slack { of: Of::Most, percent: 0, more: 0 };
/// Streams between agents come and go by themselves, and so do threads that wait for the disk.
const COMING_AND_GOING: Slack = Slack { of: Of::Most, percent: 0, more: 8 };
/// An allocator keeps what may be used again; the store's cache and ten minutes of tombstones fill.
const MEMORY_KIB: Slack = Slack { of: Of::Median, percent: 5, more: 1536 };
/// What each network that was ever made leaves in an agent's memory, at most: see ADR 18.
const NETWORK_KIB: u64 = 2;
/// A file grows in steps, and keeps what was freed in it for use again.
const FILE_KIB: Slack = Slack { of: Of::Most, percent: 10, more: 1024 };

/// Reads one of a process's numbers.
type Read = fn(&Process) -> u64;

impl Report {
    pub(crate) fn of(
        samples: &[Sample],
        tally: BTreeMap<&'static str, u64>,
        pings: Vec<Stream>,
        time: Duration,
    ) -> Self {
        let mut series: Vec<Series> = Vec::new();
        let hosts = samples.first().map_or(0, |sample| sample.processes.len());
        let made = tally.get("networks created").copied().unwrap_or_default();
        let memory = Slack { more: MEMORY_KIB.more + made * NETWORK_KIB, ..MEMORY_KIB };
        for host in 0..hosts {
            let kinds: [(&str, Slack, Read); 5] = [
                ("resident, KiB", memory, |process| process.resident_kib),
                ("anonymous, KiB", memory, |process| process.anonymous_kib),
                ("descriptors", COMING_AND_GOING, |process| process.descriptors),
                ("netlink sockets", EXACT, |process| process.netlink),
                ("threads", COMING_AND_GOING, |process| process.threads),
            ];
            for (kind, slack, of) in kinds {
                let name = format!("h{} {kind}", host + 1);
                series.extend(follow(samples, name, slack, |sample| of(&sample.processes[host])));
            }
        }
        let mut series = no_more_than_the_first(series);
        series.extend(follow(samples, "links".to_owned(), EXACT, |sample| sample.links));
        let name = "network namespaces".to_owned();
        series.extend(follow(samples, name, EXACT, |sample| sample.namespaces));
        let name = "state file, KiB".to_owned();
        series.extend(follow(samples, name, FILE_KIB, |sample| sample.state_kib));
        Self { series, tally, pings, looks: samples.len(), time }
    }

    /// True when nothing grew and no ping was lost. What is too short to judge is not judged.
    pub(crate) fn is_flat(&self) -> bool {
        self.series.iter().all(Series::is_flat) && self.lost() == 0
    }

    fn lost(&self) -> u64 {
        self.pings.iter().map(|ping| ping.sent - ping.answered).sum()
    }

    fn sent(&self) -> u64 {
        self.pings.iter().map(|ping| ping.sent).sum()
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{:<24}{:>12}{:>12}{:>12}\n",
            "held at rest", "first third", "last third", "allowed"
        );
        for Series { name, first, last, allowed } in &self.series {
            let mark = if last <= allowed { "" } else { "  GREW" };
            let _ = writeln!(text, "{name:<24}{first:>12}{last:>12}{allowed:>12}{mark}");
        }
        if self.series.is_empty() {
            let _ = writeln!(text, "(too few looks to judge)");
        }
        let minutes = self.time.as_secs_f64() / 60.0;
        let _ = writeln!(text, "\n{minutes:.1} minutes, {} looks at rest", self.looks);
        for (what, times) in &self.tally {
            let _ = writeln!(text, "{what:<24}{times:>12}");
        }
        let _ = writeln!(text, "{:<24}{:>12}", "pings sent", self.sent());
        let _ = write!(text, "{:<24}{:>12}", "pings lost", self.lost());
        text
    }

    pub(crate) fn json(&self) -> String {
        let series = self.series.iter().map(|series| {
            json!({
                "name": series.name,
                "first_third": series.first,
                "last_third": series.last,
                "allowed": series.allowed,
                "flat": series.is_flat(),
            })
        });
        json!({
            "minutes": self.time.as_secs_f64() / 60.0,
            "looks": self.looks,
            "series": series.collect::<Vec<_>>(),
            "done": self.tally,
            "pings_sent": self.sent(),
            "pings_lost": self.lost(),
            "flat": self.is_flat(),
        })
        .to_string()
    }
}

impl Series {
    fn is_flat(&self) -> bool {
        self.last <= self.allowed
    }
}

/// The first agent lives from the beginning to the end. One that was just started holds less, so
/// the others may have as much memory as it may.
fn no_more_than_the_first(mut series: Vec<Series>) -> Vec<Series> {
    for kind in ["resident, KiB", "anonymous, KiB"] {
        let of_kind = |series: &Series| series.name.ends_with(kind);
        let first = series.iter().find(|series| of_kind(series)).map_or(0, |first| first.allowed);
        for other in series.iter_mut().filter(|series| of_kind(series)) {
            other.allowed = other.allowed.max(first);
        }
    }
    series
}

/// Compares the first third after the warm-up with the last one; `None` when there are too few.
fn follow(
    samples: &[Sample],
    name: String,
    slack: Slack,
    of: impl Fn(&Sample) -> u64,
) -> Option<Series> {
    let warm = samples.get((samples.len() / WARM_UP).max(1)..)?;
    if warm.len() < LOOKS_MIN {
        return None;
    }
    let third = warm.len() / 3;
    let one = |some: &[Sample]| {
        let mut all: Vec<u64> = some.iter().map(&of).collect();
        all.sort_unstable();
        let place = match slack.of {
            Of::Most => all.len() - 1,
            Of::Median => all.len() / 2,
        };
        all[place]
    };
    let (first, last) = (one(&warm[..third]), one(&warm[warm.len() - third..]));
    let allowed = first + first * slack.percent / 100 + slack.more;
    Some(Series { name, first, last, allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(links: &[u64]) -> Vec<Sample> {
        let processes = Vec::new;
        let sample = |links: &u64| Sample {
            processes: processes(),
            links: *links,
            namespaces: 2,
            state_kib: 0,
        };
        links.iter().map(sample).collect()
    }

    fn report(links: &[u64], pings: Vec<Stream>) -> Report {
        Report::of(&samples(links), BTreeMap::new(), pings, Duration::from_secs(60))
    }

    #[test]
    fn one_link_more_at_the_end_is_growth_and_a_warm_up_is_none() {
        assert!(report(&[3, 9, 9, 9, 9, 9, 9], Vec::new()).is_flat());
        assert!(report(&[12, 9, 9, 9, 9, 9, 9], Vec::new()).is_flat());
        let grown = report(&[9, 9, 9, 9, 9, 9, 10], Vec::new());
        assert!(!grown.is_flat());
        assert!(grown.text().contains("GREW"));
        assert!(grown.json().contains("\"flat\":false"));
    }

    #[test]
    fn memory_is_judged_by_its_median_so_one_peak_is_no_growth() {
        let report = |peaks: [u64; 10]| {
            let sample = |kib: u64| Sample {
                processes: vec![Process { anonymous_kib: kib, ..Process::default() }],
                ..samples(&[9]).remove(0)
            };
            let samples: Vec<_> = peaks.into_iter().map(sample).collect();
            Report::of(&samples, BTreeMap::new(), Vec::new(), Duration::from_secs(60))
        };
        let flat = [0, 4000, 4000, 4000, 4000, 4000, 4000, 5700, 9000, 5700];
        assert!(report(flat).is_flat());
        let grown = [0, 4000, 4000, 9000, 4000, 4000, 4000, 5737, 5737, 5737];
        assert!(!report(grown).is_flat());
    }

    #[test]
    fn a_lost_ping_fails_a_soak_that_is_too_short_to_judge() {
        let seen = Stream { sent: 9, answered: 9, longest_gap: Duration::ZERO };
        assert!(report(&[9, 10], vec![seen]).is_flat());
        assert!(!report(&[9, 10], vec![Stream { answered: 8, ..seen }]).is_flat());
    }
}
