//! A cluster in memory: machines, their disks, a wire that loses, doubles and reorders, and facts
//! that spread by push and by anti-entropy. It obeys the durability law as the agent does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use weft_api::{Definition, EndpointId, NetworkId, NodeId, Stamp, Subnet, Vni};

use crate::interval::width;
use crate::machine::{Config, Ipam};
use crate::output::{FactKind, Output};
use crate::ranges::Ranges;
use crate::record::Key;
use crate::request::{Block, BlockWant, Granted, Purpose, Request, Ticket, Want};
use crate::space::{BlockPool, ClusterPools, Space};
use crate::{Error, join_allocations, join_ranges};

pub(super) type Answer = Result<Granted, Error>;

/// Where the next crash of a node happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    /// Nothing of the drain is durable, nothing was sent.
    BeforeCommit,
    /// All of it is durable, nothing was sent.
    AfterCommit,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Disk {
    pub(super) facts: BTreeMap<(FactKind, Vec<u8>), Vec<u8>>,
    pub(super) records: BTreeMap<Vec<u8>, Vec<u8>>,
}

pub(super) struct Node {
    pub(super) disk: Disk,
    /// `None` while it is down.
    pub(super) ipam: Option<Ipam>,
    pub(super) crash: Option<Crash>,
    left: bool,
}

#[derive(Debug, Clone)]
enum Payload {
    Message(usize, Vec<u8>),
    Fact(FactKind, Vec<u8>, Vec<u8>),
}

pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    pub(super) now: Instant,
    wire: BTreeMap<(Instant, u64), (usize, Payload)>,
    sent: u64,
    random: u64,
    /// Of a thousand packets, how many are lost, and how many arrive twice.
    pub(super) loss: u64,
    pub(super) duplicate: u64,
    /// Facts wait for anti-entropy instead of being pushed.
    pub(super) no_push: bool,
    /// No packets at all between live nodes of different halves.
    pub(super) halves: Option<BTreeSet<usize>>,
    next_sync: Instant,
    tickets: u64,
    pub(super) answers: BTreeMap<Ticket, Answer>,
    pub(super) leave_done: BTreeMap<usize, Vec<NodeId>>,
    pub(super) alarms: Vec<String>,
    /// Who holds what, by the durable records of all nodes.
    holders: BTreeMap<(Space, u128), (usize, EndpointId)>,
    released: BTreeMap<(Space, u128), Instant>,
    /// What may be bound to no endpoint.
    pub(super) in_use: BTreeSet<(Space, u128)>,
    /// Who was granted which block.
    pub(super) blocks: BTreeMap<Block, usize>,
}

pub(super) fn id(n: usize) -> NodeId {
    NodeId::from_bytes([u8::try_from(n + 1).unwrap(); 16])
}

