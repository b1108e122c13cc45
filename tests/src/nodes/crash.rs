//! The end of an agent's process, at any of its steps, and its next start.

use std::time::Duration;

use rand::Rng;
use weft_agent::node::{Node, NodeConfig};
use weft_api::{Boot, NodeId};
use weft_networkdb::{Key, KeyRing, StreamInput};
use weft_overlay::{Host as OverlayHost, Planner};

use super::host::{Identity, Process};
use super::invariant::Invariant;
use super::ledger::Why;
use super::mutation::Mutation;
use super::{Event, Nodes};

/// How an agent ends (kill -9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Between two inputs.
    Now,
    /// Between two inputs; and commits since it last told anybody anything are lost.
    LosingUntold,
    /// In a drain with a write, before the commit: neither write nor packet.
    BeforeCommit,
    /// In a drain with a write, in the middle of the commit: its store takes up none of it.
    Torn,
    /// In a drain with a write, after the commit: no packet.
    AfterCommit,
    /// In a drain with a write, after the commit and this many of the packets and answers.
    AfterSome(usize),
}

/// Where in a drain an agent is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doom {
    BeforeCommit,
    Torn,
    AfterCommit,
    AfterSome(usize),
}

/// Between two looks of the reconciler at the kernel.
pub(super) const RECONCILE: Duration = Duration::from_secs(5);
/// How long a released address rests: longer than any leave takes.
pub(super) const REST: Duration = Duration::from_secs(20);

impl Nodes {
    /// Ends an agent, at once or in its next drain with a write; its host's kernel keeps
    /// forwarding.
    pub fn crash(&mut self, host: usize, how: Crash) {
        self.crash_at(host, 0, how);
    }

    /// Ends an agent in a later drain with a write: after so many more. How that is of no
    /// importance where it ends at once.
    pub fn crash_at(&mut self, host: usize, after: u32, how: Crash) {
        self.note_on(host, format!("crash {how:?} after {after} commits"));
        let doom = match how {
            Crash::Now => {
                self.ledger.tally.crashes_between += 1;
                return self.kill(host);
            }
            Crash::LosingUntold => {
                self.lose_untold(host);
                return self.kill(host);
            }
            Crash::BeforeCommit => Doom::BeforeCommit,
            Crash::Torn => Doom::Torn,
            Crash::AfterCommit => Doom::AfterCommit,
            Crash::AfterSome(told) => Doom::AfterSome(told),
        };
        self.hosts[host].doom = Some((after, doom));
    }

    /// Returns how often a host committed, in all its lives.
    pub fn commits(&self, host: usize) -> u64 {
        self.hosts[host].commits
    }

    /// Starts the agent of a member again, from its disk.
    pub fn restart(&mut self, host: usize) {
        self.note_on(host, "restart");
        self.hosts[host].doom = None;
        let identity = self.hosts[host].identity;
        let Some(identity) = identity.filter(|_| self.hosts[host].is_joined()) else {
            return self.end_membership(host);
        };
        self.start(host, identity);
        self.restore(host);
        self.drain(host);
    }

    /// Starts a node under an identity, at its next boot.
    pub(super) fn start(&mut self, host: usize, identity: Identity) {
        let identity = Identity { boots: identity.boots + 1, ..identity };
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let config = NodeConfig {
            cluster: self.cluster,
            node: identity.node,
            boot: Boot { counter: identity.boots, nonce: self.rng.next_u64() },
            name: format!("host-{host}"),
            advertise: self.hosts[host].addr,
            keys: KeyRing::new(1, Key::from_bytes([7; 32])),
            seed,
            rest: if self.planted.is(Mutation::SkipsRest) { Duration::ZERO } else { REST },
        };
        let planner = Planner::new(OverlayHost {
            node: identity.node,
            vtep: self.hosts[host].vtep(),
            vxlan_port: 4789,
            uplink_mtu: 1500,
        });
        let records = self.hosts[host].disk.records();
        let node = match Node::new(config, records, self.local(host)) {
            Ok(node) => node,
            Err(error) => {
                let what = format!("host {host} does not start: {error}");
                self.break_off(Invariant::NoFault, what);
            }
        };
        let now = self.now;
        let there = &mut self.hosts[host];
        there.identity = Some(identity);
        there.life += 1;
        there.wake = None;
        there.process = Some(Process::new(node, planner));
        let life = there.life;
        self.schedule(now + RECONCILE, Event::Reconcile { host, life });
        // One that was committed before a crash came into force, though nobody heard of it.
        let definitions: Vec<_> = self.node(host).db().definitions().cloned().collect();
        for definition in definitions {
            let held = self.ledger.define(&definition);
            self.hold(held);
        }
    }

    pub(super) fn new_identity(&mut self) -> Identity {
        let mut id = [0; 16];
        self.rng.fill_bytes(&mut id);
        Identity { node: NodeId::from_bytes(id), boots: 0 }
    }

    pub(super) fn kill(&mut self, host: usize) {
        self.note_on(host, "ends");
        self.ledger.tally.crashes += 1;
        self.drop_process(host);
    }

    pub(super) fn drop_process(&mut self, host: usize) {
        self.hosts[host].process = None;
        self.hosts[host].untold.clear();
        self.hosts[host].doom = None;
        self.hosts[host].stalled = None;
        self.hosts[host].life += 1;
        for (peer, stream) in self.connections.drop_host(host) {
            self.tell(peer, Duration::from_millis(1), StreamInput::Closed { stream });
        }
    }

    fn lose_untold(&mut self, host: usize) {
        let undo = std::mem::take(&mut self.hosts[host].untold);
        for write in undo.into_iter().rev() {
            self.ledger.tally.commits_lost += 1;
            self.write(host, write, Why::Undone);
        }
        self.hosts[host].untold.clear();
    }
}
