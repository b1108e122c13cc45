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
        let key = (write.space, write.key);
        match write.value {
            Some(value) => self.records.insert(key, value),
            None => self.records.remove(&key),
        };
    }

    /// Returns all records, in order.
    pub fn records(&self) -> Vec<(Space, Vec<u8>, Vec<u8>)> {
        self.records
            .iter()
            .map(|((space, key), value)| (*space, key.clone(), value.clone()))
            .collect()
    }
}
