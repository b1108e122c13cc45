//! What a rule is made of: loads into a register, comparisons, verdicts.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::message::{Attributes, Family};

/// An element of a list (NFTA_LIST_ELEM).
const ELEMENT: u16 = 1;
/// A value (NFTA_DATA_VALUE).
const VALUE: u16 = 1;
/// The register all expressions here use (NFT_REG_1, 16 octets).
const REGISTER: u32 = 1;
/// Another one, for a port beside an address (NFT_REG_2).
const PORT_REGISTER: u32 = 2;
/// The register of the verdict (NFT_REG_VERDICT).
const VERDICT_REGISTER: u32 = 0;

/// What is known about a packet beside its octets (enum nft_meta_keys).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meta {
    InName = 6,
    OutName = 7,
    Protocol = 15,
    Transport = 16,
    InGroup = 21,
    OutGroup = 22,
}

/// A comparison (enum nft_cmp_ops).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Is {
    Equal = 0,
    Other = 1,
}

/// One end of a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
}

/// A verdict (linux/netfilter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop = 0,
    Accept = 1,
}

/// The expressions of one rule, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Expressions(Attributes);

impl Expressions {
    /// The list as an attribute's content.
    pub(crate) fn into_attributes(self) -> Attributes {
        self.0
    }

    fn push(self, name: &str, data: Attributes) -> Self {
        let expression = Attributes::default().text(1, name).nest(2, data);
        Self(self.0.nest(ELEMENT, expression))
    }

    fn compare(self, is: Is, value: &[u8]) -> Self {
        let value = Attributes::default().bytes(VALUE, value);
        self.push(
            "cmp",
            Attributes::default().number(1, REGISTER).number(2, is as u32).nest(3, value),
        )
    }

    fn mask(self, mask: &[u8]) -> Self {
        let zero = vec![0; mask.len()];
        let length = u32::try_from(mask.len()).expect("a mask is as long as an address");
        let data = Attributes::default()
            .number(1, REGISTER)
            .number(2, REGISTER)
            .number(3, length)
            .nest(4, Attributes::default().bytes(VALUE, mask))
            .nest(5, Attributes::default().bytes(VALUE, &zero));
        self.push("bitwise", data)
    }

    fn load_meta(self, key: Meta) -> Self {
        self.push("meta", Attributes::default().number(1, REGISTER).number(2, key as u32))
    }

    /// The link has this name: `iifname NAME`. As iptables writes it, so that it can read it.
    pub(crate) fn link(self, key: Meta, name: &str) -> Self {
        let mut value = name.as_bytes().to_vec();
        value.push(0);
        self.load_meta(key).compare(Is::Equal, &value)
    }

    /// The link is, or is not, of this group: `iifgroup NUMBER`.
    pub(crate) fn group(self, key: Meta, is: Is, group: u32) -> Self {
        self.load_meta(key).compare(is, &group.to_ne_bytes())
    }

    /// The address is, or is not, in a network: `ip saddr POOL`, with `meta nfproto` before it.
    pub(crate) fn address(self, side: Side, is: Is, network: IpNetwork) -> Self {
        let (family, offset, octets, mask) = match (network.network(), network.mask()) {
            (IpAddr::V4(ip), IpAddr::V4(mask)) => {
                let offset = if side == Side::Source { 12 } else { 16 };
                (libc_family::IPV4, offset, ip.octets().to_vec(), mask.octets().to_vec())
            }
            (IpAddr::V6(ip), IpAddr::V6(mask)) => {
                let offset = if side == Side::Source { 8 } else { 24 };
                (libc_family::IPV6, offset, ip.octets().to_vec(), mask.octets().to_vec())
            }
            _ => unreachable!("a network and its mask are of one family"),
        };
        let length = u32::try_from(octets.len()).expect("an address has 4 or 16 octets");
        let payload = Attributes::default()
            .number(1, REGISTER)
            .number(2, 1) // base: network header
            .number(3, offset)
            .number(4, length);
        let loaded =
            self.load_meta(Meta::Protocol).compare(Is::Equal, &[family]).push("payload", payload);
        let masked =
            if mask.iter().all(|octet| *octet == 0xff) { loaded } else { loaded.mask(&mask) };
        masked.compare(is, &octets)
    }

