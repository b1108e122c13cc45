//! Forgetting: members that an operator asserts to be stopped for good.
//!
//! Whoever accepts takes nothing more from those named and then cedes to the claimant what it knows
//! of who owns what. So once all have accepted the claimant knows everything that the named ever
//! gave away to anybody, and can take over the rest.

use std::collections::BTreeSet;

use rand::Rng;
use weft_api::{NodeId, Stamp};

use super::acceptor::is_done;
use super::conflict::MAX_VICTIMS;
use super::message::{ClaimBody, ClaimId, Reach, Refusal, Subject};
use super::outcome::ClaimError;
use super::view::{Standing, View};
use super::{Claims, Output, definition_fact};
use crate::facts::FactKind;

/// Added to the Lamport time of a definition that was completed because its claimant was forgotten.
/// It puts the definition behind all that were completed in the ordinary way.
const LATE: u64 = 1 << 63;

/// The Lamport time without the mark of a late completion.
pub(super) fn in_time(lamport: u64) -> u64 {
    lamport & !LATE
}

/// Whether a claim would have this node forgotten.
pub(super) fn names(body: &ClaimBody, node: NodeId) -> bool {
    match body {
        ClaimBody::Define { .. } | ClaimBody::Delete(_) | ClaimBody::Rotate { .. } => false,
        ClaimBody::Forget { victims, .. } => victims.contains(&node),
    }
}

/// Who must accept a claim, as far as this node's own list of members tells.
pub(super) fn asked(body: &ClaimBody, view: &dyn View) -> Vec<NodeId> {
    match body {
        ClaimBody::Forget { reach: Reach::Everyone, .. }
        | ClaimBody::Rotate { reach: Reach::Everyone, .. } => view.members(),
        ClaimBody::Define { .. }
        | ClaimBody::Delete(_)
        | ClaimBody::Forget { reach: Reach::Present, .. }
        | ClaimBody::Rotate { reach: Reach::Present, .. } => view.live(),
    }
}

/// Puts a refusal that no other kind of claim explains into words.
pub(super) fn refused(body: &ClaimBody, refusal: &Refusal) -> ClaimError {
    let Subject::Forget(nodes) = body.subject() else { return ClaimError::Full };
    if *refusal == Refusal::Gone {
        return ClaimError::AlreadyGone { nodes };
    }
    ClaimError::Named { named: nodes.len(), bound: MAX_VICTIMS }
}

/// The parts of one acceptor's answer that have come.
#[derive(Debug, Default)]
pub(super) struct Ceded {
    answer: u64,
    parts: u32,
    taken: BTreeSet<u32>,
    whole: bool,
}

impl Ceded {
    /// Parts of different answers do not add up: a fact may be in neither's half.
    pub(super) fn take(&mut self, answer: u64, part: u32, parts: u32) {
        if (self.answer, self.parts) != (answer, parts) {
            (self.answer, self.parts) = (answer, parts);
            self.taken.clear();
        }
        if part < parts {
            self.taken.insert(part);
        }
        self.whole |= u32::try_from(self.taken.len()).is_ok_and(|taken| taken == parts);
    }

    /// Whether all of one answer has come; what came later only adds to it.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }
}

impl Claims {
    /// Tells whether a claim to forget `node`, own or another's, is under way: nothing of what it
    /// owns is taken from it until that is withdrawn.
    pub(crate) fn is_named(&self, node: NodeId) -> bool {
        self.is_own_victim(node) || self.who_names(node).next().is_some()
    }

    /// Tells whether `node` is not asked about claims. One that is named by nobody but members
    /// that are to be forgotten themselves is: all must agree to that, this node too, and the
    /// claims that name it end with their claimants.
    pub(crate) fn is_outside(&self, node: NodeId) -> bool {
        self.is_own_victim(node) || !self.who_names(node).all(|by| self.is_named(by))
    }

    /// Whether an own open claim names `node`.
    fn is_own_victim(&self, node: NodeId) -> bool {
        self.open_claims().any(|(_, body)| names(body, node))
    }

