//! Endpoints an engine makes: their addresses are settled, and the engine places the interface.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::Value;
use weft_api::control::ControlError;
use weft_api::driver::Options;
use weft_api::{Definition, EndpointId, Mac};

use super::AddressWanted;
use super::claims::fresh_endpoint;
use crate::control::Answer;
use crate::controller::endpoints::Draft;
use crate::controller::inventory::{
    AllocatedBy, Choice, Claim, Endpoint, EngineEndpoint, PlacedBy, Sandbox, WayOutBy,
};
use crate::controller::sandboxes::{Join, host_boot};
use crate::controller::{Controller, driver_error};

/// Label of published ports, in options of endpoints and in what a driver tells of them.
pub(crate) const PORT_MAP: &str = "com.docker.network.portmap";

/// An endpoint to be made.
#[derive(Debug, Clone)]
pub(crate) struct EndpointWanted {
    /// The engine's id of its network.
    pub(crate) engine_network: String,
    /// The engine's id of it.
    pub(crate) engine_endpoint: String,
    /// At most one of each family; none lets this node choose.
    pub(crate) addresses: Vec<IpAddr>,
    /// MAC; none lets the driver choose.
    pub(crate) mac: Option<Mac>,
    /// Driver options.
    pub(crate) options: BTreeMap<String, String>,
}

/// What an engine needs to place an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handed {
    /// Its name in the host's namespace.
    pub(crate) src_name: String,
    /// Default gateways, where Weft leads out.
    pub(crate) gateway: Option<IpAddr>,
    /// IPv6.
    pub(crate) gateway_ipv6: Option<IpAddr>,
    /// Routes to the network's other subnets: destination and next hop.
    pub(crate) routes: Vec<(IpNetwork, IpAddr)>,
}

impl Controller {
    /// Returns the endpoint an engine knows by this id.
    pub(crate) fn engine_endpoint(&self, engine_endpoint: &str) -> Option<Endpoint> {
        self.inventory().of_engine(engine_endpoint).cloned()
    }

    /// Returns the endpoints of engines that are in no sandbox.
    pub(crate) fn engine_endpoints_apart(&self) -> Vec<Endpoint> {
        let apart = |e: &&Endpoint| e.engine.is_some() && e.sandbox.is_none();
        self.inventory().endpoints().filter(apart).cloned().collect()
    }

    /// Returns the endpoints of a network of an engine.
    pub(crate) fn engine_endpoints(&self, engine_network: &str) -> Vec<Endpoint> {
        let of =
            |e: &&Endpoint| e.engine.as_ref().is_some_and(|of| of.engine_network == engine_network);
        self.inventory().endpoints().filter(of).cloned().collect()
    }

    /// Makes an endpoint; one that is there with the same addresses is returned.
    pub(crate) async fn make_engine_endpoint(
        &self,
        definition: &Definition,
        wanted: EndpointWanted,
    ) -> Answer<Endpoint> {
        let _turn = self.locks.lock(engine_turn(&wanted.engine_endpoint)).await;
        if let Some(there) = self.engine_endpoint(&wanted.engine_endpoint) {
            return repeated(there, &wanted);
        }
        if self.leaving.is_under_way() {
            return Err(ControlError::unavailable("this node is leaving its cluster")
                .with_hint("start the container on another node"));
        }
        self.check_thawed(definition).await?;
        // Whoever else comes for one of them, or gives it back, does so before or after.
        let named: BTreeSet<IpAddr> = wanted.addresses.iter().copied().collect();
        let mut turns = Vec::new();
        for address in named {
            turns.push(self.lock_address(definition.id, address).await);
        }
        let claims = self.claims_of(definition, &wanted).await?;
        if wanted.addresses.is_empty() {
            // Nobody named it, and nobody is to let it go before the endpoint has it.
            for (claim, _) in &claims {
                turns.push(self.lock_address(definition.id, claim.address.ip()).await);
            }
        }
        let made = self.make_claimed(definition, &claims, wanted).await;
        if made.is_err() {
            // Those asked for ahead are the engine's to release; all others end here.
            for claim in claims.iter().filter(|(_, ahead)| *ahead == Ahead::No) {
                self.drop_claim(definition.id, claim.0.address.ip()).await?;
            }
        }
        made
    }

