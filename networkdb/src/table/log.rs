//! One owner's log in one network: how far it is held, and what in it still counts.
//!
//! Invariant: for every seq at or below `head` (or in `above`) the record is held, or a later one
//! of the log supersedes it, or it was a tombstone at or below `floor`. So, at or below the head,
//! absent means deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use weft_api::NodeId;

use super::ranges::Ranges;
use super::record::{EntryKey, Record};
use crate::sync::Limits;
use crate::sync::message::{Delta, DeltaKind};
use crate::sync::output::Bound;

/// How far a log is held.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Extent {
    /// Everything up to here.
    pub head: u64,
    /// And these above it.
    pub above: Ranges,
}

impl Extent {
    /// Tells whether `seq` is held.
    pub fn covers(&self, seq: u64) -> bool {
        seq <= self.head || self.above.contains(seq)
    }

    /// Tells whether all that `other` holds is held.
    pub fn includes(&self, other: &Self) -> bool {
        let holds = |first, last| {
            last <= self.head || self.above.spans(u64::max(first, self.head + 1), last)
        };
        holds(1, other.head) && other.above.iter().all(|(first, last)| holds(first, last))
    }

    /// Tells whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.head == 0 && self.above.is_empty()
    }
}

/// What is held for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) seq: u64,
    pub(crate) stamp: u64,
    pub(crate) value: Option<Arc<[u8]>>,
}

/// What became of a record that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was not known.
    New,
    /// It was known, or superseded.
    Stale,
    /// Another record stands in its place.
    Conflict,
    /// There is no room for it.
    Full(Bound),
}

/// How far a series of map deltas has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Series {
    from: NodeId,
    head: u64,
    upto: u64,
}

/// One owner's log in one network.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    extent: Extent,
    floor: u64,
    live: BTreeMap<EntryKey, Held>,
    graves: BTreeMap<u64, (EntryKey, Instant)>,
    bytes: usize,
    series: Option<Series>,
}

impl Log {
    pub(crate) fn restore(extent: Extent, floor: u64) -> Self {
        Self { extent, floor, ..Self::default() }
    }

    pub(crate) fn extent(&self) -> &Extent {
        &self.extent
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn held(&self, at: &EntryKey) -> Option<&Held> {
        self.live.get(at)
    }

    /// All that is held, tombstones included.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&EntryKey, &Held)> {
        self.live.iter()
    }

    pub(crate) fn live_entries(&self) -> usize {
        self.live.len() - self.graves.len()
    }

    /// Tells whether one more record fits. Deletes always do: tombstones are collected.
    pub(crate) fn room(&self, record: &Record, limits: &Limits) -> Result<(), Bound> {
        let adds = record.value.is_some()
            && self.live.get(&record.at).is_none_or(|held| held.value.is_none());
        if (adds && self.live_entries() >= limits.entries_per_log)
            || (record.value.is_some() && self.bytes + record.wire_len() > limits.bytes_per_log)
        {
            return Err(Bound::Log);
        }
        let opens = record.seq > self.extent.head + 1;
        if opens && self.extent.above.len() >= limits.gaps_per_log {
            return Err(Bound::Gaps);
        }
        Ok(())
    }

    /// Judges a single record without taking it: rules 2 and 4.
    pub(crate) fn judge(&self, record: &Record, limits: &Limits) -> Verdict {
        if self.extent.covers(record.seq) {
            let differs = self.live.get(&record.at).is_some_and(|held| {
                held.seq == record.seq && (held.stamp != record.stamp || held.value != record.value)
            });
            return if differs { Verdict::Conflict } else { Verdict::Stale };
        }
        match self.room(record, limits) {
            Ok(()) => Verdict::New,
            Err(bound) => Verdict::Full(bound),
        }
    }

    /// Holds a record; the newest seq wins per key.
    pub(crate) fn hold(&mut self, record: Record, now: Instant) {
        if self.live.get(&record.at).is_some_and(|held| held.seq >= record.seq) {
            return;
        }
        self.remove(&record.at);
        self.bytes += record.wire_len();
        if record.value.is_none() {
            self.graves.insert(record.seq, (record.at.clone(), now));
        }
        let held = Held { seq: record.seq, stamp: record.stamp, value: record.value };
        self.live.insert(record.at, held);
    }

    /// Lets go of what is held for a key.
    pub(crate) fn remove(&mut self, at: &EntryKey) {
        if let Some(held) = self.live.remove(at) {
            self.graves.remove(&held.seq);
            self.bytes -= to_record(at, &held).wire_len();
        }
    }

    /// Counts `first..=last` as held.
    pub(crate) fn cover(&mut self, first: u64, last: u64) {
        self.extent.above.insert(first, last);
        self.extent.head = self.extent.above.absorb(self.extent.head);
    }

