//! Many hosts on one machine.

use std::net::IpAddr;

use weft_overlay::netlink::{Connection, link, neigh};
use weft_overlay::op::Neighbour;

use super::Testbed;
use super::ground::UPLINK;

impl Testbed {
    /// Lets all hosts know the MACs of all others on the underlay for good. What hosts learn by
    /// asking is bounded for all namespaces of a machine together (`gc_thresh3` of arp(7)): some
    /// thirty hosts that all talk to each other meet it, and lose packets.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub async fn acquaint(&self) {
        let mut doors = Vec::new();
        let mut all = Vec::new();
        for host in &self.hosts {
            let mut connection = Connection::open(&host.namespace).await.expect("netlink");
            let uplink = link::get(&mut connection, UPLINK).await.expect("an uplink");
            let mac = uplink.mac.expect("a MAC");
            all.extend(host.addresses().map(|ip| Neighbour { ip, mac }));
            doors.push((connection, uplink.index, host.address()));
        }
        for (connection, index, own) in &mut doors {
            let same = |ip: &IpAddr| ip.is_ipv4() == own.is_ipv4() && ip != own;
            for other in all.iter().filter(|other| same(&other.ip)) {
                neigh::replace(connection, *index, other).await.expect("a neighbour");
            }
        }
    }
}
