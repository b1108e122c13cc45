//! Leaving for good: a fact that every live member confirms, then silence.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use weft_api::NodeId;

use crate::db::NetworkDb;
use crate::facts::FactKind;
use crate::membership::join::JoinMessage;
use crate::output::Output;
use crate::sync::Carrier;
use crate::wire::Message;

/// Between two tellings to a member that has not confirmed.
const AGAIN: Duration = Duration::from_millis(200);

/// The value of a leave: that it is there says all.
const LEFT: [u8; 1] = [1];

/// Where a leave stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leave {
    None,
    Telling {
        /// Told on, and given up after.
        again: Instant,
        until: Instant,
        waiting: BTreeSet<NodeId>,
    },
    Done,
}

impl Leave {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::None | Self::Done => None,
            Self::Telling { again, .. } => Some(*again),
        }
    }
}

impl NetworkDb {
    /// Lets no new node in from now on, because this one is about to leave: to be called before
    /// ranges are handed over.
    pub fn shut(&mut self) {
        self.shut = true;
    }

    /// Leaves the cluster for good: this NodeId never returns. Ends with
    /// [`Output::LeftCluster`], when every live member has confirmed or after
    /// [`Timing::leave_patience`](crate::Timing::leave_patience). Ranges are handed over before,
    /// by the caller.
    pub fn leave(&mut self, now: Instant) {
        if self.leave != Leave::None {
            return;
        }
        self.claims.leave();
        // The set takes any subject, so it refuses nothing. Told only at the end: members let go of
        // what they hold for one that left, and may have to ask first what became of it.
        let _ = self.sync.keep_fact(FactKind::LEFT, self.config.node.as_bytes(), &LEFT);
        let waiting: BTreeSet<NodeId> = self.membership.alive().map(|member| member.id).collect();
        let until = now + self.config.timing.leave_patience;
        self.leave = Leave::Telling { again: now, until, waiting };
        self.drive_leave(now);
        self.settle(now);
    }

    pub(super) fn drive_leave(&mut self, now: Instant) {
        let Leave::Telling { again, until, waiting } = &mut self.leave else { return };
        // Of two that leave at once neither waits for the other.
        waiting.retain(|node| !self.membership.roster().is_gone(*node));
        if waiting.is_empty() || *until <= now {
            self.sync.tell_fact(FactKind::LEFT, self.config.node.as_bytes(), now);
            self.sync.flush(now);
            self.settle(now);
            self.membership.leave(now);
            self.settle(now);
            self.leave = Leave::Done;
            self.outputs.push_back(Output::LeftCluster);
        } else if *again <= now {
            *again = (now + AGAIN).min(*until);
            let to: Vec<NodeId> = waiting.iter().copied().collect();
            self.post_all(&to, &Message::Join(JoinMessage::Leaving), Carrier::Datagram, now);
        }
    }

    /// A member says that it leaves: only it can, because the message is authenticated as its.
    /// Whoever holds a claim of it asks what became of that, whoever was never in step with it asks
    /// for its facts, and notes the leave when it says it again: nobody else may know them.
    pub(super) fn on_leaving(&mut self, from: NodeId, now: Instant) {
        // Of one that is to be forgotten nothing is taken any more.
        if !self.membership.roster().is_gone(from) && !self.claims.is_named(from) {
            let asks = self.claims.inquire_of(from, now);
            let lacks = !self.sync.facts_synced(from);
            if lacks {
                self.sync.check(from);
            }
            if asks || lacks {
                return self.settle(now);
            }
        }
        // Told by the leaver alone, at its end: others may still have to ask it.
        let _ = self.sync.keep_fact(FactKind::LEFT, from.as_bytes(), &LEFT);
        self.post(from, &Message::Join(JoinMessage::LeaveNoted), Carrier::Datagram, now);
    }

    pub(super) fn on_leave_noted(&mut self, from: NodeId, now: Instant) {
        if let Leave::Telling { waiting, .. } = &mut self.leave {
            waiting.remove(&from);
            self.drive_leave(now);
        }
    }
}
