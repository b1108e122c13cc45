//! Claims: how facts that must be unique come to be in force without a coordinator.
//!
//! A claim is fsynced, sent to all, and in force only when every member that must accept it has.
//! A member accepts one claim per subject (a name, overlapping pools, a network to delete, a node
//! to forget), first come; what it accepted refuses all others until the claimant says how the
//! claim ended.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use weft_api::{Definition, NetworkId, NodeId, Write};

use crate::facts::FactKind;
use crate::keys::Fingerprint;

mod acceptor;
mod claimant;
mod conflict;
mod definition_fact;
mod forget;
mod message;
mod outcome;
mod record;
mod rotate;
mod view;

use acceptor::HeldClaims;
use claimant::{Own, Phase};
use record::{Meta, Record};

pub(crate) use definition_fact::{
    Change as DefinitionsChange, DefinitionJoin, Definitions, DeletedJoin,
};
pub(crate) use message::Message;
pub(crate) use message::Subject;
pub use message::{ClaimBody, ClaimId, Origin, Reach};
#[cfg(test)]
pub(crate) use message::{Refusal, Verdict};
pub use outcome::{ClaimError, Outcome};
pub(crate) use view::{MemberChange, Standing, Turn, View};

/// Durations of the claim protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    /// After this an unfinished claim is withdrawn. Default 5 s.
    pub(crate) timeout: Duration,
    /// First retransmission; the later ones come after twice this. Default 200 ms.
    pub(crate) retransmit: Duration,
    /// Shortest pause before a refused claim is tried again. Default 10 ms.
    pub(crate) pause: Duration,
    /// When an acceptor first asks what became of a claim; doubles up to 32 times this.
    /// Default 1 s.
    pub(crate) inquire: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            retransmit: Duration::from_millis(200),
            pause: Duration::from_millis(10),
            inquire: Duration::from_secs(1),
        }
    }
}

/// What claims want done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) enum Output {
    /// Durable before the outputs after it.
    Persist(Write),
    /// To a member, best effort; a receiver not known (yet) is skipped.
    Send { to: NodeId, message: Message },
    /// All that is known of who owns what, to the claimant of a forget that this node accepted.
    Cede { to: NodeId, claim: ClaimId, answer: u64 },
    /// To the facts. Its write belongs to the same drain.
    PutFact { kind: FactKind, subject: Vec<u8>, value: Vec<u8> },
    /// To whoever submitted the claim.
    Decided { id: ClaimId, outcome: Outcome, asked: bool },
    /// From now on no attach to this network and no allocation in it.
    BarAttach(NetworkId),
    /// The delete was withdrawn, or is done.
    UnbarAttach(NetworkId),
    /// From now on this key opens, here too.
    KeepKey(Fingerprint),
    /// The rotation to this key was withdrawn, or is done.
    ReleaseKey(Fingerprint),
}

/// Why claims want to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// A claim's time is over.
    Deadline,
    /// A claim is to be sent again.
    Retransmit,
    /// A refused claim is to be tried again.
    Retry,
    /// A claimant is to be asked what became of its claim.
    Inquire,
}

/// Claims made and accepted by this node.
#[derive(Debug)]
pub(crate) struct Claims {
    node: NodeId,
    timing: Timing,
    rng: ChaCha8Rng,
    meta: Meta,
    leaving: bool,
    own: BTreeMap<u64, Own>,
    /// In force, but the fact has not come back through the view yet.
    finished: BTreeMap<ClaimId, ClaimBody>,
    held: HeldClaims,
    outputs: VecDeque<Output>,
}

