//! What table events are about.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What happened to a table entry. Values start at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum EventType {
    /// It was created.
    Create = 1,
    /// It was updated.
    Update = 2,
    /// It was deleted.
    Delete = 3,
}

impl EventType {
    /// Returns the event as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<u8> for EventType {
    type Error = Error;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            1 => Ok(Self::Create),
            2 => Ok(Self::Update),
            3 => Ok(Self::Delete),
            _ => Err(Error::invalid_parameter(format!("invalid event type {number}"))),
        }
    }
}

/// What sort of object a driver's table is about. Values start at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum ObjectType {
    /// Endpoints.
    Endpoint = 1,
    /// Networks.
    Network = 2,
    /// Something of the driver's own.
    Opaque = 3,
}

/// Tells whether `number` is the number of an [`ObjectType`].
pub const fn is_valid_type(number: i64) -> bool {
    matches!(number, 1..=3)
}

impl TryFrom<i64> for ObjectType {
    type Error = Error;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        match number {
            1 => Ok(Self::Endpoint),
            2 => Ok(Self::Network),
            3 => Ok(Self::Opaque),
            _ => Err(Error::invalid_parameter(format!("invalid object type {number}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types_start_at_one() {
        for (number, event) in [EventType::Create, EventType::Update, EventType::Delete]
            .into_iter()
            .enumerate()
            .map(|(index, event)| (index as u8 + 1, event))
        {
            assert_eq!(event as u8, number);
            assert_eq!(EventType::try_from(number), Ok(event));
        }
        assert!(EventType::try_from(0).is_err());
        assert!(EventType::try_from(4).is_err());
    }

    #[test]
    fn valid_object_types_are_exactly_those_there_are() {
        for number in [i64::MIN, -1, 0, 1, 2, 3, 4, i64::MAX] {
            let object = ObjectType::try_from(number);
            assert_eq!(is_valid_type(number), object.is_ok());
            if let Ok(object) = object {
                assert_eq!(object as i64, number);
            }
        }
    }
}
