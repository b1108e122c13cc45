//! Endpoints: their names and addresses, apart from any sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use weft_api::control::{
    AttachRequest, ControlError, DetachRequest, EndpointCreate, EndpointJoin, EndpointResource,
    ListFilter,
};
use weft_api::driver::{Driver, Interface, Options};
use weft_api::{Definition, EndpointId, Mac, NetworkId, Stamp, Write};

use super::inventory::{AllocatedBy, Claim, Container, Endpoint, EngineEndpoint, Standing};
use super::{Controller, driver_error};
use crate::control::{Answer, EndpointRef, NetworkRef, resolve};
use crate::overlay_driver::options::STAMP;

mod addresses;

use addresses::{Allocated, Origin, Wanted, wanted_addresses};

/// The table of endpoint names. Key: a name; value: the endpoint's id in text. A name is refused
/// while an entry of any node has it.
pub(super) const NAMES_TABLE: &str = "endpoint_names";

/// Longest name of an endpoint, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// An endpoint about to be made.
pub(super) struct Draft {
    pub(super) id: EndpointId,
    pub(super) name: String,
    /// At most one of each family.
    pub(super) addresses: Vec<IpNetwork>,
    pub(super) mac: Option<Mac>,
    pub(super) options: BTreeMap<String, String>,
    pub(super) engine: Option<EngineEndpoint>,
    pub(super) container: Option<Container>,
    /// What becomes durable together with it.
    pub(super) also: Vec<Write>,
}

/// What is asked of an endpoint to be made.
pub(super) struct Making {
    pub(super) request: EndpointCreate,
    /// Where addresses that nobody asked for come from, at most one range of each family; without
    /// one, the network's.
    pub(super) ranges: Vec<IpNetwork>,
    /// What becomes of a family of which no address is asked for.
    pub(super) unasked: Unasked,
    /// Whose interface it is to be.
    pub(super) container: Option<Container>,
}

impl Making {
    fn of(request: EndpointCreate) -> Self {
        Self { request, ranges: Vec::new(), unasked: Unasked::Given, container: None }
    }
}

/// What becomes of a family of which no address is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unasked {
    /// The endpoint gets any.
    Given,
    /// The endpoint gets none.
    LeftOut,
}

/// An endpoint under way that has an id and a name.
struct Begun<'d> {
    id: EndpointId,
    name: String,
    wanted: Wanted<'d>,
    making: Making,
    /// Addresses asked for that linger on this node.
    lingering: Vec<Claim>,
}

impl Controller {
    pub(super) async fn list_endpoints(
        &self,
        network: Option<NetworkRef>,
        filter: ListFilter,
    ) -> Answer<Vec<EndpointResource>> {
        let only = match network {
            Some(network) => Some(self.definition(&network).await?.id),
            None => None,
        };
        let mut endpoints: Vec<_> = self
            .inventory()
            .endpoints()
            .filter(|endpoint| only.is_none_or(|network| endpoint.network == network))
            .filter(|endpoint| filter.matches(&endpoint.id.to_string(), &endpoint.name))
            .map(Endpoint::resource)
            .collect();
        endpoints
            .sort_by(|one, other| (&one.network, &one.name).cmp(&(&other.network, &other.name)));
        Ok(endpoints)
    }

    /// Finds an endpoint of this node by id, prefix, name, or `NETWORK/NAME`.
    pub(super) async fn find_endpoint(
        &self,
        network: Option<&NetworkRef>,
        endpoint: &EndpointRef,
    ) -> Answer<Endpoint> {
        let (in_text, name) = endpoint.parts();
        let only = match network.or(in_text.as_ref()) {
            Some(network) => Some(self.definition(network).await?.id),
            None => None,
        };
        let inventory = self.inventory();
        let candidates =
            inventory.endpoints().filter(|e| only.is_none_or(|network| e.network == network));
        resolve("endpoint", name, candidates, |e| (e.id.to_string(), e.name.clone())).cloned()
    }

