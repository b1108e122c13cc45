//! The routes and name servers of each host, as facts: default pools keep clear of them.

use std::net::IpAddr;
use std::time::Instant;

use bincode::config::standard;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_api::NodeId;
use weft_networkdb::{FactError, FactKind, Join, JoinError, Joined, MemberState};
use weft_overlay::netlink::connection::Connection;
use weft_overlay::netlink::namespace::Namespace;
use weft_overlay::netlink::uplink;

use crate::node::Node;

/// A host with more routes than this tells its widest ones only.
const ROUTES_MAX: usize = 1024;
/// Longest fact, in bytes.
const FACT_BYTES_MAX: usize = 64 << 10;

/// One host's fact. The newest version counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct HostRoutes {
    /// Boot counter, and a number that grows within the boot.
    version: (u64, u64),
    /// Sorted.
    routes: Vec<IpNetwork>,
}

/// Joins two states of one host's fact.
#[derive(Debug, Clone, Copy)]
pub struct HostRoutesJoin;

impl Join for HostRoutesJoin {
    fn join(&self, current: Option<&[u8]>, incoming: &[u8]) -> Result<Joined, JoinError> {
        let incoming = decode(incoming)?;
        let newer = match current {
            // Ties cannot differ, since one node writes; the order is total all the same.
            Some(current) => incoming > decode(current)?,
            None => true,
        };
        Ok(if newer { Joined::Changed(encode(&incoming)) } else { Joined::Unchanged })
    }
}

fn decode(bytes: &[u8]) -> Result<HostRoutes, JoinError> {
    bincode::serde::decode_from_slice(bytes, standard().with_limit::<FACT_BYTES_MAX>())
        .map(|(routes, _)| routes)
        .map_err(|error| JoinError(format!("host routes: {error}")))
}

fn encode(routes: &HostRoutes) -> Vec<u8> {
    bincode::serde::encode_to_vec(routes, standard()).expect("networks and numbers encode")
}

/// Reads this host's routes and name servers.
pub async fn read() -> Vec<IpNetwork> {
    let prefixes = async {
        let mut connection = Connection::open(&Namespace::current()?).await?;
        uplink::prefixes(&mut connection).await
    };
    let mut routes: Vec<_> = match prefixes.await {
        Ok(prefixes) => prefixes.into_iter().collect(),
        Err(error) => {
            tracing::warn!(%error, "host routes were not read");
            Vec::new()
        }
    };
    let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    routes.extend(name_servers(&resolv));
    routes.retain(|route| route.prefix() > 0);
    routes.sort_by_key(|route| (route.prefix(), *route));
    routes.dedup();
    routes.truncate(ROUTES_MAX);
    routes.sort();
    routes
}

fn name_servers(resolv: &str) -> impl Iterator<Item = IpNetwork> + '_ {
    resolv
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().split('%').next()?.parse::<IpAddr>().ok())
        .filter(|address| !address.is_loopback())
        .map(IpNetwork::from)
}

/// Tells the cluster, unless it knows already.
///
/// # Errors
/// networkdb refused the fact.
pub fn publish(node: &mut Node, routes: &[IpNetwork], now: Instant) -> Result<(), FactError> {
    let subject = node.id().as_bytes().to_vec();
    let current =
        node.db().fact(FactKind::HOST_ROUTES, &subject).and_then(|bytes| decode(bytes).ok());
    if current.as_ref().is_some_and(|current| current.routes == routes) {
        return Ok(());
    }
    let version = match current {
        Some(HostRoutes { version: (major, minor), .. }) => (major, minor + 1),
        None => (1, 0),
    };
    let fact = encode(&HostRoutes { version, routes: routes.to_vec() });
    node.with_db(now, |db| db.put_fact(FactKind::HOST_ROUTES, &subject, &fact, now))
}

/// Returns the routes and name servers of all hosts that may run.
pub fn of_all(node: &Node) -> Vec<IpNetwork> {
    facts(node).flat_map(|(_, routes)| routes).collect()
}

/// Returns the routes and name servers of all hosts that may run, each with its host's name.
pub fn by_host(node: &Node) -> Vec<(String, IpNetwork)> {
    facts(node)
        .flat_map(|(member, routes)| routes.into_iter().map(move |route| (member.clone(), route)))
        .collect()
}

/// The facts of members that have neither left nor been forgotten, with the members' names.
fn facts(node: &Node) -> impl Iterator<Item = (String, Vec<IpNetwork>)> + '_ {
    node.db().facts(FactKind::HOST_ROUTES).filter_map(|(subject, bytes)| {
        let id = NodeId::from_bytes(subject.try_into().ok()?);
        let member = node.db().member(id)?;
        let gone = matches!(member.state, MemberState::Left | MemberState::Forgotten);
        (!gone).then(|| Some((member.name.clone(), decode(bytes).ok()?.routes)))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(minor: u64, routes: &[&str]) -> Vec<u8> {
        let routes = routes.iter().map(|route| route.parse().unwrap()).collect();
        encode(&HostRoutes { version: (1, minor), routes })
    }

    #[test]
    fn the_newest_routes_count_in_any_order() {
        let (old, new) = (fact(1, &["10.0.0.0/8"]), fact(2, &["10.1.0.0/16"]));
        let join = |a: Option<&[u8]>, b: &[u8]| HostRoutesJoin.join(a, b).unwrap();
        assert_eq!(join(Some(&old), &new), Joined::Changed(new.clone()));
        assert_eq!(join(Some(&new), &old), Joined::Unchanged);
        assert_eq!(join(Some(&new), &new), Joined::Unchanged);
        assert_eq!(join(None, &old), Joined::Changed(old.clone()));
        assert!(HostRoutesJoin.join(None, &[0xff; 40]).is_err());
    }

    #[test]
    fn name_servers_are_read_without_comments_zones_and_loopback() {
        let resolv = "# nameserver 9.9.9.9\nnameserver 10.7.0.2\nnameserver 127.0.0.53\n\
                      search example\nnameserver fe80::1%eth0\n";
        let found: Vec<_> = name_servers(resolv).map(|network| network.to_string()).collect();
        assert_eq!(found, ["10.7.0.2/32", "fe80::1/128"]);
    }
}