impl Claims {
    /// Continues from disk: acceptances stand; claims of an earlier life are withdrawn, because
    /// whoever asked for them waits no more. Who accepted them learns it when it inquires.
    /// `restored` are the keys and values of `Space::Claims`.
    ///
    /// # Errors
    /// [`RestoreError`] when a record is damaged.
    pub(crate) fn new<'a>(
        node: NodeId,
        seed: [u8; 32],
        timing: Timing,
        restored: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        now: Instant,
    ) -> Result<Self, RestoreError> {
        let mut claims = Self {
            node,
            timing,
            rng: ChaCha8Rng::from_seed(seed),
            meta: Meta::default(),
            leaving: false,
            own: BTreeMap::new(),
            finished: BTreeMap::new(),
            held: HeldClaims::new(),
            outputs: VecDeque::new(),
        };
        for (key, value) in restored {
            match record::read(key, value)? {
                Record::Meta(meta) => claims.meta = meta,
                Record::Own(number, _) => {
                    claims.outputs.push_back(Output::Persist(record::remove_own(number)));
                }
                Record::Held(claim, held) => claims.hold(claim, held, now),
            }
        }
        Ok(claims)
    }

    /// Starts a claim. Its outcome comes as [`Output::Decided`], at once or later.
    pub(crate) fn submit(&mut self, body: ClaimBody, view: &dyn View, now: Instant) -> ClaimId {
        self.start(body, view, now)
    }

    /// Takes a message of an authenticated member.
    pub(crate) fn handle_message(
        &mut self,
        from: NodeId,
        message: Message,
        view: &dyn View,
        now: Instant,
    ) {
        if view.standing(from) == Standing::Gone {
            return;
        }
        match message {
            Message::Propose { claim, round, body } if claim.node == from => {
                self.on_propose(claim, round, body, view, now);
            }
            Message::Settled { claim, verdict } if claim.node == from => {
                self.on_settled(claim, verdict, view);
            }
            Message::Accepted { claim, round, subject, members } if claim.node == self.node => {
                self.on_accepted(from, (claim, subject), (round, members), view, now);
            }
            Message::Refused { claim, refusal } if claim.node == self.node => {
                self.on_refused(from, (claim, refusal), view, now);
            }
            Message::Inquire { claim, subject } if claim.node == self.node => {
                self.settle(from, claim, subject, view);
            }
            Message::Ceded { claim, answer, part, parts, facts: _ } if claim.node == self.node => {
                self.on_ceded(from, claim, (answer, part, parts), view, now);
            }
            Message::Pending { claims } => self.on_pending(claims, view, now),
            // Nobody speaks for another's claim.
            Message::Propose { .. }
            | Message::Settled { .. }
            | Message::Accepted { .. }
            | Message::Refused { .. }
            | Message::Ceded { .. }
            | Message::Inquire { .. } => {}
        }
    }

    /// Tells that a member changed; `view` shows it already. A new boot is an Up, too.
    pub(crate) fn on_member(
        &mut self,
        node: NodeId,
        change: MemberChange,
        view: &dyn View,
        now: Instant,
    ) {
        match change {
            MemberChange::Up => {
                self.inquire_of(node, now);
            }
            MemberChange::Left => self.release_of(node),
            MemberChange::Forgotten => self.complete_of(node, view),
            // A failed claimant's claim goes on refusing others: it may have finished it.
            MemberChange::Failed => {}
        }
        self.release_forgotten(view);
        self.on_view_changed(view, now);
    }

    /// Tells that the fact Definition or Deleted of a network changed; `view` shows it already.
    pub(crate) fn on_fact(&mut self, network: NetworkId, view: &dyn View, now: Instant) {
        self.finished.retain(|_, body| !acceptor::is_done(&body.subject(), view));
        self.release_done(network, view);
        self.on_view_changed(view, now);
    }

    /// Withdraws all own claims and refuses new ones, because this node leaves the cluster.
    pub(crate) fn leave(&mut self) {
        self.withdraw_all();
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, view: &dyn View, now: Instant) {
        self.claims_due(view, now);
        self.inquire_due(view, now);
    }

    /// Says when to call [`Self::handle_timeout`], and why.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let own = self.own.values().flat_map(|own| {
            let next = match &own.phase {
                Phase::Proposed(proposed) => (proposed.resend_at, Reason::Retransmit),
                Phase::Resting { until, .. } => (*until, Reason::Retry),
            };
            [next, (own.deadline, Reason::Deadline)]
        });
        let held = self.held.values().map(|held| (held.inquire_at, Reason::Inquire));
        own.chain(held).min()
    }

    /// Gives the next output.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Tells whether a claim to delete `network`, own or accepted, bars attach to it and
    /// allocation in it.
    pub(crate) fn is_barred(&self, network: NetworkId) -> bool {
        let held = self.held.values().map(|held| &held.record.body);
        self.open_claims()
            .map(|(_, body)| body)
            .chain(held)
            .any(|body| body.subject() == Subject::Delete(network))
    }

    /// Lists what a joiner must hold too: every claim open or held here.
    pub(crate) fn pending_for_joiner(&self) -> Vec<Message> {
        self.pending()
    }

    fn bar(&mut self, body: &ClaimBody) {
        match body {
            ClaimBody::Define { .. } | ClaimBody::Forget { .. } => {}
            ClaimBody::Delete(network) if self.is_barred(*network) => {}
            ClaimBody::Delete(network) => self.outputs.push_back(Output::BarAttach(*network)),
            ClaimBody::Rotate { key, .. } if self.needs_key(*key) => {}
            ClaimBody::Rotate { key, .. } => self.outputs.push_back(Output::KeepKey(*key)),
        }
    }

    fn unbar(&mut self, body: &ClaimBody) {
        match body {
            ClaimBody::Define { .. } | ClaimBody::Forget { .. } => {}
            ClaimBody::Delete(network) if self.is_barred(*network) => {}
            ClaimBody::Delete(network) => self.outputs.push_back(Output::UnbarAttach(*network)),
            ClaimBody::Rotate { key, .. } if self.needs_key(*key) => {}
            ClaimBody::Rotate { key, .. } => self.outputs.push_back(Output::ReleaseKey(*key)),
        }
    }

    fn put_fact(&mut self, body: &ClaimBody) {
        match body {
            ClaimBody::Define { definition, .. } => self.put_definition(definition),
            ClaimBody::Delete(network) => self.put_deleted(*network),
            ClaimBody::Forget { victims, .. } => self.put_forgotten(victims),
            ClaimBody::Rotate { key, rotation, base, .. } => {
                self.put_rotated(*rotation, *key, *base);
            }
        }
    }

    fn put_definition(&mut self, definition: &Definition) {
        self.outputs.push_back(Output::PutFact {
            kind: FactKind::DEFINITION,
            subject: definition.id.as_bytes().to_vec(),
            value: definition_fact::encode(definition),
        });
    }

    fn put_deleted(&mut self, network: NetworkId) {
        self.outputs.push_back(Output::PutFact {
            kind: FactKind::DELETED,
            subject: network.as_bytes().to_vec(),
            value: definition_fact::TOMBSTONE.to_vec(),
        });
    }

    fn send(&mut self, to: NodeId, message: Message) {
        self.outputs.push_back(Output::Send { to, message });
    }

    fn send_all(&mut self, to: impl IntoIterator<Item = NodeId>, message: &Message) {
        for to in to {
            self.send(to, message.clone());
        }
    }
}

/// Says that a record of `Space::Claims` cannot be read; the key in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("claim record {0} is damaged")]
pub(crate) struct RestoreError(pub(crate) String);

#[cfg(test)]
mod tests;