    /// Finds or takes the addresses, each with whether it was asked for ahead.
    async fn claims_of(
        &self,
        definition: &Definition,
        wanted: &EndpointWanted,
    ) -> Answer<Vec<(Claim, Ahead)>> {
        let network = definition.id;
        let mut claims = Vec::new();
        for address in &wanted.addresses {
            if let Some(claim) = self.inventory().claim(network, *address).cloned() {
                claims.push((claim, Ahead::Yes));
            }
        }
        let endpoint = self.one_endpoint(&mut claims).await?;
        let found: Vec<IpAddr> = claims.iter().map(|(claim, _)| claim.address.ip()).collect();
        let mut missing: Vec<Option<IpAddr>> =
            wanted.addresses.iter().filter(|a| !found.contains(a)).copied().map(Some).collect();
        if wanted.addresses.is_empty() {
            missing.push(None);
        }
        for address in missing {
            let subnet = definition
                .subnets
                .iter()
                .find(|subnet| address.is_none_or(|address| subnet.pool.contains(address)))
                .ok_or_else(|| outside(definition, address))?;
            let want = AddressWanted {
                definition: definition.clone(),
                pool: subnet.pool,
                address,
                within: None,
                mac: None,
                by: AllocatedBy::ThisNode,
            };
            match self.claim_for(want, endpoint).await {
                Ok(claim) => claims.push((claim, Ahead::No)),
                Err(error) => {
                    for (claim, _) in claims.iter().filter(|(_, ahead)| *ahead == Ahead::No) {
                        self.drop_claim(network, claim.address.ip()).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(claims)
    }

    /// The endpoint that claims are for. Of two that were made for different ones, each becomes
    /// that of a third. The caller holds the locks of their addresses.
    async fn one_endpoint(&self, claims: &mut [(Claim, Ahead)]) -> Answer<EndpointId> {
        let ids: BTreeSet<EndpointId> = claims.iter().map(|(claim, _)| claim.endpoint).collect();
        if let (Some(id), 1) = (ids.first(), ids.len()) {
            return Ok(*id);
        }
        let fresh = fresh_endpoint()?;
        for (claim, _) in claims {
            if let Some(rebound) = self.rebind(claim.clone(), fresh).await? {
                *claim = rebound;
            }
        }
        Ok(fresh)
    }

    async fn make_claimed(
        &self,
        definition: &Definition,
        claims: &[(Claim, Ahead)],
        wanted: EndpointWanted,
    ) -> Answer<Endpoint> {
        let network = definition.id;
        let id = claims.first().map(|(claim, _)| claim.endpoint).ok_or_else(|| {
            ControlError::internal("an endpoint without any address was about to be made")
        })?;
        // What the engine shows its user, cut as the engine cuts ids.
        let name: String = wanted.engine_endpoint.chars().take(12).collect();
        self.inventory().reserve(network, &name).map_err(|taken| {
            ControlError::conflict(taken.to_string()).with_hint("`weft endpoint ls` shows it")
        })?;
        let borrowed: Vec<IpAddr> = claims
            .iter()
            .filter(|(claim, _)| claim.by == AllocatedBy::SwarmLeader)
            .map(|(claim, _)| claim.address.ip())
            .collect();
        let named = claims
            .iter()
            .filter(|(claim, _)| claim.by == AllocatedBy::ThisNode && claim.choice == Choice::Named)
            .map(|(claim, _)| claim.address.ip())
            .collect();
        let draft = Draft {
            id,
            name: name.clone(),
            addresses: claims.iter().map(|(claim, _)| claim.address).collect(),
            mac: wanted.mac,
            options: wanted.options,
            engine: Some(EngineEndpoint {
                engine_network: wanted.engine_network,
                engine_endpoint: wanted.engine_endpoint,
                borrowed: borrowed.clone(),
                named,
                published: None,
            }),
            container: None,
            // The endpoint takes the place of its claims.
            also: claims.iter().map(|(claim, _)| claim.removal()).collect(),
        };
        let made = async {
            let driver = {
                let _turn = self.lock_network(network).await;
                self.use_network(definition).await?
            };
            self.check_borrowed(definition, &borrowed).await?;
            self.make_drafted(driver, definition, draft).await
        };
        let outcome = made.await;
        match &outcome {
            Ok(_) => {
                let mut inventory = self.inventory();
                for (claim, _) in claims {
                    inventory.remove_claim(network, claim.address.ip());
                }
            }
            Err(_) => {
                self.inventory().unreserve(network, &name);
                let _turn = self.lock_network(network).await;
                self.stop_using(definition).await;
            }
        }
        outcome
    }

    /// Joins an endpoint to a sandbox that the engine places its interface in. A repeated call is
    /// answered as the first one was; another sandbox takes the place of the one joined.
    pub(crate) async fn hand_over(
        &self,
        endpoint: EndpointId,
        sandbox_key: &str,
        way_out: WayOutBy,
    ) -> Answer<Handed> {
        let _turn = self.locks.lock(format!("endpoint/{endpoint}")).await;
        let current = self.current(endpoint)?;
        let network = current.network;
        let definition = self
            .node(move |node, _| node.db().definition(network).cloned())
            .await?
            .ok_or_else(|| gone(&current))?;
        if let Some(sandbox) = &current.sandbox
            && sandbox.key == sandbox_key
        {
            return Ok(handed(&definition, &current, sandbox, way_out));
        }
        let mut current = self.leave_locked(endpoint, None).await?;
        let (id, _) = self.place(sandbox_key, &[])?;
        let sandbox = Sandbox {
            id,
            key: sandbox_key.to_owned(),
            ifname: String::new(),
            default_route: false,
            gateway: None,
            gateway_ipv6: None,
            mtu: None,
            routes: Vec::new(),
            entries: Vec::new(),
            boot: host_boot(),
            placed_by: PlacedBy::Engine,
        };
        current.stale = false;
        let joined = self.join_driver(&definition, current, sandbox, Join::First).await?;
        let write = joined.to_write();
        self.core(move |core, _| core.persist([write])).await?;
        self.inventory().put(joined.clone());
        let sandbox = joined.sandbox.as_ref().ok_or_else(|| gone(&joined))?;
        Ok(handed(&definition, &joined, sandbox, way_out))
    }

    /// Takes an endpoint out of its sandbox, if it is in one.
    pub(crate) async fn take_back(&self, endpoint: EndpointId) -> Answer<()> {
        let _turn = self.locks.lock(format!("endpoint/{endpoint}")).await;
        if self.current(endpoint).is_err() {
            return Ok(());
        }
        self.leave_locked(endpoint, None).await.map(drop)
    }

    /// Ends an endpoint, in a sandbox or not. Of one that is not there: nothing.
    pub(crate) async fn end_engine_endpoint(&self, engine_endpoint: &str) -> Answer<()> {
        self.end_engine_endpoint_if(engine_endpoint, |_| true).await
    }

    /// Ends an endpoint that is in no sandbox and of which `is_left` holds. Both are judged in its
    /// turn: one that is being made or joined meanwhile stays.
    pub(crate) async fn end_endpoint_apart(
        &self,
        engine_endpoint: &str,
        is_left: impl Fn(&Endpoint) -> bool + Send + Sync,
    ) -> Answer<()> {
        let is_apart = |endpoint: &Endpoint| endpoint.sandbox.is_none() && is_left(endpoint);
        self.end_engine_endpoint_if(engine_endpoint, is_apart).await
    }

    async fn end_engine_endpoint_if(
        &self,
        engine_endpoint: &str,
        ends: impl Fn(&Endpoint) -> bool + Send + Sync,
    ) -> Answer<()> {
        let _making = self.locks.lock(engine_turn(engine_endpoint)).await;
        let Some(endpoint) = self.engine_endpoint(engine_endpoint) else { return Ok(()) };
        let _turn = self.locks.lock(format!("endpoint/{}", endpoint.id)).await;
        match self.current(endpoint.id) {
            Ok(current) if ends(&current) => {}
            Ok(_) | Err(_) => return Ok(()),
        }
        let endpoint = self.leave_locked(endpoint.id, None).await?;
        self.end_endpoint(endpoint).await
    }

    /// Publishes ports of an endpoint on this host.
    pub(crate) async fn publish_ports(&self, endpoint: EndpointId, ports: Value) -> Answer<()> {
        let _turn = self.locks.lock(format!("endpoint/{endpoint}")).await;
        let mut current = self.current(endpoint)?;
        let published = self.program_ports(&current, ports).await?;
        if let Some(engine) = &mut current.engine {
            engine.published = Some(published);
        }
        let write = current.to_write();
        self.core(move |core, _| core.persist([write])).await?;
        self.inventory().put(current);
        Ok(())
    }

    /// Returns the ports as the driver settled them.
    pub(in crate::controller) async fn program_ports(
        &self,
        endpoint: &Endpoint,
        ports: Value,
    ) -> Answer<Value> {
        let (network, id) = (endpoint.network, endpoint.id);
        let definition = self
            .node(move |node, _| node.db().definition(network).cloned())
            .await?
            .ok_or_else(|| gone(endpoint))?;
        let driver = self.driver_of(&definition).await?.driver;
        let options = Options::from([(PORT_MAP.to_owned(), ports.clone())]);
        driver.program_external_connectivity(network, id, &options).await.map_err(driver_error)?;
        let info = driver.endpoint_oper_info(network, id).await.map_err(driver_error)?;
        Ok(info.get(PORT_MAP).cloned().unwrap_or(ports))
    }

    /// Ends the publishing of an endpoint's ports.
    pub(crate) async fn unpublish_ports(&self, endpoint: EndpointId) -> Answer<()> {
        let _turn = self.locks.lock(format!("endpoint/{endpoint}")).await;
        let Ok(mut current) = self.current(endpoint) else { return Ok(()) };
        let Some(engine) = &mut current.engine else { return Ok(()) };
        if engine.published.take().is_none() {
            return Ok(());
        }
        let network = current.network;
        let definition = self.node(move |node, _| node.db().definition(network).cloned()).await?;
        let driver = self.driver_for(definition.as_ref()).await?.driver;
        driver.revoke_external_connectivity(network, endpoint).await.map_err(driver_error)?;
        let write = current.to_write();
        self.core(move |core, _| core.persist([write])).await?;
        self.inventory().put(current);
        Ok(())
    }
}

/// Whether an address was asked for ahead of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ahead {
    Yes,
    No,
}

/// The turn of an endpoint that an engine makes, repeats or ends.
fn engine_turn(engine_endpoint: &str) -> String {
    format!("engine/{engine_endpoint}")
}

fn repeated(there: Endpoint, wanted: &EndpointWanted) -> Answer<Endpoint> {
    let has: Vec<IpAddr> =
        there.address.iter().chain(&there.address_ipv6).map(IpNetwork::ip).collect();
    let same = wanted.addresses.iter().all(|address| has.contains(address))
        && (wanted.mac.is_none() || wanted.mac == there.mac);
    if same {
        return Ok(there);
    }
    Err(ControlError::conflict(format!(
        "endpoint `{}` exists already with other addresses",
        wanted.engine_endpoint
    ))
    .with_hint("delete it first; `weft endpoint ls` shows it"))
}

fn outside(definition: &Definition, address: Option<IpAddr>) -> ControlError {
    let pools: Vec<_> = definition.subnets.iter().map(|s| s.pool.to_string()).collect();
    let address = address.map_or_else(|| "none".to_owned(), |address| address.to_string());
    ControlError::invalid(format!(
        "address `{address}` is in no subnet of network `{}`",
        definition.name
    ))
    .with_hint(format!("its subnets are {}", pools.join(", ")))
}

fn gone(endpoint: &Endpoint) -> ControlError {
    ControlError::not_found(format!("network `{}` does not exist any more", endpoint.network_name))
        .with_hint("remove the engine's network and make it anew")
}

fn handed(
    definition: &Definition,
    endpoint: &Endpoint,
    sandbox: &Sandbox,
    way_out: WayOutBy,
) -> Handed {
    let mut handed = Handed {
        src_name: sandbox.ifname.clone(),
        gateway: None,
        gateway_ipv6: None,
        routes: Vec::new(),
    };
    for address in endpoint.address.into_iter().chain(endpoint.address_ipv6) {
        let own = definition.subnets.iter().find(|s| s.pool.contains(address.ip()));
        let Some((pool, gateway)) = own.and_then(|own| Some((own.pool, own.gateway?))) else {
            continue;
        };
        match way_out {
            WayOutBy::Weft if !definition.internal => {
                let slot =
                    if gateway.is_ipv4() { &mut handed.gateway } else { &mut handed.gateway_ipv6 };
                *slot = Some(gateway);
            }
            WayOutBy::Weft | WayOutBy::Engine => {
                let others = definition.subnets.iter().map(|other| other.pool);
                let others =
                    others.filter(|other| *other != pool && other.is_ipv4() == pool.is_ipv4());
                handed.routes.extend(others.map(|other| (other, gateway)));
            }
        }
    }
    handed
}
