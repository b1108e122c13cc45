//! What a member says: any frames on streams that have the cluster's key, after a true hello or
//! before any.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weft_agent::node::{Node, NodeConfig, Output};
use weft_api::{Boot, ClusterId, NetworkId, NodeId};
use weft_networkdb::{Key, KeyRing, StreamId, StreamInput};

use crate::cluster::Disk;
use crate::nodes::Nodes;

const NET: NetworkId = NetworkId::from_bytes([1; 16]);
const STREAM: StreamId = StreamId::accepted(1);
/// What one frame may make a node do.
const OUTPUTS_MAX: usize = 20_000;
/// How often a node is woken after each frame that says so, and at the end.
const WAKES: usize = 40;

fn addr(of: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, of], 7950))
}

fn config(of: u8, boot: u64) -> NodeConfig {
    NodeConfig {
        cluster: ClusterId::from_bytes([7; 16]),
        node: NodeId::from_bytes([of; 16]),
        boot: Boot { counter: boot, nonce: boot },
        name: format!("node-{of}"),
        advertise: addr(of),
        keys: KeyRing::new(1, Key::from_bytes([9; 32])),
        seed: [of; 32],
        rest: Duration::from_secs(60),
    }
}

/// A node with its disk.
struct Listener {
    node: Node,
    disk: Disk,
    now: Instant,
}

impl Listener {
    fn new(now: Instant) -> Self {
        let mut node = Node::new(config(1, 1), Vec::new(), now).expect("nothing on disk");
        node.found_cluster(&Nodes::pools(), now);
        let mut listener = Self { node, disk: Disk::default(), now };
        listener.drain();
        listener.node.with_db(now, |db| {
            db.attach(NET, now).expect("a new node attaches");
            db.create_entry(NET, "peers", "own", vec![1; 16], now).expect("a new key");
        });
        listener.drain();
        listener
    }

    fn hear(&mut self, input: StreamInput) {
        self.node.handle_stream(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.node.poll_output() {
            outputs += 1;
            assert!(outputs <= OUTPUTS_MAX, "it does not come to rest");
            if let Output::Persist(write) = output {
                self.disk.apply(write);
            }
        }
    }

    fn wake(&mut self) {
        for _ in 0..WAKES {
            let Some(due) = self.node.poll_timeout() else { return };
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.drain();
        }
    }
}

/// The first frame of another node that joins.
fn hello(now: Instant) -> Vec<u8> {
    let mut node = Node::new(config(2, 1), Vec::new(), now).expect("nothing on disk");
    node.with_db(now, |db| db.join(&[addr(1)], now));
    let mut hello = None;
    while let Some(output) = node.poll_output() {
        if let Output::OpenStream { stream, .. } = output {
            node.handle_stream(StreamInput::Connected { stream }, now);
        } else if let Output::StreamFrame { bytes, .. } = output {
            hello = Some(bytes);
        }
    }
    hello.expect("whoever dials says hello")
}

/// Two bytes before a frame say how long it is, and these whether time passes after it,
const PASSES: u16 = 0x8000;
/// and whether it is the first of a stream of its own.
const FIRST: u16 = 0x4000;

/// Frames of a member. Whatever it says, the node goes on, and starts again from what it wrote.
pub fn member(bytes: &[u8]) {
    let now = Instant::now();
    let mut listener = Listener::new(now);
    listener.hear(StreamInput::Accepted { stream: STREAM, from: addr(2) });
    let hello = hello(now);
    listener.hear(StreamInput::Frame { stream: STREAM, bytes: hello.clone() });
    assert_eq!(listener.node.db().members().count(), 2, "the other is a member now");
    let version = hello[0];
    let (mut rest, mut opened) = (bytes, 1);
    while let Some((head, after)) = rest.split_first_chunk() {
        let head = u16::from_be_bytes(*head);
        let length = usize::from(head & !(PASSES | FIRST));
        let (message, after) = after.split_at(length.min(after.len()));
        let bytes = [&[version], message].concat();
        let mut stream = STREAM;
        if head & FIRST != 0 {
            opened += 1;
            stream = StreamId::accepted(opened);
            listener.hear(StreamInput::Accepted { stream, from: addr(3) });
        }
        listener.hear(StreamInput::Frame { stream, bytes });
        if head & PASSES != 0 {
            listener.wake();
        }
        rest = after;
    }
    listener.wake();
    let (records, now) = (listener.disk.records(), listener.now);
    if let Err(error) = Node::new(config(1, 2), records, now) {
        panic!("what it wrote it does not take back: {error}");
    }
}
