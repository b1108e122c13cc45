//! All logs of one network, and which record counts for each key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use weft_api::{NetworkId, NodeId};
use xxhash_rust::xxh3::xxh3_64;

use super::Cause;
use super::log::{Extent, Log, Verdict};
use super::record::{EntryKey, Record};
use crate::sync::Limits;
use crate::sync::message::{Delta, DeltaKind};
use crate::sync::output::Bound;

/// The record that counts for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) owner: NodeId,
    pub(crate) seq: u64,
    pub(crate) stamp: u64,
    pub(crate) value: Arc<[u8]>,
}

/// What a change of one owner's log did to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    /// Whose log changed.
    pub(crate) by: NodeId,
    pub(crate) at: EntryKey,
    pub(crate) before: Option<Counted>,
    pub(crate) after: Option<Counted>,
    pub(crate) cause: Cause,
}

/// What became of a delta.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) effects: Vec<Effect>,
    pub(crate) overflow: Option<Bound>,
    pub(crate) conflict: Option<u64>,
}

/// All logs of one network.
#[derive(Debug)]
pub(crate) struct Shelf {
    network: NetworkId,
    logs: BTreeMap<NodeId, Log>,
    /// Live records only: stamp and owner of each there is for a key, ascending.
    owners: BTreeMap<EntryKey, Vec<(u64, NodeId)>>,
    names: BTreeSet<Arc<str>>,
    hash: u64,
}

impl Shelf {
    pub(crate) fn new(network: NetworkId) -> Self {
        Self {
            network,
            logs: BTreeMap::new(),
            owners: BTreeMap::new(),
            names: BTreeSet::new(),
            hash: 0,
        }
    }

