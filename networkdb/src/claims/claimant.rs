//! The claimant's half: this node's own claims.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::Rng;
use weft_api::{Definition, NetworkId, NodeId, Stamp};

use super::acceptor::is_done;
use super::conflict::{self, Clash};
use super::forget::{self, Ceded};
use super::message::{ClaimBody, ClaimId, Message, Origin, Refusal, Subject, Verdict};
use super::outcome::{ClaimError, Outcome};
use super::record;
use super::rotate;
use super::view::{Standing, View};
use super::{Claims, Output};

/// Own claims under way at once. More are refused.
const MAX_OWN: usize = 64;

/// A claim of this node, until it is decided.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) body: ClaimBody,
    pub(super) deadline: Instant,
    refused: u32,
    /// Others were asked to accept it, in any attempt.
    asked: bool,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Sent to all, waiting for their answers.
    Proposed(Proposed),
    /// Withdrawn, because of somebody's claim; to be tried again.
    Resting { until: Instant, node: NodeId, what: String },
}

/// One attempt.
#[derive(Debug)]
pub(super) struct Proposed {
    number: u64,
    round: u32,
    pub(super) resend_at: Instant,
    backoff: Duration,
    asked: BTreeSet<NodeId>,
    /// Who accepted, in which round, and whom it held alive then.
    accepted: BTreeMap<NodeId, (u32, Vec<NodeId>)>,
    /// What acceptors of a forget told of who owns what.
    ceded: BTreeMap<NodeId, Ceded>,
}

impl Proposed {
    /// The members that must accept: those live here, and those live in an acceptor's eyes. A
    /// member declared failed here counts only on the word of an acceptor who can still be asked,
    /// or where the claim needs everyone.
    fn required(&self, node: NodeId, body: &ClaimBody, view: &dyn View) -> BTreeSet<NodeId> {
        let mut required: BTreeSet<NodeId> = forget::asked(body, view).into_iter().collect();
        for (acceptor, (_, members)) in &self.accepted {
            let heard = view.standing(*acceptor) == Standing::Live;
            required.extend(members.iter().filter(|member| match view.standing(**member) {
                Standing::Live | Standing::Unknown => true,
                Standing::Failed => heard,
                Standing::Gone => false,
            }));
        }
        required.retain(|member| *member != node && !forget::names(body, *member));
        required
    }

    fn unanswered(&self, node: NodeId, body: &ClaimBody, view: &dyn View) -> BTreeSet<NodeId> {
        let mut required = self.required(node, body, view);
        required.retain(|member| !self.has_answered(*member, body));
        required
    }

    fn has_answered(&self, member: NodeId, body: &ClaimBody) -> bool {
        let accepted = self.accepted.contains_key(&member);
        match body {
            ClaimBody::Define { .. } | ClaimBody::Delete(_) | ClaimBody::Rotate { .. } => accepted,
            ClaimBody::Forget { .. } => {
                accepted && self.ceded.get(&member).is_some_and(Ceded::is_whole)
            }
        }
    }

    /// Acceptors to ask again, because they hold somebody alive who is declared failed here.
    fn outdated(&self, missing: &BTreeSet<NodeId>, view: &dyn View) -> Vec<NodeId> {
        let failed = |member: &NodeId| {
            missing.contains(member) && view.standing(*member) == Standing::Failed
        };
        let lists = self.accepted.iter().filter(|(_, (_, members))| members.iter().any(failed));
        lists.map(|(acceptor, _)| *acceptor).collect()
    }
}

impl Claims {
    pub(super) fn start(&mut self, body: ClaimBody, view: &dyn View, now: Instant) -> ClaimId {
        let id = ClaimId { node: self.node, number: self.meta.next };
        self.meta.next += 1;
        let body = self.stamped(body, view);
        if let Some(error) = self.hindrance(&body, view) {
            self.decide(id.number, Outcome::Refused(error), false);
            return id;
        }
        let until = rotate::not_before(&body, view).map_or(now, |until| until.max(now));
        let deadline = until + self.timing.timeout;
        let phase = Phase::Resting { until, node: self.node, what: String::new() };
        self.own.insert(id.number, Own { body, deadline, refused: 0, asked: false, phase });
        if until == now {
            self.propose(id.number, id.number, view, now);
        }
        id
    }

