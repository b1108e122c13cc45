//! What the control API answers when it cannot do what was asked.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why an operation failed; libnetwork's error classes, and the HTTP status of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request is malformed or asks what cannot be (400).
    InvalidParameter,
    /// The state forbids it: a network with endpoints, an address already in use (403).
    Forbidden,
    /// What the request names does not exist (404).
    NotFound,
    /// It exists already, or several things go by that name (409).
    Conflict,
    /// Weft does not do this (501).
    NotImplemented,
    /// Not now: a full pool, a node that is not ready, peers that do not answer (503).
    Unavailable,
    /// It took longer than the operation may take; it may still complete (504).
    Timeout,
    /// A fault of the agent's own; its log says more (500).
    Internal,
}

impl ErrorKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::InvalidParameter,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::NotImplemented,
        Self::Unavailable,
        Self::Timeout,
        Self::Internal,
    ];

    /// Returns the HTTP status code an error of this kind is answered with.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidParameter => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::NotImplemented => 501,
            Self::Unavailable => 503,
            Self::Timeout => 504,
            Self::Internal => 500,
        }
    }
}

/// The body of every answer that is not a success, and the error of every control operation.
///
/// Whoever caused it reads `error`, one sentence that names its subject in `backticks`, then
/// `hint`, what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlError {
    /// What went wrong, in one sentence without a full stop.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Its class.
    pub kind: ErrorKind,
}

impl ControlError {
    /// Makes an error of `kind` without a hint.
    pub fn new(kind: ErrorKind, error: impl Into<String>) -> Self {
        Self { error: error.into(), hint: None, kind }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Makes an [`ErrorKind::InvalidParameter`].
    pub fn invalid(error: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidParameter, error)
    }

    /// Makes an [`ErrorKind::NotFound`].
    pub fn not_found(error: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, error)
    }

    /// Makes an [`ErrorKind::Forbidden`].
    pub fn forbidden(error: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, error)
    }

    /// Makes an [`ErrorKind::Conflict`].
    pub fn conflict(error: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, error)
    }

    /// Makes an [`ErrorKind::Unavailable`].
    pub fn unavailable(error: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, error)
    }

    /// Makes an [`ErrorKind::Internal`].
    pub fn internal(error: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, error)
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl std::error::Error for ControlError {}
