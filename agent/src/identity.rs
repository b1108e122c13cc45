//! Who this node is: its id, its boots, its cluster and the cluster's key, in the state file.

use bincode::config::standard;
use serde::{Deserialize, Serialize};
use weft_api::{Boot, ClusterId, NodeId, Space, Write};

use crate::store::{Store, StoreError};

const KEY: &[u8] = b"identity";

/// A node's place in a cluster. There is one from `init` or `join` until `leave`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Random, made with this record, never reused.
    pub node: NodeId,
    /// The cluster.
    pub cluster: ClusterId,
    /// Id of [`Identity::key`] in the ring.
    pub key_id: u8,
    /// The cluster's key.
    pub key: [u8; 32],
    /// This start.
    pub boot: Boot,
    /// The cluster let this node in. A node that stops before that asks again from the beginning.
    pub joined: bool,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Identity({:?} of {:?}, {:?}, joined {})",
            self.node, self.cluster, self.boot, self.joined
        )
    }
}

impl Identity {
    /// Makes a new node of a cluster, at its first boot.
    ///
    /// # Errors
    /// The system gave no randomness.
    pub fn new(cluster: ClusterId, key_id: u8, key: [u8; 32]) -> Result<Self, getrandom::Error> {
        let boot = Boot { counter: 1, nonce: getrandom::u64()? };
        Ok(Self { node: NodeId::from_bytes(random()?), cluster, key_id, key, boot, joined: false })
    }

    /// Founds a cluster: a new id, a new key, and its first member.
    ///
    /// # Errors
    /// The system gave no randomness.
    pub fn found() -> Result<Self, getrandom::Error> {
        let mut identity = Self::new(ClusterId::from_bytes(random()?), 1, random()?)?;
        identity.joined = true;
        Ok(identity)
    }

    /// Reads the record, if there is one.
    ///
    /// # Errors
    /// The store failed or the record does not decode.
    pub fn load(store: &Store) -> Result<Option<Self>, StoreError> {
        let records = store.load(Space::Node)?;
        let Some((_, bytes)) = records.into_iter().find(|(key, _)| key == KEY) else {
            return Ok(None);
        };
        let (identity, _) = bincode::serde::decode_from_slice(&bytes, standard())
            .map_err(|error| StoreError::Commit(format!("identity does not decode: {error}")))?;
        Ok(Some(identity))
    }

    /// Moves on to the next boot. It must be on disk before the first packet.
    ///
    /// # Errors
    /// The system gave no randomness.
    pub fn next_boot(&mut self) -> Result<(), getrandom::Error> {
        self.boot = Boot { counter: self.boot.counter + 1, nonce: getrandom::u64()? };
        Ok(())
    }

    /// Returns the write that keeps it.
    pub fn to_write(&self) -> Write {
        let value = bincode::serde::encode_to_vec(self, standard())
            .expect("an identity has no part that cannot be encoded");
        Write { space: Space::Node, key: KEY.to_vec(), value: Some(value) }
    }

    /// Returns the write that removes it.
    pub fn removal() -> Write {
        Write { space: Space::Node, key: KEY.to_vec(), value: None }
    }
}

/// Draws bytes from the system.
///
/// # Errors
/// The system gave none.
pub fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_a_restart_and_its_boots_differ() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.redb")).unwrap();
        assert_eq!(Identity::load(&store).unwrap(), None);
        let mut identity = Identity::found().unwrap();
        store.commit(&[identity.to_write()]).unwrap();
        assert_eq!(Identity::load(&store).unwrap().as_ref(), Some(&identity));
        let first = identity.boot;
        identity.next_boot().unwrap();
        assert!(identity.boot.counter == first.counter + 1 && identity.boot.nonce != first.nonce);
        store.commit(&[Identity::removal()]).unwrap();
        assert_eq!(Identity::load(&store).unwrap(), None);
    }

    #[test]
    fn the_key_does_not_print() {
        // The rest is fixed too: a random id can spell anything.
        let identity = Identity {
            node: NodeId::from_bytes([1; 16]),
            cluster: ClusterId::from_bytes([2; 16]),
            key_id: 3,
            key: [0xab; 32],
            boot: Boot { counter: 4, nonce: 5 },
            joined: true,
        };
        let shown = format!("{identity:?}").to_lowercase();
        assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
    }
}
