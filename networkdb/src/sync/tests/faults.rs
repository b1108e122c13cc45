//! The schedules that would break the rules of DESIGN 4.3, a test or more a rule.

use std::sync::Arc;
use std::time::Duration;

use weft_api::{NetworkId, NodeId};

use super::cluster::{Cluster, NET, TABLE, config, id};
use crate::sync::message::{Delta, DeltaKind, Pushed, Relay, Rest};
use crate::sync::*;
use crate::table::log::Extent;
use crate::table::record::{EntryKey, Record};
use crate::table::{Cause, Change};

fn record(seq: u64, key: &str, value: Option<&str>) -> Record {
    let value = value.map(|value| Arc::from(value.as_bytes()));
    Record { seq, stamp: seq, at: EntryKey::new(TABLE, key), value }
}

fn push(owner: NodeId, records: Vec<Record>) -> Message {
    let logs = vec![Pushed { owner, records }];
    Message::Push { network: NET, relay: Relay::Never, logs }
}

fn map(owner: NodeId, head: u64, floor: u64, span: (u64, u64), records: Vec<Record>) -> Message {
    let (from, to) = span;
    let deltas = vec![Delta { owner, head, floor, from, to, kind: DeltaKind::Map, records }];
    Message::Deltas { network: NET, deltas, rest: Rest::Nothing }
}

fn since(owner: NodeId, span: (u64, u64), records: Vec<Record>) -> Message {
    let (from, to) = span;
    let kind = DeltaKind::Since;
    let deltas = vec![Delta { owner, head: to, floor: 0, from, to, kind, records }];
    Message::Deltas { network: NET, deltas, rest: Rest::Nothing }
}

/// Node 0 alone with the memory of node 1's log: messages are handed to it by hand.
fn listener() -> Cluster {
    let mut cluster = Cluster::of(3);
    cluster.attach(0);
    cluster.isolate(0);
    cluster
}

