//! Random schedules: what is done and what goes wrong, all from one seed.

use std::time::Duration;

use ipnetwork::IpNetwork;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weft_api::NetworkId;
use weft_networkdb::{Member, MemberState, Reach};

use super::{Crash, Nodes, Tally};

/// Names that creates choose from: few, so that they meet.
const NAMES: [&str; 5] = ["red", "green", "blue", "grey", "pink"];
/// Pools that creates may ask for: some overlap.
const POOLS: [&str; 3] = ["10.9.0.0/24", "10.9.0.128/25", "10.8.0.0/28"];
/// How long a cluster may take to be quiet after all is mended. A lost member is greeted every 8 s
/// at the latest, a range's owner asked for up to 10 s, and a release rests for 20 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a schedule may contain.
#[derive(Debug, Clone, Copy)]
pub struct Knobs {
    /// How many things are done.
    pub actions: u32,
    /// Loss of datagrams that a schedule may choose, in 0..=1.
    pub loss: f64,
    /// Doubled datagrams that a schedule may choose, in 0..=1.
    pub duplicate: f64,
    /// Jitter that a schedule may choose: packets overtake each other.
    pub jitter: Duration,
    /// Whether agents crash.
    pub crashes: Faults,
    /// Whether the network splits, both ways or one way.
    pub splits: Faults,
    /// Whether nodes leave.
    pub leaves: Faults,
    /// Whether crashed nodes are forgotten; some return all the same.
    pub forgets: Faults,
}

/// Whether a kind of fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    /// It does not.
    Never,
    /// Now and then.
    Sometimes,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            actions: 40,
            loss: 0.3,
            duplicate: 0.2,
            jitter: Duration::from_millis(40),
            crashes: Faults::Sometimes,
            splits: Faults::Sometimes,
            leaves: Faults::Sometimes,
            forgets: Faults::Sometimes,
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Counts.
    pub tally: Tally,
    /// Digest of every byte put out, and when.
    pub trace: u64,
    /// Hosts there were.
    pub hosts: usize,
    /// How long it took to be quiet once all was mended.
    pub quiet_after: Duration,
    /// Virtual time in all.
    pub elapsed: Duration,
}

/// Runs one seed: 3 to 7 hosts, forty actions, then peace.
///
/// # Panics
/// When an invariant does not hold; the message says how to replay it.
pub fn run(seed: u64, knobs: &Knobs) -> Report {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let hosts = rng.random_range(3..=7);
    let mut nodes = Nodes::new(seed, hosts);
    nodes.network.loss = knobs.loss * rng.random::<f64>();
    nodes.network.duplicate = knobs.duplicate * rng.random::<f64>();
    nodes.network.jitter = knobs.jitter.mul_f64(rng.random());
    nodes.init(0);
    nodes.run(millis(rng.random_range(0..200)));
    for _ in 0..knobs.actions {
        Turn { nodes: &mut nodes, rng: &mut rng, knobs }.act();
        let pause = if rng.random_bool(0.2) { 4000 } else { 600 };
        nodes.run(millis(rng.random_range(0..pause)));
    }
    nodes.mend();
    let quiet_after = nodes.quiet(PATIENCE);
    Report {
        tally: nodes.tally(),
        trace: nodes.trace(),
        hosts,
        quiet_after,
        elapsed: nodes.elapsed(),
    }
}

impl Nodes {
    /// Ends all faults: the network is whole, crashed agents start, and endpoints that run on in
    /// deleted networks are detached, as an operator would.
    pub fn mend(&mut self) {
        self.note("mend");
        self.network.heal();
        self.network.loss = 0.0;
        self.network.duplicate = 0.0;
        for host in 0..self.len() {
            self.hosts[host].doom = None;
            if self.is_down(host) {
                self.restart(host);
            }
        }
        // Long enough for halves to meet and for all to hear which networks are deleted.
        self.run(Duration::from_secs(20));
        self.set_lost_aside();
        for host in 0..self.len() {
            for (endpoint, network) in self.endpoints(host) {
                if self.node(host).db().is_deleted(network) {
                    self.detach(host, endpoint);
                }
            }
        }
    }
}

impl Nodes {
    /// A forgotten host that knows nobody who is still a member cannot be told: its operator does
    /// what it would do itself.
    fn set_lost_aside(&mut self) {
        for host in 0..self.len() {
            let Some(id) = self.hosts[host].id().filter(|_| self.runs(host)) else { continue };
            let alive = |member: &Member| member.id != id && member.state == MemberState::Alive;
            let is_alone = !self.node(host).db().members().any(alive);
            let forgets = |other: usize| {
                let member = self.node(other).db().member(id);
                member.is_some_and(|member| member.state == MemberState::Forgotten)
            };
            let is_forgotten = self.members().any(|other| other != host && forgets(other));
            if is_alone && is_forgotten {
                self.note(format!("host {host} is forgotten and knows nobody"));
                self.end_membership(host);
            }
        }
    }
}

