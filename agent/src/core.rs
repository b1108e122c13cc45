//! The agent's one owner of replicated and durable state.
//!
//! A task runs [`Core::run`]: it takes what is ready (calls, datagrams, streams, deadlines), gives
//! it to the [`Node`], drains the node, commits all writes of the drain in one fsynced transaction,
//! and only then sends, dispatches and answers. So nobody hears of what the disk does not hold,
//! and whatever arrives while a commit is under way shares the next one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use weft_api::{Definition, NetworkId, Space, Write};
use weft_networkdb::{ClaimId, MemberEvent, StreamId, StreamInput, TableEvent, WatchId};

use crate::gossip::streams::{Incoming, Life, SharedSecrets, Streams};
use crate::identity::Identity;
use crate::node::{Node, Output};
use crate::store::{Store, StoreError};
use calls::Decision;
use strangers::{Strangers, refused};

pub mod calls;
pub mod cluster;
mod effects;
mod handle;
mod strangers;

pub use handle::{CoreHandle, Stopped};

/// Calls that may wait for the core.
const CALLS_QUEUED_MAX: usize = 1024;
/// Stream inputs that may wait; streams stop reading when it is full.
const STREAM_INPUTS_QUEUED_MAX: usize = 256;
/// Inputs of each kind taken before the drain, so that no kind starves another.
const INPUTS_PER_ROUND: usize = 64;
/// News batches that may wait for the controller; beyond it the listener is told to start over.
const NEWS_QUEUED_MAX: usize = 16_384;
/// Events that may wait for one watcher of the control socket before its watch ends.
const WATCH_QUEUED_MAX: usize = 4096;
/// How long a stop waits for streams to send what is queued.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// What the controller and the drivers must hear of.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// An entry changed.
    Table(TableEvent),
    /// A network is in force.
    Defined(Definition),
    /// A network is deleted.
    Deleted(NetworkId),
    /// A member changed.
    Member(MemberEvent),
    /// Facts are in step with all live members.
    Ready,
    /// The node left its cluster, or must take a new identity.
    Ended,
    /// News were lost because the listener was slow: read everything anew.
    Missed,
}

/// A piece of work on the core's state; its answer goes out after the commit.
type Call = Box<dyn FnOnce(&mut Core, Instant) + Send>;
/// What waits for the commit.
type Deferred = Box<dyn FnOnce() + Send>;

/// How a node of this agent is set up, whatever cluster it is in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's label.
    pub name: String,
    /// Where others reach it.
    pub advertise: SocketAddr,
    /// How long a released address rests.
    pub rest: Duration,
}

/// The node, its disk and its sockets.
pub struct Core {
    settings: Settings,
    store: Store,
    udp: Arc<UdpSocket>,
    strangers: Strangers,
    streams: Streams,
    secrets: SharedSecrets,
    next_accepted: u64,
    identity: Option<Identity>,
    node: Option<Node>,
    writes: Vec<Write>,
    deferred: Vec<Deferred>,
    news: Vec<News>,
    news_sender: mpsc::Sender<Vec<News>>,
    /// News were lost since the last that arrived, and whether an end was among them.
    news_missed: Option<bool>,
    next_ticket: u64,
    tickets: BTreeMap<u64, oneshot::Sender<Result<weft_ipam::Granted, weft_ipam::Error>>>,
    claims: BTreeMap<ClaimId, oneshot::Sender<Decision>>,
    watches: BTreeMap<WatchId, mpsc::Sender<TableEvent>>,
    joining: Option<oneshot::Sender<Result<(), cluster::MembershipError>>>,
    /// Through whom a forgotten node joins again where the one who told it does not answer.
    other_seeds: Vec<SocketAddr>,
    leaving: Option<oneshot::Sender<Result<(), cluster::MembershipError>>>,
    counters: BTreeMap<String, u64>,
    alarms: BTreeMap<String, u64>,
}

/// What [`Core::new`] gives beside the core: how to reach it and what it tells.
#[derive(Debug)]
pub struct Ends {
    /// To call it.
    pub handle: CoreHandle,
    /// What it has to tell.
    pub news: mpsc::Receiver<Vec<News>>,
}

