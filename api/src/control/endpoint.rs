//! `/networks/{id}/endpoints` and their sandboxes, `/attach` and `/detach`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::control::AttachmentKey;
use crate::id::{EndpointId, Mac, NetworkId};

/// The id of a sandbox: what the controller calls one network namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SandboxId(String);

impl SandboxId {
    /// Takes the text as it is.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `POST /networks/{id}/endpoints`: addresses given here are honoured or refused, never replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointCreate {
    /// Unique in the network; none takes a name made from the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// At most one address of each family; a family without one gets its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// MAC address; none derives it from the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Driver options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// `POST /networks/{id}/endpoints/{eid}/sandboxes`: joins a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointJoin {
    /// Absolute path of the network namespace, such as `/run/netns/web` or `/proc/42/ns/net`.
    pub netns: String,
    /// Name of the interface inside; none takes the first free `ethN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
}

/// `POST /attach`: create and join in one step; nothing stays when either fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachRequest {
    /// The network, by id, prefix or name.
    pub network: String,
    /// Endpoint name; unique in the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// At most one address of each family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// MAC address; none derives it from the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Absolute path of the network namespace.
    pub netns: String,
    /// Name of the interface inside; none takes the first free `ethN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
    /// Driver options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

impl AttachRequest {
    /// Splits into the two steps it stands for.
    pub fn into_steps(self) -> (EndpointCreate, EndpointJoin) {
        (
            EndpointCreate {
                name: self.name,
                addresses: self.addresses,
                mac: self.mac,
                options: self.options,
            },
            EndpointJoin { netns: self.netns, ifname: self.ifname },
        )
    }
}

/// `POST /detach`: leave and delete in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetachRequest {
    /// The endpoint, by id, prefix, name, or `NETWORK/NAME`.
    pub endpoint: String,
}

/// Where an endpoint is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// It holds its addresses and is in no sandbox.
    Created,
    /// It is in its sandbox.
    Joined,
    /// Its sandbox vanished; its addresses stay until it is deleted.
    Stale,
}

/// An endpoint of this node: libnetwork's `{name, id, network}` and more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointResource {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: EndpointId,
    /// The name of its network.
    pub network: String,
    /// The id of its network.
    pub network_id: NetworkId,
    /// Where it is in its life.
    pub state: EndpointState,
    /// IPv4 address with the prefix length of its subnet.
    pub address: Option<IpNetwork>,
    /// IPv6 address with the prefix length of its subnet.
    pub address_ipv6: Option<IpNetwork>,
    /// MAC address.
    pub mac: Option<Mac>,
    /// Its sandbox while it is joined.
    pub sandbox: Option<SandboxResource>,
    /// The CNI container it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<AttachmentKey>,
}

/// A sandbox as one of its endpoints sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxResource {
    /// Its id.
    pub id: SandboxId,
    /// Path of the network namespace (libnetwork's sandbox key).
    pub key: String,
    /// Name of the interface inside.
    pub ifname: String,
    /// IPv4 default gateway.
    pub gateway: Option<IpAddr>,
    /// IPv6 default gateway.
    pub gateway_ipv6: Option<IpAddr>,
    /// MTU of the interface, in bytes.
    pub mtu: Option<u32>,
    /// Routes beside the default ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<StaticRoute>,
}

/// A route in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticRoute {
    /// Where it leads.
    pub destination: IpNetwork,
    /// Through which neighbour; none means on the link.
    pub next_hop: Option<IpAddr>,
}
