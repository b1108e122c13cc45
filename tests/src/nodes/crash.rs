//! The end of an agent's process, at any of its steps, and its next start.

use std::time::Duration;

use rand::Rng;
use weft_agent::node::{Node, NodeConfig};
use weft_api::{Boot, NodeId};
use weft_networkdb::{Key, KeyRing, StreamInput};
use weft_overlay::{Host as OverlayHost, Planner};

use super::host::{Identity, Process};
use super::{Event, Nodes};

/// How an agent ends (kill -9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Between two inputs.
    Now,
    /// Between two inputs; and commits since it last told anybody anything are lost.
    LosingUntold,
    /// In its next drain with a write, before the commit: neither write nor packet.
    BeforeCommit,
    /// In its next drain with a write, after the commit: no packet.
    AfterCommit,
}

/// Where in a drain an agent is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doom {
    BeforeCommit,
    AfterCommit,
}

/// Between two looks of the reconciler at the kernel.
pub(super) const RECONCILE: Duration = Duration::from_secs(5);
/// How long a released address rests: longer than any leave takes.
const REST: Duration = Duration::from_secs(20);

impl Nodes {
    /// Ends an agent; its host's kernel keeps forwarding.
    pub fn crash(&mut self, host: usize, how: Crash) {
        self.note(format!("crash {host} {how:?}"));
        match how {
            Crash::Now => self.kill(host),
            Crash::LosingUntold => {
                self.lose_untold(host);
                self.kill(host);
            }
            Crash::BeforeCommit => self.hosts[host].doom = Some(Doom::BeforeCommit),
            Crash::AfterCommit => self.hosts[host].doom = Some(Doom::AfterCommit),
        }
    }

    /// Starts the agent of a member again, from its disk.
    pub fn restart(&mut self, host: usize) {
        self.note(format!("restart {host}"));
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
            rest: REST,
        };
        let planner = Planner::new(OverlayHost {
            node: identity.node,
            vtep: self.hosts[host].vtep(),
            vxlan_port: 4789,
            uplink_mtu: 1500,
        });
        let node = match Node::new(config, self.hosts[host].disk.records(), self.now) {
            Ok(node) => node,
            Err(error) => self.fail(&format!("host {host} does not start: {error}")),
        };
        let now = self.now;
        let there = &mut self.hosts[host];
        there.identity = Some(identity);
        there.life += 1;
        there.wake = None;
        there.process = Some(Process::new(node, planner));
        let life = there.life;
        self.schedule(now + RECONCILE, Event::Reconcile { host, life });
    }

    pub(super) fn new_identity(&mut self) -> Identity {
        let mut id = [0; 16];
        self.rng.fill_bytes(&mut id);
        Identity { node: NodeId::from_bytes(id), boots: 0 }
    }

    pub(super) fn kill(&mut self, host: usize) {
        self.ledger.tally.crashes += 1;
        self.drop_process(host);
    }

    pub(super) fn drop_process(&mut self, host: usize) {
        self.hosts[host].process = None;
        self.hosts[host].untold.clear();
        self.hosts[host].doom = None;
        self.hosts[host].life += 1;
        for (peer, stream) in self.connections.drop_host(host) {
            self.tell(peer, Duration::from_millis(1), StreamInput::Closed { stream });
        }
    }

    fn lose_untold(&mut self, host: usize) {
        let undo = std::mem::take(&mut self.hosts[host].untold);
        for write in undo.into_iter().rev() {
            self.ledger.tally.commits_lost += 1;
            self.write(host, write);
        }
        self.hosts[host].untold.clear();
    }
}
