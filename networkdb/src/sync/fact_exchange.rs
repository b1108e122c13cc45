//! Facts: put, pushed, compared bucket by bucket.

use std::time::Instant;

use weft_api::{NetworkId, NodeId};

use super::Sync;
use super::message::{Message, Relay, Rest, WireFact};
use super::output::{Bound, Carrier, Output};
use super::push::cut;
use crate::facts::store::BUCKETS;
use crate::facts::{FactError, FactKind};

impl Sync {
    /// Joins a state, or a part of one, into a fact. What changes is durable before it is sent.
    ///
    /// # Errors
    /// [`FactError`]: unknown kind, malformed bytes, or a bound would be passed.
    pub fn put_fact(
        &mut self,
        kind: FactKind,
        subject: &[u8],
        delta: &[u8],
        now: Instant,
    ) -> Result<(), FactError> {
        let fact = WireFact { kind, subject: subject.to_vec(), state: delta.to_vec() };
        if self.join_fact(&fact)? == News::Changed {
            self.push_own_fact(fact, now);
        }
        Ok(())
    }

    /// Joins a whole fact and keeps it for whoever asks; nobody is told before [`Self::tell_fact`].
    ///
    /// # Errors
    /// As [`Self::put_fact`].
    pub fn keep_fact(
        &mut self,
        kind: FactKind,
        subject: &[u8],
        state: &[u8],
    ) -> Result<(), FactError> {
        self.join_fact(&WireFact { kind, subject: subject.to_vec(), state: state.to_vec() })?;
        Ok(())
    }

    /// Tells all of a fact that was kept.
    pub fn tell_fact(&mut self, kind: FactKind, subject: &[u8], now: Instant) {
        if let Some(state) = self.facts.get(kind, subject).map(<[u8]>::to_vec) {
            self.push_own_fact(WireFact { kind, subject: subject.to_vec(), state }, now);
        }
    }

    /// A fact's state.
    pub fn fact(&self, kind: FactKind, subject: &[u8]) -> Option<&[u8]> {
        self.facts.get(kind, subject)
    }

