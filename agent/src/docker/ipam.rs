//! The calls of the IPAM driver.

use std::net::IpAddr;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use weft_api::Definition;
use weft_api::control::ControlError;
use weft_api::driver::Scope;
use weft_api::ipam::PoolRequest;
use weft_api::plugin::ipam::{
    AddressSpaces, Capabilities, ReleaseAddressRequest, ReleasePoolRequest, RequestAddressRequest,
    RequestAddressResponse, RequestPoolRequest, RequestPoolResponse,
};
use weft_ipam::{Purpose as Held, Want};

use super::agreement::is_dockers;
use super::books::Origin;
use super::pool_id::{AddressSpace, PoolId};
use super::purpose::{Named, Purpose, infer, is_serial};
use super::reservations::PoolWanted;
use super::settings::NETWORK;
use super::{DEFINED_PATIENCE, Plugin};
use crate::control::{Answer, ErrorKind};
use crate::controller::engine::{AddressWanted, first_host};
use crate::controller::inventory::AllocatedBy;
use crate::ipam_driver::{GLOBAL_SPACE, LOCAL_SPACE};

/// Engines put labels of their own beside the user's options; they begin so.
const LABELS: &str = "com.docker.";
/// Addresses from the end of a pool that are tried for a gateway where its first one is taken.
const SPARE_GATEWAYS: usize = 16;

impl Plugin {
    pub(super) fn ipam_capabilities() -> Capabilities {
        Capabilities { requires_mac_address: true, requires_request_replay: false }
    }

    pub(super) fn address_spaces() -> AddressSpaces {
        AddressSpaces {
            local_default_address_space: LOCAL_SPACE.to_owned(),
            global_default_address_space: GLOBAL_SPACE.to_owned(),
        }
    }

    pub(super) async fn request_pool(
        &self,
        request: RequestPoolRequest,
    ) -> Answer<RequestPoolResponse> {
        let space = AddressSpace::from_str(&request.address_space)?;
        let asked = PoolRequest::parse(&request.address_space, &request.pool, &request.sub_pool)
            .map_err(|error| {
                let (pool, sub) = (&request.pool, &request.sub_pool);
                ControlError::invalid(format!("{error}: `{pool}`, range `{sub}`"))
            })?;
        tell_unread(request.options.keys());
        let network = request.options.get(NETWORK).filter(|name| !name.is_empty()).cloned();
        let swarm = space == AddressSpace::Global;
        let v6 = asked.pool.map_or(request.v6, |pool| pool.is_ipv6());
        if let (AddressSpace::Local, Scope::Global, Some(pool)) = (space, self.scope, asked.pool) {
            // A node's view of what the Swarm's leader made a moment ago.
            self.awaited_pool(pool).await?;
        }
        if swarm {
            self.await_ending(network.as_deref(), asked.pool).await?;
        }
        let wanted = PoolWanted { network: network.clone(), pool: asked.pool, v6, swarm };
        let pool = {
            let _turn = self.pools.lock().await;
            self.take_pool(&wanted).await?
        };
        if let Some(sub) = asked.sub_pool
            && asked.pool.is_none()
        {
            return Err(ControlError::invalid(format!("range `{sub}` needs a --subnet")));
        }
        let node = self.controller.node_id().await?;
        let id = PoolId::new(space, node, network, pool, asked.sub_pool);
        Ok(RequestPoolResponse {
            pool_id: id.to_string(),
            pool: pool.to_string(),
            ..RequestPoolResponse::default()
        })
    }

    async fn awaited_pool(&self, pool: IpNetwork) -> Answer<Option<Definition>> {
        let has = move |d: &Definition| d.subnets.iter().any(|subnet| subnet.pool == pool);
        self.controller.awaited(DEFINED_PATIENCE, has).await
    }

    pub(super) async fn release_pool(&self, request: ReleasePoolRequest) -> Answer<()> {
        let id = PoolId::from_str(&request.pool_id)?;
        let _turn = self.pools.lock().await;
        self.give_up_pool(id.pool).await?;
        match id.space {
            AddressSpace::Global => Ok(()),
            AddressSpace::Local => self.release_auxiliaries(id.pool).await,
        }
    }

    pub(super) async fn request_address(
        &self,
        request: RequestAddressRequest,
    ) -> Answer<RequestAddressResponse> {
        let id = PoolId::from_str(&request.pool_id)?;
        let address = address_in(&id, &request.address)?;
        let named = if address.is_some() { Named::Yes } else { Named::No };
        let serial = is_serial(&request.options);
        let granted = match infer(id.space, &request.options, named)? {
            Purpose::Gateway => self.gateway(&id, address).await?,
            Purpose::Endpoint(mac) => {
                let definition = self.network_of(&id).await?;
                if let Some(address) = address {
                    self.end_forgotten_at(definition.id, address).await?;
                }
                // Only a Swarm's leader hands out addresses for others; it named this one.
                let by = match (self.scope, address) {
                    (Scope::Global, Some(_)) => AllocatedBy::SwarmLeader,
                    (Scope::Global, None) | (Scope::Local, _) => AllocatedBy::ThisNode,
                };
                let (pool, within) = (id.pool, id.sub_pool);
                let wanted = AddressWanted { definition, pool, address, within, mac, by };
                self.controller.claim_address(wanted).await?
            }
            Purpose::Swarm => {
                let want = match address {
                    Some(address) => Want::Replay(address),
                    None if serial => Want::Serial,
                    None => Want::First,
                };
                self.grant(&id, want).await?
            }
            Purpose::Auxiliary => self.auxiliary(&id, address).await?,
        };
        Ok(RequestAddressResponse {
            address: granted.to_string(),
            ..RequestAddressResponse::default()
        })
    }

