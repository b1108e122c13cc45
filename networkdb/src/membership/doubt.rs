//! The last question before a suspect is declared dead: is it perhaps this node that hears nobody?
//!
//! When a suspicion's time is over, a node asks three others what they know of the suspect, and
//! again and again until one answers. An answer shows that it is heard and hears; what the answer
//! says, or a refutation that came with it, counts as always. A node that stalls or is cut off
//! thus declares nobody dead for a while. Then it does: a suspicion lasts eight times as long at
//! most, as with the worst local health.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weft_api::NodeId;

use crate::membership::health::Health;
use crate::membership::identity::Record;

/// How many others are asked.
const ASKED: usize = 3;
/// Between two questions.
pub(crate) const ASK_PERIOD: Duration = Duration::from_millis(200);

/// What is to be done with a suspect whose time is over.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Ruling {
    /// It is declared dead.
    Dead,
    /// These are asked, and the suspect's time lasts [`ASK_PERIOD`] more.
    Ask(Vec<NodeId>),
}

#[derive(Debug)]
struct Doubt {
    until: Instant,
    answered: bool,
}

/// Suspects whose time is over.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    doubts: BTreeMap<NodeId, Doubt>,
    /// Asks in turn.
    turn: usize,
}

impl Doubts {
    /// Rules on a suspect whose time, `suspicion` of it, is over; `others` are who may be asked.
    pub(crate) fn rule(
        &mut self,
        suspect: NodeId,
        others: &[NodeId],
        suspicion: Duration,
        now: Instant,
    ) -> Ruling {
        let until = now + suspicion * Health::WORST;
        let doubt = self.doubts.entry(suspect).or_insert(Doubt { until, answered: false });
        if doubt.answered || doubt.until <= now || others.is_empty() {
            self.doubts.remove(&suspect);
            return Ruling::Dead;
        }
        let asked = others.iter().cycle().skip(self.turn % others.len());
        self.turn = self.turn.wrapping_add(ASKED);
        Ruling::Ask(asked.take(ASKED.min(others.len())).copied().collect())
    }

    /// Another member sent these lines: an answer about each whom they are of.
    pub(crate) fn on_records(&mut self, from: NodeId, records: &[Record]) {
        for record in records.iter().filter(|record| record.identity.node != from) {
            if let Some(doubt) = self.doubts.get_mut(&record.identity.node) {
                doubt.answered = true;
            }
        }
    }

    /// The member is no suspect any more.
    pub(crate) fn drop_suspect(&mut self, node: NodeId) {
        self.doubts.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use weft_api::Boot;

    use super::*;
    use crate::membership::identity::{Identity, Standing};

    const SUSPICION: Duration = Duration::from_secs(4);

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    fn line(of: NodeId) -> Record {
        let addr = "10.0.0.1:7950".parse().unwrap();
        let identity =
            Identity { node: of, boot: Boot::default(), renewal: 0, addr, name: String::new() };
        Record { identity, incarnation: 0, standing: Standing::Suspect }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn a_suspect_is_dead_once_another_member_answered() {
        let now = Instant::now();
        let mut doubts = Doubts::default();
        let others = [node(1), node(2), node(3), node(4)];
        let asked = doubts.rule(node(9), &others, SUSPICION, now);
        assert_eq!(asked, Ruling::Ask(vec![node(1), node(2), node(3)]));
        // Neither the suspect itself nor lines about others answer the question.
        doubts.on_records(node(9), &[line(node(9))]);
        doubts.on_records(node(1), &[line(node(5))]);
        let asked = doubts.rule(node(9), &others, SUSPICION, now + ASK_PERIOD);
        assert_eq!(asked, Ruling::Ask(vec![node(4), node(1), node(2)]));
        doubts.on_records(node(4), &[line(node(9))]);
        assert_eq!(doubts.rule(node(9), &others, SUSPICION, now + ASK_PERIOD), Ruling::Dead);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn a_node_that_hears_nobody_waits_for_a_bounded_time() {
        let mut now = Instant::now();
        let begin = now;
        let mut doubts = Doubts::default();
        while doubts.rule(node(9), &[node(1)], SUSPICION, now) != Ruling::Dead {
            now += ASK_PERIOD;
        }
        assert_eq!(now - begin, SUSPICION * 7);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn where_nobody_can_be_asked_a_suspect_is_dead_at_once() {
        let mut doubts = Doubts::default();
        assert_eq!(doubts.rule(node(9), &[], SUSPICION, Instant::now()), Ruling::Dead);
    }
}
