//! How a command ends when it does not end well: one sentence, one hint, one exit code.

use std::fmt;

use crate::client::ClientError;
use crate::control::BindError;

/// Why a command failed; what is printed is this and nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    blame: Blame,
}

/// Whose it is to change something, told by the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// It could not be done (1).
    World,
    /// It was asked or configured wrongly (2).
    Usage,
    /// Nobody: whoever read the output has read enough (0).
    Nobody,
}

impl Failure {
    /// It could not be done: exit code 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, blame: Blame::World }
    }

    /// It was asked or configured wrongly: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, blame: Blame::Usage }
    }

    /// Whoever read the output has read enough (`weft members | head -1`): exit code 0, no word.
    pub fn reader_left() -> Self {
        Self {
            message: "the reader of the output has left".to_owned(),
            hint: None,
            blame: Blame::Nobody,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Returns the exit code.
    pub const fn code(&self) -> u8 {
        match self.blame {
            Blame::Nobody => 0,
            Blame::World => 1,
            Blame::Usage => 2,
        }
    }

    /// Returns what goes to standard error: the sentence and, on its own line, the hint.
    pub fn report(&self) -> String {
        match &self.hint {
            Some(hint) => format!("weft: {}\nhint: {hint}", self.message),
            None => format!("weft: {}", self.message),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self { hint: error.hint(), ..Self::failed(error.to_string()) }
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        Self::failed(error.to_string()).with_hint(error.hint())
    }
}

impl From<anyhow::Error> for Failure {
    /// Keeps a failure that is in the chain; prints the chain otherwise.
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => failure,
            Err(error) => Self::failed(format!("{error:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_sentence_a_hint_and_a_code() {
        let failure = Failure::usage("`x` is not a name").with_hint("use letters");
        let report = failure.report();
        assert_eq!(report, "weft: `x` is not a name\nhint: use letters");
        assert_eq!(failure.code(), 2);
        assert_eq!(Failure::failed("no").code(), 1);
    }

    #[test]
    fn a_failure_survives_a_chain_of_contexts() {
        let failure = Failure::usage("bad").with_hint("better");
        assert_eq!(Failure::from(anyhow::Error::from(failure.clone())), failure);
        let chain = anyhow::anyhow!("inner").context("outer");
        assert_eq!(Failure::from(chain).to_string(), "outer: inner");
    }
}