pub(super) fn endpoint(n: u64) -> EndpointId {
    let mut bytes = [0xee; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    EndpointId::from_bytes(bytes)
}

pub(super) fn definition(n: u8, creator: usize, pool: &str) -> Definition {
    let subnet = Subnet {
        pool: pool.parse().unwrap(),
        gateway: None,
        range: None,
        auxiliary: BTreeMap::new(),
        vni: Vni::new(8_388_608 + u32::from(n)).unwrap(),
    };
    Definition {
        id: NetworkId::from_bytes([n; 16]),
        name: format!("net{n}"),
        driver: "overlay".into(),
        ipam: "weft".into(),
        subnets: vec![subnet],
        options: BTreeMap::new(),
        mtu: None,
        internal: false,
        stamp: Stamp { lamport: 1, node: id(creator) },
    }
}

pub(super) fn space_of(definition: &Definition) -> Space {
    Space::Subnet { network: definition.id, pool: definition.subnets[0].pool }
}

pub(super) fn pools() -> ClusterPools {
    let pool = |pool: &str, block_prefix| BlockPool { pool: pool.parse().unwrap(), block_prefix };
    ClusterPools {
        vnis: 8_388_608..=16_777_215,
        default4: pool("10.128.0.0/9", 20),
        default6: pool("fd00:77::/48", 64),
    }
}

#[expect(clippy::disallowed_methods, reason = "the start of virtual time has no other source")]
fn origin() -> Instant {
    Instant::now()
}

impl Cluster {
    /// `n` live and ready nodes that know each other.
    pub(super) fn new(n: usize, seed: u64) -> Self {
        let now = origin();
        let node = |_| Node { disk: Disk::default(), ipam: None, crash: None, left: false };
        let mut cluster = Self {
            nodes: (0..n).map(node).collect(),
            now,
            wire: BTreeMap::new(),
            sent: 0,
            random: seed.wrapping_mul(2).wrapping_add(1),
            loss: 0,
            duplicate: 0,
            no_push: false,
            halves: None,
            next_sync: now + Duration::from_secs(1),
            tickets: 0,
            answers: BTreeMap::new(),
            leave_done: BTreeMap::new(),
            alarms: Vec::new(),
            holders: BTreeMap::new(),
            released: BTreeMap::new(),
            in_use: BTreeSet::new(),
            blocks: BTreeMap::new(),
        };
        for i in 0..n {
            cluster.start(i);
        }
        cluster
    }

    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    // ---- life and death

    pub(super) fn boot(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        let facts = node.disk.facts.iter().map(|((k, s), b)| (*k, s.clone(), b.clone()));
        let mut config = Config::new(id(i), [7; 32]);
        // No multiple of the other times, so that each deadline stands alone.
        config.leave_timeout = Duration::from_millis(9700);
        let ipam = Ipam::new(config, facts, node.disk.records.clone(), self.now).unwrap();
        (node.ipam, node.crash) = (Some(ipam), None);
        self.drain(i);
    }

    /// Boots, syncs facts with everyone alive, and is ready.
    pub(super) fn start(&mut self, i: usize) {
        self.boot(i);
        self.members_changed();
        for j in self.live() {
            self.sync(i, j);
        }
        self.act(i, |ipam, now| ipam.on_ready(now));
    }

    pub(super) fn kill(&mut self, i: usize) {
        self.nodes[i].ipam = None;
        self.members_changed();
    }

    pub(super) fn live(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&i| self.is_live(i)).collect()
    }

    pub(super) fn is_live(&self, i: usize) -> bool {
        self.nodes[i].ipam.is_some() && !self.nodes[i].left
    }

    fn reach(&self, i: usize, j: usize) -> bool {
        self.halves.as_ref().is_none_or(|half| half.contains(&i) == half.contains(&j))
    }

    pub(super) fn members_changed(&mut self) {
        for i in self.live() {
            let alive: Vec<NodeId> =
                self.live().into_iter().filter(|&j| self.reach(i, j)).map(id).collect();
            self.act(i, |ipam, now| ipam.on_members(&alive, now));
        }
    }

    pub(super) fn remove(&mut self, i: usize) {
        self.nodes[i].left = true;
        self.members_changed();
    }

    /// A node is gone for good, and what it held with it.
    pub(super) fn bury(&mut self, i: usize) {
        self.kill(i);
        self.remove(i);
        let now = self.now;
        let held = self.holders.extract_if(.., |_, (holder, _)| *holder == i);
        self.released.extend(held.map(|(at, _)| (at, now)));
    }

    // ---- driving

    /// Does something to a node and carries out what comes of it.
    pub(super) fn act<T>(
        &mut self,
        i: usize,
        act: impl FnOnce(&mut Ipam, Instant) -> T,
    ) -> Option<T> {
        let now = self.now;
        let result = act(self.nodes[i].ipam.as_mut()?, now);
        self.drain(i);
        Some(result)
    }

    /// Starts a request at a node.
    pub(super) fn submit(&mut self, i: usize, request: Request) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.act(i, |ipam, now| ipam.request(ticket, request, now));
        ticket
    }

    /// Requests any address for an endpoint, and runs until the answer is there.
    pub(super) fn any(&mut self, i: usize, space: Space, e: u64) -> Answer {
        let purpose = Purpose::Endpoint(endpoint(e));
        self.ask(i, Request { space, want: Want::First, within: None, purpose })
    }

    /// Requests a certain address for an endpoint.
    pub(super) fn exact(&mut self, i: usize, space: Space, address: &str, e: u64) -> Answer {
        let purpose = Purpose::Endpoint(endpoint(e));
        let want = Want::Exact(address.parse().unwrap());
        self.ask(i, Request { space, want, within: None, purpose })
    }

    pub(super) fn ask(&mut self, i: usize, request: Request) -> Answer {
        let ticket = self.submit(i, request);
        self.answer(ticket)
    }

    pub(super) fn take(&mut self, i: usize, want: BlockWant, avoid: &[&str]) -> Answer {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let avoid: Vec<_> = avoid.iter().map(|prefix| prefix.parse().unwrap()).collect();
        self.act(i, |ipam, now| ipam.take_block(ticket, want, &avoid, now));
        self.answer(ticket)
    }

    pub(super) fn answer(&mut self, ticket: Ticket) -> Answer {
        for _ in 0..100_000 {
            if let Some(answer) = self.answers.remove(&ticket) {
                return answer;
            }
            self.step();
        }
        panic!("{ticket:?} was never answered");
    }

    pub(super) fn release(&mut self, i: usize, space: Space, address: IpAddr, e: u64) {
        self.act(i, |ipam, now| {
            ipam.release(space, address, &Purpose::Endpoint(endpoint(e)), now);
        });
    }

    /// Lets virtual time pass.
    /// Hands an address on; what is handed on is not bound twice.
    pub(super) fn rebind(
        &mut self,
        i: usize,
        space: Space,
        address: IpAddr,
        from: u64,
        to: u64,
    ) -> bool {
        let at = space.offset(address).unwrap();
        let holder = self.holders.remove(&(space, at));
        let (from, to) = (endpoint(from), endpoint(to));
        let rebound = self.act(i, |ipam, _| ipam.rebind(space, address, from, to)).unwrap();
        if let (false, Some(holder)) = (rebound, holder) {
            self.holders.insert((space, at), holder);
        }
        rebound
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.next_event() <= end {
            self.step();
        }
        self.now = end;
    }

    fn next_event(&self) -> Instant {
        let packet = self.wire.keys().next().map(|key| key.0);
        let timers = self.nodes.iter().filter(|node| !node.left);
        let timers = timers.filter_map(|n| n.ipam.as_ref()?.poll_timeout()).map(|t| t.0);
        timers.chain(packet).chain([self.next_sync]).min().unwrap_or(self.next_sync)
    }

    /// Goes to the next event and lets it happen.
    pub(super) fn step(&mut self) {
        self.now = self.now.max(self.next_event());
        while let Some((&key, _)) = self.wire.iter().next().filter(|(key, _)| key.0 <= self.now) {
            let (to, payload) = self.wire.remove(&key).unwrap();
            self.deliver(to, payload);
        }
        for i in self.live() {
            let due = self.nodes[i].ipam.as_ref().and_then(Ipam::poll_timeout);
            if due.is_some_and(|(at, _)| at <= self.now) {
                self.act(i, |ipam, now| ipam.handle_timeout(now));
            }
        }
        if self.next_sync <= self.now {
            self.next_sync = self.now + Duration::from_secs(1);
            let live = self.live();
            for &i in &live {
                let pick = self.random(live.len() as u64);
                self.sync(i, live[usize::try_from(pick).unwrap()]);
            }
        }
    }

    /// Two nodes tell each other all facts.
    pub(super) fn sync(&mut self, i: usize, j: usize) {
        if i == j || !self.is_live(i) || !self.is_live(j) || !self.reach(i, j) {
            return;
        }
        for (from, to) in [(i, j), (j, i)] {
            for ((kind, subject), bytes) in self.nodes[from].disk.facts.clone() {
                self.deliver(to, Payload::Fact(kind, subject, bytes));
            }
        }
    }

    fn deliver(&mut self, to: usize, payload: Payload) {
        if !self.is_live(to) {
            return;
        }
        match payload {
            Payload::Message(from, bytes) => {
                self.act(to, |ipam, now| ipam.handle_message(id(from), &bytes, now));
            }
            Payload::Fact(kind, subject, bytes) => {
                let Some(full) = self.put(to, kind, &subject, &bytes) else { return };
                if self.nodes[to].crash.take().is_some() {
                    return self.kill(to);
                }
                self.act(to, |ipam, now| ipam.handle_fact(kind, &subject, &full, now));
            }
        }
    }

    /// Joins a fact into a node's disk; the full bytes when that changed them.
    fn put(&mut self, i: usize, kind: FactKind, subject: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
        let key = (kind, subject.to_vec());
        let facts = &mut self.nodes[i].disk.facts;
        let current = facts.get(&key).map(Vec::as_slice);
        let full = match kind {
            FactKind::Ranges => join_ranges(current, delta),
            FactKind::Allocation => join_allocations(current, delta),
        };
        let full = full.unwrap()?;
        facts.insert(key, full.clone());
        Some(full)
    }

    fn drain(&mut self, i: usize) {
        let Some(ipam) = self.nodes[i].ipam.as_mut() else { return };
        let outputs: Vec<Output> = std::iter::from_fn(|| ipam.poll_output()).collect();
        let crash = if outputs.is_empty() { None } else { self.nodes[i].crash.take() };
        if crash == Some(Crash::BeforeCommit) {
            return self.kill(i);
        }
        let mut changed = Vec::new();
        let mut rest = Vec::new();
        for output in outputs {
            match output {
                Output::Persist(write) => self.persist(i, &write.key, write.value),
                Output::Fact { kind, subject, delta } => {
                    if let Some(full) = self.put(i, kind, &subject, &delta) {
                        changed.push((kind, subject, delta, full));
                    }
                }
                output @ (Output::Message { .. }
                | Output::Done { .. }
                | Output::Alarm(_)
                | Output::LeaveDone { .. }) => rest.push(output),
            }
        }
        if crash == Some(Crash::AfterCommit) {
            return self.kill(i);
        }
        for (kind, subject, delta, full) in changed {
            let hearers = if self.no_push { 0 } else { self.nodes.len() };
            for j in (0..hearers).filter(|&j| j != i) {
                self.transmit(i, j, Payload::Fact(kind, subject.clone(), delta.clone()));
            }
            self.act(i, |ipam, now| ipam.handle_fact(kind, &subject, &full, now));
        }
        for output in rest {
            self.carry_out(i, output);
        }
    }

    fn carry_out(&mut self, i: usize, output: Output) {
        match output {
            Output::Message { to, bytes } => {
                let to = (0..self.nodes.len()).find(|&j| id(j) == to).unwrap();
                self.transmit(i, to, Payload::Message(i, bytes));
            }
            Output::Done { ticket, result } => {
                if let Ok(Granted::Block(block)) = &result {
                    let before = self.blocks.insert(*block, i);
                    assert_eq!(before, None, "{block:?} was taken twice");
                }
                assert_eq!(self.answers.insert(ticket, result), None, "{ticket:?} done twice");
            }
            Output::Alarm(alarm) => self.alarms.push(format!("node {i}: {alarm}")),
            Output::LeaveDone { unacknowledged } => {
                self.leave_done.insert(i, unacknowledged);
            }
            Output::Persist(_) | Output::Fact { .. } => unreachable!("taken before"),
        }
    }

    /// Writes a record, and judges: no address is bound twice, none before it has rested.
    fn persist(&mut self, i: usize, key: &[u8], value: Option<Vec<u8>>) {
        if let Some(Key::Endpoint(space, at)) = Key::parse(key) {
            match &value {
                Some(bytes) => {
                    let bound: crate::record::Bound = crate::codec::decode(bytes).unwrap();
                    let before = self.holders.insert((space, at), (i, bound.endpoint));
                    assert_eq!(before, None, "{} is bound twice", space.show(at));
                    let rested = self
                        .released
                        .get(&(space, at))
                        .is_none_or(|released| self.now >= *released + Duration::from_secs(60));
                    assert!(rested, "{} is bound before it has rested", space.show(at));
                    assert!(!self.in_use.contains(&(space, at)), "{} is taken", space.show(at));
                }
                None => {
                    self.holders.remove(&(space, at));
                    self.released.insert((space, at), self.now);
                }
            }
        }
        let records = &mut self.nodes[i].disk.records;
        match value {
            Some(value) => records.insert(key.to_vec(), value),
            None => records.remove(key),
        };
    }

    fn transmit(&mut self, from: usize, to: usize, payload: Payload) {
        if !self.reach(from, to) {
            return;
        }
        let twice = self.random(1000) < self.duplicate;
        for _ in 0..=u8::from(twice) {
            if self.random(1000) < self.loss {
                continue;
            }
            let delay = Duration::from_micros(200 + self.random(3000));
            self.sent += 1;
            self.wire.insert((self.now + delay, self.sent), (to, payload.clone()));
        }
    }

    /// What was sent and not delivered is lost.
    pub(super) fn lose_wire(&mut self) {
        self.wire.clear();
    }

    // ---- judging

    pub(super) fn define(&mut self, definition: &Definition) -> Space {
        for i in self.live() {
            self.act(i, |ipam, now| ipam.on_definition(definition, now));
        }
        self.run(Duration::from_millis(50));
        space_of(definition)
    }

    pub(super) fn owners(&self, i: usize, space: Space) -> BTreeMap<NodeId, u128> {
        let bytes = &self.nodes[i].disk.facts[&(FactKind::Ranges, space.subject())];
        let Ranges::Marked(marks) = Ranges::decode(bytes).unwrap() else {
            return BTreeMap::new();
        };
        let mut owners = BTreeMap::new();
        for (low, high, mark) in marks.iter() {
            *owners.entry(mark.owner).or_default() += width(low, high);
        }
        owners
    }

    /// Everyone agrees, every integer of the space has an owner, and nobody raised an alarm.
    pub(super) fn assert_partition(&mut self, space: Space) {
        let live = self.live();
        for &i in &live {
            for &j in &live {
                self.sync(i, j);
            }
        }
        let subject = (FactKind::Ranges, space.subject());
        for &i in &live {
            let theirs = self.nodes[i].disk.facts.get(&subject);
            assert_eq!(theirs, self.nodes[live[0]].disk.facts.get(&subject), "node {i}");
            let mine = self.nodes[i].ipam.as_ref().unwrap().pools[&space].marks.clone();
            assert_eq!(Some(&crate::ranges::encode_marks(&mine)), theirs, "node {i}");
        }
        let (low, high) = space.bounds();
        let total: u128 = self.owners(live[0], space).values().sum();
        assert_eq!(total, width(low, high));
        assert_eq!(self.alarms, Vec::<String>::new());
    }

    pub(super) fn bound(&self, space: Space) -> usize {
        self.holders.keys().filter(|key| key.0 == space).count()
    }
}

pub(super) fn address(answer: &Answer) -> IpAddr {
    match answer {
        Ok(Granted::Address(address)) => address.ip(),
        other => panic!("no address: {other:?}"),
    }
}
