//! Large groups: a change travels along arcs of the ring of its receivers.
//!
//! Members in the order of their ids, the first after the last, are a ring. The owner of a change
//! cuts the ring of its receivers into few arcs, and sends the change to the first member of each,
//! with the arc's last. Who gets it cuts the rest of its arc in the same way, out of the members
//! that it knows itself. So a thousand members are two steps away, and each gets one copy. Arcs
//! only get shorter: it ends, whatever members know. Whom a lost packet or a dead member keeps it
//! from gets it by relays, announcements and anti-entropy, as in small groups.

use std::time::Instant;

use weft_api::{NetworkId, NodeId};

use super::Sync;
use super::message::{Message, Pushed, Relay, WireFact};
use super::output::Carrier;
use super::push::cut;
use crate::table::record::Record;

impl Sync {
    /// Queues a record for the members after this one, up to `until`.
    pub(crate) fn pass_record(
        &mut self,
        network: NetworkId,
        owner: NodeId,
        until: NodeId,
        record: Record,
        now: Instant,
    ) {
        if self.has_room(record.wire_len(), now) {
            self.queue.record_arcs.entry((network, owner, until)).or_default().push(record);
        }
    }

    /// Queues a fact for the members after this one, up to `until`.
    pub(crate) fn pass_fact(&mut self, until: NodeId, fact: WireFact, now: Instant) {
        if self.has_room(fact.wire_len(), now) {
            self.queue.fact_arcs.entry(until).or_default().push(fact);
        }
    }

    /// The arc that a relayed push makes this node serve, unless it is the last there.
    pub(crate) fn arc_of(&self, relay: Relay) -> Option<NodeId> {
        match relay {
            Relay::Arc { until } => (until != self.node).then_some(until),
            Relay::New | Relay::Never => None,
        }
    }

    /// The members of a group from this node to `until`, in the order of the ring.
    pub(crate) fn rest_of_arc(&self, group: Vec<NodeId>, until: NodeId) -> Vec<NodeId> {
        let mut rest: Vec<NodeId> =
            group.into_iter().filter(|node| within(self.node, *node, until)).collect();
        let wraps = rest.iter().take_while(|node| **node < self.node).count();
        rest.rotate_left(wraps);
        rest
    }

    /// A group as a ring that begins anywhere, so that no member is always the first.
    pub(crate) fn whole_ring(&mut self, mut group: Vec<NodeId>) -> Vec<NodeId> {
        let begin = self.peers.random(group.len() as u64);
        group.rotate_left(usize::try_from(begin).unwrap_or(0));
        group
    }

    pub(crate) fn push_along(
        &mut self,
        ring: &[NodeId],
        network: NetworkId,
        owner: NodeId,
        batches: &[(Vec<Record>, Carrier)],
    ) {
        for (first, until) in arcs(ring, self.limits.push_to_all) {
            for (records, carrier) in batches {
                let logs = vec![Pushed { owner, records: records.clone() }];
                let message = Message::Push { network, relay: Relay::Arc { until }, logs };
                self.send(vec![first], message, *carrier);
            }
        }
    }

    pub(crate) fn push_facts_along(&mut self, ring: &[NodeId], facts: Vec<WireFact>) {
        let bytes = facts.iter().map(WireFact::wire_len).sum();
        let (carrier, piece) = self.carriage(bytes);
        let batches = cut(facts, piece, carrier, WireFact::wire_len);
        for (first, until) in arcs(ring, self.limits.push_to_all) {
            for (facts, carrier) in &batches {
                let relay = Relay::Arc { until };
                let message = Message::PushFacts { relay, facts: facts.clone() };
                self.send(vec![first], message, *carrier);
            }
        }
    }
}

/// Tells whether a node comes after another on the ring, `until` at the latest.
fn within(after: NodeId, node: NodeId, until: NodeId) -> bool {
    match after.cmp(&until) {
        std::cmp::Ordering::Less => after < node && node <= until,
        std::cmp::Ordering::Equal => false,
        std::cmp::Ordering::Greater => node > after || node <= until,
    }
}

/// Cuts a ring to at most so many arcs of nearly one length; gives the first and the last of each.
fn arcs(ring: &[NodeId], most: usize) -> Vec<(NodeId, NodeId)> {
    let count = most.max(1).min(ring.len());
    let bounds = (0..count).map(|arc| (ring.len() * arc / count, ring.len() * (arc + 1) / count));
    bounds.map(|(begin, end)| (ring[begin], ring[end - 1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(bytes: impl Iterator<Item = u8>) -> Vec<NodeId> {
        bytes.map(|byte| NodeId::from_bytes([byte; 16])).collect()
    }

    #[test]
    fn arcs_cover_the_ring_and_differ_by_one_at_most() {
        for (members, most) in [(0, 4), (1, 4), (4, 4), (5, 4), (100, 32), (200, 1)] {
            let ring = ids(0..members);
            let arcs = arcs(&ring, most);
            let at = |node: NodeId| ring.iter().position(|other| *other == node).unwrap();
            let lengths: Vec<usize> =
                arcs.iter().map(|(first, last)| at(*last) + 1 - at(*first)).collect();
            assert_eq!(lengths.iter().sum::<usize>(), usize::from(members));
            let (least, longest) = (lengths.iter().min(), lengths.iter().max());
            assert!(longest.unwrap_or(&0) - least.unwrap_or(&0) <= 1, "{lengths:?}");
        }
    }

    #[test]
    fn an_arc_ends_at_its_last_and_wraps_around() {
        let [a, b, c, d] = [1, 2, 3, 4].map(|byte| NodeId::from_bytes([byte; 16]));
        assert!(within(a, b, c) && within(a, c, c) && !within(a, d, c) && !within(a, a, c));
        assert!(within(c, d, b) && within(c, a, b) && within(c, b, b) && !within(c, c, b));
        assert!(!within(a, b, a), "the whole ring is nobody's arc");
    }
}
