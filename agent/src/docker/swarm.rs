//! What only engines in a Swarm ask: networks of the whole Swarm, and who else is there.

use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use tokio::time::timeout_at;
use weft_api::Definition;
use weft_api::control::ControlError;
use weft_api::driver::Scope;
use weft_api::plugin::network::{
    AllocateNetworkRequest, AllocateNetworkResponse, DiscoveryNotification, NetworkRequest,
};
use weft_ipam::{Purpose, Want};

use super::agreement::{Described, swarms_id, vnis_of};
use super::books::{Insist, Origin};
use super::granted::{TakenUp, kept};
use super::networks::{create_hint, not_anothers, own_name};
use super::pool_id::PoolId;
use super::settings::{CLUSTER_NETWORK, Settings};
use super::{Plugin, checked_id};
use crate::control::Answer;
use crate::doctor::overlap;
use crate::overlay_driver::options::VXLAN_IDS;

/// How long a leader waits for a network that its Swarm removed and whose name or subnet it asks
/// for again. It allocates nothing else meanwhile. Refused, it tries again when a task or a network
/// ends, and at the latest after five minutes.
const ENDING_MAX: Duration = Duration::from_secs(3);
/// How often it looks whether the network is gone.
const ENDING_LOOK: Duration = Duration::from_millis(50);
/// The only news engines tell remote drivers: a node came or went.
const NODE: i64 = 1;

impl Plugin {
    /// The leader asks once, and each new leader asks again.
    pub(super) async fn allocate_network(
        &self,
        request: AllocateNetworkRequest,
    ) -> Answer<AllocateNetworkResponse> {
        let id = checked_id("NetworkID", &request.network_id)?;
        if self.scope == Scope::Local {
            return Err(ControlError::forbidden(
                "this plugin says scope `local`, and a Swarm asks for a network of all its nodes",
            )
            .with_hint(
                "set docker_scope = \"global\" (WEFT_DOCKER_SCOPE=global) on every node and \
                 restart the agents",
            ));
        }
        let data: Vec<_> = request.ipv4_data.into_iter().chain(request.ipv6_data).collect();
        if data.iter().all(|data| data.pool.is_none()) {
            return Err(ControlError::invalid("a network of Weft's needs a subnet")
                .with_hint(create_hint(&self.name, None)));
        }
        let described = Described { data, settings: Settings::of_driver(&request.options)? };
        let definition = self.swarms_network(id, &described).await?;
        // Whoever leads now asks for all there is once more, with what the last one was answered.
        let taken_up = match described.settings.cluster_network {
            Some(_) => TakenUp::Again,
            None => TakenUp::First,
        };
        let pools: Vec<_> = definition.subnets.iter().map(|subnet| subnet.pool).collect();
        let writes = self.granted().take_up(&pools, id, taken_up);
        self.controller.keep(writes).await?;
        for pool in described.data.iter().filter_map(|data| data.pool) {
            self.end_reservation(pool).await?;
        }
        let mut options = request.options;
        options.insert(CLUSTER_NETWORK.to_owned(), definition.id.to_string());
        options.insert(VXLAN_IDS.to_owned(), vnis_of(&definition));
        Ok(AllocateNetworkResponse { options })
    }

    async fn swarms_network(&self, id: &str, described: &Described) -> Answer<Definition> {
        let known = described.settings.cluster_network;
        let definitions = self.controller.definitions().await?;
        let standing = definitions
            .into_iter()
            .find(|definition| Some(definition.id) == known || swarms_id(definition) == Some(id));
        if let Some(definition) = &standing {
            not_anothers(definition, Some(id))?;
        }
        if let Some(definition) = standing
            && described.contradictions(&definition).is_empty()
        {
            return Ok(definition);
        }
        let reserved =
            described.data.iter().filter_map(|data| data.pool).find_map(|pool| {
                match self.books().reservation(pool).map(|known| known.origin.clone()) {
                    Some(Origin::Named(name)) => Some(name),
                    Some(Origin::Found(_) | Origin::Asked | Origin::Default) | None => None,
                }
            });
        let name =
            reserved.or_else(|| described.settings.network.clone()).unwrap_or_else(|| own_name(id));
        // What the last leader was answered says which VNI it was; VNIs are never used again.
        let mut described = described.clone();
        if known.is_some() {
            described.settings.vnis = None;
        }
        self.get_or_make(&name, &described, Some(id)).await
    }

    /// The Swarm deleted the network: nobody may use it any more, and soon nobody does.
    pub(super) async fn free_network(&self, request: NetworkRequest) -> Answer<()> {
        let id = checked_id("NetworkID", &request.network_id)?;
        let writes = self.granted().end(id);
        self.controller.keep(writes).await?;
        let definitions = self.controller.definitions().await?;
        let of_swarm = definitions.into_iter().find(|definition| swarms_id(definition) == Some(id));
        let Some(definition) = of_swarm else { return Ok(()) };
        self.retire(definition.id, Insist::Always).await
    }