/// One thing to do.
struct Turn<'a> {
    nodes: &'a mut Nodes,
    rng: &'a mut ChaCha8Rng,
    knobs: &'a Knobs,
}

impl Turn<'_> {
    fn act(mut self) {
        let outside: Vec<usize> = (0..self.nodes.len())
            .filter(|host| !self.nodes.runs(*host) && !self.nodes.is_down(*host))
            .collect();
        match self.rng.random_range(0..100) {
            0..15 if !outside.is_empty() => self.join(&outside),
            0..30 => self.attach(),
            30..45 => self.create(),
            45..60 => self.attach(),
            60..70 => self.detach(),
            70..75 => self.delete(),
            75..85 => self.crash_or_restart(),
            85..94 => self.cut_or_heal(),
            94..97 => self.leave(),
            97..99 => self.forget(),
            _ => self.attach(),
        }
    }

    fn member(&mut self) -> Option<usize> {
        let members: Vec<usize> = self.nodes.members().collect();
        members.choose(self.rng).copied()
    }

    fn network(&mut self, host: usize) -> Option<NetworkId> {
        let db = self.nodes.node(host).db();
        let networks: Vec<NetworkId> = db.definitions().map(|network| network.id).collect();
        networks.choose(self.rng).copied()
    }

    fn join(&mut self, outside: &[usize]) {
        let Some(seed) = self.member() else { return };
        if let Some(host) = outside.choose(self.rng) {
            self.nodes.join(*host, &[seed]);
        }
    }

    fn create(&mut self) {
        let Some(host) = self.member() else { return };
        let name = NAMES.choose(self.rng).copied().unwrap_or("red");
        let pool: Option<IpNetwork> = if self.rng.random_bool(0.3) {
            POOLS.choose(self.rng).and_then(|pool| pool.parse().ok())
        } else {
            None
        };
        self.nodes.create(host, name, pool);
        // The same name elsewhere at the same time.
        if self.rng.random_bool(0.3)
            && let Some(other) = self.member()
        {
            self.nodes.create(other, name, None);
        }
    }

    fn attach(&mut self) {
        let Some(host) = self.member() else { return };
        if let Some(network) = self.network(host) {
            self.nodes.attach(host, network);
        }
    }

    fn detach(&mut self) {
        let Some(host) = self.member() else { return };
        if let Some((endpoint, _)) = self.nodes.endpoints(host).choose(self.rng) {
            self.nodes.detach(host, *endpoint);
        }
    }

    fn delete(&mut self) {
        let Some(host) = self.member() else { return };
        if let Some(network) = self.network(host) {
            self.nodes.delete(host, network);
        }
    }

    fn crash_or_restart(&mut self) {
        let down: Vec<usize> =
            (0..self.nodes.len()).filter(|host| self.nodes.is_down(*host)).collect();
        if let Some(host) = down.choose(self.rng)
            && self.rng.random_bool(0.6)
        {
            return self.nodes.restart(*host);
        }
        if self.knobs.crashes == Faults::Never {
            return;
        }
        let Some(host) = self.member() else { return };
        let ways = [Crash::Now, Crash::LosingUntold, Crash::BeforeCommit, Crash::AfterCommit];
        let how = ways.choose(self.rng).copied().unwrap_or(Crash::Now);
        self.nodes.crash(host, how);
    }

    fn cut_or_heal(&mut self) {
        if self.rng.random_bool(0.4) || self.knobs.splits == Faults::Never {
            return self.nodes.heal();
        }
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        if self.rng.random_bool(0.4) {
            let (from, to) = (all.choose(self.rng), all.choose(self.rng));
            if let (Some(from), Some(to)) = (from, to) {
                self.nodes.cut(*from, *to);
            }
            return;
        }
        let side: Vec<bool> = all.iter().map(|_| self.rng.random_bool(0.5)).collect();
        let (one, other): (Vec<usize>, Vec<usize>) = all.iter().partition(|host| side[**host]);
        self.nodes.split(&one, &other);
    }

    /// Whoever is down is said to be so for good; half of the hosts at once is not believed.
    fn forget(&mut self) {
        if self.knobs.forgets == Faults::Never {
            return;
        }
        let down = (0..self.nodes.len()).filter(|host| self.nodes.is_down(*host));
        let down: Vec<usize> = down.collect();
        let Some(host) = self.member().filter(|_| !down.is_empty()) else { return };
        self.nodes.forget(host, &down, Reach::Everyone);
    }

    fn leave(&mut self) {
        if self.knobs.leaves == Faults::Never || self.nodes.members().count() < 3 {
            return;
        }
        if let Some(host) = self.member() {
            // A gift that arrives after the hand-over stays with the leaver until it is forgotten.
            self.nodes.left_orderly = false;
            self.nodes.leave(host);
        }
    }
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
