//! Several nodes in memory, in virtual time: loss, duplicates, reorder, delay, partition, crash.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weft_api::{Definition, NetworkId, NodeId, Vni, Write};

use crate::claims::definition_fact::{Change, DefinitionJoin, Definitions, DeletedJoin};
use crate::claims::{
    ClaimBody, ClaimId, Claims, MemberChange, Message, Outcome, Output, Standing, Timing, Turn,
    View, record,
};
use crate::facts::{FactKind, Join, Joined};
use crate::keys::{Fingerprint, RingJoin, RingState};

type FactKey = (FactKind, Vec<u8>);

/// What a node knows of the rest: everything of it is durable.
#[derive(Default)]
pub(super) struct World {
    pub(super) members: BTreeMap<NodeId, Standing>,
    pub(super) definitions: Definitions,
    pub(super) attached: BTreeMap<NetworkId, BTreeSet<NodeId>>,
    facts: BTreeMap<FactKey, Vec<u8>>,
    /// The first rotation's key, once it is in force.
    pub(super) rotated: Option<Fingerprint>,
    /// A node that has not got the key to come.
    pub(super) lacks_key: BTreeSet<Fingerprint>,
    pub(super) kept: BTreeSet<Fingerprint>,
}

impl View for World {
    fn live(&self) -> Vec<NodeId> {
        let live = self.members.iter().filter(|(_, standing)| **standing == Standing::Live);
        live.map(|(node, _)| *node).collect()
    }

    fn members(&self) -> Vec<NodeId> {
        let gone = |standing: &Standing| *standing == Standing::Gone;
        self.members.iter().filter(|(_, s)| !gone(s)).map(|(node, _)| *node).collect()
    }

    fn standing(&self, node: NodeId) -> Standing {
        self.members.get(&node).copied().unwrap_or(Standing::Unknown)
    }

    fn definitions(&self) -> Box<dyn Iterator<Item = &Definition> + '_> {
        Box::new(self.definitions.iter())
    }

    fn is_defined(&self, network: NetworkId) -> bool {
        self.definitions.is_defined(network)
    }

    fn is_deleted(&self, network: NetworkId) -> bool {
        self.definitions.is_deleted(network)
    }

    fn was_deleted_with(&self, vni: Vni) -> bool {
        self.definitions.was_deleted_with(vni)
    }

    fn attached(&self, network: NetworkId) -> Vec<NodeId> {
        self.attached.get(&network).into_iter().flatten().copied().collect()
    }

    fn has_endpoints_here(&self, _: NetworkId) -> bool {
        false
    }

    fn turn(&self, _: u64, key: Fingerprint, _: Fingerprint) -> Turn {
        match self.rotated {
            None if self.lacks_key.contains(&key) => Turn::Early,
            None => Turn::Fit,
            Some(rotated) if rotated == key => Turn::Done,
            Some(_) => Turn::Over,
        }
    }

    fn is_in_force(&self, key: Fingerprint) -> bool {
        self.rotated == Some(key)
    }

    fn key_rested_at(&self) -> Option<Instant> {
        None
    }
}

impl World {
    fn join(&mut self, (kind, subject): &FactKey, value: &[u8]) -> Change {
        let key = (*kind, subject.clone());
        let current = self.facts.get(&key).map(Vec::as_slice);
        let joined = if *kind == FactKind::DEFINITION {
            DefinitionJoin.join(current, value)
        } else if *kind == FactKind::KEYS {
            RingJoin.join(current, value)
        } else {
            DeletedJoin.join(current, value)
        };
        match joined.expect("only sound facts are made here") {
            Joined::Unchanged => Change::None,
            Joined::Changed(bytes) => {
                let change = self.definitions.on_fact(*kind, subject, &bytes);
                self.facts.insert(key, bytes);
                change
            }
        }
    }
}

pub(super) struct Node {
    pub(super) claims: Option<Claims>,
    pub(super) world: World,
    pub(super) disk: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) decided: BTreeMap<ClaimId, Outcome>,
    pub(super) barred: BTreeSet<NetworkId>,
    lives: u8,
}

