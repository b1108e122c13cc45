//! Partitions of any shape and length, with writes on all sides, and what follows their heal.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::cut::{has_all, mend};
use super::tally::{Finding, Tally};
use super::world::{NODES, all_alive, between, chance, local, seconds, write};
use crate::cluster::Cluster;

pub(super) fn run(seed: u64) -> Tally {
    let mut rng = chance(seed);
    let mut tally = Tally::default();
    let nodes = rng.random_range(2..=NODES);
    let mut cluster = local(seed, nodes);
    partition(&mut cluster, &mut rng, nodes);
    let lasts = between(&mut rng, seconds(2), seconds(120));
    let entries = 3 * nodes;
    for number in 0..entries {
        write(&mut cluster, number % nodes, &format!("key-{number}"));
        cluster.run(lasts / u32::try_from(entries).expect("a few"));
    }
    let (contact, whole) = mend(&mut cluster, |c| all_alive(c) && has_all(c, entries));
    tally.time("contact", contact);
    tally.time("whole", whole);
    tally
}

/// Two groups, three groups, one node alone, or some directed pairs.
fn partition(cluster: &mut Cluster, rng: &mut ChaCha8Rng, nodes: usize) {
    match rng.random_range(0..4) {
        0 => {
            let alone = rng.random_range(0..nodes);
            let others: Vec<usize> = (0..nodes).filter(|host| *host != alone).collect();
            cluster.network.split(&[alone], &others);
        }
        kind @ (1 | 2) => {
            let mut groups = vec![Vec::new(); kind + 1];
            for host in 0..nodes {
                groups[if host <= kind { host } else { rng.random_range(0..=kind) }].push(host);
            }
            for (index, one) in groups.iter().enumerate() {
                groups[..index].iter().for_each(|other| cluster.network.split(one, other));
            }
        }
        _ => {
            for _ in 0..nodes {
                let (from, to) = (rng.random_range(0..nodes), rng.random_range(0..nodes));
                if from != to {
                    cluster.network.cut(from, to);
                }
            }
        }
    }
}

pub(super) fn judge(tally: &Tally) -> Vec<Finding> {
    let (contact, whole) = (tally.spread("contact"), tally.spread("whole"));
    vec![
        Finding::judged(
            "heal of any partition of 2 to 25 nodes: first contact",
            "<= 10 s",
            "foca 65 s, Corrosion 1 to 15 s",
            contact.to_string(),
            contact.samples > 0 && contact.max <= seconds(10),
        ),
        Finding::judged(
            "  from there until all hold all alive and all entries",
            "<= 5 s",
            "moby#53715: never",
            whole.to_string(),
            whole.samples > 0 && whole.max <= seconds(5),
        ),
    ]
}
