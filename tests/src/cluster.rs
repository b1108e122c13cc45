//! A whole cluster on one thread and in virtual time, running the production database.
//!
//! Time jumps to the next packet or deadline. All chance comes from one seed, so a run that
//! failed is run again by giving the same seed.

mod disk;
mod host;
pub(crate) mod network;
mod restored;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weft_api::{ClusterId, NodeId};
use weft_networkdb::{Key, Limits, NetworkDb, Output, Reason, StreamInput, Timing};

pub use disk::Disk;
pub use host::{Commit, Crash, Host, StallKind};
pub use network::{Network, WideArea};

use host::Stall;
use network::Connections;

/// What happens at an instant.
#[derive(Debug)]
enum Event {
    Datagram {
        to: usize,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// For one life of a host: a later life does not get it.
    Stream {
        to: usize,
        life: u64,
        input: StreamInput,
    },
    Wake {
        host: usize,
    },
}

/// Hosts, the network between them, and the time.
pub struct Cluster {
    seed: u64,
    start: Instant,
    now: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    hosts: Vec<Host>,
    /// What the network does to packets; may be changed at any time.
    pub network: Network,
    connections: Connections,
    /// Handshakes that were refused because of their key so far.
    pub refused: u64,
    /// When the first packet arrived where the last heal mended a cut; to be cleared before it.
    pub contact: Option<Instant>,
    /// What databases were woken for so far.
    pub woken: BTreeSet<Reason>,
    rng: ChaCha8Rng,
    cluster: ClusterId,
    /// Limits of hosts started from now on.
    pub limits: Limits,
    /// Timing of hosts started from now on.
    pub timing: Timing,
}

impl Cluster {
    /// Makes a cluster without hosts.
    pub fn new(seed: u64) -> Self {
        let start = Instant::now();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut cluster = [0; 16];
        rng.fill_bytes(&mut cluster);
        Self {
            seed,
            start,
            now: start,
            events: BTreeMap::new(),
            serial: 0,
            hosts: Vec::new(),
            network: Network::default(),
            connections: Connections::default(),
            refused: 0,
            contact: None,
            woken: BTreeSet::new(),
            rng,
            cluster: ClusterId::from_bytes(cluster),
            limits: Limits::default(),
            timing: Timing::default(),
        }
    }

    /// Makes a cluster of `n` hosts that have all joined through the first and are ready.
    pub fn formed(seed: u64, n: usize) -> Self {
        let mut cluster = Self::new(seed);
        cluster.form(n);
        cluster
    }

    /// Adds `n` hosts, joins them through the first, and waits until all are ready.
    pub fn form(&mut self, n: usize) {
        for index in 0..n {
            let host = self.add();
            if index > 0 {
                self.join(host, &[0]);
            }
        }
        let all = |cluster: &Self| {
            cluster.running().all(|host| {
                cluster.db(host).is_ready() && cluster.alive(host).len() == cluster.hosts.len()
            })
        };
        self.until(Duration::from_secs(60), "the cluster forms", all);
    }

    /// Adds and starts a host: a cluster of one until it joins.
    pub fn add(&mut self) -> usize {
        let index = self.hosts.len();
        let mut id = [0; 16];
        self.rng.fill_bytes(&mut id);
        self.hosts.push(Host::new(index, NodeId::from_bytes(id)));
        self.start(index);
        index
    }

    /// Adds and starts a host that has the key of a token.
    pub fn add_with_token(&mut self, key: Key) -> usize {
        let index = self.hosts.len();
        let mut id = [0; 16];
        self.rng.fill_bytes(&mut id);
        self.hosts.push(Host::new(index, NodeId::from_bytes(id)));
        self.hosts[index].token = Some(key);
        self.start(index);
        index
    }

    /// Starts a host that is down, from its disk, in a new boot.
    pub fn start(&mut self, host: usize) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let nonce = self.rng.next_u64();
        let config = self.hosts[host].boot(self.cluster, nonce, seed, &self.limits, &self.timing);
        let restored = self.hosts[host].disk.records();
        let db = NetworkDb::new(config, restored, self.now)
            .unwrap_or_else(|e| panic!("host {host} does not start: {e} (seed {})", self.seed));
        self.hosts[host].db = Some(db);
        self.drain(host);
    }

