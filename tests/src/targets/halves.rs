//! Both halves of a split define networks with one name or overlapping pools; then they merge.
//!
//! DESIGN 4.4: the lower stamp keeps name and pool, on all members alike; the other stays there,
//! is reached by its id, and is frozen.

use std::collections::BTreeMap;

use rand::RngExt;
use weft_api::{Definition, NetworkId, Stamp, Subnet, Vni};

use super::tally::{Finding, Tally};
use super::world::{NODES, all_alive, chance, every, local, millis, seconds};
use crate::cluster::Cluster;

/// Pairs of definitions that exclude each other, one for each half.
const PAIRS: u8 = 4;

pub(super) fn run(seed: u64) -> Tally {
    let mut rng = chance(seed);
    let mut tally = Tally::default();
    let nodes = rng.random_range(4..=NODES);
    let mut cluster = local(seed, nodes);
    let border = rng.random_range(1..nodes);
    let left: Vec<usize> = (0..border).collect();
    let right: Vec<usize> = (border..nodes).collect();
    cluster.network.split(&left, &right);
    let half = |host: usize| if host < border { border } else { nodes - border };
    every(&mut cluster, millis(100), seconds(900), "each half holds the other failed", |c| {
        (0..nodes).all(|host| c.alive(host).len() == half(host))
    });
    for pair in 0..PAIRS {
        for (side, group) in [&left, &right].into_iter().enumerate() {
            let host = group[rng.random_range(0..group.len())];
            let side = u8::try_from(side).expect("two");
            // One name and two pools, or two names and one pool within the other.
            let (name, pool) = match (pair % 2, side) {
                (0, _) => (format!("net-{pair}"), format!("10.{pair}.{side}.0/24")),
                (_, 0) => (format!("net-{pair}-0"), format!("10.{pair}.0.0/23")),
                (_, _) => (format!("net-{pair}-1"), format!("10.{pair}.1.0/24")),
            };
            let definition = definition(1 + 2 * pair + side, &name, &pool);
            cluster.act(host, |db, now| db.define(definition, Vec::new(), now));
        }
        cluster.run(millis(700));
    }
    cluster.run(seconds(3));
    cluster.network.heal();
    every(&mut cluster, millis(50), seconds(60), "the halves merge", all_alive);
    cluster.run(seconds(5));
    for pair in 0..PAIRS {
        let ends = settled(&cluster, nodes, pair);
        tally.count(if ends { "as designed" } else { "otherwise" }, 1);
    }
    tally
}

fn id(number: u8) -> NetworkId {
    NetworkId::from_bytes([number; 16])
}

fn definition(number: u8, name: &str, pool: &str) -> Definition {
    Definition {
        id: id(number),
        name: name.to_owned(),
        driver: "overlay".to_owned(),
        ipam: "weft".to_owned(),
        subnets: vec![Subnet {
            pool: pool.parse().expect("a pool"),
            gateway: None,
            range: None,
            auxiliary: BTreeMap::new(),
            vni: Vni::new(8_388_608 + u32::from(number)).expect("a VNI"),
        }],
        options: BTreeMap::new(),
        mtu: None,
        internal: false,
        stamp: Stamp::default(),
    }
}

/// Tells whether a pair ended as it must, on every node.
fn settled(cluster: &Cluster, nodes: usize, pair: u8) -> bool {
    let pair = [id(1 + 2 * pair), id(2 + 2 * pair)];
    let known = cluster.db(0);
    let stamps = pair.map(|id| known.definition(id).map(|definition| definition.stamp));
    let [Some(one), Some(two)] = stamps else { return false };
    let (lower, higher) = if one < two { (pair[0], pair[1]) } else { (pair[1], pair[0]) };
    (0..nodes).map(|host| cluster.db(host)).all(|db| {
        let by_name = db
            .definition(lower)
            .and_then(|definition| db.definition_by_name(&definition.name))
            .is_some_and(|definition| definition.id == lower);
        by_name && !db.is_frozen(lower) && db.is_frozen(higher) && db.definition(higher).is_some()
    })
}

pub(super) fn judge(tally: &Tally) -> Vec<Finding> {
    let (well, ill) = (tally.total("as designed"), tally.total("otherwise"));
    vec![Finding::judged(
        "conflicting definitions of two merged halves end as DESIGN 4.4 says on all nodes",
        "all",
        "Swarm: one half only can define",
        format!("{well} of {} pairs", well + ill),
        well > 0 && ill == 0,
    )]
}
