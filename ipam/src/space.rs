//! The spaces that are shared out, and the integers behind them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnetwork::IpNetwork;
use weft_api::{NetworkId, Vni};

/// A pool cut into blocks of one size, from which networks without an explicit pool take theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockPool {
    /// All of it, host bits zero.
    pub pool: IpNetwork,
    /// Prefix length of one block: 20 for the IPv4 default, 64 for the IPv6 default.
    pub block_prefix: u8,
}

/// What `weft init` founds a cluster with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPools {
    /// VNIs of networks. Default 8388608..=16777215.
    pub vnis: RangeInclusive<u32>,
    /// Default IPv4 pool. Default 10.128.0.0/9 cut to /20.
    pub default4: BlockPool,
    /// Default IPv6 pool: a random ULA /48 cut to /64.
    pub default6: BlockPool,
}

/// One space of integers that is shared out among the nodes. Its bytes are a fact's subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// The addresses of one subnet; integers are offsets from the pool's first address.
    Subnet {
        /// Whose subnet.
        network: NetworkId,
        /// The pool, host bits zero.
        pool: IpNetwork,
    },
    /// VXLAN network identifiers; the integers are the VNIs.
    Vni,
    /// Default pools; integers count blocks from the pool's first.
    Blocks(BlockPool),
}

impl Space {
    /// The bytes that stand for it: the subject of its ranges' fact.
    pub fn subject(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(34);
        match self {
            Self::Subnet { network, pool } => {
                bytes.push(SUBNET);
                bytes.extend(network.as_bytes());
                push_pool(&mut bytes, *pool);
            }
            Self::Vni => bytes.push(VNI),
            Self::Blocks(blocks) => {
                bytes.push(BLOCKS);
                push_pool(&mut bytes, blocks.pool);
                bytes.push(blocks.block_prefix);
            }
        }
        bytes
    }

    /// Reads a subject; `None` when it is none.
    pub fn from_subject(subject: &[u8]) -> Option<Self> {
        let (space, rest) = Self::split(subject)?;
        rest.is_empty().then_some(space)
    }

