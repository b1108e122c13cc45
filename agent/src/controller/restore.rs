//! Start and end of a membership, as the controller lives them: adoption of what an earlier start
//! left in the kernel, and what follows when the node leaves.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_api::{EndpointId, NetworkId};
use weft_ipam::Purpose;

use super::Controller;
use super::endpoints::{NAMES_TABLE, endpoint_options};
use super::inventory::Endpoint;
use crate::control::Answer;
use crate::overlay_driver::NETWORK_TYPE;

/// After facts are in step the tables of the networks follow; entries that nobody has named by
/// then are strays.
const TABLES_SETTLE: Duration = Duration::from_secs(10);

/// What a restore found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestoreOutcome {
    /// Endpoints taken up again, in their sandboxes or not.
    pub endpoints: usize,
    /// Endpoints whose sandbox was gone.
    pub stale: usize,
    /// Attachments and addresses that nothing uses any more and that were given back.
    pub orphans: usize,
}

impl Controller {
    /// Takes up the endpoints of an earlier start: their networks, addresses and sandboxes. What
    /// the kernel still holds is adopted as it is.
    ///
    /// # Errors
    /// The state file does not decode, or the agent is stopping.
    pub async fn restore(&self) -> Answer<RestoreOutcome> {
        let records = self
            .core(|core, _| core.load(weft_api::Space::Controller))
            .await?
            .map_err(|error| weft_api::control::ControlError::internal(error.to_string()))?;
        self.inventory().restore(&records).map_err(|error| {
            weft_api::control::ControlError::internal(format!(
                "an endpoint record does not decode: {error}"
            ))
        })?;
        let endpoints: Vec<Endpoint> = self.inventory().endpoints().cloned().collect();
        let mut outcome =
            RestoreOutcome { endpoints: endpoints.len(), ..RestoreOutcome::default() };
        for endpoint in endpoints {
            let id = endpoint.id;
            match self.restore_endpoint(endpoint).await {
                Ok(stale) => outcome.stale += usize::from(stale),
                Err(error) => tracing::warn!(endpoint = %id, %error, "endpoint was not restored"),
            }
        }
        outcome.orphans = self.release_orphans().await.unwrap_or_default();
        Ok(outcome)
    }

    /// Returns whether the endpoint's sandbox is gone.
    async fn restore_endpoint(&self, mut endpoint: Endpoint) -> Answer<bool> {
        let network = endpoint.network;
        let definition = self.node(move |node, _| node.db().definition(network).cloned()).await?;
        let Some(definition) = definition else {
            tracing::warn!(endpoint = %endpoint.id, %network, "its network is deleted");
            return Ok(endpoint.stale);
        };
        let driver = self.use_network(&definition).await?;
        let mut interface = weft_api::driver::Interface {
            mac: endpoint.mac,
            address: endpoint.address,
            address_ipv6: endpoint.address_ipv6,
        };
        let options = endpoint_options(&endpoint);
        driver
            .create_endpoint(network, endpoint.id, &mut interface, &options)
            .await
            .map_err(super::driver_error)?;
        let Some(sandbox) = endpoint.sandbox.take() else { return Ok(endpoint.stale) };
        let entries = sandbox.entries.clone();
        let stale = match self.join_driver(&definition, endpoint.clone(), sandbox).await {
            Ok(joined) => {
                endpoint = joined;
                false
            }
            Err(error) => {
                tracing::info!(endpoint = %endpoint.id, %error, "sandbox vanished while the agent was down");
                endpoint.stale = true;
                self.drop_entries(network, entries).await?;
                true
            }
        };
        let write = endpoint.to_write();
        self.core(move |core, _| core.persist([write])).await?;
        self.inventory().put(endpoint);
        Ok(stale)
    }

    async fn drop_entries(&self, network: NetworkId, entries: Vec<(String, String)>) -> Answer<()> {
        self.node(move |node, now| {
            for (table, key) in entries {
                // Absent when the crash came before it was written.
                drop(node.with_db(now, |db| db.delete_entry(network, &table, &key, now)));
            }
        })
        .await
    }

