//! What a network is, as the whole cluster knows it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::id::{NetworkId, NodeId, Vni};

/// Orders facts that were made apart: Lamport time first, then the creator. The lower one wins.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Stamp {
    /// Lamport time at creation.
    pub lamport: u64,
    /// The node that created it.
    pub node: NodeId,
}

/// A network's definition. It never changes; a network of another shape is another network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Random, made by the creator.
    pub id: NetworkId,
    /// Unique in the cluster; at most 128 bytes.
    pub name: String,
    /// Network driver, `overlay` unless a third party's serves the network.
    pub driver: String,
    /// IPAM driver, `weft` unless a third party's gives the addresses.
    pub ipam: String,
    /// At least one. Subnets with the same VNI share one broadcast domain (dual stack).
    pub subnets: Vec<Subnet>,
    /// Driver options, as the creator gave them.
    pub options: BTreeMap<String, String>,
    /// MTU of its endpoints, in bytes; `None` takes each host's uplink less the encapsulation.
    pub mtu: Option<u32>,
    /// No way out: endpoints reach each other and nothing else.
    pub internal: bool,
    /// When and by whom it was created.
    pub stamp: Stamp,
}

/// One address pool of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The pool, with host bits zero.
    pub pool: IpNetwork,
    /// The same on every host. `None` where the network is internal and none was asked for.
    pub gateway: Option<IpAddr>,
    /// Where dynamic addresses come from; `None` means all of the pool.
    pub range: Option<IpNetwork>,
    /// Addresses set aside by name (libnetwork's auxiliary addresses).
    pub auxiliary: BTreeMap<String, IpAddr>,
    /// Its VXLAN network identifier.
    pub vni: Vni,
}