    fn hindrance(&self, body: &ClaimBody, view: &dyn View) -> Option<ClaimError> {
        if self.leaving {
            return Some(ClaimError::Leaving);
        }
        if self.own.len() >= MAX_OWN {
            return Some(ClaimError::Full);
        }
        match body {
            ClaimBody::Define { definition, .. } => {
                conflict::broken_bound(body).map(|what| invalid(definition, what))
            }
            ClaimBody::Delete(id) if view.is_defined(*id) && !view.is_deleted(*id) => None,
            ClaimBody::Delete(id) => Some(ClaimError::NoSuchNetwork(*id)),
            ClaimBody::Forget { victims, reach } => self.hindrance_to_forget(victims, *reach, view),
            ClaimBody::Rotate { .. } => self.is_rotating().then_some(ClaimError::Rotating),
        }
    }

    /// Puts a definition after all that this node knows of.
    fn stamped(&mut self, mut body: ClaimBody, view: &dyn View) -> ClaimBody {
        match &mut body {
            ClaimBody::Define { definition, .. } => {
                let in_force = view.definitions().map(|other| other.stamp.lamport);
                let held = self.held.values().filter_map(|held| match &held.record.body {
                    ClaimBody::Define { definition, .. } => Some(definition.stamp.lamport),
                    ClaimBody::Delete(_) | ClaimBody::Forget { .. } | ClaimBody::Rotate { .. } => {
                        None
                    }
                });
                let seen = in_force.chain(held).map(forget::in_time).max().unwrap_or(0);
                self.meta.lamport = self.meta.lamport.max(seen).saturating_add(1);
                definition.stamp = Stamp { lamport: self.meta.lamport, node: self.node };
            }
            ClaimBody::Delete(_) | ClaimBody::Rotate { .. } => {}
            ClaimBody::Forget { victims, .. } => {
                victims.sort_unstable();
                victims.dedup();
            }
        }
        body
    }

    /// Makes an attempt under a number of its own, so that no late message of an earlier one can
    /// be taken for an answer to it.
    fn propose(&mut self, ticket: u64, number: u64, view: &dyn View, now: Instant) {
        let Some(own) = self.own.get(&ticket) else { return };
        let body = own.body.clone();
        if let Some(refusal) = self.objection(self.claim(number), &body, view) {
            self.refused(ticket, refusal, view, now);
            return;
        }
        self.outputs.push_back(Output::Persist(record::put_meta(&self.meta)));
        self.outputs.push_back(Output::Persist(record::put_own(number, &body)));
        self.bar(&body);
        let proposed = Proposed {
            number,
            round: 0,
            resend_at: now + self.timing.retransmit,
            backoff: self.timing.retransmit,
            asked: BTreeSet::new(),
            accepted: BTreeMap::new(),
            ceded: BTreeMap::new(),
        };
        if let Some(own) = self.own.get_mut(&ticket) {
            own.phase = Phase::Proposed(proposed);
        }
        self.advance(ticket, view, now);
    }

    /// Asks whom it has not asked, or finishes when all have accepted.
    fn advance(&mut self, ticket: u64, view: &dyn View, now: Instant) {
        let node = self.node;
        let Some((body, proposed)) = self.attempt(ticket) else { return };
        let missing = proposed.unanswered(node, body, view);
        let fresh: Vec<NodeId> = missing.difference(&proposed.asked).copied().collect();
        proposed.asked.extend(&fresh);
        let (claim, round) = (ClaimId { node, number: proposed.number }, proposed.round);
        let body = body.clone();
        if !missing.is_empty() {
            self.ask(ticket, fresh, &Message::Propose { claim, round, body });
        } else if let Some(refusal) = self.fact_against(&body, view) {
            self.refused(ticket, refusal, view, now);
        } else {
            self.complete(ticket, claim, body);
        }
    }

