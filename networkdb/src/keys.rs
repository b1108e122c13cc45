//! The cluster's keys.

use std::fmt;

/// A cluster key: 32 secret bytes. Its `Debug` form does not show them.
#[derive(Clone, PartialEq, Eq)]
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
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Up to three keys, each under an id byte; the first one seals, all of them open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRing {
    keys: Vec<(u8, Key)>,
}

impl KeyRing {
    /// How many keys a ring holds at most.
    pub const MAX: usize = 3;

    /// Makes a ring of one key.
    pub fn new(id: u8, key: Key) -> Self {
        Self { keys: vec![(id, key)] }
    }

    /// Returns the key that seals, and its id.
    pub fn primary(&self) -> (u8, &Key) {
        let (id, key) = self.keys.first().expect("a ring is made with one key and never emptied");
        (*id, key)
    }

    /// Returns the key of an id.
    pub fn get(&self, id: u8) -> Option<&Key> {
        self.keys.iter().find(|(known, _)| *known == id).map(|(_, key)| key)
    }

    /// Adds a key that opens and does not seal yet, in place of the oldest when the ring is full.
    pub fn add(&mut self, id: u8, key: Key) {
        self.keys.retain(|(known, _)| *known != id);
        self.keys.truncate(Self::MAX - 1);
        self.keys.push((id, key));
    }
}
