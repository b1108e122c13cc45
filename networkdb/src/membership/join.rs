//! What members say to each other beside the membership protocol.

use serde::{Deserialize, Serialize};
use weft_api::{ClusterId, NodeId};

use crate::membership::identity::{Identity, Record};
use crate::output::JoinRefusal;

/// Introductions, member lists and leaves. The order of the variants is on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum JoinMessage {
    /// The first frame of whoever opened a stream.
    Hello {
        cluster: ClusterId,
        /// The sender, now.
        identity: Identity,
        /// All it knows.
        members: Vec<Record>,
    },
    /// The answer to a hello. From here on both ends know each other's boot.
    Welcome {
        /// The sender, now.
        identity: Identity,
        /// All it knows, the receiver included.
        members: Vec<Record>,
    },
    /// The other answer to a hello; the stream is closed after it.
    Refused(JoinRefusal),
    /// Lines of the member list that the receiver needs: a suspicion or a Down of itself that it
    /// shall refute, the refutation, or the answer to `WhoIs`.
    Members(Vec<Record>),
    /// The sender holds records of an owner it does not know as a member.
    WhoIs(NodeId),
    /// The sender leaves the cluster for good.
    Leaving,
    /// The receiver's leave is durable at the sender.
    LeaveNoted,
    /// Members that the sender knows from its disk alone: they do not answer it, and are in no
    /// member list. Whoever does not know them looks for them, too.
    Silent(Vec<Identity>),
    /// The first frame of whoever opened a stream to one that is forgotten. That one closes it;
    /// another node that lives there now says [`JoinMessage::Refused`].
    Forgotten {
        /// The sender, through which the node may join again.
        by: Identity,
        /// Who is forgotten.
        node: NodeId,
        /// Whom the sender knows and has not forgotten.
        members: Vec<NodeId>,
    },
    /// Members that were forgotten, as they were last: a new member knows them by the facts alone.
    Former(Vec<Identity>),
}
