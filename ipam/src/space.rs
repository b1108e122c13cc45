//! The spaces that are shared out, and the integers behind them.

use std::ops::RangeInclusive;

use ipnetwork::IpNetwork;
use weft_api::NetworkId;

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
