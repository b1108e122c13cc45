//! A network's way out: a veth pair between its namespace and the host, routed there by a table of
//! ours, masqueraded by the host.
//!
//! The transit addresses are the same for every network: all routes over the pair name the link
//! and take the next hop on trust, and both ends know each other's MAC for good, so no ARP is
//! needed and the host's reverse path filter has nothing to object to. IPv4 transit is
//! 169.254.237.252/30, IPv6 transit two fixed link-local addresses.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use weft_api::Mac;

use super::connection::Connection;
use super::endpoint::are_pair;
use super::error::NetlinkError;
use super::link::{self, Link};
use super::namespace::{Namespace, run_in};
use super::nft::Firewall;
use super::route::{self, Entry, MAIN, Onlink};
use super::rule::{self, Rule};
use super::{address, neigh, sysctl, veth};
use crate::op::{Neighbour, Route, WayOut};

/// Routing table of the host that holds the pools' routes. They never stand in the main table:
/// Docker's engine takes pools from what is free there, and would go round in circles.
pub const TABLE: u32 = 7950;
/// Priority of the rules that look the table up: before the main table's.
pub const RULE_PRIORITY: u32 = 7950;
/// Link group of both ends: how our links are told, here and in nftables ("we").
pub const GROUP: u32 = 0x7765;

const HOST_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 237, 253);
const NETWORK_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 237, 254);
const HOST_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x7765, 0x6674, 1);
const NETWORK_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x7765, 0x6674, 2);
/// MAC address of the host's end of every way out.
pub const HOST_MAC: Mac = Mac::from_bytes([0x02, 0x77, 0x65, 0x66, 0x74, 0x01]);
const NETWORK_MAC: Mac = Mac::from_bytes([0x02, 0x77, 0x65, 0x66, 0x74, 0x02]);

/// A namespace with the connection into it.
pub(crate) struct Side<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) namespace: &'a Namespace,
}

/// One end of the transit: its own addresses, and its peer's.
struct Transit {
    v4: (Ipv4Addr, Ipv4Addr),
    v6: (Ipv6Addr, Ipv6Addr),
    peer_mac: Mac,
    loopback: Loopback,
}

/// Whether packets of 127.0.0.0/8 may pass the link. Endpoints cannot send any: their network's
/// namespace drops them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loopback {
    Passes,
    Stays,
}

const ON_HOST: Transit = Transit {
    v4: (HOST_V4, NETWORK_V4),
    v6: (HOST_V6, NETWORK_V6),
    peer_mac: NETWORK_MAC,
    loopback: Loopback::Passes,
};
const ON_NETWORK: Transit = Transit {
    v4: (NETWORK_V4, HOST_V4),
    v6: (NETWORK_V6, HOST_V6),
    peer_mac: HOST_MAC,
    loopback: Loopback::Stays,
};

