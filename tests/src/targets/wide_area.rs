//! A thousand nodes in ten regions of the world.

use rand::RngExt;

use super::tally::{Finding, Tally, short};
use super::world::{Sightings, attach, chance, copies, every, millis, seconds};
use crate::cluster::{Cluster, WideArea};

/// Average round trips between ten regions of a public cloud, in milliseconds: Virginia,
/// California, Oregon, Ireland, Frankfurt, Tokyo, Seoul, Singapore, Sydney, São Paulo.
pub(super) const ROUND_TRIPS_MS: [[u32; 10]; 10] = [
    [1, 72, 87, 81, 89, 145, 178, 217, 230, 120],
    [72, 1, 19, 153, 167, 103, 132, 174, 158, 193],
    [87, 19, 1, 137, 160, 89, 118, 161, 162, 183],
    [81, 153, 137, 1, 20, 212, 242, 239, 310, 191],
    [89, 167, 160, 20, 1, 237, 266, 326, 324, 195],
    [145, 103, 89, 212, 237, 1, 31, 74, 104, 257],
    [178, 132, 118, 242, 266, 31, 1, 72, 134, 286],
    [217, 174, 161, 239, 326, 74, 72, 1, 175, 328],
    [230, 158, 162, 310, 324, 104, 134, 175, 1, 323],
    [120, 193, 183, 191, 195, 257, 286, 328, 323, 1],
];
const NODES: usize = 1_000;
const WRITES: usize = 60;

pub(super) fn run(seed: u64) -> Tally {
    spread_out(seed, NODES)
}

pub(super) fn brief(seed: u64) -> Tally {
    spread_out(seed, 120)
}

fn spread_out(seed: u64, nodes: usize) -> Tally {
    let mut rng = chance(seed);
    let (mut tally, mut sightings) = (Tally::default(), Sightings::default());
    let mut cluster = form(seed, nodes);
    let before = copies(&cluster, 0..nodes);
    for number in 0..WRITES {
        let host = rng.random_range(0..nodes);
        sightings.write(&mut cluster, host, &format!("key-{number}"));
        cluster.run(millis(1_500));
        sightings.look(&mut cluster, 0..nodes);
    }
    cluster.run(seconds(20));
    sightings.look(&mut cluster, 0..nodes);
    sightings.note(&mut tally, "wide", nodes);
    tally.count("wide copies", copies(&cluster, 0..nodes) - before);
    tally.count("wide receivers", (WRITES * (nodes - 1)) as u64);
    tally.count("nodes", nodes as u64);
    tally.count("clusters", 1);
    tally
}

fn form(seed: u64, nodes: usize) -> Cluster {
    let mut cluster = Cluster::new(seed);
    cluster.network.rate = Some(125_000_000);
    cluster.network.jitter = millis(2);
    let round_trips_ms = ROUND_TRIPS_MS.iter().map(|row| row.to_vec()).collect();
    cluster.network.wide_area = Some(WideArea { round_trips_ms });
    for host in 0..nodes {
        cluster.add();
        if host > 0 {
            cluster.join(host, &[host / 2]);
            cluster.run(millis(10));
        }
    }
    every(&mut cluster, millis(500), seconds(300), "all know all", |c| {
        (0..nodes).all(|host| c.alive(host).len() == nodes)
    });
    attach(&mut cluster, 0..nodes);
    cluster.run(seconds(10));
    for host in 0..nodes {
        drop(cluster.take_outputs(host));
    }
    cluster
}

pub(super) fn judge(tally: &Tally) -> Vec<Finding> {
    let spread = tally.spread("wide");
    let lost = tally.total("entries that did not reach all");
    let copies = tally.total("wide copies") as f64 / tally.total("wide receivers").max(1) as f64;
    let nodes = tally.total("nodes") / tally.total("clusters").max(1);
    vec![
        Finding::judged(
            &format!("quiet write over wide-area delays, last of {nodes} nodes"),
            "p99 <= 350 ms",
            "of 500 nodes: flat gossip 344, Plumtree 157 ms",
            spread.to_string(),
            spread.samples > 0 && spread.p99 <= millis(350) && lost == 0,
        ),
        Finding::judged(
            "copies of a payload per node and event, the same",
            "<= 5",
            "Plumtree 3.6, flat gossip 38",
            short(copies),
            copies <= 5.0,
        ),
    ]
}
