//! Members that never return: the ones who left and the ones forgotten.

use serde::{Deserialize, Serialize};

use crate::output::MemberState;

/// How a member went for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Gone {
    Left,
    Forgotten,
}

impl Gone {
    /// Reads it off a state.
    pub(crate) fn of(state: MemberState) -> Option<Self> {
        match state {
            MemberState::Left => Some(Self::Left),
            MemberState::Forgotten => Some(Self::Forgotten),
            MemberState::Alive | MemberState::Suspect | MemberState::Failed => None,
        }
    }
}

impl From<Gone> for MemberState {
    fn from(gone: Gone) -> Self {
        match gone {
            Gone::Left => Self::Left,
            Gone::Forgotten => Self::Forgotten,
        }
    }
}
