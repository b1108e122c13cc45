//! Records that arrive: who may have written them, what they change.

use std::time::Instant;

use weft_api::{NetworkId, NodeId};

use super::message::{Delta, Pushed, Relay};
use super::output::{Alarm, Bound, Output};
use super::{ATTACHMENTS, Sync};
use crate::table::log::{Extent, Verdict};
use crate::table::record::{EntryKey, Record};
use crate::table::shelf::{Effect, Shelf};

/// Whether records of an owner are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accept {
    Yes,
    /// This node wrote them itself.
    Own,
    No,
}

impl Sync {
    /// Rule 8 and DESIGN 4.1: records of the gone are refused, of the unknown not stored.
    pub(crate) fn accept(&mut self, owner: NodeId, from: NodeId) -> Accept {
        if owner == self.node {
            return Accept::Own;
        }
        if self.peers.is_gone(owner) {
            self.counters.gone_owner += 1;
            return Accept::No;
        }
        if self.peers.get(owner).is_none() {
            self.counters.unknown_owner += 1;
            self.outputs.push_back(Output::PullMember { node: owner, from });
            return Accept::No;
        }
        Accept::Yes
    }

    /// Whether this node holds the network's logs. Never whether their owner is attached: rule 7.
    pub(crate) fn holds(&self, network: NetworkId) -> bool {
        network == ATTACHMENTS || self.is_attached(network)
    }

    pub(crate) fn take_push(
        &mut self,
        from: NodeId,
        network: NetworkId,
        relay: Relay,
        logs: Vec<Pushed>,
        now: Instant,
    ) {
        for Pushed { owner, records } in logs {
            match self.accept(owner, from) {
                Accept::Yes if self.holds(network) => {
                    self.take_records(network, owner, relay, records, now);
                }
                Accept::Own => records.iter().for_each(|record| self.check_own(network, record)),
                Accept::Yes | Accept::No => {}
            }
        }
    }

    fn take_records(
        &mut self,
        network: NetworkId,
        owner: NodeId,
        relay: Relay,
        records: Vec<Record>,
        now: Instant,
    ) {
        let mut changed = Vec::new();
        self.counters.records_in += records.len() as u64;
        for record in records {
            if !self.is_sane(&record) {
                continue;
            }
            let shelf = self.shelves.entry(network).or_insert_with(|| Shelf::new(network));
            let (verdict, effect) = shelf.merge(owner, record.clone(), &self.limits, now);
            match verdict {
                Verdict::New => {
                    self.lamport = self.lamport.max(record.stamp);
                    changed.push(record.at.clone());
                    self.note_attachments(network, effect.as_slice());
                    self.tell(network, effect.as_slice());
                    if relay != Relay::Never {
                        self.push_record(network, owner, record.clone(), now);
                    }
                }
                Verdict::Stale => self.counters.stale_record += 1,
                Verdict::Conflict => {
                    self.alarm_duplicate(network, owner, record.seq);
                    continue;
                }
                Verdict::Full(bound) => {
                    self.overflow(bound);
                    continue;
                }
            }
            if let Some(until) = self.arc_of(relay) {
                self.pass_record(network, owner, until, record, now);
            }
        }
        self.settle(network, owner, changed, now);
    }

    /// After a log changed: durable, superseded entries yielded, waiting pulls answered.
    fn settle(&mut self, network: NetworkId, owner: NodeId, changed: Vec<EntryKey>, now: Instant) {
        if network == ATTACHMENTS {
            self.persist_attachments(owner, &changed);
            self.welcome_late(now);
        }
        let head = self.shelves.get(&network).map_or(0, |shelf| shelf.extent(owner).head);
        if self.pulls.get(&(network, owner)).is_some_and(|awaited| head >= awaited.head) {
            self.pulls.remove(&(network, owner));
        }
        self.yield_superseded(network, changed, now);
    }

