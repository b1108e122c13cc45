//! Calls, events, watches, dissemination.

use super::cluster::{Cluster, NET, TABLE, id};
use crate::sync::*;
use crate::table::{Cause, Change, TableError};

#[test]
fn a_write_is_everywhere_within_coalescing_and_one_flight() {
    let mut cluster = Cluster::attached(5);
    cluster.create(0, "k", "v");
    cluster.run(3);
    for index in 0..5 {
        assert_eq!(cluster.value(index, "k").as_deref(), Some("v"), "node {index}");
    }
}

#[test]
fn a_live_key_is_not_created_and_an_absent_one_not_updated_or_deleted() {
    let mut cluster = Cluster::attached(2);
    let now = cluster.now;
    cluster.create(0, "k", "v");
    cluster.run(10);
    for node in &mut cluster.nodes {
        let refused = node.sync.create_entry(NET, TABLE, "k", vec![], now);
        assert!(matches!(refused, Err(TableError::Exists { .. })));
        let refused = node.sync.update_entry(NET, TABLE, "x", vec![], now);
        assert!(matches!(refused, Err(TableError::Absent { .. })));
        let refused = node.sync.delete_entry(NET, TABLE, "x", now);
        assert!(matches!(refused, Err(TableError::Absent { .. })));
    }
    let refused = cluster.nodes[1].sync.delete_entry(NET, TABLE, "k", now);
    assert!(matches!(refused, Err(TableError::NotOwner { owner, .. }) if owner == id(0)));
}

#[test]
fn a_network_that_is_not_attached_is_neither_read_nor_written() {
    let mut cluster = Cluster::of(1);
    let now = cluster.now;
    let sync = &mut cluster.nodes[0].sync;
    assert_eq!(sync.create_entry(NET, TABLE, "k", vec![], now), Err(TableError::NotAttached(NET)));
    assert_eq!(sync.entry(NET, TABLE, "k"), None);
    assert_eq!(sync.attach(ATTACHMENTS, now), Err(TableError::Reserved(ATTACHMENTS)));
    assert_eq!(sync.detach(NET, now), Err(TableError::NotAttached(NET)));
}

#[test]
fn what_exceeds_a_bound_is_refused_and_nothing_changes() {
    let mut cluster = Cluster::with(1, |index| {
        let mut config = super::cluster::config(index);
        config.limits.entries_per_log = 2;
        config
    });
    cluster.attach(0);
    let now = cluster.now;
    let sync = &mut cluster.nodes[0].sync;
    let huge = sync.limits.value_bytes + 1;
    for (table, key, value) in
        [("t", "k", huge), ("t", &*"k".repeat(257), 0), (&*"t".repeat(65), "k", 0)]
    {
        let refused = sync.create_entry(NET, table, key, vec![0; value], now);
        assert!(matches!(refused, Err(TableError::TooLarge { .. })));
    }
    sync.create_entry(NET, TABLE, "a", vec![], now).unwrap();
    sync.create_entry(NET, TABLE, "b", vec![], now).unwrap();
    let refused = sync.create_entry(NET, TABLE, "c", vec![], now);
    assert!(matches!(refused, Err(TableError::TooLarge { .. })));
    sync.update_entry(NET, TABLE, "a", vec![1], now).unwrap();
    sync.delete_entry(NET, TABLE, "b", now).unwrap();
    sync.create_entry(NET, TABLE, "c", vec![], now).unwrap();
}

#[test]
fn events_tell_create_update_delete_with_the_value_before() {
    let mut cluster = Cluster::attached(2);
    cluster.create(0, "k", "1");
    cluster.run(10);
    cluster.update(0, "k", "2");
    cluster.run(10);
    cluster.delete(0, "k");
    cluster.run(10);
    for node in &cluster.nodes {
        let told: Vec<_> = node
            .events
            .iter()
            .map(|e| (e.change, e.cause, e.value.to_vec(), e.prev.as_ref().map(|p| p.to_vec())))
            .collect();
        let one = b"1".to_vec();
        let two = b"2".to_vec();
        assert_eq!(
            told,
            [
                (Change::Create, Cause::Written, one.clone(), None),
                (Change::Update, Cause::Written, two.clone(), Some(one)),
                (Change::Delete, Cause::Written, two.clone(), Some(two)),
            ]
        );
    }
}

#[test]
fn a_watch_hears_only_what_its_filter_admits() {
    let mut cluster = Cluster::attached(2);
    let filter = |prefix: &str| WatchFilter {
        network: Some(NET),
        table: Some(TABLE.into()),
        key_prefix: Some(prefix.into()),
    };
    let sync = &mut cluster.nodes[1].sync;
    let (a, all) = (sync.watch(filter("a")), sync.watch(WatchFilter::default()));
    let closed = sync.watch(WatchFilter::default());
    sync.unwatch(closed);
    cluster.create(0, "a1", "");
    cluster.create(0, "b1", "");
    cluster.run(10);
    let heard: Vec<_> =
        cluster.nodes[1].watched.iter().map(|(id, event)| (*id, &*event.key)).collect();
    assert_eq!(heard, [(a, "a1"), (all, "a1"), (all, "b1")]);
}

