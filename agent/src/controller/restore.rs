//! Start and end of a membership, as the controller lives them: adoption of what an earlier start
//! left in the kernel, and what follows when the node leaves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use weft_api::control::ControlError;
use weft_api::{Definition, EndpointId};
use weft_overlay::netlink::connection::Connection;
use weft_overlay::netlink::{Namespace, link, namespace};

use super::Controller;
use super::endpoints::endpoint_options;
use super::inventory::{Endpoint, PlacedBy, Sandbox};
use super::sandboxes::{Join, host_boot, is_host};
use crate::control::Answer;
use crate::ipam_driver;
use crate::overlay_driver::NETWORK_TYPE;

/// After facts are in step the tables of the networks follow; entries that nobody has named by
/// then are strays.
const TABLES_SETTLE: Duration = Duration::from_secs(10);

/// Attempts to join a sandbox that is there, at start.
const JOIN_ATTEMPTS: u32 = 5;
/// First pause between two of them; doubles.
const JOIN_RETRY: Duration = Duration::from_millis(200);

/// What a restore found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestoreOutcome {
    /// Endpoints taken up again, in their sandboxes or not.
    pub endpoints: usize,
    /// Endpoints whose sandbox was gone.
    pub stale: usize,
    /// Addresses that nothing uses any more and that were given back, and entries and attachments
    /// that will be once the tables are in step.
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
        let restored = self.inventory().restore(&records);
        restored.and_then(|()| self.foreign.restore(&records)).map_err(|error| {
            weft_api::control::ControlError::internal(format!(
                "a record of the controller does not decode: {error}"
            ))
        })?;
        let plugins = self.node(|node, _| {
            let ipams = node.db().definitions().map(|definition| definition.ipam.clone());
            ipams.filter(|ipam| ipam != ipam_driver::NAME).collect()
        });
        self.foreign.expect(plugins.await.unwrap_or_default());
        let endpoints: Vec<Endpoint> = self.inventory().endpoints().cloned().collect();
        self.note_earlier_boot(&endpoints).await;
        // Before the first join makes or unmakes anything.
        let lost = self.lost_sandboxes(&endpoints).await;
        self.restore_holds().await?;
        let mut outcome =
            RestoreOutcome { endpoints: endpoints.len(), ..RestoreOutcome::default() };
        for endpoint in endpoints {
            let id = endpoint.id;
            match self.restore_endpoint(endpoint, &lost).await {
                Ok(stale) => outcome.stale += usize::from(stale),
                Err(error) => tracing::warn!(endpoint = %id, %error, "endpoint was not restored"),
            }
        }
        outcome.orphans = self.find_orphans().await.unwrap_or_default();
        Ok(outcome)
    }

    /// Lets the data path be compared with the plan: what was to be restored is.
    pub async fn begin_reconciling(&self) {
        self.overlay.set_restored().await;
    }

    /// Returns whether the endpoint's sandbox is gone.
    async fn restore_endpoint(
        &self,
        mut endpoint: Endpoint,
        lost: &BTreeSet<EndpointId>,
    ) -> Answer<bool> {
        let network = endpoint.network;
        let definition = self.node(move |node, _| node.db().definition(network).cloned()).await?;
        let Some(definition) = definition else {
            tracing::warn!(endpoint = %endpoint.id, %network, "its network is deleted");
            return Ok(endpoint.stale);
        };
        if self.foreign.drives(endpoint.id) {
            let sandbox = endpoint.sandbox.take();
            endpoint.stale |= sandbox.is_some();
            endpoint.sandbox = self.restore_foreign(&definition, &endpoint, sandbox).await?;
            endpoint.stale &= endpoint.sandbox.is_none();
            let stale = endpoint.stale;
            let write = endpoint.to_write();
            self.core(move |core, _| core.persist([write])).await?;
            self.inventory().put(endpoint);
            return Ok(stale);
        }
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
        let adopted = if lost.contains(&endpoint.id) {
            let key = &sandbox.key;
            Err(ControlError::not_found(format!("namespace `{key}` is gone or another")))
        } else {
            self.join_again(&definition, &endpoint, sandbox).await
        };
        let stale = match adopted {
            Ok(joined) => {
                self.publish_again(&joined).await;
                endpoint = joined;
                false
            }
            Err(error) => {
                let id = endpoint.id;
                tracing::info!(endpoint = %id, %error, "sandbox vanished while the agent was down");
                endpoint.stale = true;
                self.orphan_entries(network, entries).await?;
                true
            }
        };
        let write = endpoint.to_write();
        self.core(move |core, _| core.persist([write])).await?;
        self.inventory().put(endpoint);
        Ok(stale)
    }

    /// Publishes the ports of an endpoint on this host, as they were.
    async fn publish_again(&self, endpoint: &Endpoint) {
        let Some(ports) = endpoint.engine.as_ref().and_then(|of| of.published.clone()) else {
            return;
        };
        if let Err(error) = self.program_ports(endpoint, ports).await {
            tracing::warn!(endpoint = %endpoint.id, %error, "ports were not published again");
        }
    }

    /// Joins a sandbox of an earlier start. What fails while the namespace is there is tried
    /// again: an endpoint is not given up for a kernel that was busy.
    async fn join_again(
        &self,
        definition: &Definition,
        endpoint: &Endpoint,
        sandbox: Sandbox,
    ) -> Answer<Endpoint> {
        let mut pause = JOIN_RETRY;
        for _ in 1..JOIN_ATTEMPTS {
            match self.join_driver(definition, endpoint.clone(), sandbox.clone(), Join::Again).await
            {
                Err(error)
                    if sandbox.placed_by == PlacedBy::Driver
                        && Namespace::open(&sandbox.key).is_ok() =>
                {
                    tracing::warn!(endpoint = %endpoint.id, %error, "sandbox not joined yet");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                settled => return settled,
            }
        }
        self.join_driver(definition, endpoint.clone(), sandbox, Join::Again).await
    }

    /// Finds the endpoints whose sandbox is gone or another's. All are looked at before any is
    /// joined: a join that failed would take its network down, and others' interfaces with it.
    async fn lost_sandboxes(&self, endpoints: &[Endpoint]) -> BTreeSet<EndpointId> {
        let standing = self.standing_networks();
        let mut lost = BTreeSet::new();
        for endpoint in endpoints {
            if let Some(sandbox) = &endpoint.sandbox
                && is_lost(endpoint, sandbox, &standing).await
            {
                lost.insert(endpoint.id);
            }
        }
        lost
    }

    /// Names the namespaces of networks that outlived the last stop.
    fn standing_networks(&self) -> BTreeSet<String> {
        match namespace::list_pinned(self.settings.run_dir.join("netns")) {
            Ok(names) => names.into_iter().collect(),
            Err(error) => {
                tracing::warn!(%error, "namespaces of networks were not listed");
                BTreeSet::new()
            }
        }
    }

    /// Facts are in step: this host's routes are told, and soon strays may be removed.
    pub(super) async fn became_ready(self: &Arc<Self>) {
        self.publish_host_routes().await;
        let (controller, core) = (self.clone(), self.core.clone());
        let Ok(ready) = core.call(|core, _| core.identity().map(|identity| identity.node)).await
        else {
            return;
        };
        tokio::spawn(async move {
            tokio::time::sleep(TABLES_SETTLE).await;
            // A node that left meanwhile, or is another one, has not heard of its peers yet.
            let is_still = || async {
                let now = core.call(|core, _| core.identity().map(|identity| identity.node)).await;
                now.is_ok_and(|now| now.is_some() && now == ready)
            };
            if !is_still().await {
                return;
            }
            controller.overlay.set_synced(true).await;
            // Nobody can have told this node what its disk lacks while nobody answers.
            while controller.node(|node, _| node.is_cut_off()).await.unwrap_or(true) {
                tokio::time::sleep(TABLES_SETTLE).await;
                if !is_still().await {
                    return;
                }
            }
            controller.tables_settled().await;
        });
    }

    /// The node is in no cluster any more: its endpoints end with its membership.
    pub(super) async fn membership_ended(&self) {
        self.overlay.set_synced(false).await;
        self.registrations.clear();
        self.forget_orphans();
        let endpoints = self.inventory().clear();
        self.foreign.wake();
        let Some(driver) = self.registry.registered_network(NETWORK_TYPE) else { return };
        let mut networks: BTreeSet<_> = self.lingering.take_all().into_iter().collect();
        for endpoint in endpoints {
            if self.foreign.drives(endpoint.id) {
                continue;
            }
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
    pub(crate) async fn publish_host_routes(&self) {
        let routes = crate::host_routes::read().await;
        let published =
            self.node(move |node, now| crate::host_routes::publish(node, &routes, now)).await;
        if let Ok(Err(error)) = published {
            tracing::warn!(%error, "host routes were not told");
        }
    }
}

/// Tells whether an endpoint's sandbox is gone, or another stands in its place. A path is soon
/// somebody else's, one with a process's number in it most of all, and so is an inode's number.
/// What tells is the interface: while its network's namespace stands, it goes only with the
/// sandbox.
async fn is_lost(endpoint: &Endpoint, sandbox: &Sandbox, standing: &BTreeSet<String>) -> bool {
    let boots = sandbox.boot.as_ref().zip(host_boot());
    if boots.is_some_and(|(then, now)| *then != now) {
        return true;
    }
    if sandbox.placed_by == PlacedBy::Engine {
        // Its path is the engine's affair; what is left of the interface is its port in the
        // network's namespace, which the join looks for.
        return !standing.contains(&weft_overlay::names::namespace(endpoint.network));
    }
    let Ok(namespace) = Namespace::open(&sandbox.key) else { return true };
    if is_host(&namespace) {
        return true;
    }
    if !standing.contains(&weft_overlay::names::namespace(endpoint.network)) {
        return false;
    }
    let links = async { link::list(&mut Connection::open(&namespace).await?).await };
    links.await.is_ok_and(|links| {
        !links.iter().any(|link| link.name == sandbox.ifname || link.mac == endpoint.mac)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            id: EndpointId::from_bytes([2; 16]),
            network: weft_api::NetworkId::from_bytes([1; 16]),
            network_name: "blue".to_owned(),
            name: "web".to_owned(),
            address: None,
            address_ipv6: None,
            mac: Some("02:42:0a:80:00:02".parse().unwrap()),
            stamp: weft_api::Stamp::default(),
            options: std::collections::BTreeMap::new(),
            sandbox: None,
            stale: false,
            engine: None,
            container: None,
        }
    }

    fn sandbox(key: &std::path::Path) -> Sandbox {
        Sandbox {
            id: "1".to_owned(),
            key: key.to_str().unwrap().to_owned(),
            ifname: "eth0".to_owned(),
            default_route: true,
            gateway: None,
            gateway_ipv6: None,
            mtu: None,
            routes: Vec::new(),
            entries: Vec::new(),
            boot: host_boot(),
            placed_by: PlacedBy::Driver,
        }
    }

    #[tokio::test]
    async fn a_namespace_without_the_interface_is_another_while_its_network_stands() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web");
        let _pinned = namespace::make_pinned(&path).unwrap();
        let (endpoint, sandbox) = (endpoint(), sandbox(&path));
        let standing = BTreeSet::from([weft_overlay::names::namespace(endpoint.network)]);
        assert!(is_lost(&endpoint, &sandbox, &standing).await);
        // The network went as well, and the interface with it: it is made anew.
        assert!(!is_lost(&endpoint, &sandbox, &BTreeSet::new()).await);
        let rebooted = Sandbox { boot: Some("another".to_owned()), ..sandbox };
        assert!(is_lost(&endpoint, &rebooted, &BTreeSet::new()).await);
        namespace::unpin(&path).unwrap();
    }

    #[tokio::test]
    async fn the_hosts_own_namespace_is_no_sandbox() {
        let sandbox = sandbox(std::path::Path::new("/proc/self/ns/net"));
        assert!(is_lost(&endpoint(), &sandbox, &BTreeSet::new()).await);
    }
}
