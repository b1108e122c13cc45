//! One node's replicated state: networkdb and ipam, tied together, without I/O.
//!
//! Facts and messages that one half puts out for the other never leave this file. The agent's
//! core and the simulator drive the same [`Node`]: one input, drain [`Node::poll_output`] to
//! `None`, commit every [`Output::Persist`] of the drain, then carry out the rest.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weft_api::{Boot, ClusterId, Definition, NetworkId, NodeId, Space, Write};
use weft_ipam::{ClusterPools, Ipam};
use weft_networkdb::{
    FactKind, JoinRefusal, KeyRing, Member, MemberEvent, MemberState, NetworkDb, Outdated,
    RolledBackBy, StreamId, StreamInput, TableEvent, WatchId,
};

mod counters;
mod joins;

/// The channel of ipam's messages between nodes.
const IPAM_CHANNEL: u8 = 1;

/// Who a node is and how it behaves.
#[derive(Debug)]
pub struct NodeConfig {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// This start of it, on disk already.
    pub boot: Boot,
    /// Its label.
    pub name: String,
    /// Where others reach it.
    pub advertise: SocketAddr,
    /// The cluster's keys.
    pub keys: KeyRing,
    /// Seed of every random choice.
    pub seed: [u8; 32],
    /// How long a released address rests.
    pub rest: Duration,
}

/// Why a node cannot start from its state file.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// networkdb's part.
    #[error(transparent)]
    Db(#[from] weft_networkdb::RestoreError),
    /// ipam's part.
    #[error(transparent)]
    Ipam(#[from] weft_ipam::RestoreError),
}

/// What a node wants done.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Output {
    /// Commit before the rest of this drain.
    Persist(Write),
    /// Send a datagram.
    Datagram {
        /// To whom.
        to: SocketAddr,
        /// Sealed bytes.
        bytes: Vec<u8>,
    },
    /// Dial a stream.
    OpenStream {
        /// Its name.
        stream: StreamId,
        /// To whom.
        to: SocketAddr,
    },
    /// Send a frame.
    StreamFrame {
        /// On which stream.
        stream: StreamId,
        /// Plain bytes.
        bytes: Vec<u8>,
    },
    /// Close a stream after what is queued.
    CloseStream {
        /// Which.
        stream: StreamId,
    },
    /// An entry changed.
    Table(TableEvent),
    /// An entry that a watch follows changed.
    Watch {
        /// Which watch.
        id: WatchId,
        /// What happened.
        event: TableEvent,
    },
    /// A member changed.
    Member(MemberEvent),
    /// A claim ended.
    Claim {
        /// Which.
        id: weft_networkdb::ClaimId,
        /// How.
        outcome: weft_networkdb::Outcome,
        /// Whether others were asked to accept it.
        asked: bool,
    },
    /// A request to ipam ended.
    Granted {
        /// Which.
        ticket: weft_ipam::Ticket,
        /// How.
        result: Result<weft_ipam::Granted, weft_ipam::Error>,
    },
    /// A network is in force, however learnt.
    Defined(Definition),
    /// A network is deleted, however learnt.
    Deleted(NetworkId),
    /// The join asked for succeeded.
    Joined,
    /// The join asked for failed.
    JoinFailed(JoinRefusal),
    /// All ranges were handed over, but for what these members have not acknowledged.
    HandedOver(Vec<NodeId>),
    /// The leave is told.
    Left,
    /// Allocation may begin.
    Ready,
    /// This disk was rolled back or cloned.
    RolledBack(RolledBackBy),
    /// Other keys open or seal from now on, and streams are made with them.
    Keys(KeyRing),
    /// Something for the operator.
    Alarm(String),
    /// A bound was met; counted, and said once a drain.
    Overflow(String),
}

/// One node.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    db: NetworkDb,
    ipam: Ipam,
    outputs: VecDeque<Output>,
}

impl Node {
    /// Starts from what was persisted; at the first start that is nothing.
    ///
    /// # Errors
    /// [`RestoreError`] when a record does not decode.
    pub fn new(
        config: NodeConfig,
        restored: Vec<(Space, Vec<u8>, Vec<u8>)>,
        now: Instant,
    ) -> Result<Self, RestoreError> {
        let id = config.node;
        let mut ipam_config = weft_ipam::Config::new(id, config.seed);
        ipam_config.rest = config.rest;
        let allocations: Vec<_> = restored
            .iter()
            .filter(|(space, ..)| *space == Space::Ipam)
            .map(|(_, key, value)| (key.clone(), value.clone()))
            .collect();
        let db = NetworkDb::new(joins::db_config(config), restored, now)?;
        let facts: Vec<_> = joins::IPAM_KINDS
            .into_iter()
            .flat_map(|(kind, ours)| {
                db.facts(kind).map(move |(subject, bytes)| (ours, subject.to_vec(), bytes.to_vec()))
            })
            .collect();
        let ipam = Ipam::new(ipam_config, facts, allocations, now)?;
        let mut node = Self { id, db, ipam, outputs: VecDeque::new() };
        let definitions: Vec<_> = node.db.definitions().cloned().collect();
        for definition in &definitions {
            node.ipam.on_definition(definition, now);
        }
        let deleted: Vec<NetworkId> = node
            .db
            .facts(FactKind::DELETED)
            .filter_map(|(subject, _)| subject.try_into().ok().map(NetworkId::from_bytes))
            .collect();
        for network in deleted {
            node.ipam.forget_network(network, now);
        }
        node.tell_members(now);
        if node.db.is_ready() {
            node.ipam.on_ready(now);
        }
        node.settle(now);
        Ok(node)
    }

