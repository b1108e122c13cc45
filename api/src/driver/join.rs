//! What a driver says at `join`: names, gateways, routes and table entries.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::driver::InterfaceNameInfo;
use crate::error::Error;

/// Takes from a driver what a sandbox needs to be set up.
pub trait JoinInfo: Send {
    /// Returns where the driver names its interface.
    fn interface_name(&mut self) -> &mut dyn InterfaceNameInfo;

    /// Sets the IPv4 default gateway.
    ///
    /// # Errors
    /// Invalid parameter when it is not an IPv4 address, forbidden when one is set.
    fn set_gateway(&mut self, gateway: IpAddr) -> Result<(), Error>;

    /// Sets the IPv6 default gateway.
    ///
    /// # Errors
    /// Invalid parameter when it is not an IPv6 address, forbidden when one is set.
    fn set_gateway_ipv6(&mut self, gateway: IpAddr) -> Result<(), Error>;

    /// Adds a route, besides a default gateway or in its place.
    ///
    /// # Errors
    /// Invalid parameter when `next_hop` is missing, superfluous or of another family.
    fn add_static_route(
        &mut self,
        destination: IpNetwork,
        route_type: RouteType,
        next_hop: Option<IpAddr>,
    ) -> Result<(), Error>;

    /// Says that the sandbox needs no default gateway from elsewhere.
    fn disable_gateway_service(&mut self);

    /// Adds an entry to a table of the network, owned by this node until `leave`.
    ///
    /// # Errors
    /// Invalid parameter when `table` or `key` is empty.
    fn add_table_entry(&mut self, table: &str, key: &str, value: &[u8]) -> Result<(), Error>;
}

/// How a route leaves. The numbers are on the plugin protocol's wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u8")]
#[repr(u8)]
pub enum RouteType {
    /// Through another address.
    NextHop = 0,
    /// Straight through the interface.
    Connected = 1,
}

impl TryFrom<i64> for RouteType {
    type Error = Error;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        match number {
            0 => Ok(Self::NextHop),
            1 => Ok(Self::Connected),
            _ => Err(Error::invalid_parameter(format!("invalid route type {number}"))),
        }
    }
}

impl From<RouteType> for u8 {
    fn from(route_type: RouteType) -> Self {
        route_type as Self
    }
}

/// A route of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StaticRoute {
    /// Where to.
    pub destination: IpNetwork,
    /// How.
    pub route_type: RouteType,
    /// Through whom; `None` exactly for [`RouteType::Connected`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<IpAddr>,
}

/// An entry a driver wants in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEntry {
    /// The table.
    pub table: String,
    /// Unique in the table.
    pub key: String,
    /// Whatever the driver's `decode_table_entry` reads.
    pub value: Vec<u8>,
}

/// Records what a driver said at `join`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JoinResult {
    /// The interface to move into the sandbox; empty when the driver named none (it put the
    /// interface there itself).
    pub src_name: String,
    /// How its name in the sandbox begins.
    pub dst_prefix: String,
    /// IPv4 default gateway.
    pub gateway: Option<IpAddr>,
    /// IPv6 default gateway.
    pub gateway_ipv6: Option<IpAddr>,
    /// Routes in the order given.
    pub static_routes: Vec<StaticRoute>,
    /// Whether the sandbox needs no default gateway from elsewhere.
    pub gateway_service_disabled: bool,
    /// Table entries in the order given.
    pub table_entries: Vec<TableEntry>,
}

impl InterfaceNameInfo for JoinResult {
    fn set_names(&mut self, src_name: &str, dst_prefix: &str) -> Result<(), Error> {
        if !self.src_name.is_empty() {
            return Err(Error::forbidden(format!(
                "endpoint interface name present ({}). Cannot be modified with {src_name}.",
                self.src_name
            )));
        }
        if src_name.is_empty() {
            return Err(Error::invalid_parameter("tried to set empty name to endpoint interface"));
        }
        src_name.clone_into(&mut self.src_name);
        dst_prefix.clone_into(&mut self.dst_prefix);
        Ok(())
    }
}

impl JoinInfo for JoinResult {
    fn interface_name(&mut self) -> &mut dyn InterfaceNameInfo {
        self
    }

    fn set_gateway(&mut self, gateway: IpAddr) -> Result<(), Error> {
        if !gateway.is_ipv4() {
            return Err(Error::invalid_parameter(format!("gateway {gateway} is not IPv4")));
        }
        set_once(&mut self.gateway, gateway)
    }