    fn complete(&mut self, ticket: u64, claim: ClaimId, body: ClaimBody) {
        self.outputs.push_back(Output::Persist(record::remove_own(claim.number)));
        self.put_fact(&body);
        let asked = self.own.remove(&ticket).is_some_and(|own| own.asked);
        self.unbar(&body);
        self.finished.insert(claim, body.clone());
        let outcome = match body {
            ClaimBody::Define { definition, .. } => Outcome::Defined(definition),
            ClaimBody::Delete(network) => Outcome::Deleted(network),
            ClaimBody::Forget { victims, .. } => Outcome::Forgotten(victims),
            ClaimBody::Rotate { key, .. } => Outcome::Rotated(key),
        };
        self.decide(ticket, outcome, asked);
    }

    pub(super) fn on_accepted(
        &mut self,
        from: NodeId,
        (claim, subject): (ClaimId, Subject),
        (round, members): (u32, Vec<NodeId>),
        view: &dyn View,
        now: Instant,
    ) {
        let Some(ticket) = self.ticket(claim) else {
            self.settle(from, claim, subject, view);
            return;
        };
        if let Some((_, proposed)) = self.attempt(ticket) {
            let newest = proposed.accepted.get(&from).is_none_or(|(known, _)| *known <= round);
            if newest {
                proposed.accepted.insert(from, (round, members));
            }
        }
        self.advance(ticket, view, now);
    }

    /// Takes note of one part of what an acceptor knows; its facts are joined already.
    pub(super) fn on_ceded(
        &mut self,
        from: NodeId,
        claim: ClaimId,
        (answer, part, parts): (u64, u32, u32),
        view: &dyn View,
        now: Instant,
    ) {
        let Some(ticket) = self.ticket(claim) else { return };
        if let Some((_, proposed)) = self.attempt(ticket) {
            proposed.ceded.entry(from).or_default().take(answer, part, parts);
        }
        self.advance(ticket, view, now);
    }

    pub(super) fn on_refused(
        &mut self,
        from: NodeId,
        (claim, refusal): (ClaimId, Refusal),
        view: &dyn View,
        now: Instant,
    ) {
        if let Refusal::Pending { claim, body } = &refusal
            && claim.node == self.node
            && self.ticket(*claim).is_none()
        {
            self.settle(from, *claim, body.subject(), view);
        }
        if let Some(ticket) = self.ticket(claim) {
            self.refused(ticket, refusal, view, now);
        }
    }

    /// Tells an acceptor how a claim ended that is open no more.
    pub(super) fn settle(&mut self, to: NodeId, claim: ClaimId, subject: Subject, view: &dyn View) {
        if self.ticket(claim).is_some() {
            return;
        }
        let is_done = is_done(&subject, view) || self.finished.contains_key(&claim);
        let verdict = if is_done { Verdict::InForce } else { Verdict::Withdrawn };
        self.send(to, Message::Settled { claim, verdict });
    }

