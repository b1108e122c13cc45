//! The facts one node holds, and their hashes.

use std::collections::BTreeMap;

use weft_api::{NetworkId, Space, Write};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{FactError, FactKind, Join, Joined};
use crate::sync::Limits;
use crate::sync::message::WireFact;

/// Into how many parts the facts fall when two nodes look for what differs.
pub(crate) const BUCKETS: usize = 64;

type Key = (FactKind, Box<[u8]>);

/// All facts, with hashes that are kept up with every change.
pub(crate) struct Store {
    joins: BTreeMap<FactKind, Box<dyn Join>>,
    facts: BTreeMap<Key, Box<[u8]>>,
    buckets: [u64; BUCKETS],
}

impl Store {
    pub(crate) fn new(joins: BTreeMap<FactKind, Box<dyn Join>>) -> Self {
        Self { joins, facts: BTreeMap::new(), buckets: [0; BUCKETS] }
    }

    /// The hash of all facts: the sum of the buckets'.
    pub(crate) fn root(&self) -> u64 {
        self.buckets.iter().copied().fold(0, u64::wrapping_add)
    }

    pub(crate) fn buckets(&self) -> &[u64; BUCKETS] {
        &self.buckets
    }

    pub(crate) fn get(&self, kind: FactKind, subject: &[u8]) -> Option<&[u8]> {
        self.facts.get(&(kind, subject.into())).map(|state| &**state)
    }

