//! Networks: defined and deleted by claims, read from facts.

use std::time::Instant;

use weft_api::{Definition, NetworkId};

use crate::claims::{ClaimBody, ClaimId, Origin};
use crate::db::{NetworkDb, parts};

impl NetworkDb {
    /// Claims a network for the whole cluster; its stamp is set here. `origins` says which of its
    /// subnets the user named. Ends with [`Output::Claim`](crate::Output::Claim).
    pub fn define(
        &mut self,
        definition: Definition,
        origins: Vec<Origin>,
        now: Instant,
    ) -> ClaimId {
        self.submit(ClaimBody::Define { definition, origins }, now)
    }

    /// Claims that a network be gone for ever. Ends with [`Output::Claim`](crate::Output::Claim).
    pub fn undefine(&mut self, network: NetworkId, now: Instant) -> ClaimId {
        self.submit(ClaimBody::Delete(network), now)
    }

    pub(super) fn submit(&mut self, body: ClaimBody, now: Instant) -> ClaimId {
        let Self { claims, membership, sync, definitions, in_use, keyring, .. } = self;
        let view = parts::PartsView { membership, sync, definitions, in_use, keyring };
        let id = claims.submit(body, &view, now);
        self.settle(now);
        id
    }

    /// Says that this node has endpoints in a network, so that it is not deleted.
    pub fn hold_network(&mut self, network: NetworkId) {
        self.in_use.insert(network);
    }

    /// Says that this node's last endpoint in a network is gone.
    pub fn release_network(&mut self, network: NetworkId) {
        self.in_use.remove(&network);
    }

    /// Returns the networks in force, by id.
    pub fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.iter()
    }

    /// Returns a network in force.
    pub fn definition(&self, network: NetworkId) -> Option<&Definition> {
        self.definitions.get(network)
    }

    /// Returns the network in force that has a name.
    pub fn definition_by_name(&self, name: &str) -> Option<&Definition> {
        self.definitions.by_name(name)
    }

    /// Tells whether a network was deleted.
    pub fn is_deleted(&self, network: NetworkId) -> bool {
        self.definitions.is_deleted(network)
    }

    /// Tells whether a network takes no new endpoints, because another one that was defined in
    /// the other half of a split has its name or pool.
    pub fn is_frozen(&self, network: NetworkId) -> bool {
        self.definitions.is_frozen(network)
    }

    /// Returns the network that keeps the name or pool of a frozen one.
    pub fn frozen_by(&self, network: NetworkId) -> Option<&Definition> {
        self.definitions.frozen_by(network)
    }

    /// Tells whether a delete is under way: no attach, no allocation there until it ends.
    pub fn is_barred(&self, network: NetworkId) -> bool {
        self.claims.is_barred(network)
    }
}
