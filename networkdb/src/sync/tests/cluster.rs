//! A cluster on a virtual clock: messages take time, get lost, links are cut, disks survive.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use weft_api::{Boot, NetworkId, NodeId, Space};

use crate::facts::{FactKind, Join, JoinError, Joined};
use crate::sync::*;
use crate::table::{Entry, TableEvent};

/// The join of sets of bytes: sorted, without repeats.
pub(crate) struct Union;

impl Join for Union {
    fn join(&self, current: Option<&[u8]>, incoming: &[u8]) -> Result<Joined, JoinError> {
        if incoming.contains(&0xff) {
            return Err(JoinError("0xff is in no set".into()));
        }
        let set: BTreeSet<u8> =
            current.unwrap_or_default().iter().chain(incoming).copied().collect();
        let joined: Vec<u8> = set.into_iter().collect();
        let same = current.is_some_and(|current| current == joined);
        Ok(if same { Joined::Unchanged } else { Joined::Changed(joined) })
    }
}

/// The same, of facts that are parts of a network, with whose id their subjects begin.
pub(crate) struct Part;

pub(crate) const PART: FactKind = FactKind(98);

impl Join for Part {
    fn join(&self, current: Option<&[u8]>, incoming: &[u8]) -> Result<Joined, JoinError> {
        Union.join(current, incoming)
    }

    fn network(&self, subject: &[u8]) -> Option<NetworkId> {
        subject.first_chunk().copied().map(NetworkId::from_bytes)
    }

    fn parts(&self, network: NetworkId) -> Option<Vec<u8>> {
        Some(network.as_bytes().to_vec())
    }
}

pub(crate) const NET: NetworkId = NetworkId::from_bytes([7; 16]);
pub(crate) const TABLE: &str = "t";

pub(crate) fn id(index: usize) -> NodeId {
    NodeId::from_bytes([u8::try_from(index + 1).unwrap(); 16])
}

pub(crate) fn config(index: usize) -> SyncConfig {
    let unions = (1..=7).map(|kind| (FactKind(kind), Box::new(Union) as Box<dyn Join>));
    let joins = unions.chain([(PART, Box::new(Part) as Box<dyn Join>)]).collect();
    SyncConfig {
        node: id(index),
        seed: [u8::try_from(index).unwrap(); 32],
        limits: Limits::default(),
        timing: Timing::default(),
        joins,
    }
}

/// Where the virtual clock starts.
#[expect(clippy::disallowed_methods, reason = "an Instant can only be had from a clock")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

type Disk = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

/// One node: the machine, its disk, and what it put out.
pub(crate) struct Node {
    pub(crate) sync: Sync,
    pub(crate) disk: Disk,
    pub(crate) events: Vec<TableEvent>,
    pub(crate) watched: Vec<(WatchId, TableEvent)>,
    pub(crate) others: Vec<Output>,
    pub(crate) sent: usize,
    pub(crate) pushed: usize,
}

/// All nodes, the messages under way, the clock.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Instant,
    flying: BTreeMap<(Instant, u64), (usize, usize, Message)>,
    cut: BTreeSet<(usize, usize)>,
    count: u64,
    dice: u64,
    /// Per cent of datagrams that are lost.
    pub(crate) loss: u64,
    pub(crate) configure: fn(usize) -> SyncConfig,
}

impl Cluster {
    /// `count` nodes that know each other, none attached.
    pub(crate) fn of(count: usize) -> Self {
        Self::with(count, config)
    }

    pub(crate) fn with(count: usize, configure: fn(usize) -> SyncConfig) -> Self {
        let now = epoch();
        let nodes = (0..count).map(|index| Node::start(configure(index), Disk::new(), now));
        let mut cluster = Self {
            nodes: nodes.collect(),
            now,
            flying: BTreeMap::new(),
            cut: BTreeSet::new(),
            count: 0,
            dice: 0x9e37_79b9_7f4a_7c15,
            loss: 0,
            configure,
        };
        for a in 0..count {
            for b in 0..count {
                cluster.up(a, b);
            }
        }
        cluster
    }

