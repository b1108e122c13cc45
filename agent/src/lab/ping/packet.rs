//! Echo requests and replies as octets (RFC 792, RFC 4443), with our own data in them.

use std::net::Ipv4Addr;
use std::time::Duration;

/// Begins the data of our echo requests, so that nobody else's are taken for ours.
const MAGIC: [u8; 8] = *b"weft lab";
/// MAGIC, probe index, time sent.
const DATA: usize = 8 + 4 + 8;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const ICMP_HEADER: usize = 8;
const HOPS: u8 = 64;
const PROTOCOL_ICMP: u8 = 1;
const DONT_FRAGMENT: u8 = 0x40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    const fn request(self) -> u8 {
        match self {
            Self::V4 => 8,
            Self::V6 => 128,
        }
    }

    const fn reply(self) -> u8 {
        match self {
            Self::V4 => 0,
            Self::V6 => 129,
        }
    }
}

/// What a request carries and its reply brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Echo {
    /// Which probe.
    pub(super) index: u32,
    /// When, since the source was opened; in nanoseconds on the wire.
    pub(super) sent: Duration,
}

/// A whole IPv4 packet. The kernel fills in source, identification and header checksum (raw(7)).
pub(super) fn request_v4(to: Ipv4Addr, size: usize, identifier: u16, echo: Echo) -> Vec<u8> {
    let icmp = request(Family::V4, size.saturating_sub(IPV4_HEADER), identifier, echo);
    let length = (IPV4_HEADER + icmp.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, DONT_FRAGMENT, 0, HOPS, PROTOCOL_ICMP, 0, 0, 0, 0, 0, 0]);
    packet.extend(to.octets());
    packet.extend(icmp);
    packet
}

/// An ICMPv6 message; the kernel puts the IPv6 header before it and fills in the checksum, which
/// covers that header (RFC 3542, section 3.1).
pub(super) fn request_v6(size: usize, identifier: u16, echo: Echo) -> Vec<u8> {
    request(Family::V6, size.saturating_sub(IPV6_HEADER), identifier, echo)
}

fn request(family: Family, size: usize, identifier: u16, echo: Echo) -> Vec<u8> {
    let mut message = vec![family.request(), 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend((echo.index as u16).to_be_bytes());
    message.extend(MAGIC);
    message.extend(echo.index.to_be_bytes());
    message.extend((echo.sent.as_nanos() as u64).to_be_bytes());
    message.resize(size.max(ICMP_HEADER + DATA), 0);
    if family == Family::V4 {
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// The internet checksum (RFC 1071).
fn checksum(octets: &[u8]) -> u16 {
    let words = octets
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Reads what a raw socket gave: for IPv4 with its header, for IPv6 without. `None` for anything
/// but an intact reply to a request of ours.
pub(super) fn reply(family: Family, octets: &[u8], identifier: u16) -> Option<Echo> {
    let message = match family {
        Family::V4 => octets.get(usize::from(octets.first()? & 0x0f) * 4..)?,
        Family::V6 => octets,
    };
    let (header, data) = message.split_first_chunk::<ICMP_HEADER>()?;
    let [kind, code, _, _, id_high, id_low, _, _] = *header;
    if kind != family.reply() || code != 0 || [id_high, id_low] != identifier.to_be_bytes() {
        return None;
    }
    // The kernel checks neither of them for a raw IPv4 socket; for IPv6 it does.
    if family == Family::V4 && checksum(message) != 0 {
        return None;
    }
    let data = data.strip_prefix(&MAGIC)?;
    let (index, data) = data.split_first_chunk::<4>()?;
    let (nanos, _) = data.split_first_chunk::<8>()?;
    let sent = Duration::from_nanos(u64::from_be_bytes(*nanos));
    Some(Echo { index: u32::from_be_bytes(*index), sent })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ECHO: Echo = Echo { index: 7, sent: Duration::from_nanos(123_456_789) };

    fn answered(mut message: Vec<u8>, family: Family) -> Vec<u8> {
        let start = if family == Family::V4 { IPV4_HEADER } else { 0 };
        let icmp = &mut message[start..];
        icmp[0] = family.reply();
        icmp[2..4].fill(0);
        let sum = checksum(icmp);
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    }

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        let example = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&example), !0xddf2);
        assert_eq!(checksum(&[0xff]), !0xff00);
    }

    #[test]
    fn a_packet_has_the_size_asked_for_and_may_not_be_fragmented() {
        let packet = request_v4(Ipv4Addr::LOCALHOST, 1450, 1, ECHO);
        assert_eq!(packet.len(), 1450);
        assert_eq!(u16::from_be_bytes([packet[2], packet[3]]), 1450);
        assert_eq!(packet[6] & DONT_FRAGMENT, DONT_FRAGMENT);
        assert_eq!(request_v6(1450, 1, ECHO).len(), 1410);
    }

    #[test]
    fn too_small_a_size_still_holds_our_data() {
        for size in 0..60 {
            let packet = request_v4(Ipv4Addr::LOCALHOST, size, 1, ECHO);
            let reply = reply(Family::V4, &answered(packet, Family::V4), 1);
            assert_eq!(reply, Some(ECHO));
        }
    }

    #[test]
    fn a_reply_brings_back_what_the_request_carried() {
        let packet = answered(request_v4(Ipv4Addr::LOCALHOST, 84, 5, ECHO), Family::V4);
        assert_eq!(reply(Family::V4, &packet, 5), Some(ECHO));
        let message = answered(request_v6(84, 5, ECHO), Family::V6);
        assert_eq!(reply(Family::V6, &message, 5), Some(ECHO));
    }

    #[test]
    fn requests_other_identifiers_and_damaged_replies_are_no_replies() {
        let request = request_v4(Ipv4Addr::LOCALHOST, 84, 5, ECHO);
        assert_eq!(reply(Family::V4, &request, 5), None);
        let mut packet = answered(request, Family::V4);
        assert_eq!(reply(Family::V4, &packet, 6), None);
        packet[40] ^= 1;
        assert_eq!(reply(Family::V4, &packet, 5), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_a_reply_or_not(octets: Vec<u8>, identifier: u16) {
            let _ = reply(Family::V4, &octets, identifier);
            let _ = reply(Family::V6, &octets, identifier);
        }
    }
}
