//! Ten minutes with three of ten packets lost.

use rand::RngExt;

use super::tally::{Finding, Tally};
use super::world::{NODES, Sightings, between, chance, local, millis, seconds};

pub(super) fn run(seed: u64) -> Tally {
    lossy(seed, seconds(600))
}

pub(super) fn brief(seed: u64) -> Tally {
    lossy(seed, seconds(120))
}

fn lossy(seed: u64, span: std::time::Duration) -> Tally {
    let mut rng = chance(seed);
    let mut cluster = local(seed, NODES);
    let (mut tally, mut sightings) = (Tally::default(), Sightings::default());
    cluster.network.loss = 0.3;
    let end = cluster.elapsed() + span;
    let mut number = 0;
    while cluster.elapsed() < end {
        let host = rng.random_range(0..NODES);
        sightings.write(&mut cluster, host, &format!("key-{number}"));
        number += 1;
        cluster.run(between(&mut rng, seconds(1), seconds(5)));
        sightings.look(&mut cluster, 0..NODES);
    }
    let late: Vec<_> = (0..50).map(|number| format!("late-{number}")).collect();
    for key in &late {
        let host = rng.random_range(0..NODES);
        sightings.write(&mut cluster, host, key);
        cluster.run(millis(20));
    }
    cluster.run(seconds(60));
    sightings.look(&mut cluster, 0..NODES);
    sightings.note(&mut tally, "loss", NODES);
    tally.count("false deaths", sightings.failures.len() as u64);
    tally.count("node minutes", NODES as u64 * span.as_secs() / 60);
    tally
}

pub(super) fn judge(tally: &Tally) -> Vec<Finding> {
    let spread = tally.spread("loss");
    let lost = tally.total("entries that did not reach all");
    let (deaths, minutes) = (tally.total("false deaths"), tally.total("node minutes"));
    vec![
        Finding::judged(
            "write at 30 % loss, last of 25 nodes",
            "max <= 5 s",
            "NetworkDB's repair 30 s",
            spread.to_string(),
            spread.samples > 0 && spread.max <= seconds(5) && lost == 0,
        ),
        Finding::judged(
            "false deaths at 30 % loss",
            "0",
            "chitchat: 0 in 30 s at 50 %",
            format!("{deaths} in {minutes} node minutes"),
            minutes > 0 && deaths == 0,
        ),
    ]
}
