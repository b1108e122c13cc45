//! Endpoints: their names and addresses, apart from any sandbox.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use weft_api::control::{
    AttachRequest, ControlError, DetachRequest, EndpointCreate, EndpointResource, ListFilter,
};
use weft_api::driver::{Driver, Interface, Options};
use weft_api::ipam::{Ipam, IpamError};
use weft_api::{Definition, EndpointId, Mac, Stamp, Subnet, Write};

use super::inventory::{Claim, Endpoint, EngineEndpoint};
use super::{Controller, driver_error, ipam_error};
use crate::control::{Answer, EndpointRef, NetworkRef, resolve};
use crate::overlay_driver::options::STAMP;

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
    /// What becomes durable together with it.
    pub(super) also: Vec<Write>,
}

/// An address that was allocated for an endpoint under way.
struct Allocated {
    pool_id: String,
    address: IpNetwork,
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
        if self.leaving.is_under_way() {
            return Err(ControlError::unavailable("this node is leaving its cluster")
                .with_hint("make the endpoint on another node"));
        }
        let definition = self.definition(network).await?;
        let id = definition.id;
        self.check_thawed(&definition).await?;
        let wanted = wanted_addresses(&definition, &request.addresses)?;
        if let Some(mac) = request.mac
            && !mac.is_unicast()
        {
            return Err(ControlError::invalid(format!(
                "MAC address `{mac}` is not one interface's"
            )));
        }
        let eid = EndpointId::from_bytes(
            crate::identity::random().map_err(|e| ControlError::internal(e.to_string()))?,
        );
        let name = request.name.clone().unwrap_or_else(|| format!("ep-{}", eid.short()));
        check_name(&name)?;
        self.inventory().reserve(id, &name).map_err(|taken| {
            ControlError::conflict(taken.to_string()).with_hint("take another --name")
        })?;
        let made = self.make_reserved(&definition, eid, &name, &wanted, request).await;
        if made.is_err() {
            self.inventory().unreserve(id, &name);
            let _turn = self.lock_network(id).await;
            self.stop_using(&definition).await;
        }
        made
    }

    async fn make_reserved(
        &self,
        definition: &Definition,
        id: EndpointId,
        name: &str,
        wanted: &Wanted<'_>,
        request: EndpointCreate,
    ) -> Answer<Endpoint> {
        let driver = {
            let _turn = self.lock_network(definition.id).await;
            self.use_network(definition).await?
        };
        self.claim_name(definition, id, name).await?;
        let made = self.make_named(driver, definition, id, name, wanted, request).await;
        if made.is_err() {
            self.release_name(definition.id, name).await;
        }
        made
    }

    async fn make_named(
        &self,
        driver: Arc<dyn Driver>,
        definition: &Definition,
        id: EndpointId,
        name: &str,
        wanted: &Wanted<'_>,
        request: EndpointCreate,
    ) -> Answer<Endpoint> {
        let ipam = self.ipam_of(definition).await?;
        self.ensure_pools(definition, &ipam).await?;
        let mut request = request;
        if request.mac.is_none() && ipam.capability.requires_mac_address {
            request.mac = Some(random_mac()?);
        }
        let allocated = self.allocate(&*ipam.driver, definition, id, wanted, request.mac).await?;
        let _turn = self.foreign_endpoint_turn(id).await;
        let made = self.make_allocated(driver, definition, id, name, &allocated, request).await;
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
        let taken = self
            .node(move |node, now| {
                let created =
                    node.with_db(now, |db| db.create_entry(network, NAMES_TABLE, &key, value, now));
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
        id: EndpointId,
        name: &str,
        allocated: &[Allocated],
        request: EndpointCreate,
    ) -> Answer<Endpoint> {
        let held = allocated.iter().map(|one| (one.pool_id.clone(), one.address)).collect();
        self.foreign_endpoint_begins(definition, id, &driver, held).await?;
        if definition.ipam != crate::ipam_driver::NAME {
            let given: Vec<IpAddr> = allocated.iter().map(|one| one.address.ip()).collect();
            self.check_unique(definition, &given).await?;
        }
        let draft = Draft {
            id,
            name: name.to_owned(),
            addresses: allocated.iter().map(|one| one.address).collect(),
            mac: request.mac,
            options: request.options,
            engine: None,
            also: Vec::new(),
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

    /// Allocates one address of each family the network has, both in one segment.
    async fn allocate(
        &self,
        ipam: &dyn Ipam,
        definition: &Definition,
        id: EndpointId,
        wanted: &Wanted<'_>,
        mac: Option<Mac>,
    ) -> Answer<Vec<Allocated>> {
        let mut full = None;
        for segment in &wanted.segments {
            match self.allocate_in(ipam, definition, id, segment, wanted, mac).await {
                Ok(allocated) => return Ok(allocated),
                // The next subnet may have room; an address asked for is in one only.
                Err(IpamError::NoAvailableIps) => full = Some(IpamError::NoAvailableIps),
                Err(error) if error.kind() == weft_api::Kind::Unavailable => full = Some(error),
                Err(error) => return Err(not_allocated(error, definition, wanted)),
            }
        }
        Err(not_allocated(full.unwrap_or(IpamError::NoAvailableIps), definition, wanted))
    }

    async fn allocate_in(
        &self,
        ipam: &dyn Ipam,
        definition: &Definition,
        id: EndpointId,
        segment: &[&Subnet],
        wanted: &Wanted<'_>,
        mac: Option<Mac>,
    ) -> Result<Vec<Allocated>, IpamError> {
        let mut allocated = Vec::new();
        for subnet in segment {
            let pool_id = self.pool_id(definition, subnet);
            let options = self.address_options(definition, subnet, id, mac);
            let address = if subnet.pool.is_ipv4() { wanted.v4 } else { wanted.v6 };
            match ipam.request_address(&pool_id, address, &options).await {
                Ok((address, _)) => allocated.push(Allocated { pool_id, address }),
                Err(error) => {
                    self.give_back(ipam, &allocated).await;
                    return Err(error);
                }
            }
        }
        Ok(allocated)
    }

    async fn give_back(&self, ipam: &dyn Ipam, allocated: &[Allocated]) {
        for one in allocated {
            if let Err(error) = ipam.release_address(&one.pool_id, one.address.ip()).await {
                tracing::warn!(address = %one.address, %error, "address was not released");
            }
        }
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
        if endpoint.engine.is_some() {
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
        if endpoint.engine.is_none() {
            self.release_name(network, &endpoint.name).await;
            self.inventory().remove(id);
        }
        self.settle_endpoint(id).await;
        let _turn = self.lock_network(network).await;
        self.stop_using_with(network, definition.as_ref()).await;
        Ok(())
    }

    /// The addresses that end with an endpoint: all but those a Swarm's leader allocated, and those
    /// that linger for whoever names them again.
    fn allocated_of(&self, definition: &Definition, endpoint: &Endpoint) -> Vec<Allocated> {
        let stays = |address: &IpNetwork| {
            endpoint.engine.as_ref().is_some_and(|engine| {
                engine.borrowed.contains(&address.ip()) || engine.named.contains(&address.ip())
            })
        };
        endpoint
            .address
            .into_iter()
            .chain(endpoint.address_ipv6)
            .filter(|address| !stays(address))
            .filter_map(|address| {
                let subnet = definition.subnets.iter().find(|s| s.pool.contains(address.ip()))?;
                Some(Allocated { pool_id: self.pool_id(definition, subnet), address })
            })
            .collect()
    }

    pub(super) async fn attach_endpoint(&self, request: AttachRequest) -> Answer<EndpointResource> {
        let network = NetworkRef::new(request.network.clone());
        let (create, join) = request.into_steps();
        // An address that was given back rests: what can be refused is refused before one is taken.
        super::sandboxes::check_join(&join).await?;
        let endpoint = self.make_endpoint(&network, create).await?;
        match self.enter_sandbox(endpoint.clone(), join).await {
            Ok(joined) => Ok(joined.resource()),
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

/// Which segments an endpoint may be in, and which addresses were asked for.
struct Wanted<'d> {
    /// Subnets of each segment, the IPv4 one first.
    segments: Vec<Vec<&'d Subnet>>,
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

/// Says which address of which network could not be had.
fn not_allocated(error: IpamError, definition: &Definition, wanted: &Wanted<'_>) -> ControlError {
    let asked: Vec<_> =
        wanted.v4.iter().chain(&wanted.v6).map(|address| format!("`{address}`")).collect();
    let of_network = format!("network `{}`", definition.name);
    let subject = match asked.as_slice() {
        [] => of_network,
        _ => format!("address {} of {of_network}", asked.join(", ")),
    };
    let is_full = error.kind() == weft_api::Kind::Unavailable;
    let refused = ipam_error(error);
    let message = format!("{subject}: {}", refused.error);
    let refused = ControlError { error: message, ..refused };
    if is_full && refused.hint.is_none() {
        return refused.with_hint(
            "detach endpoints, or use a network with a larger pool; a released address rests for \
             a minute",
        );
    }
    refused
}

fn wanted_addresses<'d>(definition: &'d Definition, asked: &[IpAddr]) -> Answer<Wanted<'d>> {
    let mut wanted = Wanted { segments: segments(definition), v4: None, v6: None };
    for address in asked {
        let slot = if address.is_ipv4() { &mut wanted.v4 } else { &mut wanted.v6 };
        if slot.replace(*address).is_some() {
            return Err(ControlError::invalid("an endpoint has one address of each family")
                .with_hint("give --ip at most once for IPv4 and once for IPv6"));
        }
        wanted
            .segments
            .retain(|segment| segment.iter().any(|subnet| subnet.pool.contains(*address)));
        if wanted.segments.is_empty() {
            let pools: Vec<_> = definition.subnets.iter().map(|s| s.pool.to_string()).collect();
            return Err(ControlError::invalid(format!(
                "address `{address}` is in no subnet of network `{}` that fits",
                definition.name
            ))
            .with_hint(format!("its subnets are {}", pools.join(", "))));
        }
    }
    Ok(wanted)
}

/// Groups the subnets by VNI, in the order of the definition.
fn segments(definition: &Definition) -> Vec<Vec<&Subnet>> {
    let mut segments: Vec<Vec<&Subnet>> = Vec::new();
    for subnet in &definition.subnets {
        match segments.iter_mut().find(|segment| segment[0].vni == subnet.vni) {
            Some(segment) => segment.push(subnet),
            None => segments.push(vec![subnet]),
        }
    }
    for segment in &mut segments {
        segment.sort_by_key(|subnet| subnet.pool.is_ipv6());
    }
    segments
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