    /// Refuses new endpoints in a network that lost its name or pool when two halves met.
    pub(super) async fn check_thawed(&self, definition: &Definition) -> Answer<()> {
        let id = definition.id;
        if !self.node(move |node, _| node.db().is_frozen(id)).await? {
            return Ok(());
        }
        Err(ControlError::forbidden(format!(
            "network `{}` is frozen: another network has its name or pool since two halves of \
             the cluster met",
            definition.name
        ))
        .with_hint("use the other network, or delete one of the two; `weft doctor` names them"))
    }

    pub(super) async fn make_endpoint(
        &self,
        network: &NetworkRef,
        request: EndpointCreate,
    ) -> Answer<Endpoint> {
        let definition = self.definition(network).await?;
        self.make_endpoint_in(&definition, Making::of(request)).await
    }

    pub(super) async fn make_endpoint_in(
        &self,
        definition: &Definition,
        making: Making,
    ) -> Answer<Endpoint> {
        if self.leaving.is_under_way() {
            return Err(ControlError::unavailable("this node is leaving its cluster")
                .with_hint("make the endpoint on another node"));
        }
        let network = definition.id;
        self.check_thawed(definition).await?;
        let wanted = wanted_addresses(definition, &making)?;
        if let Some(mac) = making.request.mac
            && !mac.is_unicast()
        {
            return Err(ControlError::invalid(format!(
                "MAC address `{mac}` is not one interface's"
            )));
        }
        let (_turns, lingering) = self.lingering_for(definition, &making).await;
        let id = match lingering.first() {
            Some(claim) => claim.endpoint,
            None => EndpointId::from_bytes(
                crate::identity::random().map_err(|e| ControlError::internal(e.to_string()))?,
            ),
        };
        let name = self.reserve_name(network, id, &making)?;
        let begun = Begun { id, name, wanted, making, lingering };
        let made = self.make_reserved(definition, &begun).await;
        match &made {
            Ok(_) => {
                let mut inventory = self.inventory();
                for claim in &begun.lingering {
                    inventory.remove_claim(network, claim.address.ip());
                }
            }
            Err(_) => {
                self.inventory().unreserve(network, &begun.name);
                let _turn = self.lock_network(network).await;
                self.stop_using(definition).await;
            }
        }
        made
    }

    /// Finds the addresses asked for that linger here since a container of before gave them back;
    /// whoever else comes for one of them waits.
    async fn lingering_for(
        &self,
        definition: &Definition,
        making: &Making,
    ) -> (Vec<tokio::sync::OwnedMutexGuard<()>>, Vec<Claim>) {
        if making.container.is_none() {
            return (Vec::new(), Vec::new());
        }
        let asked: BTreeSet<IpAddr> = making.request.addresses.iter().copied().collect();
        let (mut turns, mut lingering) = (Vec::new(), Vec::<Claim>::new());
        for address in asked {
            turns.push(self.lock_address(definition.id, address).await);
            let claim = self.inventory().claim(definition.id, address).cloned();
            let Some(claim) = claim.filter(is_free) else {
                continue;
            };
            // One that lingers for another endpoint's id is refused as taken.
            if lingering.first().is_none_or(|first| first.endpoint == claim.endpoint) {
                lingering.push(claim);
            }
        }
        (turns, lingering)
    }

    /// Takes a name on this node. A container's id is known here alone, so its endpoint's name is
    /// for people and not the whole network's.
    fn reserve_name(&self, network: NetworkId, id: EndpointId, making: &Making) -> Answer<String> {
        let plain = format!("ep-{}", id.short());
        let mut inventory = self.inventory();
        if let Some(container) = &making.container {
            let name = container.name();
            if check_name(&name).is_ok() && inventory.reserve(network, &name).is_ok() {
                return Ok(name);
            }
        }
        let name = making.request.name.clone().unwrap_or(plain);
        check_name(&name)?;
        inventory.reserve(network, &name).map_err(|taken| {
            ControlError::conflict(taken.to_string()).with_hint("take another --name")
        })?;
        Ok(name)
    }

