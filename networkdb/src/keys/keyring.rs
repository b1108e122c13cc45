//! The keys that this node holds: those in force, and those of rotations under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use weft_api::{Space, Write};

use super::{Fingerprint, Key, KeyRing, KeysMessage, NamedKey, RingState, Slot};
use crate::output::RestoreError;
use crate::wire::codec;

/// Keys kept that no ring and no claim names yet.
const OFFERS_MAX: usize = 16;
/// Keys taken out of one message: a ring, and the rotations that a member may hold.
const KEYS_TAKEN_MAX: usize = 8;

/// What the keyring wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) enum Output {
    /// Durable before the outputs after it.
    Persist(Write),
    /// Other keys open or seal from now on.
    Changed(KeyRing),
    /// Another key seals from now on: it came with this rotation.
    Switched { rotation: u64, key: Fingerprint },
}

/// The keys of this node.
pub(crate) struct Keyring {
    /// Of the facts. A cluster that never rotated has none.
    state: RingState,
    is_fact: bool,
    /// Every key known that is in force.
    held: BTreeMap<Fingerprint, NamedKey>,
    /// Keys of rotations under way, by the claims that need them.
    pending: BTreeMap<Fingerprint, NamedKey>,
    /// Keys that claims need and that have not come.
    wanted: BTreeSet<Fingerprint>,
    /// The key of the last rotation that this node asked for.
    candidate: Option<NamedKey>,
    /// Heard of, and named by nobody yet; the oldest goes first.
    offers: VecDeque<NamedKey>,
    /// An operator's word that this is a key of the cluster.
    spare: Option<Key>,
    persisted: BTreeSet<Fingerprint>,
    ring: KeyRing,
    sealing: (u64, Fingerprint),
    rest: Duration,
    rested_at: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("state", &self.state)
            .field("held", &self.held.keys())
            .field("pending", &self.pending.keys())
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// Takes the keys up again. `ring` is what the caller knows without the store: the founder's
    /// key, or a token's. `state` is the fact; `rest` how long a key seals at least.
    pub(crate) fn new(
        ring: &KeyRing,
        restored: &[(Space, Vec<u8>, Vec<u8>)],
        state: Option<&[u8]>,
        rest: Duration,
        now: Instant,
    ) -> Result<Self, RestoreError> {
        let damaged = || RestoreError::Undecodable { what: "key" };
        let first = ring.primary().1.fingerprint();
        let is_fact = state.is_some();
        let state = match state {
            Some(bytes) => RingState::decode(bytes).map_err(|_| damaged())?,
            None => RingState::founded(first),
        };
        let mut keyring = Self {
            sealing: state.primary(),
            state,
            is_fact,
            held: BTreeMap::new(),
            pending: BTreeMap::new(),
            wanted: BTreeSet::new(),
            candidate: None,
            offers: VecDeque::new(),
            spare: None,
            persisted: BTreeSet::new(),
            ring: ring.clone(),
            rest,
            // What an earlier life sent under another key may be on its way.
            rested_at: is_fact.then(|| now + rest),
            outputs: VecDeque::new(),
        };
        for slot in &ring.slots {
            keyring.offer(NamedKey { id: slot.id, key: slot.key.clone() });
        }
        for (_, _, value) in restored.iter().filter(|(space, ..)| *space == Space::Keys) {
            let named: NamedKey = codec::decode(value).map_err(|_| damaged())?;
            keyring.persisted.insert(named.key.fingerprint());
            keyring.offer(named);
        }
        keyring.take_offers();
        keyring.ring = keyring.made(ring);
        Ok(keyring)
    }

    /// The keys as they are used now.
    pub(crate) fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Which keys are in force.
    pub(crate) fn state(&self) -> &RingState {
        &self.state
    }

    /// Whether the cluster ever rotated, or is about to.
    pub(crate) fn is_plain(&self) -> bool {
        !self.is_fact && self.pending.is_empty()
    }

    /// The rotation and key that this node seals with.
    pub(crate) fn sealing(&self) -> (u64, Fingerprint) {
        self.sealing
    }

    /// Whether the bytes of a key are here.
    pub(crate) fn knows(&self, key: Fingerprint) -> bool {
        self.named(key).is_some()
    }

    pub(crate) fn named(&self, key: Fingerprint) -> Option<&NamedKey> {
        let candidate = self.candidate.as_ref().filter(|named| named.key.fingerprint() == key);
        let offered = || self.offers.iter().find(|named| named.key.fingerprint() == key);
        self.held.get(&key).or_else(|| self.pending.get(&key)).or(candidate).or_else(offered)
    }

    /// Whether a key is in force and not here.
    pub(crate) fn lacks_any(&self) -> bool {
        self.state.keys().iter().any(|(_, key)| !self.held.contains_key(key))
    }

    /// Whether a key is in force and here that is not among these.
    pub(crate) fn has_more_than(&self, keys: &BTreeSet<Fingerprint>) -> bool {
        self.is_fact && self.held.keys().any(|key| !keys.contains(key))
    }

    /// When the primary has been in use for long enough that nothing sealed before it is on its
    /// way any more; only then another rotation may begin.
    pub(crate) fn rested_at(&self) -> Option<Instant> {
        self.rested_at
    }

    /// The keys of rotations under way.
    pub(crate) fn pending(&self) -> impl Iterator<Item = Fingerprint> {
        self.pending.keys().copied()
    }

    /// What a peer needs to know, as its message.
    pub(crate) fn message(&self) -> KeysMessage {
        let state = if self.is_fact { self.state.encode() } else { Vec::new() };
        let keys = self.held.values().chain(self.pending.values()).cloned().collect();
        KeysMessage::Ring { state, keys }
    }

