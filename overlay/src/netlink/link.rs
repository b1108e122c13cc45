//! Links of any kind.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use nix::errno::Errno;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};
use weft_api::Mac;

use super::connection::Connection;
use super::error::{NetlinkError, Tolerate};
use super::namespace::Namespace;

/// How often it is looked whether a link is gone.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What is read of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Number in its namespace.
    pub index: u32,
    /// Name in its namespace.
    pub name: String,
    /// Kind, for example `bridge`; empty for what is not virtual.
    pub kind: String,
    /// MAC; `None` for a link without one of six octets.
    pub mac: Option<Mac>,
    /// In bytes.
    pub mtu: u32,
    /// Set up.
    pub up: bool,
    /// Both ends are up.
    pub carrier: bool,
    /// Index of the bridge it is a port of.
    pub master: Option<u32>,
    /// Index of the link it is tied to; of a veth, the other end, in whatever namespace that is.
    pub peer: Option<u32>,
    /// Number that this namespace gives the other end's; `None` when both ends are in one.
    pub peer_namespace: Option<i32>,
    /// Group (`ip link set group`); 0 by default.
    pub group: u32,
    pub(crate) data: Option<InfoData>,
}

impl Link {
    /// Reads a message of the kernel.
    fn decode(message: LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            kind: String::new(),
            mac: None,
            mtu: 0,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            master: None,
            peer: None,
            peer_namespace: None,
            group: 0,
            data: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(octets) => {
                    link.mac = <[u8; 6]>::try_from(octets).ok().map(Mac::from_bytes);
                }
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Controller(index) if index != 0 => link.master = Some(index),
                LinkAttribute::Link(index) => link.peer = Some(index),
                LinkAttribute::LinkNetNsId(number) => link.peer_namespace = Some(number),
                LinkAttribute::Group(group) => link.group = group,
                LinkAttribute::LinkInfo(infos) => link.decode_info(infos),
                _ => {}
            }
        }
        link
    }

    fn decode_info(&mut self, infos: Vec<LinkInfo>) {
        for info in infos {
            match info {
                LinkInfo::Kind(kind) => self.kind = kind.to_string(),
                LinkInfo::Data(data) => self.data = Some(data),
                _ => {}
            }
        }
    }

    /// Checks the kind.
    pub(crate) fn expect_kind(&self, wanted: &'static str) -> Result<(), NetlinkError> {
        if self.kind == wanted {
            return Ok(());
        }
        let found = if self.kind.is_empty() { "device" } else { &self.kind };
        Err(NetlinkError::WrongKind { name: self.name.clone(), found: found.to_owned(), wanted })
    }
}