fn has_family(pools: &[IpNetwork], v6: Family) -> bool {
    pools.iter().any(|pool| pool.is_ipv6() == (v6 == Family::V6))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// Makes or completes a way out. A pair that was made now and cannot be completed is undone.
///
/// Turns forwarding on in the host where it is off. With IPv6, interfaces that take their routes
/// from router advertisements are told to go on doing so (`accept_ra` 2).
pub(crate) async fn ensure(
    mut host: Side<'_>,
    mut network: Side<'_>,
    firewall: &mut Firewall,
    way: &WayOut,
) -> Result<(), NetlinkError> {
    let outer = link::find(host.connection, &way.host_link).await?;
    let inner = link::find(network.connection, &way.network_link).await?;
    let whole = matches!((&outer, &inner), (Some(a), Some(b)) if are_pair(a, b));
    if !whole {
        if let Some(outer) = &outer {
            ours(outer)?;
            link::remove(host.connection, &way.host_link).await?;
        }
        link::remove(network.connection, &way.network_link).await?;
        let end =
            |name: &str, mac| veth::End { name: name.to_owned(), mac: Some(mac), group: GROUP };
        let near = end(&way.host_link, HOST_MAC);
        let far = end(&way.network_link, NETWORK_MAC);
        veth::create(host.connection, &near, &far, network.namespace, way.mtu).await?;
    }
    let completed = complete(&mut host, &mut network, firewall, way).await;
    if completed.is_err() && !whole {
        // The first failure is what the caller has to know.
        let _ = remove(host.connection, firewall, &way.host_link, &way.pools).await;
    }
    completed
}

/// A link of that name that somebody else made is not touched.
fn ours(found: &Link) -> Result<(), NetlinkError> {
    if found.kind == "veth" && found.group == GROUP {
        return Ok(());
    }
    let found_kind = format!("{} of somebody else", found.kind);
    let name = found.name.clone();
    Err(NetlinkError::WrongKind { name, found: found_kind, wanted: "way out" })
}

async fn complete(
    host: &mut Side<'_>,
    network: &mut Side<'_>,
    firewall: &mut Firewall,
    way: &WayOut,
) -> Result<(), NetlinkError> {
    let inner = set_end(network, &way.network_link, way, &ON_NETWORK).await?;
    let outer = set_end(host, &way.host_link, way, &ON_HOST).await?;
    for to in defaults(&way.pools) {
        let via = if to.is_ipv4() { IpAddr::V4(HOST_V4) } else { IpAddr::V6(HOST_V6) };
        let route = Route { to, via: Some(via) };
        let entry = Entry { route, link: inner, table: MAIN, onlink: Onlink::Yes };
        route::replace(network.connection, &entry).await?;
    }
    for pool in &way.pools {
        route::replace(host.connection, &pool_route(*pool, outer)).await?;
        rule::ensure(host.connection, &pool_rule(*pool)).await?;
    }
    firewall.ensure(way).await?;
    forward(host.namespace, &way.pools)
}

async fn set_end(
    side: &mut Side<'_>,
    name: &str,
    way: &WayOut,
    transit: &Transit,
) -> Result<u32, NetlinkError> {
    let key = |family: &str, key: &str| format!("{family}/conf/{name}/{key}");
    let settings = [(key("ipv6", "disable_ipv6"), "0"), (key("ipv6", "accept_ra"), "0")];
    if has_family(&way.pools, Family::V6) {
        sysctl::write_all(side.namespace, &settings)?;
    }
    if transit.loopback == Loopback::Passes {
        // The host's own programs may ask 127.0.0.1 for a published port.
        sysctl::write_all(side.namespace, &[(key("ipv4", "route_localnet"), "1")])?;
    }
    let found = link::get(side.connection, name).await?;
    if found.mtu != way.mtu {
        link::set_mtu(side.connection, name, way.mtu).await?;
    }
    if !found.up {
        link::set_up(side.connection, name).await?;
    }
    let mut ends: Vec<(IpNetwork, IpAddr)> = Vec::new();
    if has_family(&way.pools, Family::V4) {
        ends.push((IpNetwork::from(IpAddr::V4(transit.v4.0)), transit.v4.1.into()));
    }
    if has_family(&way.pools, Family::V6) {
        ends.push((IpNetwork::from(IpAddr::V6(transit.v6.0)), transit.v6.1.into()));
    }
    for (own, peer) in ends {
        address::add(side.connection, found.index, own).await?;
        let entry = Neighbour { ip: peer, mac: transit.peer_mac };
        neigh::replace(side.connection, found.index, &entry).await?;
    }
    Ok(found.index)
}

/// The default routes of the families the pools have.
fn defaults(pools: &[IpNetwork]) -> Vec<IpNetwork> {
    let mut defaults = Vec::new();
    let nowhere = [
        (Family::V4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        (Family::V6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    ];
    for (family, ip) in nowhere {
        if has_family(pools, family) {
            defaults.push(IpNetwork::new(ip, 0).expect("0 is a prefix length of both families"));
        }
    }
    defaults
}

fn pool_route(pool: IpNetwork, link: u32) -> Entry {
    let via = if pool.is_ipv4() { IpAddr::V4(NETWORK_V4) } else { IpAddr::V6(NETWORK_V6) };
    Entry { route: Route { to: pool, via: Some(via) }, link, table: TABLE, onlink: Onlink::Yes }
}

fn pool_rule(pool: IpNetwork) -> Rule {
    Rule { to: pool, table: TABLE, priority: RULE_PRIORITY }
}

/// Turns forwarding on for the families the pools have.
fn forward(host: &Namespace, pools: &[IpNetwork]) -> Result<(), NetlinkError> {
    if has_family(pools, Family::V4) {
        sysctl::write_all(host, &[("ipv4/ip_forward".to_owned(), "1")])?;
    }
    let forwards_v6 = || sysctl::read(host, "ipv6/conf/all/forwarding");
    if has_family(pools, Family::V6) && forwards_v6()?.as_deref() != Some("1") {
        // A router ignores advertisements unless told otherwise: the host would lose its default
        // route minutes later.
        for name in listens_to_routers(host)? {
            sysctl::write_all(host, &[(format!("ipv6/conf/{name}/accept_ra"), "2")])?;
        }
        sysctl::write_all(host, &[("ipv6/conf/all/forwarding".to_owned(), "1")])?;
    }
    Ok(())
}

/// Interfaces with `accept_ra` 1.
fn listens_to_routers(host: &Namespace) -> Result<Vec<String>, NetlinkError> {
    run_in(host, || {
        let names = fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten();
        let listens = |name: &String| {
            let value = fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/accept_ra"));
            name != "all" && value.is_ok_and(|value| value.trim() == "1")
        };
        names.filter_map(|entry| entry.file_name().into_string().ok()).filter(listens).collect()
    })
}

/// Removes a way out: rules, routes, masquerade, the pair. Only its name has to be known: its pools
/// are those given, those it is masqueraded for and those that are routed to it. Forwarding stays
/// on: others may have come to rely on it. Goes on after a failure and returns the first.
pub(crate) async fn remove(
    host: &mut Connection,
    firewall: &mut Firewall,
    host_link: &str,
    pools: &[IpNetwork],
) -> Result<(), NetlinkError> {
    let outer = link::find(host, host_link).await?;
    if let Some(outer) = &outer {
        ours(outer)?;
    }
    let mut pools: BTreeSet<IpNetwork> = pools.iter().copied().collect();
    let masqueraded = firewall.masqueraded().await?.into_iter();
    pools.extend(masqueraded.filter(|(link, _)| link == host_link).map(|(_, pool)| pool));
    if let Some(outer) = &outer {
        let routes = route::list(host).await?.into_iter();
        let to_link = routes.filter(|entry| entry.table == TABLE && entry.link == outer.index);
        pools.extend(to_link.map(|entry| entry.route.to));
    }
    let mut outcome = Ok(());
    for pool in pools {
        outcome = outcome.and(rule::remove(host, &pool_rule(pool)).await);
    }
    // The routes of the link go with it, and its other end, too.
    outcome = outcome.and(link::remove(host, host_link).await);
    // Last: its comments are what is left to know the pools by, should a removal have failed.
    outcome.and(firewall.remove(host_link).await)
}