fn extent(cluster: &Cluster, index: usize, owner: usize) -> Extent {
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
    sync.flush();
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

// Rule 5: for one key the greatest (stamp, owner) counts.

#[test]
fn rule_5_a_superseded_owner_deletes_its_entry() {
    let mut cluster = Cluster::attached(3);
    cluster.isolate(1);
    cluster.create(0, "k", "of 0");
    cluster.create(1, "k", "of 1");
    cluster.run(100);
    cluster.heal();
    cluster.run(3_000);
    for index in 0..3 {
        assert_eq!(cluster.value(index, "k").as_deref(), Some("of 1"), "equal stamps: owner");
        let log = cluster.nodes[index].sync.shelves[&NET].log(id(0)).unwrap();
        assert!(log.iter().all(|(_, held)| held.value.is_none()), "0 deleted its own");
    }
    let causes: Vec<_> = cluster.nodes[2].events.iter().map(|e| (e.change, e.cause)).collect();
    assert_eq!(causes, [(Change::Create, Cause::Written), (Change::Update, Cause::Superseded)]);
    cluster.assert_equal();
}

#[test]
fn rule_5_an_update_takes_an_entry_over() {
    let mut cluster = Cluster::attached(2);
    cluster.create(1, "k", "of 1");
    cluster.run(10);
    cluster.update(0, "k", "of 0");
    cluster.run(10);
    for index in 0..2 {
        assert_eq!(cluster.nodes[index].sync.entry(NET, TABLE, "k").unwrap().owner, id(0));
    }
    cluster.delete(0, "k");
    cluster.run(10);
    assert_eq!(cluster.value(1, "k"), None, "the old one is not back");
}

#[test]
fn rule_5_a_failed_owner_is_hidden_after_a_grace_and_no_lower_one_replaces_it() {
    let mut cluster = listener();
    cluster.heal();
    cluster.isolate(2);
    cluster.deliver(2, 0, push(id(2), vec![record(1, "k", Some("high"))]));
    let low = vec![Record { stamp: 1, ..record(1, "k", Some("low")) }];
    cluster.deliver(1, 0, push(id(1), low));
    cluster.tell(0, 2, MemberChange::Failed);
    cluster.run(4_900);
    assert_eq!(cluster.value(0, "k").as_deref(), Some("high"), "within the grace");
    cluster.run(200);
    assert_eq!(cluster.value(0, "k"), None);
    assert_eq!(cluster.nodes[0].events.last().unwrap().cause, Cause::Hidden);
}

#[test]
fn rule_5_a_hidden_key_can_be_created_by_another_and_its_owner_yields_on_return() {
    let mut cluster = Cluster::attached(3);
    cluster.create(2, "k", "of 2");
    cluster.run(10);
    cluster.isolate(2);
    (0..2).for_each(|index| cluster.tell(index, 2, MemberChange::Failed));
    cluster.run(6_000);
    cluster.create(0, "k", "of 0");
    cluster.run(10);
    cluster.heal();
    (0..2).for_each(|index| cluster.up(index, 2));
    cluster.run(3_000);
    for index in 0..3 {
        assert_eq!(cluster.value(index, "k").as_deref(), Some("of 0"));
    }
    let log = cluster.nodes[0].sync.shelves[&NET].log(id(2)).unwrap();
    assert_eq!(log.live_entries(), 0, "2 deleted its superseded entry");
}

// Rule 6: hidden is not dropped.

#[test]
fn rule_6_a_failed_owners_entries_keep_merging_and_are_back_at_once() {
    let mut cluster = listener();
    let watch = cluster.nodes[0].sync.watch(WatchFilter::default());
    cluster.deliver(1, 0, push(id(1), vec![record(1, "a", Some("1"))]));
    cluster.tell(0, 1, MemberChange::Failed);
    cluster.run(6_000);
    cluster.deliver(2, 0, push(id(1), vec![record(2, "b", Some("2")), record(3, "a", None)]));
    assert_eq!(cluster.walk(0).len(), 0);
    cluster.up(0, 1);
    assert_eq!(cluster.walk(0).iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["b"]);
    let node = &cluster.nodes[0];
    let data_path: Vec<_> = node
        .events
        .iter()
        .filter(|event| !matches!(event.cause, Cause::Hidden | Cause::Returned))
        .map(|event| (event.change, &*event.key))
        .collect();
    assert_eq!(
        data_path,
        [(Change::Create, "a"), (Change::Create, "b"), (Change::Delete, "a")],
        "without Hidden and Returned, events are what a data path follows"
    );
    let seen: Vec<_> = node
        .watched
        .iter()
        .filter(|(id, _)| *id == watch)
        .map(|(_, event)| (event.change, event.cause, &*event.key))
        .collect();
    assert_eq!(
        seen,
        [
            (Change::Create, Cause::Written, "a"),
            (Change::Delete, Cause::Hidden, "a"),
            (Change::Create, Cause::Returned, "b"),
        ],
        "a watch sees what reads show"
    );
}

#[test]
fn rule_6_the_data_path_hears_when_a_hidden_owner_leaves() {
    let mut cluster = listener();
    cluster.deliver(1, 0, push(id(1), vec![record(1, "a", Some("1"))]));
    cluster.tell(0, 1, MemberChange::Failed);
    cluster.run(6_000);
    cluster.tell(0, 1, MemberChange::Forgotten);
    let last = cluster.nodes[0].events.last().unwrap();
    assert_eq!((last.change, last.cause), (Change::Delete, Cause::Left));
}

#[test]
fn rule_6_a_short_failure_is_not_seen() {
    let mut cluster = Cluster::attached(2);
    cluster.create(1, "k", "v");
    cluster.run(10);
    cluster.tell(0, 1, MemberChange::Failed);
    cluster.run(1_000);
    cluster.up(0, 1);
    cluster.run(10_000);
    assert_eq!(cluster.nodes[0].events.len(), 1);
}

// Rule 7: attachments route, and decide nothing.

#[test]
fn rule_7_a_record_is_accepted_before_its_owners_attachment_is_known() {
    let mut cluster = listener();
    assert_eq!(cluster.nodes[0].sync.attached(NET), [id(0)]);
    cluster.deliver(1, 0, push(id(1), vec![record(1, "k", Some("v"))]));
    assert_eq!(cluster.value(0, "k").as_deref(), Some("v"));
}

#[test]
fn rule_7_an_attaching_node_gets_the_tables_at_once() {
    let mut cluster = Cluster::of(3);
    (0..2).for_each(|index| cluster.attach(index));
    (0..500).for_each(|index| cluster.create(0, &index.to_string(), "v"));
    cluster.run(2_000);
    cluster.attach(2);
    cluster.run(5);
    assert_eq!(cluster.walk(2).len(), 500);
}

#[test]
fn rule_7_a_node_that_attaches_before_it_knows_who_else_is_there_gets_the_tables_soon() {
    let mut cluster = Cluster::of(3);
    cluster.isolate(2);
    (0..2).for_each(|index| cluster.attach(index));
    cluster.create(0, "k", "v");
    cluster.run(2_000);
    cluster.attach(2);
    cluster.lose_flying();
    cluster.heal();
    cluster.up(2, 0);
    cluster.run(10);
    assert_eq!(cluster.value(2, "k").as_deref(), Some("v"));
}

#[test]
fn rule_7_seqs_continue_across_detach_and_attach() {
    let mut cluster = Cluster::attached(3);
    cluster.create(0, "k", "1");
    cluster.run(10);
    cluster.detach(0);
    cluster.run(10);
    assert_eq!(cluster.value(1, "k"), None, "a detached node has no entries");
    assert_eq!(cluster.nodes[1].sync.attached(NET), [id(1), id(2)]);
    cluster.attach(0);
    cluster.create(0, "k", "2");
    cluster.run(10);
    assert_eq!(extent(&cluster, 1, 0).head, 3);
    assert_eq!(cluster.value(1, "k").as_deref(), Some("2"));
    cluster.run(2_500);
    cluster.assert_equal();
}

#[test]
fn rule_7_a_dropped_map_drops_its_coverage_so_reattaching_gets_all_again() {
    let mut cluster = Cluster::attached(3);
    cluster.create(1, "k", "v");
    cluster.run(10);
    cluster.detach(0);
    assert_eq!(extent(&cluster, 0, 1), Extent::default());
    let last = cluster.nodes[0].events.last().unwrap();
    assert_eq!((last.change, last.cause), (Change::Delete, Cause::Detached));
    cluster.attach(0);
    cluster.run(10);
    assert_eq!(cluster.value(0, "k").as_deref(), Some("v"));
}

#[test]
fn rule_7_deletes_of_a_detach_arrive_though_every_packet_was_lost() {
    let mut cluster = Cluster::attached(3);
    cluster.create(0, "k", "v");
    cluster.run(10);
    cluster.detach(0);
    cluster.lose_flying();
    cluster.run(3_500);
    for index in 1..3 {
        assert_eq!(cluster.value(index, "k"), None, "node {index}");
        assert_eq!(cluster.nodes[index].sync.attached(NET), [id(1), id(2)]);
    }
    let confirmed = cluster.nodes[0].sync.confirmed.len();
    assert_eq!(confirmed, 2, "and it stops announcing them");
}

#[test]
fn rule_7_deletes_of_a_detach_arrive_though_the_node_restarted_meanwhile() {
    let mut cluster = Cluster::attached(3);
    cluster.create(0, "k", "v");
    cluster.run(10);
    cluster.isolate(0);
    cluster.detach(0);
    cluster.run(100);
    cluster.heal();
    cluster.restart(0);
    cluster.run(3_500);
    assert_eq!(cluster.value(1, "k"), None);
    assert_eq!(cluster.value(2, "k"), None);
}

#[test]
fn rule_7_attachments_of_others_survive_a_restart() {
    let mut cluster = Cluster::attached(3);
    cluster.isolate(0);
    cluster.restart(0);
    assert_eq!(cluster.nodes[0].sync.attached(NET), [id(0), id(1), id(2)]);
}

// Rule 8: records of the unknown are not stored.

#[test]
fn rule_8_an_unknown_owners_record_waits_until_its_member_is_known() {
    let mut cluster = Cluster::attached(3);
    let stranger = NodeId::from_bytes([99; 16]);
    cluster.deliver(1, 0, push(stranger, vec![record(1, "k", Some("v"))]));
    assert_eq!(cluster.value(0, "k"), None);
    let pull = Output::PullMember { node: stranger, from: id(1) };
    assert!(cluster.nodes[0].others.contains(&pull));
    let now = cluster.now;
    cluster.nodes[0].sync.on_member(stranger, MemberChange::Failed, now);
    cluster.deliver(1, 0, push(stranger, vec![record(1, "k", Some("v"))]));
    assert_eq!(cluster.value(0, "k").as_deref(), Some("v"));
}

#[test]
fn rule_8_owners_are_bounded() {
    let mut cluster = Cluster::with(2, |index| {
        let mut config = config(index);
        config.limits.owners = 1;
        config
    });
    let stranger = NodeId::from_bytes([99; 16]);
    let now = cluster.now;
    cluster.nodes[0].sync.on_member(stranger, MemberChange::Failed, now);
    assert_eq!(cluster.nodes[0].sync.poll_output(), Some(Output::Overflow(Bound::Owners)));
}

// Rule 9: what differs is found, and only that is sent.

#[test]
fn rule_9_a_quiet_cluster_sends_one_check_a_node_and_round() {
    let mut cluster = Cluster::attached(5);
    cluster.run(5_000);
    let before: usize = cluster.nodes.iter().map(|node| node.sent).sum();
    cluster.run(10_000);
    let sent = cluster.nodes.iter().map(|node| node.sent).sum::<usize>() - before;
    assert!((45..=56).contains(&sent), "{sent} messages of 5 nodes in 10 s");
}

#[test]
fn rule_9_a_lost_push_is_repaired_within_two_seconds() {
    let mut cluster = Cluster::attached(8);
    cluster.cut(0, 5);
    for other in 1..8 {
        cluster.cut(other, 5);
    }
    cluster.create(0, "k", "v");
    cluster.run(20);
    cluster.heal();
    cluster.run(1_500);
    assert_eq!(cluster.value(5, "k").as_deref(), Some("v"));
}

#[test]
fn rule_9_both_halves_of_a_split_merge() {
    let mut cluster = Cluster::attached(4);
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        cluster.cut(a, b);
        cluster.cut(b, a);
    }
    for index in 0..4 {
        cluster.create(index, &format!("of {index}"), "v");
        cluster.create(index, "common", &format!("of {index}"));
        cluster.run(10);
        if index % 2 == 0 {
            cluster.delete(index, "common");
        }
        cluster.run(10);
    }
    cluster.run(3_000);
    cluster.heal();
    cluster.run(3_000);
    cluster.assert_equal();
    assert_eq!(cluster.walk(0).len(), 5);
}

