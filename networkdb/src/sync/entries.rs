//! Entries as this node's callers see them: NetworkDB's calls and rules.

use std::sync::Arc;
use std::time::Instant;

use weft_api::NetworkId;

use super::output::Output;
use super::{ATTACHMENTS, Sync};
use crate::table::durable::record_write;
use crate::table::log::Verdict;
use crate::table::record::{EntryKey, Record};
use crate::table::shelf::{Counted, Shelf};
use crate::table::{Entry, TableError};

impl Sync {
    /// Creates an entry.
    ///
    /// # Errors
    /// [`TableError`]: not attached, the key is live, or a bound would be passed.
    pub fn create_entry(
        &mut self,
        network: NetworkId,
        table: &str,
        key: &str,
        value: Vec<u8>,
        now: Instant,
    ) -> Result<(), TableError> {
        let at = self.writable(network, table, key, value.len())?;
        if self.shown(network, &at).is_some() {
            return Err(TableError::Exists { network, table: table.into(), key: key.into() });
        }
        self.write(network, at, Some(value.into()), now)
    }

    /// Updates an entry. Another node's entry becomes this node's: its owner deletes its own.
    ///
    /// # Errors
    /// [`TableError`]: not attached, the key is absent, or a bound would be passed.
    pub fn update_entry(
        &mut self,
        network: NetworkId,
        table: &str,
        key: &str,
        value: Vec<u8>,
        now: Instant,
    ) -> Result<(), TableError> {
        let at = self.writable(network, table, key, value.len())?;
        if self.shown(network, &at).is_none() {
            return Err(TableError::Absent { network, table: table.into(), key: key.into() });
        }
        self.write(network, at, Some(value.into()), now)
    }

    /// Deletes an entry of this node.
    ///
    /// # Errors
    /// [`TableError`]: not attached, the key is absent, or another node owns it.
    pub fn delete_entry(
        &mut self,
        network: NetworkId,
        table: &str,
        key: &str,
        now: Instant,
    ) -> Result<(), TableError> {
        let at = self.writable(network, table, key, 0)?;
        let (table, key) = (table.to_owned(), key.to_owned());
        if self.owns(network, &at) {
            return self.write(network, at, None, now);
        }
        match self.shown(network, &at) {
            Some(Counted { owner, .. }) => Err(TableError::NotOwner { network, table, key, owner }),
            None => Err(TableError::Absent { network, table, key }),
        }
    }

    /// The entry that reads show for a key.
    pub fn entry(&self, network: NetworkId, table: &str, key: &str) -> Option<Entry> {
        let at = EntryKey::new(table, key);
        self.readable(network)?;
        self.shown(network, &at).map(|counted| to_entry(network, &at, counted))
    }

    /// The entries of a table, by key.
    pub fn walk<'a>(
        &'a self,
        network: NetworkId,
        table: &str,
    ) -> impl Iterator<Item = Entry> + use<'a> {
        let keys = self.readable(network).map(|shelf| shelf.keys_of(table));
        keys.into_iter().flatten().filter_map(move |at| {
            self.shown(network, at).map(|counted| to_entry(network, at, counted))
        })
    }

    /// The names of the tables that have entries, sorted.
    pub fn tables(&self, network: NetworkId) -> Vec<Arc<str>> {
        let keys = self.readable(network).into_iter().flat_map(Shelf::keys);
        let shown = keys.filter(|at| self.shown(network, at).is_some());
        let mut names: Vec<_> = shown.map(|at| at.table.clone()).collect();
        names.dedup();
        names
    }

    /// Writes a record of this node's own: rule 1. Durable before it is sent.
    pub(crate) fn write(
        &mut self,
        network: NetworkId,
        at: EntryKey,
        value: Option<Arc<[u8]>>,
        now: Instant,
    ) -> Result<(), TableError> {
        let node = self.node;
        let shelf = self.shelves.entry(network).or_insert_with(|| Shelf::new(network));
        let seq = shelf.extent(node).head + 1;
        let record = Record { seq, stamp: self.lamport + 1, at, value };
        let (verdict, effect) = shelf.merge(node, record.clone(), &self.limits, now);
        match verdict {
            Verdict::New => {}
            Verdict::Full(_) => {
                let size = shelf.log(node).map_or(0, |log| log.live_entries() + 1);
                let bound = self.limits.entries_per_log;
                let what = "number (or bytes) of this node's entries";
                return Err(TableError::TooLarge { what, size, bound });
            }
            Verdict::Stale | Verdict::Conflict => {
                unreachable!("the seq after the head is not known yet")
            }
        }
        self.lamport += 1;
        self.outputs.push_back(Output::Persist(record_write(network, node, &record)));
        self.note_attachments(network, effect.as_slice());
        self.tell(network, effect.as_slice());
        self.written.insert(network, now);
        self.push_record(network, node, record, now);
        Ok(())
    }

    /// Rule 5: this node deletes its entries that another owner's supersede.
    pub(crate) fn yield_superseded(
        &mut self,
        network: NetworkId,
        keys: impl IntoIterator<Item = EntryKey>,
        now: Instant,
    ) {
        if network == ATTACHMENTS || self.rolled_back {
            return;
        }
        for at in keys {
            let winner = self.shelves.get(&network).and_then(|shelf| shelf.counted(&at));
            let superseded = winner.is_some_and(|winner| winner.owner != self.node);
            if superseded && self.owns(network, &at) {
                self.write(network, at, None, now).unwrap_or_else(|error| {
                    unreachable!("a tombstone always fits its owner's log: {error}")
                });
            }
        }
    }

    /// Whether this node has a live record for the key.
    fn owns(&self, network: NetworkId, at: &EntryKey) -> bool {
        let log = self.shelves.get(&network).and_then(|shelf| shelf.log(self.node));
        log.and_then(|log| log.held(at)).is_some_and(|held| held.value.is_some())
    }

    /// The record that counts, unless its owner is hidden.
    fn shown(&self, network: NetworkId, at: &EntryKey) -> Option<Counted> {
        let counted = self.shelves.get(&network)?.counted(at)?;
        (!self.peers.is_hidden(counted.owner)).then_some(counted)
    }

    pub(crate) fn readable(&self, network: NetworkId) -> Option<&Shelf> {
        let readable = network != ATTACHMENTS && self.is_attached(network);
        self.shelves.get(&network).filter(|_| readable)
    }

    fn writable(
        &self,
        network: NetworkId,
        table: &str,
        key: &str,
        value_len: usize,
    ) -> Result<EntryKey, TableError> {
        if self.rolled_back {
            return Err(TableError::RolledBack(self.node));
        }
        if !self.is_attached(network) {
            return Err(TableError::NotAttached(network));
        }
        let bounds = [
            ("table name", table.len(), self.limits.table_name_bytes),
            ("key", key.len(), self.limits.key_bytes),
            ("value", value_len, self.limits.value_bytes),
        ];
        for (what, size, bound) in bounds {
            if size > bound {
                return Err(TableError::TooLarge { what, size, bound });
            }
        }
        Ok(EntryKey::new(table, key))
    }
}

pub(crate) fn to_entry(network: NetworkId, at: &EntryKey, counted: Counted) -> Entry {
    let Counted { owner, seq, stamp, value } = counted;
    Entry { network, table: at.table.clone(), key: at.key.clone(), value, owner, seq, stamp }
}