/// The core's own inputs.
pub struct Inputs {
    calls: mpsc::Receiver<Call>,
    streams: mpsc::Receiver<(Life, StreamInput)>,
    incoming: mpsc::Receiver<Incoming>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Inputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inputs")
    }
}

impl Core {
    /// Makes the core around its disk and sockets; a node that was in a cluster starts there.
    ///
    /// # Errors
    /// The state file does not decode.
    pub fn new(
        settings: Settings,
        store: Store,
        udp: UdpSocket,
        secrets: SharedSecrets,
        incoming: mpsc::Receiver<Incoming>,
        now: Instant,
    ) -> anyhow::Result<(Self, Inputs, Ends)> {
        let (call_sender, calls) = mpsc::channel(CALLS_QUEUED_MAX);
        let (stream_sender, streams) = mpsc::channel(STREAM_INPUTS_QUEUED_MAX);
        let (news_sender, news) = mpsc::channel(NEWS_QUEUED_MAX);
        let mut core = Self {
            settings,
            store,
            udp: Arc::new(udp),
            strangers: Strangers::new(now),
            streams: Streams::new(secrets.clone(), stream_sender),
            secrets,
            next_accepted: 1,
            identity: None,
            node: None,
            writes: Vec::new(),
            deferred: Vec::new(),
            news: Vec::new(),
            news_sender,
            news_missed: None,
            next_ticket: 0,
            tickets: BTreeMap::new(),
            claims: BTreeMap::new(),
            watches: BTreeMap::new(),
            joining: None,
            other_seeds: Vec::new(),
            leaving: None,
            counters: BTreeMap::new(),
            alarms: BTreeMap::new(),
        };
        core.resume(now)?;
        let ends = Ends { handle: CoreHandle::new(call_sender), news };
        Ok((core, Inputs { calls, streams, incoming }, ends))
    }

