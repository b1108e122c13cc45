//! Anti-entropy, second half: sending and asking for only what differs.

use std::time::{Duration, Instant};

use weft_api::{NetworkId, NodeId};

use super::message::{Delta, Message, Rest, Wish};
use super::output::Carrier;
use super::receive::Accept;
use super::{ATTACHMENTS, Sync};
use crate::table::log::{Extent, Log};
use crate::table::record::Record;
use crate::table::shelf::Shelf;

/// How often what was announced is pulled, until anti-entropy alone is relied on.
const PULLS_MAX: u32 = 5;

/// A log that was announced and has not arrived.
#[derive(Debug)]
pub(crate) struct Awaited {
    /// Who announced it.
    pub(crate) from: NodeId,
    /// How far.
    pub(crate) head: u64,
    /// When to pull.
    pub(crate) due: Instant,
    pause: Duration,
    pulled: u32,
}

impl Sync {
    /// A peer says how far it holds all logs of a network: it gets what it lacks and is asked for
    /// what it has more.
    pub(crate) fn take_heads(
        &mut self,
        from: NodeId,
        network: NetworkId,
        extents: Vec<(NodeId, Extent)>,
    ) {
        if !self.is_canonical(&extents) {
            return;
        }
        let wanted: Vec<_> = extents
            .iter()
            .filter_map(|(owner, theirs)| self.wants(from, network, *owner, theirs))
            .collect();
        let theirs = |owner: NodeId| {
            let found = extents.binary_search_by_key(&owner, |(owner, _)| *owner);
            found.map(|index| extents[index].1.clone()).unwrap_or_default()
        };
        let logs = self.shelves.get(&network).into_iter().flat_map(Shelf::logs);
        let asked = logs.map(|(owner, _)| (owner, theirs(owner))).collect();
        self.serve(from, network, asked);
        self.pull(from, network, wanted);
    }

    pub(crate) fn take_pull(
        &mut self,
        from: NodeId,
        network: NetworkId,
        extents: Vec<(NodeId, Extent)>,
    ) {
        if self.is_canonical(&extents) {
            self.serve(from, network, extents);
        }
    }

    /// Some logs have grown. They may be on their way here, so they are pulled a little later.
    pub(crate) fn take_announce(
        &mut self,
        from: NodeId,
        network: NetworkId,
        heads: Vec<(NodeId, u64)>,
        wish: Wish,
        now: Instant,
    ) {
        let mut held = Vec::new();
        for (owner, head) in heads {
            let theirs = Extent { head: head.min(Record::NUMBER_MAX), ..Extent::default() };
            // What is not held here at all is as good as held: nothing of it can stay behind.
            if !self.holds(network) {
                held.push((owner, head));
            } else if self.wants(from, network, owner, &theirs).is_some() {
                self.await_log(network, owner, from, head, now);
            } else if self.accept(owner, from) == Accept::Yes {
                held.push((owner, head));
            }
        }
        if wish == Wish::Word && !held.is_empty() {
            self.send(vec![from], Message::Held { network, heads: held }, Carrier::Datagram);
        }
    }

    /// Pulls what was announced and did not arrive.
    pub(crate) fn pull_due(&mut self, now: Instant) {
        let due: Vec<_> = self
            .pulls
            .iter()
            .filter(|(_, awaited)| awaited.due <= now)
            .map(|((network, owner), awaited)| (*network, *owner, awaited.from))
            .collect();
        for (network, owner, from) in due {
            self.pull_again_later(network, owner, now);
            let extent = self.shelves.get(&network).map(|shelf| shelf.extent(owner));
            self.pull(from, network, vec![(owner, extent.unwrap_or_default())]);
        }
    }

    fn await_log(
        &mut self,
        network: NetworkId,
        owner: NodeId,
        from: NodeId,
        head: u64,
        now: Instant,
    ) {
        let due = now + self.timing.pull_after;
        let pause = self.timing.pull_again;
        let fresh = Awaited { from, head, due, pause, pulled: 0 };
        let awaited = self.pulls.entry((network, owner)).or_insert(fresh);
        awaited.head = awaited.head.max(head);
        awaited.due = awaited.due.min(due);
        self.round_soon(now);
    }

