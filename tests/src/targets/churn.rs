//! NetworkDB's own test of latency: eight writes every 20 ms, and one node that comes and goes.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::tally::{Finding, Tally, short};
use super::world::{NET, NODES, Sightings, TABLE, between, chance, copies, local, millis, seconds};
use crate::cluster::Cluster;

/// The last host is the one that flaps: cut off from all for a while, then back for a while.
const STEADY: usize = NODES - 1;
const WRITES_A_TICK: u64 = 8;
/// Keys that each host writes again and again.
const KEYS: u64 = 100;
/// Ticks between two writes that are followed.
const FOLLOWED: u64 = 25;

pub(super) fn run(seed: u64) -> Tally {
    churned(seed, 1_500)
}

pub(super) fn brief(seed: u64) -> Tally {
    churned(seed, 300)
}

fn churned(seed: u64, ticks: u64) -> Tally {
    let mut rng = chance(seed);
    let mut cluster = local(seed, NODES);
    let (mut tally, mut sightings) = (Tally::default(), Sightings::default());
    let before = copies(&cluster, 0..STEADY);
    let (mut cut, mut turn) = (false, cluster.elapsed());
    for tick in 0..ticks {
        if cluster.elapsed() >= turn {
            cut = !cut;
            let lasts = if cut {
                let steady: Vec<usize> = (0..STEADY).collect();
                cluster.network.split(&[STEADY], &steady);
                between(&mut rng, seconds(1), seconds(8))
            } else {
                cluster.network.heal();
                between(&mut rng, millis(500), seconds(4))
            };
            turn = cluster.elapsed() + lasts;
        }
        for number in 0..WRITES_A_TICK {
            junk(&mut cluster, &mut rng, tick * WRITES_A_TICK + number);
        }
        if tick % FOLLOWED == 0 {
            let host = rng.random_range(0..STEADY);
            sightings.write(&mut cluster, host, &format!("key-{tick}"));
        }
        cluster.run(millis(20));
        sightings.look(&mut cluster, 0..STEADY);
    }
    cluster.run(seconds(60));
    sightings.look(&mut cluster, 0..STEADY);
    sightings.note(&mut tally, "churn", STEADY);
    tally.count("churn copies", copies(&cluster, 0..STEADY) - before);
    let events = ticks * WRITES_A_TICK + ticks.div_ceil(FOLLOWED);
    tally.count("churn receivers", events * (STEADY as u64 - 1));
    tally
}

fn junk(cluster: &mut Cluster, rng: &mut ChaCha8Rng, number: u64) {
    let host = rng.random_range(0..STEADY);
    let key = format!("junk-{host}-{}", number % KEYS);
    let value = number.to_le_bytes().to_vec();
    cluster
        .act(host, |db, now| match db.entry(NET, TABLE, &key) {
            Some(_) => db.update_entry(NET, TABLE, &key, value, now),
            None => db.create_entry(NET, TABLE, &key, value, now),
        })
        .expect("the host writes a key of its own");
}

pub(super) fn judge(tally: &Tally) -> Vec<Finding> {
    let spread = tally.spread("churn");
    let lost = tally.total("entries that did not reach all");
    let within = spread.p50 <= millis(200) && spread.p90 <= millis(500) && spread.max <= seconds(3);
    let copies = tally.total("churn copies") as f64 / tally.total("churn receivers").max(1) as f64;
    vec![
        Finding::judged(
            "write among 400 a second and a flapping node, last of the 24 others",
            "p50 <= 0.2, p90 <= 0.5, max <= 3 s",
            "NetworkDB 1.4 / 11 / 58 s",
            spread.to_string(),
            spread.samples > 0 && within && lost == 0,
        ),
        Finding::judged(
            "copies of a payload per node and event, the same",
            "<= 5",
            "NetworkDB's budget 24 to 36",
            short(copies),
            copies <= 5.0,
        ),
    ]
}
