//! What an onlooker who sees all hosts knows: the invariants that hold after each event.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weft_api::{Definition, EndpointId, NetworkId, Space, Vni, Write};

use super::host::Endpoint;

/// Counts that show that a run did something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Endpoints whose record was committed.
    pub endpoints: u64,
    /// Networks that came into force.
    pub networks: u64,
    /// Networks deleted, on all hosts together.
    pub deletes: u64,
    /// Agents crashed.
    pub crashes: u64,
    /// Commits lost by a crash, since nobody had been told.
    pub commits_lost: u64,
    /// Datagrams lost.
    pub lost: u64,
    /// Datagrams that arrived twice.
    pub duplicated: u64,
    /// Datagrams that a later one of the same pair overtook.
    pub overtaken: u64,
    /// Datagrams that a cut stopped.
    pub cut: u64,
    /// Nodes that left.
    pub left: u64,
    /// Nodes that were forgotten.
    pub forgotten: u64,
    /// Events carried out.
    pub events: u64,
}

/// The onlooker's book.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) tally: Tally,
    bound: BTreeMap<(NetworkId, IpAddr), EndpointId>,
    vnis: BTreeMap<Vni, NetworkId>,
}

impl Ledger {
    /// Takes note of a committed write: no address is bound to two endpoints.
    pub(super) fn commit(&mut self, write: &Write, undo: &Write) -> Result<(), String> {
        if write.space != Space::Controller {
            return Ok(());
        }
        let read = |value: &[u8]| -> Endpoint {
            serde_json::from_slice(value).expect("written by this simulator")
        };
        if let Some(gone) = undo.value.as_deref().map(read) {
            self.unbind(&gone);
        }
        if let Some(new) = write.value.as_deref().map(read) {
            self.tally.endpoints += 1;
            let key = (new.network, new.address.ip());
            if let Some(other) = self.bound.insert(key, new.id)
                && other != new.id
            {
                return Err(format!("{} is bound to {other} and {}", new.address, new.id));
            }
        }
        Ok(())
    }

    /// Takes note of a host that is forgotten: its endpoints run no more, and if they do others may
    /// have their addresses.
    pub(super) fn forget(&mut self, endpoints: impl Iterator<Item = Endpoint>) {
        self.tally.forgotten += 1;
        endpoints.for_each(|endpoint| self.unbind(&endpoint));
    }

    fn unbind(&mut self, gone: &Endpoint) {
        let key = (gone.network, gone.address.ip());
        if self.bound.get(&key) == Some(&gone.id) {
            self.bound.remove(&key);
        }
    }

    /// Takes note of a network in force: no VNI belongs to two, ever.
    pub(super) fn define(&mut self, definition: &Definition) -> Result<(), String> {
        for subnet in &definition.subnets {
            let of = *self.vnis.entry(subnet.vni).or_insert(definition.id);
            if of != definition.id {
                return Err(format!(
                    "VNI {} belongs to networks {of} and {}",
                    subnet.vni, definition.id
                ));
            }
        }
        Ok(())
    }
}
