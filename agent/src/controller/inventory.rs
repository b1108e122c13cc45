//! The endpoints and sandboxes of this node, durable.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_api::control::{EndpointResource, EndpointState, SandboxId, SandboxResource, StaticRoute};
use weft_api::{EndpointId, Mac, NetworkId, Space, Stamp, Write};

use crate::controller::engine::since_s;

mod container;
mod engine;

pub use container::Container;
pub use engine::{
    AllocatedBy, AttachedFor, Choice, Claim, EngineEndpoint, Hold, Standing, WayOutBy,
};

/// An endpoint, as the controller keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Its network.
    pub network: NetworkId,
    /// Its network's name, for people.
    pub network_name: String,
    /// Unique in its network.
    pub name: String,
    /// IPv4 address with the prefix length of its pool.
    pub address: Option<IpNetwork>,
    /// IPv6 address with the prefix length of its pool.
    pub address_ipv6: Option<IpNetwork>,
    /// MAC address.
    pub mac: Option<Mac>,
    /// When and by whom its addresses were allocated.
    pub stamp: Stamp,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Where it is joined.
    pub sandbox: Option<Sandbox>,
    /// Its sandbox vanished.
    pub stale: bool,
    /// Made by an engine, which places the interface itself.
    #[serde(default)]
    pub engine: Option<EngineEndpoint>,
    /// Made for a CNI container.
    #[serde(default)]
    pub container: Option<Container>,
}

/// A sandbox as one endpoint is joined to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Its id: the same for all endpoints in one namespace.
    pub id: String,
    /// Path of the namespace.
    pub key: String,
    /// Name of the interface.
    pub ifname: String,
    /// It carries the sandbox's default routes.
    pub default_route: bool,
    /// IPv4 gateway.
    pub gateway: Option<std::net::IpAddr>,
    /// IPv6 gateway.
    pub gateway_ipv6: Option<std::net::IpAddr>,
    /// MTU of the interface.
    pub mtu: Option<u32>,
    /// Routes beside the default ones.
    pub routes: Vec<StaticRoute>,
    /// Table entries that stand while it is joined.
    pub entries: Vec<(String, String)>,
    /// The run of the host's kernel it was joined in; absent when that could not be read.
    #[serde(default)]
    pub boot: Option<String>,
    /// Who puts the interface into the namespace.
    #[serde(default)]
    pub placed_by: PlacedBy,
}

/// Who puts an endpoint's interface into its namespace, names and addresses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacedBy {
    /// The driver.
    #[default]
    Driver,
    /// The engine that called, from the host's namespace, where the driver leaves it under
    /// `ifname`.
    Engine,
}

impl Endpoint {
    /// Returns the write that keeps it.
    pub fn to_write(&self) -> Write {
        let value = serde_json::to_vec(self).expect("an endpoint has text keys only");
        Write { space: Space::Controller, key: key(self.id), value: Some(value) }
    }

    /// Returns the write that removes it.
    pub fn removal(id: EndpointId) -> Write {
        Write { space: Space::Controller, key: key(id), value: None }
    }

    /// Tells whether an engine or a runtime made it, which knows it by a key of its own.
    pub fn is_known_outside(&self) -> bool {
        self.engine.is_some() || self.container.is_some()
    }

    /// Returns the addresses of this node's that whoever made it asked for by name. They linger
    /// after its end.
    pub fn named(&self) -> &[IpAddr] {
        match (&self.engine, &self.container) {
            (Some(engine), _) => &engine.named,
            (None, Some(container)) => &container.named,
            (None, None) => &[],
        }
    }

    /// Shows it.
    pub fn resource(&self) -> EndpointResource {
        let state = match (&self.sandbox, self.stale) {
            (Some(_), _) => EndpointState::Joined,
            (None, true) => EndpointState::Stale,
            (None, false) => EndpointState::Created,
        };
        EndpointResource {
            name: self.name.clone(),
            id: self.id,
            network: self.network_name.clone(),
            network_id: self.network,
            state,
            address: self.address,
            address_ipv6: self.address_ipv6,
            mac: self.mac,
            sandbox: self.sandbox.as_ref().map(|sandbox| SandboxResource {
                id: SandboxId::new(sandbox.id.clone()),
                key: sandbox.key.clone(),
                ifname: sandbox.ifname.clone(),
                gateway: sandbox.gateway,
                gateway_ipv6: sandbox.gateway_ipv6,
                mtu: sandbox.mtu,
                routes: sandbox.routes.clone(),
            }),
            container: self.container.as_ref().map(|container| container.key.clone()),
        }
    }
}