    async fn make_reserved(&self, definition: &Definition, begun: &Begun<'_>) -> Answer<Endpoint> {
        let driver = {
            let _turn = self.lock_network(definition.id).await;
            self.use_network(definition).await?
        };
        if begun.making.container.is_some() {
            return self.make_named(driver, definition, begun).await;
        }
        self.claim_name(definition, begun.id, &begun.name).await?;
        let made = self.make_named(driver, definition, begun).await;
        if made.is_err() {
            self.release_name(definition.id, &begun.name).await;
        }
        made
    }

    async fn make_named(
        &self,
        driver: Arc<dyn Driver>,
        definition: &Definition,
        begun: &Begun<'_>,
    ) -> Answer<Endpoint> {
        let id = begun.id;
        let ipam = self.ipam_of(definition).await?;
        self.ensure_pools(definition, &ipam).await?;
        let mut mac = begun.making.request.mac;
        if mac.is_none() && ipam.capability.requires_mac_address {
            mac = Some(random_mac()?);
        }
        let allocated = self.allocate(&*ipam.driver, definition, begun, mac).await?;
        let _turn = self.foreign_endpoint_turn(id).await;
        let made = self.make_allocated(driver, definition, begun, mac, &allocated).await;
        if made.is_err() {
            if ipam.driver.is_built_in() {
                self.give_back(&*ipam.driver, &allocated).await;
            }
            if !self.settle_endpoint_in_turn(id).await {
                self.foreign.wake();
            }
        }
        made
    }

    /// Takes a name in the whole network, as far as this node has heard of it.
    async fn claim_name(&self, definition: &Definition, id: EndpointId, name: &str) -> Answer<()> {
        let network = definition.id;
        let key = name.to_owned();
        let value = id.to_string().into_bytes();
        // A crash left it, and it is yet to be deleted.
        let is_orphan = self.orphans().has_name(network, name);
        let taken = self
            .node(move |node, now| {
                let own = node.id();
                let standing = node.db().entry(network, NAMES_TABLE, &key);
                let created = node.with_db(now, |db| {
                    if is_orphan && standing.is_some_and(|entry| entry.owner == own) {
                        db.update_entry(network, NAMES_TABLE, &key, value, now)
                    } else {
                        db.create_entry(network, NAMES_TABLE, &key, value, now)
                    }
                });
                let owner = node.db().entry(network, NAMES_TABLE, &key).map(|entry| entry.owner);
                match created {
                    Err(weft_networkdb::TableError::Exists { .. }) => Ok(owner),
                    Err(error) => Err(super::table_error(error)),
                    Ok(()) => Ok(None),
                }
            })
            .await??;
        let Some(owner) = taken else { return Ok(()) };
        let owner = self.node_names().await.remove(&owner).unwrap_or_else(|| owner.short());
        Err(ControlError::conflict(format!(
            "endpoint `{name}` exists already in network `{}`, on node `{owner}`",
            definition.name
        ))
        .with_hint("take another --name"))
    }

    async fn release_name(&self, network: weft_api::NetworkId, name: &str) {
        let key = name.to_owned();
        let released = self
            .node(move |node, now| {
                node.with_db(now, |db| db.delete_entry(network, NAMES_TABLE, &key, now))
            })
            .await;
        if let Ok(Err(error)) = released {
            // Another node's entry of that name superseded this one.
            tracing::debug!(%error, name, "name not released");
        }
    }

    async fn make_allocated(
        &self,
        driver: Arc<dyn Driver>,
        definition: &Definition,
        begun: &Begun<'_>,
        mac: Option<Mac>,
        allocated: &[Allocated],
    ) -> Answer<Endpoint> {
        let id = begun.id;
        let held = allocated.iter().map(|one| (one.pool_id.clone(), one.address)).collect();
        self.foreign_endpoint_begins(definition, id, &driver, held).await?;
        if definition.ipam != crate::ipam_driver::NAME {
            let given: Vec<IpAddr> = allocated.iter().map(|one| one.address.ip()).collect();
            self.check_unique(definition, &given).await?;
        }
        let draft = Draft {
            id,
            name: begun.name.clone(),
            addresses: allocated.iter().map(|one| one.address).collect(),
            mac,
            options: begun.making.request.options.clone(),
            engine: None,
            container: begun.making.container.clone(),
            also: begun.lingering.iter().map(Claim::removal).collect(),
        };
        self.make_drafted(driver, definition, draft).await
    }

