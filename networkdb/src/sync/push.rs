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
    /// By network, owner and last member of the arc.
    pub(crate) record_arcs: BTreeMap<(NetworkId, NodeId, NodeId), Vec<Record>>,
    pub(crate) fact_arcs: BTreeMap<NodeId, Vec<WireFact>>,
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

    pub(crate) fn has_room(&mut self, bytes: usize, now: Instant) -> bool {
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
    pub(crate) fn flush_queue(&mut self, now: Instant) {
        let queue = std::mem::take(&mut self.queue);
        for ((network, owner, until), records) in queue.record_arcs {
            let ring = self.rest_of_arc(self.group(network, owner), until);
            let batches = self.batches(records);
            self.push_along(&ring, network, owner, &batches);
        }
        for (until, facts) in queue.fact_arcs {
            let ring = self.rest_of_arc(self.group(ATTACHMENTS, self.node), until);
            self.push_facts_along(&ring, facts);
        }
        for ((network, owner), records) in queue.records {
            self.flush_records(network, owner, records, now);
        }
        self.flush_facts(queue.own_facts, Source::Own);
        self.flush_facts(queue.relayed_facts, Source::Relayed);
        self.announce_to_late();
    }

    fn flush_records(
        &mut self,
        network: NetworkId,
        owner: NodeId,
        records: Vec<Record>,
        now: Instant,
    ) {
        let own = owner == self.node;
        let group = self.group(network, owner);
        if group.is_empty() {
            return;
        }
        let small = group.len() <= self.limits.push_to_all;
        let bytes: usize = records.iter().map(Record::wire_len).sum();
        let batches = self.batches(records);
        match (own, small) {
            (true, true) => {
                // Streams lose nothing, so among few nodes a burst needs no relays.
                let burst = bytes > self.limits.burst_bytes;
                let relay = if burst { Relay::Never } else { Relay::New };
                self.push_batches(&group, network, owner, relay, batches);
                if !burst {
                    self.confirm_later(network, now);
                }
                return;
            }
            (true, false) => {
                let ring = self.whole_ring(group.clone());
                self.push_along(&ring, network, owner, &batches);
            }
            (false, _) => {
                let relays = self.peers.pick(group.clone(), RELAYS);
                self.push_batches(&relays, network, owner, Relay::New, batches);
            }
        }
        if !small {
            self.announce_to_few(group, network, owner);
        }
    }

    fn push_batches(
        &mut self,
        to: &[NodeId],
        network: NetworkId,
        owner: NodeId,
        relay: Relay,
        batches: Vec<(Vec<Record>, Carrier)>,
    ) {
        for (records, carrier) in batches {
            let logs = vec![Pushed { owner, records }];
            self.send(to.to_vec(), Message::Push { network, relay, logs }, carrier);
        }
    }

    /// Rule 10: some hear of the head only, and pull what does not arrive.
    fn announce_to_few(&mut self, group: Vec<NodeId>, network: NetworkId, owner: NodeId) {
        let head = self.shelves.get(&network).map_or(0, |shelf| shelf.extent(owner).head);
        let few = fanout(group.len());
        let lazy = self.peers.pick(group, few);
        if head > 0 {
            let heads = vec![(owner, head)];
            let message = Message::Announce { network, heads, wish: Wish::Difference };
            self.send(lazy, message, Carrier::Datagram);
        }
    }

    fn flush_facts(&mut self, facts: Vec<WireFact>, source: Source) {
        let group = self.group(ATTACHMENTS, self.node);
        if facts.is_empty() || group.is_empty() {
            return;
        }
        let small = group.len() <= self.limits.push_to_all;
        let to = match (source, small) {
            (Source::Own, true) => group,
            (Source::Own, false) => {
                let ring = self.whole_ring(group);
                return self.push_facts_along(&ring, facts);
            }
            (Source::Relayed, _) => self.peers.pick(group, RELAYS),
        };
        let bytes = facts.iter().map(WireFact::wire_len).sum();
        let (carrier, piece) = self.carriage(bytes);
        let streamed = carrier == Carrier::Stream && small;
        let relay = if streamed { Relay::Never } else { Relay::New };
        for (facts, carrier) in cut(facts, piece, carrier, WireFact::wire_len) {
            self.send(to.clone(), Message::PushFacts { relay, facts }, carrier);
        }
    }

    fn batches(&self, records: Vec<Record>) -> Vec<(Vec<Record>, Carrier)> {
        let (carrier, piece) = self.carriage(records.iter().map(Record::wire_len).sum());
        cut(records, piece, carrier, Record::wire_len)
    }

    /// How so many bytes travel, and in pieces of which size.
    pub(crate) fn carriage(&self, bytes: usize) -> (Carrier, usize) {
        if bytes <= self.limits.burst_bytes {
            (Carrier::Datagram, self.limits.datagram_bytes)
        } else {
            (Carrier::Stream, self.limits.stream_bytes)
        }
    }

    /// Who is to hear of a change: the members that are up and take part, but its owner.
    pub(crate) fn group(&self, network: NetworkId, owner: NodeId) -> Vec<NodeId> {
        let takes_part = |node: &NodeId| {
            *node != owner && (network == ATTACHMENTS || self.takes_part(*node, network))
        };
        self.peers.up().filter(takes_part).collect()
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