    pub(super) async fn release_address(&self, request: ReleaseAddressRequest) -> Answer<()> {
        let id = PoolId::from_str(&request.pool_id)?;
        let Some(address) = address_in(&id, &request.address)? else {
            return Err(ControlError::invalid("`Address` is missing in the request"));
        };
        // Gone with its network, or never more than reserved: then nothing is allocated.
        let Some(definition) = self.controller.definition_with(id.pool).await? else {
            return Ok(());
        };
        let network = definition.id;
        match id.space {
            AddressSpace::Global => {
                let write = self.granted().take_back(id.pool, address);
                self.controller.keep(write).await?;
                self.controller.release_held(network, id.pool, address, Held::Swarm).await
            }
            AddressSpace::Local => {
                self.controller.let_go(network, address).await?;
                self.release_auxiliary(&definition, id.pool, address).await
            }
        }
    }

    /// The gateway is the network's, the same on every host, and stays as long as the network.
    async fn gateway(&self, id: &PoolId, asked: Option<IpAddr>) -> Answer<IpNetwork> {
        let Some(definition) = self.controller.definition_with(id.pool).await? else {
            return self.reserved_gateway(id, asked).await;
        };
        let subnet = definition.subnets.iter().find(|subnet| subnet.pool == id.pool);
        let theirs = match subnet.and_then(|subnet| subnet.gateway) {
            Some(gateway) => gateway,
            // An internal network may have none; the engine wants one all the same.
            None => return self.spare_gateway(&definition, id.pool, asked).await,
        };
        match asked {
            // Made a moment ago for this engine alone: it is made anew with the gateway asked for.
            Some(asked) if asked != theirs && self.is_ours_alone(&definition, id.pool).await? => {
                self.reserved_gateway(id, Some(asked)).await
            }
            Some(asked) if asked != theirs => Err(ControlError::conflict(format!(
                "gateway `{asked}` is not that of network `{}`, which is `{theirs}` on every host",
                definition.name
            ))
            .with_hint(format!("give --gateway {theirs}, or leave it out"))),
            Some(_) | None => with_prefix(theirs, id.pool),
        }
    }

    /// The gateway of a network that has none: the same for all engines, whichever came first.
    async fn spare_gateway(
        &self,
        definition: &Definition,
        pool: IpNetwork,
        asked: Option<IpAddr>,
    ) -> Answer<IpNetwork> {
        let there = self.controller.held_for(definition.id, pool, &Held::Gateway).await?;
        if let (Some(there), None) = (there.first(), asked) {
            return with_prefix(*there, pool);
        }
        let take = async |want| {
            self.controller.allocate_held(definition.id, pool, want, None, Held::Gateway).await
        };
        if let Some(asked) = asked {
            return take(Want::Exact(asked)).await;
        }
        let mut taken = take(Want::Exact(first_host(pool))).await;
        // An endpoint has that one. All engines try the others in one order, so that they agree.
        for address in last_hosts(pool).take(SPARE_GATEWAYS) {
            match &taken {
                Err(error) if error.kind == ErrorKind::Forbidden => {
                    taken = take(Want::Exact(address)).await;
                }
                Ok(_) | Err(_) => break,
            }
        }
        taken
    }

    /// True of a network that this engine's request for a pool made, and that nobody uses yet.
    async fn is_ours_alone(&self, definition: &Definition, pool: IpNetwork) -> Answer<bool> {
        let named = self.books().reservation(pool).is_some_and(
            |known| matches!(&known.origin, Origin::Named(name) if *name == definition.name),
        );
        Ok(named
            && is_dockers(definition)
            && !self.controller.is_held(definition.id)
            && self.controller.attached_members(definition.id).await?.is_empty())
    }

    async fn reserved_gateway(&self, id: &PoolId, asked: Option<IpAddr>) -> Answer<IpNetwork> {
        let _turn = self.pools.lock().await;
        let Some(mut reservation) = self.books().reservation(id.pool).cloned() else {
            return Err(unknown_pool(id));
        };
        let gateway = asked.or(reservation.gateway).unwrap_or_else(|| first_host(id.pool));
        if reservation.gateway != Some(gateway) {
            reservation.gateway = Some(gateway);
            self.keep_reservation(reservation).await?;
        }
        with_prefix(gateway, id.pool)
    }

