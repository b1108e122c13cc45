//! Requests said again, at the first use since the agent's start, to IPAM plugins that require it
//! (`RequiresRequestReplay`): they keep their state in memory, and may have lost it meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weft_api::error::Error;
use weft_api::ipam::{GATEWAY, Ipam, PoolRequest, REQUEST_ADDRESS_TYPE};
use weft_api::{Definition, EndpointId, Kind, Mac};

use super::super::Controller;
use super::ledger::{HeldAddress, HeldPool};
use super::pools::Choice;
use crate::ipam_driver::MAC_ADDRESS;
use crate::registry::IpamDriver;

/// What is said again of one network.
struct Replay {
    definition: Definition,
    pools: Vec<HeldPool>,
    endpoints: Vec<(EndpointId, Option<Mac>, Vec<HeldAddress>)>,
}

impl Controller {
    /// Returns an IPAM driver that knows again what an earlier start of the agent had of it.
    pub(in super::super) async fn ipam_driver(&self, name: &str) -> Result<IpamDriver, Error> {
        let found = self.registry.ipam(name).await?;
        if !self.foreign.owes_replay(name) {
            return Ok(found);
        }
        let _turn = self.locks.lock(format!("foreign/replay/{name}")).await;
        if self.foreign.owes_replay(name) {
            if found.capability.requires_request_replay {
                self.repeat_requests(name, &*found.driver).await?;
            }
            self.foreign.replayed(name);
        }
        Ok(found)
    }

    /// Says again to all plugins what has to be; those that are away hear it when they are used.
    pub(super) async fn replay_to_plugins(&self) {
        for name in self.foreign.owed_replays() {
            if let Err(error) = self.ipam_driver(&name).await {
                tracing::warn!(plugin = name, %error, "requests are repeated when it is used");
            }
        }
    }

    /// Fails when the plugin is away. A refusal is none: it may know all of it still.
    async fn repeat_requests(&self, name: &str, ipam: &dyn Ipam) -> Result<(), Error> {
        for Replay { definition, pools, endpoints } in self.replays_of(name).await? {
            let choice = Choice::of(&definition);
            let gateways: BTreeSet<IpAddr> =
                definition.subnets.iter().filter_map(|subnet| subnet.gateway).collect();
            for pool in &pools {
                let request = PoolRequest {
                    address_space: choice.space.clone(),
                    pool: Some(pool.pool),
                    sub_pool: definition
                        .subnets
                        .iter()
                        .find(|subnet| subnet.pool == pool.pool)
                        .and_then(|subnet| subnet.range),
                    options: choice.options.clone(),
                    v6: pool.pool.is_ipv6(),
                };
                replay_pool(ipam, request, &pool.id).await?;
                for address in &pool.addresses {
                    let kind = [(REQUEST_ADDRESS_TYPE.to_owned(), GATEWAY.to_owned())];
                    let is_gateway = gateways.contains(address);
                    let options = BTreeMap::from_iter(kind.into_iter().filter(|_| is_gateway));
                    replay_address(ipam, &pool.id, *address, &options).await?;
                }
            }
            for (id, mac, held) in endpoints {
                let mac = mac.map(|mac| (MAC_ADDRESS.to_owned(), mac.to_string()));
                let options: BTreeMap<_, _> = mac.into_iter().collect();
                for one in held.iter().filter(|one| self.foreign.holds(id, one)) {
                    replay_address(ipam, &one.pool_id, one.address, &options).await?;
                    // It may have been given back while the plugin was asked.
                    if !self.foreign.holds(id, one) {
                        drop(ipam.release_address(&one.pool_id, one.address).await);
                    }
                }
            }
        }
        Ok(())
    }

    /// Collects what is a plugin's: the pools of its networks, and the addresses of their endpoints
    /// on this node.
    async fn replays_of(&self, name: &str) -> Result<Vec<Replay>, Error> {
        let ipam = name.to_owned();
        let definitions = self.node(move |node, _| {
            let of = |definition: &&Definition| definition.ipam == ipam;
            node.db().definitions().filter(of).cloned().collect::<Vec<_>>()
        });
        let definitions = definitions.await.map_err(|error| Error::unavailable(error.error))?;
        Ok(definitions.into_iter().map(|definition| self.replay_of(definition)).collect())
    }

    fn replay_of(&self, definition: Definition) -> Replay {
        let id = definition.id;
        let (pools, held): (Vec<_>, Vec<_>) = {
            let ledger = self.foreign.ledger();
            let of_network = ledger.endpoints().filter(|endpoint| endpoint.network == id);
            let held = of_network.map(|endpoint| (endpoint.id, endpoint.held.clone())).collect();
            let here = ledger.pools(id).map(|record| record.pools).unwrap_or_default();
            let agreed = Choice::of(&definition).pools;
            (if agreed.is_empty() { here } else { agreed }, held)
        };
        let inventory = self.inventory();
        let mac = |id| inventory.get(id).and_then(|endpoint| endpoint.mac);
        let endpoints = held.into_iter().map(|(id, held)| (id, mac(id), held)).collect();
        Replay { definition, pools, endpoints }
    }
}

async fn replay_pool(ipam: &dyn Ipam, request: PoolRequest, id: &str) -> Result<(), Error> {
    let pool = request.pool;
    match ipam.request_pool(request).await {
        Ok(answer) if answer.pool_id == id => Ok(()),
        Ok(answer) => {
            let other = answer.pool_id;
            tracing::warn!(?pool, id, other, "a repeated request got another pool");
            drop(ipam.release_pool(&other).await);
            Ok(())
        }
        Err(error) => refused(Error::new(error.kind(), error), id),
    }
}

async fn replay_address(
    ipam: &dyn Ipam,
    pool_id: &str,
    address: IpAddr,
    options: &BTreeMap<String, String>,
) -> Result<(), Error> {
    match ipam.request_address(pool_id, Some(address), options).await {
        Ok(_) => Ok(()),
        Err(error) => refused(Error::new(error.kind(), error), pool_id),
    }
}

fn refused(error: Error, pool_id: &str) -> Result<(), Error> {
    if error.kind == Kind::Unavailable {
        return Err(error);
    }
    tracing::debug!(%error, pool_id, "a repeated request was refused");
    Ok(())
}
