//! Veth pairs: two links, what enters one leaves the other.

use std::os::fd::AsRawFd;

use netlink_packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use weft_api::Mac;

use super::connection::Connection;
use super::error::NetlinkError;
use super::link;
use super::namespace::Namespace;

/// One end of a pair to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Its name where it will live.
    pub name: String,
    /// Its MAC; `None` leaves the choice to the kernel.
    pub mac: Option<Mac>,
    /// Group (`ip link set group`), by which ours are told; 0 is the default.
    pub group: u32,
}

impl End {
    /// An end of which only the name matters.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), mac: None, group: 0 }
    }

    fn builder<T>(&self, base: LinkMessageBuilder<T>, mtu: u32) -> LinkMessageBuilder<T> {
        let mut builder = base.mtu(mtu);
        if let Some(mac) = self.mac {
            builder = builder.address(mac.octets().to_vec());
        }
        if self.group != 0 {
            builder = builder.link_group(self.group);
        }
        builder
    }
}

/// Creates a pair, both ends down; the far end is born in its namespace under its final name:
/// `ip link add NEAR mtu BYTES type veth peer name FAR netns NAMESPACE mtu BYTES`.
///
/// # Errors
/// EEXIST when either name is taken; then nothing was made.
pub async fn create(
    connection: &mut Connection,
    near: &End,
    far: &End,
    far_namespace: &Namespace,
    mtu: u32,
) -> Result<(), NetlinkError> {
    let peer = far.builder(LinkUnspec::new_with_name(&far.name), mtu);
    let peer = peer.setns_by_fd(std::os::fd::AsFd::as_fd(far_namespace).as_raw_fd());
    let pair = near.builder(LinkVeth::new(&near.name, &far.name), mtu);
    let message = pair.set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build()))).build();
    let doing = || format!("create veth pair `{}` and `{}`", near.name, far.name);
    link::create(connection, doing, message).await
}
