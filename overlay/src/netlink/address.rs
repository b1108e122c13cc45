//! Addresses of links.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::connection::Connection;
use super::error::{NetlinkError, Tolerate};

pub(crate) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn message(index: u32, address: IpNetwork) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.ip());
    message.header.prefix_len = address.prefix();
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(address.ip()));
    message.attributes.push(AddressAttribute::Address(address.ip()));
    if address.is_ipv6() {
        // Our own allocation is unique; to wait a second for the proof would drop first packets.
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message
}

/// Adds an address, IPv6 without duplicate address detection; the same one is kept:
/// `ip address replace ADDRESS dev NAME nodad`.
///
/// # Errors
/// When the link is absent, or IPv6 is off on it.
pub async fn add(
    connection: &mut Connection,
    index: u32,
    address: IpNetwork,
) -> Result<(), NetlinkError> {
    let request = RouteNetlinkMessage::NewAddress(message(index, address));
    let doing = || format!("add address {address}");
    connection.change(doing, (request, NLM_F_CREATE | NLM_F_REPLACE)).await
}

/// Removes an address; an absent one is a success: `ip address delete ADDRESS dev NAME`.
///
/// # Errors
/// When the kernel refuses.
pub async fn remove(
    connection: &mut Connection,
    index: u32,
    address: IpNetwork,
) -> Result<(), NetlinkError> {
    let request = RouteNetlinkMessage::DelAddress(message(index, address));
    let removed = connection.change(|| format!("remove address {address}"), (request, 0)).await;
    removed.tolerate(&[Errno::EADDRNOTAVAIL, Errno::ENODEV])
}

/// Reads the addresses of all links by index, IPv6 link-local ones left out: `ip address show`.
///
/// # Errors
/// When the kernel refuses.
pub async fn list(connection: &mut Connection) -> Result<BTreeSet<(u32, IpNetwork)>, NetlinkError> {
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let found = connection.dump(|| "list addresses".to_owned(), request).await?;
    Ok(found.into_iter().filter_map(decode).collect())
}

fn decode(message: RouteNetlinkMessage) -> Option<(u32, IpNetwork)> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    if message.header.family == AddressFamily::Inet6 && message.header.scope == AddressScope::Link {
        return None;
    }
    // IPv4 has the own address in LOCAL and the other end's in ADDRESS; IPv6 has only the latter.
    let mut own = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => own = Some(*ip),
            AddressAttribute::Address(ip) => own = own.or(Some(*ip)),
            _ => {}
        }
    }
    Some((message.header.index, IpNetwork::new(own?, message.header.prefix_len).ok()?))
}

/// Gives a link exactly these addresses.
pub(crate) async fn ensure_exactly(
    connection: &mut Connection,
    index: u32,
    wanted: &[IpNetwork],
) -> Result<(), NetlinkError> {
    let present: BTreeSet<IpNetwork> =
        list(connection).await?.into_iter().filter(|(i, _)| *i == index).map(|(_, a)| a).collect();
    for address in wanted.iter().filter(|address| !present.contains(address)) {
        add(connection, index, *address).await?;
    }
    for address in present.iter().filter(|address| !wanted.contains(address)) {
        remove(connection, index, *address).await?;
    }
    Ok(())
}