// DESIGN 4.1: rolled-back disks and cloned identities.

#[test]
fn a_rolled_back_disk_is_noticed_and_writes_no_more() {
    let mut cluster = Cluster::attached(2);
    cluster.create(0, "a", "1");
    cluster.run(10);
    let old = cluster.nodes[0].disk.clone();
    cluster.create(0, "b", "1");
    cluster.run(10);
    cluster.restart_from(0, old);
    cluster.run(2_000);
    assert!(cluster.nodes[0].others.contains(&Output::OwnRecordUnknown));
    let now = cluster.now;
    let refused = cluster.nodes[0].sync.create_entry(NET, TABLE, "c", vec![], now);
    assert!(refused.is_err());
}

#[test]
fn two_records_in_one_place_of_a_log_are_an_alarm() {
    let mut cluster = listener();
    cluster.deliver(1, 0, push(id(1), vec![record(1, "k", Some("v"))]));
    cluster.deliver(2, 0, push(id(1), vec![record(1, "k", Some("w"))]));
    let alarm = Alarm::DuplicateIdentity { owner: id(1), network: NET, seq: 1 };
    assert!(cluster.nodes[0].others.contains(&Output::Alarm(alarm)));
    assert_eq!(cluster.value(0, "k").as_deref(), Some("v"));
}

