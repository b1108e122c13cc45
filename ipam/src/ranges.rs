//! Who owns which part of a space: the fact of kind 5.
//!
//! Each integer has a mark (version, owner); a join takes the greater one at each. Only the present
//! owner writes, adding 1 to the version, so one version has one owner; where it has two, two
//! nodes share an identity, the greater owner stays and [`crate::Alarm::TwoOwners`] says so.

use serde::{Deserialize, Serialize};
use weft_api::NodeId;

use crate::codec;
use crate::interval::IntervalMap;

/// A fact that does not decode. Caused by a peer; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0} fact")]
pub struct JoinError(pub(crate) &'static str);

/// Who owns an integer, and how often that has changed. The order is that of the join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) version: u64,
    pub(crate) owner: NodeId,
}

/// What a join changed at one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) low: u128,
    pub(crate) high: u128,
    pub(crate) before: Option<Mark>,
    pub(crate) after: Mark,
}

/// The state of one space: marks, or dropped for good because its network is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ranges {
    Marked(IntervalMap<Mark>),
    Dropped,
}

/// On the wire each owner stands once, and an interval is its distance from the one before.
#[derive(Serialize, Deserialize)]
enum Wire {
    Marked { owners: Vec<NodeId>, spans: Vec<WireSpan> },
    Dropped,
}

#[derive(Serialize, Deserialize)]
struct WireSpan {
    gap: u128,
    more: u128,
    version: u64,
    owner: u32,
}

impl Ranges {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Dropped => codec::encode(&Wire::Dropped),
            Self::Marked(marks) => encode_marks(marks),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, JoinError> {
        let malformed = JoinError("ranges");
        let (owners, spans) = match codec::decode(bytes).ok_or(malformed)? {
            Wire::Dropped => return Ok(Self::Dropped),
            Wire::Marked { owners, spans } => (owners, spans),
        };
        let mut marks = IntervalMap::default();
        let mut next = Some(0u128);
        for span in spans {
            let low = next.and_then(|n| n.checked_add(span.gap)).ok_or(malformed)?;
            let high = low.checked_add(span.more).ok_or(malformed)?;
            let owner = usize::try_from(span.owner).ok().and_then(|index| owners.get(index));
            let owner = *owner.ok_or(malformed)?;
            marks.set(low, high, Mark { version: span.version, owner });
            next = high.checked_add(1);
        }
        Ok(Self::Marked(marks))
    }
}

pub(crate) fn encode_marks(marks: &IntervalMap<Mark>) -> Vec<u8> {
    let mut owners: Vec<NodeId> = marks.iter().map(|(_, _, mark)| mark.owner).collect();
    owners.sort_unstable();
    owners.dedup();
    let mut next = 0;
    let spans = marks.iter().map(|(low, high, mark)| {
        let index = owners.binary_search(&mark.owner).expect("each owner was listed");
        let owner = u32::try_from(index).expect("fewer owners than intervals");
        let span = WireSpan { gap: low - next, more: high - low, version: mark.version, owner };
        // Past the greatest integer nothing follows.
        next = high.saturating_add(1);
        span
    });
    let spans = spans.collect();
    codec::encode(&Wire::Marked { owners, spans })
}

/// Joins `incoming` into `marks` and says what changed.
pub(crate) fn merge(marks: &mut IntervalMap<Mark>, incoming: &IntervalMap<Mark>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (low, high, &after) in incoming.iter() {
        let mut next = Some(low);
        for (l, h, &before) in marks.within(low, high) {
            if let Some(n) = next.filter(|&n| n < l) {
                changes.push(Change { low: n, high: l - 1, before: None, after });
            }
            if after > before {
                changes.push(Change { low: l, high: h, before: Some(before), after });
            }
            next = h.checked_add(1);
        }
        if let Some(n) = next.filter(|&n| n <= high) {
            changes.push(Change { low: n, high, before: None, after });
        }
    }
    for change in &changes {
        marks.set(change.low, change.high, change.after);
    }
    changes
}

/// Joins two states of one space: for each address the greater (version, owner). Partial states
/// join; the result is canonical; `None` means that `incoming` adds nothing.
///
/// # Errors
/// When either does not decode.
pub fn join_ranges(current: Option<&[u8]>, incoming: &[u8]) -> Result<Option<Vec<u8>>, JoinError> {
    let incoming = Ranges::decode(incoming)?;
    let Some(current) = current else {
        return Ok(Some(incoming.encode()));
    };
    match (Ranges::decode(current)?, incoming) {
        (Ranges::Dropped, _) => Ok(None),
        (Ranges::Marked(_), Ranges::Dropped) => Ok(Some(Ranges::Dropped.encode())),
        (Ranges::Marked(mut marks), Ranges::Marked(incoming)) => {
            let changes = merge(&mut marks, &incoming);
            Ok((!changes.is_empty()).then(|| encode_marks(&marks)))
        }
    }
}

/// One interval of a space, and who owns it, as a fact of kind 5 tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first integer.
    pub first: u128,
    /// Its last one.
    pub last: u128,
    /// How often its owner changed.
    pub version: u64,
    /// Who owns it.
    pub owner: NodeId,
}

/// Reads who owns what of a space, in ascending order; `None` where the space is dropped because
/// its network is deleted. For onlookers: nodes read what they own by [`crate::Ipam::holdings`].
///
/// # Errors
/// When the bytes are no fact of this kind.
pub fn read_ranges(bytes: &[u8]) -> Result<Option<Vec<Span>>, JoinError> {
    let marks = match Ranges::decode(bytes)? {
        Ranges::Dropped => return Ok(None),
        Ranges::Marked(marks) => marks,
    };
    let span = |(first, last, mark): (u128, u128, &Mark)| {
        let Mark { version, owner } = *mark;
        Span { first, last, version, owner }
    };
    Ok(Some(marks.iter().map(span).collect()))
}

#[cfg(test)]
mod tests;