    /// Withdraws, whoever refused, and decides: joined, refused, or to be tried again.
    fn refused(&mut self, ticket: u64, refusal: Refusal, view: &dyn View, now: Instant) {
        self.withdraw(ticket);
        let Some(own) = self.own.get(&ticket) else { return };
        let outcome = match (&own.body, refusal) {
            (ClaimBody::Define { definition, origins }, Refusal::InForce(other)) => {
                if view.is_deleted(other.id) {
                    // The refuser has not heard of the delete yet.
                    self.rest(ticket, (other.stamp.node, other.name), 1, now);
                    return;
                }
                against(definition, origins, other)
            }
            (
                ClaimBody::Delete(_) | ClaimBody::Forget { .. } | ClaimBody::Rotate { .. },
                Refusal::InForce(other),
            ) => {
                self.rest(ticket, (other.stamp.node, other.name), 1, now);
                return;
            }
            (mine, Refusal::Pending { claim, body }) => {
                let patience = if outranks((mine, ticket), (&body, claim.number)) { 1 } else { 4 };
                self.rest(ticket, (claim.node, name(&body)), patience, now);
                return;
            }
            (ClaimBody::Define { definition, .. }, Refusal::Deleted) => {
                Outcome::Refused(ClaimError::IdUsed(definition.id))
            }
            // Somebody else was quicker, to the same end.
            (ClaimBody::Delete(network), Refusal::Deleted) => Outcome::Deleted(*network),
            (body, Refusal::InUse(nodes)) => Outcome::Refused(in_use(body, nodes, view)),
            (_, Refusal::Full) => Outcome::Refused(ClaimError::Full),
            (ClaimBody::Define { definition, .. }, Refusal::Invalid) => {
                Outcome::Refused(invalid(definition, "a member refused it"))
            }
            (ClaimBody::Delete(network), Refusal::Invalid) => {
                Outcome::Refused(ClaimError::NoSuchNetwork(*network))
            }
            (ClaimBody::Rotate { .. }, _) | (_, Refusal::Rotated) => {
                Outcome::Refused(ClaimError::Rotated)
            }
            (_, Refusal::Answers(nodes)) => Outcome::Refused(ClaimError::Answers { nodes }),
            (body, refusal @ (Refusal::Gone | Refusal::Invalid | Refusal::Deleted)) => {
                Outcome::Refused(forget::refused(body, &refusal))
            }
        };
        let asked = own.asked;
        self.own.remove(&ticket);
        self.adopt(&outcome, view);
        self.decide(ticket, outcome, asked);
    }

    /// What ended a claim may not have come here yet as a fact.
    fn adopt(&mut self, outcome: &Outcome, view: &dyn View) {
        match outcome {
            Outcome::Joined(definition) if !view.is_defined(definition.id) => {
                self.put_definition(definition);
            }
            Outcome::Deleted(network) if !view.is_deleted(*network) => self.put_deleted(*network),
            Outcome::Joined(_)
            | Outcome::Deleted(_)
            | Outcome::Defined(_)
            | Outcome::Forgotten(_)
            | Outcome::Rotated(_)
            | Outcome::Refused(_) => {}
        }
    }

    /// Pauses at random, so that rivals do not meet again; the one of the lower stamp less.
    fn rest(&mut self, ticket: u64, (node, what): (NodeId, String), patience: u32, now: Instant) {
        let random = self.rng.next_u64();
        let Some(own) = self.own.get_mut(&ticket) else { return };
        let base = self.timing.pause * patience * (1 << own.refused.min(5));
        let micros = u64::try_from(base.as_micros()).unwrap_or(u64::MAX).max(1);
        let until = now + base + Duration::from_micros(random % micros);
        own.refused = own.refused.saturating_add(1);
        own.phase = Phase::Resting { until, node, what };
    }

    /// Gives up the present attempt, on disk first, then to all who were asked.
    fn withdraw(&mut self, ticket: u64) {
        let node = self.node;
        let Some((body, proposed)) = self.attempt(ticket) else { return };
        let (body, number) = (body.clone(), proposed.number);
        let asked = std::mem::take(&mut proposed.asked);
        if let Some(own) = self.own.get_mut(&ticket) {
            let until = own.deadline;
            own.phase = Phase::Resting { until, node, what: name(&body) };
        }
        self.outputs.push_back(Output::Persist(record::remove_own(number)));
        self.unbar(&body);
        let message = Message::Settled { claim: self.claim(number), verdict: Verdict::Withdrawn };
        self.send_all(asked, &message);
    }

