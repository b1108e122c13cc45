//! The underlay: a bridge in a namespace of its own, where no firewall of the machine's reaches.

use std::net::IpAddr;
use std::sync::Mutex;

use ipnetwork::IpNetwork;
use weft_overlay::netlink::namespace::make_anonymous;
use weft_overlay::netlink::{Connection, Namespace, address, bridge, link, veth};

/// The agents' gossip port.
pub const GOSSIP_PORT: u16 = 7950;
const BRIDGE: &str = "underlay";
pub(super) const UPLINK: &str = "eth0";
const MTU: u32 = 1500;

/// Which addresses the agents advertise. Hosts have both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Underlay {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

#[derive(Debug)]
pub(super) struct Ground {
    underlay: Underlay,
    // Never contended: what is locked can be shared between tests.
    connection: Mutex<Connection>,
    // The bridge lives as long as its namespace is held open.
    namespace: Namespace,
}

impl Ground {
    pub(super) async fn lay(underlay: Underlay) -> Self {
        let namespace = make_anonymous().expect("a namespace");
        let mut connection = Connection::open(&namespace).await.expect("netlink");
        bridge::ensure_plain(&mut connection, BRIDGE).await.expect("a bridge");
        Self { underlay, connection: Mutex::new(connection), namespace }
    }

    /// Makes a host's namespace and its addresses, that to advertise first.
    pub(super) async fn add_host(&mut self, number: usize) -> (Namespace, [IpAddr; 2]) {
        let namespace = make_anonymous().expect("a namespace");
        let near = veth::End::named(port(number));
        let far = veth::End::named(UPLINK);
        let connection = self.connection.get_mut().expect("a lock");
        veth::create(connection, &near, &far, &namespace, MTU).await.expect("an uplink");
        link::set_master(connection, &near.name, BRIDGE).await.expect("a port");
        link::set_up(connection, &near.name).await.expect("a port that is up");
        let mut inside = Connection::open(&namespace).await.expect("netlink");
        link::set_up(&mut inside, "lo").await.expect("lo");
        link::set_up(&mut inside, UPLINK).await.expect("an uplink that is up");
        let index = link::get(&mut inside, UPLINK).await.expect("an uplink").index;
        let v4: IpNetwork = format!("198.18.7.{number}/24").parse().expect("an address");
        let v6: IpNetwork = format!("fd00:198:18:7::{number:x}/64").parse().expect("an address");
        for address in [v4, v6] {
            address::add(&mut inside, index, address).await.expect("an address");
        }
        let addresses = match self.underlay {
            Underlay::V4 => [v4.ip(), v6.ip()],
            Underlay::V6 => [v6.ip(), v4.ip()],
        };
        (namespace, addresses)
    }

    /// Where the bridge is.
    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(super) async fn cut_off(&mut self, number: usize) {
        let connection = self.connection.get_mut().expect("a lock");
        link::remove(connection, &port(number)).await.expect("a port to remove");
    }
}

/// The bridge's port of a host, by the host's number from 1.
pub(super) fn port(number: usize) -> String {
    format!("h{number}")
}
