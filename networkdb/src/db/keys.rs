//! The cluster's keys: rotated by a claim, retired by a fact, told on streams.

use std::time::Instant;

use rand::seq::SliceRandom;
use weft_api::NodeId;

use crate::claims::{self, ClaimBody, ClaimId, Reach, View};
use crate::db::{NetworkDb, parts};
use crate::facts::FactKind;
use crate::keys::{
    self, Fingerprint, Key, KeyRing, KeysMessage, RING_SUBJECT, RingState, UseState,
};
use crate::membership::greeter::Target;
use crate::output::{Outdated, Output, StreamId};
use crate::sync::Carrier;
use crate::sync::message::{Relay, WireFact};
use crate::wire::Message;
use crate::wire::streams::Phase;

/// Members that are asked for a key that is in force and not here.
const ASKED_FOR_KEYS: usize = 8;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRole {
    /// It seals, and is in new tokens.
    Primary,
    /// It sealed before the primary, and still opens.
    Accepted,
    /// Members are asked to take it. It opens already, and may yet be withdrawn.
    Pending,
}

/// A key of the ring, as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// Names it.
    pub id: Fingerprint,
    /// What it is for.
    pub role: KeyRole,
    /// The rotation that brought it; 0: the founder's.
    pub rotation: u64,
    /// Who claims that it become the primary, where it is pending.
    pub claimant: Option<NodeId>,
    /// Of a pending key, at its claimant: who has not accepted it yet. Of the others: who has not
    /// said yet that it seals with the primary. Ascending.
    pub missing: Vec<NodeId>,
}

/// Why a key is not retired. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetireError {
    /// There is none of this name. The caller's to solve.
    #[error("key {0} is not in the ring")]
    Unknown(Fingerprint),
    /// It seals. The caller's to solve, by a rotation first.
    #[error("key {0} is the primary")]
    Primary(Fingerprint),
    /// Its rotation is under way, and ends by itself.
    #[error("key {0} is not in force yet")]
    Pending(Fingerprint),
    /// These have not said yet that they seal with the primary: they would be cut off.
    #[error("{} members have not confirmed the primary", .0.len())]
    Unconfirmed(Vec<NodeId>),
}

impl NetworkDb {
    /// Claims that `key`, 32 fresh random bytes, seal from now on. The one that seals now goes on
    /// to open; the one before it is retired. Ends with [`Output::Claim`]:
    /// [`Outcome::Rotated`](crate::Outcome::Rotated) says that every member that had to has it.
    ///
    /// It begins once the present key has sealed for
    /// [`Timing::key_rest`](crate::Timing::key_rest).
    pub fn rotate_key(&mut self, key: Key, reach: Reach, now: Instant) -> ClaimId {
        let (rotation, base) = self.keyring.state().primary();
        let named = self.keyring.name(key);
        let key = named.key.fingerprint();
        if !self.claims.is_rotating() {
            self.keyring.propose(named);
        }
        let rotation = rotation.saturating_add(1);
        self.submit(ClaimBody::Rotate { key, rotation, base, reach }, now)
    }

    /// Retires a key that was the primary once: it opens nothing any more, on any member, for ever.
    ///
    /// # Errors
    /// [`RetireError`]; with [`Reach::Present`] it does not matter who has not confirmed.
    pub fn retire_key(
        &mut self,
        key: Fingerprint,
        reach: Reach,
        now: Instant,
    ) -> Result<(), RetireError> {
        let state = self.keyring.state();
        if state.primary().1 == key {
            return Err(RetireError::Primary(key));
        }
        if self.keyring.pending().any(|pending| pending == key) && !state.contains(key) {
            return Err(RetireError::Pending(key));
        }
        if !state.contains(key) {
            return Err(RetireError::Unknown(key));
        }
        let state = state.without_others().encode();
        let missing = self.unconfirmed();
        if reach == Reach::Everyone && !missing.is_empty() {
            return Err(RetireError::Unconfirmed(missing));
        }
        // The state is sound and small, so it is not refused.
        let _ = self.sync.put_fact(FactKind::KEYS, RING_SUBJECT, &state, now);
        self.settle(now);
        Ok(())
    }

