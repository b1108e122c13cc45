//! The schedules that would break rules 5 to 9 of DESIGN 4.3: owners, attachments, digests.

use weft_api::{NetworkId, NodeId};

use super::cluster::{Cluster, NET, TABLE, config, id};
use super::faults::{extent, listener, map, push, record, since};
use crate::sync::*;
use crate::table::log::Extent;
use crate::table::record::Record;
use crate::table::{Cause, Change};

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
    let confirmed = cluster.nodes[0].sync.confirmed.keys().filter(|(network, _)| *network == NET);
    assert_eq!(confirmed.count(), 2, "and it stops announcing them");
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
