//! The schedules that would break rules 1 to 4 of DESIGN 4.3: one log.

use std::sync::Arc;
use std::time::Duration;

use weft_api::NodeId;

use super::cluster::{Cluster, NET, TABLE, config, id};
use crate::sync::message::{Delta, DeltaKind, Pushed, Relay, Rest};
use crate::sync::*;
use crate::table::log::Extent;
use crate::table::record::{EntryKey, Record};

pub(crate) fn record(seq: u64, key: &str, value: Option<&str>) -> Record {
    let value = value.map(|value| Arc::from(value.as_bytes()));
    Record { seq, stamp: seq, at: EntryKey::new(TABLE, key), value }
}

pub(crate) fn push(owner: NodeId, records: Vec<Record>) -> Message {
    let logs = vec![Pushed { owner, records }];
    Message::Push { network: NET, relay: Relay::Never, logs }
}

pub(crate) fn map(
    owner: NodeId,
    head: u64,
    floor: u64,
    span: (u64, u64),
    records: Vec<Record>,
) -> Message {
    let (from, to) = span;
    let deltas = vec![Delta { owner, head, floor, from, to, kind: DeltaKind::Map, records }];
    Message::Deltas { network: NET, deltas, rest: Rest::Nothing }
}

pub(crate) fn since(owner: NodeId, span: (u64, u64), records: Vec<Record>) -> Message {
    let (from, to) = span;
    let kind = DeltaKind::Since;
    let deltas = vec![Delta { owner, head: to, floor: 0, from, to, kind, records }];
    Message::Deltas { network: NET, deltas, rest: Rest::Nothing }
}

/// Node 0 alone with the memory of node 1's log: messages are handed to it by hand.
pub(crate) fn listener() -> Cluster {
    let mut cluster = Cluster::of(3);
    cluster.attach(0);
    cluster.isolate(0);
    cluster
}

pub(crate) fn extent(cluster: &Cluster, index: usize, owner: usize) -> Extent {
    cluster.nodes[index].sync.shelves[&NET].extent(id(owner))
}

fn collect_now(cluster: &mut Cluster, index: usize) {
    let sync = &mut cluster.nodes[index].sync;
    sync.limits.tombstones_per_log = 0;
    sync.handle_timeout(cluster.now + sync.timing.keep_tombstones);
    while sync.poll_output().is_some() {}
}

/// Makes every node collect by bound, at the next collection.
pub(crate) fn eager_collection(index: usize) -> SyncConfig {
    let mut config = config(index);
    config.limits.tombstones_per_log = 0;
    config.timing.keep_tombstones = Duration::from_secs(8);
    config
}

// Rule 1: a delete takes a seq, so a lost delete is a gap that digests see.

#[test]
fn rule_1_a_lost_delete_is_repaired() {
    let mut cluster = Cluster::attached(3);
    cluster.create(0, "k", "v");
    cluster.run(10);
    cluster.isolate(2);
    cluster.delete(0, "k");
    cluster.run(10);
    assert_eq!(cluster.value(2, "k").as_deref(), Some("v"));
    cluster.heal();
    cluster.run(2_500);
    assert_eq!(cluster.value(2, "k"), None);
    cluster.assert_equal();
}

#[test]
fn rule_1_a_rewrite_erases_the_older_record_whatever_their_order() {
    let mut cluster = listener();
    cluster.deliver(1, 0, push(id(1), vec![record(2, "k", Some("new"))]));
    cluster.deliver(1, 0, push(id(1), vec![record(1, "k", Some("old"))]));
    assert_eq!(cluster.value(0, "k").as_deref(), Some("new"));
    assert_eq!(extent(&cluster, 0, 1).head, 2);
    cluster.deliver(1, 0, push(id(1), vec![record(3, "k", None)]));
    cluster.deliver(1, 0, push(id(1), vec![record(2, "k", Some("new"))]));
    assert_eq!(cluster.value(0, "k"), None);
}

#[test]
fn rule_1_a_restarted_owner_continues_its_log_and_reuses_no_seq() {
    let mut cluster = Cluster::attached(2);
    cluster.create(0, "a", "1");
    cluster.create(0, "b", "1");
    cluster.delete(0, "b");
    cluster.run(10);
    let before = extent(&cluster, 1, 0).head;
    cluster.restart(0);
    assert!(cluster.nodes[0].sync.is_attached(NET), "its own attachment came from disk");
    assert_eq!(cluster.value(0, "a").as_deref(), Some("1"));
    cluster.delete(0, "a");
    cluster.create(0, "c", "1");
    cluster.run(10);
    assert_eq!(extent(&cluster, 1, 0).head, before + 2);
    assert_eq!(cluster.value(1, "a"), None);
    assert_eq!(cluster.value(1, "c").as_deref(), Some("1"));
    cluster.run(2_000);
    cluster.assert_equal();
}