    /// `count` nodes attached to [`NET`], all quiet.
    pub(crate) fn attached(count: usize) -> Self {
        let mut cluster = Self::of(count);
        for index in 0..count {
            cluster.attach(index);
        }
        cluster.run(3_000);
        cluster
    }

    pub(crate) fn seed(&mut self, seed: u64) {
        self.dice ^= seed.wrapping_mul(0xff51_afd7_ed55_8ccd);
    }

    pub(crate) fn attach(&mut self, index: usize) {
        self.nodes[index].sync.attach(NET, self.now).unwrap();
        self.drain(index);
    }

    pub(crate) fn detach(&mut self, index: usize) {
        self.nodes[index].sync.detach(NET, self.now).unwrap();
        self.drain(index);
    }

    pub(crate) fn create(&mut self, index: usize, key: &str, value: &str) {
        self.nodes[index].sync.create_entry(NET, TABLE, key, value.into(), self.now).unwrap();
        self.drain(index);
    }

    pub(crate) fn update(&mut self, index: usize, key: &str, value: &str) {
        self.nodes[index].sync.update_entry(NET, TABLE, key, value.into(), self.now).unwrap();
        self.drain(index);
    }

    pub(crate) fn delete(&mut self, index: usize, key: &str) {
        self.nodes[index].sync.delete_entry(NET, TABLE, key, self.now).unwrap();
        self.drain(index);
    }

    pub(crate) fn put(&mut self, index: usize, kind: FactKind, subject: &[u8], state: &[u8]) {
        self.nodes[index].sync.put_fact(kind, subject, state, self.now).unwrap();
        self.drain(index);
    }

    pub(crate) fn value(&self, index: usize, key: &str) -> Option<String> {
        let entry = self.nodes[index].sync.entry(NET, TABLE, key)?;
        Some(String::from_utf8(entry.value.to_vec()).unwrap())
    }

    pub(crate) fn walk(&self, index: usize) -> Vec<Entry> {
        self.nodes[index].sync.walk(NET, TABLE).collect()
    }

    pub(crate) fn up(&mut self, at: usize, about: usize) {
        if at != about {
            self.tell(at, about, MemberChange::Up { boot: Boot::default() });
        }
    }

    pub(crate) fn tell(&mut self, at: usize, about: usize, change: MemberChange) {
        self.nodes[at].sync.on_member(id(about), change, self.now);
        self.drain(at);
    }

    /// Cuts every link of a node, both ways; `heal` mends it.
    pub(crate) fn isolate(&mut self, index: usize) {
        for other in 0..self.nodes.len() {
            self.cut.insert((index, other));
            self.cut.insert((other, index));
        }
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Stops a node and starts it from its disk.
    pub(crate) fn restart(&mut self, index: usize) {
        let disk = std::mem::take(&mut self.nodes[index].disk);
        self.restart_from(index, disk);
    }

    pub(crate) fn restart_from(&mut self, index: usize, disk: Disk) {
        self.nodes[index] = Node::start((self.configure)(index), disk, self.now);
        for other in 0..self.nodes.len() {
            self.up(index, other);
            self.up(other, index);
        }
    }

    /// Loses all that is under way.
    pub(crate) fn lose_flying(&mut self) {
        self.flying.clear();
    }

    /// Hands a node a message as if from another, at once.
    pub(crate) fn deliver(&mut self, from: usize, to: usize, message: Message) {
        self.nodes[to].sync.handle_message(id(from), message, self.now);
        self.drain(to);
    }

    /// Carries out what a node has put out.
    pub(crate) fn tick(&mut self, index: usize) {
        self.drain(index);
    }

    /// One node asks another whether they are equal.
    pub(crate) fn check(&mut self, index: usize, other: usize) {
        self.nodes[index].sync.check(id(other));
        self.drain(index);
    }

    /// Lets so many milliseconds pass.
    pub(crate) fn run(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        loop {
            let flight = self.flying.keys().next().map(|(at, _)| *at);
            let timers = self.nodes.iter().filter_map(|node| node.sync.poll_timeout());
            let next = timers.map(|(at, _)| at).chain(flight).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            while let Some(first) = self.flying.first_entry() {
                if first.key().0 > self.now {
                    break;
                }
                let (from, to, message) = first.remove();
                if !self.cut.contains(&(from, to)) {
                    self.deliver(from, to, message);
                }
            }
            for index in 0..self.nodes.len() {
                if self.nodes[index].sync.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                    self.nodes[index].sync.handle_timeout(self.now);
                    self.drain(index);
                }
            }
        }
        self.now = end;
    }

