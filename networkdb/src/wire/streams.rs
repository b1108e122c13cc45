//! Streams to peers: at most one is kept for sending, opened on demand, closed when idle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use weft_api::NodeId;

use crate::membership::greeter::Target;
use crate::output::StreamId;

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Asked for; the caller has not answered.
    Opening(Target),
    /// It stands, our hello is out.
    Greeting(Target),
    /// Accepted; the hello has not come.
    Awaiting,
    /// Both ends know each other.
    Up(NodeId),
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) phase: Phase,
    last: Instant,
    /// Made with a key that seals no more: nothing new goes this way.
    stale: bool,
}

/// Frames that wait for a stream.
#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// All streams, and what waits for one.
#[derive(Debug)]
pub(crate) struct Streams {
    streams: BTreeMap<StreamId, Stream>,
    /// When each is idle for too long, or has got nowhere.
    deadlines: BTreeSet<(Instant, StreamId)>,
    /// Those that stand, by peer.
    peers: BTreeSet<(NodeId, StreamId)>,
    queues: BTreeMap<NodeId, Queue>,
    opened: u64,
    patience: Duration,
    idle: Duration,
    queue_max: usize,
}

impl Streams {
    pub(crate) fn new(patience: Duration, idle: Duration, queue_max: usize) -> Self {
        Self {
            streams: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            peers: BTreeSet::new(),
            queues: BTreeMap::new(),
            opened: 0,
            patience,
            idle,
            queue_max,
        }
    }

    /// Names a stream that is to be opened.
    pub(crate) fn open(&mut self, target: Target, now: Instant) -> StreamId {
        self.opened += 1;
        let id = StreamId::opened(self.opened);
        self.put(id, Stream { phase: Phase::Opening(target), last: now, stale: false });
        id
    }

    /// Takes note of an accepted stream; false when there are too many.
    pub(crate) fn accept(&mut self, id: StreamId, most: usize, now: Instant) -> bool {
        if self.streams.len() >= most || self.streams.contains_key(&id) {
            return false;
        }
        self.put(id, Stream { phase: Phase::Awaiting, last: now, stale: false });
        true
    }

    pub(crate) fn phase(&self, id: StreamId) -> Option<Phase> {
        self.streams.get(&id).map(|stream| stream.phase)
    }

    /// Moves a stream on.
    pub(crate) fn set(&mut self, id: StreamId, phase: Phase, now: Instant) {
        if let Some(Stream { stale, .. }) = self.take(id) {
            self.put(id, Stream { phase, last: now, stale });
        }
    }

    /// Traffic on a stream keeps it.
    pub(crate) fn touch(&mut self, id: StreamId, now: Instant) {
        if let Some(phase) = self.phase(id) {
            self.set(id, phase, now);
        }
    }

    pub(crate) fn remove(&mut self, id: StreamId) -> Option<Phase> {
        self.take(id).map(|stream| stream.phase)
    }

    /// A stream to a peer that the peer will not close in the next moment.
    pub(crate) fn usable(&self, node: NodeId, now: Instant) -> Option<StreamId> {
        let fresh = |stream: &Stream| {
            !stream.stale && now.saturating_duration_since(stream.last) < self.idle * 2 / 3
        };
        let all = (node, StreamId::FIRST)..=(node, StreamId::LAST);
        let mut ids = self.peers.range(all).map(|(_, id)| *id);
        ids.find(|id| self.streams.get(id).is_some_and(fresh))
    }

    /// Lets nothing new go by the streams that stand. They are read on, until they are idle.
    pub(crate) fn outdate(&mut self) {
        for stream in self.streams.values_mut() {
            stream.stale = true;
        }
    }

    /// Lets a frame wait for a stream to its peer; false when the queue is full.
    pub(crate) fn enqueue(&mut self, node: NodeId, frame: Vec<u8>) -> bool {
        let queue = self.queues.entry(node).or_default();
        if queue.bytes + frame.len() > self.queue_max {
            return false;
        }
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        true
    }

    /// Takes all that waits for a peer.
    pub(crate) fn take_queue(&mut self, node: NodeId) -> VecDeque<Vec<u8>> {
        self.queues.remove(&node).unwrap_or_default().frames
    }

    pub(crate) fn has_queue(&self, node: NodeId) -> bool {
        self.queues.contains_key(&node)
    }

    fn put(&mut self, id: StreamId, stream: Stream) {
        self.deadlines.insert((self.deadline(&stream), id));
        if let Phase::Up(node) = stream.phase {
            self.peers.insert((node, id));
        }
        self.streams.insert(id, stream);
    }

    fn take(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.deadlines.remove(&(self.deadline(&stream), id));
        if let Phase::Up(node) = stream.phase {
            self.peers.remove(&(node, id));
        }
        Some(stream)
    }

    fn deadline(&self, stream: &Stream) -> Instant {
        match stream.phase {
            Phase::Opening(_) | Phase::Greeting(_) | Phase::Awaiting => stream.last + self.patience,
            Phase::Up(_) => stream.last + self.idle,
        }
    }

    /// The streams whose time is over.
    pub(crate) fn due(&self, now: Instant) -> Vec<StreamId> {
        self.deadlines.range(..=(now, StreamId::LAST)).map(|(_, id)| *id).collect()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// All streams.
    pub(crate) fn ids(&self) -> impl Iterator<Item = StreamId> {
        self.streams.keys().copied()
    }
}
