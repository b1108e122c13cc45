//! What the machine wants done.

use weft_api::{NodeId, Write};

use crate::error::Error;
use crate::request::{Granted, Ticket};
use crate::space::Space;

/// The kinds of facts that ipam keeps in the cluster's replicated facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FactKind {
    /// Who owns which part of a space. Subject: the space.
    Ranges = 5,
    /// An allocation without an endpoint. Subject: the space and the address.
    Allocation = 6,
}

/// One thing to do. The order matters: see the durability law at the crate's head.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Write it, in one transaction with all of this drain.
    Persist(Write),
    /// Put it into the replicated facts, in the same transaction.
    Fact {
        /// Which kind; the number is networkdb's.
        kind: FactKind,
        /// The fact's subject.
        subject: Vec<u8>,
        /// A partial state to join.
        delta: Vec<u8>,
    },
    /// Send it to `to`; best effort.
    Message {
        /// The receiver, whose `handle_message` takes it.
        to: NodeId,
        /// Opaque.
        bytes: Vec<u8>,
    },
    /// The answer to a request.
    Done {
        /// Which request.
        ticket: Ticket,
        /// The answer.
        result: Result<Granted, Error>,
    },
    /// Something an operator must hear of.
    Alarm(Alarm),
    /// All ranges are handed over, or the time for it is over.
    LeaveDone {
        /// Live members that have not acknowledged.
        unacknowledged: Vec<NodeId>,
    },
}

/// What should never happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Alarm {
    /// One version of an address with two owners: two nodes share an identity.
    #[error("{space:?} from {first} has version {version} of both {one} and {other}")]
    TwoOwners {
        /// Where.
        space: Space,
        /// First integer of the interval.
        first: u128,
        /// The version both have.
        version: u64,
        /// One owner.
        one: NodeId,
        /// The other.
        other: NodeId,
    },
    /// An heir took over what a forgotten member had given to this node, which was away when the
    /// member was forgotten by force. Endpoints that have addresses there keep them.
    #[error("{space:?} from {first} was taken over by {heir}, the heir of a forgotten member")]
    TakenOver {
        /// Where.
        space: Space,
        /// First integer of the interval.
        first: u128,
        /// The heir.
        heir: NodeId,
    },
    /// Somebody wrote as this node what this node never wrote: its disk was rolled back or cloned.
    /// It has stopped to allocate and donate.
    #[error("{space:?} from {first} was given away by this node, whose disk does not know it")]
    RolledBack {
        /// Where.
        space: Space,
        /// First integer of the interval.
        first: u128,
    },
}

/// Why [`crate::Ipam::handle_timeout`] wants to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A request has waited long enough.
    Deadline,
    /// An owner that was asked has not answered.
    Ask,
    /// Released addresses have rested.
    Rest,
    /// VNIs or default pools are low and asking may help again.
    TopUp,
    /// A hand-over or a gift is not yet acknowledged.
    Transfer,
    /// A release that its owner has not yet carried out.
    Release,
    /// Time to leave is over.
    Leave,
}