#[test]
fn rule_1_a_restart_after_the_newest_tombstone_was_collected_reuses_no_seq() {
    let mut cluster = Cluster::with(2, eager_collection);
    (0..2).for_each(|index| cluster.attach(index));
    cluster.create(0, "a", "1");
    cluster.delete(0, "a");
    cluster.run(10_000);
    let log = cluster.nodes[0].sync.shelves[&NET].log(id(0)).unwrap();
    assert_eq!(log.floor(), 2, "the tombstone is gone");
    cluster.restart(0);
    cluster.create(0, "b", "2");
    cluster.run(10);
    assert_eq!(cluster.value(1, "b").as_deref(), Some("2"), "seq 3 is news to the other");
}

#[test]
fn rule_1_a_write_is_durable_before_it_is_sent() {
    let mut cluster = Cluster::attached(2);
    let sync = &mut cluster.nodes[0].sync;
    sync.create_entry(NET, TABLE, "k", vec![], cluster.now).unwrap();
    sync.flush(cluster.now);
    let order: Vec<_> = std::iter::from_fn(|| sync.poll_output())
        .filter(|output| !matches!(output, Output::Table(_)))
        .map(|output| (matches!(output, Output::Persist(_)), matches!(output, Output::Send { .. })))
        .collect();
    assert_eq!(order, [(true, false), (false, true)], "persist, then send");
}

// Rule 2: the head is contiguous.

#[test]
fn rule_2_the_head_does_not_move_over_a_gap() {
    let mut cluster = listener();
    cluster.deliver(1, 0, push(id(1), vec![record(1, "a", Some("1")), record(3, "c", Some("3"))]));
    assert_eq!(extent(&cluster, 0, 1).head, 1);
    assert_eq!(cluster.value(0, "c").as_deref(), Some("3"), "it counts all the same");
    cluster.deliver(1, 0, push(id(1), vec![record(2, "b", Some("2"))]));
    assert_eq!(extent(&cluster, 0, 1), Extent { head: 3, ..Extent::default() });
}

#[test]
fn rule_2_a_complete_span_moves_the_head_over_superseded_seqs() {
    let mut cluster = listener();
    cluster.deliver(1, 0, push(id(1), vec![record(9, "c", Some("9"))]));
    cluster.deliver(1, 0, since(id(1), (0, 8), vec![record(7, "a", Some("7"))]));
    assert_eq!(extent(&cluster, 0, 1), Extent { head: 9, ..Extent::default() });
    assert_eq!(cluster.walk(0).len(), 2);
}

#[test]
fn rule_2_a_span_that_begins_above_the_head_leaves_the_gap_open() {
    let mut cluster = listener();
    cluster.deliver(1, 0, since(id(1), (5, 8), vec![record(7, "a", Some("7"))]));
    assert_eq!(extent(&cluster, 0, 1).head, 0);
    cluster.deliver(1, 0, since(id(1), (0, 5), vec![record(2, "b", Some("2"))]));
    assert_eq!(extent(&cluster, 0, 1).head, 8);
}

#[test]
fn rule_2_a_gap_that_a_dead_owner_left_spreads_what_is_above_it() {
    let mut cluster = Cluster::attached(3);
    let lone = push(id(2), vec![record(9, "k", Some("v"))]);
    cluster.isolate(2);
    cluster.deliver(1, 0, lone);
    cluster.tell(0, 2, MemberChange::Failed);
    cluster.tell(1, 2, MemberChange::Failed);
    cluster.run(2_500);
    assert_eq!(extent(&cluster, 1, 2), extent(&cluster, 0, 2));
    assert_eq!(cluster.value(1, "k").as_deref(), Some("v"));
}

#[test]
fn rule_2_too_many_gaps_are_told_and_closed_by_a_delta() {
    let mut cluster = listener();
    let gaps = cluster.nodes[0].sync.limits.gaps_per_log as u64;
    let many: Vec<_> = (1..=gaps + 5).map(|n| record(2 * n, &n.to_string(), Some(""))).collect();
    cluster.deliver(1, 0, push(id(1), many.clone()));
    assert!(cluster.nodes[0].others.contains(&Output::Overflow(Bound::Gaps)));
    let head = 2 * (gaps + 5);
    cluster.deliver(1, 0, since(id(1), (0, head), many.clone()));
    assert_eq!(extent(&cluster, 0, 1), Extent { head, ..Extent::default() });
    assert_eq!(cluster.walk(0).len(), many.len());
}