fn key(id: EndpointId) -> Vec<u8> {
    [b"endpoint/", &id.as_bytes()[..]].concat()
}

/// What the controller holds in memory. Every change is on disk before it is answered.
#[derive(Debug, Default)]
pub struct Inventory {
    endpoints: BTreeMap<EndpointId, Endpoint>,
    /// Names that an endpoint being made has taken.
    reserved: BTreeSet<(NetworkId, String)>,
    /// Networks that their drivers know on this node.
    created: BTreeSet<NetworkId>,
    /// Networks an engine has, by the engine's id.
    holds: BTreeMap<String, Hold>,
    /// Addresses that wait for their endpoints.
    claims: BTreeMap<(NetworkId, IpAddr), Claim>,
}

/// Says that a name is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("endpoint `{0}` exists already in this network")]
pub struct NameTaken(pub String);

impl Inventory {
    /// Takes up what an earlier start kept.
    ///
    /// # Errors
    /// A record does not decode; its error says which.
    pub fn restore(&mut self, records: &[(Vec<u8>, Vec<u8>)]) -> Result<(), serde_json::Error> {
        for (key, value) in records {
            if key.starts_with(b"endpoint/") {
                let endpoint: Endpoint = serde_json::from_slice(value)?;
                self.endpoints.insert(endpoint.id, endpoint);
            } else if key.starts_with(engine::HOLD) {
                self.put_hold(serde_json::from_slice(value)?);
            } else if key.starts_with(engine::CLAIM) {
                let claim: Claim = serde_json::from_slice(value)?;
                self.put_claim(Claim { since_s: since_s(claim.since_s), ..claim });
            }
        }
        Ok(())
    }

    /// Takes a name for an endpoint that is being made.
    ///
    /// # Errors
    /// [`NameTaken`].
    pub fn reserve(&mut self, network: NetworkId, name: &str) -> Result<(), NameTaken> {
        let taken = self.endpoints.values().any(|e| e.network == network && e.name == name)
            || !self.reserved.insert((network, name.to_owned()));
        if taken { Err(NameTaken(name.to_owned())) } else { Ok(()) }
    }

    /// Gives a reserved name back.
    pub fn unreserve(&mut self, network: NetworkId, name: &str) {
        self.reserved.remove(&(network, name.to_owned()));
    }

    /// Adds or replaces an endpoint.
    pub fn put(&mut self, endpoint: Endpoint) {
        self.unreserve(endpoint.network, &endpoint.name.clone());
        self.endpoints.insert(endpoint.id, endpoint);
    }

    /// Removes an endpoint.
    pub fn remove(&mut self, id: EndpointId) -> Option<Endpoint> {
        self.endpoints.remove(&id)
    }

    /// Returns an endpoint.
    pub fn get(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(&id)
    }