    /// Runs until `stop`, then flushes. The data path is left as it is: a stop is no leave.
    ///
    /// # Errors
    /// The disk refused a commit. What was not committed was not told to anybody.
    pub async fn run(
        mut self,
        mut inputs: Inputs,
        stop: CancellationToken,
    ) -> Result<(), StoreError> {
        let mut buffer = vec![0; 65_536];
        let udp = self.udp.clone();
        loop {
            let held = self.strangers.held_until(Instant::now());
            let due = self.node.as_ref().and_then(Node::poll_timeout).into_iter().chain(held).min();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(input) = inputs.streams.recv() => self.take_stream(input, Instant::now()),
                Some(incoming) = inputs.incoming.recv() => self.accept(incoming, Instant::now()),
                ready = udp.readable(), if held.is_none() => drop(ready),
                Some(call) = inputs.calls.recv() => call(&mut self, Instant::now()),
                () = sleep_until(due) => {}
            }
            // Whatever woke the task, a share of everything that waits: a flood of one kind holds
            // up neither another nor the deadlines.
            self.take_more_streams(&mut inputs);
            self.take_datagrams(&mut buffer);
            self.take_more_calls(&mut inputs);
            self.take_due();
            self.drain()?;
        }
        if let Some(node) = &mut self.node {
            node.with_db(Instant::now(), |db| db.shutdown(Instant::now()));
        }
        self.drain()?;
        self.streams.shutdown(FLUSH_TIMEOUT).await;
        Ok(())
    }

    fn take_datagrams(&mut self, buffer: &mut [u8]) {
        for _ in 0..INPUTS_PER_ROUND {
            let now = Instant::now();
            if self.strangers.held_until(now).is_some() {
                return;
            }
            let Ok((length, from)) = self.udp.try_recv_from(buffer) else { return };
            let wrong = self.node.as_mut().map_or(1, |node| {
                let before = refused(node.db().counters());
                node.handle_datagram(from, &buffer[..length], now);
                refused(node.db().counters()) - before
            });
            if self.strangers.refuse(wrong, now) {
                self.count("datagrams_held");
            }
        }
    }

    fn take_due(&mut self) {
        let now = Instant::now();
        if let Some(node) = &mut self.node
            && node.poll_timeout().is_some_and(|due| due <= now)
        {
            node.handle_timeout(now);
        }
    }

    fn take_more_streams(&mut self, inputs: &mut Inputs) {
        for _ in 1..INPUTS_PER_ROUND {
            let Ok(input) = inputs.streams.try_recv() else { return };
            self.take_stream(input, Instant::now());
        }
    }

    fn take_more_calls(&mut self, inputs: &mut Inputs) {
        for _ in 1..INPUTS_PER_ROUND {
            let Ok(call) = inputs.calls.try_recv() else { return };
            call(self, Instant::now());
        }
    }

    fn take_stream(&mut self, (life, input): (Life, StreamInput), now: Instant) {
        self.streams.reap();
        if let Some(node) = &mut self.node
            && life == self.streams.life()
        {
            node.handle_stream(input, now);
        }
    }

    fn accept(&mut self, incoming: Incoming, now: Instant) {
        let Some(node) = &mut self.node else { return };
        let stream = StreamId::accepted(self.next_accepted);
        self.next_accepted += 1;
        let from = incoming.from;
        self.streams.accept(stream, incoming);
        node.handle_stream(StreamInput::Accepted { stream, from }, now);
    }

    /// Drains the node, commits, then carries out what rests on the commit.
    fn drain(&mut self) -> Result<(), StoreError> {
        // What is carried out may want more: that nothing is left to hand over, and the leave.
        while self.drain_once()? {}
        Ok(())
    }

    /// Returns whether there was anything to carry out.
    fn drain_once(&mut self) -> Result<bool, StoreError> {
        let mut effects = Vec::new();
        while let Some(output) = self.node.as_mut().and_then(Node::poll_output) {
            match output {
                Output::Persist(write) => self.writes.push(write),
                output @ (Output::Datagram { .. }
                | Output::OpenStream { .. }
                | Output::StreamFrame { .. }
                | Output::CloseStream { .. }
                | Output::Table(_)
                | Output::Watch { .. }
                | Output::Member(_)
                | Output::Claim { .. }
                | Output::Granted { .. }
                | Output::Defined(_)
                | Output::Deleted(_)
                | Output::Joined
                | Output::JoinFailed(_)
                | Output::HandedOver(_)
                | Output::Left
                | Output::Ready
                | Output::RolledBack(_)
                | Output::Keys(_)
                | Output::Alarm(_)
                | Output::Overflow(_)) => effects.push(output),
            }
        }
        self.mark_joined(&effects);
        self.keep_keys(&effects);
        self.commit()?;
        let any = !effects.is_empty();
        // What ends a membership comes last: all else of this drain is still the old node's, and
        // a stream of its opened afterwards would pass for one of the next node's.
        let (ends, rest): (Vec<_>, Vec<_>) = effects.into_iter().partition(ends_membership);
        for effect in rest.into_iter().chain(ends) {
            self.carry_out(effect);
        }
        // Carrying out may have ended a membership: its records go before anybody hears of it.
        self.commit()?;
        for answer in std::mem::take(&mut self.deferred) {
            answer();
        }
        self.tell_news();
        Ok(any)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if self.writes.is_empty() {
            return Ok(());
        }
        let writes = std::mem::take(&mut self.writes);
        tokio::task::block_in_place(|| self.store.commit(&writes))
    }

    /// What a slow listener missed is told as one word; the end of a membership is never lost.
    fn tell_news(&mut self) {
        if let Some(ended) = self.news_missed.take() {
            let ended = ended || self.news.contains(&News::Ended);
            self.news = ended.then_some(News::Ended).into_iter().chain([News::Missed]).collect();
        }
        if self.news.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.news);
        self.news_missed = match self.news_sender.try_send(batch) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
            Err(mpsc::error::TrySendError::Full(lost)) => {
                *self.counters.entry("news_missed".to_owned()).or_default() += 1;
                Some(lost.contains(&News::Ended))
            }
        };
    }

    /// Writes removals of every record of these spaces.
    fn wipe(&mut self, spaces: &[Space]) {
        for space in spaces {
            match self.store.load(*space) {
                Ok(records) => self.writes.extend(records.into_iter().map(|(key, _)| Write {
                    space: *space,
                    key,
                    value: None,
                })),
                Err(error) => tracing::error!(%error, ?space, "records were not removed"),
            }
        }
    }
}

const fn ends_membership(effect: &Output) -> bool {
    matches!(effect, Output::JoinFailed(_) | Output::Left | Output::RolledBack(_))
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
