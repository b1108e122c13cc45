//! What goes wrong with hosts and with what lies between them.

use std::time::Duration;

use rand::RngExt;

use super::clock::Clock;
use super::{Event, Nodes};

/// How long a flapping host is off or on the network.
const FLAP_MS: std::ops::Range<u64> = 100..2500;

impl Nodes {
    /// Members may hold each other for dead from now on, and go on without each other.
    pub(super) fn parted(&mut self) {
        if !self.planted.is(super::Mutation::UnseenSplit) {
            self.ledger.allowance.parted = true;
        }
    }

    /// Splits the network into two halves.
    pub fn split(&mut self, one: &[usize], other: &[usize]) {
        self.note(format!("split {one:?} from {other:?}"));
        self.parted();
        self.ledger.tally.splits += 1;
        self.sides = vec![one.to_vec(), other.to_vec()];
        self.network.split(one, other);
    }

    /// Cuts one direction between two hosts.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.note_on(from, format!("cut to {to}, one way"));
        self.parted();
        self.ledger.tally.one_way_cuts += 1;
        self.network.cut(from, to);
    }

    /// Mends all cuts.
    pub fn heal(&mut self) {
        self.note("heal");
        self.sides.clear();
        self.network.heal();
    }

    /// Tells whether the network is split into halves.
    pub fn is_split(&self) -> bool {
        !self.sides.is_empty()
    }

    /// Tells whether two hosts reach each other.
    pub fn reaches(&self, one: usize, other: usize) -> bool {
        self.passes(one, other) && self.passes(other, one)
    }

    /// Takes a host off the network and puts it back so many times.
    pub fn flap(&mut self, host: usize, times: u32) {
        self.note_on(host, format!("flaps {times} times"));
        self.parted();
        self.schedule(self.now, Event::Flap { host, left: times * 2 });
    }

    pub(super) fn flap_again(&mut self, host: usize, left: u32) {
        self.ledger.tally.flaps += 1;
        if left == 0 || !self.off.insert(host) {
            self.off.remove(&host);
        }
        if left > 0 {
            let after = Duration::from_millis(self.rng.random_range(FLAP_MS));
            self.schedule(self.now + after, Event::Flap { host, left: left - 1 });
        }
    }

    /// Ends all flapping.
    pub(super) fn steady(&mut self) {
        self.events.retain(|_, event| !matches!(event, Event::Flap { .. }));
        self.off.clear();
    }

    /// A host does nothing for a while (SIGSTOP, a machine that is paused or overloaded).
    pub fn stall(&mut self, host: usize, span: Duration) {
        self.note_on(host, format!("stalls for {span:?}"));
        self.parted();
        self.hosts[host].stalled = Some(self.now + span);
    }

    /// Tells whether a host stalls.
    pub fn is_stalled(&self, host: usize) -> bool {
        self.hosts[host].stalled.is_some_and(|until| until > self.now)
    }

    /// Tells whether a host is to crash in one of its next commits.
    pub fn is_doomed(&self, host: usize) -> bool {
        self.hosts[host].doom.is_some()
    }

    /// Lets the clocks of all hosts drift, each by its own part of so many parts in a million.
    /// Only at the start: clocks of a kernel never jump.
    pub fn drift(&mut self, ppm: u32) {
        self.drift_ppm = ppm;
        let most = i32::try_from(ppm).unwrap_or(i32::MAX);
        for host in 0..self.hosts.len() {
            let ppm = self.rng.random_range(-most..=most);
            self.hosts[host].clock = Clock { ppm };
        }
    }

    /// How far the worst clock is off.
    pub(super) fn note_drift(&mut self) {
        let errors = self.hosts.iter().map(|host| host.clock.error(self.start, self.now));
        let worst = errors.max().unwrap_or_default();
        self.ledger.tally.drift_ms_max = u64::try_from(worst.as_millis()).unwrap_or(u64::MAX);
    }

    /// Restarts all agents at once: a power cut.
    pub fn restart_all(&mut self, pause: Duration) {
        self.note("power cut");
        self.ledger.tally.full_restarts += 1;
        for host in 0..self.hosts.len() {
            if self.hosts[host].process.is_some() {
                self.kill(host);
            }
        }
        self.run(pause);
        for host in 0..self.hosts.len() {
            if self.is_down(host) {
                self.restart(host);
            }
        }
    }
}
