//! Rotating the key: another one seals once every member that must has it.
//!
//! A claim names the key and does not hold it; the key goes ahead of each proposal, by stream. Who
//! accepts opens what the key sealed from then on, and seals with the old one until the fact says
//! that the new one is in force. So in no order of events does anybody seal with what another
//! cannot open.

use std::time::Instant;

use weft_api::NodeId;

use super::acceptor::is_done;
use super::message::{ClaimBody, ClaimId, Refusal, Subject};
use super::view::{Turn, View};
use super::{Claims, Output};
use crate::facts::FactKind;
use crate::keys::{Fingerprint, RING_SUBJECT, RingState};

/// What rotations contend for, in words.
pub(super) const NAME: &str = "the cluster's key";

/// Tells whether a rotation cannot be weighed yet: this node lacks what it builds on, or nothing
/// says yet that what was sealed with the key before is no more on its way.
pub(super) fn is_early(body: &ClaimBody, view: &dyn View, now: Instant) -> bool {
    match body {
        ClaimBody::Define { .. } | ClaimBody::Delete(_) | ClaimBody::Forget { .. } => false,
        ClaimBody::Rotate { key, rotation, base, .. } => {
            let rests = view.key_rested_at().is_some_and(|until| until > now);
            match view.turn(*rotation, *key, *base) {
                Turn::Fit => rests,
                Turn::Early => true,
                Turn::Done | Turn::Over => false,
            }
        }
    }
}

/// Before this a claim is not proposed.
pub(super) fn not_before(body: &ClaimBody, view: &dyn View) -> Option<Instant> {
    match body {
        ClaimBody::Define { .. } | ClaimBody::Delete(_) | ClaimBody::Forget { .. } => None,
        ClaimBody::Rotate { .. } => view.key_rested_at(),
    }
}

pub(super) fn objection(
    rotation: u64,
    key: Fingerprint,
    base: Fingerprint,
    view: &dyn View,
) -> Option<Refusal> {
    match view.turn(rotation, key, base) {
        Turn::Fit | Turn::Early => None,
        Turn::Done | Turn::Over => Some(Refusal::Rotated),
    }
}

impl Claims {
    /// Tells that other keys are in force; `view` shows it already.
    pub(crate) fn on_keys(&mut self, view: &dyn View, now: Instant) {
        let done = |body: &ClaimBody| match body.subject() {
            Subject::Definition(_) | Subject::Delete(_) | Subject::Forget(_) => false,
            subject @ Subject::Rotate(_) => is_done(&subject, view),
        };
        self.finished.retain(|_, body| !done(body));
        self.release_where(|_, held| done(&held.record.body));
        self.on_view_changed(view, now);
    }

    /// Tells whether a rotation of this node's own is under way.
    pub(crate) fn is_rotating(&self) -> bool {
        self.own.values().any(|own| matches!(own.body, ClaimBody::Rotate { .. }))
    }

    /// The claims to rotate that are under way here, own and others'.
    pub(crate) fn rotations(&self) -> impl Iterator<Item = (ClaimId, Fingerprint)> {
        let held = self.held.iter().map(|(claim, held)| (*claim, &held.record.body));
        self.open_claims().chain(held).filter_map(|(claim, body)| match body {
            ClaimBody::Rotate { key, .. } => Some((claim, *key)),
            ClaimBody::Define { .. } | ClaimBody::Delete(_) | ClaimBody::Forget { .. } => None,
        })
    }

    /// Who is waited for by a rotation of this node's own.
    pub(crate) fn waits_for(&self, key: Fingerprint, view: &dyn View) -> Vec<NodeId> {
        self.unanswered(&Subject::Rotate(key), view)
    }

    /// Whether a claim that is under way here needs a key.
    pub(super) fn needs_key(&self, key: Fingerprint) -> bool {
        self.rotations().any(|(_, other)| other == key)
    }

    pub(super) fn put_rotated(&mut self, rotation: u64, key: Fingerprint, base: Fingerprint) {
        self.outputs.push_back(Output::PutFact {
            kind: FactKind::KEYS,
            subject: RING_SUBJECT.to_vec(),
            value: RingState::rotated((rotation, key), base).encode(),
        });
    }
}
