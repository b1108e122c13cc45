//! Push on change: what waits to be sent, to whom, and how.

use std::collections::BTreeMap;
use std::time::Instant;

use weft_api::{NetworkId, NodeId};

use super::message::{Message, Pushed, Relay, WireFact, Wish};
use super::output::{Bound, Carrier, Output};
use super::{ATTACHMENTS, Sync};
use crate::table::record::Record;

/// How many others a receiver passes a new record on to.
const RELAYS: usize = 2;

/// Changes that wait for company.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    records: BTreeMap<(NetworkId, NodeId), Vec<Record>>,
    own_facts: Vec<WireFact>,
    relayed_facts: Vec<WireFact>,
    bytes: usize,
    pub(crate) due: Option<Instant>,
}

/// Whose change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Own,
    Relayed,
}

impl Sync {
    /// Queues a record that is new here, the node's own or another's.
    pub(crate) fn push_record(
        &mut self,
        network: NetworkId,
        owner: NodeId,
        record: Record,
        now: Instant,
    ) {
        if self.has_room(record.wire_len(), now) {
            self.queue.records.entry((network, owner)).or_default().push(record);
        }
    }

    pub(crate) fn push_own_fact(&mut self, fact: WireFact, now: Instant) {
        if self.has_room(fact.wire_len(), now) {
            self.queue.own_facts.push(fact);
        }
    }

    pub(crate) fn relay_fact(&mut self, fact: WireFact, now: Instant) {
        if self.has_room(fact.wire_len(), now) {
            self.queue.relayed_facts.push(fact);
        }
    }

    fn has_room(&mut self, bytes: usize, now: Instant) -> bool {
        self.round_soon(now);
        if self.queue.bytes + bytes > self.limits.push_queue_bytes {
            self.overflow(Bound::PushQueue);
            return false;
        }
        self.queue.bytes += bytes;
        self.queue.due.get_or_insert(now + self.timing.coalesce);
        true
    }

    /// Sends all that waits.
    pub(crate) fn flush_queue(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        for ((network, owner), records) in queue.records {
            self.flush_records(network, owner, records);
        }
        self.flush_facts(queue.own_facts, Source::Own);
        self.flush_facts(queue.relayed_facts, Source::Relayed);
    }

    fn flush_records(&mut self, network: NetworkId, owner: NodeId, records: Vec<Record>) {
        let source = if owner == self.node { Source::Own } else { Source::Relayed };
        let group = self.group(network, owner);
        let small = group.len() <= self.limits.push_to_all;
        let (eager, lazy) = self.targets(group, source);
        if eager.is_empty() {
            return;
        }
        let bytes = records.iter().map(Record::wire_len).sum();
        let (carrier, piece, relay) = self.carriage(bytes, small);
        for (records, carrier) in cut(records, piece, carrier, Record::wire_len) {
            let logs = vec![Pushed { owner, records }];
            let message = Message::Push { network, relay, logs };
            self.send(eager.clone(), message, carrier);
        }
        let head = self.shelves.get(&network).map_or(0, |shelf| shelf.extent(owner).head);
        if !lazy.is_empty() && head > 0 {
            let heads = vec![(owner, head)];
            let message = Message::Announce { network, heads, wish: Wish::Difference };
            self.send(lazy, message, Carrier::Datagram);
        }
    }

    fn flush_facts(&mut self, facts: Vec<WireFact>, source: Source) {
        let group = self.group(ATTACHMENTS, self.node);
        let small = group.len() <= self.limits.push_to_all;
        let (eager, _) = self.targets(group, source);
        if facts.is_empty() || eager.is_empty() {
            return;
        }
        let bytes = facts.iter().map(WireFact::wire_len).sum();
        let (carrier, piece, relay) = self.carriage(bytes, small);
        for (facts, carrier) in cut(facts, piece, carrier, WireFact::wire_len) {
            self.send(eager.clone(), Message::PushFacts { relay, facts }, carrier);
        }
    }

    /// Streams lose nothing, so among few nodes a burst needs no relays.
    fn carriage(&self, bytes: usize, small: bool) -> (Carrier, usize, Relay) {
        if bytes <= self.limits.burst_bytes {
            return (Carrier::Datagram, self.limits.datagram_bytes, Relay::New);
        }
        let relay = if small { Relay::Never } else { Relay::New };
        (Carrier::Stream, self.limits.stream_bytes, relay)
    }

    /// Who is to hear of a change: the members that are up and take part, but its owner.
    fn group(&self, network: NetworkId, owner: NodeId) -> Vec<NodeId> {
        let takes_part = |node: &NodeId| {
            *node != owner && (network == ATTACHMENTS || self.takes_part(*node, network))
        };
        self.peers.up().filter(takes_part).collect()
    }

    /// Rule 10. To whom to push, and to whom to tell the head only.
    fn targets(&mut self, group: Vec<NodeId>, source: Source) -> (Vec<NodeId>, Vec<NodeId>) {
        if group.len() <= self.limits.push_to_all {
            let eager = match source {
                Source::Own => group,
                Source::Relayed => self.peers.pick(group, RELAYS),
            };
            return (eager, Vec::new());
        }
        let few = fanout(group.len());
        let eager = match source {
            Source::Own => few,
            Source::Relayed => RELAYS,
        };
        let mut picked = self.peers.pick(group, eager + few);
        let lazy = picked.split_off(eager.min(picked.len()));
        (picked, lazy)
    }

    pub(crate) fn send(&mut self, to: Vec<NodeId>, message: Message, carrier: Carrier) {
        if !to.is_empty() {
            self.outputs.push_back(Output::Send { to, message, carrier });
        }
    }
}

/// About 3 * log10(n + 1), in integers: 0.9 for each doubling.
fn fanout(group: usize) -> usize {
    let bits = usize::BITS - (group + 1).leading_zeros();
    (bits as usize * 9).div_ceil(10)
}

/// Cuts items to batches of at most `piece` bytes; what is larger by itself goes by stream.
pub(crate) fn cut<T>(
    items: Vec<T>,
    piece: usize,
    carrier: Carrier,
    size: impl Fn(&T) -> usize,
) -> Vec<(Vec<T>, Carrier)> {
    let mut batches = Vec::new();
    let (mut open, mut bytes) = (Vec::new(), 0);
    for item in items {
        let len = size(&item);
        if bytes > 0 && bytes + len > piece {
            let way = if bytes > piece { Carrier::Stream } else { carrier };
            batches.push((std::mem::take(&mut open), way));
            bytes = 0;
        }
        bytes += len;
        open.push(item);
    }
    if !open.is_empty() {
        batches.push((open, if bytes > piece { Carrier::Stream } else { carrier }));
    }
    batches
}

impl WireFact {
    pub(crate) fn wire_len(&self) -> usize {
        16 + self.subject.len() + self.state.len()
    }
}