    /// Makes this node the owner of everything there is to share out. Only after `init`.
    pub fn found_cluster(&mut self, pools: &ClusterPools, now: Instant) {
        self.ipam.found_cluster(pools, now);
        self.settle(now);
    }

    /// Returns this node's id.
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// Reads networkdb.
    pub const fn db(&self) -> &NetworkDb {
        &self.db
    }

    /// Reads ipam.
    pub const fn ipam(&self) -> &Ipam {
        &self.ipam
    }

    /// Returns the counters of both halves, by name.
    pub fn counters(&self) -> std::collections::BTreeMap<String, u64> {
        counters::of(&self.db, &self.ipam)
    }

    /// Changes networkdb, and settles what follows.
    pub fn with_db<T>(&mut self, now: Instant, change: impl FnOnce(&mut NetworkDb) -> T) -> T {
        let result = change(&mut self.db);
        self.settle(now);
        result
    }

    /// Changes ipam, and settles what follows.
    pub fn with_ipam<T>(&mut self, now: Instant, change: impl FnOnce(&mut Ipam) -> T) -> T {
        let result = change(&mut self.ipam);
        self.settle(now);
        result
    }

    /// Claims that members are gone for good. Named with them is who was forgotten before and still
    /// owns something: its heir is gone too, and told nobody what it took over.
    pub fn forget(
        &mut self,
        mut victims: Vec<NodeId>,
        reach: weft_networkdb::Reach,
        now: Instant,
    ) -> weft_networkdb::ClaimId {
        let forgotten = |node: &NodeId| {
            let member = self.db.member(*node);
            member.is_some_and(|member| member.state == MemberState::Forgotten)
        };
        let owners = self.ipam.holdings().into_iter().map(|holding| holding.owner);
        victims.extend(owners.filter(forgotten));
        self.with_db(now, |db| db.forget(victims, reach, now))
    }

    /// Whether members are away and none is there: what this node knows alone nobody else would
    /// have if it left.
    pub fn is_cut_off(&self) -> bool {
        let others = || self.db.members().filter(|member| member.id != self.id());
        let is_away = |member: &Member| match member.state {
            MemberState::Suspect | MemberState::Failed => true,
            MemberState::Alive | MemberState::Left | MemberState::Forgotten => false,
        };
        // One that is back and has not compared its facts with ours yet, or leaves too, is no help.
        let is_there = |member: &Member| {
            member.state == MemberState::Alive
                && self.db.facts_synced(member.id)
                && !self.ipam.leaves(member.id)
        };
        others().any(is_away) && !others().any(is_there)
    }

    /// Begins to leave the cluster: nobody is let in any more, and all ranges are handed over.
    /// [`Output::HandedOver`] says when [`NetworkDb::leave`] may follow.
    pub fn leave(&mut self, now: Instant) {
        self.db.shut();
        self.with_ipam(now, |ipam| ipam.leave(now));
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        self.db.handle_datagram(from, bytes, now);
        self.settle(now);
    }

    /// Takes what happened to a stream.
    pub fn handle_stream(&mut self, input: StreamInput, now: Instant) {
        self.db.handle_stream(input, now);
        self.settle(now);
    }

