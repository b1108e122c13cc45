//! Errors by kind: what went wrong in words, and who has to act in one of six kinds.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What sort of failure an error is (libnetwork's `types` error interfaces). The way in that
/// answers a caller picks its status by this and by nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The caller asked for something malformed or contradictory.
    InvalidParameter,
    /// What the caller named does not exist.
    NotFound,
    /// Well formed, but the present state does not allow it.
    Forbidden,
    /// It may succeed later, or elsewhere.
    Unavailable,
    /// Nobody here can do it.
    NotImplemented,
    /// Our own fault.
    Internal,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::InvalidParameter,
        Self::NotFound,
        Self::Forbidden,
        Self::Unavailable,
        Self::NotImplemented,
        Self::Internal,
    ];

    /// Returns the kind in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidParameter => "invalid parameter",
            Self::NotFound => "not found",
            Self::Forbidden => "forbidden",
            Self::Unavailable => "unavailable",
            Self::NotImplemented => "not implemented",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text with a kind, for what has no variant of its own: a remote driver's answer, a failure
/// below the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{text}")]
pub struct Error {
    /// What sort of failure.
    pub kind: Kind,
    /// For people.
    pub text: String,
}

impl Error {
    /// Makes an error of `kind`.
    pub fn new(kind: Kind, text: impl fmt::Display) -> Self {
        Self { kind, text: text.to_string() }
    }

    /// Makes an error the caller caused by what it asked.
    pub fn invalid_parameter(text: impl fmt::Display) -> Self {
        Self::new(Kind::InvalidParameter, text)
    }

    /// Makes an error about something that does not exist.
    pub fn not_found(text: impl fmt::Display) -> Self {
        Self::new(Kind::NotFound, text)
    }

    /// Makes an error about something the present state does not allow.
    pub fn forbidden(text: impl fmt::Display) -> Self {
        Self::new(Kind::Forbidden, text)
    }

    /// Makes an error that may go away by itself.
    pub fn unavailable(text: impl fmt::Display) -> Self {
        Self::new(Kind::Unavailable, text)
    }

    /// Makes an error about something nobody here can do.
    pub fn not_implemented(text: impl fmt::Display) -> Self {
        Self::new(Kind::NotImplemented, text)
    }

    /// Makes an error that is our own fault.
    pub fn internal(text: impl fmt::Display) -> Self {
        Self::new(Kind::Internal, text)
    }
}