// Rules 3 and 4: tombstones go, and nothing comes back.

#[test]
fn rule_3_a_stale_node_returning_after_collection_resurrects_nothing() {
    let mut cluster = Cluster::with(3, eager_collection);
    (0..3).for_each(|index| cluster.attach(index));
    cluster.run(1_000);
    cluster.create(0, "dead", "v");
    cluster.create(0, "live", "v");
    cluster.run(1_500);
    cluster.isolate(2);
    cluster.delete(0, "dead");
    cluster.run(10_000);
    for index in 0..2 {
        let log = cluster.nodes[index].sync.shelves[&NET].log(id(0)).unwrap();
        assert!(log.floor() > 2, "tombstones went");
    }
    assert!(cluster.value(2, "dead").is_some());
    cluster.heal();
    cluster.run(2_500);
    for index in 0..3 {
        assert_eq!(cluster.value(index, "dead"), None, "node {index}");
        assert_eq!(cluster.value(index, "live").as_deref(), Some("v"));
    }
    cluster.assert_equal();
}

#[test]
fn rule_3_tombstones_above_the_head_are_kept() {
    let mut cluster = listener();
    cluster.deliver(1, 0, push(id(1), vec![record(5, "k", None)]));
    collect_now(&mut cluster, 0);
    cluster.deliver(1, 0, push(id(1), vec![record(4, "k", Some("late"))]));
    assert_eq!(cluster.value(0, "k"), None);
}

#[test]
fn rule_3_a_map_older_than_what_is_held_is_ignored() {
    let mut cluster = listener();
    let log: Vec<_> = (1..=6).map(|seq| record(seq, &seq.to_string(), Some(""))).collect();
    cluster.deliver(1, 0, since(id(1), (0, 6), log));
    cluster.deliver(2, 0, map(id(1), 4, 4, (0, 4), vec![record(1, "1", Some(""))]));
    assert_eq!(cluster.walk(0).len(), 6, "reordered: the map of head 4 says nothing at head 6");
    cluster.deliver(2, 0, map(id(1), 7, 7, (0, 7), vec![record(1, "1", Some(""))]));
    assert_eq!(cluster.walk(0).len(), 1);
}

#[test]
fn rule_3_a_map_does_not_bring_back_what_was_absent_below_the_head() {
    let mut cluster = listener();
    let log = vec![record(1, "a", Some("")), record(2, "b", Some("")), record(3, "b", None)];
    cluster.deliver(1, 0, push(id(1), log));
    collect_now(&mut cluster, 0);
    let lie = vec![record(1, "a", Some("")), record(2, "b", Some(""))];
    cluster.deliver(2, 0, map(id(1), 3, 3, (0, 3), lie));
    assert_eq!(cluster.value(0, "b"), None);
}

#[test]
fn rule_3_a_map_in_pieces_counts_only_as_one_series() {
    let mut cluster = listener();
    cluster.deliver(1, 0, push(id(1), vec![record(2, "dead", Some(""))]));
    let tail = vec![record(8, "b", Some(""))];
    cluster.deliver(1, 0, map(id(1), 9, 7, (5, 9), tail.clone()));
    assert_eq!(extent(&cluster, 0, 1).head, 0, "a tail without its beginning is no map");
    cluster.deliver(1, 0, map(id(1), 9, 7, (0, 5), vec![record(4, "a", Some(""))]));
    cluster.deliver(2, 0, map(id(1), 9, 7, (5, 9), tail.clone()));
    assert_eq!(extent(&cluster, 0, 1).head, 5, "nor is another node's tail");
    // Between two pieces: a late packet of a seq that the map says is dead.
    cluster.deliver(1, 0, push(id(1), vec![record(3, "dead", Some("late"))]));
    cluster.deliver(1, 0, push(id(1), vec![record(7, "dead too", Some("late"))]));
    cluster.deliver(1, 0, map(id(1), 9, 7, (5, 9), tail));
    assert_eq!(extent(&cluster, 0, 1).head, 9);
    assert_eq!(cluster.walk(0).iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(cluster.nodes[0].sync.shelves[&NET].log(id(1)).unwrap().floor(), 7);
}

#[test]
fn rule_4_a_late_copy_of_a_collected_record_is_ignored() {
    let mut cluster = listener();
    cluster.deliver(1, 0, push(id(1), vec![record(1, "k", Some("v")), record(2, "k", None)]));
    collect_now(&mut cluster, 0);
    cluster.deliver(2, 0, push(id(1), vec![record(1, "k", Some("v"))]));
    assert_eq!(cluster.value(0, "k"), None);
    assert_eq!(cluster.nodes[0].sync.counters().stale_record, 1);
}