enum Event {
    Packet { from: NodeId, to: NodeId, bytes: Vec<u8> },
    Fact { from: NodeId, to: NodeId, key: FactKey, value: Vec<u8> },
    Attach { to: NodeId, node: NodeId, network: NetworkId },
}

/// Knobs, in percent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) loss: u64,
    pub(super) duplicate: u64,
    /// Packets take 1 ms and up to this more.
    pub(super) jitter_ms: u64,
}

pub(super) struct Cluster {
    pub(super) now: Instant,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) faults: Faults,
    pub(super) sent: Vec<(NodeId, NodeId, Message)>,
    cut: BTreeSet<(NodeId, NodeId)>,
    was_cut: bool,
    crash_after_fsync: BTreeSet<NodeId>,
    queue: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    rng: ChaCha8Rng,
    next_sync: Instant,
}

pub(super) fn id(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

impl Cluster {
    pub(super) fn new(size: u8, seed: u64) -> Self {
        let now = start();
        let mut cluster = Self {
            now,
            nodes: BTreeMap::new(),
            faults: Faults::default(),
            sent: Vec::new(),
            cut: BTreeSet::new(),
            was_cut: false,
            crash_after_fsync: BTreeSet::new(),
            queue: BTreeMap::new(),
            serial: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            next_sync: now + SYNC,
        };
        for n in 1..=size {
            let members = (1..=size).map(|other| (id(other), Standing::Live)).collect();
            let world = World { members, ..World::default() };
            cluster.add(n, world);
        }
        cluster
    }

    pub(super) fn add(&mut self, n: u8, world: World) {
        let node = Node {
            claims: None,
            world,
            disk: BTreeMap::new(),
            decided: BTreeMap::new(),
            barred: BTreeSet::new(),
            lives: 0,
        };
        self.nodes.insert(id(n), node);
        self.start(n);
    }

    pub(super) fn start(&mut self, n: u8) {
        let now = self.now;
        let node = self.node_mut(n);
        node.lives += 1;
        let restored = node.disk.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        let claims = Claims::new(id(n), [n ^ node.lives; 32], Timing::default(), restored, now);
        node.claims = Some(claims.expect("the disk holds what was written"));
        node.barred.clear();
        node.world.kept.clear();
        // Whoever waited for these is gone, and a claim that was never sent left no number.
        node.decided.clear();
        self.drain(id(n));
    }

    pub(super) fn crash(&mut self, n: u8) {
        self.node_mut(n).claims = None;
    }

    /// The node dies in its next drain, between the fsync and the first packet.
    pub(super) fn crash_after_next_fsync(&mut self, n: u8) {
        self.crash_after_fsync.insert(id(n));
    }

    pub(super) fn is_up(&self, n: u8) -> bool {
        self.node(n).claims.is_some()
    }

    pub(super) fn node(&self, n: u8) -> &Node {
        &self.nodes[&id(n)]
    }

    pub(super) fn node_mut(&mut self, n: u8) -> &mut Node {
        self.nodes.get_mut(&id(n)).expect("the test made the node")
    }

    pub(super) fn submit(&mut self, n: u8, body: ClaimBody) -> ClaimId {
        let claim = self
            .with(id(n), |claims, world, now| claims.submit(body, world, now))
            .expect("the node is up");
        self.drain(id(n));
        claim
    }

    pub(super) fn submit_two(&mut self, n: u8, a: ClaimBody, b: ClaimBody) -> (ClaimId, ClaimId) {
        let claims = self
            .with(id(n), |claims, world, now| {
                (claims.submit(a, world, now), claims.submit(b, world, now))
            })
            .expect("the node is up");
        self.drain(id(n));
        claims
    }

    pub(super) fn leave(&mut self, n: u8) {
        self.with(id(n), |claims, _, _| claims.leave());
        self.drain(id(n));
    }

    /// Hands a message over now.
    pub(super) fn deliver(&mut self, from: u8, to: u8, message: Message) {
        let bytes = record::encode(&message);
        self.happen(Event::Packet { from: id(from), to: id(to), bytes });
    }

    /// A new node joins through `via`, whose members it learns; the others hear of it later.
    pub(super) fn join(&mut self, n: u8, via: u8) {
        let mut world = World { members: self.node(via).world.members.clone(), ..World::default() };
        world.members.insert(id(via), Standing::Live);
        self.add(n, world);
        let pending = self.with(id(via), |claims, _, _| claims.pending_for_joiner());
        for message in pending.expect("the member is up") {
            self.deliver(via, n, message);
        }
        self.declare(via, n, MemberChange::Up);
    }

    pub(super) fn no_more_crashes(&mut self) {
        self.crash_after_fsync.clear();
    }

    /// `observer` learns of `n`.
    pub(super) fn declare(&mut self, observer: u8, n: u8, change: MemberChange) {
        let standing = match change {
            MemberChange::Up => Standing::Live,
            MemberChange::Failed => Standing::Failed,
            MemberChange::Left | MemberChange::Forgotten => Standing::Gone,
        };
        self.node_mut(observer).world.members.insert(id(n), standing);
        self.with(id(observer), |claims, world, now| claims.on_member(id(n), change, world, now));
        self.drain(id(observer));
    }

    pub(super) fn declare_to_all(&mut self, n: u8, change: MemberChange) {
        let all: Vec<NodeId> = self.nodes.keys().copied().filter(|node| *node != id(n)).collect();
        for node in all {
            self.declare(node.as_bytes()[0], n, change);
        }
    }

    /// Cuts every link between the two groups, both ways.
    pub(super) fn cut(&mut self, left: &[u8], right: &[u8]) {
        self.was_cut = true;
        for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
            self.cut.insert((id(a), id(b)));
            self.cut.insert((id(b), id(a)));
        }
    }

    /// Cuts one link, one way.
    pub(super) fn cut_one_way(&mut self, from: u8, to: u8) {
        self.cut.insert((id(from), id(to)));
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Attaches as the database would: not where barred, deleted or unknown.
    pub(super) fn attach(&mut self, n: u8, network: NetworkId) -> bool {
        let node = self.nodes.get_mut(&id(n)).expect("the test made the node");
        let Some(claims) = &node.claims else { return false };
        assert_eq!(claims.is_barred(network), node.barred.contains(&network));
        if claims.is_barred(network) || node.world.definitions.get(network).is_none() {
            return false;
        }
        node.world.attached.entry(network).or_default().insert(id(n));
        for to in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.enqueue(Event::Attach { to, node: id(n), network });
        }
        true
    }

    pub(super) fn detach(&mut self, n: u8, network: NetworkId) {
        for node in self.nodes.values_mut() {
            node.world.attached.entry(network).or_default().remove(&id(n));
        }
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while self.step(end) {
            self.check();
            steps += 1;
            assert!(steps < 200_000, "the claims never come to rest");
        }
        self.now = end;
    }

    /// At no time two networks in force that exclude each other, whoever knows of them.
    /// Not so where halves are cut apart; such tests look for themselves.
    fn check(&self) {
        if self.was_cut {
            return;
        }
        let all: Vec<&Definitions> = self.nodes.values().map(|n| &n.world.definitions).collect();
        let deleted = |id: NetworkId| all.iter().any(|known| known.is_deleted(id));
        let live: BTreeMap<NetworkId, &Definition> = all
            .iter()
            .flat_map(|known| known.iter())
            .filter(|definition| !deleted(definition.id))
            .map(|definition| (definition.id, definition))
            .collect();
        for a in live.values() {
            for b in live.values().filter(|b| b.id > a.id) {
                let clash = crate::claims::conflict::clash(a, b);
                assert_eq!(clash, None, "{} and {} are both in force", a.name, b.name);
            }
        }
    }

    fn step(&mut self, end: Instant) -> bool {
        let packet = self.queue.first_key_value().map(|(key, _)| key.0);
        let timers = self.nodes.iter().filter_map(|(node, state)| {
            let (at, _) = state.claims.as_ref()?.poll_timeout()?;
            Some((at, *node))
        });
        let timer = timers.min();
        let first = [packet, timer.map(|(at, _)| at), Some(self.next_sync)];
        let at = first.into_iter().flatten().min().expect("the sync is always due").max(self.now);
        if at > end {
            return false;
        }
        self.now = at;
        if self.next_sync <= at {
            self.next_sync = at + SYNC;
            self.sync();
        } else if packet.is_some_and(|packet| packet <= at) {
            let (_, event) = self.queue.pop_first().expect("it was seen above");
            self.happen(event);
        } else if let Some((_, node)) = timer {
            self.with(node, |claims, world, now| claims.handle_timeout(world, now));
            self.drain(node);
        }
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Packet { from, to, bytes } => {
                let message: Message = record::decode(&bytes).expect("it was encoded here");
                self.with(to, |claims, world, now| {
                    if !claims.is_outside(from) {
                        claims.handle_message(from, message, world, now);
                    }
                });
                self.drain(to);
            }
            Event::Fact { to, key, value, .. } => self.learn(to, &key, &value),
            Event::Attach { to, node, network } => {
                let state = self.nodes.get_mut(&to).expect("nodes stay");
                state.world.attached.entry(network).or_default().insert(node);
            }
        }
    }

    /// Anti-entropy: what a push lost, this brings.
    fn sync(&mut self) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for (from, to) in nodes.iter().flat_map(|a| nodes.iter().map(move |b| (*a, *b))) {
            let up = self.nodes[&from].claims.is_some() && !self.cut.contains(&(from, to));
            if from == to || !up || self.nodes[&from].world.facts == self.nodes[&to].world.facts {
                continue;
            }
            for (key, value) in self.nodes[&from].world.facts.clone() {
                self.enqueue(Event::Fact { from, to, key, value });
            }
        }
    }

    fn learn(&mut self, node: NodeId, key: &FactKey, value: &[u8]) {
        let state = self.nodes.get_mut(&node).expect("nodes stay");
        if state.claims.is_none() {
            return;
        }
        match state.world.join(key, value) {
            Change::Defined(network) | Change::Deleted(network) => {
                self.with(node, |claims, world, now| claims.on_fact(network, world, now));
                for to in self.nodes.keys().copied().filter(|to| *to != node).collect::<Vec<_>>() {
                    let (key, value) = (key.clone(), value.to_vec());
                    self.enqueue(Event::Fact { from: node, to, key, value });
                }
                self.drain(node);
            }
            Change::None if key.0 == FactKind::FORGOTTEN => self.forgotten(node, key, value),
            Change::None if key.0 == FactKind::KEYS => self.rotated(node, key, value),
            Change::None => {}
        }
    }

    /// What the database makes of the fact that a member was forgotten.
    fn forgotten(&mut self, node: NodeId, key: &FactKey, value: &[u8]) {
        let victim = NodeId::from_bytes(key.1.as_slice().try_into().expect("a node's id"));
        if self.nodes[&node].world.standing(victim) == Standing::Gone || victim == node {
            return;
        }
        self.declare(node.as_bytes()[0], victim.as_bytes()[0], MemberChange::Forgotten);
        for to in self.nodes.keys().copied().filter(|to| *to != node).collect::<Vec<_>>() {
            self.enqueue(Event::Fact { from: node, to, key: key.clone(), value: value.to_vec() });
        }
    }

    /// What the database makes of the fact that a key is in force.
    fn rotated(&mut self, node: NodeId, key: &FactKey, value: &[u8]) {
        let (_, primary) = RingState::decode(value).expect("a ring").primary();
        let state = self.nodes.get_mut(&node).expect("nodes stay");
        if state.world.rotated.replace(primary) == Some(primary) {
            return;
        }
        self.with(node, |claims, world, now| claims.on_keys(world, now));
        for to in self.nodes.keys().copied().filter(|to| *to != node).collect::<Vec<_>>() {
            self.enqueue(Event::Fact { from: node, to, key: key.clone(), value: value.to_vec() });
        }
        self.drain(node);
    }

    fn with<R>(
        &mut self,
        node: NodeId,
        call: impl FnOnce(&mut Claims, &World, Instant) -> R,
    ) -> Option<R> {
        let now = self.now;
        let state = self.nodes.get_mut(&node)?;
        Some(call(state.claims.as_mut()?, &state.world, now))
    }

    /// What the shell does: all writes of the drain, facts too, then the rest.
    fn drain(&mut self, node: NodeId) {
        let mut rest = Vec::new();
        let mut facts = Vec::new();
        let state = self.nodes.get_mut(&node).expect("nodes stay");
        while let Some(output) = state.claims.as_mut().and_then(Claims::poll_output) {
            match output {
                Output::Persist(Write { key, value: Some(value), .. }) => {
                    state.disk.insert(key, value);
                }
                Output::Persist(Write { key, value: None, .. }) => {
                    state.disk.remove(&key);
                }
                Output::PutFact { kind, subject, value } => facts.push(((kind, subject), value)),
                other @ (Output::Send { .. }
                | Output::Cede { .. }
                | Output::Decided { .. }
                | Output::KeepKey(_)
                | Output::ReleaseKey(_)
                | Output::BarAttach(_)
                | Output::UnbarAttach(_)) => rest.push(other),
            }
        }
        if self.crash_after_fsync.remove(&node) {
            for (key, value) in facts {
                state.world.join(&key, &value);
            }
            state.claims = None;
            return;
        }
        for output in rest {
            self.carry_out(node, output);
        }
        for (key, value) in facts {
            self.learn(node, &key, &value);
        }
    }

    fn carry_out(&mut self, node: NodeId, output: Output) {
        let state = self.nodes.get_mut(&node).expect("nodes stay");
        match output {
            Output::Decided { id, outcome, .. } => {
                let earlier = state.decided.insert(id, outcome);
                assert_eq!(earlier, None, "claim {id} was decided twice");
            }
            // Two parts, so that one may be lost.
            Output::Cede { to, claim, answer } => {
                for part in 0..2 {
                    let facts = Vec::new();
                    let message = Message::Ceded { claim, answer, part, parts: 2, facts };
                    self.carry_out(node, Output::Send { to, message });
                }
            }
            Output::KeepKey(key) => assert!(state.world.kept.insert(key)),
            Output::ReleaseKey(key) => assert!(state.world.kept.remove(&key)),
            Output::BarAttach(network) => assert!(state.barred.insert(network)),
            Output::UnbarAttach(network) => assert!(state.barred.remove(&network)),
            Output::Send { to, message } => {
                let bytes = record::encode(&message);
                self.sent.push((node, to, message));
                let copies = 1 + u64::from(self.chance(self.faults.duplicate));
                for _ in 0..copies {
                    if !self.chance(self.faults.loss) {
                        self.enqueue(Event::Packet { from: node, to, bytes: bytes.clone() });
                    }
                }
            }
            Output::Persist(_) | Output::PutFact { .. } => {
                unreachable!("the drain has taken these")
            }
        }
    }

    fn enqueue(&mut self, event: Event) {
        let (from, to) = match &event {
            Event::Packet { from, to, .. } | Event::Fact { from, to, .. } => (*from, *to),
            Event::Attach { to, node, .. } => (*node, *to),
        };
        if self.cut.contains(&(from, to)) || !self.nodes.contains_key(&to) {
            return;
        }
        let jitter = self.rng.next_u64() % (self.faults.jitter_ms + 1);
        self.serial += 1;
        let at = self.now + Duration::from_millis(1 + jitter);
        self.queue.insert((at, self.serial), event);
    }

    fn chance(&mut self, percent: u64) -> bool {
        percent > 0 && self.rng.next_u64() % 100 < percent
    }

    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }
}

const SYNC: Duration = Duration::from_millis(100);

#[expect(clippy::disallowed_methods, reason = "virtual time starts somewhere; only sums count")]
fn start() -> Instant {
    Instant::now()
}
