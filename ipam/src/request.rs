//! What is asked for and what is granted.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_api::{EndpointId, Vni};

use crate::space::Space;

/// Names a request to the caller; it comes back in [`crate::Output::Done`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Which address is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The first that is free.
    First,
    /// The next free one after the last that was given out; wraps (libnetwork's `ipam.serial`).
    Serial,
    /// This one. It may lie outside the sub-pool.
    Exact(IpAddr),
    /// For [`Purpose::Swarm`]: this one, which the last leader had allocated, so a new leader says.
    /// Granted where Swarm has it already, where it is free or rests, and where its owner is away;
    /// refused where it is known to be bound otherwise. The same for [`Purpose::Auxiliary`], of one
    /// that was set aside a moment ago. For other purposes as [`Self::Exact`].
    Replay(IpAddr),
}

/// What an address is for. The same purpose may ask again and gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// An endpoint of this node. At most one address of a space each.
    Endpoint(EndpointId),
    /// The gateway: one a space, the same on every node that asks without an address or with the
    /// same one.
    Gateway,
    /// Set aside under a name (libnetwork's auxiliary addresses); at most 128 bytes.
    Auxiliary(String),
    /// Allocated by a Swarm leader for a task or VIP that runs anywhere. Each request is for one
    /// more address, unless it names one that Swarm has.
    Swarm,
}

/// A request for one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Of which subnet: a [`Space::Subnet`].
    pub space: Space,
    /// Which one. For a gateway, [`Want::First`] and [`Want::Serial`] mean the one there is or else
    /// the pool's first usable address, so that one owner decides between two nodes.
    pub want: Want,
    /// Sub-pool that [`Want::First`] and [`Want::Serial`] keep to; `None` means all of the pool.
    pub within: Option<IpNetwork>,
    /// What for.
    pub purpose: Purpose,
}

/// Which block a new network wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockWant {
    /// Any VNI.
    Vni,
    /// This VNI.
    ExactVni(Vni),
    /// A block of the default IPv4 pool.
    Default4,
    /// A block of the default IPv6 pool.
    Default6,
}

/// A block that was granted, or comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Block {
    /// A VNI.
    Vni(Vni),
    /// A block of a default pool.
    Pool(IpNetwork),
}

/// Why a block comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was never in use, and nobody else heard of it: free at once.
    Unused,
    /// The claim of its network was refused, after others had been asked to accept it: a pool is
    /// free at once, a VNI never again. Somebody who is away may hold the claim, and bring its
    /// network into force when this node is forgotten; a pool would have it frozen then.
    Refused,
    /// Its network was deleted: a pool is free after its rest, a VNI never again.
    Deleted,
}

impl Fate {
    /// That of what was taken for a network that did not come to be. `asked` tells whether others
    /// were asked to accept it.
    pub const fn of_refused(asked: bool) -> Self {
        if asked { Self::Refused } else { Self::Unused }
    }
}

/// What was granted; durable by the time it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// An address, with the prefix length of its pool.
    Address(IpNetwork),
    /// A block for a new network.
    Block(Block),
}
