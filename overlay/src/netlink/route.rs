//! Routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::address::family;
use super::connection::Connection;
use super::error::{NetlinkError, Tolerate};
use crate::op::Route;

/// The main routing table.
pub const MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;

/// A route as the kernel takes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Destination and next hop.
    pub route: Route,
    /// Index of the link.
    pub link: u32,
    /// Table; [`MAIN`] by default.
    pub table: u32,
    /// The next hop need not be in a prefix of the link.
    pub onlink: Onlink,
}

/// Whether the kernel takes the next hop on trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Onlink {
    /// The next hop has to be reachable by a prefix of the link.
    No,
    /// It is on the link because we say so.
    Yes,
}

fn address(ip: IpAddr) -> RouteAddress {
    match ip {
        IpAddr::V4(ip) => RouteAddress::Inet(ip),
        IpAddr::V6(ip) => RouteAddress::Inet6(ip),
    }
}

fn message(entry: &Entry) -> RouteMessage {
    let mut message = RouteMessage::default();
    let to = entry.route.to;
    message.header.address_family = family(to.ip());
    message.header.destination_prefix_length = to.prefix();
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.header.scope = match entry.route.via {
        None if to.is_ipv4() => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    if to.prefix() > 0 {
        message.attributes.push(RouteAttribute::Destination(address(to.network())));
    }
    if let Some(via) = entry.route.via {
        message.attributes.push(RouteAttribute::Gateway(address(via)));
        if entry.onlink == Onlink::Yes {
            message.header.flags = RouteFlags::Onlink;
        }
    }
    message.attributes.push(RouteAttribute::Oif(entry.link));
    message.attributes.push(RouteAttribute::Table(entry.table));
    message
}

fn describe(entry: &Entry) -> String {
    match entry.route.via {
        Some(via) => format!("route to {} via {via}", entry.route.to),
        None => format!("route to {}", entry.route.to),
    }
}

/// Sets a route, replacing what the destination had in the table:
/// `ip route replace TO via VIA dev NAME table TABLE`.
///
/// # Errors
/// When the next hop is not reachable by the link.
pub async fn replace(connection: &mut Connection, entry: &Entry) -> Result<(), NetlinkError> {
    let request = RouteNetlinkMessage::NewRoute(message(entry));
    let doing = || format!("set {}", describe(entry));
    connection.change(doing, (request, NLM_F_CREATE | NLM_F_REPLACE)).await
}

/// Removes a route; an absent one is a success: `ip route delete TO dev NAME table TABLE`.
///
/// # Errors
/// When the kernel refuses.
pub async fn remove(connection: &mut Connection, entry: &Entry) -> Result<(), NetlinkError> {
    let request = RouteNetlinkMessage::DelRoute(message(entry));
    let removed = connection.change(|| format!("remove {}", describe(entry)), (request, 0)).await;
    removed.tolerate(&[Errno::ESRCH, Errno::ENODEV])
}

/// Reads all unicast routes that lead out by a link, of all tables: `ip route show table all`.
///
/// # Errors
/// When the kernel refuses.
pub async fn list(connection: &mut Connection) -> Result<Vec<Entry>, NetlinkError> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let request = RouteNetlinkMessage::GetRoute(message);
        found.extend(connection.dump(|| "list routes".to_owned(), request).await?);
    }
    Ok(found.into_iter().filter_map(decode).collect())
}

fn decode(message: RouteNetlinkMessage) -> Option<Entry> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    if message.header.kind != RouteType::Unicast {
        return None;
    }
    let unspecified: IpAddr = match message.header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let (mut to, mut via, mut link, mut table) =
        (unspecified, None, None, u32::from(message.header.table));
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address)?,
            RouteAttribute::Gateway(address) => via = ip(address),
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    let to = IpNetwork::new(to, message.header.destination_prefix_length).ok()?;
    let onlink =
        if message.header.flags.contains(RouteFlags::Onlink) { Onlink::Yes } else { Onlink::No };
    Some(Entry { route: Route { to, via }, link: link?, table, onlink })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}
