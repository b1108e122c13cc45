//! One write at a time in a cluster at rest.

use rand::RngExt;

use super::tally::{Finding, Tally, short};
use super::world::{NODES, Sightings, between, chance, copies, local, millis, seconds};

const WRITES: usize = 40;

pub(super) fn run(seed: u64) -> Tally {
    let mut rng = chance(seed);
    let mut cluster = local(seed, NODES);
    let (mut tally, mut sightings) = (Tally::default(), Sightings::default());
    let before = copies(&cluster, 0..NODES);
    for number in 0..WRITES {
        let host = rng.random_range(0..NODES);
        sightings.write(&mut cluster, host, &format!("key-{number}"));
        cluster.run(between(&mut rng, millis(400), millis(900)));
    }
    cluster.run(seconds(30));
    sightings.look(&mut cluster, 0..NODES);
    sightings.note(&mut tally, "quiet", NODES);
    tally.count("quiet copies", copies(&cluster, 0..NODES) - before);
    tally.count("quiet receivers", (WRITES * (NODES - 1)) as u64);
    tally
}

pub(super) fn judge(tally: &Tally) -> Vec<Finding> {
    let spread = tally.spread("quiet");
    let lost = tally.total("entries that did not reach all");
    let copies = tally.total("quiet copies") as f64 / tally.total("quiet receivers").max(1) as f64;
    vec![
        Finding::judged(
            "quiet write, last of 25 nodes",
            "p99 <= 100 ms",
            "NetworkDB 800 ms",
            spread.to_string(),
            spread.samples > 0 && spread.p99 <= millis(100) && lost == 0,
        ),
        Finding::judged(
            "copies of a payload per node and event, 25 nodes, quiet",
            "<= 5",
            "Plumtree 3.6, flat gossip 38",
            short(copies),
            copies <= 5.0,
        ),
    ]
}