    /// Decides what a new fact decides, and asks or finishes where the members changed.
    pub(super) fn on_view_changed(&mut self, view: &dyn View, now: Instant) {
        for ticket in self.tickets() {
            let Some(own) = self.own.get(&ticket) else { continue };
            let body = own.body.clone();
            match self.fact_against(&body, view) {
                Some(refusal) => self.refused(ticket, refusal, view, now),
                None => self.advance(ticket, view, now),
            }
        }
    }

    pub(super) fn claims_due(&mut self, view: &dyn View, now: Instant) {
        for ticket in self.tickets() {
            let Some(own) = self.own.get(&ticket) else { continue };
            if own.deadline <= now {
                self.expire(ticket, view);
                continue;
            }
            match &own.phase {
                Phase::Proposed(proposed) if proposed.resend_at <= now => {
                    self.resend(ticket, view, now);
                }
                Phase::Resting { until, .. } if *until <= now => {
                    let number = self.meta.next;
                    self.meta.next += 1;
                    self.propose(ticket, number, view, now);
                }
                Phase::Proposed(_) | Phase::Resting { .. } => {}
            }
        }
    }

    fn resend(&mut self, ticket: u64, view: &dyn View, now: Instant) {
        let node = self.node;
        let longest = self.timing.retransmit * 2;
        let Some((body, proposed)) = self.attempt(ticket) else { return };
        let body = body.clone();
        proposed.round = proposed.round.saturating_add(1);
        proposed.backoff = (proposed.backoff * 2).min(longest);
        proposed.resend_at = now + proposed.backoff;
        let mut again = proposed.unanswered(node, &body, view);
        again.extend(proposed.outdated(&again, view));
        proposed.asked.extend(&again);
        let claim = ClaimId { node, number: proposed.number };
        let message = Message::Propose { claim, round: proposed.round, body };
        self.ask(ticket, again, &message);
    }

    fn expire(&mut self, ticket: u64, view: &dyn View) {
        let node = self.node;
        let missing =
            self.attempt(ticket).map(|(body, proposed)| proposed.unanswered(node, body, view));
        self.withdraw(ticket);
        let Some(own) = self.own.remove(&ticket) else { return };
        let error = match (missing, own.phase) {
            (Some(missing), _) => ClaimError::Unanswered { members: missing.into_iter().collect() },
            (None, Phase::Resting { node, what, .. }) => ClaimError::Contended { node, what },
            (None, Phase::Proposed(_)) => ClaimError::Unanswered { members: Vec::new() },
        };
        self.decide(ticket, Outcome::Refused(error), own.asked);
    }

    pub(super) fn withdraw_all(&mut self) {
        self.leaving = true;
        for ticket in self.tickets() {
            self.withdraw(ticket);
            let asked = self.own.remove(&ticket).is_some_and(|own| own.asked);
            self.decide(ticket, Outcome::Refused(ClaimError::Leaving), asked);
        }
    }

    /// The own claims that are proposed now: they refuse rivals as held ones do.
    pub(super) fn open_claims(&self) -> impl Iterator<Item = (ClaimId, &ClaimBody)> {
        self.own.values().filter_map(|own| match &own.phase {
            Phase::Proposed(proposed) => Some((self.claim(proposed.number), &own.body)),
            Phase::Resting { .. } => None,
        })
    }

    /// Who has not answered the own claim on `subject`, as long as it is proposed.
    pub(super) fn unanswered(&self, subject: &Subject, view: &dyn View) -> Vec<NodeId> {
        let own = self.own.values().find(|own| own.body.subject() == *subject);
        own.map_or_else(Vec::new, |own| match &own.phase {
            Phase::Proposed(proposed) => {
                proposed.unanswered(self.node, &own.body, view).into_iter().collect()
            }
            Phase::Resting { .. } => Vec::new(),
        })
    }

    fn tickets(&self) -> Vec<u64> {
        self.own.keys().copied().collect()
    }