    /// Reads a subject off the front.
    pub(crate) fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (tag, rest) = bytes.split_first()?;
        match *tag {
            SUBNET => {
                let (network, rest) = rest.split_first_chunk::<16>()?;
                let (pool, rest) = split_pool(rest)?;
                Some((Self::Subnet { network: NetworkId::from_bytes(*network), pool }, rest))
            }
            VNI => Some((Self::Vni, rest)),
            BLOCKS => {
                let (pool, rest) = split_pool(rest)?;
                let (&block_prefix, rest) = rest.split_first()?;
                let blocks = BlockPool { pool, block_prefix };
                blocks.is_valid().then_some((Self::Blocks(blocks), rest))
            }
            _ => None,
        }
    }

    /// The network that a fact of either kind is about, by its subject; none where it is about what
    /// the cluster shares.
    pub fn network_of(subject: &[u8]) -> Option<NetworkId> {
        match Self::split(subject)?.0 {
            Self::Subnet { network, .. } => Some(network),
            Self::Vni | Self::Blocks(_) => None,
        }
    }

    /// What the subjects of all facts of a network begin with.
    pub fn subjects_of(network: NetworkId) -> Vec<u8> {
        [&[SUBNET], network.as_bytes().as_slice()].concat()
    }

    /// The first and last integer there can be.
    pub(crate) fn bounds(&self) -> (u128, u128) {
        match self {
            Self::Subnet { pool, .. } => (0, last_offset(bits(*pool) - pool.prefix())),
            Self::Vni => (1, u128::from(Vni::MAX)),
            Self::Blocks(blocks) => (0, last_offset(blocks.block_prefix - blocks.pool.prefix())),
        }
    }

    /// The first and last integer that may be handed out: not the network or broadcast address
    /// (IPv4; RFC 3021 has neither), not the subnet routers' anycast address (IPv6; RFC 4291 2.6.1,
    /// RFC 6164).
    pub(crate) fn usable(&self) -> (u128, u128) {
        let (low, high) = self.bounds();
        match self {
            Self::Subnet { pool: IpNetwork::V4(p), .. } if p.prefix() < 31 => (low + 1, high - 1),
            Self::Subnet { pool: IpNetwork::V6(p), .. } if p.prefix() < 127 => (low + 1, high),
            Self::Subnet { .. } | Self::Vni | Self::Blocks(_) => (low, high),
        }
    }

    /// The offset of an address of a subnet; `None` when it is outside.
    pub(crate) fn offset(&self, address: IpAddr) -> Option<u128> {
        match self {
            Self::Subnet { pool, .. } if pool.contains(address) => {
                Some(number(address) - number(pool.network()))
            }
            Self::Subnet { .. } | Self::Vni | Self::Blocks(_) => None,
        }
    }

    /// The address at an offset, with the pool's prefix length.
    pub(crate) fn address(&self, offset: u128) -> Option<IpNetwork> {
        match self {
            Self::Subnet { pool, .. } => {
                let address = address(pool, number(pool.network()).checked_add(offset)?)?;
                IpNetwork::new(address, pool.prefix()).ok()
            }
            Self::Vni | Self::Blocks(_) => None,
        }
    }

    /// The offsets of a sub-pool; `None` when it is not inside the pool.
    pub(crate) fn sub_pool(&self, within: IpNetwork) -> Option<(u128, u128)> {
        Some((self.offset(within.network())?, self.offset(within.broadcast())?))
            .filter(|(low, high)| low <= high)
    }

    /// An integer as people write it.
    pub(crate) fn show(&self, at: u128) -> String {
        match self {
            Self::Subnet { .. } => {
                self.address(at).map_or_else(|| at.to_string(), |a| a.ip().to_string())
            }
            Self::Vni => format!("VNI {at}"),
            Self::Blocks(blocks) => {
                blocks.block(at).map_or_else(|| at.to_string(), |b| b.to_string())
            }
        }
    }
}

impl BlockPool {
    /// Host bits zero, and a block no larger than the pool.
    pub fn is_valid(&self) -> bool {
        self.pool.ip() == self.pool.network()
            && (self.pool.prefix()..=bits(self.pool)).contains(&self.block_prefix)
    }

    /// The block at an index.
    pub(crate) fn block(&self, index: u128) -> Option<IpNetwork> {
        let base = number(self.pool.network());
        let step = index.checked_shl(u32::from(bits(self.pool) - self.block_prefix))?;
        let first = address(&self.pool, base.checked_add(step)?)?;
        IpNetwork::new(first, self.block_prefix).ok()
    }

    /// The indices of the blocks that `prefix` overlaps.
    pub(crate) fn overlapped(&self, prefix: IpNetwork) -> Option<(u128, u128)> {
        if prefix.is_ipv4() != self.pool.is_ipv4() {
            return None;
        }
        let base = number(self.pool.network());
        let low = number(prefix.network()).max(base);
        let high = number(prefix.broadcast()).min(number(self.pool.broadcast()));
        let shift = u32::from(bits(self.pool) - self.block_prefix);
        let index = |at: u128| (at - base).checked_shr(shift).unwrap_or(0);
        (low <= high).then(|| (index(low), index(high)))
    }
}

const SUBNET: u8 = 1;
const VNI: u8 = 2;
const BLOCKS: u8 = 3;

fn push_pool(bytes: &mut Vec<u8>, pool: IpNetwork) {
    match pool {
        IpNetwork::V4(pool) => {
            bytes.push(4);
            bytes.extend(pool.network().octets());
        }
        IpNetwork::V6(pool) => {
            bytes.push(6);
            bytes.extend(pool.network().octets());
        }
    }
    bytes.push(pool.prefix());
}

