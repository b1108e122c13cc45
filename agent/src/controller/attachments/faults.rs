//! What of an attachment is not as it was made: a look at its namespace and at the peer table.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_api::Mac;
use weft_api::control::ControlError;
use weft_overlay::netlink::{Connection, Namespace, NetlinkError, address, link, route};

use crate::control::Answer;
use crate::controller::Controller;
use crate::controller::inventory::{Endpoint, Sandbox};

/// An interface as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) up: bool,
    pub(super) mac: Option<Mac>,
    pub(super) mtu: u32,
    pub(super) addresses: BTreeSet<IpNetwork>,
    /// Next hops of its default routes, of all tables.
    pub(super) gateways: BTreeSet<IpAddr>,
}

impl Controller {
    pub(super) async fn faults_of(&self, endpoint: &Endpoint) -> Answer<Vec<String>> {
        let Some(sandbox) = &endpoint.sandbox else {
            return Ok(vec!["its namespace is gone".to_owned()]);
        };
        let mut faults = match Namespace::open(&sandbox.key) {
            Ok(namespace) => {
                let seen = look(&namespace, &sandbox.ifname).await.map_err(|error| {
                    ControlError::internal(format!("the namespace was not read: {error}"))
                })?;
                match seen {
                    Some(seen) => differences(endpoint, sandbox, &seen),
                    None => vec![format!("interface `{}` is gone", sandbox.ifname)],
                }
            }
            Err(error) => vec![error.to_string()],
        };
        let (network, entries) = (endpoint.network, sandbox.entries.clone());
        let missing = self
            .node(move |node, _| {
                let own = node.id();
                let is_there = |(table, key): &(String, String)| {
                    node.db().entry(network, table, key).is_some_and(|entry| entry.owner == own)
                };
                entries.iter().filter(|entry| !is_there(entry)).count()
            })
            .await?;
        if missing > 0 {
            faults.push("other nodes are not told of it".to_owned());
        }
        Ok(faults)
    }
}

async fn look(namespace: &Namespace, ifname: &str) -> Result<Option<Seen>, NetlinkError> {
    let mut inside = Connection::open(namespace).await?;
    let Some(link) = link::find(&mut inside, ifname).await? else { return Ok(None) };
    let addresses = address::list(&mut inside).await?;
    let routes = route::list(&mut inside).await?;
    let defaults = routes.iter().filter(|e| e.link == link.index && e.route.to.prefix() == 0);
    Ok(Some(Seen {
        up: link.up,
        mac: link.mac,
        mtu: link.mtu,
        gateways: defaults.filter_map(|entry| entry.route.via).collect(),
        addresses: addresses
            .into_iter()
            .filter(|(index, _)| *index == link.index)
            .map(|(_, address)| address)
            .collect(),
    }))
}

/// A smaller MTU is none: a plugin chained behind may have set it. Nor is an address more.
pub(super) fn differences(endpoint: &Endpoint, sandbox: &Sandbox, seen: &Seen) -> Vec<String> {
    let ifname = &sandbox.ifname;
    let mut faults = Vec::new();
    if !seen.up {
        faults.push(format!("interface `{ifname}` is down"));
    }
    for address in endpoint.address.iter().chain(&endpoint.address_ipv6) {
        if !seen.addresses.contains(address) {
            faults.push(format!("interface `{ifname}` has no address `{address}`"));
        }
    }
    if let Some(mac) = endpoint.mac
        && seen.mac != Some(mac)
    {
        let found = seen.mac.map_or_else(|| "none".to_owned(), |mac| mac.to_string());
        faults.push(format!("the MAC address of `{ifname}` is `{found}`, not `{mac}`"));
    }
    if let Some(mtu) = sandbox.mtu.filter(|mtu| seen.mtu > *mtu) {
        faults.push(format!("the MTU of `{ifname}` is {}, more than {mtu}", seen.mtu));
    }
    for gateway in sandbox.gateway.iter().chain(&sandbox.gateway_ipv6) {
        if !seen.gateways.contains(gateway) {
            faults.push(format!("no default route leads to `{gateway}`"));
        }
    }
    faults
}