    fn ticket(&self, claim: ClaimId) -> Option<u64> {
        let mine = |own: &Own| match &own.phase {
            Phase::Proposed(proposed) => self.claim(proposed.number) == claim,
            Phase::Resting { .. } => false,
        };
        self.own.iter().find(|(_, own)| mine(own)).map(|(ticket, _)| *ticket)
    }

    fn attempt(&mut self, ticket: u64) -> Option<(&ClaimBody, &mut Proposed)> {
        let own = self.own.get_mut(&ticket)?;
        match &mut own.phase {
            Phase::Proposed(proposed) => Some((&own.body, proposed)),
            Phase::Resting { .. } => None,
        }
    }

    fn claim(&self, number: u64) -> ClaimId {
        ClaimId { node: self.node, number }
    }

    fn ask(&mut self, ticket: u64, members: impl IntoIterator<Item = NodeId>, propose: &Message) {
        let mut members = members.into_iter().peekable();
        if let Some(own) = self.own.get_mut(&ticket) {
            own.asked |= members.peek().is_some();
        }
        self.send_all(members, propose);
    }

    fn decide(&mut self, ticket: u64, outcome: Outcome, asked: bool) {
        let id = self.claim(ticket);
        self.outputs.push_back(Output::Decided { id, outcome, asked });
    }
}

/// Decides a definition against a network in force that is in its way.
fn against(mine: &Definition, origins: &[Origin], other: Definition) -> Outcome {
    let (id, name) = (other.id, mine.name.clone());
    let error = match conflict::clash(mine, &other) {
        Some(Clash::Name) if conflict::same_shape(mine, origins, &other) => {
            return Outcome::Joined(other);
        }
        Some(Clash::Pool { mine, other: other_pool }) => {
            ClaimError::PoolOverlap { pool: mine, other_pool, other: other.name }
        }
        Some(Clash::Vni(vni)) => ClaimError::VniTaken { vni, other: other.name },
        Some(Clash::Id) => ClaimError::IdUsed(id),
        Some(Clash::Name) | None => ClaimError::NameTaken { name, id },
    };
    Outcome::Refused(error)
}

fn in_use(body: &ClaimBody, mut nodes: Vec<NodeId>, view: &dyn View) -> ClaimError {
    // Only a claim to delete is refused so; a member that says it of another is at fault.
    let network = body.subject().network().unwrap_or(NetworkId::from_bytes([0; 16]));
    nodes.extend(view.attached(network));
    nodes.sort_unstable();
    nodes.dedup();
    ClaimError::InUse { network, nodes }
}

fn invalid(definition: &Definition, what: &'static str) -> ClaimError {
    ClaimError::Invalid { name: definition.name.clone(), what }
}

/// Of two rivals one rests less. Any rule serves that both see alike.
fn outranks((mine, ticket): (&ClaimBody, u64), (other, number): (&ClaimBody, u64)) -> bool {
    match (mine, other) {
        (
            ClaimBody::Define { definition: mine, .. },
            ClaimBody::Define { definition: other, .. },
        ) => (mine.stamp, mine.id) < (other.stamp, other.id),
        (ClaimBody::Delete(_) | ClaimBody::Forget { .. } | ClaimBody::Rotate { .. }, _)
        | (
            ClaimBody::Define { .. },
            ClaimBody::Delete(_) | ClaimBody::Forget { .. } | ClaimBody::Rotate { .. },
        ) => ticket < number,
    }
}

fn name(body: &ClaimBody) -> String {
    match body {
        ClaimBody::Define { definition, .. } => definition.name.clone(),
        ClaimBody::Delete(network) => network.to_string(),
        ClaimBody::Forget { victims, .. } => {
            let names: Vec<String> = victims.iter().map(NodeId::short).collect();
            names.join(", ")
        }
        ClaimBody::Rotate { .. } => rotate::NAME.to_owned(),
    }
}
