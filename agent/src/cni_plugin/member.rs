//! Members of a configuration, each with its name in the error.

use std::fmt::Display;
use std::str::FromStr;

use cni::types::{Code, PluginError};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A member that is malformed.
pub(super) fn invalid(key: &str, reason: impl Display) -> PluginError {
    PluginError::new(Code::INVALID_NETWORK_CONFIG, format!("`{key}` of the configuration"))
        .with_details(reason.to_string())
}

/// A member that says what Weft does not do.
pub(super) fn unsupported(key: &str, reason: &str) -> PluginError {
    PluginError::new(Code::UNSUPPORTED_FIELD, format!("`{key}` of the configuration"))
        .with_details(reason)
}

/// Reads a member; `null` is the same as absent.
pub(super) fn read<T: DeserializeOwned>(
    members: &Map<String, Value>,
    key: &str,
) -> Result<Option<T>, PluginError> {
    match members.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => T::deserialize(value).map(Some).map_err(|error| invalid(key, error)),
    }
}

/// Reads a member that is one text or a list of them.
pub(super) fn texts(members: &Map<String, Value>, key: &str) -> Result<Vec<String>, PluginError> {
    match members.get(key) {
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        _ => read(members, key).map(Option::unwrap_or_default),
    }
}

/// Reads the text of a member as what it stands for.
pub(super) fn parse<T>(key: &str, text: &str) -> Result<T, PluginError>
where
    T: FromStr<Err: Display>,
{
    text.parse().map_err(|error| invalid(key, format!("`{text}`: {error}")))
}
