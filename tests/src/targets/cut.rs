//! One node is cut off for 30 s while all write; then it is whole again.

use rand::RngExt;

use super::tally::{Finding, Tally};
use super::world::{NET, NODES, TABLE, all_alive, between, chance, local, millis, seconds, write};
use crate::cluster::Cluster;

const AWAY: u64 = 30;

pub(super) fn run(seed: u64) -> Tally {
    let mut rng = chance(seed);
    let mut tally = Tally::default();
    let mut cluster = local(seed, NODES);
    let away = rng.random_range(0..NODES);
    let others: Vec<usize> = (0..NODES).filter(|host| *host != away).collect();
    cluster.network.split(&[away], &others);
    let back = cluster.elapsed() + seconds(AWAY);
    let mut entries = 0;
    while cluster.elapsed() < back {
        let host = if entries % 4 == 0 { away } else { rng.random_range(0..NODES) };
        write(&mut cluster, host, &format!("key-{entries}"));
        entries += 1;
        cluster.run(between(&mut rng, millis(100), millis(300)));
    }
    let (contact, whole) = mend(&mut cluster, |c| all_alive(c) && has_all(c, entries));
    tally.time("contact", contact);
    tally.time("whole", whole);
    tally
}

/// Tells whether all hosts have so many entries.
pub(super) fn has_all(cluster: &Cluster, entries: usize) -> bool {
    cluster.running().all(|host| cluster.db(host).walk(NET, TABLE).count() == entries)
}

/// Heals the network; returns how long until the first packet, and from there until all is well.
pub(super) fn mend(
    cluster: &mut Cluster,
    well: impl Fn(&Cluster) -> bool,
) -> (std::time::Duration, std::time::Duration) {
    cluster.contact = None;
    cluster.network.heal();
    let healed = cluster.now();
    let end = cluster.elapsed() + seconds(180);
    while !(cluster.contact.is_some() && well(cluster)) {
        assert!(cluster.elapsed() < end, "not well three minutes after the heal");
        cluster.run(millis(5));
    }
    let contact = cluster.contact.unwrap_or(healed);
    (contact - healed, cluster.now() - contact)
}

pub(super) fn judge(tally: &Tally) -> Vec<Finding> {
    let spread = tally.spread("whole");
    vec![
        Finding::judged(
            "a node cut off for 30 s: whole again after first contact",
            "<= 2 s",
            "moby#53141: never; 30 s",
            spread.to_string(),
            spread.samples > 0 && spread.max <= seconds(2),
        ),
        Finding::told(
            "  of it, first contact after the heal",
            "",
            tally.spread("contact").to_string(),
        ),
    ]
}