    fn drain(&mut self, index: usize) {
        let mut outputs = VecDeque::new();
        while let Some(output) = self.nodes[index].sync.poll_output() {
            outputs.push_back(output);
        }
        for output in outputs {
            match output {
                Output::Persist(write) => {
                    let key = (write.space, write.key);
                    match write.value {
                        Some(value) => self.nodes[index].disk.insert(key, value),
                        None => self.nodes[index].disk.remove(&key),
                    };
                }
                Output::Send { to, message, carrier } => {
                    assert!(!to.is_empty());
                    self.launch(index, &to, &message, carrier);
                }
                Output::Table(event) => self.nodes[index].events.push(event),
                Output::Watch { id, event } => self.nodes[index].watched.push((id, event)),
                other @ (Output::Fact { .. }
                | Output::PullMember { .. }
                | Output::FactsSynced(_)
                | Output::Alarm(_)
                | Output::Overflow(_)
                | Output::OwnRecordUnknown) => self.nodes[index].others.push(other),
            }
        }
    }

    fn launch(&mut self, from: usize, to: &[NodeId], message: &Message, carrier: Carrier) {
        for node in to {
            let to = usize::from(node.as_bytes()[0]) - 1;
            assert_ne!(to, from, "nobody sends to itself");
            self.nodes[from].sent += 1;
            if matches!(message, Message::Push { .. }) {
                self.nodes[from].pushed += 1;
            }
            let roll = self.roll();
            if carrier == Carrier::Datagram && roll % 100 < self.loss {
                continue;
            }
            let late = Duration::from_micros(200 + if self.loss > 0 { roll % 5_000 } else { 0 });
            self.count += 1;
            self.flying.insert((self.now + late, self.count), (from, to, message.clone()));
        }
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice >> 11
    }

    /// All nodes hold the same facts, attachments and, where attached, entries.
    pub(crate) fn assert_equal(&self) {
        let first = &self.nodes[0].sync;
        for (index, node) in self.nodes.iter().enumerate() {
            assert_eq!(node.sync.facts.root(), first.facts.root(), "facts of {index}");
            assert_eq!(node.sync.attached, first.attached, "attachments of {index}");
            for (network, shelf) in &node.sync.shelves {
                assert_eq!(shelf.hash(), shelf.recomputed_hash(), "hash of {index}");
                let mut holders = self.nodes.iter().filter(|node| node.sync.holds(*network));
                let theirs = holders.next().filter(|_| node.sync.holds(*network));
                if let Some(theirs) = theirs.map(|node| &node.sync.shelves[network]) {
                    assert_eq!(shelf.extents(), theirs.extents(), "extents of {index}");
                    let live = |shelf: &crate::table::shelf::Shelf| {
                        shelf.keys().map(|at| (at.clone(), shelf.counted(at))).collect::<Vec<_>>()
                    };
                    assert_eq!(live(shelf), live(theirs), "entries of {index}");
                }
            }
        }
    }
}

impl Node {
    pub(crate) fn start(config: SyncConfig, disk: Disk, now: Instant) -> Self {
        let restored: Vec<_> =
            disk.iter().map(|((space, key), value)| (*space, key.clone(), value.clone())).collect();
        Self {
            sync: Sync::new(config, &restored, now).unwrap(),
            disk,
            events: Vec::new(),
            watched: Vec::new(),
            others: Vec::new(),
            sent: 0,
            pushed: 0,
        }
    }
}
