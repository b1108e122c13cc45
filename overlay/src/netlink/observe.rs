//! Reads back what the kernel holds of ours.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;
use netlink_packet_route::link::{InfoBridge, InfoData};

use super::connection::Connection;
use super::endpoint::{are_pair, is_handed};
use super::error::NetlinkError;
use super::link::Link;
use super::nft::{Firewall, Standing};
use super::qdisc::{self, Disciplines};
use super::route::{Entry, MAIN};
use super::way_out::{GROUP, TABLE};
use super::{address, fdb, link, neigh, route, rule, vxlan};
use crate::names;
use crate::observed::{ObservedNamespace, ObservedPort, ObservedVxlan};
use crate::op::{Bridge, Rates};

/// What the host namespace holds.
#[derive(Debug, Default)]
pub(crate) struct ObservedHost {
    /// Host ends of ways out.
    links: Vec<Link>,
    /// Far ends that wait to be taken, by name.
    pub(crate) handed: BTreeSet<String>,
    /// Those for which rules are left, though the link may be gone.
    masqueraded: BTreeSet<String>,
    routes: Vec<Entry>,
    ruled: BTreeSet<IpNetwork>,
    standing: Standing,
}

/// Reads the host's side of all ways out, and what waits there to be taken.
pub(crate) async fn host(
    connection: &mut Connection,
    firewall: &mut Firewall,
) -> Result<ObservedHost, NetlinkError> {
    let mut links = link::list(connection).await?;
    let handed = links.iter().filter(|link| is_handed(link)).map(|l| l.name.clone()).collect();
    links.retain(|link| link.kind == "veth" && link.group == GROUP);
    let masqueraded = firewall.masqueraded().await?.into_iter().map(|(link, _)| link).collect();
    if links.is_empty() {
        return Ok(ObservedHost { handed, masqueraded, ..ObservedHost::default() });
    }
    let mut routes = route::list(connection).await?;
    routes.retain(|entry| entry.table == TABLE);
    let ruled = rule::list(connection, TABLE).await?.into_iter().map(|rule| rule.to).collect();
    let standing = firewall.standing().await?;
    Ok(ObservedHost { links, handed, masqueraded, routes, ruled, standing })
}

impl ObservedHost {
    /// Names of host ends, of those too of which only rules are left.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let there = self.links.iter().map(|link| link.name.clone());
        there.chain(self.masqueraded.iter().cloned()).collect()
    }

    /// The host's side of a way out is whole: up, each pool routed, ruled and masqueraded.
    fn serves(&self, inner: &Link) -> bool {
        let Some(outer) = self.links.iter().find(|outer| are_pair(outer, inner)) else {
            return false;
        };
        let of_link = self.routes.iter().filter(|entry| entry.link == outer.index);
        let pools: BTreeSet<IpNetwork> = of_link.map(|entry| entry.route.to).collect();
        let whole = outer.up && outer.mtu == inner.mtu && !pools.is_empty();
        whole && pools.is_subset(&self.ruled) && self.standing.serves(&outer.name, &pools)
    }
}

/// Reads a network's namespace. A device that is down, or not set as ours are, is left out:
/// ensuring it again repairs it.
pub(crate) async fn network(
    connection: &mut Connection,
    host: &ObservedHost,
) -> Result<ObservedNamespace, NetlinkError> {
    let links = link::list(connection).await?;
    let addresses = address::list(connection).await?;
    let mut observed = ObservedNamespace::default();
    let names: BTreeMap<u32, &str> = links.iter().map(|l| (l.index, l.name.as_str())).collect();
    let master = |link: &Link| {
        let name = link.master.and_then(|index| names.get(&index));
        name.copied().unwrap_or_default().to_owned()
    };
    for link in &links {
        match link.kind.as_str() {
            "bridge" => {
                if let Some(bridge) = bridge(link, &addresses) {
                    observed.bridges.insert(link.name.clone(), bridge);
                }
            }
            "vxlan" => {
                if let Some(shape) = vxlan::observed(link, &master(link)) {
                    let fdb = fdb::list(connection, link.index).await?.into_iter().collect();
                    let neighbours = neigh::list(connection, link.index).await?;
                    let neighbours = neighbours.into_iter().collect();
                    let vxlan = ObservedVxlan { shape, fdb, neighbours };
                    observed.vxlans.insert(link.name.clone(), vxlan);
                }
            }
            "ifb" => {
                observed.shapers.insert(link.name.clone());
            }
            "veth" if link.group == GROUP => {
                let whole = way_out_is_whole(connection, link, &addresses, host).await?;
                observed.way_out = whole.then(|| link.name.clone());
            }
            "veth" => {
                let port =
                    ObservedPort { bridge: master(link), up: link.up, carrier: link.carrier };
                observed.ports.insert(link.name.clone(), port);
            }
            _ => {}
        }
    }
    if !observed.ports.is_empty() {
        let disciplines = qdisc::list(connection).await?;
        let ports = links.iter().filter(|link| observed.ports.contains_key(&link.name));
        observed.rates = ports.filter_map(|port| rates(port, &links, &disciplines)).collect();
    }
    Ok(observed)
}

/// A shaper that is down, or that nothing leads to, shapes nothing.
fn rates(port: &Link, links: &[Link], disciplines: &Disciplines) -> Option<(String, Rates)> {
    let of = |link: &Link| disciplines.rates.get(&link.index).copied();
    let shaper = names::shaper_beside(&port.name);
    let shaper = links.iter().find(|link| link.name == shaper && link.up);
    let led = disciplines.led.get(&port.index);
    let egress = shaper.filter(|shaper| led.is_some_and(|led| led.contains(&shaper.index)));
    let egress = egress.and_then(of);
    let rates = Rates { ingress: of(port), egress };
    (rates != Rates::default()).then(|| (port.name.clone(), rates))
}

fn bridge(link: &Link, addresses: &BTreeSet<(u32, IpNetwork)>) -> Option<Bridge> {
    let snoops = matches!(&link.data, Some(InfoData::Bridge(infos))
        if infos.contains(&InfoBridge::MulticastSnooping(true)));
    if !link.up || snoops {
        return None;
    }
    let own = addresses.iter().filter(|(index, _)| *index == link.index);
    Some(Bridge {
        name: link.name.clone(),
        mac: link.mac?,
        mtu: link.mtu,
        addresses: own.map(|(_, address)| *address).collect(),
    })
}

async fn way_out_is_whole(
    connection: &mut Connection,
    link: &Link,
    addresses: &BTreeSet<(u32, IpNetwork)>,
    host: &ObservedHost,
) -> Result<bool, NetlinkError> {
    if !link.carrier || !host.serves(link) {
        return Ok(false);
    }
    let routes = route::list(connection).await?;
    let leads_out = |entry: &Entry| {
        entry.link == link.index && entry.table == MAIN && entry.route.to.prefix() == 0
    };
    let addressed = addresses.iter().any(|(index, _)| *index == link.index);
    let v6_only = routes.iter().filter(|e| leads_out(e)).all(|e| e.route.to.is_ipv6());
    Ok(routes.iter().any(leads_out) && (addressed || v6_only))
}