    /// Does what is due in either half.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.db.poll_timeout().is_some_and(|(due, _)| due <= now) {
            self.db.handle_timeout(now);
        }
        if self.ipam.poll_timeout().is_some_and(|(due, _)| due <= now) {
            self.ipam.handle_timeout(now);
        }
        self.settle(now);
    }

    /// Says when to call [`Node::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let db = self.db.poll_timeout().map(|(due, _)| due);
        let ipam = self.ipam.poll_timeout().map(|(due, _)| due);
        db.into_iter().chain(ipam).min()
    }

    /// Returns the next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Carries facts and messages between the halves until neither has any.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut idle = true;
            while let Some(output) = self.db.poll_output() {
                idle = false;
                self.take_db(output, now);
            }
            while let Some(output) = self.ipam.poll_output() {
                idle = false;
                self.take_ipam(output, now);
            }
            if idle {
                return;
            }
        }
    }

    fn take_db(&mut self, output: weft_networkdb::Output, now: Instant) {
        use weft_networkdb::Output as Db;
        let output = match output {
            Db::Persist(write) => Output::Persist(write),
            Db::Datagram { to, bytes } => Output::Datagram { to, bytes },
            Db::OpenStream { stream, to } => Output::OpenStream { stream, to },
            Db::StreamFrame { stream, bytes } => Output::StreamFrame { stream, bytes },
            Db::CloseStream { stream } => Output::CloseStream { stream },
            Db::Table(event) => Output::Table(event),
            Db::Watch { id, event } => Output::Watch { id, event },
            Db::Member(event) => {
                self.tell_members(now);
                if let MemberEvent::Up(member) = &event {
                    self.ipam.on_new_life(member.id, now);
                }
                Output::Member(event)
            }
            Db::Fact { kind, subject, value } => {
                if let Some(kind) = joins::ipam_kind(kind) {
                    self.ipam.handle_fact(kind, &subject, &value, now);
                }
                return;
            }
            Db::App { from, channel, bytes } => {
                if channel == IPAM_CHANNEL {
                    self.ipam.handle_message(from, &bytes, now);
                }
                return;
            }
            Db::Claim { id, outcome, asked } => {
                self.inherit(&outcome, now);
                Output::Claim { id, outcome, asked }
            }
            Db::Defined(definition) => {
                // What came with it is known before anything is made of it.
                for subnet in &definition.subnets {
                    let (network, pool) = (definition.id, subnet.pool);
                    let subject = weft_ipam::Space::Subnet { network, pool }.subject();
                    let ranges = self.db.fact(FactKind::RANGES, &subject).map(<[u8]>::to_vec);
                    if let Some(ranges) = ranges {
                        let kind = weft_ipam::FactKind::Ranges;
                        self.ipam.handle_fact(kind, &subject, &ranges, now);
                    }
                }
                self.ipam.on_definition(&definition, now);
                Output::Defined(definition)
            }
            Db::Deleted(network) => {
                self.ipam.forget_network(network, now);
                Output::Deleted(network)
            }
            Db::Joined => Output::Joined,
            Db::JoinFailed { reason } => Output::JoinFailed(reason),
            Db::LeftCluster => Output::Left,
            Db::Ready => {
                self.ipam.on_ready(now);
                Output::Ready
            }
            Db::RolledBack { reason } => Output::RolledBack(reason),
            Db::Keys(ring) => Output::Keys(ring),
            Db::Outdated(who) => Output::Alarm(self.outdated(who)),
            Db::Alarm(alarm) => Output::Alarm(format!("{alarm:?}")),
            Db::Overflow(bound) => Output::Overflow(format!("{bound:?}")),
        };
        self.outputs.push_back(output);
    }

    fn take_ipam(&mut self, output: weft_ipam::Output, now: Instant) {
        use weft_ipam::Output as Ip;
        let output = match output {
            Ip::Persist(write) => Output::Persist(write),
            Ip::Fact { kind, subject, delta } => {
                let kind = FactKind(kind as u8);
                match self.db.put_fact(kind, &subject, &delta, now) {
                    Ok(()) => return,
                    Err(error) => Output::Alarm(format!("ipam fact refused: {error}")),
                }
            }
            Ip::Message { to, bytes } => {
                self.db.send(to, IPAM_CHANNEL, bytes, now);
                return;
            }
            Ip::Done { ticket, result } => Output::Granted { ticket, result },
            Ip::Alarm(alarm) => Output::Alarm(alarm.to_string()),
            Ip::LeaveDone { unacknowledged } => Output::HandedOver(unacknowledged),
        };
        self.outputs.push_back(output);
    }

    /// The ranges of the forgotten get their heir in the drain that forgets them.
    fn inherit(&mut self, outcome: &weft_networkdb::Outcome, now: Instant) {
        use weft_networkdb::Outcome;
        match outcome {
            Outcome::Forgotten(nodes) => {
                let taken: Vec<_> = self.db.vnis().collect();
                self.ipam.inherit(nodes, &taken, now);
            }
            Outcome::Defined(_)
            | Outcome::Joined(_)
            | Outcome::Deleted(_)
            | Outcome::Rotated(_)
            | Outcome::Refused(_) => {}
        }
    }

    /// Says who has to rejoin, for people.
    fn outdated(&self, who: Outdated) -> String {
        let name = |node: NodeId| {
            self.db.member(node).map_or_else(|| node.short(), |member| member.name.clone())
        };
        let rejoin = "take a token on a member that others hold alive (`weft token -o FILE`) and \
                      give it to `weft join --token-file FILE ADDR`";
        match who {
            Outdated::This(node) => format!(
                "member `{}` accepts none of this node's keys: the cluster's key was rotated away \
                 while this node was away; {rejoin} here, which keeps its endpoints",
                name(node)
            ),
            Outdated::Other(node) => format!(
                "member `{}` accepts none of the cluster's keys: they were rotated while it was \
                 away; {rejoin} there, which keeps its endpoints",
                name(node)
            ),
        }
    }

    fn tell_members(&mut self, now: Instant) {
        let alive: Vec<_> = self
            .db
            .members()
            .filter(|member| matches!(member.state, MemberState::Alive | MemberState::Suspect))
            .map(|member| member.id)
            .collect();
        self.ipam.on_members(&alive, now);
    }
}
