//! One thing that is done, or goes wrong.

use std::time::Duration;

use ipnetwork::IpNetwork;
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use weft_api::{NetworkId, NodeId};
use weft_networkdb::Reach;

use super::knobs::{Faults, Knobs};
use crate::nodes::disk::Snapshot;
use crate::nodes::{Crash, Nodes};

/// Names that creates choose from: few, so that they meet.
const NAMES: [&str; 5] = ["red", "green", "blue", "grey", "pink"];
/// Pools that creates may ask for: some overlap.
const POOLS: [&str; 3] = ["10.9.0.0/24", "10.9.0.128/25", "10.8.0.0/28"];
/// What a rolled-back or cloned node is given to hear of it.
const HEARS: Duration = Duration::from_secs(60);
/// Disks that are remembered to be rolled back to.
const SNAPSHOTS: usize = 4;

/// A schedule under way.
pub(super) struct Turn<'a> {
    pub(super) nodes: &'a mut Nodes,
    pub(super) rng: &'a mut ChaCha8Rng,
    pub(super) knobs: &'a Knobs,
    pub(super) snapshots: Vec<(usize, NodeId, Snapshot)>,
}

impl Turn<'_> {
    pub(super) fn act(&mut self) {
        match self.rng.random_range(0..100) {
            0..12 => self.join(),
            12..28 => self.attach(),
            28..40 => self.create(),
            40..50 => self.attach(),
            50..60 => self.detach(),
            60..66 => self.delete(),
            66..76 => self.crash_or_restart(),
            76..83 => self.cut_or_heal(),
            83..85 => self.flap(),
            85..88 => self.stall(),
            88..91 => self.leave(),
            91..93 => self.forget(),
            93..95 => self.lose_disk(),
            95..98 => self.touch_disk(),
            98..99 => self.power_cut(),
            _ => self.attach(),
        }
    }

    /// A host whose agent runs as a member, and listens.
    fn member(&mut self) -> Option<usize> {
        let nodes = &self.nodes;
        let members: Vec<usize> = nodes.members().filter(|host| !nodes.is_stalled(*host)).collect();
        members.choose(self.rng).copied()
    }

    fn network(&mut self, host: usize) -> Option<NetworkId> {
        let db = self.nodes.node(host).db();
        let networks: Vec<NetworkId> = db.definitions().map(|network| network.id).collect();
        networks.choose(self.rng).copied()
    }

    fn outside(&self) -> Vec<usize> {
        let idle = |host: &usize| !self.nodes.runs(*host) && !self.nodes.is_down(*host);
        (0..self.nodes.len()).filter(idle).collect()
    }

    fn has(&self, fault: Faults) -> bool {
        fault != Faults::Never
    }

    fn join(&mut self) {
        let Some(host) = self.outside().choose(self.rng).copied() else { return self.attach() };
        if self.nodes.is_split() && !self.has(self.knobs.joins_in_splits) {
            return;
        }
        let near: Vec<usize> =
            self.nodes.members().filter(|member| self.nodes.reaches(host, *member)).collect();
        // Mostly through somebody that can be reached, sometimes through anybody.
        let seed = match near.choose(self.rng) {
            Some(seed) if self.rng.random_bool(0.9) => Some(*seed),
            _ => self.member(),
        };
        if let Some(seed) = seed {
            self.nodes.join(host, &[seed]);
        }
    }

    fn create(&mut self) {
        let Some(host) = self.member() else { return };
        let name = NAMES.choose(self.rng).copied().unwrap_or("red");
        let pool = self.pool();
        self.nodes.create(host, name, pool);
        // The same name or pool elsewhere at the same time.
        if self.has(self.knobs.concurrent)
            && self.rng.random_bool(0.4)
            && let Some(other) = self.member().filter(|other| *other != host)
        {
            self.nodes.ledger.tally.concurrent_creates += 1;
            let (name, pool) = if self.rng.random_bool(0.3) {
                (NAMES.choose(self.rng).copied().unwrap_or("red"), pool)
            } else {
                (name, self.pool())
            };
            self.nodes.create(other, name, pool);
        }
    }

    fn pool(&mut self) -> Option<IpNetwork> {
        if self.rng.random_bool(0.3) {
            POOLS.choose(self.rng).and_then(|pool| pool.parse().ok())
        } else {
            None
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
        let Some(network) = self.network(host) else { return };
        self.nodes.delete(host, network);
        if self.has(self.knobs.concurrent)
            && self.rng.random_bool(0.4)
            && let Some(other) = self.member().filter(|other| *other != host)
            && self.nodes.node(other).db().definition(network).is_some()
        {
            self.nodes.ledger.tally.concurrent_deletes += 1;
            if self.rng.random_bool(0.5) {
                self.nodes.delete(other, network);
            } else {
                self.nodes.attach(other, network);
            }
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
        if !self.has(self.knobs.crashes) {
            return;
        }
        let Some(host) = self.member() else { return };
        let told = self.rng.random_range(0..6);
        let ways = [
            Crash::Now,
            Crash::LosingUntold,
            Crash::BeforeCommit,
            Crash::Torn,
            Crash::AfterCommit,
            Crash::AfterSome(told),
        ];
        let how = ways.choose(self.rng).copied().unwrap_or(Crash::Now);
        let after = if self.rng.random_bool(0.5) { 0 } else { self.rng.random_range(0..8) };
        self.nodes.crash_at(host, after, how);
    }

    fn cut_or_heal(&mut self) {
        if self.rng.random_bool(0.4) {
            return self.nodes.heal();
        }
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        if self.rng.random_bool(0.4) {
            if self.has(self.knobs.one_way)
                && let (Some(from), Some(to)) = (all.choose(self.rng), all.choose(self.rng))
                && from != to
            {
                self.nodes.cut(*from, *to);
            }
            return;
        }
        if !self.has(self.knobs.splits) {
            return;
        }
        let side: Vec<bool> = all.iter().map(|_| self.rng.random_bool(0.5)).collect();
        let (one, other): (Vec<usize>, Vec<usize>) = all.iter().partition(|host| side[**host]);
        self.nodes.split(&one, &other);
    }

    fn flap(&mut self) {
        if self.has(self.knobs.flaps)
            && let Some(host) = self.member()
        {
            let times = self.rng.random_range(1..5);
            self.nodes.flap(host, times);
        }
    }

    fn stall(&mut self) {
        if self.has(self.knobs.stalls)
            && let Some(host) = self.member()
        {
            let span = Duration::from_millis(self.rng.random_range(200..10_000));
            self.nodes.stall(host, span);
        }
    }

    /// Whoever is down is said to be so for good; half of the hosts at once is not believed.
    fn forget(&mut self) {
        if !self.has(self.knobs.forgets) {
            return;
        }
        let down = (0..self.nodes.len()).filter(|host| self.nodes.is_down(*host));
        let mut victims: Vec<NodeId> =
            down.filter_map(|host| self.nodes.hosts[host].id()).collect();
        victims.extend(self.nodes.lost().into_keys());
        let Some(host) = self.member().filter(|_| !victims.is_empty()) else { return };
        let forced = self.has(self.knobs.force) && self.rng.random_bool(0.5);
        if forced {
            self.nodes.ledger.tally.forced += 1;
            self.nodes.ledger.allowance.forced = true;
        }
        let reach = if forced { Reach::Present } else { Reach::Everyone };
        self.nodes.forget_nodes(host, victims, reach);
    }

    fn leave(&mut self) {
        if !self.has(self.knobs.leaves) || self.nodes.members().count() < 3 {
            return;
        }
        if let Some(host) = self.member() {
            self.nodes.leave(host);
        }
    }

    /// A disk is lost, of one that is not the only one to know who owns what: that ends a cluster.
    fn lose_disk(&mut self) {
        if self.has(self.knobs.lost_disks)
            && self.nodes.members().count() > 2
            && let Some(host) = self.member()
        {
            let knows = |other: usize| self.nodes.node(other).ipam().knows_owners();
            if self.nodes.members().any(|other| other != host && knows(other)) {
                self.nodes.lose_disk(host);
            }
        }
    }

    /// Remembers a disk, to be rolled back to.
    pub(super) fn remember_disk(&mut self) {
        if self.has(self.knobs.old_disks)
            && self.snapshots.len() < SNAPSHOTS
            && self.rng.random_bool(0.3)
            && let Some(host) = self.member()
        {
            let node = self.nodes.node(host).id();
            self.snapshots.push((host, node, self.nodes.snapshot(host)));
        }
    }

    /// A disk is rolled back or cloned. A witness must be there: what is promised ends where the
    /// only one is away.
    fn touch_disk(&mut self) {
        let Some(host) = self.member() else { return };
        let (olds, clones) = (self.has(self.knobs.old_disks), self.has(self.knobs.cloned_disks));
        let roll_back = olds && (!clones || self.rng.random_bool(0.5));
        if !self.everybody_is_there() || !(roll_back || clones) {
            return;
        }
        self.nodes.heal();
        self.nodes.steady();
        self.nodes.run(HEARS);
        if !self.everybody_is_there() {
            return;
        }
        if roll_back {
            let nodes = &self.nodes;
            let is_theirs = |(host, node, _): &(usize, NodeId, Snapshot)| {
                nodes.runs(*host) && nodes.hosts[*host].id() == Some(*node)
            };
            self.snapshots.retain(is_theirs);
            self.snapshots.shuffle(self.rng);
            if let Some((host, _, snapshot)) = self.snapshots.pop() {
                self.nodes.roll_back(host, &snapshot);
            }
        } else if let Some(to) = self.outside().choose(self.rng).copied()
            && self.nodes.runs(host)
        {
            self.nodes.clone_disk(host, to);
        }
        self.nodes.run(HEARS);
    }

    fn everybody_is_there(&self) -> bool {
        let nodes = &self.nodes;
        let is_there = |host: usize| {
            let idle = !nodes.runs(host) && !nodes.is_down(host);
            idle || (nodes.runs(host) && !nodes.is_stalled(host) && !nodes.is_doomed(host))
        };
        nodes.members().count() > 2 && (0..nodes.len()).all(is_there)
    }

    fn power_cut(&mut self) {
        if self.has(self.knobs.power_cuts) {
            let pause = Duration::from_millis(self.rng.random_range(0..5000));
            self.nodes.restart_all(pause);
        }
    }
}
