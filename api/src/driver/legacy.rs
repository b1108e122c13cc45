//! The driver contract of 2015, as an adapter over the current one.
//!
//! There an endpoint has a list of interfaces, each with an id of its own, and a driver also sets
//! paths of a container's files. [`LegacyAdapter`] makes such a driver a [`Driver`](super::Driver):
//! the first interface is the one the current form knows, and nothing of the others is lost (see
//! [`LegacyAdapter::interfaces`], [`LegacyAdapter::joined`]).

mod adapter;
mod endpoint;
mod join;

use async_trait::async_trait;
use ipnetwork::IpNetwork;

pub use adapter::LegacyAdapter;
pub use endpoint::{LegacyEndpoint, LegacyInterface};
pub use join::{LegacyJoin, LegacyNames};

use crate::driver::{DriverError, Options};
use crate::error::Error;
use crate::id::{EndpointId, Mac, NetworkId};

/// What a network driver did in 2015.
#[async_trait]
pub trait LegacyDriver: Send + Sync {
    /// Pushes configuration to the driver.
    ///
    /// # Errors
    /// As the driver decides.
    async fn config(&self, options: &Options) -> Result<(), DriverError>;

    /// Makes the network known to the driver.
    ///
    /// # Errors
    /// As the driver decides.
    async fn create_network(&self, nid: NetworkId, options: &Options) -> Result<(), DriverError>;

    /// Forgets the network.
    ///
    /// # Errors
    /// [`DriverError::NoNetwork`].
    async fn delete_network(&self, nid: NetworkId) -> Result<(), DriverError>;

    /// Makes an endpoint. Interfaces that `info` holds are honoured or refused; if it holds none
    /// the driver adds as many as it likes.
    ///
    /// # Errors
    /// [`DriverError::NoNetwork`], [`DriverError::EndpointExists`], or a refusal.
    async fn create_endpoint(
        &self,
        nid: NetworkId,
        eid: EndpointId,
        info: &mut dyn EndpointInfo,
        options: &Options,
    ) -> Result<(), DriverError>;

    /// Ends an endpoint.
    ///
    /// # Errors
    /// [`DriverError::NoNetwork`], [`DriverError::NoEndpoint`].
    async fn delete_endpoint(&self, nid: NetworkId, eid: EndpointId) -> Result<(), DriverError>;

    /// Returns what the driver has to tell about an endpoint.
    ///
    /// # Errors
    /// [`DriverError::NoNetwork`], [`DriverError::NoEndpoint`].
    async fn endpoint_oper_info(
        &self,
        nid: NetworkId,
        eid: EndpointId,
    ) -> Result<Options, DriverError>;

    /// Prepares the endpoint's interfaces for a sandbox.
    ///
    /// # Errors
    /// As the driver decides.
    async fn join(
        &self,
        nid: NetworkId,
        eid: EndpointId,
        sandbox_key: &str,
        info: &mut dyn LegacyJoinInfo,
        options: &Options,
    ) -> Result<(), DriverError>;

    /// Takes the endpoint out of its sandbox.
    ///
    /// # Errors
    /// [`DriverError::NoNetwork`], [`DriverError::NoEndpoint`].
    async fn leave(&self, nid: NetworkId, eid: EndpointId) -> Result<(), DriverError>;

    /// Returns the type of the networks this driver makes.
    fn network_type(&self) -> &str;
}

/// An endpoint's interfaces, to read or to fill in.
pub trait EndpointInfo: Send {
    /// Returns the interfaces. If there are any at the start of a call, the driver only reads.
    fn interfaces(&self) -> Vec<&dyn LegacyInterfaceInfo>;

    /// Adds an interface; `id` has a meaning within the endpoint only.
    ///
    /// # Errors
    /// Forbidden when the endpoint came with interfaces, or has one of this id already; invalid
    /// parameter when an address is of the wrong family. The list is unchanged then.
    fn add_interface(
        &mut self,
        id: i32,
        mac: Option<Mac>,
        ipv4: Option<IpNetwork>,
        ipv6: Option<IpNetwork>,
    ) -> Result<(), Error>;
}

/// One interface of several, to read.
pub trait LegacyInterfaceInfo: Send + Sync {
    /// Returns its id within the endpoint.
    fn id(&self) -> i32;

    /// Returns the MAC address.
    fn mac_address(&self) -> Option<Mac>;

    /// Returns the IPv4 address.
    fn address(&self) -> Option<IpNetwork>;

    /// Returns the IPv6 address.
    fn address_ipv6(&self) -> Option<IpNetwork>;
}

/// One interface of several, to name.
pub trait LegacyInterfaceNameInfo: Send {
    /// Returns the id the driver gave it at `create_endpoint`.
    fn id(&self) -> i32;

    /// Says which interface to move, and its name in the sandbox.
    ///
    /// # Errors
    /// Forbidden when names are set; invalid parameter when `src_name` is empty.
    fn set_names(&mut self, src_name: &str, dst_name: &str) -> Result<(), Error>;
}

/// Takes from a driver what a container needs to be set up.
pub trait LegacyJoinInfo: Send {
    /// Returns where the driver names its interfaces, one each.
    fn interface_names(&mut self) -> Vec<&mut dyn LegacyInterfaceNameInfo>;

    /// Sets the IPv4 default gateway.
    ///
    /// # Errors
    /// Invalid parameter when it is not an IPv4 address, forbidden when one is set.
    fn set_gateway(&mut self, gateway: std::net::IpAddr) -> Result<(), Error>;

    /// Sets the IPv6 default gateway.
    ///
    /// # Errors
    /// Invalid parameter when it is not an IPv6 address, forbidden when one is set.
    fn set_gateway_ipv6(&mut self, gateway: std::net::IpAddr) -> Result<(), Error>;

    /// Sets the file to use as the container's /etc/hosts.
    ///
    /// # Errors
    /// Forbidden when one is set.
    fn set_hosts_path(&mut self, path: &str) -> Result<(), Error>;

    /// Sets the file to use as the container's /etc/resolv.conf.
    ///
    /// # Errors
    /// Forbidden when one is set.
    fn set_resolv_conf_path(&mut self, path: &str) -> Result<(), Error>;
}

#[cfg(test)]
mod tests;