    /// Tells whether a delta may be applied: rule 3. Map deltas are applied as one series, and one
    /// that is older than what is held says nothing.
    pub(crate) fn admit(&mut self, from: NodeId, delta: &Delta) -> bool {
        match delta.kind {
            DeltaKind::Since => delta.to > self.extent.head,
            DeltaKind::Map => {
                let continues = self.series.is_some_and(|series| {
                    series.from == from && series.head == delta.head && series.upto == delta.from
                });
                if delta.head < self.extent.head || (delta.from != 0 && !continues) {
                    return false;
                }
                let series = Series { from, head: delta.head, upto: delta.to };
                self.series = (delta.to < delta.head).then_some(series);
                true
            }
        }
    }

    /// Ends a series that cannot be taken whole: what follows it would claim too much.
    pub(crate) fn abort_series(&mut self) {
        self.series = None;
    }

    /// The keys that a map delta says are gone.
    pub(crate) fn doomed(&self, delta: &Delta) -> Vec<EntryKey> {
        let in_span = |seq| delta.from < seq && seq <= delta.to;
        let listed = |seq| delta.records.binary_search_by_key(&seq, |record| record.seq).is_ok();
        self.live
            .iter()
            .filter(|(_, held)| in_span(held.seq) && !listed(held.seq))
            .map(|(at, _)| at.clone())
            .collect()
    }

    /// Counts a delta's span as held, after its records are.
    pub(crate) fn finish(&mut self, delta: &Delta, to: u64) {
        match delta.kind {
            DeltaKind::Since => self.cover(delta.from + 1, to),
            DeltaKind::Map => {
                self.cover(1, to);
                self.floor = self.floor.max(delta.floor.min(to));
            }
        }
    }

    /// Drops tombstones at or below the head, those that are old or too many, by raising the
    /// floor. Returns their keys.
    pub(crate) fn collect(&mut self, keep_since: Option<Instant>, max: usize) -> Vec<EntryKey> {
        let mut dropped = Vec::new();
        while let Some((&seq, (at, buried))) = self.graves.first_key_value() {
            let old = keep_since.is_some_and(|since| *buried <= since);
            if seq > self.extent.head || !(old || self.graves.len() > max) {
                break;
            }
            let at = at.clone();
            self.remove(&at);
            self.floor = self.floor.max(seq);
            dropped.push(at);
        }
        dropped
    }

    /// What a holder of `theirs` lacks, cut to pieces of about `piece` bytes. What is above the
    /// head goes as spans, too: their owner may never come back to close the gap below them.
    pub(crate) fn deltas(&self, owner: NodeId, theirs: &Extent, piece: usize) -> Vec<Delta> {
        let Extent { head, .. } = self.extent;
        let mut deltas = Vec::new();
        let blank = Delta {
            owner,
            head,
            floor: self.floor,
            from: theirs.head,
            to: head,
            kind: DeltaKind::Since,
            records: Vec::new(),
        };
        if theirs.head < self.floor {
            let map = Delta { from: 0, kind: DeltaKind::Map, ..blank.clone() };
            self.fill(map, piece, &mut deltas);
        } else if theirs.head < head {
            self.fill(blank.clone(), piece, &mut deltas);
        }
        for (first, last) in self.extent.above.iter() {
            if last > theirs.head && !theirs.above.spans(first, last) {
                let span = Delta { head: last, from: first - 1, to: last, ..blank.clone() };
                self.fill(span, piece, &mut deltas);
            }
        }
        deltas
    }

    /// Fills a blank delta with the records of its span, opening another when it is large.
    fn fill(&self, blank: Delta, piece: usize, deltas: &mut Vec<Delta>) {
        let span = blank.from + 1..=blank.to;
        let mut held: Vec<_> =
            self.live.iter().filter(|(_, held)| span.contains(&held.seq)).collect();
        held.sort_unstable_by_key(|(_, held)| held.seq);
        let (mut open, mut bytes) = (blank.clone(), 0);
        for (at, held) in held {
            let record = to_record(at, held);
            if bytes > 0 && bytes + record.wire_len() > piece {
                let end = open.records.last().map_or(open.from, |record| record.seq);
                let next = Delta { from: end, ..blank.clone() };
                deltas.push(Delta { to: end, ..std::mem::replace(&mut open, next) });
                bytes = 0;
            }
            bytes += record.wire_len();
            open.records.push(record);
        }
        deltas.push(open);
    }
}

pub(crate) fn to_record(at: &EntryKey, held: &Held) -> Record {
    Record { seq: held.seq, stamp: held.stamp, at: at.clone(), value: held.value.clone() }
}
