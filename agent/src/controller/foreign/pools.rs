//! Pools and addresses of a third party's IPAM driver.
//!
//! A network whose driver is of global scope has its pools once, in the plugin's global address
//! space: the creator asks for them, their ids are a part of the definition, and each node asks
//! its own plugin for addresses of them. A network whose driver is of local scope is another one
//! on each node: each asks for the pools itself, in the plugin's local space.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_api::cidr::parse_cidr;
use weft_api::control::{ControlError, NetworkCreate, SubnetRequest};
use weft_api::driver::{Driver, Scope};
use weft_api::ipam::{GATEWAY, PoolRequest, REQUEST_ADDRESS_TYPE};
use weft_api::{Definition, EndpointId, Mac, NetworkId, Subnet};
use weft_overlay::{PEER_TABLE, PeerRecord};

use super::super::networks::validate_subnet;
use super::super::{Controller, ipam_error};
use super::ledger::{ForeignEndpoint, ForeignPools, HeldAddress, HeldPool, Key, Record, Until};
use crate::control::Answer;
use crate::ipam_driver::{self, ENDPOINT, MAC_ADDRESS, RANGE};
use crate::registry::IpamDriver;

/// The option of a definition that holds its [`Choice`].
pub(in super::super) const CHOICE: &str = "weft.ipam";

/// What was settled with an IPAM plugin, for all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Choice {
    /// The address space.
    pub(super) space: String,
    /// Options of the IPAM driver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) options: BTreeMap<String, String>,
    /// The pools; none where each node has its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) pools: Vec<HeldPool>,
}

