//! One node stalls for 1 to 10 s again and again; whom do nodes declare dead that is not?
//!
//! As in Lifeguard's paper, a death is false when it is of a node that is healthy. A node that
//! answers nobody for ten seconds is not: it is told apart, as what detection costs.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::plain_foca;
use super::tally::{Finding, Tally, short};
use super::world::{NODES, Sightings, between, chance, local, seconds};
use crate::cluster::StallKind;

/// The node that stalls.
pub(super) const SLOW: usize = 0;

pub(super) fn run(seed: u64) -> Tally {
    stalled(seed, seconds(600))
}

pub(super) fn brief(seed: u64) -> Tally {
    stalled(seed, seconds(300))
}

fn stalled(seed: u64, span: Duration) -> Tally {
    let mut tally = Tally::default();
    let ours = weft(seed, span);
    let theirs = plain_foca::deaths(seed, span);
    for (deaths, healthy, slow) in
        [(ours, "weft healthy", "weft slow"), (theirs, "foca healthy", "foca slow")]
    {
        let of_slow = deaths.iter().filter(|subject| **subject == SLOW).count();
        tally.count(slow, of_slow as u64);
        tally.count(healthy, (deaths.len() - of_slow) as u64);
    }
    tally.count("minutes", span.as_secs() / 60);
    tally
}

/// The next stall, and how long the node runs after it: often too short to say a word.
pub(super) fn next(rng: &mut ChaCha8Rng) -> (StallKind, Duration, Duration) {
    let kind = if rng.random() { StallKind::Process } else { StallKind::Links };
    let stall = between(rng, seconds(1), seconds(10));
    let run = Duration::from_millis(1 << rng.random_range(0..=12));
    (kind, stall, run)
}

fn weft(seed: u64, span: Duration) -> Vec<usize> {
    let mut rng = chance(seed);
    let mut cluster = local(seed, NODES);
    let mut sightings = Sightings::default();
    let end = cluster.elapsed() + span;
    while cluster.elapsed() < end {
        let (kind, stall, run) = next(&mut rng);
        cluster.stall(SLOW, kind, stall);
        cluster.run(stall + run);
        sightings.look(&mut cluster, 0..NODES);
    }
    cluster.run(seconds(30));
    sightings.look(&mut cluster, 0..NODES);
    sightings.failures.iter().map(|(_, subject, _)| *subject).collect()
}

pub(super) fn judge(tally: &Tally) -> Vec<Finding> {
    let (ours, theirs) = (tally.total("weft healthy"), tally.total("foca healthy"));
    let ratio = theirs as f64 / ours.max(1) as f64;
    let minutes = tally.total("minutes");
    vec![
        Finding::judged(
            "false deaths of healthy nodes, one of 25 stalls for 1 to 10 s again and again",
            ">= 50 times fewer than plain foca",
            &format!("plain foca {theirs}; Lifeguard's paper: > 50 times"),
            format!("{ours} in {minutes} minutes, {} times fewer", short(ratio)),
            theirs > 0 && ratio >= 50.0,
        ),
        Finding::told(
            "  and deaths of the node that stalls, by all observers",
            &format!("plain foca {}", tally.total("foca slow")),
            tally.total("weft slow").to_string(),
        ),
    ]
}