/// Finds a link: `ip link show NAME`.
///
/// # Errors
/// When the kernel refuses for another reason than its absence.
pub async fn find(connection: &mut Connection, name: &str) -> Result<Option<Link>, NetlinkError> {
    let message = LinkMessageBuilder::<LinkUnspec>::new().name(name).build();
    let request = (RouteNetlinkMessage::GetLink(message), 0);
    match connection.request(|| format!("look for link `{name}`"), request).await {
        Ok(found) => Ok(found.into_iter().find_map(decode)),
        Err(error) if error.is(Errno::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Finds a link that has to be there.
///
/// # Errors
/// [`NetlinkError::NoLink`] when it is not.
pub async fn get(connection: &mut Connection, name: &str) -> Result<Link, NetlinkError> {
    find(connection, name).await?.ok_or_else(|| NetlinkError::NoLink(name.to_owned()))
}

/// Reads all links of the namespace: `ip link show`.
///
/// # Errors
/// When the kernel refuses.
pub async fn list(connection: &mut Connection) -> Result<Vec<Link>, NetlinkError> {
    let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let found = connection.dump(|| "list links".to_owned(), message).await?;
    Ok(found.into_iter().filter_map(decode).collect())
}

fn decode(message: RouteNetlinkMessage) -> Option<Link> {
    if let RouteNetlinkMessage::NewLink(link) = message { Some(Link::decode(link)) } else { None }
}

/// Removes a link; an absent one is a success: `ip link delete NAME`.
///
/// # Errors
/// When the kernel refuses, for a physical device say.
pub async fn remove(connection: &mut Connection, name: &str) -> Result<(), NetlinkError> {
    let message = LinkMessageBuilder::<LinkUnspec>::new().name(name).build();
    let request = (RouteNetlinkMessage::DelLink(message), 0);
    let removed = connection.change(|| format!("remove link `{name}`"), request).await;
    removed.tolerate(&[Errno::ENODEV])
}

/// Like [`remove`], and returns as soon as the link is gone. The kernel answers only when its last
/// readers are through, tens of milliseconds later, though nobody can see the link any more.
///
/// # Errors
/// When the kernel refuses.
pub async fn remove_soon(
    connection: &mut Connection,
    namespace: &Namespace,
    name: &str,
) -> Result<(), NetlinkError> {
    let Some(found) = find(connection, name).await? else { return Ok(()) };
    // By index: another link may soon have the name.
    let mut message = LinkMessage::default();
    message.header.index = found.index;
    let request = (RouteNetlinkMessage::DelLink(message), 0);
    let mut remover = Connection::open(namespace).await?;
    let (runtime, own) = (tokio::runtime::Handle::current(), name.to_owned());
    // The kernel works in the thread that sends.
    let mut removal = tokio::task::spawn_blocking(move || {
        let removed = runtime.block_on(remover.change(|| format!("remove link `{own}`"), request));
        removed.tolerate(&[Errno::ENODEV])
    });
    loop {
        tokio::select! {
            removed = &mut removal => {
                let broken = |e| NetlinkError::io("remove a link", std::io::Error::other(e));
                return removed.map_err(broken)?;
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if find(connection, name).await?.is_none_or(|there| there.index != found.index) {
            return Ok(());
        }
    }
}

/// Sets a link up: `ip link set NAME up`.
///
/// # Errors
/// [`NetlinkError::Refused`] when there is none.
pub async fn set_up(connection: &mut Connection, name: &str) -> Result<(), NetlinkError> {
    set(connection, name, LinkMessageBuilder::<LinkUnspec>::new().name(name).up()).await
}

/// Sets a link down: `ip link set NAME down`.
///
/// # Errors
/// [`NetlinkError::Refused`] when there is none.
pub async fn set_down(connection: &mut Connection, name: &str) -> Result<(), NetlinkError> {
    set(connection, name, LinkMessageBuilder::<LinkUnspec>::new().name(name).down()).await
}

/// Sets the MTU: `ip link set NAME mtu BYTES`.
///
/// # Errors
/// When there is none, or its kind does not take this MTU.
pub async fn set_mtu(
    connection: &mut Connection,
    name: &str,
    mtu: u32,
) -> Result<(), NetlinkError> {
    set(connection, name, LinkMessageBuilder::<LinkUnspec>::new().name(name).mtu(mtu)).await
}

/// Makes a link a port of a bridge: `ip link set NAME master BRIDGE`.
///
/// # Errors
/// When either is absent.
pub async fn set_master(
    connection: &mut Connection,
    name: &str,
    bridge: &str,
) -> Result<(), NetlinkError> {
    let index = get(connection, bridge).await?.index;
    set(connection, name, LinkMessageBuilder::<LinkUnspec>::new().name(name).controller(index))
        .await
}

/// Changes a link. Several attributes travel in one request.
pub(crate) async fn set<T>(
    connection: &mut Connection,
    name: &str,
    change: LinkMessageBuilder<T>,
) -> Result<(), NetlinkError> {
    let request = (RouteNetlinkMessage::SetLink(change.build()), 0);
    connection.change(|| format!("change link `{name}`"), request).await
}

/// Creates a link; one of that name is EEXIST.
pub(crate) async fn create(
    connection: &mut Connection,
    doing: impl FnOnce() -> String,
    message: LinkMessage,
) -> Result<(), NetlinkError> {
    let request = (RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL);
    connection.change(doing, request).await
}

/// Changes what only its kind knows: `ip link set NAME type KIND ...`.
pub(crate) async fn change_kind(
    connection: &mut Connection,
    name: &str,
    message: LinkMessage,
) -> Result<(), NetlinkError> {
    let request = (RouteNetlinkMessage::NewLink(message), 0);
    connection.change(|| format!("change link `{name}`"), request).await
}

/// The number that the connection's namespace gives another: `ip netns list-id`.
pub(crate) async fn number_of(
    connection: &mut Connection,
    namespace: &Namespace,
) -> Result<Option<i32>, NetlinkError> {
    let mut message = NsidMessage::default();
    let fd = namespace.as_fd().as_raw_fd();
    message.attributes.push(NsidAttribute::Fd(fd.cast_unsigned()));
    let request = (RouteNetlinkMessage::GetNsId(message), 0);
    let found = connection.request(|| "number a namespace".to_owned(), request).await?;
    Ok(found.iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewNsId(message) => {
            message.attributes.iter().find_map(|attribute| match attribute {
                NsidAttribute::Id(number) => Some(*number),
                _ => None,
            })
        }
        _ => None,
    }))
}
