//! What a network driver is (libnetwork's `driverapi`).
//!
//! An endpoint's life is apart from a container's. It is made with `create_endpoint`, which
//! settles its addresses; `join` puts it into a sandbox, `leave` takes it out and keeps the
//! addresses, the next `join` gets the same ones, and `delete_endpoint` ends it. Addresses given
//! at `create_endpoint` are honoured or refused, never replaced; where none are given, the driver
//! or IPAM allocates. Addresses already allocated on another host are a notification.

mod callback;
mod error;
mod info;
mod ipam_data;
mod join;
pub mod legacy;
mod network;
mod object;

use std::collections::BTreeMap;

use async_trait::async_trait;

pub use callback::{
    Capability, DriverCallback, ParseScopeError, Plugin, PluginGetter, PluginHandler, Scope,
};
pub use error::DriverError;
pub use info::{Interface, InterfaceInfo, InterfaceNameInfo};
pub use ipam_data::IpamData;
pub use join::{JoinInfo, JoinResult, RouteType, StaticRoute, TableEntry};
pub use network::{NetworkInfo, NetworkRegistration};
pub use object::{EventType, ObjectType, is_valid_type};

use crate::discovery::Discover;
use crate::id::{EndpointId, NetworkId};

/// The plugin system's name for a network driver.
pub const NETWORK_PLUGIN_ENDPOINT_TYPE: &str = "NetworkDriver";

/// Options of any shape, by name.
pub type Options = BTreeMap<String, serde_json::Value>;

/// What every network driver does.
///
/// A remote driver is a call over a socket, so the calls are async. Whoever calls must expect a
/// call to be repeated after a crash: a driver treats a second identical call as done.
#[async_trait]
pub trait Driver: Discover {
    /// Allocates what the network needs cluster-wide, and returns it by name.
    ///
    /// # Errors
    /// As the driver decides; nothing is allocated then.
    async fn network_allocate(
        &self,
        nid: NetworkId,
        options: &BTreeMap<String, String>,
        ipv4_data: &[IpamData],
        ipv6_data: &[IpamData],
    ) -> Result<BTreeMap<String, String>, DriverError>;

    /// Frees what [`Driver::network_allocate`] allocated.
    ///
    /// # Errors
    /// [`DriverError::NoNetwork`] when nothing is allocated for `nid`.
    async fn network_free(&self, nid: NetworkId) -> Result<(), DriverError>;

    /// Makes the network known to the driver on this node. Through `info` the driver registers
    /// the tables whose events it wants; those of a local-scope driver are ignored.
    ///
    /// # Errors
    /// As the driver decides; the network is not known to it then.
    async fn create_network(
        &self,
        nid: NetworkId,
        options: &Options,
        info: &mut dyn NetworkInfo,
        ipv4_data: &[IpamData],
        ipv6_data: &[IpamData],
    ) -> Result<(), DriverError>;

    /// Forgets the network.
    ///
    /// # Errors
    /// [`DriverError::NoNetwork`]; [`DriverError::ActiveEndpoints`] while it has endpoints.
    async fn delete_network(&self, nid: NetworkId) -> Result<(), DriverError>;

    /// Makes an endpoint. What `interface` holds is honoured or refused; what it lacks the
    /// driver may fill in.
    ///
    /// # Errors
    /// [`DriverError::NoNetwork`], [`DriverError::EndpointExists`], or a refusal of what was
    /// given. The endpoint does not exist then.
    async fn create_endpoint(
        &self,
        nid: NetworkId,
        eid: EndpointId,
        interface: &mut dyn InterfaceInfo,
        options: &Options,
    ) -> Result<(), DriverError>;

    /// Ends an endpoint and gives its addresses back.
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

    /// Prepares the endpoint's interface for the sandbox at `sandbox_key` (the path of its
    /// network namespace) and says through `info` how it is to be set up.
    ///
    /// # Errors
    /// [`DriverError::NoNetwork`], [`DriverError::NoEndpoint`], or as the driver decides; the
    /// endpoint is in no sandbox then.
    async fn join(
        &self,
        nid: NetworkId,
        eid: EndpointId,
        sandbox_key: &str,
        info: &mut dyn JoinInfo,
        options: &Options,
    ) -> Result<(), DriverError>;

    /// Takes the endpoint out of its sandbox; its addresses stay.
    ///
    /// # Errors
    /// [`DriverError::NoNetwork`], [`DriverError::NoEndpoint`].
    async fn leave(&self, nid: NetworkId, eid: EndpointId) -> Result<(), DriverError>;

    /// Programs the way to and from the outside that `options` dictate.
    ///
    /// # Errors
    /// [`DriverError::NotImplemented`] where the driver has none, which callers accept.
    async fn program_external_connectivity(
        &self,
        nid: NetworkId,
        eid: EndpointId,
        options: &Options,
    ) -> Result<(), DriverError>;

    /// Takes back what [`Driver::program_external_connectivity`] programmed.
    ///
    /// # Errors
    /// [`DriverError::NotImplemented`] where the driver has none, which callers accept.
    async fn revoke_external_connectivity(
        &self,
        nid: NetworkId,
        eid: EndpointId,
    ) -> Result<(), DriverError>;

    /// Is told of a change in a table the driver registered, as soon as this node knows of it.
    /// Called for global-scope drivers only. For a delete, `value` is the value deleted.
    async fn event_notify(
        &self,
        event: EventType,
        nid: NetworkId,
        table: &str,
        key: &str,
        value: &[u8],
    );

    /// Says for people what an entry of a table of this driver means: the id of its object and
    /// properties by name. The overlay driver shows the VTEP of the endpoint's host.
    fn decode_table_entry(
        &self,
        table: &str,
        key: &str,
        value: &[u8],
    ) -> (String, BTreeMap<String, String>);

    /// Returns the type of the networks this driver makes.
    fn network_type(&self) -> &str;

    /// Tells whether the driver is part of Weft, as against a remote one.
    fn is_built_in(&self) -> bool;
}
