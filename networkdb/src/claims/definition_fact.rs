//! Definitions and tombstones as facts: how copies join, and what holds after halves merged.

use std::collections::{BTreeMap, BTreeSet};

use weft_api::{Definition, NetworkId};

use super::{conflict, record};
use crate::facts::{FactKind, Join, JoinError, Joined};

/// The value of a tombstone: that it is there says all.
pub(super) const TOMBSTONE: [u8; 1] = [1];

/// Joins two definitions of one id. A definition never changes, so two that differ are a fault;
/// every node keeps the lower of the two, so that all stay alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DefinitionJoin;

impl Join for DefinitionJoin {
    fn join(&self, current: Option<&[u8]>, incoming: &[u8]) -> Result<Joined, JoinError> {
        let incoming = decode(incoming)?;
        let bytes = encode(&incoming);
        let Some(current) = current else { return Ok(Joined::Changed(bytes)) };
        let kept = decode(current)?;
        if (incoming.stamp, bytes.as_slice()) < (kept.stamp, current) {
            return Ok(Joined::Changed(bytes));
        }
        Ok(Joined::Unchanged)
    }
}

/// Joins two tombstones of one id: they are alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeletedJoin;

impl Join for DeletedJoin {
    fn join(&self, current: Option<&[u8]>, incoming: &[u8]) -> Result<Joined, JoinError> {
        if incoming != TOMBSTONE {
            return Err(JoinError("not a tombstone".to_owned()));
        }
        match current {
            Some(_) => Ok(Joined::Unchanged),
            None => Ok(Joined::Changed(TOMBSTONE.to_vec())),
        }
    }
}

pub(super) fn encode(definition: &Definition) -> Vec<u8> {
    record::encode(definition)
}

fn decode(bytes: &[u8]) -> Result<Definition, JoinError> {
    record::decode(bytes).ok_or_else(|| JoinError("not a definition".to_owned()))
}

/// The networks of the cluster, read from the facts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Definitions {
    defined: BTreeMap<NetworkId, Definition>,
    deleted: BTreeSet<NetworkId>,
}

/// What a fact changed in [`Definitions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The network is in force here now.
    Defined(NetworkId),
    /// The network is deleted here now.
    Deleted(NetworkId),
    /// Nothing: the fact is of another kind, or malformed as it is on every node alike.
    None,
}

impl Definitions {
    /// Takes the joined value of a fact. A definition that comes after its tombstone is kept but
    /// changes nothing: a deleted id never returns.
    pub(crate) fn on_fact(&mut self, kind: FactKind, subject: &[u8], value: &[u8]) -> Change {
        let Ok(id) = subject.try_into().map(NetworkId::from_bytes) else { return Change::None };
        if kind == FactKind::DELETED {
            self.deleted.insert(id);
            return Change::Deleted(id);
        }
        if kind != FactKind::DEFINITION {
            return Change::None;
        }
        match decode(value) {
            Ok(definition) if definition.id == id => {
                self.defined.insert(id, definition);
                if self.is_deleted(id) { Change::None } else { Change::Defined(id) }
            }
            Ok(_) | Err(_) => Change::None,
        }
    }

    /// Lists the networks in force and not deleted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.defined.values().filter(|definition| !self.is_deleted(definition.id))
    }

    /// Lists the networks that were in force once and are deleted.
    pub(crate) fn deleted(&self) -> impl Iterator<Item = &Definition> {
        self.defined.values().filter(|definition| self.is_deleted(definition.id))
    }

    /// Finds a network in force and not deleted.
    pub(crate) fn get(&self, id: NetworkId) -> Option<&Definition> {
        self.defined.get(&id).filter(|_| !self.is_deleted(id))
    }

    /// Tells whether the network was ever in force here, deleted since or not.
    pub(crate) fn is_defined(&self, id: NetworkId) -> bool {
        self.defined.contains_key(&id)
    }

    /// Tells whether the network has its tombstone.
    pub(crate) fn is_deleted(&self, id: NetworkId) -> bool {
        self.deleted.contains(&id)
    }

    /// Finds the network that has the name: the one of the lowest stamp, where halves of a split
    /// made two. The others are reachable by id.
    pub(crate) fn by_name(&self, name: &str) -> Option<&Definition> {
        self.iter().filter(|d| d.name == name).min_by_key(|d| (d.stamp, d.id))
    }

    /// Finds the network of a lower stamp that has this one's name or overlaps a pool of it.
    ///
    /// Frozen is whoever any lower one is in the way of, itself frozen or not: so a delete can
    /// thaw a network, and nothing but a merge can freeze one.
    pub(crate) fn frozen_by(&self, id: NetworkId) -> Option<&Definition> {
        let mine = self.get(id)?;
        self.iter()
            .filter(|other| (other.stamp, other.id) < (mine.stamp, mine.id))
            .find(|other| conflict::clash(mine, other).is_some())
    }

    /// Tells whether the network is frozen for new endpoints, because halves of a split both made
    /// one of its name or pool and the other has the lower stamp.
    pub(crate) fn is_frozen(&self, id: NetworkId) -> bool {
        self.frozen_by(id).is_some()
    }
}
