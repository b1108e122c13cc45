//! Calls of a remote IPAM driver (`POST /IpamDriver.CALL`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::nullable;

/// How paths of these calls begin.
pub const PATH: &str = "/IpamDriver.";

/// An answer that failed. The member is `Error`, not `Err` as for network drivers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Failure {
    /// Empty means that it succeeded.
    pub error: String,
}

/// Answers `GetCapabilities`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Address requests for endpoints carry the MAC address.
    #[serde(rename = "RequiresMACAddress")]
    pub requires_mac_address: bool,
    /// Pools and addresses in use are asked for again when the engine starts.
    #[serde(rename = "RequiresRequestReplay")]
    pub requires_request_replay: bool,
}

/// Answers `GetDefaultAddressSpaces`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AddressSpaces {
    /// For networks of one node.
    pub local_default_address_space: String,
    /// For networks of the cluster.
    pub global_default_address_space: String,
}

/// `RequestPool`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RequestPoolRequest {
    /// One of the spaces above.
    pub address_space: String,
    /// The pool; empty lets the driver choose.
    pub pool: String,
    /// Where dynamic addresses come from; empty means all of the pool.
    pub sub_pool: String,
    /// What the user gave with `--ipam-opt`, and libnetwork's labels.
    #[serde(deserialize_with = "nullable")]
    pub options: BTreeMap<String, String>,
    /// The family, where `pool` does not say it.
    pub v6: bool,
}

/// Answers `RequestPool`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestPoolResponse {
    /// Names it in all further calls.
    #[serde(rename = "PoolID")]
    pub pool_id: String,
    /// The pool.
    #[serde(rename = "Pool")]
    pub pool: String,
    /// Addresses reserved with it, by label.
    #[serde(rename = "Data", deserialize_with = "nullable")]
    pub data: BTreeMap<String, String>,
}

/// `ReleasePool`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleasePoolRequest {
    /// The pool.
    #[serde(rename = "PoolID")]
    pub pool_id: String,
}

/// `RequestAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestAddressRequest {
    /// The pool.
    #[serde(rename = "PoolID")]
    pub pool_id: String,
    /// The address, without a prefix length; empty lets the driver choose.
    #[serde(rename = "Address")]
    pub address: String,
    /// What it is for.
    #[serde(rename = "Options", deserialize_with = "nullable")]
    pub options: BTreeMap<String, String>,
}

/// Answers `RequestAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RequestAddressResponse {
    /// The address, with the pool's prefix length.
    pub address: String,
    /// What else there is to tell, by label.
    #[serde(deserialize_with = "nullable")]
    pub data: BTreeMap<String, String>,
}

/// `ReleaseAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseAddressRequest {
    /// The pool.
    #[serde(rename = "PoolID")]
    pub pool_id: String,
    /// The address, without a prefix length.
    #[serde(rename = "Address")]
    pub address: String,
}
