//! The cluster's keys: what they are, which are in force, and how another one comes into force.

mod facts;
mod keyring;
mod message;

use std::fmt;

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};

pub(crate) use facts::{RING_SUBJECT, RingJoin, RingState, UseJoin, UseState};
pub(crate) use keyring::{Keyring, Output};
pub(crate) use message::{KeysMessage, NamedKey};

/// The nonce that only fingerprints are made with. A datagram's is random, so it is never this.
const FINGERPRINT_NONCE: [u8; 24] = *b"weft key fingerprint v01";

/// The id that a key goes by whose id is not known.
const GUESS: u8 = 1;

/// A cluster key: 32 secret bytes. Its `Debug` form does not show them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key([u8; 32]);

impl Key {
    /// Takes the 32 bytes as they are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the key's public name: the first bytes of a cipher stream that is used for nothing
    /// else. It tells nothing of the key, and two keys have one with a chance of 2^-64.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut bytes = [0; Fingerprint::BYTES];
        XChaCha20Poly1305::new((&self.0).into())
            .encrypt_in_place_detached(XNonce::from_slice(&FINGERPRINT_NONCE), &[], &mut bytes)
            .expect("eight bytes are far below the cipher's limit");
        Fingerprint(bytes)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Names a key without telling it. Prints as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint([u8; Self::BYTES]);

impl Fingerprint {
    const BYTES: usize = 8;

    /// Takes the bytes as they are.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// One key of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    /// The byte that datagrams and hellos name the key by.
    id: u8,
    /// Whether the id is a guess, because a token does not tell it: the key is tried for every id.
    guessed: bool,
    key: Key,
}

/// Up to three keys, each under an id byte; the first one seals, all of them open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRing {
    slots: Vec<Slot>,
    /// To call with, and for nothing else: an operator's word is all that speaks for it.
    lent: Option<Key>,
}

impl KeyRing {
    /// How many keys a ring holds: the primary, the one before it and the one that is to come.
    /// A fourth one may be there for an instant only, where two rotations are heard of at once.
    pub const MAX: usize = 3;

    /// Makes a ring of one key.
    pub fn new(id: u8, key: Key) -> Self {
        Self { slots: vec![Slot { id, guessed: false, key }], lent: None }
    }

    /// Makes a ring of the key of a token, which does not tell the key's id: it opens whatever it
    /// can, until a member has told the cluster's ring.
    pub fn of_token(id: u8, key: Key) -> Self {
        Self { slots: vec![Slot { id, guessed: true, key }], lent: None }
    }

    /// Returns the key that seals, and its id.
    pub fn primary(&self) -> (u8, &Key) {
        let slot = self.slots.first().expect("a ring is made with one key and never emptied");
        (slot.id, &slot.key)
    }

    /// Returns all keys with their ids, the one that seals first.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &Key)> {
        self.slots.iter().map(|slot| (slot.id, &slot.key))
    }

    /// Returns the keys to call others with, one after the other until one is accepted.
    pub fn to_call_with(&self) -> impl Iterator<Item = (u8, &Key)> {
        self.iter().chain(self.lent.iter().map(|key| (GUESS, key)))
    }

    /// Returns the keys that may have sealed what names this id.
    pub(crate) fn candidates(&self, id: u8) -> impl Iterator<Item = &Key> {
        self.slots.iter().filter(move |slot| slot.guessed || slot.id == id).map(|slot| &slot.key)
    }

    /// Tells whether a key is in the ring.
    pub fn contains(&self, key: &Key) -> bool {
        self.slots.iter().any(|slot| slot.key == *key)
    }

    /// Adds a key that opens and does not seal. For whoever has no [`NetworkDb`](crate::NetworkDb),
    /// which knows by itself what is in its ring.
    pub fn add(&mut self, id: u8, key: Key) {
        self.push(Slot { id, guessed: false, key });
    }

    fn push(&mut self, slot: Slot) {
        if !self.contains(&slot.key) {
            self.slots.push(slot);
        }
    }
}

#[cfg(test)]
mod tests;
