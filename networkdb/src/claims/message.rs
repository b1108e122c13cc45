//! What claimants and acceptors say to each other.

use std::fmt;

use serde::{Deserialize, Serialize};
use weft_api::{Definition, NetworkId, NodeId};

use crate::keys::Fingerprint;
use crate::sync::message::WireFact;

/// Names one attempt of one claim; never used twice, because the number is fsynced with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClaimId {
    /// The claimant.
    pub node: NodeId,
    /// Counts the claimant's attempts, over all its lives.
    pub number: u64,
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node.short(), self.number)
    }
}

/// Who chose a subnet of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The user named the pool: another pool makes it another network.
    Asked,
    /// Weft took it from the default pools: any other would have done as well.
    Default,
}

/// What a claim is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClaimBody {
    /// That a network be in force.
    Define {
        /// The network. Its stamp is set by the claimant's node when the claim is submitted.
        definition: Definition,
        /// Who chose each subnet, in the order of `definition.subnets`; a missing one counts as
        /// asked for.
        origins: Vec<Origin>,
    },
    /// That a network be gone for ever.
    Delete(NetworkId),
    /// That members are gone for ever, stopped for good.
    Forget {
        /// Who; ascending, each once. Put in order when the claim is submitted.
        victims: Vec<NodeId>,
        /// Who must accept it.
        reach: Reach,
    },
    /// That another key seal. The key itself is no part of it.
    Rotate {
        /// The key to come.
        key: Fingerprint,
        /// Counts the cluster's rotations.
        rotation: u64,
        /// The key that seals until then.
        base: Fingerprint,
        /// Who must accept it.
        reach: Reach,
    },
}

/// Who must accept that members be forgotten, or that another key seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// Every member that is neither forgotten nor named, failed ones included: then nobody else can
    /// hold what the named gave away, or is left without the key.
    Everyone,
    /// Those who are not declared failed. What an absent one got from the named is not known; and
    /// one that the key does not reach may have to rejoin by token.
    Present,
}

impl ClaimBody {
    pub(crate) fn subject(&self) -> Subject {
        match self {
            Self::Define { definition, .. } => Subject::Definition(definition.id),
            Self::Delete(id) => Subject::Delete(*id),
            Self::Forget { victims, .. } => Subject::Forget(victims.clone()),
            Self::Rotate { key, .. } => Subject::Rotate(*key),
        }
    }
}

/// What a claim is about, in short.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Subject {
    Definition(NetworkId),
    Delete(NetworkId),
    /// All of them: a claim that some of these are gone for ever is another one.
    Forget(Vec<NodeId>),
    /// The key to come.
    Rotate(Fingerprint),
}

impl Subject {
    pub(crate) fn network(&self) -> Option<NetworkId> {
        match self {
            Self::Definition(network) | Self::Delete(network) => Some(*network),
            Self::Forget(_) | Self::Rotate(_) => None,
        }
    }
}

/// Why a member does not accept a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// A network in force has the name or overlaps a pool.
    InForce(Definition),
    /// A claim accepted earlier is about the same name, pool or network.
    Pending { claim: ClaimId, body: ClaimBody },
    /// The network was deleted; its id never returns.
    Deleted,
    /// These nodes, of which the member speaks for itself and for those not live, have attachments
    /// or endpoints in the network.
    InUse(Vec<NodeId>),
    /// The member holds as many claims as it may.
    Full,
    /// The definition breaks a bound, or the claimant is among those whom it would forget.
    Invalid,
    /// These, who are to be forgotten, answer the member or are the member.
    Answers(Vec<NodeId>),
    /// All who are to be forgotten are gone for good already.
    Gone,
    /// Another key came into force in place of the one that is claimed.
    Rotated,
}

/// How a claim ended, as its claimant tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    InForce,
    Withdrawn,
}

/// Between two nodes, about claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Claimant to all: accept this. Sent again, with a higher round, until answered.
    Propose { claim: ClaimId, round: u32, body: ClaimBody },
    /// Acceptor to claimant: accepted and fsynced. `members` are those the acceptor holds alive.
    Accepted { claim: ClaimId, round: u32, subject: Subject, members: Vec<NodeId> },
    /// Acceptor to claimant.
    Refused { claim: ClaimId, refusal: Refusal },
    /// Acceptor to claimant: what became of it?
    Inquire { claim: ClaimId, subject: Subject },
    /// Claimant to acceptor: it ended.
    Settled { claim: ClaimId, verdict: Verdict },
    /// Member to joiner: the claims it holds.
    Pending { claims: Vec<(ClaimId, ClaimBody)> },
    /// Acceptor to the claimant of a forget: what it knows of who owns what, from after the
    /// acceptance. In parts that only together count; `answer` tells those of two answers apart.
    Ceded { claim: ClaimId, answer: u64, part: u32, parts: u32, facts: Vec<WireFact> },
}
