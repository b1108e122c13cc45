//! What happens inside a sandbox: an interface is addressed and routed, or moved in.

use std::os::fd::{AsFd, AsRawFd};

use ipnetwork::IpNetwork;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};
use weft_api::Mac;

use super::connection::Connection;
use super::error::NetlinkError;
use super::namespace::Namespace;
use super::route::{self, Entry, MAIN, Onlink};
use super::{address, link, sysctl};
use crate::op::Route;

/// Neighbours are asked for this often in milliseconds, and this many times, for one second in
/// all. The kernel asks once a second, so a packet that is earlier than the news of its target
/// would wait a second; here a question costs nothing, since the tunnel answers it on this host.
const NEIGHBOUR_PATIENCE: [(&str, &str); 2] = [("retrans_time_ms", "20"), ("mcast_solicit", "50")];

/// An interface as it shall be in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name there.
    pub ifname: String,
    /// Its MAC; `None` keeps what it has.
    pub mac: Option<Mac>,
    /// In bytes; `None` keeps what it has.
    pub mtu: Option<u32>,
    /// Addresses with prefix lengths.
    pub addresses: Vec<IpNetwork>,
    /// Default and static routes.
    pub routes: Vec<Route>,
}

/// Addresses and routes an interface that is in the sandbox already, and sets it and `lo` up.
/// What else a container set on it stays, and so does a route that was moved to another table.
///
/// # Errors
/// [`NetlinkError::NoLink`] when it is not there, or a next hop out of reach.
pub async fn configure(
    connection: &mut Connection,
    namespace: &Namespace,
    wanted: &Interface,
) -> Result<(), NetlinkError> {
    link::set_up(connection, "lo").await?;
    if wanted.addresses.iter().any(IpNetwork::is_ipv6) {
        // Runtimes turn IPv6 off in sandboxes; without it the address would be refused.
        let key = |name: &str| format!("ipv6/conf/{}/{name}", wanted.ifname);
        sysctl::write_all(namespace, &[(key("disable_ipv6"), "0"), (key("accept_ra"), "0")])?;
    }
    let mut change = LinkMessageBuilder::<LinkUnspec>::new().name(&wanted.ifname).up();
    if let Some(mtu) = wanted.mtu {
        change = change.mtu(mtu);
    }
    let found = link::get(connection, &wanted.ifname).await?;
    if let Some(mac) = wanted.mac.filter(|mac| found.mac != Some(*mac)) {
        change = change.address(mac.octets().to_vec());
    }
    link::set(connection, &wanted.ifname, change).await?;
    ask_neighbours_often(namespace, wanted);
    for address in &wanted.addresses {
        address::add(connection, found.index, *address).await?;
    }
    let there = route::list(connection).await?;
    let is_there = |wanted: &Route| {
        let own = there.iter().filter(|entry| entry.link == found.index);
        own.into_iter().any(|entry| entry.route.to == wanted.to && entry.route.via == wanted.via)
    };
    let missing = wanted.routes.iter().filter(|route| !is_there(route));
    // Routes on the link first: a next hop may be reachable by one of them.
    let (on_link, via): (Vec<_>, Vec<_>) = missing.partition(|r| r.via.is_none());
    for wanted_route in on_link.into_iter().chain(via) {
        let within = |via| wanted.addresses.iter().any(|address| address.contains(via));
        let onlink = match wanted_route.via {
            Some(via) if !within(via) => Onlink::Yes,
            _ => Onlink::No,
        };
        let route = wanted_route.clone();
        let entry = Entry { route, link: found.index, table: MAIN, onlink };
        route::replace(connection, &entry).await?;
    }
    Ok(())
}

/// Where /proc/sys is read-only the kernel's own pace stays, which is slower and no less right.
fn ask_neighbours_often(namespace: &Namespace, wanted: &Interface) {
    let families = [
        ("ipv4", wanted.addresses.iter().any(IpNetwork::is_ipv4)),
        ("ipv6", wanted.addresses.iter().any(IpNetwork::is_ipv6)),
    ];
    let settings: Vec<_> = families
        .into_iter()
        .filter(|(_, present)| *present)
        .flat_map(|(family, _)| {
            NEIGHBOUR_PATIENCE
                .map(|(key, value)| (format!("{family}/neigh/{}/{key}", wanted.ifname), value))
        })
        .collect();
    if let Err(error) = sysctl::write_all(namespace, &settings) {
        tracing::debug!(%error, "neighbours are asked for at the kernel's pace");
    }
}

/// Moves a link out of another namespace into the sandbox under its final name, and configures it;
/// moved back under its old name when that fails:
/// `ip link set NAME netns SANDBOX name IFNAME`.
///
/// # Errors
/// [`NetlinkError::InterfaceExists`] when the sandbox has one of that name; nothing was changed.
pub async fn move_in(
    from: (&mut Connection, &Namespace),
    name: &str,
    sandbox: &Namespace,
    wanted: &Interface,
) -> Result<(), NetlinkError> {
    let (connection, origin) = from;
    let mut inside = Connection::open(sandbox).await?;
    if link::find(&mut inside, &wanted.ifname).await?.is_some() {
        return Err(exists(&wanted.ifname, sandbox));
    }
    relocate(connection, name, sandbox, &wanted.ifname).await?;
    let configured = configure(&mut inside, sandbox, wanted).await;
    if configured.is_err() {
        // The first failure is what the caller has to know.
        let _ = relocate(&mut inside, &wanted.ifname, origin, name).await;
    }
    configured
}

/// Moves a link back out of a sandbox: `ip link set IFNAME netns HOST name NAME`.
///
/// # Errors
/// When it is not there, or the name is taken outside.
pub async fn move_out(
    sandbox: &Namespace,
    ifname: &str,
    to: &Namespace,
    name: &str,
) -> Result<(), NetlinkError> {
    let mut inside = Connection::open(sandbox).await?;
    relocate(&mut inside, ifname, to, name).await
}

async fn relocate(
    connection: &mut Connection,
    name: &str,
    to: &Namespace,
    new_name: &str,
) -> Result<(), NetlinkError> {
    let index = link::get(connection, name).await?.index;
    let base = LinkMessageBuilder::<LinkUnspec>::new().index(index);
    let change = base.name(new_name).setns_by_fd(to.as_fd().as_raw_fd());
    link::set(connection, name, change).await
}

/// The first of `PREFIX0`, `PREFIX1`, … that the sandbox does not have: a remote driver names only
/// the prefix.
///
/// # Errors
/// When the kernel refuses to list the links.
pub async fn free_name(connection: &mut Connection, prefix: &str) -> Result<String, NetlinkError> {
    let taken: Vec<String> = link::list(connection).await?.into_iter().map(|l| l.name).collect();
    let mut candidates = (0u32..).map(|number| format!("{prefix}{number}"));
    Ok(candidates.find(|name| !taken.contains(name)).expect("there are fewer links than numbers"))
}

pub(crate) fn exists(ifname: &str, sandbox: &Namespace) -> NetlinkError {
    NetlinkError::InterfaceExists { ifname: ifname.to_owned(), sandbox: sandbox.path().to_owned() }
}
