//! VNIs, default pools, births and deaths of networks.

use std::time::Duration;

use weft_api::Vni;

use super::cluster::{Cluster, definition, id, pools, space_of};
use crate::Error;
use crate::request::{Block, BlockWant, Fate, Granted};
use crate::space::Space;

fn founded(n: usize) -> Cluster {
    let mut cluster = Cluster::new(n, 3);
    cluster.act(0, |ipam, now| ipam.found_cluster(&pools(), now));
    cluster.run(Duration::from_secs(2));
    cluster
}

fn pool(text: &str) -> Block {
    Block::Pool(text.parse().unwrap())
}

fn block(answer: Result<Granted, Error>) -> Block {
    match answer {
        Ok(Granted::Block(block)) => block,
        other => panic!("no block: {other:?}"),
    }
}

fn subnet_of(taken: Block, n: u8, creator: usize) -> weft_api::Definition {
    match taken {
        Block::Pool(pool) => definition(n, creator, &pool.to_string()),
        Block::Vni(_) => panic!("a VNI is no pool"),
    }
}

#[test]
fn a_joiner_has_vnis_and_pools_without_asking_and_so_outlives_the_founder() {
    let mut cluster = founded(3);
    cluster.kill(0);
    for node in [1, 2] {
        for want in [BlockWant::Vni, BlockWant::Default4, BlockWant::Default6] {
            let before = cluster.now;
            cluster.take(node, want, &[]).unwrap();
            assert_eq!(cluster.now, before, "node {node} asked for {want:?}");
        }
    }
    cluster.start(0);
    cluster.run(Duration::from_secs(3));
    cluster.assert_partition(Space::Blocks(pools().default4));
    cluster.assert_partition(Space::Blocks(pools().default6));
}

#[test]
fn default_pools_skip_what_the_hosts_use_and_what_networks_use() {
    let mut cluster = founded(1);
    let first = block(cluster.take(0, BlockWant::Default4, &["0.0.0.0/0", "10.128.0.0/19"]));
    assert_eq!(first, pool("10.128.32.0/20"));
    cluster.define(&definition(1, 0, "10.128.0.0/24"));
    assert_eq!(block(cluster.take(0, BlockWant::Default4, &[])), pool("10.128.16.0/20"));
    let none = cluster.take(0, BlockWant::Default4, &["10.0.0.0/8"]);
    assert!(matches!(none, Err(Error::NoMoreBlocks(_))), "{none:?}");
}

#[test]
fn a_joiner_asks_for_blocks_that_are_not_avoided() {
    let mut cluster = founded(2);
    let mine: Vec<_> = {
        let ipam = cluster.nodes[1].ipam.as_ref().unwrap();
        let pool = &ipam.pools[&Space::Blocks(pools().default4)];
        let blocks = pools().default4;
        pool.free_in(0, 2047).flat_map(|(l, h)| l..=h).filter_map(|i| blocks.block(i)).collect()
    };
    assert!(!mine.is_empty());
    let avoid: Vec<String> = mine.iter().map(ToString::to_string).collect();
    let avoid: Vec<&str> = avoid.iter().map(String::as_str).collect();
    let taken = block(cluster.take(1, BlockWant::Default4, &avoid));
    assert!(!mine.iter().any(|block| pool(&block.to_string()) == taken), "{taken:?}");
}

#[test]
fn an_unused_block_is_free_at_once_and_a_deleted_pool_after_its_rest() {
    let mut cluster = founded(1);
    let first = block(cluster.take(0, BlockWant::Default4, &[]));
    assert_eq!(cluster.nodes[0].ipam.as_ref().unwrap().pending_blocks(), [first]);
    cluster.act(0, |ipam, now| ipam.return_block(first, Fate::Unused, now));
    cluster.blocks.clear();
    assert_eq!(block(cluster.take(0, BlockWant::Default4, &[])), first);
    let network = subnet_of(first, 1, 0);
    cluster.define(&network);
    assert_eq!(cluster.nodes[0].ipam.as_ref().unwrap().pending_blocks(), []);
    cluster.act(0, |ipam, now| ipam.forget_network(network.id, now));
    let next = block(cluster.take(0, BlockWant::Default4, &[]));
    assert_ne!(next, first);
    cluster.run(Duration::from_secs(61));
    cluster.blocks.clear();
    assert_eq!(block(cluster.take(0, BlockWant::Default4, &[])), first);
}

#[test]
fn a_block_is_taken_durably() {
    let mut cluster = founded(1);
    let first = block(cluster.take(0, BlockWant::Default4, &[]));
    let vni = block(cluster.take(0, BlockWant::Vni, &[]));
    cluster.kill(0);
    cluster.start(0);
    assert_eq!(cluster.nodes[0].ipam.as_ref().unwrap().pending_blocks(), [first]);
    assert_ne!(block(cluster.take(0, BlockWant::Default4, &[])), first);
    assert_ne!(block(cluster.take(0, BlockWant::Vni, &[])), vni);
}

#[test]
fn a_vni_is_never_used_again_not_even_by_an_heir() {
    let mut cluster = founded(2);
    let taken = block(cluster.take(0, BlockWant::Vni, &[]));
    let Block::Vni(vni) = taken else { panic!("{taken:?}") };
    let mut network = definition(1, 0, "192.168.0.0/24");
    network.subnets[0].vni = vni;
    cluster.define(&network);
    for node in [0, 1] {
        cluster.act(node, |ipam, now| ipam.forget_network(network.id, now));
    }
    cluster.act(0, |ipam, now| ipam.return_block(taken, Fate::Deleted, now));
    cluster.run(Duration::from_secs(100));
    assert_eq!(cluster.take(0, BlockWant::ExactVni(vni), &[]), Err(Error::IpAlreadyAllocated));
    cluster.act(0, |ipam, now| ipam.leave(now));
    cluster.run(Duration::from_secs(1));
    cluster.remove(0);
    cluster.run(Duration::from_secs(100));
    let refused = cluster.take(1, BlockWant::ExactVni(vni), &[]);
    assert!(matches!(refused, Err(Error::OwnerAway { .. })), "{refused:?}");
}

