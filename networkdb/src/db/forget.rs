//! Forgetting members: the claim, what its acceptors cede to the heir, and how those forgotten
//! hear of it.

use std::net::SocketAddr;
use std::time::Instant;

use rand::RngExt;
use weft_api::{NodeId, Vni};

use crate::claims::{self, ClaimBody, ClaimId, Reach};
use crate::db::{Joining, NetworkDb};
use crate::facts::FactKind;
use crate::membership::greeter::Target;
use crate::membership::identity::Identity;
use crate::membership::join::JoinMessage;
use crate::output::{JoinRefusal, MemberState, RolledBackBy, StreamId};
use crate::sync::Carrier;
use crate::sync::message::{Relay, WireFact};
use crate::wire::Message;

/// Bytes of facts in one part of what is ceded: well below what a stream's frame takes.
const PART_BYTES: usize = 256 * 1024;

impl NetworkDb {
    /// Claims that members are gone for good: they never return under their NodeIds, their entries
    /// and attachments go, and this node is their heir. Ends with
    /// [`Output::Claim`](crate::Output::Claim); with
    /// [`Outcome::Forgotten`](crate::Outcome::Forgotten) every fact that an acceptor had from
    /// those named was given out before.
    pub fn forget(&mut self, victims: Vec<NodeId>, reach: Reach, now: Instant) -> ClaimId {
        self.submit(ClaimBody::Forget { victims, reach }, now)
    }

    /// Returns the VNIs of all networks that were ever in force here, deleted ones included.
    pub fn vnis(&self) -> impl Iterator<Item = Vni> + '_ {
        self.definitions.vnis()
    }

    /// Tells whether a message is not to be taken, because its sender is to be forgotten.
    pub(super) fn refuses(&self, from: NodeId, message: &Message) -> bool {
        match message {
            // So it is seen whether it answers.
            Message::Membership(_) | Message::Join(_) => false,
            Message::Claims(_) => self.claims.is_outside(from),
            Message::Sync(_) | Message::App { .. } | Message::Keys(_) => self.claims.is_named(from),
        }
    }

    /// Sends all facts of who owns what, by stream, in parts.
    pub(super) fn cede(&mut self, to: NodeId, claim: ClaimId, answer: u64, now: Instant) {
        let mut batches: Vec<Vec<WireFact>> = vec![Vec::new()];
        let mut bytes = 0;
        for kind in FactKind::CEDED {
            for (subject, state) in self.sync.facts(kind) {
                let fact = WireFact { kind, subject: subject.to_vec(), state: state.to_vec() };
                bytes += fact.wire_len();
                if bytes > PART_BYTES {
                    batches.push(Vec::new());
                    bytes = fact.wire_len();
                }
                batches.last_mut().expect("there is one from the start").push(fact);
            }
        }
        let parts = u32::try_from(batches.len()).unwrap_or(u32::MAX);
        for (part, facts) in (0..parts).zip(batches) {
            let message = claims::Message::Ceded { claim, answer, part, parts, facts };
            self.post(to, &Message::Claims(message), Carrier::Stream, now);
        }
    }

    /// Joins what was ceded to this node before its claim counts it.
    pub(super) fn take_ceded(
        &mut self,
        mut message: claims::Message,
        now: Instant,
    ) -> claims::Message {
        if let claims::Message::Ceded { claim, facts, .. } = &mut message
            && claim.node == self.config.node
        {
            self.sync.take_facts(Relay::New, std::mem::take(facts), now);
        }
        message
    }

    /// Where one that is forgotten was last. Most hear of it when they say hello to a member; one
    /// that knows no member any more is told.
    pub(super) fn address_of_forgotten(&self, node: NodeId) -> Option<SocketAddr> {
        let member = self.membership.roster().get(node)?;
        let known = member.state == MemberState::Forgotten && !member.addr.ip().is_unspecified();
        known.then_some(member.addr)
    }

    /// All who know where it was tell it, each so seldom that together they are as one; none that
    /// could not let it in again.
    pub(super) fn tells(&mut self, target: Target) -> bool {
        if !target.is_forgotten() {
            return true;
        }
        let members = self.membership.alive().count() + 1;
        self.is_ready() && self.is_shut().is_none() && self.rng.random_range(0..members) == 0
    }

    /// It may not take it, or not live to write it: it is told until another node lives there.
    pub(super) fn tell_forgotten(&mut self, stream: StreamId, node: NodeId) {
        let by = self.membership.identity().clone();
        let roster = self.membership.roster();
        let members = roster.iter().map(|member| member.id).filter(|id| !self.is_forgotten(*id));
        let members = members.collect();
        self.put_frame(stream, &Message::Join(JoinMessage::Forgotten { by, node, members }));
    }

    /// A member says that a node is forgotten, and whom it holds alive. Two halves that forgot each
    /// other do not take each other's word.
    pub(super) fn hear_of_own_end(
        &mut self,
        stream: StreamId,
        by: Identity,
        node: NodeId,
        members: &[NodeId],
        now: Instant,
    ) {
        if node != self.config.node {
            if self.join != Joining::Idle {
                // This may be the one that lives there now, and look for somebody to let it in.
                return self.greeter.want(Target::Seed(by.addr), now);
            }
            let refusal = JoinRefusal::Unreachable("another node lives here now".to_owned());
            return self.put_frame(stream, &Message::Join(JoinMessage::Refused(refusal)));
        }
        let forgot_it = members.iter().chain([&by.node]).any(|node| self.is_forgotten(*node));
        if self.join == Joining::Idle && !forgot_it {
            self.told_by = Some(by.addr);
            self.roll_back(RolledBackBy::Forgotten);
        }
    }

    fn is_forgotten(&self, node: NodeId) -> bool {
        let member = self.membership.roster().get(node);
        member.is_some_and(|member| member.state == MemberState::Forgotten)
    }

    /// Who told this node that it is forgotten: a member for certain, through which it may join
    /// again. Others that it knows may be forgotten like itself, and not know it.
    pub fn told_by(&self) -> Option<SocketAddr> {
        self.told_by
    }
}
