//! The pair that joins an endpoint's sandbox to its bridge.
//!
//! Its far end is born in the sandbox, or waits in the host for a container engine that moves it
//! there. What waits is told by its name and [`HANDED_GROUP`]: another link of that name is left
//! alone.

use weft_api::Mac;

use super::connection::Connection;
use super::error::NetlinkError;
use super::link::{self, Link};
use super::namespace::Namespace;
use super::sandbox::{self, Interface};
use super::{bridge, fdb, veth};
use crate::names;
use crate::op::{EndpointLink, HandOver, HandedLink};

/// Link group of far ends that were handed over ("wh"). They keep it in their container, where an
/// agent may run and have links of its own, so it is not that of ways out.
pub const HANDED_GROUP: u32 = 0x7768;

/// Makes the pair, or completes the one that is there and ours. A pair that cannot be completed is
/// undone; a port left without its other end is replaced.
///
/// The bridge learns nothing: the endpoint's MAC is set on its port for good, and frames to a MAC
/// that the bridge does not know go to the tunnel alone, not to every other endpoint.
///
/// # Errors
/// [`NetlinkError::InterfaceExists`] when the sandbox has an interface of that name that is not
/// the other end of this port.
pub async fn ensure(
    network: &mut Connection,
    sandbox: &Namespace,
    wanted: &EndpointLink,
) -> Result<(), NetlinkError> {
    let bridge_index = link::get(network, &wanted.bridge).await?.index;
    // Not kept: an open socket would keep a sandbox alive whose owner has removed it.
    let mut inside = Connection::open(sandbox).await?;
    let port = link::find(network, &wanted.port).await?;
    let far = link::find(&mut inside, &wanted.ifname).await?;
    // Indices start anew in each namespace, so equal ones alone prove little.
    let here = match &port {
        Some(port) => port.peer_namespace == link::number_of(network, sandbox).await?,
        None => false,
    };
    let made = match (&port, &far) {
        (Some(port), Some(far)) if are_pair(port, far) && here => Made::Before,
        (_, Some(_)) => return Err(sandbox::exists(&wanted.ifname, sandbox)),
        (Some(_), None) => {
            link::remove(network, &wanted.port).await?;
            Made::Now
        }
        (None, None) => Made::Now,
    };
    if made == Made::Now {
        let near = veth::End::named(&wanted.port);
        let far = veth::End { mac: Some(wanted.mac), ..veth::End::named(&wanted.ifname) };
        veth::create(network, &near, &far, sandbox, wanted.mtu).await?;
    }
    // A smaller MTU is what the container wanted.
    let mtu = match far.filter(|_| made == Made::Before) {
        Some(far) => wanted.mtu.min(far.mtu),
        None => wanted.mtu,
    };
    let completed = complete(network, bridge_index, &mut inside, sandbox, (wanted, mtu)).await;
    if completed.is_err() && made == Made::Now {
        // The first failure is what the caller has to know.
        let _ = link::remove(network, &wanted.port).await;
    }
    completed
}

/// Makes the pair with its far end in the host's namespace, down; or completes the port that is
/// there, whatever became of its far end. A pair that cannot be completed is undone.
///
/// # Errors
/// [`NetlinkError::HandedGone`] when a pair is to be adopted that is not there. Nothing was
/// changed.
pub async fn ensure_handed(
    network: &mut Connection,
    (host, host_namespace): (&mut Connection, &Namespace),
    wanted: &HandedLink,
) -> Result<(), NetlinkError> {
    let bridge_index = link::get(network, &wanted.bridge).await?.index;
    let made = match (link::find(network, &wanted.port).await?, wanted.hand_over) {
        (Some(port), HandOver::First | HandOver::Adopted) => {
            port.expect_kind("veth")?;
            Made::Before
        }
        (None, HandOver::Adopted) => return Err(NetlinkError::HandedGone(wanted.port.clone())),
        (None, HandOver::First) => Made::Now,
    };
    if made == Made::Now {
        if let Some(left) = link::find(host, &wanted.host_link).await? {
            if !is_handed(&left) {
                let found = format!("{} of somebody else", left.kind);
                let wanted = "link that waits for its container";
                return Err(NetlinkError::WrongKind { name: left.name, found, wanted });
            }
            link::remove(host, &wanted.host_link).await?;
        }
        let near = veth::End::named(&wanted.port);
        let (name, mac) = (wanted.host_link.clone(), Some(wanted.mac));
        let far = veth::End { name, mac, group: HANDED_GROUP };
        veth::create(network, &near, &far, host_namespace, wanted.mtu).await?;
    }
    let port = Port {
        name: &wanted.port,
        bridge: (&wanted.bridge, bridge_index),
        mac: wanted.mac,
        mtu: wanted.mtu,
    };
    let completed = port.complete(network).await;
    if completed.is_err() && made == Made::Now {
        // The first failure is what the caller has to know.
        let _ = link::remove(network, &wanted.port).await;
    }
    completed
}

/// Tells whether a link of the host's is a far end that waits to be taken.
pub(crate) fn is_handed(link: &Link) -> bool {
    link.kind == "veth" && link.group == HANDED_GROUP && names::is_handed(&link.name)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Before,
    Now,
}

/// Each names the other's index.
pub(crate) fn are_pair(a: &Link, b: &Link) -> bool {
    let veth = a.kind == "veth" && b.kind == "veth";
    veth && a.peer == Some(b.index) && b.peer == Some(a.index)
}

async fn complete(
    network: &mut Connection,
    bridge_index: u32,
    inside: &mut Connection,
    sandbox: &Namespace,
    (wanted, mtu): (&EndpointLink, u32),
) -> Result<(), NetlinkError> {
    let port = Port {
        name: &wanted.port,
        bridge: (&wanted.bridge, bridge_index),
        mac: wanted.mac,
        mtu: wanted.mtu,
    };
    port.complete(network).await?;
    let interface = Interface {
        ifname: wanted.ifname.clone(),
        mac: Some(wanted.mac),
        mtu: Some(mtu),
        addresses: wanted.addresses.clone(),
        routes: wanted.routes.clone(),
    };
    sandbox::configure(inside, sandbox, &interface).await
}

/// The bridge's end of a pair.
struct Port<'a> {
    name: &'a str,
    bridge: (&'a str, u32),
    mac: Mac,
    mtu: u32,
}

impl Port<'_> {
    /// Sets it up as a port of its bridge, behind which the MAC is.
    async fn complete(&self, network: &mut Connection) -> Result<(), NetlinkError> {
        let port = link::get(network, self.name).await?;
        let (bridge, bridge_index) = self.bridge;
        if port.master != Some(bridge_index) {
            link::set_master(network, self.name, bridge).await?;
        }
        if port.mtu != self.mtu {
            link::set_mtu(network, self.name, self.mtu).await?;
        }
        bridge::set_endpoint_port(network, self.name, port.index).await?;
        fdb::replace_static(network, port.index, self.mac).await
    }
}
