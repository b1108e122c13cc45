//! Claims on disk: `Space::Claims`.
//!
//! | key | value |
//! | --- | --- |
//! | `m` | [`Meta`] |
//! | `o`, number | [`ClaimBody`] of an own claim that is open |
//! | `h`, claimant, number | [`HeldRecord`] of another's claim |

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use weft_api::{NodeId, Space, Write};

use super::RestoreError;
use super::message::{ClaimBody, ClaimId};
use crate::wire::codec;

/// What outlives every claim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Number of the next attempt.
    pub(super) next: u64,
    /// Greatest Lamport time given to an own definition.
    pub(super) lamport: u64,
}

/// What a member promised, or merely heard of when it joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Promise {
    /// Accepted: the claimant may count on it.
    Accepted,
    /// Told by the member that let this node join: it refuses others, and counts for nothing yet.
    Heard,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldRecord {
    pub(super) promise: Promise,
    pub(super) body: ClaimBody,
}

/// One record, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    Meta(Meta),
    Own(u64, ClaimBody),
    Held(ClaimId, HeldRecord),
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    codec::encode(value).expect("what is kept was bounded when it came")
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    codec::decode(bytes).ok()
}

pub(super) fn put_meta(meta: &Meta) -> Write {
    write(b"m".to_vec(), Some(encode(meta)))
}

pub(super) fn put_own(number: u64, body: &ClaimBody) -> Write {
    write(own_key(number), Some(encode(body)))
}

pub(super) fn remove_own(number: u64) -> Write {
    write(own_key(number), None)
}

pub(super) fn put_held(claim: ClaimId, record: &HeldRecord) -> Write {
    write(held_key(claim), Some(encode(record)))
}

pub(super) fn remove_held(claim: ClaimId) -> Write {
    write(held_key(claim), None)
}

pub(super) fn read(key: &[u8], value: &[u8]) -> Result<Record, RestoreError> {
    let damaged = || RestoreError(key.iter().map(|byte| format!("{byte:02x}")).collect());
    let record = match key {
        b"m" => decode(value).map(Record::Meta),
        [b'o', number @ ..] => read_number(number).zip(decode(value)).map(own),
        [b'h', claim @ ..] => read_claim(claim).zip(decode(value)).map(held),
        _ => None,
    };
    record.ok_or_else(damaged)
}

fn own((number, body): (u64, ClaimBody)) -> Record {
    Record::Own(number, body)
}

fn held((claim, record): (ClaimId, HeldRecord)) -> Record {
    Record::Held(claim, record)
}

fn write(key: Vec<u8>, value: Option<Vec<u8>>) -> Write {
    Write { space: Space::Claims, key, value }
}

fn own_key(number: u64) -> Vec<u8> {
    [b"o".as_slice(), &number.to_be_bytes()].concat()
}

fn held_key(claim: ClaimId) -> Vec<u8> {
    [b"h".as_slice(), claim.node.as_bytes(), &claim.number.to_be_bytes()].concat()
}

fn read_number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn read_claim(bytes: &[u8]) -> Option<ClaimId> {
    let (node, number) = bytes.split_first_chunk::<16>()?;
    Some(ClaimId { node: NodeId::from_bytes(*node), number: read_number(number)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_api::NetworkId;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let claim = ClaimId { node: NodeId::from_bytes([7; 16]), number: 9 };
        let body = ClaimBody::Delete(NetworkId::from_bytes([3; 16]));
        let held = HeldRecord { promise: Promise::Heard, body: body.clone() };
        let meta = Meta { next: 300, lamport: 2 };
        for (write, record) in [
            (put_meta(&meta), Record::Meta(meta)),
            (put_own(9, &body), Record::Own(9, body)),
            (put_held(claim, &held), Record::Held(claim, held.clone())),
        ] {
            assert_eq!(read(&write.key, &write.value.unwrap()), Ok(record));
        }
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_its_key() {
        for (key, value) in [(&b"m"[..], &b""[..]), (b"o12", b"\0"), (b"x", b""), (b"", b"")] {
            assert!(read(key, value).is_err());
        }
        assert_eq!(read(b"x", b""), Err(RestoreError("78".to_owned())));
        let long = [encode(&Meta::default()), vec![0]].concat();
        assert!(read(b"m", &long).is_err());
    }
}
