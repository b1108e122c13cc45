//! What gives addresses (libnetwork's `ipamapi`).

mod error;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use ipnetwork::IpNetwork;

pub use error::IpamError;

use crate::cidr::parse_cidr;

/// The plugin system's name for an IPAM driver.
pub const PLUGIN_ENDPOINT_TYPE: &str = "IpamDriver";
/// The option that says what an address is requested for.
pub const REQUEST_ADDRESS_TYPE: &str = "RequestAddressType";
/// Labels that begin like this are libnetwork's.
pub const PREFIX: &str = "com.docker.network";
/// The option that asks for addresses in order (the next after the last) rather than the first
/// available one.
pub const ALLOC_SERIAL_PREFIX: &str = "com.docker.network.ipam.serial";
/// [`REQUEST_ADDRESS_TYPE`]'s value for a gateway; also the member of a pool's meta that names
/// one (libnetwork's `netlabel.Gateway`).
pub const GATEWAY: &str = "com.docker.network.gateway";

/// What an IPAM driver, built in or remote, does.
#[async_trait]
pub trait Ipam: Send + Sync {
    /// Returns the names of the default local and the default global address space.
    ///
    /// # Errors
    /// As the driver decides.
    async fn get_default_address_spaces(&self) -> Result<(String, String), IpamError>;

    /// Allocates a pool: the one asked for, or one of the driver's choice.
    ///
    /// # Errors
    /// [`IpamError::InvalidAddressSpace`], [`IpamError::InvalidPool`],
    /// [`IpamError::InvalidSubPool`], [`IpamError::PoolOverlap`].
    async fn request_pool(&self, request: PoolRequest) -> Result<AllocatedPool, IpamError>;

    /// Gives a pool back.
    ///
    /// # Errors
    /// [`IpamError::BadPool`].
    async fn release_pool(&self, pool_id: &str) -> Result<(), IpamError>;

    /// Allocates an address of the pool, `address` or any, and returns it with the pool's prefix
    /// length and what else the driver tells.
    ///
    /// # Errors
    /// [`IpamError::BadPool`], [`IpamError::NoAvailableIps`], [`IpamError::IpAlreadyAllocated`],
    /// [`IpamError::IpOutOfRange`].
    async fn request_address(
        &self,
        pool_id: &str,
        address: Option<IpAddr>,
        options: &BTreeMap<String, String>,
    ) -> Result<(IpNetwork, BTreeMap<String, String>), IpamError>;

    /// Gives an address back.
    ///
    /// # Errors
    /// [`IpamError::BadPool`], [`IpamError::IpOutOfRange`].
    async fn release_address(&self, pool_id: &str, address: IpAddr) -> Result<(), IpamError>;

    /// Tells whether the driver is part of Weft, as against a remote one.
    fn is_built_in(&self) -> bool;
}

/// Asks for a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolRequest {
    /// Which block of pools to take from. Opaque to all but the driver. Mandatory.
    pub address_space: String,
    /// The pool wanted; `None` lets the driver choose.
    pub pool: Option<IpNetwork>,
    /// Where in `pool` dynamic addresses come from; `None` means all of it.
    pub sub_pool: Option<IpNetwork>,
    /// For the driver alone, which may ignore them.
    pub options: BTreeMap<String, String>,
    /// The family of the pool, where `pool` does not say it.
    pub v6: bool,
}

