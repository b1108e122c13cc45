//! Forgetting members: the claim, and what its acceptors cede to the heir.

use std::time::Instant;

use weft_api::{NodeId, Vni};

use crate::claims::{self, ClaimBody, ClaimId, Reach};
use crate::db::NetworkDb;
use crate::facts::FactKind;
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
}