    /// Chooses the byte that a new key goes by: one that no other key has here.
    pub(crate) fn name(&self, key: Key) -> NamedKey {
        let used: BTreeSet<u8> =
            self.held.values().chain(self.pending.values()).map(|named| named.id).collect();
        let [first, ..] = *key.fingerprint().as_bytes();
        let ids = (0..=u8::MAX).map(|step| first.wrapping_add(step));
        // Zero and one are what earlier formats and tokens say for want of an id.
        let id = ids.filter(|id| *id > 1).find(|id| !used.contains(id)).unwrap_or(first);
        NamedKey { id, key }
    }

    /// Keeps a key for a rotation of this node's own.
    pub(crate) fn propose(&mut self, key: NamedKey) {
        self.candidate = Some(key);
    }

    /// Takes note of a key that somebody told.
    pub(crate) fn hear(&mut self, keys: Vec<NamedKey>) {
        for named in keys.into_iter().take(KEYS_TAKEN_MAX) {
            self.offer(named);
        }
        self.refresh();
    }

    fn offer(&mut self, named: NamedKey) {
        let key = named.key.fingerprint();
        if let Some(held) = self.held.get_mut(&key) {
            // A token does not tell the id of its key, a member does.
            held.id = named.id;
        } else if self.wanted.remove(&key) {
            self.pending.insert(key, named);
        } else {
            self.offers.retain(|other| other.key != named.key);
            self.offers.push_back(named);
            if self.offers.len() > OFFERS_MAX {
                self.offers.pop_front();
            }
        }
    }

    /// A claim that is made or held here needs a key.
    pub(crate) fn keep(&mut self, key: Fingerprint) {
        match self.named(key).cloned() {
            Some(named) => drop(self.pending.insert(key, named)),
            None => drop(self.wanted.insert(key)),
        }
        self.refresh();
    }

    /// No claim needs a key any more. If it came into force it is held as such.
    pub(crate) fn release(&mut self, key: Fingerprint) {
        self.wanted.remove(&key);
        if let Some(named) = self.pending.remove(&key) {
            self.offer(named);
        }
        self.refresh();
    }

    /// The fact has a new state.
    pub(crate) fn on_state(&mut self, bytes: &[u8], now: Instant) {
        let Ok(state) = RingState::decode(bytes) else { return };
        self.state = state;
        self.is_fact = true;
        self.spare = None;
        self.rested_at = Some(now + self.rest);
        self.refresh();
    }

    /// Takes a key to call others with on an operator's word, until a member has told the ring; or
    /// gives it up.
    pub(crate) fn lend(&mut self, key: Option<Key>) {
        self.spare = key;
        self.refresh();
    }

    /// Brings what is held, what is on disk and what is used in line with what is in force.
    pub(crate) fn refresh(&mut self) {
        self.take_offers();
        self.write();
        let ring = self.made(&self.ring);
        if ring != self.ring {
            self.ring = ring.clone();
            self.outputs.push_back(Output::Changed(ring));
        }
        let first = self.ring.primary().1.fingerprint();
        let sealing = self.state.keys().iter().rev().find(|(_, key)| *key == first).copied();
        if let Some((rotation, key)) = sealing.filter(|sealing| *sealing != self.sealing) {
            self.sealing = (rotation, key);
            self.outputs.push_back(Output::Switched { rotation, key });
        }
    }

    /// Holds what is in force and known, and nothing else.
    fn take_offers(&mut self) {
        for (_, key) in self.state.keys() {
            if !self.held.contains_key(key)
                && let Some(named) = self.named(*key).cloned()
            {
                self.held.insert(*key, named);
            }
        }
        let state = &self.state;
        self.held.retain(|key, _| state.contains(*key));
        self.offers.retain(|named| !state.contains(named.key.fingerprint()));
    }

    /// The ring of the moment; `last` where no key in force is known.
    fn made(&self, last: &KeyRing) -> KeyRing {
        let in_force = self.state.keys().iter().rev().filter_map(|(_, key)| self.held.get(key));
        let mut slots = in_force.chain(self.pending.values()).map(|named| Slot {
            id: named.id,
            guessed: false,
            key: named.key.clone(),
        });
        let mut ring = match slots.next() {
            Some(first) => KeyRing { slots: vec![first], lent: None },
            None => KeyRing { slots: last.slots.iter().take(1).cloned().collect(), lent: None },
        };
        slots.for_each(|slot| ring.push(slot));
        if !self.is_fact {
            // The id is still what the caller said of it.
            for slot in &mut ring.slots {
                let same = last.slots.iter().find(|other| other.key == slot.key);
                slot.guessed = same.is_some_and(|other| other.guessed && other.id == slot.id);
            }
        }
        ring.lent = self.spare.clone();
        ring
    }

    fn write(&mut self) {
        let mut wanted: BTreeMap<Fingerprint, &NamedKey> = BTreeMap::new();
        if !self.is_plain() {
            wanted.extend(self.held.iter().map(|(key, named)| (*key, named)));
        }
        wanted.extend(self.pending.iter().map(|(key, named)| (*key, named)));
        let gone = self.persisted.iter().filter(|key| !wanted.contains_key(key));
        let mut writes: Vec<Write> = gone.map(|key| write(*key, None)).collect();
        let new = wanted.iter().filter(|(key, _)| !self.persisted.contains(key));
        writes.extend(new.map(|(key, named)| write(*key, Some(*named))));
        self.persisted = wanted.into_keys().collect();
        self.outputs.extend(writes.into_iter().map(Output::Persist));
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}

fn write(key: Fingerprint, named: Option<&NamedKey>) -> Write {
    let value = named.map(|named| codec::encode(named).expect("a key is short"));
    Write { space: Space::Keys, key: key.as_bytes().to_vec(), value }
}
