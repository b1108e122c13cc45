//! What nodes tell each other about tables and facts.

use serde::{Deserialize, Serialize};
use weft_api::{NetworkId, NodeId};

use crate::facts::FactKind;
use crate::table::log::Extent;
use crate::table::record::Record;

/// A message of one node's `Sync` to another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Records pushed because they are new.
    Push {
        /// Of which network; zero for attachments.
        network: NetworkId,
        /// Whether the receiver passes on what is new to it.
        relay: Relay,
        /// By owner.
        logs: Vec<Pushed>,
    },
    /// Facts pushed because they are new.
    PushFacts {
        /// Whether the receiver passes on what is new to it.
        relay: Relay,
        /// The facts, or the parts of them that are new.
        facts: Vec<WireFact>,
    },
    /// One hash over all the two nodes share and the facts. Answered when it differs, or on wish.
    Check {
        /// The sum of `facts` and of the hashes of the shared networks.
        hash: u64,
        /// Whether agreement, too, is to be answered.
        wish: Wish,
    },
    /// Answers a check that agreed.
    Same,
    /// Answers a check that differed: each hash by itself.
    Hashes {
        /// Root hash of the facts.
        facts: u64,
        /// Hash of each network the two share.
        networks: Vec<(NetworkId, u64)>,
    },
    /// All logs of one network, as far as the sender holds them. Answered by what it lacks
    /// ([`Message::Deltas`]) and a [`Message::Pull`] of what it has more.
    Heads {
        /// The network; zero for attachments.
        network: NetworkId,
        /// Sorted by owner.
        extents: Vec<(NodeId, Extent)>,
    },
    /// Some logs have grown; who lacks them pulls.
    Announce {
        /// The network; zero for attachments.
        network: NetworkId,
        /// Owner and head.
        heads: Vec<(NodeId, u64)>,
        /// Whether holding them already is to be answered, by [`Message::Held`].
        wish: Wish,
    },
    /// Answers an announcement of what is held already.
    Held {
        /// The network.
        network: NetworkId,
        /// Owner and head.
        heads: Vec<(NodeId, u64)>,
    },
    /// Asks for what the sender lacks of these logs.
    Pull {
        /// The network; zero for attachments.
        network: NetworkId,
        /// As far as the sender holds them.
        extents: Vec<(NodeId, Extent)>,
    },
    /// Parts of logs, complete in their spans.
    Deltas {
        /// The network; zero for attachments.
        network: NetworkId,
        /// In the order to apply them.
        deltas: Vec<Delta>,
        /// Whether the answer was cut short, so that the receiver asks again.
        rest: Rest,
    },
    /// The hashes of the facts by bucket.
    FactBuckets {
        /// One hash for each bucket.
        buckets: Vec<u64>,
    },
    /// The facts of the buckets that differ, by hash.
    FactDigest {
        /// The buckets, ascending.
        buckets: Vec<u8>,
        /// (hash of the key, hash of the state), ascending.
        items: Vec<(u64, u64)>,
    },
    /// Facts that the receiver lacks or holds in another state.
    Facts {
        /// Whole states.
        facts: Vec<WireFact>,
        /// Whether more of them follow.
        rest: Rest,
        /// What the sender wants in turn: hashes of keys.
        pull: Vec<u64>,
    },
}

/// Whether, and how, a receiver passes on what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relay {
    /// It does.
    New,
    /// It does not.
    Never,
    /// It does, and it sends what it got, new or not, to the members after itself: to the first of
    /// each part of its arc.
    Arc {
        /// The last member of the arc, in the order of the ring of ids.
        until: NodeId,
    },
}

/// Whether good news is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// Only a difference is answered.
    Difference,
    /// Agreement is answered, too.
    Word,
}

/// Whether an answer is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rest {
    /// Nothing follows.
    Nothing,
    /// More follows, or has to be asked for.
    More,
}

/// New records of one owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// Whose log they are of.
    pub owner: NodeId,
    /// The records, in any order.
    pub records: Vec<Record>,
}

/// A span (from, to] of a log, complete: what it does not list is superseded in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Whose log.
    pub owner: NodeId,
    /// The sender's head.
    pub head: u64,
    /// The sender's gc floor.
    pub floor: u64,
    /// The span begins after this.
    pub from: u64,
    /// The span ends with this.
    pub to: u64,
    /// What absence from the list means.
    pub kind: DeltaKind,
    /// The records whose seq is in the span, ascending.
    pub records: Vec<Record>,
}

/// What absence from a delta's list means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeltaKind {
    /// Superseded by a record of the log that is listed or comes later.
    Since,
    /// Not live and no tombstone as of the sender's head: the receiver drops it. Such deltas come
    /// as a series from zero, because the sender has dropped tombstones that the receiver lacks.
    Map,
}

/// A fact, or a part of one, on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireFact {
    /// What it is about.
    pub kind: FactKind,
    /// Which one.
    pub subject: Vec<u8>,
    /// Its state.
    pub state: Vec<u8>,
}
