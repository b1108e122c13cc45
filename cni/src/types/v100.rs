//! Results of versions 1.0.0 and 1.1.0: the current shape.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::address;
use super::{Dns, Route};

/// The versions of this shape.
pub const VERSIONS: [&str; 2] = ["1.0.0", "1.1.0"];

/// What ADD answers with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Result {
    /// Version of the specification.
    #[serde(rename = "cniVersion", skip_serializing_if = "String::is_empty")]
    pub cni_version: String,
    /// Name resolution.
    #[serde(skip_serializing_if = "Dns::is_empty")]
    pub dns: Dns,
    /// Interfaces the plugin made, in the host and in the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpConfig>,
    /// Routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// An interface the plugin made. `mtu`, `socket_path` and `pci_id` came with 1.1.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its hardware address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Its largest packet, in bytes; 0 for unsaid.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mtu: i64,
    /// The network namespace it is in; empty for the host's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// The socket of a vhost-user interface.
    #[serde(default, rename = "socketPath", skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
    /// The PCI address of a device.
    #[serde(default, rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// Which of the result's interfaces has it, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
    /// The address, in CIDR notation.
    #[serde(with = "address::cidr")]
    pub address: IpNetwork,
    /// The default gateway of its subnet.
    #[serde(
        default,
        deserialize_with = "address::optional::deserialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub gateway: Option<IpAddr>,
}
