//! Writes right after a node has joined, by it and by others.

use rand::RngExt;
use weft_networkdb::Output;

use super::tally::{Finding, Tally};
use super::world::{NET, NODES, Sightings, between, chance, every, local, millis, seconds};

const JOINS: usize = 5;
/// More than an owner pushes to by itself, and more than may greet a new node.
const MANY: usize = 48;

pub(super) fn run(seed: u64) -> Tally {
    let mut tally = Tally::default();
    tally.add(grow(seed, NODES, ["own", "other"]));
    tally.add(grow(seed, MANY, ["own of many", "other of many"]));
    tally
}

/// The last few nodes of a cluster join one after the other.
fn grow(seed: u64, nodes: usize, names: [&'static str; 2]) -> Tally {
    let mut rng = chance(seed);
    let mut tally = Tally::default();
    let mut cluster = local(seed, nodes - JOINS);
    for joined in nodes - JOINS..nodes {
        let host = cluster.add();
        let through = rng.random_range(0..joined);
        cluster.join(host, &[through]);
        every(&mut cluster, millis(1), seconds(5), "it has joined", |c| {
            c.outputs(host).iter().any(|(_, output)| *output == Output::Joined)
        });
        cluster.act(host, |db, now| db.attach(NET, now)).expect("a host attaches");
        let other = rng.random_range(0..joined);
        let (mut own, mut others) = (Sightings::default(), Sightings::default());
        own.write(&mut cluster, host, &format!("own-{host}"));
        others.write(&mut cluster, other, &format!("other-{host}"));
        cluster.run(seconds(5) + between(&mut rng, millis(0), seconds(1)));
        for (sightings, of) in [&mut own, &mut others].into_iter().zip(names) {
            // Both look at the same outputs.
            sightings.peek(&cluster, 0..host + 1);
            sightings.note(&mut tally, of, host + 1);
        }
    }
    tally
}

pub(super) fn judge(tally: &Tally) -> Vec<Finding> {
    let lost = tally.total("entries that did not reach all");
    let finding = |what: &str, of: &str| {
        let spread = tally.spread(of);
        Finding::judged(
            what,
            "p99 <= 100 ms, as any other",
            "NetworkDB 58 s at worst",
            spread.to_string(),
            spread.samples > 0 && spread.p99 <= millis(100) && lost == 0,
        )
    };
    vec![
        finding("write by a node that has just joined, last node", "own"),
        finding("write by another at that moment, last node", "other"),
        finding("write by a node that has just joined a cluster of 48, last node", "own of many"),
        finding("write by another at that moment, cluster of 48, last node", "other of many"),
    ]
}
