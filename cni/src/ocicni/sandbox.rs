//! A pod's network namespace, looked at and touched through netlink.
//!
//! Everything happens on a thread of its own that enters the namespace and ends: no thread of
//! the caller changes its namespace, and no program has to be in the path.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::thread;

use ipnetwork::IpNetwork;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

use crate::error::Error;

/// The interface every namespace has.
pub(super) const LOOPBACK: &str = "lo";

/// How often a dump is made anew that the kernel calls torn, as interfaces came and went.
const DUMPS_MAX: u32 = 5;

/// An interface in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    index: u32,
    pub(super) name: String,
    /// The hardware address, with colons; empty where there is none.
    pub(super) mac: String,
    pub(super) is_up: bool,
    pub(super) addresses: Vec<Address>,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) net: IpNetwork,
    /// Whether it is for others: `scope global`.
    pub(super) is_global: bool,
}

impl Interface {
    /// The addresses others reach it by, those of IPv4 first.
    pub(super) fn global(&self) -> Vec<IpNetwork> {
        let global = self.addresses.iter().filter(|address| address.is_global);
        let mut nets: Vec<IpNetwork> = global.map(|address| address.net).collect();
        nets.sort_by_key(IpNetwork::is_ipv6);
        nets
    }
}

/// All interfaces in a namespace, with their addresses: `ip addr show`.
pub(super) async fn look(netns: &Path) -> Result<Vec<Interface>, Error> {
    inside(netns, interfaces).await
}

/// Brings the loopback interface up, and gives all interfaces as they are after that:
/// `ip link set lo up`.
pub(super) async fn raise_loopback(netns: &Path) -> Result<Vec<Interface>, Error> {
    inside(netns, |socket| {
        let loopback = interfaces(socket)?.into_iter().find(|seen| seen.name == LOOPBACK);
        let index = loopback.ok_or(io::ErrorKind::NotFound)?.index;
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        ask(socket, RouteNetlinkMessage::SetLink(message), NLM_F_ACK)?;
        interfaces(socket)
    })
    .await
}

/// Works with a socket that was opened inside the namespace.
async fn inside<T: Send + 'static>(
    netns: &Path,
    work: impl FnOnce(&Socket) -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let failed = |cause| Error::Namespace { netns: netns.to_owned(), cause };
    let (sender, receiver) = oneshot::channel();
    let path = netns.to_owned();
    let run = move || {
        let done = open_inside(&path).and_then(|socket| work(&socket));
        // Nobody waits any more where the call was dropped.
        let _unheard = sender.send(done);
    };
    thread::Builder::new().name("netns".to_owned()).spawn(run).map_err(failed)?;
    let done = receiver.await.map_err(|_| failed(io::Error::other("the thread panicked")))?;
    done.map_err(failed)
}

fn open_inside(netns: &Path) -> io::Result<Socket> {
    setns(File::open(netns)?, CloneFlags::CLONE_NEWNET)?;
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

fn interfaces(socket: &Socket) -> io::Result<Vec<Interface>> {
    let links = dump(socket, &RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let mut interfaces: Vec<Interface> = links.into_iter().filter_map(interface).collect();
    let addresses = dump(socket, &RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    for message in addresses {
        let Some((index, address)) = address(&message) else { continue };
        if let Some(owner) = interfaces.iter_mut().find(|owner| owner.index == index) {
            owner.addresses.push(address);
        }
    }
    Ok(interfaces)
}

fn interface(message: RouteNetlinkMessage) -> Option<Interface> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut seen = Interface {
        index: message.header.index,
        name: String::new(),
        mac: String::new(),
        is_up: message.header.flags.contains(LinkFlags::Up),
        addresses: Vec::new(),
    };
    for attribute in message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            seen.name = name;
        } else if let LinkAttribute::Address(octets) = attribute {
            let octets: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            seen.mac = octets.join(":");
        }
    }
    Some(seen)
}

fn address(message: &RouteNetlinkMessage) -> Option<(u32, Address)> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let mut found: Option<IpAddr> = None;
    for attribute in &message.attributes {
        // On a link with a peer the local address is ours and the other is the peer's.
        if let AddressAttribute::Local(local) = attribute {
            found = Some(*local);
        } else if let AddressAttribute::Address(address) = attribute {
            found = found.or(Some(*address));
        }
    }
    let net = IpNetwork::new(found?, message.header.prefix_len).ok()?;
    let is_global = message.header.scope == AddressScope::Universe;
    Some((message.header.index, Address { net, is_global }))
}

/// Asks for all objects of a kind, again where they changed meanwhile.
fn dump(socket: &Socket, message: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    for _ in 1..DUMPS_MAX {
        match ask(socket, message.clone(), NLM_F_DUMP) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
    ask(socket, message.clone(), NLM_F_DUMP)
}

/// Sends a request and reads all of its answer.
///
/// A dump that the kernel marks as torn is an error of kind `Interrupted`.
fn ask(
    socket: &Socket,
    message: RouteNetlinkMessage,
    flags: u16,
) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut packet = NetlinkMessage::new(NetlinkHeader::default(), message.into());
    packet.header.flags = NLM_F_REQUEST | flags;
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (mut answer, mut torn) = (Vec::new(), false);
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while let Some(length) = message_length(rest) {
            let (message, after) = rest.split_at(length.min(rest.len()));
            rest = after;
            // A kind of object this library cannot read is none that is looked for.
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) else {
                continue;
            };
            torn |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::Done(_) if torn => return Err(io::ErrorKind::Interrupted.into()),
                NetlinkPayload::Done(_) => return Ok(answer),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answer),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(object) => answer.push(object),
                NetlinkPayload::Noop | NetlinkPayload::Overrun(_) => {}
                _ => {}
            }
        }
    }
}

/// The length of the first message in a datagram, with its padding; `None` at the end.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?.checked_next_multiple_of(4)?;
    (length >= 16).then_some(length)
}