    /// Whose claims that are held here name `node`.
    fn who_names(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let naming = move |held: &super::acceptor::Held| names(&held.record.body, node);
        self.held.iter().filter(move |(_, held)| naming(held)).map(|(claim, _)| claim.node)
    }

    pub(super) fn hindrance_to_forget(
        &self,
        victims: &[NodeId],
        reach: Reach,
        view: &dyn View,
    ) -> Option<ClaimError> {
        let named = victims.len();
        if !(1..=MAX_VICTIMS).contains(&named) {
            return Some(ClaimError::Named { named, bound: MAX_VICTIMS });
        }
        if victims.contains(&self.node) {
            return Some(ClaimError::Answers { nodes: vec![self.node] });
        }
        let unknown = victims.iter().find(|node| view.standing(**node) == Standing::Unknown);
        if let Some(node) = unknown {
            return Some(ClaimError::NoSuchMember(*node));
        }
        let others = view.members().into_iter().filter(|node| *node != self.node);
        let members = others.count() + 1;
        let named = victims.iter().filter(|node| view.standing(**node) != Standing::Gone).count();
        (reach == Reach::Everyone && named * 2 >= members)
            .then_some(ClaimError::Half { named, members })
    }

    pub(super) fn objection_to_forget(
        &self,
        victims: &[NodeId],
        view: &dyn View,
    ) -> Option<Refusal> {
        let answers = |node: &NodeId| *node == self.node || view.standing(*node) == Standing::Live;
        let live: Vec<NodeId> = victims.iter().copied().filter(answers).collect();
        if !live.is_empty() {
            return Some(Refusal::Answers(live));
        }
        let gone = victims.iter().all(|node| view.standing(*node) == Standing::Gone);
        gone.then_some(Refusal::Gone)
    }

    /// Tells the claimant of a forget all that is known here, from after the acceptance.
    pub(super) fn cede(&mut self, claim: ClaimId, subject: &Subject) {
        match subject {
            Subject::Definition(_) | Subject::Delete(_) | Subject::Rotate(_) => {}
            Subject::Forget(_) => {
                let answer = self.rng.next_u64();
                self.outputs.push_back(Output::Cede { to: claim.node, claim, answer });
            }
        }
    }

    pub(super) fn put_forgotten(&mut self, victims: &[NodeId]) {
        for victim in victims {
            self.outputs.push_back(Output::PutFact {
                kind: FactKind::FORGOTTEN,
                subject: victim.as_bytes().to_vec(),
                value: definition_fact::TOMBSTONE.to_vec(),
            });
        }
    }

    /// Ends what a forgotten claimant left open. A member that is not here may have heard that it
    /// was in force, so it comes into force, late; but a network in use is not deleted, and who was
    /// to be forgotten has no heir and stays, and a key that sealed nowhere here need not come.
    pub(super) fn complete_of(&mut self, claimant: NodeId, view: &dyn View) {
        let open: Vec<ClaimId> =
            self.held.keys().filter(|claim| claim.node == claimant).copied().collect();
        for claim in open {
            let Some(held) = self.release(claim) else { continue };
            match held.record.body {
                ClaimBody::Define { mut definition, .. } => {
                    let Stamp { lamport, node } = definition.stamp;
                    definition.stamp = Stamp { lamport: lamport | LATE, node };
                    self.put_definition(&definition);
                }
                ClaimBody::Delete(network) => {
                    let unused = view.attached(network).is_empty();
                    if unused && !view.has_endpoints_here(network) {
                        self.put_deleted(network);
                    }
                }
                ClaimBody::Forget { .. } | ClaimBody::Rotate { .. } => {}
            }
        }
    }

    /// Lets go of the claims whose victims are all gone.
    pub(super) fn release_forgotten(&mut self, view: &dyn View) {
        let done = |body: &ClaimBody| match body.subject() {
            Subject::Definition(_) | Subject::Delete(_) | Subject::Rotate(_) => false,
            subject @ Subject::Forget(_) => is_done(&subject, view),
        };
        self.finished.retain(|_, body| !done(body));
        self.release_where(|_, held| done(&held.record.body));
    }
}
