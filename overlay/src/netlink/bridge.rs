//! Bridges.

use netlink_packet_route::link::{InfoBridge, InfoData};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec};

use super::connection::Connection;
use super::error::NetlinkError;
use super::{address, link};
use crate::op::Bridge;

/// Makes or corrects a bridge and sets it up, its addresses exactly as given:
/// `ip link add NAME address MAC mtu BYTES type bridge mcast_snooping 0; ip link set NAME up`.
///
/// # Errors
/// [`NetlinkError::WrongKind`] when the name is taken by another kind.
pub async fn ensure(connection: &mut Connection, wanted: &Bridge) -> Result<(), NetlinkError> {
    if link::find(connection, &wanted.name).await?.is_none() {
        let message = LinkBridge::new(&wanted.name)
            .address(wanted.mac.octets().to_vec())
            .mtu(wanted.mtu)
            .mcast_snooping(false)
            .up()
            .build();
        link::create(connection, || format!("create bridge `{}`", wanted.name), message).await?;
    }
    let found = link::get(connection, &wanted.name).await?;
    found.expect_kind("bridge")?;
    if !found.up
        || found.mtu != wanted.mtu
        || found.mac != Some(wanted.mac)
        || snoops_multicast(&found)
    {
        correct(connection, wanted).await?;
    }
    address::ensure_exactly(connection, found.index, &wanted.addresses).await
}

async fn correct(connection: &mut Connection, wanted: &Bridge) -> Result<(), NetlinkError> {
    let base = LinkMessageBuilder::<LinkUnspec>::new().name(&wanted.name);
    let change = base.address(wanted.mac.octets().to_vec()).mtu(wanted.mtu).up();
    link::set(connection, &wanted.name, change).await?;
    let message = LinkBridge::new(&wanted.name).mcast_snooping(false);
    link::change_kind(connection, &wanted.name, message.build()).await
}

/// Multicast snooping drops neighbour discovery until a querier has spoken.
fn snoops_multicast(found: &link::Link) -> bool {
    let Some(InfoData::Bridge(infos)) = &found.data else { return false };
    infos.iter().any(|info| matches!(info, InfoBridge::MulticastSnooping(true)))
}

/// Makes a bridge without addresses and sets it up; one of that name is kept as it is. For the
/// underlay of a lab: `ip link add NAME type bridge; ip link set NAME up`.
///
/// # Errors
/// [`NetlinkError::WrongKind`] when the name is taken by another kind.
pub async fn ensure_plain(connection: &mut Connection, name: &str) -> Result<(), NetlinkError> {
    match link::find(connection, name).await? {
        Some(found) => {
            found.expect_kind("bridge")?;
            link::set_up(connection, name).await
        }
        None => {
            let message = LinkBridge::new(name).mcast_snooping(false).up().build();
            link::create(connection, || format!("create bridge `{name}`"), message).await
        }
    }
}

/// Sets an endpoint's port up, with nothing learnt from it and no frames to unknown MACs sent to
/// it: `bridge link set dev NAME learning off flood off; ip link set NAME up`.
///
/// # Errors
/// When the link is not a port of a bridge.
pub async fn set_endpoint_port(
    connection: &mut Connection,
    name: &str,
    index: u32,
) -> Result<(), NetlinkError> {
    let port = LinkBridgePort::new(index).learning(false).flood(false);
    link::change_kind(connection, name, port.build()).await?;
    link::set_up(connection, name).await
}
