//! The end of all faults, with what an operator does then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_api::NodeId;
use weft_networkdb::{Member, MemberState, Reach};

use super::Nodes;

/// Rounds in which an operator has nodes forgotten that nobody has any more.
const ROUNDS: usize = 6;

impl Nodes {
    /// Ends all faults: the network is whole, crashed agents start, nodes that no disk has any more
    /// are forgotten, and endpoints that run on in deleted networks are detached.
    pub fn mend(&mut self) {
        self.note("mend");
        self.heal();
        self.steady();
        self.network.loss = 0.0;
        self.network.duplicate = 0.0;
        for host in 0..self.len() {
            self.hosts[host].doom = None;
            // One that went down before it was let in finds that it is no member.
            if !self.runs(host) && self.hosts[host].identity.is_some() {
                self.restart(host);
            }
        }
        // Long enough for halves to meet and for all to hear which networks are deleted.
        for _ in 0..100 {
            if self.discord().is_none() {
                break;
            }
            self.run(Duration::from_millis(200));
        }
        self.bury_lost();
        for host in 0..self.len() {
            for (endpoint, network) in self.endpoints(host) {
                if self.node(host).db().is_deleted(network) {
                    self.detach(host, endpoint);
                }
            }
        }
    }

    /// Nodes that somebody holds for failed and no host is, and who does so: one that may have them
    /// forgotten, if there is any.
    pub(super) fn lost(&self) -> BTreeMap<NodeId, usize> {
        let here: BTreeSet<NodeId> = self.hosts.iter().filter_map(|host| host.id()).collect();
        let mut hosts: Vec<usize> = self.members().collect();
        hosts.sort_by_key(|host| self.may_forget(*host));
        let members = hosts.into_iter().flat_map(|host| {
            let members = self.node(host).db().members();
            let failed = members.filter(|member| member.state == MemberState::Failed);
            failed.map(move |member| (member.id, host))
        });
        members.filter(|(node, _)| !here.contains(node)).collect()
    }

    fn may_forget(&self, host: usize) -> bool {
        let node = self.node(host);
        node.db().is_ready() && node.ipam().knows_owners()
    }

    /// Somebody suspects a node that no host is.
    fn is_in_doubt(&self) -> bool {
        let here: BTreeSet<NodeId> = self.hosts.iter().filter_map(|host| host.id()).collect();
        self.members().any(|host| {
            let doubted = |member: &Member| member.state == MemberState::Suspect;
            let mut members = self.node(host).db().members();
            members.any(|member| doubted(member) && !here.contains(&member.id))
        })
    }

    /// `weft forget`, on a member that knows of it: all that are lost are named at once, those that
    /// only another knows the next time. All that are left are there and are asked, so that it may
    /// be forced does no harm.
    fn bury_lost(&mut self) {
        for _ in 0..ROUNDS {
            // A suspicion that nobody refutes ends in a death.
            if self.is_in_doubt() {
                self.run(Duration::from_secs(10));
            }
            let lost = self.lost();
            let may_forget = |host: &&usize| self.may_forget(**host);
            let Some(heir) = lost.values().find(may_forget).copied() else {
                if lost.is_empty() {
                    return;
                }
                self.run(Duration::from_secs(10));
                continue;
            };
            let knows = |node: &NodeId| self.node(heir).db().member(*node).is_some();
            let known = lost.into_keys().filter(knows).collect();
            self.note_on(heir, "forgets whom nobody has");
            self.forget_nodes(heir, known, Reach::Present);
            self.run(Duration::from_secs(10));
        }
    }
}
