//! Neighbours: which MAC an address has.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use nix::errno::Errno;
use weft_api::Mac;

use super::address::family;
use super::connection::{Connection, Request};
use super::error::{NetlinkError, Tolerate};
use crate::op::Neighbour;

/// What a removal may meet when the entry, or its device, is gone.
pub(crate) const ABSENT: [Errno; 2] = [Errno::ENOENT, Errno::ENODEV];

pub(crate) fn address_of(ip: IpAddr) -> NeighbourAddress {
    match ip {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    }
}

/// Reads an address; the packet library leaves those of bridge entries as octets.
pub(crate) fn ip_of(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        NeighbourAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        NeighbourAddress::Other(octets) => {
            let v4 = <[u8; 4]>::try_from(octets.as_slice()).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(octets.as_slice()).map(IpAddr::from)).ok()
        }
        _ => None,
    }
}

fn message(index: u32, ip: IpAddr, state: NeighbourState) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = index;
    message.header.state = state;
    message.attributes.push(NeighbourAttribute::Destination(address_of(ip)));
    message
}

/// The request `ip neighbour replace IP lladdr MAC dev NAME nud permanent`.
pub(crate) fn replace_request(index: u32, entry: &Neighbour) -> Request<RouteNetlinkMessage> {
    let message = with_mac(index, entry, NeighbourState::Permanent);
    (message, NLM_F_CREATE | NLM_F_REPLACE)
}

fn with_mac(index: u32, entry: &Neighbour, state: NeighbourState) -> RouteNetlinkMessage {
    let mut message = message(index, entry.ip, state);
    let mac = entry.mac.octets().to_vec();
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac));
    RouteNetlinkMessage::NewNeighbour(message)
}

/// The request `ip neighbour delete IP dev NAME`.
pub(crate) fn remove_request(index: u32, entry: &Neighbour) -> Request<RouteNetlinkMessage> {
    let message = message(index, entry.ip, NeighbourState::Permanent);
    (RouteNetlinkMessage::DelNeighbour(message), 0)
}

/// Sets one neighbour: `ip neighbour replace IP lladdr MAC dev NAME nud permanent`.
///
/// # Errors
/// When the link is absent.
pub async fn replace(
    connection: &mut Connection,
    index: u32,
    entry: &Neighbour,
) -> Result<(), NetlinkError> {
    connection.change(|| format!("set neighbour {}", entry.ip), replace_request(index, entry)).await
}

/// Corrects the MAC of a neighbour that the link has learnt, to be confirmed when it is next used;
/// one it does not know is a success: `ip neighbour change IP lladdr MAC dev NAME nud stale`.
///
/// # Errors
/// When the kernel refuses.
pub async fn correct(
    connection: &mut Connection,
    index: u32,
    entry: &Neighbour,
) -> Result<(), NetlinkError> {
    let request = (with_mac(index, entry, NeighbourState::Stale), NLM_F_REPLACE);
    let corrected = connection.change(|| format!("correct neighbour {}", entry.ip), request).await;
    corrected.tolerate(&ABSENT)
}

/// Reads a link's permanent neighbours: `ip neighbour show dev NAME nud permanent`.
///
/// # Errors
/// When the kernel refuses.
pub async fn list(connection: &mut Connection, index: u32) -> Result<Vec<Neighbour>, NetlinkError> {
    let mut message = NeighbourMessage::default();
    message.attributes.push(NeighbourAttribute::IfIndex(index));
    let request = RouteNetlinkMessage::GetNeighbour(message);
    let found = connection.dump(|| "list neighbours".to_owned(), request).await?;
    Ok(found.iter().filter_map(|message| decode(message, index)).collect())
}

fn decode(message: &RouteNetlinkMessage, index: u32) -> Option<Neighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    if message.header.ifindex != index || message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut ip, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(address) => ip = ip_of(address),
            NeighbourAttribute::LinkLayerAddress(octets) => mac = mac_of(octets),
            _ => {}
        }
    }
    Some(Neighbour { ip: ip?, mac: mac? })
}

pub(crate) fn mac_of(octets: &[u8]) -> Option<Mac> {
    <[u8; 6]>::try_from(octets).ok().map(Mac::from_bytes)
}
