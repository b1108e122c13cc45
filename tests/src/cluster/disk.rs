//! What a host keeps when its process ends.

use std::collections::BTreeMap;

use weft_api::{Space, Write};

/// A durable store. A clone of it is a cloned disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    records: BTreeMap<(Space, Vec<u8>), Vec<u8>>,
}

impl Disk {
    /// Carries out one write.
    pub fn apply(&mut self, write: Write) {
        let _ = self.exchange(write);
    }

    /// Carries out one write; returns the one that undoes it.
    pub fn exchange(&mut self, write: Write) -> Write {
        let Write { space, key, value } = write;
        let old = match value {
            Some(value) => self.records.insert((space, key.clone()), value),
            None => self.records.remove(&(space, key.clone())),
        };
        Write { space, key, value: old }
    }

    /// Returns the records of one space, in order.
    pub fn of(&self, space: Space) -> impl Iterator<Item = (&[u8], &[u8])> {
        let records = self.records.iter().filter(move |((there, _), _)| *there == space);
        records.map(|((_, key), value)| (key.as_slice(), value.as_slice()))
    }

    /// Returns all records, in order.
    pub fn records(&self) -> Vec<(Space, Vec<u8>, Vec<u8>)> {
        self.records
            .iter()
            .map(|((space, key), value)| (*space, key.clone(), value.clone()))
            .collect()
    }
}
