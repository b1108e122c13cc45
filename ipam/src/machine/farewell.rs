//! Saying that this node leaves.
//!
//! Who has heard it gives nothing more to the leaver, neither asked nor unasked. The farewell,
//! which follows once all have what was handed over, is answered with all that the answerer holds
//! for the leaver's: what it gave a moment ago, and whose message is still under way or lost, comes
//! with the answer and goes on to the heir. So when all have answered nothing is the leaver's that
//! it does not know of, and nothing ever will be.

use std::collections::BTreeSet;
use std::time::Instant;

use weft_api::NodeId;

use super::{Ipam, Phase};
use crate::interval::IntervalMap;
use crate::message::{Message, TransferId};
use crate::pool::Pool;
use crate::ranges::{Ranges, encode_marks};
use crate::space::Space;

/// How many that leave are remembered.
const LEAVERS_MAX: usize = 1024;
/// What is known of another that leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaver {
    /// The boot in which it said so.
    boot: u64,
    /// It has handed over all it had.
    last: bool,
}

/// What one answer tells at most. The leaver's VNIs and the few ranges that are under way take far
/// less; where there is more, what is not told stays with the leaver.
const TOLD_BYTES_MAX: usize = 256 << 10;

impl Ipam {
    /// Tells all that are there that the leave begins.
    pub(super) fn announce_leave(&mut self) {
        let id = self.next_id();
        for node in self.alive.clone() {
            self.send(node, &Message::Leave { id, last: false });
        }
    }

    /// Says farewell to whom it was not said to yet; `false` when there is nobody.
    pub(super) fn say_farewell(&mut self, now: Instant) -> bool {
        let to: BTreeSet<NodeId> = self.alive.difference(&self.said_farewell).copied().collect();
        if to.is_empty() {
            return false;
        }
        self.said_farewell.extend(&to);
        let id = self.next_id();
        self.tell(id, &Message::Leave { id, last: true }, to, now);
        true
    }

    /// Hears that a member has a new life, in which it does not know yet that this node leaves.
    pub fn on_new_life(&mut self, node: NodeId, now: Instant) {
        if matches!(self.phase, Phase::Leaving { .. }) && self.said_farewell.remove(&node) {
            let id = self.next_id();
            self.send(node, &Message::Leave { id, last: false });
            self.end_leave_when_acknowledged(now);
        }
    }

    pub(super) fn on_leave(&mut self, from: NodeId, id: TransferId, last: bool) {
        let known = self.leavers.entry(from).or_insert(Leaver { boot: id.boot, last });
        *known = Leaver { boot: id.boot.max(known.boot), last: last || known.last };
        if self.leavers.len() > LEAVERS_MAX {
            let alive = &self.alive;
            self.leavers.retain(|node, _| *node == from || alive.contains(node));
        }
        if last {
            let mut room = TOLD_BYTES_MAX;
            let owned = self.pools.values().filter_map(|pool| owned_by(pool, from));
            let yours = owned.filter(|(_, marks)| {
                let fits = marks.len() <= room;
                room = room.saturating_sub(marks.len());
                fits
            });
            let yours: Vec<(Vec<u8>, Vec<u8>)> = yours.collect();
            self.send(from, &Message::Farewell { id, yours });
        }
    }

    pub(super) fn on_farewell(
        &mut self,
        from: NodeId,
        id: TransferId,
        yours: &[(Vec<u8>, Vec<u8>)],
        now: Instant,
    ) {
        if !matches!(self.phase, Phase::Leaving { .. }) {
            return;
        }
        for (subject, delta) in yours {
            match Space::from_subject(subject).map(|space| (space, Ranges::decode(delta))) {
                Some((space, Ok(Ranges::Marked(marks)))) => self.join_told(space, &marks, now),
                Some((_, Ok(Ranges::Dropped) | Err(_))) | None => self.counters.malformed += 1,
            }
        }
        self.on_received(from, id, now);
    }

    /// Whether a node is known to leave in the life that made this id.
    pub(super) fn leaves_since(&self, node: NodeId, id: TransferId) -> bool {
        self.leavers.get(&node).is_some_and(|leaver| id.boot <= leaver.boot)
    }

    /// Whether a node is known to have handed over all it had.
    pub(super) fn has_said_farewell(&self, node: NodeId) -> bool {
        self.leavers.get(&node).is_some_and(|leaver| leaver.last)
    }

    /// Whether a node was last heard of as leaving.
    pub fn leaves(&self, node: NodeId) -> bool {
        self.leavers.contains_key(&node)
    }
}

/// What a node owns of a space, as the fact of the space would tell it.
fn owned_by(pool: &Pool, node: NodeId) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut marks = IntervalMap::default();
    for (low, high, mark) in pool.marks.iter().filter(|(_, _, mark)| mark.owner == node) {
        marks.set(low, high, *mark);
    }
    (marks.total() > 0).then(|| (pool.space.subject(), encode_marks(&marks)))
}