    /// Returns the keys that this node uses; the first one seals, and is the one for tokens.
    pub fn key_ring(&self) -> &KeyRing {
        self.keyring.ring()
    }

    /// Lists the keys of the ring, the primary first.
    pub fn keys(&self) -> Vec<KeyStatus> {
        let state = self.keyring.state();
        let (latest, primary) = state.primary();
        let missing = self.unconfirmed();
        let in_force = state.keys().iter().rev().map(|(rotation, id)| KeyStatus {
            id: *id,
            role: if *id == primary { KeyRole::Primary } else { KeyRole::Accepted },
            rotation: *rotation,
            claimant: None,
            missing: missing.clone(),
        });
        let view = self.view();
        let rotations = self.claims.rotations().filter(|(_, id)| !state.contains(*id));
        let pending = rotations.map(|(claim, id)| KeyStatus {
            id,
            role: KeyRole::Pending,
            rotation: latest.saturating_add(1),
            claimant: Some(claim.node),
            missing: self.claims.waits_for(id, &view),
        });
        in_force.chain(pending).collect()
    }

    /// Takes a key on an operator's word, to get in touch with a cluster that rotated its keys
    /// while this member was away. [`NetworkDb::join`] then greets it. Kept until a member has told
    /// the ring, until [`NetworkDb::end_join`], or until the next start.
    pub fn readmit(&mut self, key: Key, now: Instant) {
        self.keyring.lend(Some(key));
        self.settle(now);
    }

