//! What machines of different nodes say to each other.

use serde::{Deserialize, Serialize};
use weft_api::NodeId;

use crate::allocation::Kind;

/// Names a request for a donation, a gift or a hand-over: unique for its maker for ever, because
/// the boot count is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct TransferId {
    pub(crate) boot: u64,
    pub(crate) serial: u64,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Please give me some.
    Ask { id: TransferId, subject: Vec<u8>, want: AskWant },
    /// Yours, by the delta; all of it has rested.
    Grant { id: TransferId, subject: Vec<u8>, delta: Vec<u8> },
    /// No. `delta` tells who owns what was asked for where it is not the sender; `passed` to whom
    /// the sender passed the ask on, who answers in its place.
    Refuse {
        id: TransferId,
        subject: Vec<u8>,
        refusal: Refusal,
        delta: Option<Vec<u8>>,
        passed: Option<NodeId>,
    },
    /// Unasked for: a gift at a network's birth, or the ranges of a node that leaves. `rested`
    /// lists the parts that need no rest.
    Transfer { id: TransferId, subject: Vec<u8>, delta: Vec<u8>, rested: Vec<(u128, u128)> },
    /// The transfer is durable here.
    Received { id: TransferId },
    /// The allocation of this generation, in a range of yours, is over.
    Release { subject: Vec<u8>, at: u128, generation: u64 },
    /// Please hold this address of yours for this kind. `after` is the last generation of its fact
    /// that the sender knows, and knows to be over: a copy that comes late asks for nothing.
    Hold { id: TransferId, subject: Vec<u8>, at: u128, kind: Kind, claim: Claim, after: u64 },
    /// Answers a hold: the state of the address's fact, of a generation after the one named. It is
    /// held for the kind asked, or released, and then the sender of the hold asks anew.
    Held { id: TransferId, subject: Vec<u8>, state: Vec<u8> },
    /// The sender leaves: please give it nothing more. `last`: it has handed over all that it knew
    /// of as its own, and asks for the farewell.
    Leave { id: TransferId, last: bool },
    /// Answers the last word of a leave: for each space, by its subject, the delta of all that the
    /// sender holds for the leaver's.
    Farewell { id: TransferId, yours: Vec<(Vec<u8>, Vec<u8>)> },
    /// Another asks so. Those who had nothing, who are named, pass it on.
    Pass { asker: NodeId, id: TransferId, subject: Vec<u8>, want: AskWant, tried: Vec<NodeId> },
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AskWant {
    /// This one and no other.
    Exact(u128),
    /// A block out of these intervals.
    Block {
        ranges: Vec<(u128, u128)>,
        /// How many requests wait.
        need: u64,
        /// How much the last grant gave the asker; zero at first.
        last: u128,
        urgency: Urgency,
    },
}

/// How an address is to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Claim {
    /// As a new allocation.
    Exact,
    /// As one that a Swarm leader had, also if it rests. The owner is asked until it answers or
    /// dies.
    Replay,
}

/// How much the donor may give away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Urgency {
    /// To its last one: somebody waits.
    Waiting,
    /// Only what leaves the donor well above low water, or two low nodes would pass one block
    /// to and fro for ever.
    TopUp,
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// Nothing free there.
    None,
    /// That address is bound.
    InUse,
    /// That address rests for so many milliseconds more.
    Resting(u64),
    /// That address is somebody else's.
    NotOwner,
    /// Not ready, leaving or stopped.
    NotReady,
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::codec;

    fn samples() -> Vec<Message> {
        let id = TransferId { boot: 3, serial: 4 };
        let subject = crate::space::Space::Vni.subject();
        let (delta, state) = (vec![3, 4], vec![5]);
        let asker = NodeId::from_bytes([6; 16]);
        let block = |urgency| AskWant::Block { ranges: vec![(7, 8)], need: 9, last: 10, urgency };
        let refuse = |refusal, delta, passed| {
            let subject = subject.clone();
            Message::Refuse { id, subject, refusal, delta, passed }
        };
        let hold = |claim| {
            let subject = subject.clone();
            Message::Hold { id, subject, at: 12, kind: Kind::Gateway, claim, after: 13 }
        };
        vec![
            Message::Ask { id, subject: subject.clone(), want: AskWant::Exact(11) },
            Message::Ask { id, subject: subject.clone(), want: block(Urgency::Waiting) },
            Message::Ask { id, subject: subject.clone(), want: block(Urgency::TopUp) },
            Message::Grant { id, subject: subject.clone(), delta: delta.clone() },
            refuse(Refusal::None, None, Some(asker)),
            refuse(Refusal::InUse, None, None),
            refuse(Refusal::Resting(60_000), None, None),
            refuse(Refusal::NotOwner, Some(delta.clone()), None),
            refuse(Refusal::NotReady, None, None),
            Message::Transfer {
                id,
                subject: subject.clone(),
                delta: delta.clone(),
                rested: vec![(0, 1)],
            },
            Message::Received { id },
            Message::Release { subject: subject.clone(), at: 12, generation: 13 },
            hold(Claim::Exact),
            hold(Claim::Replay),
            Message::Held { id, subject: subject.clone(), state },
            Message::Leave { id, last: true },
            Message::Farewell { id, yours: vec![(subject.clone(), delta)] },
            Message::Pass { asker, id, subject, want: block(Urgency::Waiting), tried: vec![asker] },
        ]
    }

    #[test]
    fn messages_have_their_golden_bytes() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/messages-1.hex");
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let lines: Vec<String> =
            samples().iter().map(|message| hex(codec::encode(message))).collect();
        if std::env::var_os("WEFT_BLESS").is_some() {
            std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        }
        let golden = std::fs::read_to_string(path).unwrap();
        for ((line, golden), message) in lines.iter().zip(golden.lines()).zip(samples()) {
            assert_eq!(line, golden, "{message:?}");
            assert_eq!(codec::decode(&codec::encode(&message)), Some(message));
        }
        assert_eq!(lines.len(), golden.lines().count());
    }
}
