//! Bytes from strangers and from broken peers: nothing panics, nothing changes but counters.

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use weft_networkdb::{Output, StreamId, StreamInput};
use weft_tests::cluster::Cluster;

/// A cluster of two, and real datagrams from the second to the first that were delivered.
fn tapped() -> (Cluster, Vec<Vec<u8>>) {
    let mut cluster = Cluster::formed(1, 2);
    cluster.host_mut(1).trace = Some(Vec::new());
    cluster.run(Duration::from_secs(10));
    let trace = cluster.host_mut(1).trace.take().unwrap_or_default();
    // What is on its way arrives.
    cluster.run(Duration::from_millis(5));
    (cluster, trace.into_iter().map(|(_, bytes)| bytes).collect())
}

fn stranger() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 666))
}

/// What a host refused so far, by cause.
fn refused(cluster: &Cluster) -> [u64; 7] {
    let n = cluster.db(0).counters();
    [
        n.foreign_cluster,
        n.bad_auth,
        n.replayed,
        n.stale_boot,
        n.undecodable,
        n.too_large,
        n.other_version,
    ]
}

fn changes_nothing(cluster: &mut Cluster, bytes: &[u8]) {
    let (before, counted) = (cluster.state(0), refused(cluster));
    cluster.act(0, |db, now| db.handle_datagram(stranger(), bytes, now));
    assert_eq!(cluster.state(0), before);
    assert_eq!(refused(cluster).iter().sum::<u64>(), counted.iter().sum::<u64>() + 1);
}

#[test]
fn a_replayed_datagram_changes_nothing() {
    let (mut cluster, datagrams) = tapped();
    assert!(datagrams.len() > 10);
    for bytes in &datagrams {
        changes_nothing(&mut cluster, bytes);
    }
    assert_eq!(cluster.db(0).counters().replayed, datagrams.len() as u64);
}

#[test]
fn every_truncated_datagram_changes_nothing() {
    let (mut cluster, datagrams) = tapped();
    let bytes = &datagrams[0];
    for len in 0..bytes.len() {
        changes_nothing(&mut cluster, &bytes[..len]);
    }
}

#[test]
fn a_datagram_of_another_cluster_is_counted() {
    let (mut cluster, datagrams) = tapped();
    let mut bytes = datagrams[0].clone();
    bytes[5] ^= 1;
    changes_nothing(&mut cluster, &bytes);
    assert_eq!(cluster.db(0).counters().foreign_cluster, 1);
}

#[test]
fn a_datagram_for_an_earlier_boot_changes_nothing() {
    let (mut cluster, datagrams) = tapped();
    cluster.restart(0);
    cluster.run(Duration::from_secs(3));
    for bytes in &datagrams {
        changes_nothing(&mut cluster, bytes);
    }
}

#[test]
fn mutated_and_random_datagrams_change_nothing() {
    let (mut cluster, datagrams) = tapped();
    let mutated = (
        prop::sample::select(datagrams),
        prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..6),
    )
        .prop_map(|(mut bytes, flips)| {
            let original = bytes.clone();
            for (at, mask) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= mask;
            }
            if bytes == original {
                bytes.pop();
            }
            bytes
        });
    let random = prop::collection::vec(any::<u8>(), 0..2000);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let shared = std::cell::RefCell::new(&mut cluster);
    runner
        .run(&prop_oneof![mutated, random], |bytes| {
            changes_nothing(&mut shared.borrow_mut(), &bytes);
            Ok(())
        })
        .expect("no datagram changes anything");
}

#[test]
fn frames_without_a_hello_end_their_stream_and_change_nothing() {
    let (mut cluster, _) = tapped();
    let before = cluster.state(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let mut serial = 1_000_000;
    let shared = std::cell::RefCell::new((&mut cluster, &mut serial));
    let frames = prop::collection::vec(any::<u8>(), 0..300).prop_map(|mut bytes| {
        // Half of them get past the version.
        if let Some(first) = bytes.first_mut().filter(|first| **first & 1 == 1) {
            *first = 1;
        }
        bytes
    });
    runner
        .run(&frames, |bytes| {
            let mut shared = shared.borrow_mut();
            *shared.1 += 1;
            let stream = StreamId::accepted(*shared.1);
            let ended = shared.0.act(0, |db, now| {
                db.handle_stream(StreamInput::Accepted { stream, from: stranger() }, now);
                db.handle_stream(StreamInput::Frame { stream, bytes }, now);
                let mut outputs = std::iter::from_fn(|| db.poll_output());
                outputs.any(|output| output == Output::CloseStream { stream })
            });
            assert!(ended, "its stream goes on");
            assert_eq!(shared.0.state(0), before);
            Ok(())
        })
        .expect("no frame changes anything");
}
