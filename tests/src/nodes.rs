//! A whole cluster of whole nodes on one thread and in virtual time.
//!
//! Each host runs the agent's production [`Node`] (networkdb and ipam) and
//! the overlay's planner on a fake kernel. What the agent's controller does between them is done
//! here by the module `job`: without its locks, since one thread needs none. All chance comes from
//! one seed.

mod action;
mod check;
mod claim;
mod clock;
mod crash;
mod data_path;
mod diagram;
mod disk;
mod fault;
mod frames;
mod host;
mod invariant;
mod job;
mod ledger;
mod mend;
mod model;
mod mutation;
pub mod schedule;
mod step;
pub mod sweep;
mod tally;
mod trace;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
pub use invariant::{Failure, Invariant, Violation};
pub use mutation::Mutation;
pub use tally::Tally;

use diagram::{Diagram, Kind};
use host::{Host, Process};
use invariant::Check;
use ledger::Ledger;
use mutation::Planted;
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
    Flap { host: usize, left: u32 },
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
    diagram: Diagram,
    planted: Planted,
    /// Hosts that flap and are off the network.
    off: BTreeSet<usize>,
    /// Groups that the network is split into.
    sides: Vec<Vec<usize>>,
    /// The most that a clock is wrong, in parts in a million.
    drift_ppm: u32,
    /// Whether a failure is told by whoever caught it.
    is_watched: bool,
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
            diagram: Diagram::default(),
            planted: Planted::default(),
            off: BTreeSet::new(),
            sides: Vec::new(),
            drift_ppm: 0,
            is_watched: false,
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

    /// Plants a bug.
    pub fn plant(&mut self, mutation: Mutation) {
        self.planted.mutation = Some(mutation);
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
                let what = format!("not within {patience:?}: {what}");
                self.break_off(Invariant::NodesEqualModel, what);
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
                let what = format!("not quiet after {patience:?}: {}", discord.what);
                self.break_off(discord.invariant, what);
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

    /// What a host's own clock shows.
    fn local(&self, host: usize) -> Instant {
        self.hosts[host].clock.shows(self.start, self.now)
    }

    fn note(&mut self, line: impl Into<String>) {
        self.write_down(None, line.into());
    }

    fn note_on(&mut self, host: usize, line: impl Into<String>) {
        self.write_down(Some(host), line.into());
    }

    fn write_down(&mut self, host: Option<usize>, text: String) {
        if self.history.len() >= HISTORY_MAX {
            self.history.pop_front();
        }
        let at = self.elapsed();
        let on = host.map(|host| format!("host {host}: ")).unwrap_or_default();
        self.history.push_back(format!("{:>9.3} {on}{text}", at.as_secs_f64()));
        self.diagram.add(at, Kind::Note { host, text });
    }

    /// Ends the run where something does not hold.
    fn hold(&self, check: Check) {
        if let Err(Violation { invariant, what }) = check {
            self.break_off(invariant, what);
        }
    }

    /// Ends the run: an invariant does not hold.
    fn break_off(&self, invariant: Invariant, what: String) -> ! {
        let violation = Violation::new(invariant, what);
        if self.is_watched {
            std::panic::resume_unwind(Box::new(violation));
        }
        panic!("{}", self.failure(violation));
    }

    /// Tells how it came to something that does not hold.
    fn failure(&self, violation: Violation) -> Failure {
        let hosts = 0..self.hosts.len();
        let named = hosts.filter(|host| {
            let words = format!("host {host}");
            violation.what.match_indices(&words).any(|(at, _)| {
                let next = violation.what[at + words.len()..].chars().next();
                !next.is_some_and(|c| c.is_ascii_digit())
            })
        });
        let diagram = self.diagram.draw(&named.collect());
        let history = self.history.iter().cloned().collect();
        Failure { seed: self.seed, violation, history, diagram }
    }
}
