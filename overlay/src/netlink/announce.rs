//! Announcements: frames that say unasked which MAC an address has.
//!
//! A frame is written to the bridge's end of an endpoint's pair and so comes out in the sandbox. It
//! does not pass the bridge, so no other port sees it, and the tunnel least of all.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket,
};
use weft_api::Mac;

use super::error::NetlinkError;
use super::namespace::{Namespace, run_in};
use crate::op::Neighbour;

/// What a port may answer whose endpoint is not there (any more), or takes nothing now: it is down,
/// removed meanwhile, or full. The next announcement finds it.
const NOT_NOW: [Errno; 4] = [Errno::ENETDOWN, Errno::ENXIO, Errno::ENODEV, Errno::ENOBUFS];

/// One address and who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Names of ports in the network's namespace.
    pub ports: Vec<String>,
    /// The address and its MAC.
    pub entry: Neighbour,
}

/// Sends announcements from a network's namespace, `arping -U -I PORT IP` and the like for IPv6. A
/// port that is not there is passed over. Returns an outcome for each.
///
/// # Errors
/// Of each: without CAP_NET_RAW. The rest is sent all the same.
pub async fn send(
    namespace: &Namespace,
    announcements: Vec<Announcement>,
) -> Result<Vec<Result<(), NetlinkError>>, NetlinkError> {
    let namespace = namespace.try_clone()?;
    let sent = tokio::task::spawn_blocking(move || {
        run_in(&namespace, || send_here(&announcements)).map(|outcomes| {
            let failed = |(announcement, outcome): (&Announcement, Result<(), Errno>)| {
                let doing = || format!("announce {}", announcement.entry.ip);
                outcome.map_err(|errno| NetlinkError::io(doing(), errno))
            };
            announcements.iter().zip(outcomes).map(failed).collect()
        })
    });
    sent.await.map_err(|e| NetlinkError::io("announce addresses", std::io::Error::other(e)))?
}

fn send_here(announcements: &[Announcement]) -> Vec<Result<(), Errno>> {
    // Protocol 0: such a socket sends, and nothing that arrives is copied to it.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let opened = socket(AddressFamily::Packet, SockType::Raw, flags, None)
        .and_then(|socket| Ok((socket, links()?)));
    let (socket, links) = match opened {
        Ok(opened) => opened,
        Err(errno) => return vec![Err(errno); announcements.len()],
    };
    let send = |announcement: &Announcement| {
        let frame = frame(&announcement.entry);
        let mut outcome = Ok(());
        for link in announcement.ports.iter().filter_map(|port| links.get(port)) {
            match sendto(socket.as_raw_fd(), &frame, link, MsgFlags::empty()) {
                Err(errno) if !NOT_NOW.contains(&errno) => outcome = outcome.and(Err(errno)),
                Ok(_) | Err(_) => {}
            }
        }
        outcome
    };
    announcements.iter().map(send).collect()
}

/// The links of this namespace as addresses of packet sockets.
fn links() -> Result<BTreeMap<String, LinkAddr>, Errno> {
    let found = getifaddrs()?.filter_map(|interface| {
        let address = interface.address.filter(|a| a.family() == Some(AddressFamily::Packet))?;
        Some((interface.interface_name, *address.as_link_addr()?))
    });
    Ok(found.collect())
}

const BROADCAST: [u8; 6] = [0xff; 6];
/// All nodes of the link, ff02::1, and the MAC of that group (RFC 2464, 7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// The frame that announces an address.
fn frame(entry: &Neighbour) -> Vec<u8> {
    match entry.ip {
        IpAddr::V4(ip) => arp(ip, entry.mac),
        IpAddr::V6(ip) => advertisement(ip, entry.mac),
    }
}

/// An ARP announcement (RFC 5227, 3): a request whose sender and target are the address. Linux
/// takes its MAC over into an entry it has, however new that is.
fn arp(ip: Ipv4Addr, mac: Mac) -> Vec<u8> {
    /// Ethernet, IPv4, the lengths of their addresses, request.
    const HEADER: [u8; 8] = [0, 1, 0x08, 0, 6, 4, 0, 1];
    [&BROADCAST[..], &mac.octets(), &ETHERTYPE_ARP, &HEADER]
        .into_iter()
        .chain([&mac.octets()[..], &ip.octets(), &[0; 6], &ip.octets()])
        .collect::<Vec<_>>()
        .concat()
}

/// An unsolicited neighbour advertisement (RFC 4861, 7.2.6) that overrides what is remembered.
fn advertisement(ip: Ipv6Addr, mac: Mac) -> Vec<u8> {
    const ICMPV6: u8 = 58;
    /// What is nearer than any router; less is dropped.
    const HOPS: u8 = 255;
    /// Type 136, code 0, a checksum of 0, and the flag "override".
    const HEADER: [u8; 8] = [136, 0, 0, 0, 0x20, 0, 0, 0];
    /// Option "target link-layer address", one unit of eight octets.
    const TARGET_MAC: [u8; 2] = [2, 1];
    let mut message = [&HEADER[..], &ip.octets(), &TARGET_MAC, &mac.octets()].concat();
    let length = u8::try_from(message.len()).expect("an advertisement has 32 octets");
    let pseudo = [&ip.octets()[..], &ALL_NODES.octets(), &[0, 0, 0, length, 0, 0, 0, ICMPV6]];
    let sum = checksum(&[&pseudo.concat()[..], &message].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let header = [0x60, 0, 0, 0, 0, length, ICMPV6, HOPS];
    [&ALL_NODES_MAC[..], &mac.octets(), &ETHERTYPE_IPV6, &header]
        .into_iter()
        .chain([&ip.octets()[..], &ALL_NODES.octets(), &message])
        .collect::<Vec<_>>()
        .concat()
}

/// The Internet checksum (RFC 1071) of an even number of octets.
fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("two folds leave 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ip: &str) -> Neighbour {
        Neighbour { ip: ip.parse().unwrap(), mac: "02:42:0a:01:00:02".parse().unwrap() }
    }

    #[test]
    fn an_ipv4_address_is_announced_by_a_request_for_itself() {
        let expected = [
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x42, 0x0a, 0x01, 0x00, 0x02, 0x08, 0x06],
            [0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, 0x02, 0x42, 0x0a, 0x01, 0x00, 0x02],
            [0x0a, 0x01, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0a, 0x01, 0x00, 0x02],
        ];
        assert_eq!(frame(&entry("10.1.0.2")), expected.concat());
    }

    #[test]
    fn an_ipv6_address_is_announced_with_a_sum_that_holds() {
        let frame = frame(&entry("fd01::2"));
        let (ethernet, packet) = frame.split_at(14);
        assert_eq!(ethernet[..6], [0x33, 0x33, 0, 0, 0, 1]);
        let (header, message) = packet.split_at(40);
        assert_eq!(header[..8], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(message[..2], [136, 0]);
        assert_eq!(message[4..8], [0x20, 0, 0, 0], "it overrides, and answers nobody");
        assert_eq!(message[8..24], header[8..24], "who has the address speaks");
        assert_eq!(message[24..], [2, 1, 0x02, 0x42, 0x0a, 0x01, 0x00, 0x02]);
        let pseudo = [&header[8..40], &[0, 0, 0, 32, 0, 0, 0, 58]].concat();
        assert_eq!(checksum(&[&pseudo[..], message].concat()), 0);
    }
}
