//! Allocations without an endpoint: the fact of kind 6.
//!
//! The owner of the address writes them, and while it is away a Swarm leader that replays. The
//! generation grows with each allocation, and a release names the generation it ends, so a late
//! release ends no later allocation.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::ranges::JoinError;
use crate::request::Purpose;

/// The longest name of an auxiliary address, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// What an address without an endpoint is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    Gateway,
    Auxiliary(String),
    Swarm,
}

/// The state of one address. The order is that of the join: a later generation, then its release,
/// then (never, while owners are single and leaders replay what was allocated) the greater kind;
/// dropped with its network last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Allocation {
    Live { generation: u64, released: bool, kind: Kind },
    Dropped,
}

impl Kind {
    /// `None` for an endpoint, whose address is its node's own affair.
    pub(crate) fn of(purpose: &Purpose) -> Option<Self> {
        match purpose {
            Purpose::Endpoint(_) => None,
            Purpose::Gateway => Some(Self::Gateway),
            Purpose::Auxiliary(name) => Some(Self::Auxiliary(name.clone())),
            Purpose::Swarm => Some(Self::Swarm),
        }
    }

    /// Whether its name, if it has one, is within bounds.
    pub(crate) fn is_valid(&self) -> bool {
        match self {
            Self::Gateway | Self::Swarm => true,
            Self::Auxiliary(name) => name.len() <= NAME_BYTES_MAX,
        }
    }
}

impl Allocation {
    /// What holds the address, if anything does.
    pub(crate) fn held(&self) -> Option<&Kind> {
        match self {
            Self::Live { released: false, kind, .. } => Some(kind),
            Self::Live { released: true, .. } | Self::Dropped => None,
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        match self {
            Self::Live { generation, .. } => *generation,
            Self::Dropped => u64::MAX,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, JoinError> {
        let malformed = JoinError("allocation");
        let allocation: Self = codec::decode(bytes).ok_or(malformed)?;
        match &allocation {
            Self::Live { kind, .. } if !kind.is_valid() => Err(malformed),
            Self::Live { .. } | Self::Dropped => Ok(allocation),
        }
    }
}

/// Joins two states of one allocation without an endpoint: the later one counts; `None` means that
/// `incoming` adds nothing.
///
/// # Errors
/// When either does not decode.
pub fn join_allocations(
    current: Option<&[u8]>,
    incoming: &[u8],
) -> Result<Option<Vec<u8>>, JoinError> {
    let incoming = Allocation::decode(incoming)?;
    let newer = match current {
        Some(current) => incoming > Allocation::decode(current)?,
        None => true,
    };
    Ok(newer.then(|| incoming.encode()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn states() -> impl Strategy<Value = Allocation> {
        let kinds = prop_oneof![
            Just(Kind::Gateway),
            "[a-c]{0,3}".prop_map(Kind::Auxiliary),
            Just(Kind::Swarm)
        ];
        let live = (1u64..4, any::<bool>(), kinds).prop_map(|(generation, released, kind)| {
            Allocation::Live { generation, released, kind }
        });
        prop_oneof![8 => live, 1 => Just(Allocation::Dropped)]
    }

    fn joined(a: &[u8], b: &[u8]) -> Vec<u8> {
        join_allocations(Some(a), b).unwrap().unwrap_or_else(|| a.to_vec())
    }

    proptest! {
        #[test]
        fn joins_commute_associate_and_repeat_without_effect(
            a in states(), b in states(), c in states(),
        ) {
            let (a, b, c) = (a.encode(), b.encode(), c.encode());
            prop_assert_eq!(joined(&a, &b), joined(&b, &a));
            prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
            prop_assert_eq!(join_allocations(Some(&a), &a).unwrap(), None);
        }
    }

    #[test]
    fn a_late_release_ends_no_later_allocation() {
        let state = |generation, released| {
            Allocation::Live { generation, released, kind: Kind::Gateway }.encode()
        };
        let again = joined(&joined(&state(1, false), &state(1, true)), &state(2, false));
        assert_eq!(joined(&again, &state(1, true)), state(2, false));
    }

    #[test]
    fn a_name_of_any_length_is_not_a_name() {
        let kind = Kind::Auxiliary("x".repeat(NAME_BYTES_MAX + 1));
        let bytes = Allocation::Live { generation: 1, released: false, kind }.encode();
        assert_eq!(join_allocations(None, &bytes), Err(JoinError("allocation")));
    }

    #[test]
    fn golden_bytes_of_an_allocation() {
        let kind = Kind::Auxiliary("dns".into());
        let live = Allocation::Live { generation: 7, released: false, kind };
        assert_eq!(live.encode(), [0, 7, 0, 1, 3, b'd', b'n', b's']);
        assert_eq!(Allocation::Dropped.encode(), [1]);
    }
}
