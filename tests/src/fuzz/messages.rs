//! Messages from strangers, and what a disk gives back.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use weft_api::Write;
use weft_networkdb::{StreamId, StreamInput};

use crate::cluster::{Cluster, Disk};

/// A cluster that stays for many inputs, since none of them changes it, and real datagrams to its
/// first host.
struct Tapped {
    cluster: Cluster,
    datagrams: Vec<Vec<u8>>,
    state: String,
    streams: u64,
}

thread_local! {
    static TAPPED: RefCell<Tapped> = RefCell::new(tap());
}

/// Streams of the cluster itself have lower numbers.
const FIRST_STREAM: u64 = 1_000_000;

fn tap() -> Tapped {
    let mut cluster = Cluster::formed(1, 2);
    cluster.host_mut(1).trace = Some(Vec::new());
    cluster.run(Duration::from_secs(10));
    let trace = cluster.host_mut(1).trace.take().unwrap_or_default();
    // What is on its way arrives.
    cluster.run(Duration::from_millis(5));
    let state = cluster.state(0);
    let datagrams = trace.into_iter().map(|(_, bytes)| bytes).collect();
    Tapped { cluster, datagrams, state, streams: FIRST_STREAM }
}

fn stranger() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 666))
}

/// Changes a message as the input says: pairs of a place and what it is changed by.
fn changed(mut message: Vec<u8>, changes: &[u8]) -> Vec<u8> {
    for change in changes.chunks_exact(3) {
        let place = usize::from(u16::from_be_bytes([change[0], change[1]]));
        if let Some(length) = message.len().checked_sub(1) {
            message[place % (length + 1)] ^= change[2];
        }
    }
    message
}

/// A datagram: the input itself, or a real one with changes. Nothing but counters changes.
pub fn datagram(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    TAPPED.with_borrow_mut(|tapped| {
        let real = tapped.datagrams.get(usize::from(*which) % (tapped.datagrams.len() * 2));
        let message = real.map_or_else(|| rest.to_vec(), |real| changed(real.clone(), rest));
        tapped.cluster.act(0, |db, now| db.handle_datagram(stranger(), &message, now));
        assert_eq!(tapped.cluster.state(0), tapped.state);
    });
}

/// Frames of a stream that a stranger opened: the first byte of each says how long it is.
pub fn frame(bytes: &[u8]) {
    TAPPED.with_borrow_mut(|tapped| {
        tapped.streams += 1;
        let stream = StreamId::accepted(tapped.streams);
        tapped.cluster.act(0, |db, now| {
            db.handle_stream(StreamInput::Accepted { stream, from: stranger() }, now);
            let mut rest = bytes;
            while let Some((length, after)) = rest.split_first() {
                let (frame, after) = after.split_at(usize::from(*length).min(after.len()));
                db.handle_stream(StreamInput::Frame { stream, bytes: frame.to_vec() }, now);
                rest = after;
            }
            db.handle_stream(StreamInput::Closed { stream }, now);
        });
        assert_eq!(tapped.cluster.state(0), tapped.state);
    });
}

/// The records of a member's disk, changed or lost: it starts, or refuses to.
pub fn state(bytes: &[u8]) {
    let mut cluster = Cluster::formed(2, 2);
    cluster.crash(1);
    let records = cluster.host(1).disk.records();
    let mut disk = Disk::default();
    let mut parts = bytes.split(|byte| *byte == b'\n');
    for (space, key, value) in records {
        let changes = parts.next().unwrap_or_default();
        let value = match changes.split_first() {
            // Lost.
            Some((0, _)) => continue,
            // Torn.
            Some((1, rest)) => value[..value.len().min(rest.len())].to_vec(),
            // Something else in its place.
            Some((2, rest)) => rest.to_vec(),
            Some((_, rest)) => changed(value, rest),
            None => value,
        };
        disk.apply(Write { space, key, value: Some(value) });
    }
    cluster.host_mut(1).disk = disk;
    if cluster.starts(1) {
        cluster.run(Duration::from_secs(1));
    }
}