    pub(crate) fn take_delta(
        &mut self,
        from: NodeId,
        network: NetworkId,
        delta: &Delta,
        now: Instant,
    ) {
        if !self.is_sane_delta(delta) {
            return;
        }
        match self.accept(delta.owner, from) {
            Accept::Yes if self.holds(network) => {}
            Accept::Own => {
                return delta.records.iter().for_each(|record| self.check_own(network, record));
            }
            Accept::Yes | Accept::No => return,
        }
        self.counters.records_in += delta.records.len() as u64;
        let shelf = self.shelves.entry(network).or_insert_with(|| Shelf::new(network));
        let applied = shelf.apply(from, delta, &self.limits, now);
        let stamps = delta.records.iter().map(|record| record.stamp);
        self.lamport = stamps.fold(self.lamport, u64::max);
        if let Some(bound) = applied.overflow {
            self.overflow(bound);
        }
        if let Some(seq) = applied.conflict {
            self.alarm_duplicate(network, delta.owner, seq);
        }
        self.note_attachments(network, &applied.effects);
        self.tell(network, &applied.effects);
        let keys = applied.effects.into_iter().map(|Effect { at, .. }| at).collect();
        self.settle(network, delta.owner, keys, now);
    }

    /// DESIGN 4.1: a record by this node that its disk lacks means that the disk was rolled back
    /// or cloned.
    fn check_own(&mut self, network: NetworkId, record: &Record) {
        if self.is_let_go(network) {
            return;
        }
        let shelf = self.shelves.get(&network);
        let log = shelf.and_then(|shelf| shelf.log(self.node));
        let held = log.and_then(|log| log.held(&record.at));
        let head = log.map_or(0, |log| log.extent().head);
        let differs = held.is_some_and(|held| {
            held.seq == record.seq && (held.stamp != record.stamp || held.value != record.value)
        });
        if record.seq > head || differs {
            self.own_record_unknown();
        }
    }

    /// Whether the logs of a network may have been let go of, because it is deleted. What a member
    /// that was away still has of them says nothing of this node's disk.
    pub(crate) fn is_let_go(&self, network: NetworkId) -> bool {
        !self.holds(network) && self.facts.is_deleted(network)
    }

    /// The same for an extent of this node's log that a peer says it holds.
    pub(crate) fn check_own_extent(&mut self, network: NetworkId, theirs: &Extent) {
        if self.is_let_go(network) {
            return;
        }
        let own = self.shelves.get(&network).map(|shelf| shelf.extent(self.node));
        if !own.unwrap_or_default().includes(theirs) {
            self.own_record_unknown();
        }
    }

    fn own_record_unknown(&mut self) {
        if !self.rolled_back {
            self.rolled_back = true;
            self.outputs.push_back(Output::OwnRecordUnknown);
        }
    }

    fn is_sane(&mut self, record: &Record) -> bool {
        let Record { seq, stamp, at, value } = record;
        let numbers = 1..=Record::NUMBER_MAX;
        let sane = numbers.contains(seq)
            && numbers.contains(stamp)
            && at.table.len() <= self.limits.table_name_bytes
            && at.key.len() <= self.limits.key_bytes
            && value.as_ref().is_none_or(|value| value.len() <= self.limits.value_bytes);
        if !sane {
            self.overflow(Bound::Record);
        }
        sane
    }

    fn is_sane_delta(&mut self, delta: &Delta) -> bool {
        let Delta { head, from, to, floor, records, .. } = delta;
        let ascending = records.windows(2).all(|pair| pair[0].seq < pair[1].seq);
        let inside = records.iter().all(|record| *from < record.seq && record.seq <= *to);
        let ordered = from <= to && to <= head && floor <= head && *head <= Record::NUMBER_MAX;
        if !(ascending && inside && ordered) {
            self.counters.malformed_message += 1;
            return false;
        }
        records.iter().all(|record| self.is_sane(record))
    }

    fn alarm_duplicate(&mut self, network: NetworkId, owner: NodeId, seq: u64) {
        let alarm = Alarm::DuplicateIdentity { owner, network, seq };
        self.outputs.push_back(Output::Alarm(alarm));
    }
}
