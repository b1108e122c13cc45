//! `/networks/{id}/tables` and `/networks/{id}/watch`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::control::ControlError;
use crate::id::{NetworkId, NodeId};

/// Bytes of an entry in JSON: as text where they are UTF-8, in hexadecimal digits otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableValue {
    /// The bytes are this UTF-8 text.
    Text(String),
    /// The bytes, two digits each.
    Hex(String),
}

/// Says why a text is not bytes in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a value of hexadecimal digits, two for each byte")]
pub struct ParseValueError(pub String);

impl TableValue {
    /// Takes bytes, as text where they are.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(bytes.iter().fold(String::new(), |mut hex, byte| {
                // Writing to a String cannot fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            })),
        }
    }

    /// Returns the bytes.
    ///
    /// # Errors
    /// [`ParseValueError`] when a `Hex` holds anything but pairs of hexadecimal digits.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ParseValueError> {
        match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::Hex(hex) => parse_hex(hex.as_bytes()).ok_or_else(|| ParseValueError(hex.clone())),
        }
    }
}

fn parse_hex(digits: &[u8]) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// A row of `GET /networks/{id}/tables`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableResource {
    /// The table.
    pub name: String,
    /// Entries that reads show.
    pub entries: u64,
    /// The driver that registered it; entries of such a table cannot be written by hand.
    pub driver: Option<String>,
}

/// `POST /networks/{id}/tables/{table}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryCreate {
    /// The key; no live entry may have it.
    pub key: String,
    /// The value.
    pub value: TableValue,
}

/// `PUT /networks/{id}/tables/{table}/{key}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryUpdate {
    /// The new value.
    pub value: TableValue,
}

/// An entry of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryResource {
    /// The table.
    pub table: String,
    /// The key.
    pub key: String,
    /// The value as it stands.
    pub value: TableValue,
    /// The node that owns it.
    pub owner: NodeId,
    /// That node's name, where it is known.
    pub owner_name: Option<String>,
    /// What the driver's `decode_table_entry` makes of it; empty where no driver reads the table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub decoded: BTreeMap<String, String>,
}

/// Query of `GET /networks/{id}/watch`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchQuery {
    /// Only this table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
}

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableEventKind {
    /// It came into sight.
    Create,
    /// Its value changed.
    Update,
    /// It went out of sight.
    Delete,
}

/// A change of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEvent {
    /// What happened.
    pub event: TableEventKind,
    /// The network.
    pub network: NetworkId,
    /// The table.
    pub table: String,
    /// The key.
    pub key: String,
    /// The value now; none after a delete.
    pub value: Option<TableValue>,
    /// The value before; none at a create.
    pub prev: Option<TableValue>,
    /// The node that owns the entry.
    pub owner: NodeId,
    /// What the driver's `decode_table_entry` makes of the value, or of the one deleted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub decoded: BTreeMap<String, String>,
}

/// A line of the watch stream (newline-delimited JSON).
///
/// The stream starts with a create for each entry there is, so that a watcher needs no second
/// read. An error is the last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WatchLine {
    /// A change.
    Event(TableEvent),
    /// Why the stream ends.
    Error(ControlError),
}