impl PoolRequest {
    /// Reads the texts of a request, in which an empty one means none.
    ///
    /// # Errors
    /// [`IpamError::InvalidAddressSpace`] for an empty space, [`IpamError::InvalidPool`] for a
    /// malformed pool, [`IpamError::InvalidSubPool`] for a sub-pool that is malformed, without
    /// a pool or outside of it.
    pub fn parse(address_space: &str, pool: &str, sub_pool: &str) -> Result<Self, IpamError> {
        if address_space.is_empty() {
            return Err(IpamError::InvalidAddressSpace);
        }
        let optional = |text: &str, error| match text {
            "" => Ok(None),
            text => parse_cidr(text).map(Some).map_err(|_| error),
        };
        let pool = optional(pool, IpamError::InvalidPool)?;
        let sub_pool = optional(sub_pool, IpamError::InvalidSubPool)?;
        let fits = match (pool, sub_pool) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(pool), Some(sub)) => {
                sub.is_ipv6() == pool.is_ipv6()
                    && sub.prefix() >= pool.prefix()
                    && pool.contains(sub.ip())
            }
        };
        if !fits {
            return Err(IpamError::InvalidSubPool);
        }
        let v6 = pool.is_some_and(|pool| pool.is_ipv6());
        let address_space = address_space.to_owned();
        Ok(Self { address_space, pool, sub_pool, options: BTreeMap::new(), v6 })
    }
}

/// A pool that was allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocatedPool {
    /// The driver's name for it, opaque to everybody else.
    pub pool_id: String,
    /// The pool.
    pub pool: IpNetwork,
    /// Further addresses the driver reserved, by well-known name ([`GATEWAY`]).
    pub meta: BTreeMap<String, String>,
}

/// What an IPAM driver needs from its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capability {
    /// Address requests must name the endpoint's MAC address.
    pub requires_mac_address: bool,
    /// At start, requests for the pools and addresses of present networks must be repeated.
    pub requires_request_replay: bool,
}

/// Makes IPAM drivers known.
pub trait Registerer: Send + Sync {
    /// Registers `driver` as `name`, without any requirement.
    ///
    /// # Errors
    /// Forbidden when `name` has a driver; that one stays.
    fn register_ipam_driver(&self, name: &str, driver: Arc<dyn Ipam>) -> Result<(), IpamError>;

    /// Registers `driver` as `name` with what it requires.
    ///
    /// # Errors
    /// Forbidden when `name` has a driver; that one stays.
    fn register_ipam_driver_with_capabilities(
        &self,
        name: &str,
        driver: Arc<dyn Ipam>,
        capability: Capability,
    ) -> Result<(), IpamError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_from_texts() {
        let request = PoolRequest::parse("s", "10.0.0.0/16", "10.0.3.0/24").unwrap();
        assert_eq!(request.sub_pool, Some("10.0.3.0/24".parse().unwrap()));
        assert!(!request.v6);
        assert!(PoolRequest::parse("s", "fd00::/64", "").unwrap().v6);
        assert_eq!(PoolRequest::parse("s", "", "").unwrap().pool, None);
    }

    #[test]
    fn a_request_that_cannot_be_met_names_the_member_at_fault() {
        let table = [
            ("", "", "", IpamError::InvalidAddressSpace),
            ("s", "10.0.0.0", "", IpamError::InvalidPool),
            ("s", "10.0.0.0/40", "", IpamError::InvalidPool),
            ("s", "", "10.0.0.0/24", IpamError::InvalidSubPool),
            ("s", "10.0.0.0/16", "x", IpamError::InvalidSubPool),
            ("s", "10.0.0.0/16", "10.0.0.0/8", IpamError::InvalidSubPool),
            ("s", "10.0.0.0/16", "10.1.0.0/24", IpamError::InvalidSubPool),
            ("s", "10.0.0.0/16", "fd00::/64", IpamError::InvalidSubPool),
        ];
        for (space, pool, sub_pool, error) in table {
            assert_eq!(PoolRequest::parse(space, pool, sub_pool), Err(error));
        }
    }

    #[test]
    fn the_well_known_names_are_libnetworks() {
        assert_eq!(ALLOC_SERIAL_PREFIX, format!("{PREFIX}.ipam.serial"));
        assert_eq!(GATEWAY, format!("{PREFIX}.gateway"));
        assert_eq!(
            (PLUGIN_ENDPOINT_TYPE, REQUEST_ADDRESS_TYPE),
            ("IpamDriver", "RequestAddressType")
        );
    }
}