// Hostile or damaged messages change no state.

#[test]
fn senseless_messages_are_counted_and_change_nothing() {
    let mut cluster = listener();
    let owner = id(1);
    let before = cluster.nodes[0].sync.shelves[&NET].hash();
    let senseless = [
        push(owner, vec![record(0, "k", Some("v")), record(u64::MAX, "k", Some("v"))]),
        push(owner, vec![record(1, &"k".repeat(300), None)]),
        since(owner, (5, 3), vec![]),
        since(owner, (0, u64::MAX), vec![]),
        since(owner, (0, 3), vec![record(4, "k", None)]),
        since(owner, (0, 3), vec![record(2, "k", None), record(1, "l", None)]),
        map(owner, 3, 9, (0, 3), vec![]),
        Message::FactBuckets { buckets: vec![1; 3] },
        Message::FactDigest { buckets: vec![200, 1], items: vec![] },
        Message::Heads { network: NET, extents: vec![(id(2), Extent::default()); 2] },
    ];
    let count = senseless.len();
    senseless.into_iter().for_each(|message| cluster.deliver(1, 0, message));
    assert_eq!(cluster.nodes[0].sync.shelves[&NET].hash(), before);
    let counters = *cluster.nodes[0].sync.counters();
    assert!(counters.malformed_message + counters.record_bound >= count as u64);
    let other = NetworkId::from_bytes([8; 16]);
    let heads = vec![(id(1), u64::MAX)];
    let wish = message::Wish::Word;
    cluster.deliver(1, 0, Message::Announce { network: other, heads, wish });
    cluster.deliver(1, 0, Message::Hashes { facts: 0, networks: vec![(other, 1)] });
    assert!(!cluster.nodes[0].sync.shelves.contains_key(&other));
}
