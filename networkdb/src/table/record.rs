//! One record of an owner's log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A key of a table. Clones share the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryKey {
    /// The table's name.
    pub table: Arc<str>,
    /// The key in the table.
    pub key: Arc<str>,
}

impl EntryKey {
    /// Makes a key of its two texts.
    pub fn new(table: &str, key: &str) -> Self {
        Self { table: table.into(), key: key.into() }
    }
}

/// What an owner wrote, once: a value, or that the key is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the owner's log, from 1.
    pub seq: u64,
    /// Lamport time of the write.
    pub stamp: u64,
    /// Of which key.
    pub at: EntryKey,
    /// `None` is a tombstone.
    pub value: Option<Arc<[u8]>>,
}

impl Record {
    /// Seqs and stamps stay far below overflow; a peer that sends more is broken.
    pub(crate) const NUMBER_MAX: u64 = 1 << 60;

    /// An upper bound of its size on the wire, in bytes.
    pub(crate) fn wire_len(&self) -> usize {
        32 + self.at.table.len() + self.at.key.len() + self.value.as_ref().map_or(0, |v| v.len())
    }
}