    fn view(&self) -> parts::PartsView<'_> {
        let Self { membership, sync, definitions, in_use, keyring, .. } = self;
        parts::PartsView { membership, sync, definitions, in_use, keyring }
    }

    /// Members that have not said yet that they seal with the primary.
    fn unconfirmed(&self) -> Vec<NodeId> {
        let (latest, _) = self.keyring.state().primary();
        let mut members = self.view().members();
        members.retain(|node| {
            let said = self.sync.fact(FactKind::KEY_USE, node.as_bytes());
            let said = said.and_then(|bytes| UseState::decode(bytes).ok());
            latest > 0 && said.is_none_or(|said| said.rotation < latest)
        });
        members
    }

    /// Sends the key to come ahead of a proposal; both go by stream then.
    pub(super) fn send_key_ahead(
        &mut self,
        to: NodeId,
        message: &claims::Message,
        now: Instant,
    ) -> Carrier {
        let claims::Message::Propose { body: ClaimBody::Rotate { key, .. }, .. } = message else {
            return Carrier::Datagram;
        };
        if let Some(named) = self.keyring.named(*key).cloned() {
            self.post(to, &Message::Keys(KeysMessage::Next(named)), Carrier::Stream, now);
        }
        Carrier::Stream
    }

    /// Tells a peer the ring, unless it is as at the founding.
    pub(super) fn tell_ring(&mut self, stream: StreamId) {
        if !self.keyring.is_plain() {
            self.put_frame(stream, &Message::Keys(self.keyring.message()));
        }
    }

    /// Takes what a peer tells of keys; `from` is known once it has said who it is.
    pub(super) fn on_keys_message(
        &mut self,
        from: Option<NodeId>,
        message: KeysMessage,
        now: Instant,
    ) {
        match message {
            KeysMessage::Next(named) => self.keyring.hear(vec![named]),
            KeysMessage::Ring { state, keys } => {
                let before = self.keyring.state().clone();
                let told_keys = keys.iter().map(|named| named.key.fingerprint()).collect();
                let lacked = self.keyring.lacks_any();
                self.keyring.hear(keys);
                let filled = lacked && !self.keyring.lacks_any();
                let told = RingState::decode(&state).ok();
                if told.is_some() {
                    let subject = RING_SUBJECT.to_vec();
                    let fact = WireFact { kind: FactKind::KEYS, subject, state };
                    self.sync.take_facts(Relay::New, vec![fact], now);
                    self.settle(now);
                }
                let after = self.keyring.state().clone();
                if filled || after != before && told.is_some_and(|told| told != after) {
                    // Two halves rotated apart: whoever could open what one of them sealed cannot
                    // open what is sealed from now on. Some may have asked in vain before.
                    self.tell_ring_to(usize::MAX, now);
                } else if let Some(from) = from
                    && self.keyring.has_more_than(&told_keys)
                {
                    let message = Message::Keys(self.keyring.message());
                    self.post(from, &message, Carrier::Stream, now);
                }
            }
        }
    }

    fn tell_ring_to(&mut self, most: usize, now: Instant) {
        let mut to: Vec<NodeId> = self.membership.alive().map(|member| member.id).collect();
        to.shuffle(&mut self.rng);
        to.truncate(most);
        let message = Message::Keys(self.keyring.message());
        self.post_all(&to, &message, Carrier::Stream, now);
    }

    /// A fact about keys has a new state.
    pub(super) fn on_keys_fact(&mut self, kind: FactKind, state: &[u8], now: Instant) {
        if kind != FactKind::KEYS {
            return;
        }
        self.keyring.on_state(state, now);
        let Self { claims, membership, sync, definitions, in_use, keyring, .. } = self;
        let view = parts::PartsView { membership, sync, definitions, in_use, keyring };
        claims.on_keys(&view, now);
        if self.keyring.lacks_any() {
            // Whoever has what this one lacks tells it in turn.
            self.tell_ring_to(ASKED_FOR_KEYS, now);
        }
    }

    pub(super) fn carry_keys(&mut self, output: keys::Output, now: Instant) {
        match output {
            keys::Output::Persist(write) => self.writes.push_back(write),
            keys::Output::Changed(ring) => {
                self.outdated = false;
                self.outputs.push_back(Output::Keys(ring));
            }
            keys::Output::Switched { .. } => {
                self.streams.outdate();
                self.say_key_use(now);
            }
        }
    }

    /// Says for all to know which key this node seals with.
    fn say_key_use(&mut self, now: Instant) {
        let (rotation, key) = self.keyring.sealing();
        let state = UseState { rotation, key }.encode();
        let own = self.config.node;
        // The state is sound and small, so it is not refused.
        let _ = self.sync.put_fact(FactKind::KEY_USE, own.as_bytes(), &state, now);
    }

    /// Takes up what was restored: keys that no claim needs any more go.
    pub(super) fn start_keys(&mut self, now: Instant) {
        self.keyring.refresh();
        if !self.keyring.is_plain() {
            self.outputs.push_back(Output::Keys(self.keyring.ring().clone()));
        }
        let said = self.sync.fact(FactKind::KEY_USE, self.config.node.as_bytes());
        if said.is_none() && self.keyring.sealing().0 > 0 {
            self.say_key_use(now);
        }
        self.settle(now);
    }

    /// Whoever was called accepts none of this node's keys.
    pub(super) fn on_key_refused(&mut self, stream: StreamId, now: Instant) {
        self.counters.streams_failed += 1;
        match self.streams.phase(stream) {
            // Another seed may have the key.
            Some(Phase::Opening(Target::Seed(_))) => self.wrong_key = true,
            Some(Phase::Opening(Target::Node(node))) if !self.outdated => {
                self.outdated = true;
                let mut others = self.membership.alive();
                let answered = others.any(|member| member.id != node);
                let who = if answered { Outdated::Other(node) } else { Outdated::This(node) };
                self.outputs.push_back(Output::Outdated(who));
            }
            Some(Phase::Opening(_) | Phase::Greeting(_) | Phase::Awaiting | Phase::Up(_))
            | None => {}
        }
        self.on_broken(stream, "the other side does not accept our key", now);
    }
}
