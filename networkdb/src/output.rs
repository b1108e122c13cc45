//! What goes into and comes out of a [`NetworkDb`](crate::NetworkDb), as data.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use weft_api::{Boot, Definition, NetworkId, NodeId, Write};

use crate::claims::{ClaimId, Outcome};
use crate::facts::FactKind;
use crate::keys::KeyRing;
use crate::sync;
use crate::table::TableEvent;
use crate::watch::WatchId;

/// Names one stream between this node and a peer. The database names those it opens, the caller
/// those it accepts, so the two never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

impl StreamId {
    pub(crate) const FIRST: Self = Self(0);
    pub(crate) const LAST: Self = Self(u64::MAX);

    /// Names a stream that the caller accepted; `serial` is never used twice.
    pub const fn accepted(serial: u64) -> Self {
        Self(serial.wrapping_mul(2) | 1)
    }

    pub(crate) const fn opened(serial: u64) -> Self {
        Self(serial.wrapping_mul(2))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the caller reports about streams. A stream is an authenticated, encrypted, ordered
/// channel of frames; the caller has done its handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamInput {
    /// A peer opened a stream to us.
    Accepted {
        /// Made by [`StreamId::accepted`].
        stream: StreamId,
        /// Where it comes from.
        from: SocketAddr,
    },
    /// A stream asked for by [`Output::OpenStream`] stands.
    Connected {
        /// As given in the output.
        stream: StreamId,
    },
    /// One frame arrived whole.
    Frame {
        /// On which stream.
        stream: StreamId,
        /// Its bytes, decrypted.
        bytes: Vec<u8>,
    },
    /// The peer closed the stream, or it broke.
    Closed {
        /// Which.
        stream: StreamId,
    },
    /// Whoever was called accepts none of this node's keys; there is no stream.
    KeyRefused {
        /// Which.
        stream: StreamId,
    },
    /// The stream could not be opened.
    Failed {
        /// Which.
        stream: StreamId,
        /// Why, for people.
        reason: String,
    },
}

/// How a member stands, as this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MemberState {
    /// It answers.
    Alive,
    /// It did not answer a probe lately; treated as alive.
    Suspect,
    /// It answers nobody. It may return.
    Failed,
    /// It left the cluster for good.
    Left,
    /// An operator asserted that it is gone for good.
    Forgotten,
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// Its newest boot known here.
    pub boot: Boot,
    /// Its label.
    pub name: String,
    /// Where it is reached.
    pub addr: SocketAddr,
    /// How it stands.
    pub state: MemberState,
}

/// A change among the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberEvent {
    /// Came alive, for the first time or again, or restarted (another boot).
    Up(Member),
    /// Does not answer any more.
    Failed(NodeId),
    /// Left for good.
    Left(NodeId),
    /// Was forgotten.
    Forgotten(NodeId),
    /// Changed its name or address.
    Renamed(Member),
}

/// Why a join did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum JoinRefusal {
    /// No seed could be reached.
    #[error("no seed answered: {0}")]
    Unreachable(String),
    /// This NodeId left the cluster: it must join as a new node.
    #[error("node {0} has left this cluster and cannot return under its old id")]
    Left(NodeId),
    /// This NodeId was forgotten: it must join as a new node.
    #[error("node {0} was forgotten by this cluster and cannot return under its old id")]
    Forgotten(NodeId),
    /// The seed belongs to another cluster.
    #[error("the seed belongs to another cluster")]
    ForeignCluster,
    /// The seed speaks another version of the protocol.
    #[error("the seed speaks protocol version {theirs}, this node version {ours}")]
    Version {
        /// The refusing member's.
        theirs: u8,
        /// The joiner's.
        ours: u8,
    },
    /// The member list is full.
    #[error("the cluster has {0} members, its limit")]
    Full(u64),
    /// This NodeId is known with a newer boot, or with another one of the same counter.
    #[error("this node is known in boot {}: its disk was rolled back or cloned", .0.counter)]
    RolledBack(Boot),
    /// The seed accepts none of the keys that the joiner has.
    #[error(
        "the cluster does not accept this key: it was rotated away, or the token is not its own"
    )]
    WrongKey,
}

/// Who of two members missed a rotation of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outdated {
    /// This node: no other member answers it. The one named told.
    This(NodeId),
    /// The one named: others answer this node.
    Other(NodeId),
}

/// How this node learnt that it may not go on under its NodeId.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolledBackBy {
    /// Somebody knows a boot of this NodeId that this disk does not.
    Boot(Boot),
    /// A record written by this NodeId that this disk lacks.
    Record,
    /// Not its disk: the other members forgot this NodeId.
    Forgotten,
}

/// Why [`NetworkDb::poll_timeout`](crate::NetworkDb::poll_timeout) wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The first look at whether allocation may begin, right after the start.
    Start,
    /// A probe, a suspicion or another timer of the membership protocol.
    Membership,
    /// A join attempt or a lost member is due for another try.
    Join,
    /// A leave is to be told again, or has been told long enough.
    Leave,
    /// An idle stream is due to be closed.
    Streams,
    /// Dissemination or anti-entropy.
    Sync,
    /// A claim's patience or pause.
    Claims,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::Start,
        Self::Membership,
        Self::Join,
        Self::Leave,
        Self::Streams,
        Self::Sync,
        Self::Claims,
    ];
}

