//! What this node knows of the others: who is there, who is hidden, who is gone.

use std::collections::BTreeMap;
use std::time::Instant;

use crdts::GSet;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weft_api::NodeId;

/// Whether a member answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Up,
    /// Failed, or only known from disk so far.
    Absent,
}

/// One member.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) standing: Standing,
    /// Failed for so long that reads hide its entries.
    pub(crate) hidden: bool,
    /// Facts were synced since it came up.
    pub(crate) facts_synced: bool,
}

/// All members but this node.
#[derive(Debug)]
pub(crate) struct Peers {
    known: BTreeMap<NodeId, Peer>,
    /// Failed members that are to be hidden, and when.
    to_hide: BTreeMap<NodeId, Instant>,
    /// Members that left or were forgotten. Only grows, and grows the same everywhere.
    ///
    /// `crdts::VClock` is not used for coverage: it holds neither ranges above a head nor the
    /// zero of "I hold nothing of this log".
    gone: GSet<NodeId>,
    rng: ChaCha8Rng,
}

impl Peers {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            known: BTreeMap::new(),
            to_hide: BTreeMap::new(),
            gone: GSet::new(),
            rng: ChaCha8Rng::from_seed(seed),
        }
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<&Peer> {
        self.known.get(&node)
    }

    pub(crate) fn get_mut(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.known.get_mut(&node)
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Makes a member known, if it is not.
    pub(crate) fn add(&mut self, node: NodeId) -> &mut Peer {
        self.known.entry(node).or_insert(Peer {
            standing: Standing::Absent,
            hidden: false,
            facts_synced: false,
        })
    }

    /// A member is gone for good. Tells whether that is news.
    pub(crate) fn remove(&mut self, node: NodeId) -> bool {
        self.known.remove(&node);
        self.to_hide.remove(&node);
        let news = !self.gone.contains(&node);
        self.gone.insert(node);
        news
    }

    pub(crate) fn is_gone(&self, node: NodeId) -> bool {
        self.gone.contains(&node)
    }

    pub(crate) fn is_hidden(&self, node: NodeId) -> bool {
        self.known.get(&node).is_some_and(|peer| peer.hidden)
    }

    pub(crate) fn is_up(&self, node: NodeId) -> bool {
        self.known.get(&node).is_some_and(|peer| peer.standing == Standing::Up)
    }

    pub(crate) fn up(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.known.iter().filter(|(_, peer)| peer.standing == Standing::Up).map(|(node, _)| *node)
    }

    pub(crate) fn unsynced(&self) -> Vec<NodeId> {
        self.up().filter(|node| !self.known[node].facts_synced).collect()
    }

    /// When the next failed member is to be hidden.
    pub(crate) fn next_hide(&self) -> Option<Instant> {
        self.to_hide.values().min().copied()
    }

    /// A member failed; it is hidden at a time, unless it is already or will be earlier.
    pub(crate) fn hide_later(&mut self, node: NodeId, at: Instant) {
        if !self.is_hidden(node) {
            self.to_hide.entry(node).or_insert(at);
        }
    }

    /// A member returned, or is hidden now.
    pub(crate) fn hide_never(&mut self, node: NodeId) {
        self.to_hide.remove(&node);
    }

    pub(crate) fn due_to_hide(&self, now: Instant) -> Vec<NodeId> {
        self.to_hide.iter().filter(|(_, at)| **at <= now).map(|(node, _)| *node).collect()
    }

    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below.max(1)
    }

    /// Picks `count` of the candidates at random, in random order.
    pub(crate) fn pick(&mut self, mut from: Vec<NodeId>, count: usize) -> Vec<NodeId> {
        let count = count.min(from.len());
        for index in 0..count {
            let left = (from.len() - index) as u64;
            let other = index + usize::try_from(self.random(left)).unwrap_or(0);
            from.swap(index, other);
        }
        from.truncate(count);
        from
    }
}
