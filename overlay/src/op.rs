//! What the planner asks of the kernel, as data.
//!
//! Every operation is idempotent: `Ensure…` of what is there and `Remove…` of what is not succeed.
//! A batch is carried out in order; neighbouring FDB and neighbour operations travel together.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use weft_api::{EndpointId, Mac, Vni};

use crate::publish::PublishedPort;

/// Where a link lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The namespace the agent runs in: the host, where the outer UDP socket lives.
    Host,
    /// A network's namespace, pinned in the run directory under this name.
    Network(String),
    /// A namespace somebody else made: an endpoint's sandbox, by path.
    Sandbox(PathBuf),
}

/// One route of an endpoint or a network namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Destination; the default route is 0.0.0.0/0 or ::/0.
    pub to: IpNetwork,
    /// Next hop; `None` for a route on the link.
    pub via: Option<IpAddr>,
}

/// A bridge inside a network's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Name in the namespace.
    pub name: String,
    /// The gateway's MAC, the same on every host.
    pub mac: Mac,
    /// In bytes.
    pub mtu: u32,
    /// The gateway's addresses with prefix lengths; empty on an internal network.
    pub addresses: Vec<IpNetwork>,
}

/// A VXLAN device: created in the host namespace, living in the network's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// Name in the network's namespace.
    pub name: String,
    /// Segment id.
    pub vni: Vni,
    /// UDP port of the outer packet.
    pub port: u16,
    /// Outer source address.
    pub local: IpAddr,
    /// In bytes.
    pub mtu: u32,
    /// The bridge it is a port of.
    pub bridge: String,
}

/// The pair that joins an endpoint's sandbox to its bridge; the far end is born in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointLink {
    /// Name of the bridge's end, in the network's namespace.
    pub port: String,
    /// The bridge it is a port of.
    pub bridge: String,
    /// The endpoint's namespace.
    pub sandbox: Place,
    /// The name the interface gets there.
    pub ifname: String,
    /// Its MAC.
    pub mac: Mac,
    /// In bytes.
    pub mtu: u32,
    /// Addresses with the pool's prefix length; IPv6 is set without duplicate address detection.
    pub addresses: Vec<IpNetwork>,
    /// Default and static routes.
    pub routes: Vec<Route>,
}

/// The pair of an endpoint whose far end a container engine moves into its sandbox, names,
/// addresses and routes; until then that end waits in the host's namespace, down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedLink {
    /// Name of the bridge's end, in the network's namespace.
    pub port: String,
    /// The bridge it is a port of.
    pub bridge: String,
    /// Name of the far end while it waits in the host's namespace.
    pub host_link: String,
    /// MAC of the far end.
    pub mac: Mac,
    /// In bytes.
    pub mtu: u32,
    /// Whether the pair may be made.
    pub hand_over: HandOver,
}

/// Whether a hand-over makes a pair. One that was taken is never made again: the far end is in a
/// container, and the engine that could move another one there is not asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandOver {
    /// The engine waits for the far end: a pair that is not there is made.
    First,
    /// The far end was taken before: a pair that is not there is an error.
    Adopted,
}

/// How much of an endpoint's traffic passes; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Towards the endpoint.
    pub ingress: Option<Limit>,
    /// From the endpoint.
    pub egress: Option<Limit>,
}

impl Limits {
    /// Returns the rates alone.
    pub fn rates(&self) -> Rates {
        let rate = |limit: Option<Limit>| limit.map(|limit| limit.rate_bytes_s);
        Rates { ingress: rate(self.ingress), egress: rate(self.egress) }
    }
}

/// A token bucket: what is too much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// In bytes a second.
    pub rate_bytes_s: u64,
    /// What may pass at once, in bytes.
    pub burst_bytes: u32,
}

/// Least burst, in bytes: the largest packet passes, and some more.
const BURST_BYTES_MIN: u64 = 32 << 10;
/// A burst that is not given is what passes in this share of a second.
const BURST_SHARE: u64 = 50;

impl Limit {
    /// Makes one of a rate in bits a second, where 0 is no limit, and a burst in bits, where 0
    /// leaves the choice to us.
    pub fn of_bits(rate_bits_s: u64, burst_bits: u64) -> Option<Self> {
        if rate_bits_s == 0 {
            return None;
        }
        let rate_bytes_s = rate_bits_s.div_ceil(8);
        let burst = match burst_bits {
            0 => rate_bytes_s / BURST_SHARE,
            bits => bits / 8,
        };
        let burst_bytes = u32::try_from(burst.max(BURST_BYTES_MIN)).unwrap_or(u32::MAX);
        Some(Self { rate_bytes_s, burst_bytes })
    }
}

/// Rates at which traffic passes, in bytes a second; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Towards the endpoint.
    pub ingress: Option<u64>,
    /// From the endpoint.
    pub egress: Option<u64>,
}