#[test]
fn an_explicit_vni_comes_from_the_owner_of_its_range() {
    let mut cluster = founded(3);
    for (node, vni) in [(0, 8_388_608), (1, 8_388_609), (2, 16_777_215), (1, 12_000_000)] {
        let vni = Vni::new(vni).unwrap();
        let granted = cluster.take(node, BlockWant::ExactVni(vni), &[]);
        assert_eq!(granted, Ok(Granted::Block(Block::Vni(vni))));
        let again = cluster.take((node + 1) % 3, BlockWant::ExactVni(vni), &[]);
        assert_eq!(again, Err(Error::IpAlreadyAllocated));
    }
    let outside = BlockWant::ExactVni(Vni::new(4096).unwrap());
    assert_eq!(cluster.take(0, outside, &[]), Err(Error::IpOutOfRange));
    let total: u128 = cluster.owners(0, Space::Vni).values().sum();
    assert_eq!(total, 8_388_608);
}

#[test]
fn low_nodes_do_not_pass_blocks_to_and_fro() {
    let mut small = pools();
    small.default4.block_prefix = 12;
    let mut cluster = Cluster::new(2, 5);
    cluster.act(0, |ipam, now| ipam.found_cluster(&small, now));
    cluster.run(Duration::from_secs(10));
    let writes = |cluster: &Cluster| {
        let facts = &cluster.nodes[0].disk.facts;
        facts[&(crate::FactKind::Ranges, Space::Blocks(small.default4).subject())].clone()
    };
    let before = writes(&cluster);
    cluster.run(Duration::from_secs(200));
    assert_eq!(writes(&cluster), before);
    for _ in 0..8 {
        cluster.take(1, BlockWant::Default4, &[]).unwrap();
    }
    let full = cluster.take(0, BlockWant::Default4, &[]);
    assert!(matches!(full, Err(Error::NoMoreBlocks(_))), "{full:?}");
}

#[test]
fn the_creator_gives_two_live_members_a_part_that_needs_no_rest() {
    let mut cluster = Cluster::new(4, 1);
    let space = cluster.define(&definition(1, 0, "10.0.0.0/24"));
    let owners = cluster.owners(0, space);
    assert_eq!(owners.len(), 3, "{owners:?}");
    for node in (1..4).filter(|&node| owners.contains_key(&id(node))) {
        let before = cluster.now;
        cluster.any(node, space, 1 + node as u64).unwrap();
        assert_eq!(cluster.now, before, "node {node} asked");
    }
    cluster.assert_partition(space);
}

#[test]
fn a_creator_that_crashed_at_birth_founds_after_its_return() {
    let mut cluster = Cluster::new(2, 1);
    let network = definition(1, 0, "10.0.0.0/24");
    cluster.nodes[0].crash = Some(super::cluster::Crash::BeforeCommit);
    let space = cluster.define(&network);
    assert!(!cluster.is_live(0));
    cluster.boot(0);
    cluster.act(0, |ipam, now| ipam.on_definition(&network, now));
    cluster.start(0);
    cluster.act(0, |ipam, now| ipam.on_definition(&network, now));
    cluster.run(Duration::from_secs(2));
    cluster.any(1, space, 1).unwrap();
    cluster.assert_partition(space);
}

#[test]
fn a_deleted_network_leaves_one_byte_and_late_facts_do_not_bring_it_back() {
    let mut cluster = Cluster::new(3, 1);
    let mut network = definition(1, 0, "10.0.0.0/24");
    network.subnets[0].gateway = Some("10.0.0.1".parse().unwrap());
    let space = cluster.define(&network);
    cluster.any(0, space, 1).unwrap();
    let late = cluster.nodes[0].disk.facts.clone();
    for node in 0..3 {
        cluster.act(node, |ipam, now| ipam.forget_network(network.id, now));
    }
    for ((kind, subject), bytes) in late {
        cluster.act(1, |ipam, now| ipam.handle_fact(kind, &subject, &bytes, now));
    }
    cluster.run(Duration::from_secs(3));
    for node in 0..3 {
        let disk = &cluster.nodes[node].disk;
        assert!(disk.facts.values().all(|bytes| bytes.len() == 1), "{:?}", disk.facts);
        assert_eq!(disk.records.len(), 1 + donations(disk), "{:?}", disk.records);
        assert_eq!(cluster.any(node, space, 9), Err(Error::BadPool));
        cluster.kill(node);
        cluster.start(node);
        assert_eq!(cluster.any(node, space_of(&network), 9), Err(Error::BadPool));
    }
}

fn donations(disk: &super::cluster::Disk) -> usize {
    disk.records.keys().filter(|key| key[0] == 5).count()
}

#[test]
fn a_network_that_comes_into_force_while_its_creator_leaves_is_founded_and_handed_over() {
    let mut cluster = founded(3);
    cluster.act(2, |ipam, now| ipam.leave(now));
    let space = cluster.define(&definition(1, 2, "10.128.0.0/24"));
    cluster.run(Duration::from_secs(3));
    let owners = cluster.owners(0, space);
    assert_eq!(owners.values().sum::<u128>(), 256);
    assert!(!owners.contains_key(&id(2)), "{owners:?}");
}