#[test]
fn a_thousand_entries_written_at_once_are_everywhere_in_a_tenth_of_a_second() {
    let mut cluster = Cluster::attached(4);
    let sent: usize = cluster.nodes.iter().map(|node| node.sent).sum();
    for index in 0..1_000 {
        cluster.create(0, &format!("k{index}"), &"v".repeat(100));
    }
    cluster.run(100);
    assert_eq!(cluster.walk(3).len(), 1_000);
    let burst = cluster.nodes.iter().map(|node| node.sent).sum::<usize>() - sent;
    assert!(burst < 50, "a burst goes in a few large messages, not {burst}");
}

#[test]
fn lost_datagrams_are_made_good() {
    let mut cluster = Cluster::attached(4);
    cluster.loss = 20;
    for index in 0..100 {
        cluster.create(0, &format!("k{index}"), "v");
        cluster.run(1);
    }
    cluster.run(4_000);
    cluster.assert_equal();
    assert_eq!(cluster.walk(3).len(), 100);
}

#[test]
fn above_the_bound_a_node_pushes_to_few_and_all_still_get_it() {
    let mut cluster = Cluster::with(60, |index| {
        let mut config = super::cluster::config(index);
        config.timing.round = std::time::Duration::from_secs(3_600);
        config.timing.soon = std::time::Duration::from_secs(3_600);
        config
    });
    (0..60).for_each(|index| cluster.attach(index));
    cluster.run(200);
    let base: Vec<usize> = cluster.nodes.iter().map(|node| node.pushed).collect();
    cluster.create(0, "k", "v");
    cluster.run(100);
    let have = (0..60).filter(|index| cluster.value(*index, "k").is_some()).count();
    assert_eq!(have, 60, "arcs, relays, announcements and pulls reach all");
    let pushed = |index: usize| cluster.nodes[index].pushed - base[index];
    assert!(pushed(0) <= 32, "the owner pushed to {}", pushed(0));
    let total: usize = (0..60).map(pushed).sum();
    assert!(total <= 60 * 4, "{total} payload copies");
}

#[test]
fn a_node_that_attaches_is_fetching_until_the_tables_are_there_or_nobody_answers() {
    let mut cluster = Cluster::of(3);
    cluster.attach(0);
    cluster.create(0, "k", "v");
    cluster.run(3_000);
    let is_fetching =
        |cluster: &Cluster, index: usize| cluster.nodes[index].sync.is_fetching(NET, cluster.now);
    assert!(!is_fetching(&cluster, 0), "nobody else was there to ask");
    cluster.attach(1);
    assert!(is_fetching(&cluster, 1));
    let before = cluster.now;
    while is_fetching(&cluster, 1) {
        assert_eq!(cluster.value(1, "k"), None);
        cluster.run(1);
    }
    assert_eq!(cluster.value(1, "k").as_deref(), Some("v"));
    assert!(cluster.now - before < cluster.nodes[1].sync.timing.exchange);
    cluster.isolate(2);
    cluster.attach(2);
    assert!(is_fetching(&cluster, 2));
    cluster.now += cluster.nodes[2].sync.timing.exchange;
    assert!(!is_fetching(&cluster, 2));
}

#[test]
fn a_record_too_large_for_a_datagram_goes_by_stream() {
    let mut cluster = Cluster::attached(2);
    let sync = &mut cluster.nodes[0].sync;
    sync.create_entry(NET, TABLE, "big", vec![1; 8_000], cluster.now).unwrap();
    sync.flush(cluster.now);
    let carriers: Vec<_> = std::iter::from_fn(|| sync.poll_output())
        .filter(|output| !matches!(output, Output::Persist(_) | Output::Table(_)))
        .map(|output| matches!(output, Output::Send { carrier: Carrier::Stream, .. }))
        .collect();
    assert_eq!(carriers, [true]);
}

#[test]
fn a_full_push_queue_is_told_and_anti_entropy_delivers() {
    let mut cluster = Cluster::with(2, |index| {
        let mut config = super::cluster::config(index);
        config.limits.push_queue_bytes = 200;
        config
    });
    (0..2).for_each(|index| cluster.attach(index));
    cluster.run(2_000);
    (0..20).for_each(|index| cluster.create(0, &format!("k{index}"), "v"));
    assert!(cluster.nodes[0].others.contains(&Output::Overflow(Bound::PushQueue)));
    assert!(cluster.nodes[0].sync.counters().push_queue_bound > 0);
    cluster.run(2_500);
    assert_eq!(cluster.walk(1).len(), 20);
}

#[test]
fn every_reason_has_its_deadline() {
    let mut cluster = Cluster::attached(3);
    let mut seen = std::collections::BTreeSet::new();
    cluster.tell(0, 2, MemberChange::Failed);
    cluster.create(0, "k", "v");
    let heads = vec![(id(1), 5)];
    let message = Message::Announce { network: NET, heads, wish: message::Wish::Difference };
    cluster.deliver(1, 0, message);
    for _ in 0..2_000 {
        let Some((at, reason)) = cluster.nodes[0].sync.poll_timeout() else { break };
        seen.insert(reason);
        let wait = at.saturating_duration_since(cluster.now);
        cluster.run(u64::try_from(wait.as_millis()).unwrap() + 1);
    }
    let all = [
        Reason::Flush,
        Reason::Pull,
        Reason::Confirm,
        Reason::Round,
        Reason::Hide,
        Reason::Collect,
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn the_same_seed_gives_the_same_messages() {
    let run = || {
        let mut cluster = Cluster::attached(4);
        cluster.create(1, "k", "v");
        cluster.run(5_000);
        cluster.nodes.iter().map(|node| (node.sent, node.disk.clone())).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