    /// Waits for the end of networks that the Swarm removed, if they have what is wanted: the Swarm
    /// does not wait for their last tasks, and what comes next in their place is not to meet them.
    pub(super) async fn await_ending(
        &self,
        name: Option<&str>,
        pool: Option<IpNetwork>,
    ) -> Answer<()> {
        let deadline = tokio::time::Instant::now() + ENDING_MAX;
        while let Some(ending) = self.ending_with(name, pool).await? {
            let part = self.controller.taking_part(ending.id).await?;
            if !part.away.is_empty() {
                // It ends when they are back, which nobody waits for.
                return Err(still_ending(&ending, &part.away));
            }
            if part.here.is_empty() {
                // On a task of its own: what has begun is not cut off by the deadline.
                let controller = self.controller.clone();
                let network = ending.id;
                let deletion = async move { controller.retire_network(network).await };
                if let Ok(done) = timeout_at(deadline, tokio::spawn(deletion)).await
                    && matches!(done, Ok(Ok(true)))
                {
                    continue;
                }
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(still_ending(&ending, &part.here));
            }
            tokio::time::sleep(ENDING_LOOK).await;
        }
        Ok(())
    }

    /// A network that the Swarm removed and that has this name or overlaps this subnet.
    async fn ending_with(
        &self,
        name: Option<&str>,
        pool: Option<IpNetwork>,
    ) -> Answer<Option<Definition>> {
        let retiring = self.books().retiring();
        let is_meant = |definition: &Definition| {
            Some(definition.name.as_str()) == name
                || definition
                    .subnets
                    .iter()
                    .any(|subnet| pool.is_some_and(|pool| overlap(subnet.pool, pool)))
        };
        let definitions = self.controller.definitions().await?;
        Ok(definitions.into_iter().find(|definition| {
            retiring.get(&definition.id) == Some(&Insist::Always) && is_meant(definition)
        }))
    }

    /// Allocates what a leader asks for tasks and services, wherever they run; one that it names
    /// once, until it releases it.
    pub(super) async fn grant(&self, id: &PoolId, want: Want) -> Answer<IpNetwork> {
        let definition = self.network_of(id).await?;
        let named = match want {
            Want::Replay(address) | Want::Exact(address) => Some(address),
            Want::First | Want::Serial => None,
        };
        if let Some(address) = named
            && !self.granted().give(id.pool, address)
        {
            return Err(ControlError::forbidden(format!(
                "address `{address}` of network `{}`: Address already in use: the Swarm has it",
                definition.name
            ))
            .with_hint("take another --ip, or none"));
        }
        let (network, purpose) = (definition.id, Purpose::Swarm);
        let allocated =
            self.controller.allocate_held(network, id.pool, want, id.sub_pool, purpose).await;
        match (&allocated, named) {
            (Ok(allocated), _) => {
                self.granted().give(id.pool, allocated.ip());
                self.controller.keep([kept(id.pool, allocated.ip())]).await?;
            }
            (Err(_), Some(address)) => {
                // Nothing of it was kept yet.
                drop(self.granted().take_back(id.pool, address));
            }
            (Err(_), None) => {}
        }
        allocated
    }

    pub(super) fn discover_new(&self, news: &DiscoveryNotification) -> Answer<()> {
        let Some(address) = other_node(news)? else { return Ok(()) };
        self.discovered.send_if_modified(|known| known.insert(address));
        Ok(())
    }

    pub(super) fn discover_delete(&self, news: &DiscoveryNotification) -> Answer<()> {
        let Some(address) = other_node(news)? else { return Ok(()) };
        self.discovered.send_if_modified(|known| known.remove(&address));
        Ok(())
    }
}

/// Says that what a Swarm removed stands in the way of what it makes.
fn still_ending(ending: &Definition, on: &[String]) -> ControlError {
    let network = swarms_id(ending).unwrap_or_default();
    let on = if on.is_empty() { String::new() } else { format!(" on `{}`", on.join("`, `")) };
    ControlError::unavailable(format!(
        "network `{}` is still that of the Swarm's network `{network}`, which is removed and has \
         not ended yet{on}",
        ending.name
    ))
    .with_hint(
        "the Swarm will try again when its last tasks have stopped; a node that is down keeps it \
         until it is back, so else take another name and subnet",
    )
}

/// The address of another node of the Swarm.
fn other_node(news: &DiscoveryNotification) -> Answer<Option<IpAddr>> {
    if news.discovery_type != NODE || news.discovery_data.is_self {
        return Ok(None);
    }
    let text = &news.discovery_data.address;
    text.parse().map(Some).map_err(|_| {
        ControlError::invalid(format!("`{text}` is not the address of a node of the Swarm"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_api::discovery::NodeDiscoveryData;

    fn news(discovery_type: i64, address: &str, is_self: bool) -> DiscoveryNotification {
        DiscoveryNotification {
            discovery_type,
            discovery_data: NodeDiscoveryData {
                address: address.to_owned(),
                is_self,
                ..NodeDiscoveryData::default()
            },
        }
    }

    #[test]
    fn only_other_nodes_are_news() {
        let one: IpAddr = "10.99.0.3".parse().unwrap();
        assert_eq!(other_node(&news(1, "10.99.0.3", false)).unwrap(), Some(one));
        assert_eq!(other_node(&news(1, "10.99.0.1", true)).unwrap(), None);
        assert_eq!(other_node(&news(2, "", false)).unwrap(), None);
        assert!(other_node(&news(1, "somewhere", false)).is_err());
    }
}