    /// All facts of a kind: subject and state, by subject.
    pub fn facts(&self, kind: FactKind) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        self.facts.of_kind(kind)
    }

    /// Whether all the facts that a member had are held, since this node's start and its coming up.
    pub fn facts_synced(&self, node: NodeId) -> bool {
        self.peers.get(node).is_some_and(|peer| peer.facts_synced)
    }

    pub(crate) fn take_facts(&mut self, relay: Relay, facts: Vec<WireFact>, now: Instant) {
        for fact in facts {
            match self.join_fact(&fact) {
                Ok(news) => {
                    if let Some(until) = self.arc_of(relay) {
                        self.pass_fact(until, fact.clone(), now);
                    }
                    if news == News::Changed && relay != Relay::Never {
                        self.relay_fact(fact, now);
                    }
                }
                Err(FactError::TooLarge { .. }) => self.overflow(Bound::Facts),
                Err(FactError::Kind(_) | FactError::Malformed(_)) => {
                    self.counters.malformed_fact += 1;
                }
            }
        }
    }

    fn join_fact(&mut self, fact: &WireFact) -> Result<News, FactError> {
        let Some(write) = self.facts.join(fact, &self.limits)? else { return Ok(News::Known) };
        let state = write.value.clone().unwrap_or_default();
        let WireFact { kind, subject, .. } = fact;
        self.outputs.push_back(Output::Persist(write));
        if let Some(network) = network_deleted(*kind, subject) {
            let parts = self.facts.drop_parts(network);
            self.outputs.extend(parts.into_iter().map(Output::Persist));
        }
        self.outputs.push_back(Output::Fact { kind: *kind, subject: subject.clone(), state });
        if let Some(node) = member_gone(*kind, subject) {
            self.bury(node);
        }
        Ok(News::Changed)
    }

    /// A peer's root hash, when the one over all differed.
    pub(crate) fn compare_facts(&mut self, from: NodeId, root: u64, now: Instant) {
        if root == self.facts.root() {
            return self.mark_synced(from);
        }
        // One exchange at a time: after it, most others turn out equal.
        if self.fact_exchange.is_some_and(|(_, until)| until > now) {
            return;
        }
        self.fact_exchange = Some((from, now + self.timing.exchange));
        let buckets = self.facts.buckets().to_vec();
        self.send(vec![from], Message::FactBuckets { buckets }, Carrier::Datagram);
    }

    pub(crate) fn take_buckets(&mut self, from: NodeId, theirs: &[u64]) {
        if theirs.len() != BUCKETS {
            self.counters.malformed_message += 1;
            return;
        }
        let differing = self.facts.buckets().iter().zip(theirs).enumerate();
        let buckets: Vec<u8> = differing
            .filter(|(_, (own, theirs))| own != theirs)
            .filter_map(|(index, _)| u8::try_from(index).ok())
            .collect();
        if buckets.is_empty() {
            self.mark_synced(from);
        }
        let items = self.facts.digest(&buckets);
        let carrier = self.carrier(items.len() * 18 + buckets.len());
        self.send(vec![from], Message::FactDigest { buckets, items }, carrier);
    }

    /// The peer gets what it lacks or holds otherwise, and is asked for the same.
    pub(crate) fn take_digest(&mut self, from: NodeId, buckets: &[u8], theirs: &[(u64, u64)]) {
        let ascending = theirs.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !ascending || buckets.windows(2).any(|pair| pair[0] >= pair[1]) {
            self.counters.malformed_message += 1;
            return;
        }
        let own = self.facts.digest(buckets);
        let lacking = |from: &[(u64, u64)], to: &[(u64, u64)]| -> Vec<u64> {
            let lacks = |item: &&(u64, u64)| to.binary_search(item).is_err();
            from.iter().filter(lacks).map(|(key, _)| *key).collect()
        };
        let (give, pull) = (lacking(&own, theirs), lacking(theirs, &own));
        if pull.is_empty() {
            self.end_fact_exchange(from);
        }
        self.send_facts(from, &give, pull);
    }

    pub(crate) fn take_answer(
        &mut self,
        from: NodeId,
        facts: Vec<WireFact>,
        rest: Rest,
        mut pull: Vec<u64>,
        now: Instant,
    ) {
        self.take_facts(Relay::Never, facts, now);
        if !pull.is_empty() {
            pull.sort_unstable();
            self.send_facts(from, &pull, Vec::new());
        }
        match rest {
            Rest::Nothing => self.end_fact_exchange(from),
            Rest::More => {}
        }
    }

    fn send_facts(&mut self, to: NodeId, keys: &[u64], pull: Vec<u64>) {
        let mut facts = self.facts.pick(keys);
        // Nothing is taken any more from one that is gone, so what it knows comes first.
        facts.sort_by_key(|fact| member_gone(fact.kind, &fact.subject).is_some());
        let bytes: usize = facts.iter().map(WireFact::wire_len).sum();
        let carrier = self.carrier(bytes + pull.len() * 9);
        let mut batches = cut(facts, self.limits.stream_bytes, carrier, WireFact::wire_len);
        let last = batches.pop().map(|(facts, _)| facts).unwrap_or_default();
        for (facts, _) in batches {
            let message = Message::Facts { facts, rest: Rest::More, pull: Vec::new() };
            self.send(vec![to], message, carrier);
        }
        let message = Message::Facts { facts: last, rest: Rest::Nothing, pull };
        self.send(vec![to], message, carrier);
    }

    fn end_fact_exchange(&mut self, peer: NodeId) {
        self.mark_synced(peer);
        if self.fact_exchange.is_some_and(|(with, _)| with == peer) {
            self.fact_exchange = None;
            for other in self.peers.unsynced() {
                self.check(other);
            }
        }
    }

    pub(crate) fn mark_synced(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get_mut(node) else { return };
        if !std::mem::replace(&mut peer.facts_synced, true) {
            self.outputs.push_back(Output::FactsSynced(node));
        }
    }
}

/// Whether a join changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Changed,
    Known,
}

/// The network that a fact says is deleted.
fn network_deleted(kind: FactKind, subject: &[u8]) -> Option<NetworkId> {
    let network = NetworkId::from_bytes(subject.try_into().ok()?);
    (kind == FactKind::DELETED).then_some(network)
}

/// The member that a fact says is gone for good.
pub(crate) fn member_gone(kind: FactKind, subject: &[u8]) -> Option<NodeId> {
    let node = NodeId::from_bytes(subject.try_into().ok()?);
    (kind == FactKind::LEFT || kind == FactKind::FORGOTTEN).then_some(node)
}
