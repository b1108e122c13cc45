//! Logs on disk: one write a record, and a line of coverage a log where records do not say it.

use weft_api::{NetworkId, NodeId, Space, Write};

use super::log::{Extent, Log};
use super::ranges::Ranges;
use super::record::{EntryKey, Record};

const RECORD: u8 = b'R';
const COVERAGE: u8 = b'C';

/// One line of `Space::Logs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Record(NetworkId, NodeId, Record),
    Coverage(NetworkId, NodeId, Coverage),
}

/// What the records of a log do not say by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Coverage {
    pub(crate) extent: Extent,
    pub(crate) floor: u64,
    /// The Lamport time of this node, where the log is its own.
    pub(crate) lamport: u64,
}

pub(crate) fn record_write(network: NetworkId, owner: NodeId, record: &Record) -> Write {
    let mut value = Vec::with_capacity(17 + record.value.as_ref().map_or(0, |v| v.len()));
    value.extend_from_slice(&record.seq.to_be_bytes());
    value.extend_from_slice(&record.stamp.to_be_bytes());
    value.push(u8::from(record.value.is_some()));
    value.extend_from_slice(record.value.as_deref().unwrap_or_default());
    let key = record_key(network, owner, &record.at);
    Write { space: Space::Logs, key, value: Some(value) }
}

pub(crate) fn record_removal(network: NetworkId, owner: NodeId, at: &EntryKey) -> Write {
    Write { space: Space::Logs, key: record_key(network, owner, at), value: None }
}

pub(crate) fn coverage_write(network: NetworkId, owner: NodeId, log: &Log, lamport: u64) -> Write {
    let mut value = Vec::new();
    for number in [log.extent().head, log.floor(), lamport] {
        value.extend_from_slice(&number.to_be_bytes());
    }
    for (first, last) in log.extent().above.iter() {
        value.extend_from_slice(&first.to_be_bytes());
        value.extend_from_slice(&last.to_be_bytes());
    }
    Write { space: Space::Logs, key: log_key(COVERAGE, network, owner), value: Some(value) }
}

pub(crate) fn coverage_removal(network: NetworkId, owner: NodeId) -> Write {
    Write { space: Space::Logs, key: log_key(COVERAGE, network, owner), value: None }
}

fn log_key(kind: u8, network: NetworkId, owner: NodeId) -> Vec<u8> {
    let mut key = Vec::with_capacity(34);
    key.push(kind);
    key.extend_from_slice(network.as_bytes());
    key.extend_from_slice(owner.as_bytes());
    key
}

fn record_key(network: NetworkId, owner: NodeId, at: &EntryKey) -> Vec<u8> {
    let mut key = log_key(RECORD, network, owner);
    let table_len = u16::try_from(at.table.len()).expect("table names are bounded far below");
    key.extend_from_slice(&table_len.to_be_bytes());
    key.extend_from_slice(at.table.as_bytes());
    key.extend_from_slice(at.key.as_bytes());
    key
}

/// Reads one line; `None` when it is malformed.
pub(crate) fn read(key: &[u8], value: &[u8]) -> Option<Line> {
    let (kind, rest) = key.split_first()?;
    let (network, rest) = rest.split_first_chunk::<16>()?;
    let (owner, rest) = rest.split_first_chunk::<16>()?;
    let (network, owner) = (NetworkId::from_bytes(*network), NodeId::from_bytes(*owner));
    let mut numbers = value;
    let mut number = || {
        let (number, rest) = numbers.split_first_chunk::<8>()?;
        numbers = rest;
        Some(u64::from_be_bytes(*number))
    };
    match *kind {
        RECORD => {
            let (table_len, rest) = rest.split_first_chunk::<2>()?;
            let (table, key) =
                rest.split_at_checked(usize::from(u16::from_be_bytes(*table_len)))?;
            let at = EntryKey::new(str::from_utf8(table).ok()?, str::from_utf8(key).ok()?);
            let (seq, stamp) = (number()?, number()?);
            let (flag, bytes) = value.get(16..)?.split_first()?;
            let value = (*flag == 1).then(|| bytes.into());
            Some(Line::Record(network, owner, Record { seq, stamp, at, value }))
        }
        COVERAGE => {
            let (head, floor, lamport) = (number()?, number()?, number()?);
            let mut above = Ranges::default();
            while let (Some(first), Some(last)) = (number(), number()) {
                above.insert(first, last);
            }
            Some(Line::Coverage(
                network,
                owner,
                Coverage { extent: Extent { head, above }, floor, lamport },
            ))
        }
        _ => None,
    }
}
