//! Definitions and tombstones as facts: how copies join, and what holds after halves merged.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;
use weft_api::{Definition, NetworkId};

use crate::facts::{FactKind, Join, JoinError, Joined};

/// Joins two definitions of one id: the same everywhere, or the lower in a total order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DefinitionJoin;

impl Join for DefinitionJoin {
    fn join(&self, current: Option<&[u8]>, incoming: &[u8]) -> Result<Joined, JoinError> {
        let _ = (current, incoming);
        Err(JoinError)
    }
}

/// Joins two tombstones of one id: they are alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeletedJoin;

impl Join for DeletedJoin {
    fn join(&self, current: Option<&[u8]>, incoming: &[u8]) -> Result<Joined, JoinError> {
        let _ = (current, incoming);
        Err(JoinError)
    }
}

/// The networks of the cluster, read from the facts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Definitions {
    defined: BTreeMap<NetworkId, Definition>,
    deleted: BTreeSet<NetworkId>,
}

/// What a fact changed in [`Definitions`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The network is in force here now.
    Defined(NetworkId),
    /// The network is deleted here now.
    Deleted(NetworkId),
    /// Nothing that shows.
    None,
}

impl Definitions {
    /// Takes the joined value of a fact of kind Definition or Deleted; other kinds change nothing.
    pub(crate) fn on_fact(&mut self, kind: FactKind, subject: &[u8], value: &[u8]) -> Change {
        let _ = (kind, subject, value);
        Change::None
    }

    /// Lists the networks in force and not deleted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.defined.values().filter(|definition| !self.is_deleted(definition.id))
    }

    /// Finds a network in force and not deleted.
    pub(crate) fn get(&self, id: NetworkId) -> Option<&Definition> {
        self.defined.get(&id).filter(|_| !self.is_deleted(id))
    }

    /// Tells whether the network was ever in force here.
    pub(crate) fn is_defined(&self, id: NetworkId) -> bool {
        self.defined.contains_key(&id)
    }

    /// Tells whether the network has its tombstone.
    pub(crate) fn is_deleted(&self, id: NetworkId) -> bool {
        self.deleted.contains(&id)
    }

    /// Finds the network that has the name: the lowest stamp, where halves made two.
    pub(crate) fn by_name(&self, name: &str) -> Option<&Definition> {
        self.iter().filter(|d| d.name == name).min_by_key(|d| (d.stamp, d.id))
    }

    /// Lists the networks of the global space with a pool that overlaps `pool`.
    pub(crate) fn by_pool(&self, pool: IpNetwork) -> impl Iterator<Item = &Definition> {
        self.iter().filter(move |d| d.subnets.iter().any(|s| s.pool == pool))
    }

    /// Finds the network of a lower stamp that has this one's name or a pool of it.
    pub(crate) fn frozen_by(&self, id: NetworkId) -> Option<&Definition> {
        let _ = id;
        None
    }

    /// Tells whether the network is frozen for new endpoints, because halves of a split both made
    /// one of its name or pool and the other has the lower stamp.
    pub(crate) fn is_frozen(&self, id: NetworkId) -> bool {
        self.frozen_by(id).is_some()
    }
}
