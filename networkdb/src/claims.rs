//! Claims: how facts that must be unique come to be in force without a coordinator.
//!
//! A claim is fsynced, sent to all, and in force only when every member that must accept it has.
//! A member accepts one claim per subject (a name, overlapping pools, a network to delete), first
//! come; what it accepted refuses all others until the claimant says how the claim ended.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use weft_api::{NetworkId, NodeId, Write};

use crate::facts::FactKind;

mod definition_fact;
mod message;
mod outcome;
mod view;

pub(crate) use definition_fact::{DefinitionJoin, Definitions, DeletedJoin};
pub(crate) use message::Message;
pub use message::{ClaimBody, ClaimId, Origin};
pub use outcome::{ClaimError, Outcome};
pub(crate) use view::{MemberChange, Standing, View};

/// Durations of the claim protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    /// After this an unfinished claim is withdrawn. Default 5 s.
    pub(crate) timeout: Duration,
    /// First retransmission; doubles up to eight times this. Default 200 ms.
    pub(crate) retransmit: Duration,
    /// Shortest pause before a refused claim is tried again. Default 10 ms.
    pub(crate) pause: Duration,
    /// When an acceptor first asks what became of a claim; doubles up to 32 times this.
    /// Default 1 s.
    pub(crate) inquire: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            retransmit: Duration::from_millis(200),
            pause: Duration::from_millis(10),
            inquire: Duration::from_secs(1),
        }
    }
}

/// What claims want done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) enum Output {
    /// Durable before the outputs after it.
    Persist(Write),
    /// To a member, best effort; a receiver not known (yet) is skipped.
    Send { to: NodeId, message: Message },
    /// To the facts. Its write belongs to the same drain.
    PutFact { kind: FactKind, subject: Vec<u8>, value: Vec<u8> },
    /// To whoever submitted the claim.
    Decided { id: ClaimId, outcome: Outcome },
    /// From now on no attach to this network and no allocation in it.
    BarAttach(NetworkId),
    /// The delete was withdrawn, or is done.
    UnbarAttach(NetworkId),
}

/// Why claims want to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// A claim's time is over.
    Deadline,
    /// A claim is to be sent again.
    Retransmit,
    /// A refused claim is to be tried again.
    Retry,
    /// A claimant is to be asked what became of its claim.
    Inquire,
}

/// Claims made and accepted by this node.
#[derive(Debug)]
pub(crate) struct Claims {
    node: NodeId,
    timing: Timing,
    outputs: VecDeque<Output>,
}

impl Claims {
    /// Continues from disk: claims of an earlier life are withdrawn, acceptances stand.
    /// `restored` are the keys and values of `Space::Claims`.
    pub(crate) fn new<'a>(
        node: NodeId,
        seed: [u8; 32],
        timing: Timing,
        restored: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        now: Instant,
    ) -> Result<Self, RestoreError> {
        let _ = (seed, restored.into_iter().count(), now);
        Ok(Self { node, timing, outputs: VecDeque::new() })
    }

    /// Starts a claim. Its outcome comes as [`Output::Decided`], at once or later.
    pub(crate) fn submit(&mut self, body: ClaimBody, view: &dyn View, now: Instant) -> ClaimId {
        let _ = (body, view, now, self.timing);
        ClaimId { node: self.node, number: 0 }
    }

    /// Takes a message of an authenticated member.
    pub(crate) fn handle_message(
        &mut self,
        from: NodeId,
        message: Message,
        view: &dyn View,
        now: Instant,
    ) {
        let _ = (from, message, view, now);
    }

    /// Tells that a member changed; `view` shows it already.
    pub(crate) fn on_member(
        &mut self,
        node: NodeId,
        change: MemberChange,
        view: &dyn View,
        now: Instant,
    ) {
        let _ = (node, change, view, now);
    }

    /// Tells that a fact of kind Definition or Deleted changed; `view` shows it already.
    pub(crate) fn on_fact(&mut self, network: NetworkId, view: &dyn View, now: Instant) {
        let _ = (network, view, now);
    }

    /// Withdraws all own claims, because this node leaves the cluster.
    pub(crate) fn leave(&mut self, view: &dyn View) {
        let _ = view;
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, view: &dyn View, now: Instant) {
        let _ = (view, now);
    }

    /// Says when to call [`Self::handle_timeout`], and why.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        None
    }

    /// Gives the next output.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Tells whether an accepted delete bars attach to `network` and allocation in it.
    pub(crate) fn is_barred(&self, network: NetworkId) -> bool {
        let _ = network;
        false
    }

    /// What a joiner must hold too: every claim held here. `None` when there is none.
    pub(crate) fn pending_for_joiner(&self) -> Option<Message> {
        None
    }
}

/// Says that a record of `Space::Claims` cannot be read; the key in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("claim record {0} is damaged")]
pub(crate) struct RestoreError(pub(crate) String);
