//! Forgetting members: the claim, what its acceptors cede to the heir, and how those forgotten
//! hear of it.

use std::net::SocketAddr;
use std::time::Instant;

use weft_api::{NodeId, Vni};

use crate::claims::{self, ClaimBody, ClaimId, Reach};
use crate::db::{Joining, NetworkDb};
use crate::facts::FactKind;
use crate::membership::greeter::Target;
use crate::membership::identity::Identity;
use crate::membership::join::JoinMessage;
use crate::output::{MemberState, Output, RolledBackBy, StreamId};
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

    /// One member tells for all: of those alive the next after the one that is forgotten, by id.
    pub(super) fn tells(&self, target: Target) -> bool {
        let Target::Forgotten(node) = target else { return true };
        let own = self.config.node;
        let distance = |id: NodeId| (id < node, id);
        self.membership.alive().all(|member| distance(member.id) > distance(own))
    }

    pub(super) fn tell_forgotten(&mut self, stream: StreamId, node: NodeId) {
        let by = self.membership.identity().clone();
        self.put_frame(stream, &Message::Join(JoinMessage::Forgotten { by, node }));
        let _ = self.streams.remove(stream);
        self.outputs.push_back(Output::CloseStream { stream });
        // Whoever lives there knows now.
        self.greeter.drop_target(Target::Forgotten(node));
    }

    /// A member says that a node is forgotten. Two halves that forgot each other do not take each
    /// other's word.
    pub(super) fn hear_of_own_end(&mut self, by: Identity, node: NodeId) {
        let is_idle = self.join == Joining::Idle;
        if is_idle && node == self.config.node && !self.membership.roster().is_gone(by.node) {
            self.membership.look_for(vec![by]);
            self.roll_back(RolledBackBy::Forgotten);
        }
    }
}
