//! `/networks`: the networks of the cluster, as this node knows them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::control::EndpointResource;
use crate::definition::Subnet;
use crate::id::{EndpointId, Mac, NetworkId, NodeId};

fn overlay() -> String {
    "overlay".to_owned()
}

fn weft() -> String {
    "weft".to_owned()
}

/// Query of the list resources: libnetwork's `?name=` and `?partial-id=`. Both given, both must
/// hold; neither given, everything is listed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListFilter {
    /// Lists only what has exactly this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Lists only what has an id that begins so.
    #[serde(default, rename = "partial-id", skip_serializing_if = "Option::is_none")]
    pub partial_id: Option<String>,
}

impl ListFilter {
    /// Tells whether something with this id and name is to be listed.
    pub fn matches(&self, id: &str, name: &str) -> bool {
        self.name.as_deref().is_none_or(|wanted| wanted == name)
            && self.partial_id.as_deref().is_none_or(|prefix| id.starts_with(prefix))
    }
}

/// `POST /networks`: makes a network, or joins the one of that name when all it asks for agrees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkCreate {
    /// Unique in the cluster, 1 to 128 bytes.
    pub name: String,
    /// Network driver; `overlay` by default.
    #[serde(default = "overlay", rename = "type")]
    pub driver: String,
    /// IPAM driver; `weft` by default.
    #[serde(default = "weft")]
    pub ipam: String,
    /// Explicit subnets; none takes one IPv4 subnet of the default pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<SubnetRequest>,
    /// Adds an IPv6 subnet of the default pool unless `subnets` has one.
    #[serde(default)]
    pub ipv6: bool,
    /// Gives the network no way out.
    #[serde(default)]
    pub internal: bool,
    /// MTU of its endpoints, in bytes; none takes each host's uplink less the encapsulation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Driver options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Options of the IPAM driver; the built-in one takes none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ipam_options: BTreeMap<String, String>,
}

impl NetworkCreate {
    /// Asks for a network of this name with the defaults in all else.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            driver: overlay(),
            ipam: weft(),
            subnets: Vec::new(),
            ipv6: false,
            internal: false,
            mtu: None,
            options: BTreeMap::new(),
            ipam_options: BTreeMap::new(),
        }
    }
}

/// A subnet asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubnetRequest {
    /// The pool.
    pub pool: IpNetwork,
    /// The gateway; none takes the first address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Where dynamic addresses come from; none takes all of the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<IpNetwork>,
    /// Addresses set aside by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary: BTreeMap<String, IpAddr>,
}

impl SubnetRequest {
    /// Asks for `pool` with the defaults in all else.
    pub const fn of(pool: IpNetwork) -> Self {
        Self { pool, gateway: None, range: None, auxiliary: BTreeMap::new() }
    }
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkResource {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: NetworkId,
    /// Its network driver.
    #[serde(rename = "type")]
    pub driver: String,
    /// Its IPAM driver.
    pub ipam: String,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// Driver options, as the creator gave them.
    pub options: BTreeMap<String, String>,
    /// MTU asked for, in bytes.
    pub mtu: Option<u32>,
    /// It has no way out.
    pub internal: bool,
    /// The node that made it.
    pub creator: NodeId,
    /// It lost its name or pool when two halves of the cluster met: no new endpoints.
    pub frozen: bool,
    /// The endpoints of this node.
    pub endpoints: Vec<EndpointResource>,
    /// Who takes part; only where `?verbose=true` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<NetworkDetail>,
}

/// What `inspect --verbose` adds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkDetail {
    /// The nodes attached to the network.
    pub nodes: Vec<AttachedNode>,
    /// The endpoints of all nodes, as the peer table shows them.
    pub peers: Vec<NetworkPeer>,
}

/// A node that takes part in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedNode {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Its address on the underlay, where it is known.
    pub address: Option<IpAddr>,
}

/// An endpoint of any node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPeer {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Its addresses.
    pub addresses: Vec<IpNetwork>,
    /// Its MAC address.
    pub mac: Option<Mac>,
    /// The VTEP of its host.
    pub vtep: Option<IpAddr>,
    /// The node that owns it.
    pub node: NodeId,
}