    /// Set aside under its own text, so that every engine that sets it aside shares it.
    async fn auxiliary(&self, id: &PoolId, address: Option<IpAddr>) -> Answer<IpNetwork> {
        let address =
            address.ok_or_else(|| ControlError::invalid("`Address` is missing in the request"))?;
        let Some(definition) = self.controller.definition_with(id.pool).await? else {
            // It becomes part of the network when that is made.
            if self.books().reservation(id.pool).is_none() {
                return Err(unknown_pool(id));
            }
            return with_prefix(address, id.pool);
        };
        self.set_aside(&definition, id.pool, Want::Exact(address)).await
    }

    /// Sets an address aside, or finds it set aside.
    pub(super) async fn set_aside(
        &self,
        definition: &Definition,
        pool: IpNetwork,
        want: Want,
    ) -> Answer<IpNetwork> {
        let (Want::Exact(address) | Want::Replay(address)) = want else {
            return Err(ControlError::internal("no address is named to be set aside"));
        };
        let subnet = definition.subnets.iter().find(|subnet| subnet.pool == pool);
        if subnet.is_some_and(|subnet| subnet.auxiliary.values().any(|one| *one == address)) {
            return with_prefix(address, pool);
        }
        let held = Held::Auxiliary(address.to_string());
        self.controller.allocate_held(definition.id, pool, want, None, held).await
    }

    /// It stays as long as any engine has the network: who set it aside is not known.
    async fn release_auxiliary(
        &self,
        definition: &Definition,
        pool: IpNetwork,
        address: IpAddr,
    ) -> Answer<()> {
        if self.is_used_by_engines(definition).await? {
            return Ok(());
        }
        let held = Held::Auxiliary(address.to_string());
        self.controller.release_held(definition.id, pool, address, held).await
    }

    /// With the last engine that has the network go the addresses that any of them set aside.
    async fn release_auxiliaries(&self, pool: IpNetwork) -> Answer<()> {
        let Some(definition) = self.controller.definition_with(pool).await? else { return Ok(()) };
        if self.is_used_by_engines(&definition).await? {
            return Ok(());
        }
        let subnet = definition.subnets.iter().find(|subnet| subnet.pool == pool);
        for address in self.controller.set_aside(definition.id, pool).await? {
            if subnet.is_some_and(|s| s.auxiliary.values().any(|one| *one == address)) {
                continue;
            }
            let held = Held::Auxiliary(address.to_string());
            self.controller.release_held(definition.id, pool, address, held).await?;
        }
        Ok(())
    }

    async fn is_used_by_engines(&self, definition: &Definition) -> Answer<bool> {
        if self.controller.is_held(definition.id) {
            return Ok(true);
        }
        let own = self.controller.node_id().await?;
        let attached = self.controller.attached_members(definition.id).await?;
        Ok(attached.iter().any(|node| *node != own))
    }

    /// The network of a pool; one that was defined elsewhere a moment ago is waited for.
    pub(super) async fn network_of(&self, id: &PoolId) -> Answer<Definition> {
        if let Some(definition) = self.controller.definition_with(id.pool).await? {
            return Ok(definition);
        }
        if self.books().reservation(id.pool).is_some() && id.space == AddressSpace::Local {
            return Err(ControlError::forbidden(format!(
                "subnet `{}` has no network yet: an endpoint cannot have an address of it",
                id.pool
            )));
        }
        self.awaited_pool(id.pool).await?.ok_or_else(|| unknown_pool(id))
    }
}

/// A misspelt option makes another network than its user thinks. It cannot be refused: engines and
/// orchestrators put options of their own beside the user's.
fn tell_unread<'k>(keys: impl Iterator<Item = &'k String>) {
    for key in keys.filter(|key| *key != NETWORK && !key.starts_with(LABELS)) {
        tracing::warn!(key, "--ipam-opt is not one of Weft's; it has `{NETWORK}` alone");
    }
}

/// The addresses of a pool that hosts can have, from the last one down.
fn last_hosts(pool: IpNetwork) -> impl Iterator<Item = IpAddr> {
    (1_u32..).map_while(move |below| {
        let address: IpAddr = match pool.broadcast() {
            IpAddr::V4(last) => IpAddr::V4(u32::from(last).checked_sub(below)?.into()),
            IpAddr::V6(last) => IpAddr::V6(u128::from(last).checked_sub(below.into())?.into()),
        };
        (pool.contains(address) && address != pool.network()).then_some(address)
    })
}

fn address_in(id: &PoolId, text: &str) -> Answer<Option<IpAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: IpAddr = text.parse().map_err(|_| {
        ControlError::invalid(format!("`{text}` is not an address without a prefix length"))
    })?;
    if !id.pool.contains(address) {
        return Err(ControlError::invalid(format!(
            "requested address is out of range: `{address}` is not in subnet `{}`",
            id.pool
        )));
    }
    Ok(Some(address))
}

fn with_prefix(address: IpAddr, pool: IpNetwork) -> Answer<IpNetwork> {
    IpNetwork::new(address, pool.prefix())
        .map_err(|error| ControlError::internal(format!("address `{address}`: {error}")))
}

fn unknown_pool(id: &PoolId) -> ControlError {
    ControlError::not_found(format!(
        "address space does not contain specified address pool: no network has subnet `{}`",
        id.pool
    ))
    .with_hint("remove the engine's network and make it anew")
}
