//! The error object a plugin prints.

use std::fmt;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// The number of an error object: below 100 the specification's, from 100 a plugin's own.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Code(pub u32);

impl Code {
    /// The plugin does not speak the configuration's version.
    pub const INCOMPATIBLE_VERSION: Self = Self(1);
    /// A field of the configuration is not supported; `msg` names it.
    pub const UNSUPPORTED_FIELD: Self = Self(2);
    /// The container is unknown; the runtime need not call DEL.
    pub const UNKNOWN_CONTAINER: Self = Self(3);
    /// A CNI_ variable is missing or malformed.
    pub const INVALID_ENVIRONMENT: Self = Self(4);
    /// Reading or writing failed.
    pub const IO_FAILURE: Self = Self(5);
    /// Content could not be decoded.
    pub const DECODING_FAILURE: Self = Self(6);
    /// The configuration is invalid.
    pub const INVALID_NETWORK_CONFIG: Self = Self(7);
    /// The network namespace is not one to work in. libcni's own, not the specification's.
    pub const INVALID_NETNS: Self = Self(8);
    /// A passing condition: the runtime may try again.
    pub const TRY_AGAIN_LATER: Self = Self(11);
    /// STATUS: ADD cannot be served now.
    pub const PLUGIN_NOT_AVAILABLE: Self = Self(50);
    /// STATUS: ADD cannot be served, and existing containers may have limited connectivity.
    pub const LIMITED_CONNECTIVITY: Self = Self(51);
    /// Anything else went wrong. libcni's own, not the specification's.
    pub const INTERNAL: Self = Self(999);
    /// The first of a plugin's own.
    pub const PLUGIN_SPECIFIC: Self = Self(100);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a failing plugin answers with (libcni's `types.Error`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{msg}{}", if details.is_empty() { String::new() } else { format!("; {details}") })]
pub struct PluginError {
    /// What kind of failure.
    #[serde(default)]
    pub code: Code,
    /// A short sentence.
    #[serde(default)]
    pub msg: String,
    /// A longer one; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl PluginError {
    /// An error object without details.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    /// The same with details.
    #[must_use]
    pub fn with_details(self, details: impl Into<String>) -> Self {
        Self { details: details.into(), ..self }
    }

    /// Prints the object as a plugin must: on its standard output, with the version of the
    /// configuration when that is known.
    ///
    /// # Errors
    /// If `out` refuses the bytes.
    pub fn print_to(&self, conf_version: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
        /// The object as printed; the specification asks for the version.
        #[derive(Serialize)]
        struct Printed<'a> {
            #[serde(rename = "cniVersion", skip_serializing_if = "Option::is_none")]
            version: Option<&'a str>,
            #[serde(flatten)]
            error: &'a PluginError,
        }
        super::result::print_indented(&Printed { version: conf_version, error: self }, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_message_and_details() {
        let error = PluginError::new(Code(1234), "some message");
        assert_eq!(error.to_string(), "some message");
        assert_eq!(error.with_details("more").to_string(), "some message; more");
    }

    #[test]
    fn printed_object_has_the_members_of_the_specification() {
        let mut out = Vec::new();
        let error = PluginError::new(Code::TRY_AGAIN_LATER, "later").with_details("soon");
        error.print_to(Some("1.0.0"), &mut out).unwrap();
        let expected = "{\n    \"cniVersion\": \"1.0.0\",\n    \"code\": 11,\n    \
                        \"msg\": \"later\",\n    \"details\": \"soon\"\n}";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn object_without_details_has_no_such_member() {
        let text = serde_json::to_string(&PluginError::new(Code(7), "m")).unwrap();
        assert_eq!(text, r#"{"code":7,"msg":"m"}"#);
    }
}
