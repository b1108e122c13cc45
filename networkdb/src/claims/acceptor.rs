//! The acceptor's half: what this node promised to others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weft_api::{Definition, NetworkId, NodeId};

use super::message::{ClaimBody, ClaimId, Message, Refusal, Subject, Verdict};
use super::record::{self, HeldRecord, Promise};
use super::view::{Standing, View};
use super::{Claims, Output, conflict, forget, rotate};

/// Claims of others held at once. More are refused.
pub(super) const MAX_HELD: usize = 1024;

/// Bytes of claims in one message to a joiner: well below what one stream frame takes.
const MAX_PENDING: usize = 256 * 1024;

/// Another's claim, accepted or heard of, that refuses its rivals.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) record: HeldRecord,
    /// When the claimant is asked what became of it, should it not say so.
    pub(super) inquire_at: Instant,
    pub(super) backoff: Duration,
}

/// Claims held, by claimant and number.
pub(super) type HeldClaims = BTreeMap<ClaimId, Held>;

impl Claims {
    pub(super) fn on_propose(
        &mut self,
        claim: ClaimId,
        round: u32,
        body: ClaimBody,
        view: &dyn View,
        now: Instant,
    ) {
        // The claimant asks again: the rest may have come, or be over, by then.
        if self.is_overtaken(claim, &body) || rotate::is_early(&body, view, now) {
            return;
        }
        let refusal = if self.has_accepted(claim) {
            // Weighed again: a refreshed answer must not vouch for a network in which a node has
            // failed with its attachments since. The promise stands until the claimant ends it,
            // who may have counted it already.
            self.fact_against(&body, view)
        } else {
            self.objection(claim, &body, view)
        };
        if let Some(refusal) = refusal {
            self.send(claim.node, Message::Refused { claim, refusal });
            return;
        }
        let subject = body.subject();
        self.accept(claim, body, now);
        self.cede(claim, &subject);
        let members = view.live().into_iter().filter(|member| *member != self.node).collect();
        self.send(claim.node, Message::Accepted { claim, round, subject, members });
    }

    /// A joiner holds what the members hold; it vouches for a claim only when asked to.
    pub(super) fn on_pending(
        &mut self,
        claims: Vec<(ClaimId, ClaimBody)>,
        view: &dyn View,
        now: Instant,
    ) {
        for (claim, body) in claims {
            let skip = claim.node == self.node
                || self.held.contains_key(&claim)
                || view.standing(claim.node) == Standing::Gone
                || is_done(&body.subject(), view)
                || conflict::broken_bound(&body).is_some();
            if !skip && self.held.len() < MAX_HELD {
                self.hold(claim, HeldRecord { promise: Promise::Heard, body }, now);
            }
        }
    }

    pub(super) fn on_settled(&mut self, claim: ClaimId, verdict: Verdict, view: &dyn View) {
        let Some(held) = self.release(claim) else { return };
        match verdict {
            Verdict::Withdrawn => {}
            Verdict::InForce if is_done(&held.record.body.subject(), view) => {}
            Verdict::InForce => self.put_fact(&held.record.body),
        }
    }

    /// Lets go of the claims that made this fact.
    pub(super) fn release_done(&mut self, network: NetworkId, view: &dyn View) {
        self.release_where(|_, held| {
            let subject = held.record.body.subject();
            subject.network() == Some(network) && is_done(&subject, view)
        });
    }

    /// A node that left can neither finish its claims nor return to do so.
    pub(super) fn release_of(&mut self, claimant: NodeId) {
        self.release_where(|claim, _| claim.node == claimant);
    }

    /// Asks a claimant about all that is held for it: it is back from wherever it was, or about to
    /// leave. Tells whether anything is.
    pub(crate) fn inquire_of(&mut self, claimant: NodeId, now: Instant) -> bool {
        let mut asked = Vec::new();
        for (claim, held) in self.held.iter_mut().filter(|(claim, _)| claim.node == claimant) {
            held.backoff = self.timing.inquire;
            held.inquire_at = now + held.backoff;
            asked.push((*claim, held.record.body.subject()));
        }
        let any = !asked.is_empty();
        for (claim, subject) in asked {
            self.send(claimant, Message::Inquire { claim, subject });
        }
        any
    }

    pub(super) fn inquire_due(&mut self, view: &dyn View, now: Instant) {
        let longest = self.timing.inquire * 32;
        let mut asked = Vec::new();
        for (claim, held) in self.held.iter_mut().filter(|(_, held)| held.inquire_at <= now) {
            held.backoff = (held.backoff * 2).min(longest);
            held.inquire_at = now + held.backoff;
            asked.push((*claim, held.record.body.subject()));
        }
        for (claim, subject) in asked {
            match view.standing(claim.node) {
                Standing::Live => self.send(claim.node, Message::Inquire { claim, subject }),
                Standing::Gone | Standing::Failed | Standing::Unknown => {}
            }
        }
    }

    pub(super) fn pending(&self) -> Vec<Message> {
        let own = self.open_claims().map(|(claim, body)| (claim, body.clone()));
        // A claim that is finished in this very drain is a fact, which the joiner gets as such.
        let held = self.held.iter().map(|(claim, held)| (*claim, held.record.body.clone()));
        let mut messages = Vec::new();
        let mut claims = Vec::new();
        let mut size = 0;
        for (claim, body) in own.chain(held) {
            size += record::encode(&body).len();
            claims.push((claim, body));
            if size >= MAX_PENDING {
                messages.push(Message::Pending { claims: std::mem::take(&mut claims) });
                size = 0;
            }
        }
        if !claims.is_empty() {
            messages.push(Message::Pending { claims });
        }
        messages
    }

