//! What is left of a network that is deleted: its tombstone.

use weft_api::{NetworkId, Space};

use super::cluster::{Cluster, NET, PART, id};
use super::faults::eager_collection;
use crate::facts::FactKind;
use crate::sync::*;

/// The subject of a part of [`NET`].
fn part(number: u8) -> Vec<u8> {
    [NET.as_bytes().as_slice(), &[number]].concat()
}

/// Facts of [`NET`] on a node's disk, tombstone included.
fn facts_on_disk(cluster: &Cluster, node: usize) -> usize {
    let disk = cluster.nodes[node].disk.keys();
    disk.filter(|(space, key)| *space == Space::Facts && key[1..].starts_with(NET.as_bytes()))
        .count()
}

fn delete(cluster: &mut Cluster, node: usize) {
    cluster.put(node, FactKind::DELETED, NET.as_bytes(), &[1]);
}

#[test]
fn all_parts_of_a_network_end_with_it_on_every_node_and_do_not_return() {
    let mut cluster = Cluster::of(3);
    cluster.run(100);
    cluster.put(0, PART, &part(1), &[1]);
    let other = NetworkId::from_bytes([8; 16]);
    cluster.put(0, PART, other.as_bytes(), &[1]);
    cluster.run(50);
    // One is away, and learns more of the network instead of its end.
    cluster.isolate(2);
    cluster.put(2, PART, &part(2), &[2]);
    delete(&mut cluster, 0);
    cluster.run(50);
    cluster.heal();
    cluster.run(2_500);
    cluster.put(1, PART, &part(3), &[3]);
    cluster.restart(2);
    cluster.run(2_500);
    for (index, node) in cluster.nodes.iter().enumerate() {
        let parts: Vec<_> = node.sync.facts(PART).map(|(subject, _)| subject.to_vec()).collect();
        assert_eq!(parts, [other.as_bytes().to_vec()], "node {index}");
        assert_eq!(facts_on_disk(&cluster, index), 1, "node {index}: the tombstone alone");
        assert_eq!(node.sync.facts.root(), node.sync.facts.recomputed_root());
    }
    assert_eq!(cluster.nodes[0].sync.facts.root(), cluster.nodes[2].sync.facts.root());
}

#[test]
fn parts_that_an_older_disk_still_has_go_at_the_start() {
    let mut cluster = Cluster::of(1);
    delete(&mut cluster, 0);
    let key = [&[PART.0], part(1).as_slice()].concat();
    cluster.nodes[0].disk.insert((Space::Facts, key), vec![1]);
    cluster.restart(0);
    cluster.put(0, FactKind::RANGES, b"s", &[1]);
    assert_eq!(cluster.nodes[0].sync.facts(PART).count(), 0);
    assert_eq!(facts_on_disk(&cluster, 0), 1);
}

#[test]
fn the_logs_of_a_deleted_network_go_and_what_another_still_has_of_them_is_no_alarm() {
    let mut cluster = Cluster::with(2, eager_collection);
    (0..2).for_each(|index| cluster.attach(index));
    cluster.create(0, "a", "1");
    cluster.run(3_000);
    cluster.isolate(1);
    cluster.detach(0);
    delete(&mut cluster, 0);
    cluster.run(10_000);
    let of_net = |cluster: &Cluster| {
        let logs = cluster.nodes[0].disk.keys().filter(|(space, _)| *space == Space::Logs);
        logs.filter(|(_, key)| key.windows(16).any(|part| part == NET.as_bytes())).count()
    };
    assert!(!cluster.nodes[0].sync.shelves.contains_key(&NET));
    assert_eq!(of_net(&cluster), 0);
    let lamport = cluster.nodes[0].sync.lamport;
    cluster.restart(0);
    assert!(cluster.nodes[0].sync.lamport >= lamport, "the time of the log is kept");
    assert!(cluster.nodes[1].sync.shelves[&NET].log(id(0)).is_some(), "the other was away");
    cluster.heal();
    cluster.run(5_000);
    let alarmed = |output: &Output| matches!(output, Output::OwnRecordUnknown);
    assert!(!cluster.nodes[0].others.iter().any(alarmed));
}