    fn set_gateway_ipv6(&mut self, gateway: IpAddr) -> Result<(), Error> {
        if !gateway.is_ipv6() {
            return Err(Error::invalid_parameter(format!("gateway {gateway} is not IPv6")));
        }
        set_once(&mut self.gateway_ipv6, gateway)
    }

    fn add_static_route(
        &mut self,
        destination: IpNetwork,
        route_type: RouteType,
        next_hop: Option<IpAddr>,
    ) -> Result<(), Error> {
        match (route_type, next_hop) {
            (RouteType::NextHop, Some(hop)) if hop.is_ipv4() == destination.is_ipv4() => {}
            (RouteType::Connected, None) => {}
            (RouteType::NextHop, Some(hop)) => {
                return Err(Error::invalid_parameter(format!(
                    "route to {destination} through {hop} of another family"
                )));
            }
            (RouteType::NextHop, None) => {
                return Err(Error::invalid_parameter(format!(
                    "route to {destination} lacks a next hop"
                )));
            }
            (RouteType::Connected, Some(hop)) => {
                return Err(Error::invalid_parameter(format!(
                    "connected route to {destination} has a next hop ({hop})"
                )));
            }
        }
        self.static_routes.push(StaticRoute { destination, route_type, next_hop });
        Ok(())
    }

    fn disable_gateway_service(&mut self) {
        self.gateway_service_disabled = true;
    }

    fn add_table_entry(&mut self, table: &str, key: &str, value: &[u8]) -> Result<(), Error> {
        if table.is_empty() || key.is_empty() {
            return Err(Error::invalid_parameter("table entry lacks a table or a key"));
        }
        self.table_entries.push(TableEntry {
            table: table.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        });
        Ok(())
    }
}

fn set_once(slot: &mut Option<IpAddr>, gateway: IpAddr) -> Result<(), Error> {
    if let Some(present) = slot {
        return Err(Error::forbidden(format!(
            "endpoint gateway present ({present}). Cannot be modified with {gateway}."
        )));
    }
    *slot = Some(gateway);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn names_and_gateways_are_set_once() {
        let mut join = JoinResult::default();
        let v4 = "10.0.0.1".parse().unwrap();
        let v6 = "fd00::1".parse().unwrap();
        join.interface_name().set_names("veth1", "eth").unwrap();
        join.set_gateway(v4).unwrap();
        join.set_gateway_ipv6(v6).unwrap();
        let kept = join.clone();
        for result in [
            join.interface_name().set_names("veth2", "eth"),
            join.set_gateway(v4),
            join.set_gateway_ipv6(v6),
        ] {
            assert_eq!(result.unwrap_err().kind, Kind::Forbidden);
        }
        assert_eq!(join, kept);
    }

    #[test]
    fn a_gateway_of_the_other_family_is_refused() {
        let mut join = JoinResult::default();
        assert!(join.set_gateway("fd00::1".parse().unwrap()).is_err());
        assert!(join.set_gateway_ipv6("10.0.0.1".parse().unwrap()).is_err());
        assert_eq!(join, JoinResult::default());
    }

    #[test]
    fn a_route_has_a_next_hop_of_its_family_or_is_connected() {
        let mut join = JoinResult::default();
        let to = "10.1.0.0/16".parse().unwrap();
        let hop = Some("10.0.0.1".parse().unwrap());
        join.add_static_route(to, RouteType::NextHop, hop).unwrap();
        join.add_static_route(to, RouteType::Connected, None).unwrap();
        let six = Some("fd00::1".parse().unwrap());
        for (route_type, hop) in
            [(RouteType::NextHop, None), (RouteType::NextHop, six), (RouteType::Connected, hop)]
        {
            let error = join.add_static_route(to, route_type, hop).unwrap_err();
            assert_eq!(error.kind, Kind::InvalidParameter);
        }
        assert_eq!(join.static_routes.len(), 2);
    }

    #[test]
    fn a_route_reads_as_the_plugin_protocol_writes_it() {
        let json = r#"{"Destination":"10.1.0.0/16","RouteType":0,"NextHop":"10.0.0.1"}"#;
        let route: StaticRoute = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&route).unwrap(), json);
        assert!(serde_json::from_str::<StaticRoute>(&json.replace(":0", ":2")).is_err());
    }

    #[test]
    fn table_entries_keep_their_order_and_have_keys() {
        let mut join = JoinResult::default();
        join.add_table_entry("t", "b", b"1").unwrap();
        join.add_table_entry("t", "a", b"").unwrap();
        assert!(join.add_table_entry("", "a", b"").is_err());
        assert!(join.add_table_entry("t", "", b"").is_err());
        let keys: Vec<_> = join.table_entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["b", "a"]);
    }
}
