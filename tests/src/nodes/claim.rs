//! A claim in force is known to all who had to accept it: the onlooker looks at their disks.

use weft_api::{NetworkId, NodeId, Space};
use weft_networkdb::{FactKind, MemberState, Outcome};

use super::Nodes;
use super::invariant::{Invariant, ensure};

impl Nodes {
    /// A claim has just succeeded on a host.
    pub(super) fn claim_is_known(&mut self, host: usize, outcome: &Outcome) {
        let subject: (FactKind, [u8; 16]) = match outcome {
            Outcome::Defined(definition) => (FactKind::DEFINITION, *definition.id.as_bytes()),
            Outcome::Deleted(network) => (FactKind::DELETED, *network.as_bytes()),
            Outcome::Forgotten(nodes) => match nodes.first() {
                Some(node) => (FactKind::FORGOTTEN, *node.as_bytes()),
                None => return,
            },
            Outcome::Joined(_) | Outcome::Rotated(_) | Outcome::Refused(_) => return,
        };
        // Another's claim was in force before, for which those had to accept who were there then.
        if !self.ledger.in_force.insert(subject) {
            return;
        }
        self.ledger.tally.claims_checked += 1;
        let claimant = self.node(host).id();
        let members = self.node(host).db().members();
        let live: Vec<NodeId> = members
            .filter(|member| matches!(member.state, MemberState::Alive | MemberState::Suspect))
            .map(|member| member.id)
            .filter(|node| *node != claimant)
            .collect();
        for node in live {
            let there = self.hosts.iter().find(|there| there.id() == Some(node));
            let Some(there) = there.filter(|there| !there.is_stale) else { continue };
            let index = there.index;
            let knows = self.knows_claim(index, subject);
            self.hold(ensure(knows, Invariant::ClaimsKnown, || {
                format!("a claim of host {host} is in force, and host {index} knows nothing of it")
            }));
        }
    }

    /// The acceptance is on disk (of this claim, or of another's for the same), or already what was
    /// claimed.
    fn knows_claim(&self, host: usize, (kind, id): (FactKind, [u8; 16])) -> bool {
        let disk = &self.hosts[host].disk;
        let fact = [&[kind.0], id.as_slice()].concat();
        // A definition ends with its network.
        let deleted = [&[FactKind::DELETED.0], id.as_slice()].concat();
        disk.of(Space::Facts).any(|(key, _)| key == fact || key == deleted)
            || self.holds_claim_on(host, NetworkId::from_bytes(id))
    }

    /// Another's claim on a network, or on whom it would forget, is on disk.
    pub(super) fn holds_claim_on(&self, host: usize, id: NetworkId) -> bool {
        self.hosts[host].disk.of(Space::Claims).any(|(key, value)| {
            key.first() == Some(&b'h') && value.windows(16).any(|part| part == id.as_bytes())
        })
    }
}