    /// The packet belongs to a connection that is known: `ct state established,related`.
    pub(crate) fn known_connection(self) -> Self {
        const STATE_KEY: u32 = 0;
        const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
        self.push("ct", Attributes::default().number(1, REGISTER).number(2, STATE_KEY))
            .mask(&ESTABLISHED_OR_RELATED.to_ne_bytes())
            .compare(Is::Other, &0u32.to_ne_bytes())
    }

    /// The destination of the packet's connection was changed: `ct status dnat`.
    pub(crate) fn redirected(self) -> Self {
        const STATUS_KEY: u32 = 2;
        const DESTINATION_CHANGED: u32 = 1 << 5;
        self.push("ct", Attributes::default().number(1, REGISTER).number(2, STATUS_KEY))
            .mask(&DESTINATION_CHANGED.to_ne_bytes())
            .compare(Is::Other, &0u32.to_ne_bytes())
    }

    /// The destination is an address of this host's: `fib daddr type local`.
    pub(crate) fn local_destination(self) -> Self {
        const ADDRESS_TYPE: u32 = 3;
        const OF_DESTINATION: u32 = 2;
        const LOCAL: u32 = 2;
        let lookup = Attributes::default().number(1, REGISTER).number(2, ADDRESS_TYPE);
        self.push("fib", lookup.number(3, OF_DESTINATION)).compare(Is::Equal, &LOCAL.to_ne_bytes())
    }

    /// The packet is of this version of IP: `meta nfproto ipv4`.
    pub(crate) fn version(self, family: Family) -> Self {
        self.load_meta(Meta::Protocol).compare(Is::Equal, &[family as u8])
    }

    /// The packet is for a port of a protocol: `meta l4proto PROTOCOL th dport PORT`.
    pub(crate) fn destination_port(self, protocol: u8, port: u16) -> Self {
        let payload = Attributes::default()
            .number(1, REGISTER)
            .number(2, 2) // base: transport header
            .number(3, 2) // behind the source port
            .number(4, 2);
        self.load_meta(Meta::Transport)
            .compare(Is::Equal, &[protocol])
            .push("payload", payload)
            .compare(Is::Equal, &port.to_be_bytes())
    }

    /// Ends with a change of the destination: `dnat ip to ADDRESS:PORT`.
    pub(crate) fn dnat(self, to: IpAddr, port: u16) -> Self {
        const DESTINATION: u32 = 1;
        let (family, octets) = match to {
            IpAddr::V4(ip) => (libc_family::IPV4, ip.octets().to_vec()),
            IpAddr::V6(ip) => (libc_family::IPV6, ip.octets().to_vec()),
        };
        let change = Attributes::default()
            .number(1, DESTINATION)
            .number(2, family.into())
            .number(3, REGISTER)
            .number(5, PORT_REGISTER);
        self.load(REGISTER, &octets).load(PORT_REGISTER, &port.to_be_bytes()).push("nat", change)
    }

    fn load(self, register: u32, value: &[u8]) -> Self {
        let value = Attributes::default().bytes(VALUE, value);
        self.push("immediate", Attributes::default().number(1, register).nest(2, value))
    }

    /// Goes on in another chain, and comes back: `jump CHAIN`.
    pub(crate) fn jump(self, chain: &str) -> Self {
        const JUMP: u32 = (-3i32).cast_unsigned();
        let code = Attributes::default().number(1, JUMP).text(2, chain);
        let data = Attributes::default().nest(2, code);
        self.push("immediate", Attributes::default().number(1, VERDICT_REGISTER).nest(2, data))
    }

    /// Counts packets: `counter`.
    pub(crate) fn counter(self) -> Self {
        self.push("counter", Attributes::default().number64(1, 0).number64(2, 0))
    }

    /// Ends with a verdict: `accept`, `drop`.
    pub(crate) fn verdict(self, verdict: Verdict) -> Self {
        let code = Attributes::default().number(1, verdict as u32);
        let data = Attributes::default().nest(2, code);
        self.push("immediate", Attributes::default().number(1, VERDICT_REGISTER).nest(2, data))
    }

    /// Ends with a change of the source address to the outgoing link's: `masquerade`.
    pub(crate) fn masquerade(self) -> Self {
        self.push("masq", Attributes::default())
    }
}

/// Family numbers as `meta nfproto` has them.
mod libc_family {
    pub(super) const IPV4: u8 = 2;
    pub(super) const IPV6: u8 = 10;
}
