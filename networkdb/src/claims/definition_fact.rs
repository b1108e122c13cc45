//! Definitions and tombstones as facts: how copies join, and what holds after halves merged.

use std::collections::{BTreeMap, BTreeSet};

use weft_api::{Definition, NetworkId, Vni};

use super::{conflict, record};
use crate::facts::{FactKind, Join, JoinError, Joined};

/// The value of a tombstone that says nothing more. One of a network has its VNIs behind,
/// ascending, four bytes each, the most significant first: all else of the network is dropped.
pub(super) const TOMBSTONE: [u8; 1] = [1];

fn tombstone(vnis: &BTreeSet<Vni>) -> Vec<u8> {
    let vnis = vnis.iter().flat_map(|vni| vni.get().to_be_bytes());
    TOMBSTONE.into_iter().chain(vnis).collect()
}

fn vnis_of(tombstone: &[u8]) -> Result<BTreeSet<Vni>, JoinError> {
    let malformed = || JoinError("not a tombstone".to_owned());
    let bytes = tombstone.strip_prefix(&TOMBSTONE).ok_or_else(malformed)?;
    let (vnis, []) = bytes.as_chunks::<4>() else { return Err(malformed()) };
    let read = |bytes: &[u8; 4]| Vni::new(u32::from_be_bytes(*bytes)).map_err(|_| malformed());
    vnis.iter().map(read).collect()
}

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

    fn network(&self, subject: &[u8]) -> Option<NetworkId> {
        subject.try_into().ok().map(NetworkId::from_bytes)
    }

    fn parts(&self, network: NetworkId) -> Option<Vec<u8>> {
        Some(network.as_bytes().to_vec())
    }
}

/// Joins two tombstones of one id: the VNIs of either.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeletedJoin;

impl Join for DeletedJoin {
    fn join(&self, current: Option<&[u8]>, incoming: &[u8]) -> Result<Joined, JoinError> {
        let mut vnis = vnis_of(incoming)?;
        let Some(current) = current else { return Ok(Joined::Changed(tombstone(&vnis))) };
        vnis.extend(vnis_of(current)?);
        let joined = tombstone(&vnis);
        Ok(if joined == current { Joined::Unchanged } else { Joined::Changed(joined) })
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
    /// Of those that are deleted only their VNIs are known.
    deleted: BTreeMap<NetworkId, BTreeSet<Vni>>,
    /// All of these.
    spent: BTreeSet<Vni>,
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
    /// Takes the joined value of a fact. A definition that comes after its tombstone changes
    /// nothing: a deleted id never returns.
    pub(crate) fn on_fact(&mut self, kind: FactKind, subject: &[u8], value: &[u8]) -> Change {
        let Ok(id) = subject.try_into().map(NetworkId::from_bytes) else { return Change::None };
        if kind == FactKind::DELETED {
            let is_news = !self.is_deleted(id);
            let known = self.defined.remove(&id).into_iter().flat_map(|known| known.subnets);
            let vnis = self.deleted.entry(id).or_default();
            vnis.extend(known.map(|subnet| subnet.vni));
            vnis.extend(vnis_of(value).into_iter().flatten());
            self.spent.extend(vnis.iter());
            return if is_news { Change::Deleted(id) } else { Change::None };
        }
        if kind != FactKind::DEFINITION {
            return Change::None;
        }
        match decode(value) {
            Ok(definition) if definition.id == id && !self.is_deleted(id) => {
                self.defined.insert(id, definition);
                Change::Defined(id)
            }
            Ok(_) | Err(_) => Change::None,
        }
    }

    /// Lists the networks in force and not deleted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.defined.values()
    }

    /// Lists the VNIs of all networks that were ever in force here, deleted ones included.
    pub(crate) fn vnis(&self) -> impl Iterator<Item = Vni> + '_ {
        let subnets = self.defined.values().flat_map(|definition| &definition.subnets);
        subnets.map(|subnet| subnet.vni).chain(self.spent.iter().copied())
    }

    /// Tells whether a network that is deleted had the VNI.
    pub(crate) fn was_deleted_with(&self, vni: Vni) -> bool {
        self.spent.contains(&vni)
    }

    /// The tombstone of a network, with all that is to be known of it.
    pub(crate) fn tombstone(&self, id: NetworkId) -> Vec<u8> {
        let defined = self.defined.get(&id).into_iter().flat_map(|known| &known.subnets);
        let deleted = self.deleted.get(&id).into_iter().flatten().copied();
        tombstone(&defined.map(|subnet| subnet.vni).chain(deleted).collect())
    }

    /// Finds a network in force and not deleted.
    pub(crate) fn get(&self, id: NetworkId) -> Option<&Definition> {
        self.defined.get(&id)
    }

    /// Tells whether the network was ever in force here, deleted since or not.
    pub(crate) fn is_defined(&self, id: NetworkId) -> bool {
        self.defined.contains_key(&id) || self.is_deleted(id)
    }

    /// Tells whether the network has its tombstone.
    pub(crate) fn is_deleted(&self, id: NetworkId) -> bool {
        self.deleted.contains_key(&id)
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
