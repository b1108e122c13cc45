//! What an engine on this host holds of the cluster: networks it made objects of, and addresses
//! it asked for ahead of their endpoints.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_api::{EndpointId, Mac, NetworkId, Space, Write};

/// Who leads an endpoint's packets out of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WayOutBy {
    /// The engine, through a bridge of its own.
    #[default]
    Engine,
    /// Weft, through the network's gateway.
    Weft,
}

/// How long a network that an engine has keeps this node attached to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachedFor {
    /// As long as the engine has it: nobody deletes it meanwhile.
    #[default]
    TheNetwork,
    /// As long as there are endpoints: a Swarm decides for all its nodes when a network ends, and
    /// does not tell those that have no task of it.
    Endpoints,
}

/// A network as an engine has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The engine's id of the network.
    pub engine_network: String,
    /// The cluster's network.
    pub network: NetworkId,
    /// Who leads packets out.
    pub way_out: WayOutBy,
    /// How long this node is attached.
    #[serde(default)]
    pub attached_for: AttachedFor,
    /// The options it was made with, to tell a repeated call from another one.
    pub options: Value,
}

/// Who allocated an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllocatedBy {
    /// This node, for an endpoint of its own; it goes with the endpoint.
    ThisNode,
    /// A Swarm's leader, for a task that runs here; only the leader gives it back.
    SwarmLeader,
}

/// Whether an address waits for its endpoint, or has lost one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// For an endpoint to come.
    #[default]
    Waiting,
    /// Its endpoint ended, or did not come. One asked for by name stays a while for whoever
    /// names it again: a container that is restarted comes back for the address it had.
    Lingering,
}

/// Whether an engine named an address or took any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Any would have done.
    #[default]
    Any,
    /// This one was asked for.
    Named,
}

/// An address that waits for its endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The endpoint to come; the claims of both families share it.
    pub endpoint: EndpointId,
    /// Its network.
    pub network: NetworkId,
    /// The address, with the pool's prefix length.
    pub address: IpNetwork,
    /// The interface's MAC, by which a repeated request is told.
    pub mac: Option<Mac>,
    /// Who allocated it.
    pub by: AllocatedBy,
    /// When, in seconds since 1970.
    pub since_s: u64,
    /// Whether it was asked for by name.
    #[serde(default)]
    pub choice: Choice,
    /// Whether it still waits.
    #[serde(default)]
    pub standing: Standing,
}

/// What an endpoint made by an engine has besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineEndpoint {
    /// The engine's id of its network.
    pub engine_network: String,
    /// The engine's id of it.
    pub engine_endpoint: String,
    /// Addresses that a Swarm's leader allocated.
    pub borrowed: Vec<IpAddr>,
    /// Addresses of this node's that the engine asked for by name.
    #[serde(default)]
    pub named: Vec<IpAddr>,
    /// Ports published on this host, as the driver settled them.
    pub published: Option<Value>,
}

impl Hold {
    /// Returns the write that keeps it.
    pub fn to_write(&self) -> Write {
        put(hold_key(&self.engine_network), self)
    }

    /// Returns the write that removes it.
    pub fn removal(engine_network: &str) -> Write {
        Write { space: Space::Controller, key: hold_key(engine_network), value: None }
    }
}

impl Claim {
    /// Returns the write that keeps it.
    pub fn to_write(&self) -> Write {
        put(self.key(), self)
    }

    /// Returns the write that removes it.
    pub fn removal(&self) -> Write {
        Write { space: Space::Controller, key: self.key(), value: None }
    }

    fn key(&self) -> Vec<u8> {
        let address = self.address.ip().to_string();
        [CLAIM, &self.network.as_bytes()[..], address.as_bytes()].concat()
    }
}

/// How keys of holds begin.
pub(super) const HOLD: &[u8] = b"hold/";
/// How keys of claims begin.
pub(super) const CLAIM: &[u8] = b"claim/";

fn hold_key(engine_network: &str) -> Vec<u8> {
    [HOLD, engine_network.as_bytes()].concat()
}

fn put(key: Vec<u8>, record: &impl Serialize) -> Write {
    let value = serde_json::to_vec(record).expect("a record with text keys only");
    Write { space: Space::Controller, key, value: Some(value) }
}