    /// Either half of a pull may be lost, so it is sent again, for a while.
    fn pull_again_later(&mut self, network: NetworkId, owner: NodeId, now: Instant) {
        let Some(awaited) = self.pulls.get_mut(&(network, owner)) else { return };
        awaited.pulled += 1;
        if awaited.pulled > PULLS_MAX {
            self.pulls.remove(&(network, owner));
            return;
        }
        awaited.due = now + awaited.pause;
        awaited.pause *= 2;
    }

    pub(crate) fn take_deltas(
        &mut self,
        from: NodeId,
        network: NetworkId,
        deltas: &[Delta],
        rest: Rest,
        now: Instant,
    ) {
        let hash = |sync: &Self| sync.shelves.get(&network).map(Shelf::hash);
        let before = hash(self);
        deltas.iter().for_each(|delta| self.take_delta(from, network, delta, now));
        let progress = hash(self) != before;
        if self.exchanges.get(&network).is_some_and(|(peer, _)| *peer == from) {
            self.exchanges.remove(&network);
        }
        // Without progress (an owner not yet known, a full log) asking again would go on for ever.
        if rest == Rest::More && progress && self.holds(network) {
            self.exchange(network, from, now);
        }
        if network == ATTACHMENTS && progress {
            self.fetch_unheard(now);
        }
    }

    /// What to ask a peer for, seen how far it holds a log.
    fn wants(
        &mut self,
        from: NodeId,
        network: NetworkId,
        owner: NodeId,
        theirs: &Extent,
    ) -> Option<(NodeId, Extent)> {
        if owner == self.node {
            self.check_own_extent(network, theirs);
            return None;
        }
        let own = self.shelves.get(&network).map(|shelf| shelf.extent(owner)).unwrap_or_default();
        if own.includes(theirs) || !self.holds(network) {
            return None;
        }
        (self.accept(owner, from) == Accept::Yes).then_some((owner, own))
    }

    fn pull(&mut self, from: NodeId, network: NetworkId, extents: Vec<(NodeId, Extent)>) {
        if !extents.is_empty() {
            let carrier = self.carrier(extents.len() * 40);
            self.send(vec![from], Message::Pull { network, extents }, carrier);
        }
    }

    /// Sends what the holder of these extents lacks, in messages of bounded size.
    fn serve(&mut self, to: NodeId, network: NetworkId, asked: Vec<(NodeId, Extent)>) {
        // A peer that does not know that this node detached gets no half-held tables.
        let own_only = network != ATTACHMENTS && !self.is_attached(network);
        let piece = self.limits.stream_bytes;
        let mut batches = vec![(Vec::new(), 0)];
        let (mut total, mut rest) = (0, Rest::Nothing);
        for (owner, theirs) in asked {
            if (own_only && owner != self.node) || self.peers.is_gone(owner) {
                continue;
            }
            let log = self.shelves.get(&network).and_then(|shelf| shelf.log(owner));
            let Some(log) = log else { continue };
            if total > self.limits.answer_bytes {
                rest = Rest::More;
                break;
            }
            total += add_deltas(&mut batches, log, owner, &theirs, piece);
        }
        let last = batches.len() - 1;
        let carrier = self.carrier(total);
        for (index, (deltas, _)) in batches.into_iter().enumerate() {
            let rest = if index == last { rest } else { Rest::Nothing };
            self.send(vec![to], Message::Deltas { network, deltas, rest }, carrier);
        }
    }

    fn is_canonical(&mut self, extents: &[(NodeId, Extent)]) -> bool {
        let canonical = extents.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && extents.iter().all(|(_, extent)| extent.above.is_canonical());
        if !canonical {
            self.counters.malformed_message += 1;
        }
        canonical
    }
}

fn add_deltas(
    batches: &mut Vec<(Vec<Delta>, usize)>,
    log: &Log,
    owner: NodeId,
    theirs: &Extent,
    piece: usize,
) -> usize {
    let mut total = 0;
    for delta in log.deltas(owner, theirs, piece) {
        let bytes = 64 + delta.records.iter().map(Record::wire_len).sum::<usize>();
        total += bytes;
        match batches.last_mut() {
            Some((open, size)) if *size == 0 || *size + bytes <= piece => {
                *size += bytes;
                open.push(delta);
            }
            Some(_) | None => batches.push((vec![delta], bytes)),
        }
    }
    total
}
