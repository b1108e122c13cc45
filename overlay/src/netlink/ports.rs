//! Ports of the host that are held: a socket is bound to each, so that nobody else can have it and
//! one that somebody has is refused. What comes is led away by the firewall before; a connection
//! that comes all the same is refused by the kernel, since nobody listens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, SockaddrStorage, bind, getsockname,
    listen, setsockopt, shutdown, socket, sockopt,
};
use weft_api::EndpointId;

use super::error::NetlinkError;
use super::namespace::{Namespace, run_in};
use crate::publish::{HostPort, PortRequest, Protocol, PublishedPort};

/// The kernel offers ports of one family; one that is taken in the other is not tried again.
const ATTEMPTS_MAX: usize = 64;

/// A socket bound to a port. Kernels hold no port of SCTP without its module, so nobody does.
type Holder = Option<OwnedFd>;

/// The ports held for each endpoint.
#[derive(Debug, Default)]
pub(crate) struct Ports(BTreeMap<EndpointId, BTreeMap<PublishedPort, Holder>>);

impl Ports {
    /// Chooses and holds a port of the host for each request. What the endpoint holds already and
    /// fits is kept; nothing new is held after a failure.
    pub(crate) fn choose(
        &mut self,
        host: &Namespace,
        endpoint: EndpointId,
        requests: &[PortRequest],
    ) -> Result<Vec<PublishedPort>, NetlinkError> {
        let held = self.0.get(&endpoint);
        let mut fresh = BTreeMap::new();
        let mut chosen = Vec::new();
        for request in requests {
            if let Some(kept) = held.and_then(|held| kept(held, request)) {
                chosen.extend(kept);
                continue;
            }
            let ports = run_in(host, || choose(request))??;
            chosen.extend(ports.keys());
            fresh.extend(ports);
        }
        self.0.entry(endpoint).or_default().extend(fresh);
        Ok(chosen)
    }

    /// Holds exactly these ports for an endpoint. After a failure those that could be are held.
    pub(crate) fn hold(
        &mut self,
        host: &Namespace,
        endpoint: EndpointId,
        ports: &BTreeSet<PublishedPort>,
    ) -> Result<(), NetlinkError> {
        let held = self.0.entry(endpoint).or_default();
        held.retain(|port, _| ports.contains(port));
        for port in ports.iter().filter(|port| !held.contains_key(port)).collect::<Vec<_>>() {
            let at = SocketAddr::new(port.host, port.host_port);
            let holder = run_in(host, || hold(port.protocol, at))??;
            held.insert(*port, holder.0);
        }
        Ok(())
    }

    /// Lets go of an endpoint's ports.
    pub(crate) fn release(&mut self, endpoint: EndpointId) {
        self.0.remove(&endpoint);
    }
}

/// What is held already and answers a request: one port, at all of its addresses.
fn kept(
    held: &BTreeMap<PublishedPort, Holder>,
    request: &PortRequest,
) -> Option<Vec<PublishedPort>> {
    let (host, to) = request.addresses.first()?;
    let fits = |port: &&PublishedPort| {
        let range = match &request.host_port {
            HostPort::Any => true,
            HostPort::FirstOf(range) => range.contains(&port.host_port),
        };
        range
            && (port.protocol, port.port) == (request.protocol, request.port)
            && (port.host, port.to) == (*host, *to)
    };
    held.keys().filter(fits).find_map(|first| {
        let ports: Vec<_> = at_all(request, first.host_port).collect();
        ports.iter().all(|port| held.contains_key(port)).then_some(ports)
    })
}

fn at_all(request: &PortRequest, host_port: u16) -> impl Iterator<Item = PublishedPort> {
    request.addresses.iter().map(move |(host, to)| PublishedPort {
        protocol: request.protocol,
        host: *host,
        host_port,
        to: *to,
        port: request.port,
    })
}

/// Runs in the host's namespace.
fn choose(request: &PortRequest) -> Result<BTreeMap<PublishedPort, Holder>, NetlinkError> {
    let candidates: Box<dyn Iterator<Item = u16>> = match &request.host_port {
        HostPort::Any => Box::new(std::iter::repeat_n(0, ATTEMPTS_MAX)),
        HostPort::FirstOf(range) => Box::new(range.clone()),
    };
    let mut refused = None;
    for candidate in candidates {
        match hold_at_all(request, candidate) {
            Ok(held) => return Ok(held),
            Err(error @ NetlinkError::PortTaken { .. }) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    let doing = format!("choose a port of the host for {} {}", request.protocol, request.port);
    let empty = || NetlinkError::io(doing, nix::errno::Errno::EADDRNOTAVAIL);
    Err(refused.unwrap_or_else(empty))
}

/// Holds one port at all addresses; 0 leaves it to the kernel which.
fn hold_at_all(
    request: &PortRequest,
    candidate: u16,
) -> Result<BTreeMap<PublishedPort, Holder>, NetlinkError> {
    let mut host_port = candidate;
    let mut holders = Vec::new();
    for (host, _) in &request.addresses {
        let (holder, bound) = hold(request.protocol, SocketAddr::new(*host, host_port))?;
        host_port = bound;
        holders.push(holder);
    }
    Ok(at_all(request, host_port).zip(holders).collect())
}

/// Binds a socket; returns it with its port. A stream's shares with connections of an earlier
/// holder that are not forgotten yet, so it has to listen once: only that finds out whether
/// somebody else does. Bound it stays, and nobody else can listen. A datagram's never shares.
fn hold(protocol: Protocol, at: SocketAddr) -> Result<(Holder, u16), NetlinkError> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
        Protocol::Sctp if at.port() == 0 => {
            let why = std::io::Error::other("name a port: the kernel chooses none for sctp");
            return Err(NetlinkError::io("choose a port of the host", why));
        }
        Protocol::Sctp => return Ok((None, at.port())),
    };
    let bound = || -> nix::Result<(OwnedFd, u16)> {
        let holder = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
        if at.is_ipv6() {
            setsockopt(&holder, sockopt::Ipv6V6Only, &true)?;
        }
        if protocol == Protocol::Tcp {
            setsockopt(&holder, sockopt::ReuseAddr, &true)?;
        }
        bind(holder.as_raw_fd(), &SockaddrStorage::from(at))?;
        if protocol == Protocol::Tcp {
            listen(&holder, Backlog::new(1)?)?;
            shutdown(holder.as_raw_fd(), Shutdown::Read)?;
        }
        let name: SockaddrStorage = getsockname(holder.as_raw_fd())?;
        let v4 = name.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::port);
        let v6 = || name.as_sockaddr_in6().map(nix::sys::socket::SockaddrIn6::port);
        Ok((holder, v4.or_else(v6).unwrap_or(at.port())))
    };
    match bound() {
        Ok((holder, port)) => Ok((Some(holder), port)),
        Err(nix::errno::Errno::EADDRINUSE) => Err(NetlinkError::PortTaken { protocol, at }),
        Err(error) => Err(NetlinkError::io(format!("hold {protocol} port `{at}`"), error)),
    }
}