impl Choice {
    /// Reads it; the default where the definition has none.
    pub(super) fn of(definition: &Definition) -> Self {
        let text = definition.options.get(CHOICE);
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

impl Controller {
    /// Asks a plugin for the pools of a network to be made, so that the request has subnets,
    /// gateways and the plugin's choice in it. The caller has the pools' turn, and settles them
    /// when the claim has ended.
    pub(in super::super) async fn ask_for_pools(
        &self,
        id: NetworkId,
        mut request: NetworkCreate,
        ipam: &IpamDriver,
        scope: Scope,
    ) -> Answer<NetworkCreate> {
        let options = std::mem::take(&mut request.ipam_options);
        if ipam.driver.is_built_in() {
            return match options.first_key_value() {
                None => Ok(request),
                Some((key, _)) => Err(ControlError::invalid(format!(
                    "option `{key}`: the built-in IPAM driver takes none"
                ))
                .with_hint("name another IPAM driver with --ipam-driver")),
            };
        }
        let name = request.name.clone();
        let existing =
            self.node(move |node, _| node.db().definition_by_name(&name).cloned()).await?;
        if let Some(existing) = existing {
            let choice = Choice::of(&existing);
            if existing.ipam == request.ipam && choice.options == options {
                request.options.extend(
                    existing
                        .options
                        .get_key_value(CHOICE)
                        .map(|(key, value)| (key.clone(), value.clone())),
                );
            }
            // Asked for in another way, the claim is refused, and says so.
            return Ok(request);
        }
        let (local, global) = ipam.driver.get_default_address_spaces().await.map_err(ipam_error)?;
        let (space, until) = match scope {
            Scope::Local => (local, Until::Deleted),
            Scope::Global => (global, Until::Settled),
        };
        if space.is_empty() {
            return Err(ControlError::invalid(format!(
                "IPAM driver `{}` has no {scope} address space, which networks of driver `{}` need",
                request.ipam, request.driver
            ))
            .with_hint("use an IPAM driver that has one, or the built-in one"));
        }
        let mut wanted: Vec<(Option<SubnetRequest>, bool)> =
            request.subnets.drain(..).map(|subnet| (Some(subnet), false)).collect();
        if wanted.is_empty() {
            wanted.push((None, false));
        }
        let has_v6 = wanted.iter().flat_map(|(s, _)| s).any(|subnet| subnet.pool.is_ipv6());
        if request.ipv6 && !has_v6 {
            wanted.push((None, true));
        }
        let mut record =
            ForeignPools { network: id, ipam: request.ipam.clone(), pools: Vec::new(), until };
        let choice = Choice { space, options, pools: Vec::new() };
        for (subnet, v6) in wanted {
            let pool_request = PoolRequest {
                address_space: choice.space.clone(),
                pool: subnet.as_ref().map(|subnet| subnet.pool),
                sub_pool: subnet.as_ref().and_then(|subnet| subnet.range),
                options: choice.options.clone(),
                v6: v6 || subnet.as_ref().is_some_and(|subnet| subnet.pool.is_ipv6()),
            };
            let gateway = if request.internal { Gateway::IfAsked } else { Gateway::Needed };
            let subnet =
                self.ask_for_pool(&mut record, ipam, pool_request, subnet, gateway).await?;
            request.subnets.push(subnet);
        }
        let pools = match until {
            Until::Settled => record.pools,
            Until::Deleted => Vec::new(),
        };
        let choice = serde_json::to_string(&Choice { pools, ..choice })
            .expect("a choice has text keys only");
        request.options.insert(CHOICE.to_owned(), choice);
        Ok(request)
    }

    /// Asks for one pool with its gateway and auxiliary addresses, each noted as it is given.
    async fn ask_for_pool(
        &self,
        record: &mut ForeignPools,
        ipam: &IpamDriver,
        request: PoolRequest,
        subnet: Option<SubnetRequest>,
        gateway: Gateway,
    ) -> Answer<SubnetRequest> {
        let allocated = ipam.driver.request_pool(request).await.map_err(ipam_error)?;
        let pool = HeldPool { id: allocated.pool_id, pool: allocated.pool, addresses: Vec::new() };
        record.pools.push(pool);
        self.foreign_put(Record::Pools(record.clone())).await?;
        let mut subnet = subnet.unwrap_or_else(|| SubnetRequest::of(allocated.pool));
        let kind = BTreeMap::from([(REQUEST_ADDRESS_TYPE.to_owned(), GATEWAY.to_owned())]);
        let given = allocated.meta.get(GATEWAY).map(|text| gateway_of(text)).transpose()?;
        subnet.gateway = match (subnet.gateway, given, gateway) {
            (None, Some(given), _) => Some(given),
            (None, None, Gateway::IfAsked) => None,
            (asked, _, Gateway::Needed | Gateway::IfAsked) => {
                Some(self.ask_for_address(record, ipam, asked, &kind).await?)
            }
        };
        for address in subnet.auxiliary.values() {
            self.ask_for_address(record, ipam, Some(*address), &BTreeMap::new()).await?;
        }
        validate_subnet(&subnet)?;
        Ok(subnet)
    }

    /// Asks for an address that the network itself has in its newest pool.
    async fn ask_for_address(
        &self,
        record: &mut ForeignPools,
        ipam: &IpamDriver,
        address: Option<IpAddr>,
        options: &BTreeMap<String, String>,
    ) -> Answer<IpAddr> {
        let pool = record.pools.last_mut().expect("a pool was noted just now");
        let (given, _) =
            ipam.driver.request_address(&pool.id, address, options).await.map_err(ipam_error)?;
        pool.addresses.push(given.ip());
        self.foreign_put(Record::Pools(record.clone())).await?;
        Ok(given.ip())
    }

    /// Makes sure that this node can ask for addresses: where each node has its own pools, it
    /// asks for them at the first endpoint.
    pub(in super::super) async fn ensure_pools(
        &self,
        definition: &Definition,
        ipam: &IpamDriver,
    ) -> Answer<()> {
        if ipam.driver.is_built_in() || !Choice::of(definition).pools.is_empty() {
            return Ok(());
        }
        let _turn = self.foreign_turn(Key::Pools(definition.id)).await;
        if self.foreign.ledger().pools(definition.id).is_some() {
            return Ok(());
        }
        let choice = Choice::of(definition);
        let mut record = ForeignPools {
            network: definition.id,
            ipam: definition.ipam.clone(),
            pools: Vec::new(),
            until: Until::Deleted,
        };
        for subnet in &definition.subnets {
            let request = PoolRequest {
                address_space: choice.space.clone(),
                pool: Some(subnet.pool),
                sub_pool: subnet.range,
                options: choice.options.clone(),
                v6: subnet.pool.is_ipv6(),
            };
            let subnet = SubnetRequest {
                pool: subnet.pool,
                gateway: subnet.gateway,
                range: subnet.range,
                auxiliary: subnet.auxiliary.clone(),
            };
            let asked =
                self.ask_for_pool(&mut record, ipam, request, Some(subnet), Gateway::IfAsked).await;
            if let Err(error) = asked {
                // Half of the pools are of no use.
                if self.give_back_pools(&mut record).await.is_ok() {
                    self.foreign_remove(Key::Pools(definition.id)).await;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Returns the IPAM driver's name for a subnet's pool.
    pub(in super::super) fn pool_id(&self, definition: &Definition, subnet: &Subnet) -> String {
        if definition.ipam == ipam_driver::NAME {
            let id = ipam_driver::PoolId { network: Some(definition.id), pool: subnet.pool };
            return id.to_string();
        }
        let here = self.foreign.ledger().pools(definition.id).map(|record| record.pools);
        let pools = Choice::of(definition).pools.into_iter().chain(here.unwrap_or_default());
        // Without one the plugin refuses, which it says better.
        pools.into_iter().find(|p| p.pool == subnet.pool).map(|p| p.id).unwrap_or_default()
    }

    /// Returns what an address request for an endpoint says beside the pool.
    pub(in super::super) fn address_options(
        &self,
        definition: &Definition,
        subnet: &Subnet,
        endpoint: EndpointId,
        mac: Option<Mac>,
    ) -> BTreeMap<String, String> {
        let mut options = BTreeMap::new();
        if definition.ipam == ipam_driver::NAME {
            options.insert(ENDPOINT.to_owned(), endpoint.to_string());
            options.extend(subnet.range.map(|range| (RANGE.to_owned(), range.to_string())));
        } else if let Some(mac) = mac {
            options.insert(MAC_ADDRESS.to_owned(), mac.to_string());
        }
        options
    }

    /// Notes what of an endpoint is a plugin's, before anything else is done with it.
    pub(in super::super) async fn foreign_endpoint_begins(
        &self,
        definition: &Definition,
        id: EndpointId,
        driver: &Arc<dyn Driver>,
        held: Vec<(String, IpNetwork)>,
    ) -> Answer<()> {
        let is_foreign = definition.ipam != ipam_driver::NAME;
        if driver.is_built_in() && !is_foreign {
            return Ok(());
        }
        let held = held
            .into_iter()
            .filter(|_| is_foreign)
            .map(|(pool_id, address)| HeldAddress { pool_id, address: address.ip() })
            .collect();
        let record = ForeignEndpoint {
            id,
            network: definition.id,
            driver: (!driver.is_built_in()).then(|| definition.driver.clone()),
            ipam: is_foreign.then(|| definition.ipam.clone()),
            held,
            joined: None,
        };
        self.foreign_put(Record::Endpoint(record)).await
    }

    /// Refuses an address of a plugin that another endpoint has: a plugin that each host has on
    /// its own gives the same ones on each.
    pub(in super::super) async fn check_unique(
        &self,
        definition: &Definition,
        addresses: &[IpAddr],
    ) -> Answer<()> {
        let network = definition.id;
        let wanted = addresses.to_vec();
        let held = self
            .node(move |node, _| {
                let entries = node.db().walk_counting(network, PEER_TABLE);
                entries.into_iter().find_map(|entry| {
                    let record = PeerRecord::decode(&entry.value).ok()?;
                    let mut theirs = record.v4.into_iter().chain(record.v6);
                    let address = theirs.find(|address| wanted.contains(&address.ip()))?;
                    Some((address.ip(), entry.owner))
                })
            })
            .await?;
        let Some((address, owner)) = held else { return Ok(()) };
        let owner = self.node_names().await.remove(&owner).unwrap_or_else(|| owner.short());
        Err(ControlError::forbidden(format!(
            "IPAM driver `{}` gave address `{address}`, which an endpoint on node `{owner}` has",
            definition.ipam
        ))
        .with_hint("a network of several nodes needs an IPAM driver that knows all of them"))
    }

    /// Notes the pools of a network about to be deleted, which whoever deletes it gives back. The
    /// caller has the pools' turn, and settles them when the claim has ended.
    pub(in super::super) async fn foreign_pools_end(&self, definition: &Definition) -> Answer<()> {
        let pools = Choice::of(definition).pools;
        if definition.ipam == ipam_driver::NAME || pools.is_empty() {
            return Ok(());
        }
        let record = ForeignPools {
            network: definition.id,
            ipam: definition.ipam.clone(),
            pools,
            until: Until::Settled,
        };
        self.foreign_put(Record::Pools(record)).await
    }

    /// Waits for the turn of a network's pools.
    pub(in super::super) async fn pools_turn(
        &self,
        id: NetworkId,
    ) -> tokio::sync::OwnedMutexGuard<()> {
        self.foreign_turn(Key::Pools(id)).await
    }

    /// Waits for the turn of an endpoint's foreign part.
    pub(in super::super) async fn foreign_endpoint_turn(
        &self,
        id: EndpointId,
    ) -> tokio::sync::OwnedMutexGuard<()> {
        self.foreign_turn(Key::Endpoint(id)).await
    }
}

/// Whether a pool has a gateway that nobody named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gateway {
    Needed,
    IfAsked,
}

/// Plugins write a gateway with the pool's prefix length or without.
fn gateway_of(text: &str) -> Answer<IpAddr> {
    let read = match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => parse_cidr(text).map(|address| address.ip()),
    };
    read.map_err(|error| {
        ControlError::unavailable(format!("gateway `{text}` of an IPAM driver: {error}"))
    })
}
