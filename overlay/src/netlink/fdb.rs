//! Forwarding entries: behind which host, or which port, a MAC is.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use weft_api::Mac;

use super::connection::{Connection, Request};
use super::error::NetlinkError;
use super::neigh::{address_of, ip_of, mac_of};
use crate::op::FdbEntry;

fn message(index: u32, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
    message
}

fn remote(index: u32, entry: &FdbEntry) -> NeighbourMessage {
    let mut message = message(index, entry.mac);
    message.header.flags = NeighbourFlags::Own;
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::Destination(address_of(entry.vtep)));
    message
}

/// The request `bridge fdb replace MAC dev NAME dst VTEP self permanent`.
pub(crate) fn replace_request(index: u32, entry: &FdbEntry) -> Request<RouteNetlinkMessage> {
    let message = RouteNetlinkMessage::NewNeighbour(remote(index, entry));
    (message, NLM_F_CREATE | NLM_F_REPLACE)
}

/// The request `bridge fdb delete MAC dev NAME dst VTEP self`. An entry that has moved to another
/// host is not removed; the kernel answers as if it were absent.
pub(crate) fn remove_request(index: u32, entry: &FdbEntry) -> Request<RouteNetlinkMessage> {
    (RouteNetlinkMessage::DelNeighbour(remote(index, entry)), 0)
}

/// Says behind which port of a bridge a MAC is: `bridge fdb replace MAC dev PORT master static`.
///
/// # Errors
/// When the link is not a port of a bridge.
pub async fn replace_static(
    connection: &mut Connection,
    port: u32,
    mac: Mac,
) -> Result<(), NetlinkError> {
    let mut message = message(port, mac);
    message.header.flags = NeighbourFlags::Controller;
    message.header.state = NeighbourState::Noarp;
    let request = RouteNetlinkMessage::NewNeighbour(message);
    let doing = || format!("set the port of {mac}");
    connection.change(doing, (request, NLM_F_CREATE | NLM_F_REPLACE)).await
}

/// Reads a VXLAN device's permanent entries with a destination: `bridge fdb show dev NAME`.
///
/// # Errors
/// When the kernel refuses.
pub async fn list(connection: &mut Connection, index: u32) -> Result<Vec<FdbEntry>, NetlinkError> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    let request = RouteNetlinkMessage::GetNeighbour(message);
    let found = connection.dump(|| "list forwarding entries".to_owned(), request).await?;
    Ok(found.iter().filter_map(|message| decode(message, index)).collect())
}

fn decode(message: &RouteNetlinkMessage, index: u32) -> Option<FdbEntry> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    if message.header.ifindex != index || message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut mac, mut vtep) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(octets) => mac = mac_of(octets),
            NeighbourAttribute::Destination(address) => vtep = ip_of(address),
            _ => {}
        }
    }
    Some(FdbEntry { mac: mac?, vtep: vtep? })
}
