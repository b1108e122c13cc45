//! Whom to dial, and when: seeds of a join, members known from disk, members lost, members
//! forgotten.
//!
//! A target is tried until it answers, for ever, with a growing pause that stays bounded: two
//! halves of a split find back without an operator.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weft_api::NodeId;

/// Hellos under way at once.
const AT_ONCE: usize = 16;
/// And dials of members forgotten: they take no place of those who are waited for.
const FORGOTTEN_AT_ONCE: usize = 2;
/// Somebody forgotten is most likely gone for good: the pause grows to so many times the longest.
const FORGOTTEN_PAUSE: u32 = 5;

/// Whom to dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// An address given by an operator; who answers there is not known yet.
    Seed(SocketAddr),
    /// A member, at its last known address.
    Node(NodeId),
    /// One that is no member any more, and is told so.
    Forgotten(NodeId),
}

impl Target {
    pub(crate) fn is_forgotten(self) -> bool {
        matches!(self, Self::Forgotten(_))
    }
}

#[derive(Debug)]
struct Attempt {
    /// When to try next; `None` while a try is under way.
    at: Option<Instant>,
    pause: Duration,
    failures: u32,
}

/// The targets not reached yet.
#[derive(Debug)]
pub(crate) struct Greeter {
    attempts: BTreeMap<Target, Attempt>,
    first: Duration,
    longest: Duration,
}

impl Greeter {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { attempts: BTreeMap::new(), first, longest }
    }

    /// Wants a target greeted, from now on.
    pub(crate) fn want(&mut self, target: Target, now: Instant) {
        let first = self.first;
        self.attempts.entry(target).or_insert(Attempt { at: Some(now), pause: first, failures: 0 });
    }

    /// The target answered, or is not wanted any more.
    pub(crate) fn drop_target(&mut self, target: Target) {
        self.attempts.remove(&target);
    }

    /// The try failed; the next one comes after a pause.
    pub(crate) fn failed(&mut self, target: Target, jitter: Duration, now: Instant) {
        let factor = if target.is_forgotten() { FORGOTTEN_PAUSE } else { 1 };
        let longest = self.longest * factor;
        if let Some(attempt) = self.attempts.get_mut(&target) {
            attempt.failures = attempt.failures.saturating_add(1);
            attempt.at = Some(now + attempt.pause + jitter.min(attempt.pause / 4));
            attempt.pause = (attempt.pause * 2).min(longest);
        }
    }

    /// Tells whether a target was tried in vain.
    pub(crate) fn failed_before(&self, target: Target) -> bool {
        self.attempts.get(&target).is_some_and(|attempt| attempt.failures > 0)
    }

    /// Something that was lost is back, so the others may be, too: they are tried now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        let first = self.first;
        let lost = self.attempts.iter_mut().filter(|(target, _)| !target.is_forgotten());
        for (_, attempt) in lost {
            if let Some(at) = &mut attempt.at {
                *at = now.min(*at);
            }
            attempt.pause = first;
        }
    }

    /// Takes the targets that are due; each must be answered by `failed` or `drop_target`.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Target> {
        let mut all = Vec::new();
        for forgotten in [false, true] {
            let waiting = self.kind(forgotten);
            let mut due: Vec<(Instant, Target)> = waiting
                .filter_map(|(target, attempt)| Some((attempt.at.filter(|at| *at <= now)?, target)))
                .collect();
            due.sort();
            due.truncate(self.room(forgotten));
            all.extend(due.into_iter().map(|(_, target)| target));
        }
        for target in &all {
            if let Some(attempt) = self.attempts.get_mut(target) {
                attempt.at = None;
            }
        }
        all
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let kinds = [false, true].into_iter().filter(|forgotten| self.room(*forgotten) > 0);
        kinds.flat_map(|kind| self.kind(kind)).filter_map(|(_, attempt)| attempt.at).min()
    }

    fn kind(&self, forgotten: bool) -> impl Iterator<Item = (Target, &Attempt)> {
        let all = self.attempts.iter().map(|(target, attempt)| (*target, attempt));
        all.filter(move |(target, _)| target.is_forgotten() == forgotten)
    }

    /// How many more of a kind may be dialled now.
    fn room(&self, forgotten: bool) -> usize {
        let under_way = self.kind(forgotten).filter(|(_, attempt)| attempt.at.is_none()).count();
        let most = if forgotten { FORGOTTEN_AT_ONCE } else { AT_ONCE };
        most.saturating_sub(under_way)
    }

    /// The seeds, and how often each failed.
    pub(crate) fn seeds(&self) -> impl Iterator<Item = (SocketAddr, u32)> {
        self.attempts.iter().filter_map(|(target, attempt)| match target {
            Target::Seed(addr) => Some((*addr, attempt.failures)),
            Target::Node(_) | Target::Forgotten(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn a_target_is_tried_for_ever_with_a_bounded_pause() {
        let mut now = Instant::now();
        let mut greeter = Greeter::new(SECOND, SECOND * 8);
        let target = Target::Node(NodeId::from_bytes([1; 16]));
        greeter.want(target, now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert_eq!(greeter.due(now), [target]);
            assert_eq!(greeter.due(now), [], "under way");
            greeter.failed(target, Duration::ZERO, now);
            let next = greeter.poll_timeout().unwrap();
            pauses.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 8, 8, 8, 8]);
        greeter.drop_target(target);
        assert_eq!(greeter.poll_timeout(), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn once_one_is_back_the_others_are_tried_at_once() {
        let now = Instant::now();
        let mut greeter = Greeter::new(SECOND, SECOND * 8);
        let [back, waits, tried] =
            [1, 2, 3].map(|byte| Target::Node(NodeId::from_bytes([byte; 16])));
        for target in [back, waits, tried] {
            greeter.want(target, now);
        }
        assert_eq!(greeter.due(now), [back, waits, tried]);
        greeter.failed(back, Duration::ZERO, now);
        greeter.failed(waits, Duration::ZERO, now);
        assert!(greeter.failed_before(back) && !greeter.failed_before(tried));
        greeter.drop_target(back);
        greeter.hurry(now);
        assert_eq!(greeter.due(now), [waits], "the other is being tried");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn hellos_under_way_are_bounded() {
        let now = Instant::now();
        let mut greeter = Greeter::new(SECOND, SECOND * 8);
        for byte in 0..100 {
            greeter.want(Target::Node(NodeId::from_bytes([byte; 16])), now);
        }
        assert_eq!(greeter.due(now).len(), AT_ONCE);
        assert_eq!(greeter.due(now).len(), 0);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn the_forgotten_take_no_place_of_the_others() {
        let now = Instant::now();
        let mut greeter = Greeter::new(SECOND, SECOND * 8);
        for byte in 0..100 {
            greeter.want(Target::Forgotten(NodeId::from_bytes([byte; 16])), now);
        }
        let lost = Target::Node(NodeId::from_bytes([200; 16]));
        greeter.want(lost, now);
        let due = greeter.due(now);
        assert_eq!((due[0], due.len()), (lost, 1 + FORGOTTEN_AT_ONCE));
        assert_eq!(greeter.poll_timeout(), None);
        for target in due {
            greeter.failed(target, Duration::ZERO, now);
        }
        greeter.hurry(now);
        assert_eq!(greeter.due(now)[0], lost);
    }
}