    pub(crate) fn of_kind(&self, kind: FactKind) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        self.facts
            .range((kind, Box::from([].as_slice()))..)
            .take_while(move |((of, _), _)| *of == kind)
            .map(|((_, subject), state)| (&**subject, &**state))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (FactKind, &[u8], &[u8])> + '_ {
        self.facts.iter().map(|((kind, subject), state)| (*kind, &**subject, &**state))
    }

    /// Joins a state; gives the write when something changed.
    pub(crate) fn join(
        &mut self,
        fact: &WireFact,
        limits: &Limits,
    ) -> Result<Option<Write>, FactError> {
        let WireFact { kind, subject, state } = fact;
        let join = self.joins.get(kind).ok_or(FactError::Kind(*kind))?;
        bound("subject", subject.len(), limits.subject_bytes)?;
        bound("fact", state.len(), limits.fact_bytes)?;
        if self.is_over(*kind, subject) {
            return Ok(None);
        }
        let current = self.get(*kind, subject);
        // A tombstone makes room where its network is known.
        let makes_room =
            *kind == FactKind::DELETED && self.get(FactKind::DEFINITION, subject).is_some();
        if current.is_none() && !makes_room {
            bound("number of facts", self.facts.len() + 1, limits.facts)?;
        }
        match join.join(current, state)? {
            Joined::Unchanged => Ok(None),
            Joined::Changed(state) => {
                bound("fact", state.len(), limits.fact_bytes)?;
                self.set(*kind, subject, &state);
                let key = disk_key(*kind, subject);
                Ok(Some(Write { space: Space::Facts, key, value: Some(state) }))
            }
        }
    }

    /// Whether a fact is part of a deleted network.
    fn is_over(&self, kind: FactKind, subject: &[u8]) -> bool {
        self.network_of(kind, subject).is_some_and(|network| self.is_deleted(network))
    }

    pub(crate) fn is_deleted(&self, network: NetworkId) -> bool {
        self.get(FactKind::DELETED, network.as_bytes()).is_some()
    }

    fn network_of(&self, kind: FactKind, subject: &[u8]) -> Option<NetworkId> {
        self.joins.get(&kind).and_then(|join| join.network(subject))
    }

    /// Drops all that is part of a deleted network; gives the writes.
    pub(crate) fn drop_parts(&mut self, network: NetworkId) -> Vec<Write> {
        let mut over: Vec<Key> = Vec::new();
        for (&kind, join) in &self.joins {
            let Some(first) = join.parts(network) else { continue };
            let from = (kind, Box::from(first.as_slice()));
            let parts = self.facts.range(from..).map(|(key, _)| key);
            let parts =
                parts.take_while(|(of, subject)| *of == kind && subject.starts_with(&first));
            over.extend(parts.cloned());
        }
        over.into_iter().map(|(kind, subject)| self.remove(kind, subject)).collect()
    }

    /// Drops all parts of deleted networks that came from disk.
    pub(crate) fn drop_left_over(&mut self) -> Vec<Write> {
        let ids =
            self.of_kind(FactKind::DELETED).filter_map(|(subject, _)| subject.try_into().ok());
        let deleted: Vec<NetworkId> = ids.map(NetworkId::from_bytes).collect();
        deleted.into_iter().flat_map(|network| self.drop_parts(network)).collect()
    }

    fn remove(&mut self, kind: FactKind, subject: Box<[u8]>) -> Write {
        let key = key_hash(kind, &subject);
        let write = Write { space: Space::Facts, key: disk_key(kind, &subject), value: None };
        if let Some(state) = self.facts.remove(&(kind, subject)) {
            let sum = &mut self.buckets[usize::from(bucket(key))];
            *sum = sum.wrapping_sub(term(key, &state));
        }
        write
    }

    /// Puts back a fact from disk.
    pub(crate) fn restore(&mut self, key: &[u8], state: &[u8]) -> Option<()> {
        let (kind, subject) = key.split_first()?;
        self.set(FactKind(*kind), subject, state);
        Some(())
    }

    /// (hash of the key, hash of the state) of the facts in these buckets, ascending.
    pub(crate) fn digest(&self, buckets: &[u8]) -> Vec<(u64, u64)> {
        let mut items: Vec<_> = self
            .iter()
            .map(|(kind, subject, state)| {
                let key = key_hash(kind, subject);
                (key, state_hash(key, state))
            })
            .filter(|(key, _)| buckets.binary_search(&bucket(*key)).is_ok())
            .collect();
        items.sort_unstable();
        items
    }

    /// The facts whose keys have these hashes (ascending).
    pub(crate) fn pick(&self, keys: &[u64]) -> Vec<WireFact> {
        self.iter()
            .filter(|(kind, subject, _)| keys.binary_search(&key_hash(*kind, subject)).is_ok())
            .map(|(kind, subject, state)| WireFact {
                kind,
                subject: subject.to_vec(),
                state: state.to_vec(),
            })
            .collect()
    }

    fn set(&mut self, kind: FactKind, subject: &[u8], state: &[u8]) {
        let key = key_hash(kind, subject);
        let before = self.get(kind, subject).map_or(0, |state| term(key, state));
        let sum = &mut self.buckets[usize::from(bucket(key))];
        *sum = sum.wrapping_sub(before).wrapping_add(term(key, state));
        self.facts.insert((kind, subject.into()), state.into());
    }

    /// The root as its definition says it: for tests of the incremental one.
    #[cfg(test)]
    pub(crate) fn recomputed_root(&self) -> u64 {
        self.iter()
            .map(|(kind, subject, state)| term(key_hash(kind, subject), state))
            .fold(0, u64::wrapping_add)
    }
}

fn bound(what: &'static str, size: usize, bound: usize) -> Result<(), FactError> {
    if size > bound {
        return Err(FactError::TooLarge { what, size, bound });
    }
    Ok(())
}

fn disk_key(kind: FactKind, subject: &[u8]) -> Vec<u8> {
    let mut key = vec![kind.0];
    key.extend_from_slice(subject);
    key
}

fn key_hash(kind: FactKind, subject: &[u8]) -> u64 {
    xxh3_64_with_seed(subject, u64::from(kind.0))
}

fn state_hash(key: u64, state: &[u8]) -> u64 {
    xxh3_64_with_seed(state, key)
}

fn term(key: u64, state: &[u8]) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&key.to_le_bytes());
    bytes[8..].copy_from_slice(&state_hash(key, state).to_le_bytes());
    xxh3_64(&bytes)
}

fn bucket(key: u64) -> u8 {
    u8::try_from(key >> 58).expect("six bits fit a byte")
}