    /// Makes an endpoint whose name and addresses are settled.
    pub(super) async fn make_drafted(
        &self,
        driver: Arc<dyn Driver>,
        definition: &Definition,
        draft: Draft,
    ) -> Answer<Endpoint> {
        let id = draft.id;
        let family = |v4: bool| draft.addresses.iter().copied().find(|a| a.is_ipv4() == v4);
        let mut interface =
            Interface { mac: draft.mac, address: family(true), address_ipv6: family(false) };
        let stamp = self
            .node(move |node, _| Stamp { lamport: node.db().lamport(), node: node.id() })
            .await?;
        let endpoint = Endpoint {
            id,
            network: definition.id,
            network_name: definition.name.clone(),
            name: draft.name,
            address: interface.address,
            address_ipv6: interface.address_ipv6,
            mac: None,
            stamp,
            options: draft.options,
            sandbox: None,
            stale: false,
            engine: draft.engine,
            container: draft.container,
        };
        let options = if driver.is_built_in() {
            endpoint_options(&endpoint)
        } else {
            driver_options(&endpoint)
        };
        driver
            .create_endpoint(definition.id, id, &mut interface, &options)
            .await
            .map_err(driver_error)?;
        let Interface { mac, address, address_ipv6 } = interface;
        let endpoint = Endpoint { mac, address, address_ipv6, ..endpoint };
        let mut writes = draft.also;
        writes.push(endpoint.to_write());
        if let Err(error) = self.core(move |core, _| core.persist(writes)).await {
            drop(driver.delete_endpoint(definition.id, id).await);
            return Err(error);
        }
        self.inventory().put(endpoint.clone());
        Ok(endpoint)
    }

    /// Deletes an endpoint that is in no sandbox.
    pub(super) async fn remove_endpoint(&self, id: EndpointId) -> Answer<()> {
        let _turn = self.locks.lock(format!("endpoint/{id}")).await;
        let endpoint = self.current(id)?;
        self.end_endpoint(endpoint).await
    }

    pub(super) async fn end_endpoint(&self, endpoint: Endpoint) -> Answer<()> {
        if let Some(sandbox) = &endpoint.sandbox {
            return Err(ControlError::forbidden(format!(
                "endpoint `{}` is joined to sandbox `{}`",
                endpoint.name, sandbox.key
            ))
            .with_hint("`weft endpoint leave` first, or `weft detach` to do both"));
        }
        let network = endpoint.network;
        let definition = self.node(move |node, _| node.db().definition(network).cloned()).await?;
        if !self.foreign.drives(endpoint.id)
            && let Ok(driver) = self.driver_for(definition.as_ref()).await
            && let Err(error) = driver.driver.delete_endpoint(network, endpoint.id).await
        {
            tracing::warn!(endpoint = %endpoint.id, %error, "driver did not delete the endpoint");
        }
        // The record goes first. A crash after it leaves an address and a name without an
        // endpoint, which the next start gives back; a crash after the address would leave an
        // endpoint whose address others get.
        let id = endpoint.id;
        let left = Self::claims_left(&endpoint);
        let mut writes = vec![Endpoint::removal(id)];
        writes.extend(left.iter().map(Claim::to_write));
        self.core(move |core, _| core.persist(writes)).await?;
        if endpoint.is_known_outside() {
            // Before the claims: whoever takes one up makes an endpoint of the same id.
            self.inventory().remove(id);
        }
        left.into_iter().for_each(|claim| self.inventory().put_claim(claim));
        self.engines.notify_one();
        if let Some(definition) = &definition
            && definition.ipam == crate::ipam_driver::NAME
            && let Ok(ipam) = self.ipam_of(definition).await
        {
            self.give_back(&*ipam.driver, &self.allocated_of(definition, &endpoint)).await;
        }
        if !endpoint.is_known_outside() {
            self.release_name(network, &endpoint.name).await;
            self.inventory().remove(id);
        }
        self.settle_endpoint(id).await;
        if endpoint.container.is_some() {
            self.linger(network);
            return Ok(());
        }
        let _turn = self.lock_network(network).await;
        self.stop_using_with(network, definition.as_ref()).await;
        Ok(())
    }