    /// Gives back what a crash left without an endpoint: allocations, own peer entries and
    /// attachments.
    async fn release_orphans(&self) -> Answer<usize> {
        let endpoints: BTreeSet<EndpointId> =
            self.inventory().endpoints().map(|endpoint| endpoint.id).collect();
        let joined: BTreeSet<String> = self
            .inventory()
            .endpoints()
            .filter(|endpoint| endpoint.sandbox.is_some())
            .map(|endpoint| endpoint.id.to_string())
            .collect();
        let used: BTreeSet<NetworkId> =
            self.inventory().endpoints().map(|endpoint| endpoint.network).collect();
        self.node(move |node, now| {
            let mut orphans = 0;
            for (space, address, purpose) in node.ipam().endpoint_allocations() {
                if let Purpose::Endpoint(endpoint) = &purpose
                    && !endpoints.contains(endpoint)
                {
                    node.with_ipam(now, |ipam| ipam.release(space, address, &purpose, now));
                    orphans += 1;
                }
            }
            let own = node.id();
            for network in node.db().own_attachments() {
                let peers = node.db().walk_counting(network, weft_overlay::PEER_TABLE);
                let names = node.db().walk_counting(network, NAMES_TABLE);
                let stray: Vec<_> = peers
                    .into_iter()
                    .filter(|entry| !joined.contains(&*entry.key))
                    .chain(names.into_iter().filter(|entry| !named(&endpoints, &entry.value)))
                    .filter(|entry| entry.owner == own)
                    .collect();
                for entry in stray {
                    orphans += 1;
                    drop(node.with_db(now, |db| {
                        db.delete_entry(network, &entry.table, &entry.key, now)
                    }));
                }
                if !used.contains(&network) && !node.db().has_own_entries(network) {
                    orphans += 1;
                    drop(node.with_db(now, |db| db.detach(network, now)));
                }
            }
            for block in node.ipam().pending_blocks() {
                orphans += 1;
                node.with_ipam(now, |ipam| {
                    ipam.return_block(block, weft_ipam::Fate::Unused, now);
                });
            }
            orphans
        })
        .await
    }

    /// Facts are in step: this host's routes are told, and soon strays may be removed.
    pub(super) async fn became_ready(&self) {
        self.publish_host_routes().await;
        let overlay = self.overlay.clone();
        tokio::spawn(async move {
            tokio::time::sleep(TABLES_SETTLE).await;
            overlay.set_synced(true).await;
        });
    }

    /// The node is in no cluster any more: its endpoints end with its membership.
    pub(super) async fn membership_ended(&self) {
        self.overlay.set_synced(false).await;
        self.registrations.clear();
        let endpoints = self.inventory().clear();
        let Some(driver) = self.registry.network(NETWORK_TYPE) else { return };
        let mut networks = BTreeSet::new();
        for endpoint in endpoints {
            networks.insert(endpoint.network);
            if endpoint.sandbox.is_some()
                && let Err(error) = driver.driver.leave(endpoint.network, endpoint.id).await
            {
                tracing::warn!(endpoint = %endpoint.id, %error, "endpoint was not taken down");
            }
            drop(driver.driver.delete_endpoint(endpoint.network, endpoint.id).await);
        }
        for network in networks {
            drop(driver.driver.delete_network(network).await);
        }
    }

    /// Tells the cluster which routes and name servers this host has, so that default pools do
    /// not overlap them.
    pub(super) async fn publish_host_routes(&self) {
        let routes = crate::host_routes::read().await;
        let published =
            self.node(move |node, now| crate::host_routes::publish(node, &routes, now)).await;
        if let Ok(Err(error)) = published {
            tracing::warn!(%error, "host routes were not told");
        }
    }
}

/// Tells whether an entry of the names' table is that of an endpoint of this node.
fn named(endpoints: &BTreeSet<EndpointId>, value: &[u8]) -> bool {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .is_some_and(|id| endpoints.contains(&id))
}
