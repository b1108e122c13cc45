//! Calls of a remote network driver (`POST /NetworkDriver.CALL`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::nullable;
use crate::discovery::NodeDiscoveryData;
use crate::driver::{IpamData, Options};

/// How paths of these calls begin.
pub const PATH: &str = "/NetworkDriver.";

/// An answer that failed: `Err` says why, in words for the engine's user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Failure {
    /// Empty means that it succeeded.
    pub err: String,
}

/// Answers `GetCapabilities`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Capabilities {
    /// `local` or `global`: where networks are known.
    pub scope: String,
    /// How far they connect; empty means as `scope`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub connectivity_scope: String,
    /// Whether `GwAllocCheck` may be called (engine 28 and later).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gw_alloc_checker: bool,
}

/// `GwAllocCheck`: will the network need a gateway address?
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GwAllocCheckRequest {
    /// As for `CreateNetwork`.
    #[serde(deserialize_with = "nullable")]
    pub options: Options,
}

/// Answers `GwAllocCheck`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GwAllocCheckResponse {
    /// No IPv4 gateway is needed.
    #[serde(rename = "SkipIPv4")]
    pub skip_ipv4: bool,
    /// No IPv6 gateway is needed.
    #[serde(rename = "SkipIPv6")]
    pub skip_ipv6: bool,
}

/// `AllocateNetwork`, asked of a Swarm's leader alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AllocateNetworkRequest {
    /// The same on all nodes.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Driver options (`-o`), and what the last answer added.
    #[serde(rename = "Options", deserialize_with = "nullable")]
    pub options: BTreeMap<String, String>,
    /// IPv4 pools.
    #[serde(rename = "IPv4Data", deserialize_with = "nullable")]
    pub ipv4_data: Vec<IpamData>,
    /// IPv6 pools.
    #[serde(rename = "IPv6Data", deserialize_with = "nullable")]
    pub ipv6_data: Vec<IpamData>,
}

/// Answers `AllocateNetwork`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AllocateNetworkResponse {
    /// Comes back as options of each node's `CreateNetwork`.
    #[serde(deserialize_with = "nullable")]
    pub options: BTreeMap<String, String>,
}

/// `FreeNetwork`, `DeleteNetwork`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkRequest {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
}

/// `CreateNetwork`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateNetworkRequest {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Labels of libnetwork, the driver options under `com.docker.network.generic` among them.
    #[serde(rename = "Options", deserialize_with = "nullable")]
    pub options: Options,
    /// IPv4 pools.
    #[serde(rename = "IPv4Data", deserialize_with = "nullable")]
    pub ipv4_data: Vec<IpamData>,
    /// IPv6 pools.
    #[serde(rename = "IPv6Data", deserialize_with = "nullable")]
    pub ipv6_data: Vec<IpamData>,
}

/// `DeleteEndpoint`, `EndpointOperInfo`, `Leave`, `RevokeExternalConnectivity`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointRequest {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// The endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
}

/// An endpoint's interface; an empty member is not settled.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointInterface {
    /// IPv4 address with the pool's prefix length.
    #[serde(rename = "Address", skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// IPv6 address with the pool's prefix length.
    #[serde(rename = "AddressIPv6", skip_serializing_if = "String::is_empty")]
    pub address_ipv6: String,
    /// Six octets with colons.
    #[serde(rename = "MacAddress", skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
}

/// `CreateEndpoint`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateEndpointRequest {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// The endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// What is settled.
    #[serde(rename = "Interface", deserialize_with = "nullable")]
    pub interface: EndpointInterface,
    /// Labels of libnetwork and the endpoint's driver options.
    #[serde(rename = "Options", deserialize_with = "nullable")]
    pub options: Options,
}

/// Answers `CreateEndpoint`: only what the request left open.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateEndpointResponse {
    /// What the driver settled.
    #[serde(deserialize_with = "nullable")]
    pub interface: EndpointInterface,
}

/// Answers `EndpointOperInfo`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointOperInfoResponse {
    /// What there is to tell, by label.
    #[serde(deserialize_with = "nullable")]
    pub value: Options,
}

/// `Join`, `ProgramExternalConnectivity` (which names no sandbox).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JoinRequest {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// The endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Path of the sandbox's namespace, which may not exist yet.
    #[serde(rename = "SandboxKey", skip_serializing_if = "String::is_empty")]
    pub sandbox_key: String,
    /// Labels of the sandbox.
    #[serde(rename = "Options", deserialize_with = "nullable")]
    pub options: Options,
}

/// The interface an engine moves into the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InterfaceName {
    /// Its name in the host.
    pub src_name: String,
    /// How its name in the sandbox begins; the engine adds a number.
    pub dst_prefix: String,
}

/// A route of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StaticRoute {
    /// Where to.
    pub destination: String,
    /// 0: through `next_hop`; 1: straight through the interface.
    pub route_type: i64,
    /// Through whom.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next_hop: String,
}

/// Answers `Join`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JoinResponse {
    /// The interface to move.
    #[serde(deserialize_with = "nullable")]
    pub interface_name: Option<InterfaceName>,
    /// IPv4 default gateway; without one the engine sees to a way out itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// IPv6 default gateway.
    #[serde(rename = "GatewayIPv6", skip_serializing_if = "String::is_empty")]
    pub gateway_ipv6: String,
    /// Routes.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub static_routes: Vec<StaticRoute>,
    /// The sandbox needs no way out from the engine.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disable_gateway_service: bool,
}

/// `DiscoverNew`, `DiscoverDelete`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DiscoveryNotification {
    /// 1: a node; others are not told to remote drivers.
    pub discovery_type: i64,
    /// The node.
    #[serde(deserialize_with = "nullable")]
    pub discovery_data: NodeDiscoveryData,
}
