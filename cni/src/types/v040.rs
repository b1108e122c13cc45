//! Results of versions 0.3.0, 0.3.1 and 0.4.0: interfaces and any number of addresses.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::address::{self, is_ipv4};
use super::{Dns, Route, v100};

/// The versions of this shape.
pub const VERSIONS: [&str; 3] = ["0.3.0", "0.3.1", "0.4.0"];

/// What ADD answers with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Result {
    /// Version of the specification.
    #[serde(rename = "cniVersion", skip_serializing_if = "String::is_empty")]
    pub cni_version: String,
    /// Interfaces the plugin made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpConfig>,
    /// Routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Name resolution; written even when empty.
    pub dns: Dns,
}

/// An interface the plugin made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its hardware address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// The network namespace it is in; empty for the host's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
}

/// The family of an address, which these versions state beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "4")]
    V4,
    /// IPv6.
    #[serde(rename = "6")]
    V6,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// Its family.
    pub version: Family,
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

impl Result {
    /// The newer shape of this result; nothing is lost.
    pub(super) fn to_v100(&self, version: &str) -> v100::Result {
        let interface = |old: &Interface| v100::Interface {
            name: old.name.clone(),
            mac: old.mac.clone(),
            sandbox: old.sandbox.clone(),
            ..v100::Interface::default()
        };
        let ip = |old: &IpConfig| v100::IpConfig {
            interface: old.interface,
            address: old.address,
            gateway: old.gateway,
        };
        v100::Result {
            cni_version: version.to_owned(),
            interfaces: self.interfaces.iter().map(interface).collect(),
            ips: self.ips.iter().map(ip).collect(),
            routes: self.routes.clone(),
            dns: self.dns.clone(),
        }
    }

    /// This shape of a newer result: interfaces lose what 1.1.0 added, routes keep it, as
    /// libcni has it.
    pub(super) fn from_v100(newer: &v100::Result, version: &str) -> Self {
        let interface = |new: &v100::Interface| Interface {
            name: new.name.clone(),
            mac: new.mac.clone(),
            sandbox: new.sandbox.clone(),
        };
        let ip = |new: &v100::IpConfig| IpConfig {
            version: if is_ipv4(new.address.ip()) { Family::V4 } else { Family::V6 },
            interface: new.interface,
            address: new.address,
            gateway: new.gateway,
        };
        Self {
            cni_version: version.to_owned(),
            interfaces: newer.interfaces.iter().map(interface).collect(),
            ips: newer.ips.iter().map(ip).collect(),
            routes: newer.routes.clone(),
            dns: newer.dns.clone(),
        }
    }
}