fn split_pool(bytes: &[u8]) -> Option<(IpNetwork, &[u8])> {
    let (family, rest) = bytes.split_first()?;
    let (ip, rest): (IpAddr, &[u8]) = match *family {
        4 => rest.split_first_chunk::<4>().map(|(a, rest)| (IpAddr::from(*a), rest))?,
        6 => rest.split_first_chunk::<16>().map(|(a, rest)| (IpAddr::from(*a), rest))?,
        _ => return None,
    };
    let (&prefix, rest) = rest.split_first()?;
    let pool = IpNetwork::new(ip, prefix).ok()?;
    (pool.network() == ip).then_some((pool, rest))
}

fn bits(pool: IpNetwork) -> u8 {
    if pool.is_ipv4() { 32 } else { 128 }
}

fn last_offset(bits: u8) -> u128 {
    if bits >= 128 { u128::MAX } else { (1 << bits) - 1 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

fn address(family: &IpNetwork, number: u128) -> Option<IpAddr> {
    match family {
        IpNetwork::V4(_) => u32::try_from(number).ok().map(|n| Ipv4Addr::from(n).into()),
        IpNetwork::V6(_) => Some(Ipv6Addr::from(number).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(pool: &str) -> Space {
        let network = NetworkId::from_bytes([7; 16]);
        Space::Subnet { network, pool: pool.parse().unwrap() }
    }

    #[test]
    fn a_subject_reads_back() {
        let blocks = BlockPool { pool: "fd00:1::/48".parse().unwrap(), block_prefix: 64 };
        for space in [subnet("10.1.0.0/16"), subnet("fd00::/64"), Space::Vni, Space::Blocks(blocks)]
        {
            assert_eq!(Space::from_subject(&space.subject()), Some(space));
        }
        for subject in [&[][..], &[1, 2], &[2, 0], &[9], &[3, 4, 10, 0, 0, 1, 8, 20]] {
            assert_eq!(Space::from_subject(subject), None, "{subject:?}");
        }
    }

    #[test]
    fn network_broadcast_and_anycast_addresses_are_not_usable() {
        for (pool, low, high) in [
            ("10.0.0.0/24", 1, 254),
            ("10.0.0.0/30", 1, 2),
            ("10.0.0.0/31", 0, 1),
            ("10.0.0.0/32", 0, 0),
            ("fd00::/64", 1, (1 << 64) - 1),
            ("fd00::/127", 0, 1),
            ("0.0.0.0/0", 1, (1 << 32) - 2),
            ("::/0", 1, u128::MAX),
        ] {
            assert_eq!(subnet(pool).usable(), (low, high), "{pool}");
        }
    }

    #[test]
    fn addresses_and_offsets_are_inverse() {
        let space = subnet("10.1.0.0/16");
        assert_eq!(space.offset("10.1.1.2".parse().unwrap()), Some(258));
        assert_eq!(space.address(258), Some("10.1.1.2/16".parse().unwrap()));
        assert_eq!(space.offset("10.2.0.0".parse().unwrap()), None);
        assert_eq!(space.offset("fd00::1".parse().unwrap()), None);
        assert_eq!(space.sub_pool("10.1.5.0/24".parse().unwrap()), Some((1280, 1535)));
        assert_eq!(space.sub_pool("10.0.0.0/8".parse().unwrap()), None);
    }

    #[test]
    fn a_prefix_overlaps_the_blocks_it_touches() {
        let blocks = BlockPool { pool: "10.128.0.0/9".parse().unwrap(), block_prefix: 20 };
        assert_eq!(blocks.block(1), Some("10.128.16.0/20".parse().unwrap()));
        let overlapped = |prefix: &str| blocks.overlapped(prefix.parse().unwrap());
        assert_eq!(overlapped("10.128.17.0/24"), Some((1, 1)));
        assert_eq!(overlapped("10.128.0.0/19"), Some((0, 1)));
        assert_eq!(overlapped("10.0.0.0/8"), Some((0, 2047)));
        assert_eq!(overlapped("10.127.255.0/24"), None);
        assert_eq!(overlapped("fd00::/8"), None);
    }
}
