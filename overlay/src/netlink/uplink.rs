//! What the host's own network looks like, and what its kernel can do.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use weft_api::{Mac, Vni};

use super::connection::Connection;
use super::error::NetlinkError;
use super::link::Link;
use super::namespace::{Namespace, make_anonymous};
use super::nft::{Firewall, Obstacle};
use super::{address, bridge, link, route, veth, vxlan, way_out};
use crate::op::{Bridge, Vxlan, WayOut};

/// Finds the link that holds an address: the MTU of tunnels follows from its MTU. `None` when no
/// link has the address.
///
/// # Errors
/// When the kernel refuses to tell.
pub async fn find(connection: &mut Connection, ip: IpAddr) -> Result<Option<Link>, NetlinkError> {
    let addresses = address::list(connection).await?;
    let Some((index, _)) = addresses.into_iter().find(|(_, address)| address.ip() == ip) else {
        return Ok(None);
    };
    Ok(link::list(connection).await?.into_iter().find(|link| link.index == index))
}

/// Lists the host's own addresses, loopback and link-local ones left out.
///
/// # Errors
/// When the kernel refuses to tell.
pub async fn addresses(connection: &mut Connection) -> Result<BTreeSet<IpNetwork>, NetlinkError> {
    let addresses = address::list(connection).await?.into_iter().map(|(_, address)| address);
    Ok(addresses.filter(|address| !is_local(address.ip())).collect())
}

/// Lists the prefixes that the host routes or has an address in, all tables but ours, default
/// routes and link-local ones left out. No pool may overlap one of them.
///
/// # Errors
/// When the kernel refuses to tell.
pub async fn prefixes(connection: &mut Connection) -> Result<BTreeSet<IpNetwork>, NetlinkError> {
    let mut prefixes: BTreeSet<IpNetwork> = addresses(connection).await?;
    let routes = route::list(connection).await?.into_iter();
    prefixes.extend(routes.filter(|entry| entry.table != way_out::TABLE).map(|e| e.route.to));
    prefixes.retain(|prefix| prefix.prefix() > 0 && !is_local(prefix.ip()));
    let networks =
        prefixes.into_iter().filter_map(|p| IpNetwork::new(p.network(), p.prefix()).ok());
    Ok(networks.collect())
}

fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_multicast(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_multicast(),
    }
}

/// Lists the chains of other people's firewalls that drop what is forwarded.
///
/// # Errors
/// When the kernel has no nftables.
pub async fn obstacles(host: &Namespace) -> Result<BTreeSet<Obstacle>, NetlinkError> {
    Firewall::open(host).await?.obstacles().await
}

/// One thing a kernel has to be able to do.
#[derive(Debug)]
pub struct Feature {
    /// What it is, for example "VXLAN over IPv6".
    pub name: &'static str,
    /// Why it does not work; `Ok` when it does.
    pub outcome: Result<(), NetlinkError>,
}

/// Tries everything that the overlay needs in namespaces of its own, which go when it returns.
///
/// # Errors
/// When not even a namespace can be made: without root.
pub async fn features() -> Result<Vec<Feature>, NetlinkError> {
    let (host, network) = (make_anonymous()?, make_anonymous()?);
    let mut outside = Connection::open(&host).await?;
    let mut inside = Connection::open(&network).await?;
    let mut features = Vec::new();
    let mut add = |name, outcome| features.push(Feature { name, outcome });

    let mtu = 1400;
    let mac = Mac::from_bytes([2, 0, 0, 0, 0, 1]);
    let shape = Bridge { name: "probe".to_owned(), mac, mtu, addresses: Vec::new() };
    add("bridge", bridge::ensure(&mut inside, &shape).await);
    let (near, far) = (veth::End::named("near"), veth::End::named("far"));
    add("veth", veth::create(&mut outside, &near, &far, &network, mtu).await);
    for (name, device, local) in [
        ("VXLAN over IPv4", "vx4", IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ("VXLAN over IPv6", "vx6", IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)),
    ] {
        let vni = Vni::new(u32::from(local.is_ipv6()) + 1).expect("1 and 2 are VNIs");
        let bridge = shape.name.clone();
        let wanted = Vxlan { name: device.to_owned(), vni, port: 4789, local, mtu, bridge };
        add(name, vxlan::ensure(&mut outside, &mut inside, &network, &wanted).await);
    }
    let pools = ["10.0.0.0/8", "fd00::/8"].map(|pool| pool.parse().expect("a pool"));
    let way = WayOut {
        host_link: "probe-h".to_owned(),
        network_link: "probe-n".to_owned(),
        mtu,
        pools: pools.to_vec(),
    };
    let outcome = match Firewall::open(&host).await {
        Ok(mut firewall) => {
            let host = way_out::Side { connection: &mut outside, namespace: &host };
            let network = way_out::Side { connection: &mut inside, namespace: &network };
            way_out::ensure(host, network, &mut firewall, &way).await
        }
        Err(error) => Err(error),
    };
    add("routing rules and masquerade by nftables", outcome);
    Ok(features)
}
