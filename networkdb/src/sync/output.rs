//! What a `Sync` puts out, and what it is told of members.

use weft_api::{Boot, NetworkId, NodeId, Write};

use super::message::Message;
use crate::facts::FactKind;
use crate::table::TableEvent;
use crate::watch::WatchId;

/// What is to be done or known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Send one message to one or several nodes: encode it once.
    Send {
        /// The receivers; never empty, never this node.
        to: Vec<NodeId>,
        /// What to send.
        message: Message,
        /// How.
        carrier: Carrier,
    },
    /// Make a change durable, before the outputs that follow are carried out.
    Persist(Write),
    /// The record that counts for a key changed, or its owner failed or returned. For drivers.
    Table(TableEvent),
    /// What reads show changed. For one watch.
    Watch {
        /// Which watch.
        id: WatchId,
        /// What it sees.
        event: TableEvent,
    },
    /// A fact has a new state here.
    Fact {
        /// Its kind.
        kind: FactKind,
        /// Which one.
        subject: Vec<u8>,
        /// The whole state.
        state: Vec<u8>,
    },
    /// A record by an unknown member arrived: ask `from` who `node` is.
    PullMember {
        /// The unknown member.
        node: NodeId,
        /// Who sent its record.
        from: NodeId,
    },
    /// All facts that the node had, this one has: since its last start and that node's coming up.
    FactsSynced(NodeId),
    /// Something that a person must look at.
    Alarm(Alarm),
    /// A bound was hit; anti-entropy or the caller repairs what was dropped.
    Overflow(Bound),
    /// A peer holds a record by this node that its own disk lacks: rolled back or cloned.
    OwnRecordUnknown,
}

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// In a datagram; it may be lost.
    Datagram,
    /// On the stream to the peer, in order.
    Stream,
}

/// What a person must look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// One place in a log holds two records: two nodes write under one NodeId.
    DuplicateIdentity {
        /// Whose log.
        owner: NodeId,
        /// Of which network; zero for attachments.
        network: NetworkId,
        /// The place.
        seq: u64,
    },
}

/// The bounds of `Limits`, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// Size of a record's table name, key or value.
    Record,
    /// Entries or bytes of a log.
    Log,
    /// Gaps above a log's head.
    Gaps,
    /// Known members.
    Owners,
    /// Bytes that wait to be pushed.
    PushQueue,
    /// Facts, or the size of one.
    Facts,
    /// Open watches.
    Watches,
}

/// Counts of what was refused or dropped, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Records refused for their size or numbers.
    pub record_bound: u64,
    /// Records refused because a log is full.
    pub log_bound: u64,
    /// Records refused because a log has too many gaps.
    pub gap_bound: u64,
    /// Members refused because there are too many.
    pub owner_bound: u64,
    /// Pushes dropped because too much waited.
    pub push_queue_bound: u64,
    /// Facts refused for size or number.
    pub fact_bound: u64,
    /// Watches refused.
    pub watch_bound: u64,
    /// Records of unknown owners, not stored.
    pub unknown_owner: u64,
    /// Records of members that left or were forgotten, refused.
    pub gone_owner: u64,
    /// Facts that their join refused, or of an unknown kind.
    pub malformed_fact: u64,
    /// Messages that no correct peer sends.
    pub malformed_message: u64,
    /// Records that arrived and were known already.
    pub stale_record: u64,
    /// Records that arrived, known or new, pushed or pulled.
    pub records_in: u64,
}

/// What became of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChange {
    /// It is alive (again, or in a new boot).
    Up {
        /// Its boot.
        boot: Boot,
    },
    /// It failed; it may come back.
    Failed,
    /// It left for good.
    Left,
    /// It was forgotten.
    Forgotten,
}

/// Why `handle_timeout` is to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Changes waited long enough for company.
    Flush,
    /// Announced records did not arrive.
    Pull,
    /// Confirmations of own records are looked for.
    Confirm,
    /// A round of anti-entropy.
    Round,
    /// A failed member's entries are to be hidden.
    Hide,
    /// Tombstones are old enough to go.
    Collect,
}

/// What was persisted cannot be read; nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A record of a log.
    #[error("log record {0} is malformed")]
    Log(String),
    /// A fact.
    #[error("fact {0} is malformed")]
    Fact(String),
}
