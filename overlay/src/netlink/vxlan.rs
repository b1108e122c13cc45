//! VXLAN devices: created in the host's namespace, where the outer socket stays, living in a
//! network's.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_route::link::{InfoData, InfoVxlan};
use rtnetlink::{LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVxlan};
use weft_api::Vni;

use super::connection::Connection;
use super::error::NetlinkError;
use super::link::{self, Link};
use super::namespace::Namespace;
use crate::op::Vxlan;

/// Makes or corrects a VXLAN device, a port of its bridge, up. One of another shape is replaced
/// together with its entries.
///
/// `ip link add NAME netns NETWORK mtu BYTES type vxlan id VNI dstport PORT local VTEP nolearning
/// proxy`, then inside `ip link set NAME master BRIDGE up; bridge link set dev NAME learning off`.
///
/// Without learning and without a default destination nothing is flooded: frames to an unknown
/// MAC, broadcast and multicast are dropped. `proxy` answers ARP and ND from the neighbours.
///
/// # Errors
/// [`NetlinkError::Refused`] with EEXIST when another device has the VNI.
pub async fn ensure(
    host: &mut Connection,
    network: &mut Connection,
    namespace: &Namespace,
    wanted: &Vxlan,
) -> Result<(), NetlinkError> {
    let mut found = link::find(network, &wanted.name).await?;
    if let Some(present) = &found {
        present.expect_kind("vxlan")?;
        if !Shape::of(present).is_some_and(|shape| shape.serves(wanted)) {
            link::remove(network, &wanted.name).await?;
            found = None;
        }
    }
    if found.is_none() {
        create(host, namespace, wanted).await?;
    }
    let bridge = link::get(network, &wanted.bridge).await?;
    if let Some(present) = found
        && present.up
        && present.mtu == wanted.mtu
        && present.master == Some(bridge.index)
    {
        return Ok(());
    }
    finish(network, wanted, bridge.index).await
}

async fn create(
    host: &mut Connection,
    namespace: &Namespace,
    wanted: &Vxlan,
) -> Result<(), NetlinkError> {
    let device = LinkVxlan::new(&wanted.name, wanted.vni.into())
        .port(wanted.port)
        .learning(false)
        .proxy(true)
        .mtu(wanted.mtu)
        .setns_by_fd(namespace.as_fd().as_raw_fd());
    // The outer UDP checksum stays on, over IPv6 too: it lets the receiver merge segments (GRO).
    let device = match wanted.local {
        IpAddr::V4(local) => device.local(local),
        IpAddr::V6(local) => device.local6(local),
    };
    let doing = || format!("create VXLAN device `{}` with VNI {}", wanted.name, wanted.vni);
    link::create(host, doing, device.build()).await
}

async fn finish(network: &mut Connection, wanted: &Vxlan, bridge: u32) -> Result<(), NetlinkError> {
    let base = LinkMessageBuilder::<LinkUnspec>::new().name(&wanted.name);
    link::set(network, &wanted.name, base.mtu(wanted.mtu).controller(bridge)).await?;
    let index = link::get(network, &wanted.name).await?.index;
    let port = LinkBridgePort::new(index).learning(false).isolated(false);
    link::change_kind(network, &wanted.name, port.build()).await?;
    link::set_up(network, &wanted.name).await
}

/// The part of a device that cannot be changed while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) vni: u32,
    pub(crate) port: u16,
    pub(crate) local: Option<IpAddr>,
    learning: bool,
    proxy: bool,
}

impl Shape {
    /// Reads it; `None` for another kind of link.
    pub(crate) fn of(link: &Link) -> Option<Self> {
        let Some(InfoData::Vxlan(infos)) = &link.data else { return None };
        let mut shape = Self { vni: 0, port: 0, local: None, learning: true, proxy: false };
        for info in infos {
            match info {
                InfoVxlan::Id(vni) => shape.vni = *vni,
                InfoVxlan::Port(port) => shape.port = *port,
                InfoVxlan::Local(ip) => shape.local = Some(IpAddr::V4(*ip)),
                InfoVxlan::Local6(ip) => shape.local = Some(IpAddr::V6(*ip)),
                InfoVxlan::Learning(on) => shape.learning = *on,
                InfoVxlan::Proxy(on) => shape.proxy = *on,
                _ => {}
            }
        }
        Some(shape)
    }

    fn serves(&self, wanted: &Vxlan) -> bool {
        let same = self.vni == u32::from(wanted.vni)
            && self.port == wanted.port
            && self.local == Some(wanted.local);
        same && self.is_ours()
    }

    /// Set as we set it.
    pub(crate) fn is_ours(&self) -> bool {
        self.proxy && !self.learning
    }
}

/// Reads a device back; `None` for another kind, one that is down, or one not set as ours are.
pub(crate) fn observed(link: &Link, bridge: &str) -> Option<Vxlan> {
    let shape = Shape::of(link).filter(Shape::is_ours)?;
    if !link.up {
        return None;
    }
    Some(Vxlan {
        name: link.name.clone(),
        vni: Vni::new(shape.vni).ok()?,
        port: shape.port,
        local: shape.local?,
        mtu: link.mtu,
        bridge: bridge.to_owned(),
    })
}
