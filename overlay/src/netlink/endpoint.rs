//! The pair that joins an endpoint's sandbox to its bridge.

use super::connection::Connection;
use super::error::NetlinkError;
use super::link::{self, Link};
use super::namespace::Namespace;
use super::sandbox::{self, Interface};
use super::{bridge, fdb, veth};
use crate::op::EndpointLink;

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
    let completed = complete(network, bridge_index, &mut inside, sandbox, wanted).await;
    if completed.is_err() && made == Made::Now {
        // The first failure is what the caller has to know.
        let _ = link::remove(network, &wanted.port).await;
    }
    completed
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
    wanted: &EndpointLink,
) -> Result<(), NetlinkError> {
    let port = link::get(network, &wanted.port).await?;
    if port.master != Some(bridge_index) {
        link::set_master(network, &wanted.port, &wanted.bridge).await?;
    }
    if port.mtu != wanted.mtu {
        link::set_mtu(network, &wanted.port, wanted.mtu).await?;
    }
    bridge::set_endpoint_port(network, &wanted.port, port.index).await?;
    fdb::replace_static(network, port.index, wanted.mac).await?;
    let interface = Interface {
        ifname: wanted.ifname.clone(),
        mac: Some(wanted.mac),
        mtu: Some(wanted.mtu),
        addresses: wanted.addresses.clone(),
        routes: wanted.routes.clone(),
    };
    sandbox::configure(inside, sandbox, &interface).await
}
