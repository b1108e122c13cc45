//! A whole cluster of whole nodes on one thread and in virtual time.
//!
//! Each host runs the agent's production [`Node`] (networkdb and ipam) and
//! the overlay's planner on a fake kernel. What the agent's controller does between them is done
//! here by the module `job`: without its locks, since one thread needs none. All chance comes from
//! one seed.

mod action;
mod check;
mod crash;
mod data_path;
mod host;
mod job;
mod ledger;
pub mod schedule;
mod step;
mod trace;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weft_agent::node::Node;
use weft_api::ClusterId;
use weft_networkdb::{MemberState, StreamInput};

use crate::cluster::Network;
use crate::cluster::network::Connections;

pub use crash::Crash;
pub use ledger::Tally;

use host::{Host, Process};
use ledger::Ledger;
use trace::Trace;

/// Lines of history that a failure prints.
const HISTORY_MAX: usize = 60;

/// What happens at an instant. Streams and timers are of one life of a host.
#[derive(Debug)]
enum Event {
    Datagram { to: usize, from: SocketAddr, bytes: Vec<u8> },
    Stream { to: usize, life: u64, input: StreamInput },
    Wake { host: usize },
    Reconcile { host: usize, life: u64 },
    TablesSettled { host: usize, life: u64 },
}

/// Hosts, the network between them, and the time.
pub struct Nodes {
    seed: u64,
    start: Instant,
    now: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    hosts: Vec<Host>,
    /// What the network does to packets; may be changed at any time.
    pub network: Network,
    connections: Connections,
    rng: ChaCha8Rng,
    cluster: ClusterId,
    ledger: Ledger,
    trace: Trace,
    history: VecDeque<String>,
    /// The network was split at some time.
    was_split: bool,
    /// Whoever left could hand everything over.
    left_orderly: bool,
}

impl Nodes {
    /// Makes hosts that are in no cluster.
    pub fn new(seed: u64, hosts: usize) -> Self {
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
            hosts: (0..hosts).map(Host::new).collect(),
            network: Network::default(),
            connections: Connections::default(),
            rng,
            cluster: ClusterId::from_bytes(cluster),
            ledger: Ledger::default(),
            trace: Trace::default(),
            history: VecDeque::new(),
            was_split: false,
            left_orderly: true,
        }
    }

    /// Makes hosts that have all joined through the first and are quiet.
    pub fn formed(seed: u64, hosts: usize) -> Self {
        let mut nodes = Self::new(seed, hosts);
        nodes.init(0);
        for host in 1..hosts {
            nodes.join(host, &[0]);
        }
        nodes.quiet(Duration::from_secs(30));
        nodes
    }

    /// Returns how many hosts there are, in the cluster or not.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Tells whether there is no host.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Returns a running member's node.
    pub fn node(&self, host: usize) -> &Node {
        &self.process(host).node
    }

    /// Returns the hosts whose agents run as members.
    pub fn members(&self) -> impl Iterator<Item = usize> {
        let joined = |host: &&Host| host.process.is_some() && host.is_joined();
        self.hosts.iter().filter(joined).map(|host| host.index)
    }

    /// Tells whether a host's agent runs as a member or is about to.
    pub fn runs(&self, host: usize) -> bool {
        self.hosts[host].process.is_some()
    }

    /// Tells whether a host is a member whose agent was crashed.
    pub fn is_down(&self, host: usize) -> bool {
        self.hosts[host].process.is_none() && self.hosts[host].is_joined()
    }

    /// Returns how many members a host holds for failed.
    pub fn failed_in(&self, host: usize) -> usize {
        let members = self.node(host).db().members();
        members.filter(|member| member.state == MemberState::Failed).count()
    }

    /// Returns what was counted so far.
    pub fn tally(&self) -> Tally {
        self.ledger.tally
    }

    /// Returns a digest of every byte that was put out so far, and when.
    pub fn trace(&self) -> u64 {
        self.trace.digest()
    }

    /// Splits the network into two halves.
    pub fn split(&mut self, one: &[usize], other: &[usize]) {
        self.note(format!("split {one:?} from {other:?}"));
        self.was_split = true;
        self.network.split(one, other);
    }

    /// Cuts one direction between two hosts.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.note(format!("cut {from} to {to}"));
        self.was_split = true;
        self.network.cut(from, to);
    }

    /// Mends all cuts.
    pub fn heal(&mut self) {
        self.note("heal");
        self.network.heal();
    }

    /// Returns the virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Runs for a span of virtual time.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until a condition holds, looked at every 50 ms; returns how long it took.
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
            if self.now - begin >= patience {
                self.fail(&format!("not within {patience:?}: {what}"));
            }
            self.run(Duration::from_millis(50));
        }
        self.now - begin
    }

    /// Runs until nothing is out of step any more; returns how long it took.
    ///
    /// # Panics
    /// When something still is after `patience`.
    pub fn quiet(&mut self, patience: Duration) -> Duration {
        let begin = self.now;
        while let Some(discord) = self.discord() {
            if self.now - begin >= patience {
                self.fail(&format!("not quiet after {patience:?}: {discord}"));
            }
            self.run(Duration::from_millis(200));
        }
        self.now - begin
    }

    fn process(&self, host: usize) -> &Process {
        self.hosts[host].process.as_ref().expect("the host runs")
    }

    fn process_mut(&mut self, host: usize) -> &mut Process {
        self.hosts[host].process.as_mut().expect("the host runs")
    }

    fn note(&mut self, line: impl Into<String>) {
        if self.history.len() >= HISTORY_MAX {
            self.history.pop_front();
        }
        let line = format!("{:>9.3} {}", self.elapsed().as_secs_f64(), line.into());
        self.history.push_back(line);
    }

    /// Ends the run: an invariant does not hold.
    fn fail(&self, what: &str) -> ! {
        let history: Vec<&str> = self.history.iter().map(String::as_str).collect();
        panic!(
            "seed {}: {what}\nreplay: cargo run -p weft-tests --bin sim -- --seed {}\n{}",
            self.seed,
            self.seed,
            history.join("\n")
        );
    }
}
