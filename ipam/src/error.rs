//! Why a request fails. The first nine are libnetwork's well-known errors (package `ipamapi`).

use std::fmt;
use std::time::Duration;

use weft_api::NodeId;

/// Why addresses are short, for the text behind `no available addresses on this pool`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shortage {
    /// Owners of parts of the pool that are not alive and so could not be asked.
    pub away: Vec<NodeId>,
    /// Live owners that did not answer in time.
    pub silent: Vec<NodeId>,
    /// Addresses of this node that were released and rest before they are used again.
    pub resting: u128,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |nodes: &[NodeId]| nodes.iter().map(NodeId::short).collect::<Vec<_>>().join(", ");
        if !self.away.is_empty() {
            write!(f, "; owners of other parts of it are away: {}", list(&self.away))?;
        }
        if !self.silent.is_empty() {
            write!(f, "; owners that did not answer: {}", list(&self.silent))?;
        }
        if self.resting > 0 {
            write!(f, "; {} released on this node rest before reuse", self.resting)?;
        }
        Ok(())
    }
}

/// Why a request was not granted. No state has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `ErrInvalidAddressSpace` (invalid parameter): not a space this node serves.
    #[error("invalid address space")]
    InvalidAddressSpace,
    /// `ErrInvalidPool` (invalid parameter).
    #[error("invalid address pool")]
    InvalidPool,
    /// `ErrInvalidSubPool` (invalid parameter): the sub-pool is not inside the pool.
    #[error("invalid address subpool")]
    InvalidSubPool,
    /// `ErrNoAvailableIPs` (unavailable): nobody reachable has a free one.
    #[error("no available addresses on this pool{0}")]
    NoAvailableIps(Shortage),
    /// `ErrNoIPReturned` (unavailable): the owner granted something else.
    #[error("no address returned")]
    NoIpReturned,
    /// `ErrIPAlreadyAllocated` (forbidden): bound to something else.
    #[error("Address already in use")]
    IpAlreadyAllocated,
    /// `ErrIPOutOfRange` (invalid parameter).
    #[error("requested address is out of range")]
    IpOutOfRange,
    /// `ErrPoolOverlap` (forbidden).
    #[error("Pool overlaps with other one on this address space")]
    PoolOverlap,
    /// `ErrBadPool` (invalid parameter): no such pool is known here.
    #[error("address space does not contain specified address pool")]
    BadPool,
    /// `ErrIPAlreadyAllocated` too: released lately, it rests so that no peer still sends to its
    /// former holder.
    #[error("Address already in use: it was released and rests for {} more", seconds(*.0))]
    Resting(Duration),
    /// Unavailable: the owner of the wanted address cannot be asked.
    #[error("the owner of {address} ({}) is away", owner.short())]
    OwnerAway {
        /// What was asked for: an address or a VNI.
        address: String,
        /// Who owns it.
        owner: NodeId,
    },
    /// Unavailable: the wanted address is in nobody's range as far as this node knows.
    #[error("the owner of {0} is not known yet")]
    OwnerUnknown(String),
    /// Invalid parameter: the name of an auxiliary address is longer than 128 bytes.
    #[error("the name of an auxiliary address has {0} bytes; 128 are allowed")]
    LongName(usize),
    /// Unavailable: facts are not yet synced with every live member since this start.
    #[error("not ready: the cluster's facts are not yet synced with every live member")]
    NotReady,
    /// Unavailable: this node hands its ranges over and leaves.
    #[error("this node is leaving the cluster")]
    Leaving,
    /// Unavailable: this node's disk lacks what it once wrote; it must take a new identity.
    #[error("this node's disk was rolled back; it allocates nothing until it has a new identity")]
    RolledBack,
    /// Unavailable: the bound on waiting requests is reached.
    #[error("too many requests wait for addresses")]
    Busy,
    /// Unavailable: every default pool (or VNI) that could be had is taken, or overlaps a route or
    /// name server of a live host.
    #[error("no free default pool or VNI is left{0}")]
    NoMoreBlocks(Shortage),
}

/// Why durable state could not be taken up again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A record of ours does not decode: the store is damaged or newer than this program.
    #[error("ipam record {key} is damaged or newer than this program")]
    Record {
        /// Its key, hexadecimal.
        key: String,
    },
    /// A fact does not decode.
    #[error("ipam fact {subject} is damaged or newer than this program")]
    Fact {
        /// Its subject, hexadecimal.
        subject: String,
    },
}

fn seconds(left: Duration) -> String {
    format!("{} s", left.as_secs() + u64::from(left.subsec_nanos() > 0))
}