/// A bound that was met; what exceeded it was dropped or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// [`Limits::members`](crate::Limits::members).
    Members,
    /// [`Limits::incoming_streams`](crate::Limits::incoming_streams).
    IncomingStreams,
    /// [`Limits::stream_queue_bytes`](crate::Limits::stream_queue_bytes).
    StreamQueue,
    /// [`Limits::frame_bytes`](crate::Limits::frame_bytes).
    Frame,
    /// A bound of tables and facts.
    Sync(sync::Bound),
}

/// What the database wants done or known. Data only; nothing happens until it is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Commit this before anything else of the same drain.
    Persist(Write),
    /// Send a datagram.
    Datagram {
        /// To whom.
        to: SocketAddr,
        /// At most [`Limits::datagram_bytes`](crate::Limits::datagram_bytes).
        bytes: Vec<u8>,
    },
    /// Open a stream; answer with [`StreamInput::Connected`] or [`StreamInput::Failed`].
    OpenStream {
        /// Its name from now on.
        stream: StreamId,
        /// To whom.
        to: SocketAddr,
    },
    /// Send a frame on a stream that stands.
    StreamFrame {
        /// Which.
        stream: StreamId,
        /// At most [`Limits::frame_bytes`](crate::Limits::frame_bytes).
        bytes: Vec<u8>,
    },
    /// Send what is queued on the stream, then close it. No further input about it is needed.
    CloseStream {
        /// Which.
        stream: StreamId,
    },
    /// A member changed.
    Member(MemberEvent),
    /// A message of another part of the same agent on another node.
    App {
        /// Its sender.
        from: NodeId,
        /// Which part.
        channel: u8,
        /// As it was sent.
        bytes: Vec<u8>,
    },
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
        value: Vec<u8>,
    },
    /// A claim made here ended.
    Claim {
        /// As `define`, `undefine`, `forget` or `rotate_key` returned it.
        id: ClaimId,
        /// How.
        outcome: Outcome,
        /// Whether others were asked to accept it. One that was away when it was withdrawn may hold
        /// it until it meets this node again, and bring it into force should this node be
        /// forgotten before: what it names for ever, its VNIs, is then not to be used again.
        asked: bool,
    },
    /// A network is in force here, however that was learnt.
    Defined(Definition),
    /// A network is deleted here, for ever.
    Deleted(NetworkId),
    /// Something that a person must look at.
    Alarm(sync::Alarm),
    /// The join asked for succeeded; the member list is here.
    Joined,
    /// The join asked for failed; it may be asked for again.
    JoinFailed {
        /// Why.
        reason: JoinRefusal,
    },
    /// This node is a member no more: the leave asked for has been told to those who could hear
    /// it, or an earlier life of this NodeId had left.
    LeftCluster,
    /// Facts are in step with every live member: allocation and donation may begin.
    Ready,
    /// This disk was rolled back or cloned, or the others forgot this node: it must stop and take a
    /// new NodeId.
    RolledBack {
        /// How it shows.
        reason: RolledBackBy,
    },
    /// Other keys open or seal from now on. Streams are to be made with these, and those made with
    /// a key that is not among them are to be closed.
    Keys(KeyRing),
    /// Two members have no key in common, because one was away when keys were rotated. It has to
    /// rejoin by token: [`NetworkDb::readmit`](crate::NetworkDb::readmit).
    Outdated(Outdated),
    /// A bound was met.
    Overflow(Bound),
}

/// Events counted by cause since this start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that were accepted.
    pub datagrams_in: u64,
    /// Datagrams that were sent.
    pub datagrams_out: u64,
    /// Bytes of datagrams that were sent.
    pub datagram_bytes_out: u64,
    /// Frames that were accepted.
    pub frames_in: u64,
    /// Frames that were sent.
    pub frames_out: u64,
    /// Bytes of frames that were sent.
    pub frame_bytes_out: u64,
    /// Datagrams and streams of another cluster.
    pub foreign_cluster: u64,
    /// Datagrams whose seal did not open.
    pub bad_auth: u64,
    /// Datagrams seen before, or too old to tell.
    pub replayed: u64,
    /// Datagrams of or for another boot than the one known.
    pub stale_boot: u64,
    /// Bytes that decode to nothing.
    pub undecodable: u64,
    /// Datagrams and frames above the bound.
    pub too_large: u64,
    /// Datagrams of another protocol version.
    pub other_version: u64,
    /// Messages dropped because the peer's queue was full.
    pub dropped: u64,
    /// Joins refused.
    pub joins_refused: u64,
    /// Streams that could not be opened.
    pub streams_failed: u64,
    /// Messages of members whom a claim under way would forget.
    pub from_named: u64,
}

/// Says why restored state was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A record of the store does not decode: the file is damaged or from a newer version.
    #[error("a stored {what} record does not decode: damaged, or written by a newer version")]
    Undecodable {
        /// Which kind of record.
        what: &'static str,
    },
    /// A stored log or fact does not decode.
    #[error(transparent)]
    Sync(#[from] sync::RestoreError),
    /// A stored claim does not decode.
    #[error("{0}")]
    Claims(String),
}
