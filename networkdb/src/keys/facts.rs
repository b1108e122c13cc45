//! What all members know of the keys: which are in force, and who seals with which. No secrets.

use serde::{Deserialize, Serialize};

use super::Fingerprint;
use crate::facts::{Join, JoinError, Joined};
use crate::wire::codec;

/// The subject of the one fact about the ring.
pub(crate) const RING_SUBJECT: &[u8] = b"ring";

/// Keys in force at once: the primary and the one before it.
const IN_FORCE: usize = 2;

/// How many rotations at once are believed. A member that lies must not take the last number there
/// is, after which nobody could rotate.
const LEAP_MAX: u64 = 1 << 16;

/// Which keys are in force.
///
/// The join takes the two latest keys of both, by (rotation, key), less those below the greater
/// floor. Each is the maximum of a total order or of numbers, so it commutes, associates and
/// repeats without effect; the latest key is the primary everywhere. The state with the greater
/// floor has a key at or above it, so never none is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RingState {
    /// Keys of earlier rotations than this are retired for good.
    floor: u64,
    /// Rotation and key, ascending; the last one is the primary. One or two.
    keys: Vec<(u64, Fingerprint)>,
}

impl RingState {
    /// The ring of a cluster that never rotated: its founder's key.
    pub(crate) fn founded(key: Fingerprint) -> Self {
        Self { floor: 0, keys: vec![(0, key)] }
    }

    /// The ring after a rotation away from `base`.
    pub(crate) fn rotated((rotation, key): (u64, Fingerprint), base: Fingerprint) -> Self {
        let keys = vec![(rotation.saturating_sub(1), base), (rotation, key)];
        Self { floor: 0, keys }
    }

    /// The key to seal with, and the number of the rotation that brought it.
    pub(crate) fn primary(&self) -> (u64, Fingerprint) {
        *self.keys.last().expect("a state has one key at least")
    }

    /// Rotation and key, ascending.
    pub(crate) fn keys(&self) -> &[(u64, Fingerprint)] {
        &self.keys
    }

    pub(crate) fn contains(&self, key: Fingerprint) -> bool {
        self.keys.iter().any(|(_, known)| *known == key)
    }

    /// The same ring with its primary alone.
    pub(crate) fn without_others(&self) -> Self {
        let primary = self.primary();
        Self { floor: primary.0, keys: vec![primary] }
    }

    pub(crate) fn join(&self, other: &Self) -> Self {
        let floor = self.floor.max(other.floor);
        let mut all = [self.keys.as_slice(), other.keys.as_slice()].concat();
        all.sort_unstable();
        // Of one key the latest rotation counts.
        let mut keys: Vec<(u64, Fingerprint)> = Vec::new();
        for (rotation, key) in all.into_iter().rev() {
            let known = keys.iter().any(|(_, known)| *known == key);
            if !known && rotation >= floor && keys.len() < IN_FORCE {
                keys.push((rotation, key));
            }
        }
        keys.reverse();
        Self { floor, keys }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::encode(self).expect("a ring has two short keys")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, JoinError> {
        let state: Self = codec::decode(bytes).map_err(|error| JoinError(error.to_string()))?;
        let ascending = state.keys.windows(2).all(|pair| pair[0] < pair[1]);
        let distinct = state.keys.windows(2).all(|pair| pair[0].1 != pair[1].1);
        let above = state.keys.iter().all(|(rotation, _)| *rotation >= state.floor);
        if !(1..=IN_FORCE).contains(&state.keys.len()) || !ascending || !distinct || !above {
            return Err(JoinError("a ring has one or two keys in order".to_owned()));
        }
        Ok(state)
    }
}

/// The join of [`RingState`].
#[derive(Debug)]
pub(crate) struct RingJoin;

impl Join for RingJoin {
    fn join(&self, current: Option<&[u8]>, incoming: &[u8]) -> Result<Joined, JoinError> {
        let incoming = RingState::decode(incoming)?;
        let current = current.map(RingState::decode).transpose()?;
        // A cluster that never rotated has no fact of its ring.
        let latest = current.as_ref().map_or(0, |current| current.primary().0);
        if incoming.primary().0.saturating_sub(latest) > LEAP_MAX {
            return Err(JoinError("a ring far ahead of any that was heard of".to_owned()));
        }
        let joined = current.as_ref().map_or_else(|| incoming.clone(), |c| c.join(&incoming));
        Ok(if current.as_ref() == Some(&joined) {
            Joined::Unchanged
        } else {
            Joined::Changed(joined.encode())
        })
    }
}

/// Which key a member seals with, as it says itself. The join takes the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct UseState {
    /// The rotation that brought the key.
    pub(crate) rotation: u64,
    /// The key.
    pub(crate) key: Fingerprint,
}

impl UseState {
    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::encode(self).expect("a number and a name are short")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, JoinError> {
        codec::decode(bytes).map_err(|error| JoinError(error.to_string()))
    }
}

/// The join of [`UseState`].
#[derive(Debug)]
pub(crate) struct UseJoin;

impl Join for UseJoin {
    fn join(&self, current: Option<&[u8]>, incoming: &[u8]) -> Result<Joined, JoinError> {
        let incoming = UseState::decode(incoming)?;
        let current = current.map(UseState::decode).transpose()?;
        Ok(if current.is_some_and(|current| current >= incoming) {
            Joined::Unchanged
        } else {
            Joined::Changed(incoming.encode())
        })
    }
}

#[cfg(test)]
impl RingState {
    pub(super) fn of(floor: u64, keys: Vec<(u64, Fingerprint)>) -> Self {
        Self { floor, keys }
    }
}