    /// Finds why this node does not accept `body`, as claimed by `claim`.
    pub(super) fn objection(
        &self,
        claim: ClaimId,
        body: &ClaimBody,
        view: &dyn View,
    ) -> Option<Refusal> {
        let unfit = forget::names(body, claim.node).then_some(Refusal::Invalid);
        let against = unfit.or_else(|| self.fact_against(body, view));
        against.or_else(|| self.rival(claim, body)).or_else(|| {
            let room = claim.node == self.node
                || self.held.contains_key(&claim)
                || self.held.len() < MAX_HELD;
            (!room).then_some(Refusal::Full)
        })
    }

    /// Finds what, other than a claim, is against `body`.
    pub(super) fn fact_against(&self, body: &ClaimBody, view: &dyn View) -> Option<Refusal> {
        if conflict::broken_bound(body).is_some() {
            return Some(Refusal::Invalid);
        }
        match body {
            ClaimBody::Define { definition, .. } => objection_to_definition(definition, view),
            ClaimBody::Delete(network) => self.objection_to_delete(*network, view),
            ClaimBody::Forget { victims, .. } => self.objection_to_forget(victims, view),
            ClaimBody::Rotate { key, rotation, base, .. } => {
                rotate::objection(*rotation, *key, *base, view)
            }
        }
    }

    /// This node speaks for itself and for those who cannot: a live node is asked too, and knows
    /// better than its log, which may be late here.
    fn objection_to_delete(&self, network: NetworkId, view: &dyn View) -> Option<Refusal> {
        if view.is_deleted(network) {
            return Some(Refusal::Deleted);
        }
        let mut nodes = view.attached(network);
        nodes.retain(|node| *node == self.node || view.standing(*node) != Standing::Live);
        if view.has_endpoints_here(network) && !nodes.contains(&self.node) {
            nodes.push(self.node);
        }
        (!nodes.is_empty()).then_some(Refusal::InUse(nodes))
    }

    fn rival(&self, claim: ClaimId, body: &ClaimBody) -> Option<Refusal> {
        let own = self.open_claims().chain(self.finished.iter().map(|(id, body)| (*id, body)));
        let held = self.held.iter().map(|(other, held)| (*other, &held.record.body));
        own.chain(held.filter(|(other, _)| !replaces(claim, *other)))
            // Whoever is to be forgotten would be in the way for ever.
            .filter(|(other, _)| *other != claim && !forget::names(body, other.node))
            .find(|(_, other)| conflict::rivals(body, other))
            .map(|(claim, body)| Refusal::Pending { claim, body: body.clone() })
    }

    /// A claimant has one claim on a subject at a time, so a lower number came late.
    fn is_overtaken(&self, claim: ClaimId, body: &ClaimBody) -> bool {
        self.held.iter().any(|(other, held)| {
            replaces(*other, claim) && conflict::rivals(body, &held.record.body)
        })
    }

    fn has_accepted(&self, claim: ClaimId) -> bool {
        self.held.get(&claim).is_some_and(|held| held.record.promise == Promise::Accepted)
    }

    fn accept(&mut self, claim: ClaimId, body: ClaimBody, now: Instant) {
        if self.has_accepted(claim) {
            return;
        }
        self.release_where(|other, held| {
            replaces(claim, *other) && conflict::rivals(&body, &held.record.body)
        });
        self.hold(claim, HeldRecord { promise: Promise::Accepted, body }, now);
    }

    pub(super) fn hold(&mut self, claim: ClaimId, record: HeldRecord, now: Instant) {
        self.outputs.push_back(Output::Persist(record::put_held(claim, &record)));
        self.bar(&record.body);
        let backoff = self.timing.inquire;
        self.held.insert(claim, Held { record, inquire_at: now + backoff, backoff });
    }

    pub(super) fn release_where(&mut self, wanted: impl Fn(&ClaimId, &Held) -> bool) {
        let claims: Vec<ClaimId> =
            self.held.iter().filter(|(id, held)| wanted(id, held)).map(|(id, _)| *id).collect();
        for claim in claims {
            self.release(claim);
        }
    }

    pub(super) fn release(&mut self, claim: ClaimId) -> Option<Held> {
        let held = self.held.remove(&claim)?;
        self.outputs.push_back(Output::Persist(record::remove_held(claim)));
        self.unbar(&held.record.body);
        Some(held)
    }
}

/// Tells whether the fact that a claim is for is known here.
pub(super) fn is_done(subject: &Subject, view: &dyn View) -> bool {
    match subject {
        Subject::Definition(network) => view.is_defined(*network) || view.is_deleted(*network),
        Subject::Delete(network) => view.is_deleted(*network),
        Subject::Forget(victims) => victims.iter().all(|v| view.standing(*v) == Standing::Gone),
        Subject::Rotate(key) => view.is_in_force(*key),
    }
}

/// A claimant opens a claim on a subject only when its earlier one there is settled.
fn replaces(newer: ClaimId, older: ClaimId) -> bool {
    newer.node == older.node && newer.number > older.number
}

fn objection_to_definition(definition: &Definition, view: &dyn View) -> Option<Refusal> {
    // Its maker may have taken the VNI from a network of the name that was there a moment ago.
    let is_spent = definition.subnets.iter().any(|subnet| view.was_deleted_with(subnet.vni));
    if view.is_deleted(definition.id) || is_spent {
        return Some(Refusal::Deleted);
    }
    // The one of this very name first: it may be what the claimant wants.
    view.definitions()
        .filter(|other| conflict::clash(definition, other).is_some())
        .min_by_key(|other| (other.name != definition.name, other.stamp, other.id))
        .map(|other| Refusal::InForce(other.clone()))
}
