//! What a cluster made on this node hands out.

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use weft_api::Vni;

use crate::config::{ConfigError, Layer};

/// Shortest prefix a default IPv6 subnet can be cut to, and the longest: /64 for autoconfiguration
/// by default, at most four addresses.
const PREFIX6_MAX: u8 = 126;
/// Longest prefix a default IPv4 subnet can be cut to: two hosts beside network and broadcast.
const PREFIX4_MAX: u8 = 30;

/// What a cluster made on this node hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pools {
    /// Pool of the default IPv4 subnets; 10.128.0.0/9 by default.
    pub default4: Ipv4Network,
    /// Prefix length each is cut to; 20 by default.
    pub default4_prefix: u8,
    /// Pool of the default IPv6 subnets; none means a random ULA /48.
    pub default6: Option<Ipv6Network>,
    /// Prefix length each is cut to; 64 by default.
    pub default6_prefix: u8,
    /// First VNI; 8388608 by default.
    pub vni_first: Vni,
    /// Last VNI, itself included; 16777215 by default.
    pub vni_last: Vni,
}

impl Pools {
    /// Checks what a layer says about pools.
    pub(crate) fn checked(layer: &Layer) -> Result<Self, ConfigError> {
        let default4 = match layer.default4 {
            Some(pool) => pool,
            None => default4()?,
        };
        let default4_prefix = layer.default4_prefix.unwrap_or(20);
        let default6_prefix = layer.default6_prefix.unwrap_or(64);
        check_cut("default4", default4.into(), "default4_prefix", default4_prefix, PREFIX4_MAX)?;
        match layer.default_pools().1 {
            Some(pool) => {
                check_cut("default6", pool, "default6_prefix", default6_prefix, PREFIX6_MAX)?;
            }
            None if !(48..=PREFIX6_MAX).contains(&default6_prefix) => {
                return Err(refused(
                    "default6_prefix",
                    default6_prefix,
                    "a random pool is a /48, to be cut to 48 to 126",
                ));
            }
            None => {}
        }
        let vni_first = checked_vni("vni_first", layer.vni_first.unwrap_or(8_388_608))?;
        let vni_last = checked_vni("vni_last", layer.vni_last.unwrap_or(Vni::MAX))?;
        if vni_first > vni_last {
            return Err(refused("vni_last", vni_last, "it is less than `vni_first`"));
        }
        Ok(Self {
            default4,
            default4_prefix,
            default6: layer.default6,
            default6_prefix,
            vni_first,
            vni_last,
        })
    }
}

fn default4() -> Result<Ipv4Network, ConfigError> {
    Ipv4Network::new(std::net::Ipv4Addr::new(10, 128, 0, 0), 9)
        .map_err(|_| refused("default4", "10.128.0.0/9", "it is no network"))
}

fn refused(key: &'static str, value: impl ToString, reason: &'static str) -> ConfigError {
    ConfigError::Pool { key, value: value.to_string(), reason }
}

fn check_cut(
    key: &'static str,
    pool: IpNetwork,
    prefix_key: &'static str,
    prefix: u8,
    max: u8,
) -> Result<(), ConfigError> {
    if pool.ip() != pool.network() {
        return Err(refused(key, pool, "it has host bits set"));
    }
    if pool.ip().is_multicast() || pool.ip().is_loopback() || pool.prefix() == 0 {
        return Err(refused(key, pool, "no host can have addresses of it"));
    }
    if prefix > max {
        return Err(refused(prefix_key, prefix, "such subnets have no room for hosts"));
    }
    if prefix < pool.prefix() {
        return Err(refused(prefix_key, prefix, "such subnets are larger than their pool"));
    }
    Ok(())
}

fn checked_vni(key: &'static str, value: u32) -> Result<Vni, ConfigError> {
    Vni::new(value).map_err(|_| refused(key, value, "a VNI is 1 to 16777215"))
}