    /// The sum of the hashes of (owner, extent): kept up with every change, in any order.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn log(&self, owner: NodeId) -> Option<&Log> {
        self.logs.get(&owner)
    }

    pub(crate) fn logs(&self) -> impl Iterator<Item = (NodeId, &Log)> {
        self.logs.iter().map(|(owner, log)| (*owner, log))
    }

    pub(crate) fn extent(&self, owner: NodeId) -> Extent {
        self.logs.get(&owner).map(|log| log.extent().clone()).unwrap_or_default()
    }

    pub(crate) fn extents(&self) -> Vec<(NodeId, Extent)> {
        self.logs()
            .filter(|(_, log)| !log.extent().is_empty())
            .map(|(owner, log)| (owner, log.extent().clone()))
            .collect()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &EntryKey> {
        self.owners.keys()
    }

    /// The keys of one table.
    pub(crate) fn keys_of<'a>(
        &'a self,
        table: &str,
    ) -> impl Iterator<Item = &'a EntryKey> + use<'a> {
        let first = EntryKey::new(table, "");
        let last = first.table.clone();
        self.owners.range(first..).map(|(at, _)| at).take_while(move |at| at.table == last)
    }

    /// Rule 5: the greatest (stamp, owner) counts.
    pub(crate) fn counted(&self, at: &EntryKey) -> Option<Counted> {
        let &(stamp, owner) = self.owners.get(at)?.last()?;
        let held = self.logs.get(&owner)?.held(at)?;
        Some(Counted { owner, seq: held.seq, stamp, value: held.value.clone()? })
    }

    /// Puts back a log from disk.
    pub(crate) fn restore(&mut self, owner: NodeId, log: Log) {
        self.alter(owner, |slot| *slot = log);
        let live: Vec<(EntryKey, u64)> = self.logs[&owner]
            .iter()
            .filter(|(_, held)| held.value.is_some())
            .map(|(at, held)| (at.clone(), held.stamp))
            .collect();
        live.into_iter().for_each(|(at, stamp)| self.own(&at, (stamp, owner)));
    }

    /// Merges one record: rules 1, 2 and 4.
    pub(crate) fn merge(
        &mut self,
        owner: NodeId,
        mut record: Record,
        limits: &Limits,
        now: Instant,
    ) -> (Verdict, Option<Effect>) {
        let empty = Log::default();
        let verdict = self.logs.get(&owner).unwrap_or(&empty).judge(&record, limits);
        if verdict != Verdict::New {
            return (verdict, None);
        }
        self.share_name(&mut record);
        let (seq, at) = (record.seq, record.at.clone());
        let effect = self.touch(owner, &at, Cause::Written, |log| log.hold(record, now));
        self.alter(owner, |log| log.cover(seq, seq));
        (verdict, effect)
    }

    /// Applies a delta: rules 2 and 3.
    pub(crate) fn apply(
        &mut self,
        from: NodeId,
        delta: &Delta,
        limits: &Limits,
        now: Instant,
    ) -> Applied {
        let mut applied = Applied::default();
        let owner = delta.owner;
        if !self.logs.entry(owner).or_default().admit(from, delta) {
            return applied;
        }
        if delta.kind == DeltaKind::Map {
            for at in self.logs[&owner].doomed(delta) {
                let effect = self.touch(owner, &at, Cause::Written, |log| log.remove(&at));
                applied.effects.extend(effect);
            }
        }
        let mut to = delta.to;
        for record in &delta.records {
            match self.logs[&owner].judge(record, limits) {
                Verdict::New => {}
                Verdict::Stale => continue,
                Verdict::Conflict => {
                    applied.conflict = Some(record.seq);
                    continue;
                }
                // A delta covers its span as a whole, so it opens one gap at most.
                Verdict::Full(Bound::Gaps) if self.logs[&owner].extent().head >= delta.from => {}
                Verdict::Full(bound) => {
                    applied.overflow = Some(bound);
                    to = record.seq - 1;
                    break;
                }
            }
            let mut record = record.clone();
            self.share_name(&mut record);
            let at = record.at.clone();
            let effect = self.touch(owner, &at, Cause::Written, |log| log.hold(record, now));
            applied.effects.extend(effect);
        }
        let whole = applied.overflow.is_none();
        self.alter(owner, |log| {
            log.finish(delta, to);
            if !whole {
                log.abort_series();
            }
        });
        applied
    }

    /// Lets go of a log and its coverage with it: rule 7.
    pub(crate) fn drop_log(&mut self, owner: NodeId, cause: Cause) -> Vec<Effect> {
        let Some(log) = self.logs.get(&owner) else { return Vec::new() };
        let keys: Vec<EntryKey> = log.iter().map(|(at, _)| at.clone()).collect();
        let effects = keys
            .iter()
            .filter_map(|at| self.touch(owner, at, cause, |log| log.remove(at)))
            .collect();
        self.hash = self.hash.wrapping_sub(self.term(owner));
        self.logs.remove(&owner);
        effects
    }

    /// Drops tombstones. Gives the keys whose tombstones went, by owner.
    pub(crate) fn collect(
        &mut self,
        keep_since: Option<Instant>,
        max: usize,
    ) -> Vec<(NodeId, Vec<EntryKey>)> {
        self.logs
            .iter_mut()
            .map(|(owner, log)| (*owner, log.collect(keep_since, max)))
            .filter(|(_, dropped)| !dropped.is_empty())
            .collect()
    }

    fn alter(&mut self, owner: NodeId, change: impl FnOnce(&mut Log)) {
        let before = self.term(owner);
        change(self.logs.entry(owner).or_default());
        self.hash = self.hash.wrapping_sub(before).wrapping_add(self.term(owner));
    }

    /// Changes what one log holds for one key, and says what that does to the key.
    fn touch(
        &mut self,
        owner: NodeId,
        at: &EntryKey,
        cause: Cause,
        change: impl FnOnce(&mut Log),
    ) -> Option<Effect> {
        let before = self.counted(at);
        let log = self.logs.entry(owner).or_default();
        let held_before = log.held(at).map(|held| (held.seq, held.stamp));
        change(log);
        let held = log.held(at);
        let live = held.filter(|held| held.value.is_some()).map(|held| held.stamp);
        if held.map(|held| held.seq) == held_before.map(|(seq, _)| seq) {
            return None;
        }
        if let Some((_, stamp)) = held_before {
            self.disown(at, (stamp, owner));
        }
        if let Some(stamp) = live {
            self.own(at, (stamp, owner));
        }
        let after = self.counted(at);
        Some(Effect { by: owner, at: at.clone(), before, after, cause })
    }

    fn own(&mut self, at: &EntryKey, record: (u64, NodeId)) {
        let owners = self.owners.entry(at.clone()).or_default();
        if let Err(place) = owners.binary_search(&record) {
            owners.insert(place, record);
        }
    }

    /// A deleted record is owned by nobody already.
    fn disown(&mut self, at: &EntryKey, record: (u64, NodeId)) {
        let Some(owners) = self.owners.get_mut(at) else { return };
        if let Ok(place) = owners.binary_search(&record) {
            owners.remove(place);
        }
        if owners.is_empty() {
            self.owners.remove(at);
        }
    }

    fn term(&self, owner: NodeId) -> u64 {
        self.logs.get(&owner).map_or(0, |log| term(self.network, owner, log.extent()))
    }

    /// One text for all records of a table.
    fn share_name(&mut self, record: &mut Record) {
        match self.names.get(&record.at.table) {
            Some(name) => record.at.table = name.clone(),
            None => {
                self.names.insert(record.at.table.clone());
            }
        }
    }

    /// The hash as its definition says it: for tests of the incremental one.
    #[cfg(test)]
    pub(crate) fn recomputed_hash(&self) -> u64 {
        self.extents()
            .iter()
            .map(|(owner, extent)| term(self.network, *owner, extent))
            .fold(0, u64::wrapping_add)
    }
}

fn term(network: NetworkId, owner: NodeId, extent: &Extent) -> u64 {
    if extent.is_empty() {
        return 0;
    }
    let mut bytes = Vec::with_capacity(40);
    bytes.extend_from_slice(network.as_bytes());
    bytes.extend_from_slice(owner.as_bytes());
    bytes.extend_from_slice(&extent.head.to_le_bytes());
    for (first, last) in extent.above.iter() {
        bytes.extend_from_slice(&first.to_le_bytes());
        bytes.extend_from_slice(&last.to_le_bytes());
    }
    xxh3_64(&bytes)
}
