//! Facts: pushed, compared, kept.

use std::time::Duration;

use super::cluster::{Cluster, NET, config, id};
use crate::facts::{FactError, FactKind};
use crate::sync::*;
use crate::table::Cause;

const KIND: FactKind = FactKind::RANGES;

#[test]
fn a_fact_reaches_every_member_attached_or_not() {
    let mut cluster = Cluster::of(4);
    cluster.run(100);
    cluster.put(0, KIND, b"s", &[3, 1]);
    cluster.run(5);
    for node in &cluster.nodes {
        assert_eq!(node.sync.fact(KIND, b"s"), Some([1, 3].as_slice()));
    }
}

#[test]
fn a_lost_fact_is_found_by_hash() {
    let mut cluster = Cluster::of(3);
    cluster.run(100);
    cluster.put(0, KIND, b"s", &[1]);
    cluster.run(1);
    cluster.isolate(2);
    cluster.put(0, KIND, b"s", &[2]);
    cluster.put(2, KIND, b"s", &[9]);
    cluster.run(50);
    cluster.heal();
    cluster.run(2_500);
    for node in &cluster.nodes {
        assert_eq!(node.sync.fact(KIND, b"s"), Some([1, 2, 9].as_slice()));
        assert_eq!(node.sync.facts.root(), node.sync.facts.recomputed_root());
    }
}

#[test]
fn many_facts_reach_a_newcomer_and_then_it_is_synced_with_everybody() {
    let mut cluster = Cluster::of(4);
    cluster.isolate(3);
    for index in 0..2_000u16 {
        cluster.put(usize::from(index % 3), KIND, &index.to_be_bytes(), &[7; 40]);
    }
    cluster.run(2_000);
    assert!(!cluster.nodes[3].sync.facts_synced(id(0)));
    cluster.heal();
    cluster.run(2_500);
    assert_eq!(cluster.nodes[3].sync.facts(KIND).count(), 2_000);
    for other in 0..3 {
        assert!(cluster.nodes[3].sync.facts_synced(id(other)), "with {other}");
        assert!(cluster.nodes[3].others.contains(&Output::FactsSynced(id(other))));
    }
}

#[test]
fn synced_is_told_again_after_a_restart_and_facts_survive_it() {
    let mut cluster = Cluster::of(2);
    cluster.put(0, KIND, b"s", &[1]);
    cluster.run(2_000);
    cluster.restart(1);
    assert_eq!(cluster.nodes[1].sync.fact(KIND, b"s"), Some([1].as_slice()));
    assert!(!cluster.nodes[1].sync.facts_synced(id(0)));
    cluster.run(1_500);
    assert!(cluster.nodes[1].others.contains(&Output::FactsSynced(id(0))));
}

#[test]
fn malformed_facts_change_nothing_and_are_counted() {
    let mut cluster = Cluster::of(2);
    let now = cluster.now;
    let sync = &mut cluster.nodes[0].sync;
    assert!(matches!(sync.put_fact(KIND, b"s", &[0xff], now), Err(FactError::Malformed(_))));
    assert_eq!(sync.put_fact(FactKind(99), b"s", &[1], now), Err(FactError::Kind(FactKind(99))));
    let fact = message::WireFact { kind: KIND, subject: vec![], state: vec![0xff] };
    let message = Message::PushFacts { relay: message::Relay::New, facts: vec![fact] };
    cluster.deliver(1, 0, message);
    assert_eq!(cluster.nodes[0].sync.counters().malformed_fact, 1);
    assert_eq!(cluster.nodes[0].sync.facts(KIND).count(), 0);
}

#[test]
fn facts_beyond_their_bound_are_refused_and_told() {
    let mut cluster = Cluster::with(2, |index| {
        let mut config = config(index);
        config.limits.facts = if index == 0 { 100 } else { 1 };
        config
    });
    cluster.put(0, KIND, b"a", &[1]);
    cluster.put(0, KIND, b"b", &[1]);
    cluster.run(100);
    assert_eq!(cluster.nodes[1].sync.facts(KIND).count(), 1);
    assert!(cluster.nodes[1].others.contains(&Output::Overflow(Bound::Facts)));
}

#[test]
fn a_member_that_left_takes_its_entries_along_and_never_returns() {
    let mut cluster = Cluster::attached(3);
    cluster.create(2, "k", "v");
    cluster.run(10);
    cluster.isolate(2);
    cluster.put(0, FactKind::LEFT, id(2).as_bytes(), &[1]);
    cluster.run(10);
    for index in 0..2 {
        assert_eq!(cluster.value(index, "k"), None);
        assert_eq!(cluster.nodes[index].events.last().unwrap().cause, Cause::Left);
        assert_eq!(cluster.nodes[index].sync.attached(NET), [id(0), id(1)]);
    }
    cluster.heal();
    cluster.up(0, 2);
    cluster.update(2, "k", "again");
    cluster.run(3_000);
    assert_eq!(cluster.value(0, "k"), None);
    assert!(cluster.nodes[0].sync.counters().gone_owner > 0);
    cluster.restart(0);
    cluster.run(2_000);
    assert_eq!(cluster.nodes[0].sync.attached(NET), [id(0), id(1)]);
}

#[test]
fn facts_of_a_failed_member_stay() {
    let mut cluster = Cluster::of(2);
    cluster.put(1, KIND, b"s", &[1]);
    cluster.run(100);
    cluster.isolate(1);
    cluster.tell(0, 1, MemberChange::Failed);
    cluster.run(u64::try_from(Duration::from_secs(60).as_millis()).unwrap());
    assert_eq!(cluster.nodes[0].sync.fact(KIND, b"s"), Some([1].as_slice()));
}
