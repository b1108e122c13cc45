//! Announcements on their way to the kernel: at once and once again, so many at a time.
//!
//! An announcement is sent twice, as RFC 5227 has it: the first may find a full queue. Whoever
//! makes addresses change faster than [`AT_ONCE`] in [`PACE`] delays them, and what exceeds
//! [`WAITING_MAX`] is dropped: endpoints then find out by themselves, after up to a minute.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use weft_overlay::op::KernelOp;

/// Addresses that wait to be announced, for the first time or again.
const WAITING_MAX: usize = 1024;
/// Announced in one go.
const AT_ONCE: usize = 64;
/// Time from one go to the next.
const PACE: Duration = Duration::from_millis(100);
/// Time from the first announcement to the second.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What waits, in the order in which it is due: one announcement an address, the newest.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    waiting: VecDeque<Waiting>,
    not_before: Option<Instant>,
    dropped: u64,
}

#[derive(Debug)]
struct Waiting {
    due: Instant,
    turn: Turn,
    op: KernelOp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Last,
}

impl Announcements {
    /// Takes an announcement; returns any other operation.
    pub(super) fn divert(&mut self, op: KernelOp, now: Instant) -> Option<KernelOp> {
        let Some(subject) = subject(&op) else { return Some(op) };
        self.waiting.retain(|other| self::subject(&other.op) != Some(subject));
        self.put(Waiting { due: now, turn: Turn::First, op });
        None
    }

    /// When there is something to send.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = self.waiting.front()?.due;
        Some(self.not_before.map_or(due, |not_before| due.max(not_before)))
    }

    /// Takes what is to be sent now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<KernelOp> {
        let mut ops = Vec::new();
        if self.due().is_none_or(|due| due > now) {
            return ops;
        }
        while ops.len() < AT_ONCE
            && self.waiting.front().is_some_and(|waiting| waiting.due <= now)
            && let Some(waiting) = self.waiting.pop_front()
        {
            match waiting.turn {
                Turn::First => {
                    ops.push(waiting.op.clone());
                    self.put(Waiting { due: now + AGAIN_AFTER, turn: Turn::Last, ..waiting });
                }
                Turn::Last => ops.push(waiting.op),
            }
        }
        self.not_before = Some(now + PACE);
        ops
    }

    /// How many were not sent once, or not again.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Puts it behind what is due before; what is due last has to go when there is no room.
    fn put(&mut self, waiting: Waiting) {
        let at = self.waiting.partition_point(|other| other.due <= waiting.due);
        self.waiting.insert(at, waiting);
        if self.waiting.len() > WAITING_MAX {
            self.waiting.pop_back();
            self.dropped += 1;
        }
    }
}

/// What an announcement is about; `None` for any other operation.
fn subject(op: &KernelOp) -> Option<(&str, IpAddr)> {
    match op {
        KernelOp::Announce { namespace, entry, .. } => Some((namespace, entry.ip)),
        KernelOp::EnsureNamespace { .. }
        | KernelOp::RemoveNamespace { .. }
        | KernelOp::EnsureBridge { .. }
        | KernelOp::EnsureVxlan { .. }
        | KernelOp::EnsureEndpoint { .. }
        | KernelOp::EnsureHanded { .. }
        | KernelOp::EnsureWayOut { .. }
        | KernelOp::RemoveWayOut { .. }
        | KernelOp::EnsurePublished { .. }
        | KernelOp::EnsureLimits { .. }
        | KernelOp::RemovePublished { .. }
        | KernelOp::RemoveLink { .. }
        | KernelOp::ReplaceFdb { .. }
        | KernelOp::RemoveFdb { .. }
        | KernelOp::ReplaceNeighbour { .. }
        | KernelOp::RemoveNeighbour { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_api::Mac;
    use weft_overlay::op::Neighbour;

    fn announce(address: u16, mac: u8) -> KernelOp {
        let [high, low] = address.to_be_bytes();
        KernelOp::Announce {
            namespace: "weft-0123456789".to_owned(),
            bridge: "wb1".to_owned(),
            ports: vec!["wp1".to_owned()],
            entry: Neighbour {
                ip: [10, 1, high, low].into(),
                mac: Mac::from_bytes([2, 0, 0, 0, 0, mac]),
            },
        }
    }

    #[test]
    fn an_address_is_announced_at_once_and_once_again() {
        let (mut all, now) = (Announcements::default(), Instant::now());
        assert_eq!(all.due(), None);
        assert_eq!(all.divert(announce(1, 1), now), None);
        assert_eq!(all.due(), Some(now));
        assert_eq!(all.take(now), [announce(1, 1)]);
        let again = now + AGAIN_AFTER;
        assert_eq!(all.due(), Some(again));
        assert_eq!(all.take(again - Duration::from_millis(1)), []);
        assert_eq!(all.take(again), [announce(1, 1)]);
        assert_eq!(all.due(), None);
    }

    #[test]
    fn other_operations_are_none_of_its_business() {
        let (mut all, now) = (Announcements::default(), Instant::now());
        let other = KernelOp::RemoveNamespace { name: "weft-0123456789".to_owned() };
        assert_eq!(all.divert(other.clone(), now), Some(other));
        assert_eq!(all.due(), None);
    }

    #[test]
    fn an_address_that_changes_again_is_not_announced_as_it_was() {
        let (mut all, now) = (Announcements::default(), Instant::now());
        all.divert(announce(1, 1), now);
        all.take(now);
        let later = now + AGAIN_AFTER / 2;
        all.divert(announce(1, 2), later);
        assert_eq!(all.take(later), [announce(1, 2)]);
        assert_eq!(all.take(now + AGAIN_AFTER), []);
        assert_eq!(all.take(later + AGAIN_AFTER), [announce(1, 2)]);
    }

    #[test]
    fn many_changes_are_spread_and_too_many_are_dropped_and_counted() {
        let (mut all, start) = (Announcements::default(), Instant::now());
        let many = u16::try_from(WAITING_MAX).unwrap() + 10;
        for address in 0..many {
            all.divert(announce(address, 1), start);
        }
        assert_eq!((all.waiting.len(), all.dropped()), (WAITING_MAX, 10));
        let (mut now, mut sent, mut goes) = (start, 0, 0);
        while let Some(due) = all.due() {
            assert!(goes == 0 || due >= now + PACE, "go {goes} comes too soon");
            now = due;
            let ops = all.take(now);
            assert!((1..=AT_ONCE).contains(&ops.len()));
            (sent, goes) = (sent + ops.len(), goes + 1);
            assert!(all.waiting.len() <= WAITING_MAX);
        }
        assert_eq!((sent, all.dropped()), (2 * WAITING_MAX, 10));
    }

    #[test]
    fn a_new_change_comes_before_what_is_sent_again() {
        let (mut all, start) = (Announcements::default(), Instant::now());
        let many = u16::try_from(WAITING_MAX).unwrap();
        for address in 0..many {
            all.divert(announce(address, 1), start);
        }
        all.take(start);
        all.divert(announce(many, 1), start);
        assert_eq!(all.dropped(), 1, "one is not sent again");
        let mut now = start;
        let found = std::iter::from_fn(|| {
            now += PACE;
            let ops = all.take(now);
            (!ops.is_empty()).then_some(ops)
        });
        assert!(found.flatten().any(|op| op == announce(many, 1)));
    }
}
