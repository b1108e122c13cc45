//! What members say to each other about keys. On streams only: this is where secrets travel.

use serde::{Deserialize, Serialize};

use super::Key;

/// A key and the byte that it goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamedKey {
    pub(crate) id: u8,
    pub(crate) key: Key,
}

/// About keys. The order of the variants is on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KeysMessage {
    /// To whoever says hello, before the welcome, and back after it: the ring as a fact (empty:
    /// never rotated), and the keys themselves, those of pending rotations included.
    Ring { state: Vec<u8>, keys: Vec<NamedKey> },
    /// Claimant of a rotation to a member, just before it proposes: the key to come.
    Next(NamedKey),
}