    /// Returns all endpoints.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values()
    }

    /// Returns the endpoints of a network.
    pub fn of(&self, network: NetworkId) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values().filter(move |endpoint| endpoint.network == network)
    }

    /// Returns the endpoints made for CNI containers, each with what it has besides.
    pub fn of_containers(&self) -> impl Iterator<Item = (&Endpoint, &Container)> {
        self.endpoints
            .values()
            .filter_map(|endpoint| Some((endpoint, endpoint.container.as_ref()?)))
    }

    /// Tells whether an endpoint of the network is there or being made, or an engine has it.
    pub fn in_use(&self, network: NetworkId) -> bool {
        self.of(network).next().is_some()
            || self.reserved.iter().any(|(id, _)| *id == network)
            || self.is_held(network)
    }

    /// Tells whether an engine keeps this node attached to the network.
    pub fn is_held(&self, network: NetworkId) -> bool {
        let keeps = |hold: &Hold| match hold.attached_for {
            AttachedFor::TheNetwork => hold.network == network,
            AttachedFor::Endpoints => false,
        };
        self.holds.values().any(keeps)
    }

    /// Adds or replaces a hold.
    pub fn put_hold(&mut self, hold: Hold) {
        self.holds.insert(hold.engine_network.clone(), hold);
    }

    /// Removes a hold.
    pub fn remove_hold(&mut self, engine_network: &str) -> Option<Hold> {
        self.holds.remove(engine_network)
    }

    /// Returns a network as the engine has it.
    pub fn hold(&self, engine_network: &str) -> Option<&Hold> {
        self.holds.get(engine_network)
    }

    /// Returns all networks engines have.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.values()
    }

    /// Returns the endpoint an engine knows by this id.
    pub fn of_engine(&self, engine_endpoint: &str) -> Option<&Endpoint> {
        self.endpoints.values().find(|endpoint| {
            endpoint.engine.as_ref().is_some_and(|of| of.engine_endpoint == engine_endpoint)
        })
    }

    /// Adds or replaces a claim.
    pub fn put_claim(&mut self, claim: Claim) {
        self.claims.insert((claim.network, claim.address.ip()), claim);
    }

    /// Removes the claim of an address.
    pub fn remove_claim(&mut self, network: NetworkId, address: IpAddr) -> Option<Claim> {
        self.claims.remove(&(network, address))
    }

    /// Returns the claim of an address.
    pub fn claim(&self, network: NetworkId, address: IpAddr) -> Option<&Claim> {
        self.claims.get(&(network, address))
    }

    /// Returns all claims.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.claims.values()
    }

    /// Returns the endpoints joined to a sandbox.
    pub fn in_sandbox<'a>(
        &'a self,
        key: &'a str,
    ) -> impl Iterator<Item = (&'a Endpoint, &'a Sandbox)> {
        self.endpoints
            .values()
            .filter_map(|endpoint| Some((endpoint, endpoint.sandbox.as_ref()?)))
            .filter(move |(_, sandbox)| sandbox.key == key)
    }

    /// Marks a network as known to its driver; false when it was.
    pub fn mark_created(&mut self, network: NetworkId) -> bool {
        self.created.insert(network)
    }

    /// Marks a network as unknown to its driver; false when it was.
    pub fn mark_deleted(&mut self, network: NetworkId) -> bool {
        self.created.remove(&network)
    }

    /// Tells whether its driver knows a network.
    pub fn is_created(&self, network: NetworkId) -> bool {
        self.created.contains(&network)
    }

    /// Forgets everything: the node left its cluster.
    pub fn clear(&mut self) -> Vec<Endpoint> {
        self.created.clear();
        self.holds.clear();
        self.claims.clear();
        std::mem::take(&mut self.endpoints).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(byte: u8, name: &str) -> Endpoint {
        Endpoint {
            id: EndpointId::from_bytes([byte; 16]),
            network: NetworkId::from_bytes([1; 16]),
            network_name: "blue".to_owned(),
            name: name.to_owned(),
            address: Some("10.0.0.2/24".parse().unwrap()),
            address_ipv6: None,
            mac: None,
            stamp: Stamp::default(),
            options: BTreeMap::new(),
            sandbox: None,
            stale: false,
            engine: None,
            container: None,
        }
    }

    #[test]
    fn an_endpoint_survives_its_record() {
        let web = endpoint(2, "web");
        let write = web.to_write();
        let mut inventory = Inventory::default();
        inventory.restore(&[(write.key, write.value.unwrap())]).unwrap();
        assert_eq!(inventory.get(web.id), Some(&web));
        assert_eq!(Endpoint::removal(web.id).key, web.to_write().key);
    }

    #[test]
    fn a_sandbox_of_before_boots_were_kept_can_be_read() {
        let json = r#"{"id":"1","key":"/run/netns/web","ifname":"eth0","default_route":true,
            "gateway":null,"gateway_ipv6":null,"mtu":1450,"routes":[],"entries":[]}"#;
        assert_eq!(serde_json::from_str::<Sandbox>(json).unwrap().boot, None);
    }

    #[test]
    fn a_name_is_taken_from_reservation_to_removal() {
        let mut inventory = Inventory::default();
        let network = NetworkId::from_bytes([1; 16]);
        inventory.reserve(network, "web").unwrap();
        assert!(inventory.reserve(network, "web").is_err());
        assert!(inventory.in_use(network));
        inventory.unreserve(network, "web");
        assert!(!inventory.in_use(network));
        inventory.reserve(network, "web").unwrap();
        inventory.put(endpoint(2, "web"));
        assert!(inventory.reserve(network, "web").is_err());
        assert!(inventory.reserve(NetworkId::from_bytes([2; 16]), "web").is_ok());
        inventory.remove(EndpointId::from_bytes([2; 16]));
        inventory.reserve(network, "web").unwrap();
    }
}
