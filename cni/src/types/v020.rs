//! Results of versions 0.1.0 and 0.2.0: at most one address of each family.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::address::{self, is_ipv4};
use super::{Dns, Route, v040};
use crate::error::Error;

/// The versions of this shape.
pub const VERSIONS: [&str; 2] = ["0.1.0", "0.2.0"];

/// What ADD answers with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Result {
    /// Version of the specification.
    #[serde(rename = "cniVersion", skip_serializing_if = "String::is_empty")]
    pub cni_version: String,
    /// The IPv4 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip4: Option<IpConfig>,
    /// The IPv6 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip6: Option<IpConfig>,
    /// Name resolution; written even when empty.
    pub dns: Dns,
}

/// An address and its routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// The address, in CIDR notation.
    #[serde(with = "address::cidr")]
    pub ip: IpNetwork,
    /// The default gateway of its subnet.
    #[serde(
        default,
        deserialize_with = "address::optional::deserialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub gateway: Option<IpAddr>,
    /// Routes of its family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

impl Result {
    /// The newer shape of this result; nothing is lost.
    pub(super) fn to_v040(&self, version: &str) -> v040::Result {
        let families = [(v040::Family::V4, &self.ip4), (v040::Family::V6, &self.ip6)];
        let mut newer = v040::Result {
            cni_version: version.to_owned(),
            dns: self.dns.clone(),
            ..v040::Result::default()
        };
        for (version, config) in families {
            let Some(config) = config else { continue };
            newer.ips.push(v040::IpConfig {
                version,
                interface: None,
                address: config.ip,
                gateway: config.gateway,
            });
            newer.routes.extend(config.routes.iter().cloned());
        }
        newer
    }

    /// This shape of a newer result: the first address of each family, and routes without what
    /// 1.1.0 added.
    pub(super) fn from_v040(
        newer: &v040::Result,
        version: &str,
    ) -> std::result::Result<Self, Error> {
        let mut ip4 = first(newer, v040::Family::V4);
        let mut ip6 = first(newer, v040::Family::V6);
        if ip4.is_none() && ip6.is_none() {
            return Err(Error::NoIpAddresses);
        }
        for route in &newer.routes {
            let family = if is_ipv4(route.dst.ip()) { &mut ip4 } else { &mut ip6 };
            if let Some(config) = family {
                config.routes.push(Route::new(route.dst, route.gw));
            }
        }
        Ok(Self { cni_version: version.to_owned(), ip4, ip6, dns: newer.dns.clone() })
    }
}

fn first(newer: &v040::Result, family: v040::Family) -> Option<IpConfig> {
    let config = newer.ips.iter().find(|config| config.version == family)?;
    Some(IpConfig { ip: config.address, gateway: config.gateway, routes: Vec::new() })
}
