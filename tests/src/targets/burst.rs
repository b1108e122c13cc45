//! Many entries written at one instant by one node.

use rand::RngExt;

use super::tally::{Finding, Tally};
use super::world::{NET, NODES, TABLE, chance, every, local, millis, seconds, write};

const SIZES: [(usize, &str); 2] = [(1_000, "1,000"), (10_000, "10,000")];

pub(super) fn run(seed: u64) -> Tally {
    let mut rng = chance(seed);
    let mut tally = Tally::default();
    let mut cluster = local(seed, NODES);
    let mut entries = 0;
    for (size, of) in SIZES {
        let host = rng.random_range(0..NODES);
        for number in 0..size {
            write(&mut cluster, host, &format!("key-{size}-{number}"));
        }
        entries += size;
        let took = every(&mut cluster, millis(5), seconds(60), "all have all", |c| {
            c.running().all(|host| c.db(host).walk(NET, TABLE).count() == entries)
        });
        tally.time(of, took);
        cluster.run(seconds(40));
    }
    tally
}

pub(super) fn judge(tally: &Tally) -> Vec<Finding> {
    let limits = [seconds(1), seconds(5)];
    let anchors = ["NetworkDB 28 s and more", "NetworkDB minutes"];
    let all = SIZES.iter().zip(limits).zip(anchors);
    all.map(|(((_, of), limit), anchor)| {
        let spread = tally.spread(of);
        Finding::judged(
            &format!("{of} entries written at once, the last of 25 nodes has the last"),
            &format!("<= {} s", limit.as_secs()),
            anchor,
            spread.to_string(),
            spread.samples > 0 && spread.max <= limit,
        )
    })
    .collect()
}