    /// Ends a host's process without a word (kill -9).
    pub fn crash(&mut self, host: usize) {
        self.hosts[host].db = None;
        self.hosts[host].life += 1;
        for (peer, stream) in self.connections.drop_host(host) {
            let life = self.hosts[peer].life;
            let input = StreamInput::Closed { stream };
            self.schedule(
                self.now + Duration::from_millis(1),
                Event::Stream { to: peer, life, input },
            );
        }
    }

    /// Crashes a host and starts it again.
    pub fn restart(&mut self, host: usize) {
        self.crash(host);
        self.start(host);
    }

    /// Joins a host through others.
    pub fn join(&mut self, host: usize, seeds: &[usize]) {
        let seeds: Vec<SocketAddr> = seeds.iter().map(|seed| self.hosts[*seed].addr).collect();
        self.act(host, |db, now| db.join(&seeds, now));
    }

    /// Calls a host's database, then carries out what it wants.
    pub fn act<T>(&mut self, host: usize, call: impl FnOnce(&mut NetworkDb, Instant) -> T) -> T {
        let now = self.now;
        let db = self.hosts[host].db.as_mut().expect("the host runs");
        let result = call(db, now);
        self.drain(host);
        result
    }

    /// Returns a running host's database whole, as text, but for its counters.
    pub fn state(&self, host: usize) -> String {
        format!("{:?}", self.db(host))
    }

    /// Returns a running host's database.
    pub fn db(&self, host: usize) -> &NetworkDb {
        self.hosts[host].db.as_ref().expect("the host runs")
    }

    /// Returns a host.
    pub fn host(&self, host: usize) -> &Host {
        &self.hosts[host]
    }

    /// Returns a host, to change its disk while it is down.
    pub fn host_mut(&mut self, host: usize) -> &mut Host {
        &mut self.hosts[host]
    }

    /// Returns a host's id.
    pub fn node(&self, host: usize) -> NodeId {
        self.hosts[host].node
    }

    /// Returns the hosts that run.
    pub fn running(&self) -> impl Iterator<Item = usize> {
        self.hosts.iter().filter(|host| host.db.is_some()).map(|host| host.index)
    }

    /// Returns whom a host holds alive, itself included.
    pub fn alive(&self, host: usize) -> Vec<NodeId> {
        use weft_networkdb::MemberState::{Alive, Failed, Forgotten, Left, Suspect};
        self.db(host)
            .members()
            .filter(|member| match member.state {
                Alive | Suspect => true,
                Failed | Left | Forgotten => false,
            })
            .map(|member| member.id)
            .collect()
    }

    /// Returns how many streams of a host that stand were made with a key.
    pub fn streams_made_with(&self, host: usize, key: &Key) -> usize {
        self.connections.made_with_key(host, key)
    }

    /// Returns what a host put out so far, in all its lives, with the time since the start;
    /// datagrams, streams and writes are not kept.
    pub fn outputs(&self, host: usize) -> &[(Duration, Output)] {
        &self.hosts[host].seen
    }

    /// Takes what a host put out so far, as [`Cluster::outputs`] has it: long runs stay small.
    pub fn take_outputs(&mut self, host: usize) -> Vec<(Duration, Output)> {
        std::mem::take(&mut self.hosts[host].seen)
    }

    /// Stalls a host. What waits for it comes at the stall's end, in its order, as far as its
    /// socket has room.
    pub fn stall(&mut self, host: usize, kind: StallKind, span: Duration) {
        self.hosts[host].stall = Some(Stall { kind, until: self.now + span });
    }

    /// Returns the virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Returns the virtual now.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Runs for a span of virtual time.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until a condition holds, looked at after each event; returns how long it took.
    ///
    /// # Panics
    /// When it does not hold within `patience`.
    pub fn until(
        &mut self,
        patience: Duration,
        what: &str,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> Duration {
        let begin = self.now;
        while !holds(self) {
            let next = self.step(begin + patience);
            assert!(next, "not within {patience:?}: {what} (replay with seed {})", self.seed);
        }
        self.now - begin
    }
}