/// A network's way out: a veth pair between its namespace and the host, a routing table of ours
/// with a rule for each pool, and masquerade of what leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayOut {
    /// Name of the host's end.
    pub host_link: String,
    /// Name of the network's end.
    pub network_link: String,
    /// In bytes.
    pub mtu: u32,
    /// The network's pools, host bits zero. Empty in the removal of a leftover of which only the
    /// names are known.
    pub pools: Vec<IpNetwork>,
}

/// One static FDB entry: `bridge fdb replace MAC dev DEV dst VTEP self permanent`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FdbEntry {
    /// The peer's MAC.
    pub mac: Mac,
    /// The peer's host.
    pub vtep: IpAddr,
}

/// One permanent neighbour: `ip neigh replace IP lladdr MAC dev DEV nud permanent`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// The peer's address.
    pub ip: IpAddr,
    /// The peer's MAC.
    pub mac: Mac,
}

/// One operation on the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelOp {
    /// Make and pin a network's namespace, `lo` up, forwarding on.
    EnsureNamespace {
        /// Name in the run directory.
        name: String,
    },
    /// Unpin it. Links in it that nothing else holds go with it.
    RemoveNamespace {
        /// Name in the run directory.
        name: String,
    },
    /// Make or correct a bridge, up.
    EnsureBridge {
        /// The network's namespace.
        namespace: String,
        /// Shape.
        bridge: Bridge,
    },
    /// Make or correct a VXLAN device, a port of its bridge, up.
    EnsureVxlan {
        /// The network's namespace.
        namespace: String,
        /// Shape.
        vxlan: Vxlan,
    },
    /// Make the pair of an endpoint, both ends up, addressed and routed.
    EnsureEndpoint {
        /// The network's namespace.
        namespace: String,
        /// Shape.
        link: EndpointLink,
    },
    /// Make or adopt the pair of an endpoint that is handed over: its port in place and up. What
    /// became of the far end does not matter.
    EnsureHanded {
        /// The network's namespace.
        namespace: String,
        /// Shape.
        link: HandedLink,
    },
    /// Limit what passes the port of an endpoint. What comes from the endpoint passes a shaper, a
    /// link of its own beside the port, which does not go with it.
    EnsureLimits {
        /// The network's namespace.
        namespace: String,
        /// The bridge's end of the endpoint's pair.
        port: String,
        /// Name of the shaper.
        shaper: String,
        /// Both ways.
        limits: Limits,
    },
    /// Make or correct a network's way out.
    EnsureWayOut {
        /// The network's namespace.
        namespace: String,
        /// Shape.
        way: WayOut,
    },
    /// Remove a network's way out: links, rules, routes, masquerade.
    RemoveWayOut {
        /// The network's namespace.
        namespace: String,
        /// Shape, as it was ensured.
        way: WayOut,
    },
    /// Hold ports of the host, so that nobody else can have them, and lead what comes to them to
    /// an endpoint. What else the endpoint published ends.
    EnsurePublished {
        /// The endpoint.
        endpoint: EndpointId,
        /// All of its ports.
        ports: BTreeSet<PublishedPort>,
    },
    /// Lead nothing to an endpoint any more, and let go of its ports.
    RemovePublished {
        /// The endpoint.
        endpoint: EndpointId,
    },
    /// Remove a link, and its pair with it.
    RemoveLink {
        /// Where it lives.
        place: Place,
        /// Its name there.
        name: String,
    },
    /// Set an FDB entry, replacing what the MAC had.
    ReplaceFdb {
        /// The network's namespace.
        namespace: String,
        /// The VXLAN device.
        device: String,
        /// The entry.
        entry: FdbEntry,
    },
    /// Remove an FDB entry.
    RemoveFdb {
        /// The network's namespace.
        namespace: String,
        /// The VXLAN device.
        device: String,
        /// The entry.
        entry: FdbEntry,
    },
    /// Set a neighbour, replacing what the address had.
    ReplaceNeighbour {
        /// The network's namespace.
        namespace: String,
        /// The VXLAN device.
        device: String,
        /// The entry.
        entry: Neighbour,
    },
    /// Remove a neighbour.
    RemoveNeighbour {
        /// The network's namespace.
        namespace: String,
        /// The VXLAN device.
        device: String,
        /// The entry.
        entry: Neighbour,
    },
    /// Tell endpoints of this host, and the bridge as their gateway, that an address has another
    /// MAC than they may remember. Who does not remember it learns nothing, and nobody on another
    /// host hears of it. A port, a bridge or a namespace that is gone has nobody to be told.
    Announce {
        /// The network's namespace.
        namespace: String,
        /// The segment's bridge.
        bridge: String,
        /// The ports of the endpoints that are told.
        ports: Vec<String>,
        /// The address and the MAC it has now.
        entry: Neighbour,
    },
}