    /// The addresses that end with an endpoint: all but those a Swarm's leader allocated, and those
    /// that linger for whoever names them again.
    fn allocated_of(&self, definition: &Definition, endpoint: &Endpoint) -> Vec<Allocated> {
        let borrowed = endpoint.engine.as_ref().map_or(&[][..], |engine| &engine.borrowed);
        let stays = |address: &IpNetwork| {
            borrowed.contains(&address.ip()) || endpoint.named().contains(&address.ip())
        };
        endpoint
            .address
            .into_iter()
            .chain(endpoint.address_ipv6)
            .filter(|address| !stays(address))
            .filter_map(|address| {
                let subnet = definition.subnets.iter().find(|s| s.pool.contains(address.ip()))?;
                let pool_id = self.pool_id(definition, subnet);
                Some(Allocated { pool_id, address, origin: Origin::Ipam })
            })
            .collect()
    }

    pub(super) async fn attach_endpoint(&self, request: AttachRequest) -> Answer<EndpointResource> {
        let network = NetworkRef::new(request.network.clone());
        let (create, join) = request.into_steps();
        // An address that was given back rests: what can be refused is refused before one is taken.
        super::sandboxes::check_join(&join).await?;
        let endpoint = self.make_endpoint(&network, create).await?;
        self.join_made(endpoint, join).await.map(|joined| joined.resource())
    }

    /// Joins an endpoint that was made for it; ends it when that fails.
    pub(super) async fn join_made(
        &self,
        endpoint: Endpoint,
        join: EndpointJoin,
    ) -> Answer<Endpoint> {
        match self.enter_sandbox(endpoint.clone(), join).await {
            Ok(joined) => Ok(joined),
            Err(error) => {
                if let Err(undo) = self.end_endpoint(endpoint).await {
                    tracing::warn!(error = %undo, "endpoint of a failed attach was not removed");
                }
                Err(error)
            }
        }
    }

    pub(super) async fn detach_endpoint(&self, request: DetachRequest) -> Answer<()> {
        let endpoint = self.find_endpoint(None, &EndpointRef::new(request.endpoint)).await?;
        let _turn = self.locks.lock(format!("endpoint/{}", endpoint.id)).await;
        let endpoint = self.leave_locked(endpoint.id, None).await?;
        self.end_endpoint(endpoint).await
    }
}

/// Tells whether an address lingers that this node allocated.
fn is_free(claim: &Claim) -> bool {
    claim.standing == Standing::Lingering && claim.by == AllocatedBy::ThisNode
}

fn check_name(name: &str) -> Answer<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(fits) {
        return Err(ControlError::invalid(format!("endpoint name `{name}` is not allowed"))
            .with_hint(format!("use 1 to {NAME_BYTES_MAX} letters, digits, `_`, `.` and `-`")));
    }
    Ok(())
}

/// A MAC address of this endpoint alone, locally administered.
fn random_mac() -> Answer<Mac> {
    let mut octets: [u8; 6] =
        crate::identity::random().map_err(|e| ControlError::internal(e.to_string()))?;
    octets[0] = octets[0] & 0xfc | 2;
    Ok(Mac::from_bytes(octets))
}

/// What the user of an endpoint gave for its driver.
pub(super) fn driver_options(endpoint: &Endpoint) -> Options {
    endpoint
        .options
        .iter()
        .map(|(key, value)| (key.clone(), serde_json::Value::String(value.clone())))
        .collect()
}

/// The contract's options of an endpoint: what its user gave and when it was allocated.
pub(super) fn endpoint_options(endpoint: &Endpoint) -> Options {
    let mut options = driver_options(endpoint);
    let stamp = serde_json::to_value(endpoint.stamp).expect("a stamp is a plain record");
    options.insert(STAMP.to_owned(), stamp);
    options
}
