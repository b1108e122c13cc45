//! Ports of the host that are held: a socket is bound to each, so that nobody else can have it and
//! one that somebody has is refused. What comes is led away by the firewall before; a connection
//! that comes all the same is refused by the kernel, since nobody listens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage,
    bind, getsockname, listen, setsockopt, shutdown, socket, sockopt,
};
use weft_api::EndpointId;

use super::error::NetlinkError;
use super::namespace::{Namespace, run_in};
use crate::publish::{HostPort, PortRequest, Protocol, PublishedPort};

/// The kernel offers what is free at the first address, which the others may have taken.
const ATTEMPTS_MAX: usize = 64;

/// A socket bound to a port. Kernels have no sockets of SCTP without its module, so its ports are
/// held by none, and none is chosen by the kernel.
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
            held.insert(*port, holder);
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
    let mut refused = None;
    let mut attempt = |port: u16| match hold_at_all(request, port) {
        Err(error @ NetlinkError::PortTaken { .. }) => {
            refused = Some(error);
            None
        }
        settled => Some(settled),
    };
    let chosen = match &request.host_port {
        HostPort::FirstOf(range) => range.clone().find_map(attempt),
        HostPort::Any => {
            let host = request.addresses.first().map(|(host, _)| *host);
            let mut offers = (0..ATTEMPTS_MAX).filter_map(|_| offered(request.protocol, host?));
            offers.find_map(&mut attempt)
        }
    };
    if let Some(settled) = chosen {
        return settled;
    }
    let doing = format!("choose a port of the host for {} {}", request.protocol, request.port);
    let none = || NetlinkError::io(doing, Errno::EADDRNOTAVAIL);
    Err(refused.unwrap_or_else(none))
}

/// A port that the kernel would give to a program that does not care. It is not held: one that a
/// stream was not bound to by number is lost when it stops to listen.
fn offered(protocol: Protocol, host: IpAddr) -> Option<u16> {
    let probe = socket_for(protocol, host).ok().flatten()?;
    bind(probe.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(host, 0))).ok()?;
    let name: SockaddrStorage = getsockname(probe.as_raw_fd()).ok()?;
    let v4 = name.as_sockaddr_in().map(SockaddrIn::port);
    v4.or_else(|| name.as_sockaddr_in6().map(SockaddrIn6::port))
}

/// Holds one port at all addresses.
fn hold_at_all(
    request: &PortRequest,
    host_port: u16,
) -> Result<BTreeMap<PublishedPort, Holder>, NetlinkError> {
    let held = at_all(request, host_port).map(|port| {
        let holder = hold(port.protocol, SocketAddr::new(port.host, host_port));
        holder.map(|holder| (port, holder))
    });
    held.collect()
}

/// Binds a socket. A stream's is bound as one that shares, since connections of an earlier holder
/// may not be forgotten yet, so it has to listen once: only that finds out whether somebody else
/// has the port. Then it shares no more, and nobody else can listen. A datagram's never shares.
fn hold(protocol: Protocol, at: SocketAddr) -> Result<Holder, NetlinkError> {
    let bound = || -> nix::Result<Holder> {
        let Some(holder) = socket_for(protocol, at.ip())? else { return Ok(None) };
        let shares = protocol == Protocol::Tcp;
        setsockopt(&holder, sockopt::ReuseAddr, &shares)?;
        bind(holder.as_raw_fd(), &SockaddrStorage::from(at))?;
        if shares {
            listen(&holder, Backlog::new(1)?)?;
            shutdown(holder.as_raw_fd(), Shutdown::Read)?;
            setsockopt(&holder, sockopt::ReuseAddr, &false)?;
        }
        Ok(Some(holder))
    };
    bound().map_err(|errno| match errno {
        Errno::EADDRINUSE => NetlinkError::PortTaken { protocol, at },
        errno => NetlinkError::io(format!("hold {protocol} port `{at}`"), errno),
    })
}

fn socket_for(protocol: Protocol, host: IpAddr) -> nix::Result<Holder> {
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
        Protocol::Sctp => return Ok(None),
    };
    let family = if host.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let made = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if host.is_ipv6() {
        setsockopt(&made, sockopt::Ipv6V6Only, &true)?;
    }
    Ok(Some(made))
}
