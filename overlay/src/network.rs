//! One network on this node: what it is made of, and what its namespace must hold.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weft_api::{Definition, EndpointId, Mac, NetworkId};

use crate::endpoint::{Addresses, DefaultRoute, Endpoint, FarEnd, Sandbox};
use crate::error::PlanError;
use crate::mtu::{self, Families};
use crate::names;
use crate::op::{EndpointLink, HandOver, HandedLink, KernelOp, Limits, Place, Route, WayOut};
use crate::peer_db::{Change, PeerDb, SegmentIndex};
use crate::planner::Host;
use crate::segment::{self, Misplaced, Pool, Segment};

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) id: NetworkId,
    pub(crate) namespace: String,
    pub(crate) mac: Mac,
    pub(crate) mtu: u32,
    pub(crate) segments: Vec<Segment>,
    /// None where the network is internal or has no gateway to go out through.
    pub(crate) way: Option<WayOut>,
    pub(crate) endpoints: BTreeMap<EndpointId, Endpoint>,
    pub(crate) joined: usize,
    /// It stays built though nobody is joined.
    pub(crate) kept: bool,
    pub(crate) peers: PeerDb,
    internal: bool,
    vtep: IpAddr,
}

impl Network {
    pub(crate) fn new(definition: &Definition, host: &Host) -> Result<Self, PlanError> {
        let id = definition.id;
        if definition.subnets.is_empty() {
            return Err(PlanError::NoSubnet(id));
        }
        let families = if definition.subnets.iter().any(|s| s.pool.is_ipv6()) {
            Families::WithV6
        } else {
            Families::V4Only
        };
        let mtu = mtu::of_network(definition.mtu, families, host)?;
        let mac = gateway_mac(id);
        let segments = segment::of_definition(definition, host, mac, mtu)?;
        let pools: Vec<_> = segments
            .iter()
            .flat_map(|s| &s.pools)
            .filter(|p| p.gateway.is_some())
            .map(|p| p.net)
            .collect();
        let way = (!definition.internal && !pools.is_empty()).then(|| WayOut {
            host_link: names::host_link(id),
            network_link: names::network_link(id),
            mtu,
            pools,
        });
        Ok(Self {
            id,
            namespace: names::namespace(id),
            mac,
            mtu,
            segments,
            way,
            endpoints: BTreeMap::new(),
            joined: 0,
            kept: false,
            peers: PeerDb::default(),
            internal: definition.internal,
            vtep: host.vtep,
        })
    }

    /// The namespace stands exactly while a sandbox is joined, or while it is kept.
    pub(crate) fn is_built(&self) -> bool {
        self.joined > 0 || self.kept
    }

    /// Finds the segment and the pool an endpoint's address lies in.
    pub(crate) fn place(&self, ip: IpAddr) -> Result<(SegmentIndex, Pool), Misplaced> {
        let mut why = Misplaced::Outside;
        for (index, segment) in self.segments.iter().enumerate() {
            for pool in &segment.pools {
                match pool.place(ip) {
                    Ok(()) => return Ok((index, *pool)),
                    Err(Misplaced::Gateway) => why = Misplaced::Gateway,
                    Err(Misplaced::Outside) => {}
                }
            }
        }
        Err(why)
    }

    /// Says whether an interface of this network may have the MAC.
    pub(crate) fn admits(&self, mac: Mac) -> bool {
        mac.is_unicast() && mac != self.mac
    }

    /// Checks an endpoint's addresses against the network and its other endpoints on this node.
    pub(crate) fn admit(
        &self,
        id: EndpointId,
        addresses: Addresses,
    ) -> Result<Endpoint, PlanError> {
        if self.endpoints.keys().any(|other| names::endpoints_collide(*other, id)) {
            return Err(PlanError::EndpointExists(id));
        }
        if !self.admits(addresses.mac) {
            return Err(PlanError::BadMac(addresses.mac));
        }
        let placed = |ip| {
            self.place(ip).map_err(|why| match why {
                Misplaced::Outside => PlanError::AddressOutside { network: self.id, address: ip },
                Misplaced::Gateway => PlanError::AddressIsGateway(ip),
            })
        };
        let endpoint = Endpoint::new(id, addresses, self.vtep, placed)?;
        for (by, other) in &self.endpoints {
            if let Some(address) = endpoint.shares_address(other) {
                return Err(PlanError::AddressTaken { address, by: *by });
            }
            if other.peer.segment == endpoint.peer.segment && other.peer.mac == endpoint.peer.mac {
                return Err(PlanError::MacTaken { mac: endpoint.peer.mac, by: *by });
            }
        }
        Ok(endpoint)
    }

    /// The operations that make the namespace with all but endpoints and peers.
    pub(crate) fn build(&self) -> impl Iterator<Item = KernelOp> {
        let namespace = &self.namespace;
        let bridges = self.segments.iter().map(|s| KernelOp::EnsureBridge {
            namespace: namespace.clone(),
            bridge: s.bridge.clone(),
        });
        let vxlans = self.segments.iter().map(|s| KernelOp::EnsureVxlan {
            namespace: namespace.clone(),
            vxlan: s.vxlan.clone(),
        });
        let way = self
            .way
            .iter()
            .map(|way| KernelOp::EnsureWayOut { namespace: namespace.clone(), way: way.clone() });
        std::iter::once(KernelOp::EnsureNamespace { name: namespace.clone() })
            .chain(bridges)
            .chain(vxlans)
            .chain(way)
    }

    /// The operations that undo [`Self::build`]. VXLAN devices go first and by name: the kernel
    /// empties a namespace some time after it is unpinned, and holds the VNI until then.
    pub(crate) fn tear_down(&self) -> impl Iterator<Item = KernelOp> {
        let namespace = &self.namespace;
        let way = self
            .way
            .iter()
            .map(|way| KernelOp::RemoveWayOut { namespace: namespace.clone(), way: way.clone() });
        let vxlans = self.segments.iter().map(|s| KernelOp::RemoveLink {
            place: Place::Network(namespace.clone()),
            name: s.vxlan.name.clone(),
        });
        let last = KernelOp::RemoveNamespace { name: namespace.clone() };
        way.chain(vxlans).chain(std::iter::once(last))
    }

    /// The operations that program every known peer.
    pub(crate) fn program_peers(&self) -> impl Iterator<Item = KernelOp> {
        self.segments.iter().enumerate().flat_map(move |(index, segment)| {
            let fdb = self.peers.fdb(index).map(move |entry| KernelOp::ReplaceFdb {
                namespace: self.namespace.clone(),
                device: segment.vxlan.name.clone(),
                entry,
            });
            let neighbours =
                self.peers.neighbours(index).map(move |entry| KernelOp::ReplaceNeighbour {
                    namespace: self.namespace.clone(),
                    device: segment.vxlan.name.clone(),
                    entry,
                });
            fdb.chain(neighbours)
        })
    }

    /// The peers, and what turns their changes into operations.
    pub(crate) fn programming(&mut self) -> (&mut PeerDb, Programmer<'_>) {
        let Self { peers, namespace, segments, endpoints, .. } = self;
        (peers, Programmer { namespace, segments, endpoints })
    }

    /// The endpoints that are joined, with where to.
    pub(crate) fn joined(&self) -> impl Iterator<Item = (EndpointId, &Endpoint, &FarEnd)> {
        self.endpoints
            .iter()
            .filter_map(|(id, endpoint)| Some((*id, endpoint, endpoint.far.as_ref()?)))
    }

    /// The operation that makes a joined endpoint's pair.
    pub(crate) fn ensure_endpoint(&self, id: EndpointId) -> Option<KernelOp> {
        let endpoint = self.endpoints.get(&id)?;
        let namespace = self.namespace.clone();
        Some(match endpoint.far.as_ref()? {
            FarEnd::Placed(sandbox) => {
                KernelOp::EnsureEndpoint { namespace, link: self.link(id, endpoint, sandbox) }
            }
            FarEnd::Handed(hand_over) => {
                KernelOp::EnsureHanded { namespace, link: self.handed(id, endpoint, *hand_over) }
            }
        })
    }

    /// The operation that limits an endpoint's traffic, if it is limited.
    pub(crate) fn ensure_limits(&self, id: EndpointId) -> Option<KernelOp> {
        let endpoint = self.endpoints.get(&id).filter(|e| e.limits != Limits::default())?;
        Some(KernelOp::EnsureLimits {
            namespace: self.namespace.clone(),
            port: names::port(id),
            shaper: names::shaper(id),
            limits: endpoint.limits,
        })
    }

    /// The operation that publishes an endpoint's ports, if it has any.
    pub(crate) fn ensure_published(&self, id: EndpointId) -> Option<KernelOp> {
        let endpoint = self.endpoints.get(&id).filter(|e| e.is_published())?;
        Some(KernelOp::EnsurePublished { endpoint: id, ports: endpoint.published.clone() })
    }

    /// After its join a hand-over only ever adopts the pair.
    pub(crate) fn settle(&mut self, id: EndpointId) {
        if let Some(Endpoint { far: Some(FarEnd::Handed(hand_over)), .. }) =
            self.endpoints.get_mut(&id)
        {
            *hand_over = HandOver::Adopted;
        }
    }

    fn handed(&self, id: EndpointId, endpoint: &Endpoint, hand_over: HandOver) -> HandedLink {
        HandedLink {
            port: names::port(id),
            bridge: self.segments[endpoint.peer.segment].bridge.name.clone(),
            host_link: names::handed(id),
            mac: endpoint.peer.mac,
            mtu: self.mtu,
            hand_over,
        }
    }

    fn link(&self, id: EndpointId, endpoint: &Endpoint, to: &Sandbox) -> EndpointLink {
        EndpointLink {
            port: names::port(id),
            bridge: self.segments[endpoint.peer.segment].bridge.name.clone(),
            sandbox: Place::Sandbox(to.path.clone()),
            ifname: to.ifname.clone(),
            mac: endpoint.peer.mac,
            mtu: self.mtu,
            addresses: endpoint.addresses().collect(),
            routes: self.routes(endpoint, to),
        }
    }

    /// A default route through the gateway, or else routes to the network's other pools, and what
    /// the sandbox asks for. Segments are joined by their gateways: without one, as an internal
    /// network may be, an endpoint reaches its own segment only.
    fn routes(&self, endpoint: &Endpoint, to: &Sandbox) -> Vec<Route> {
        let default = match to.default_route {
            DefaultRoute::Gateway => !self.internal,
            DefaultRoute::Elsewhere => false,
        };
        let mut routes = to.routes.clone();
        for own in endpoint.pools() {
            if default && let Some(gateway) = own.gateway {
                routes.push(default_route(gateway));
                continue;
            }
            for (index, other) in self.pools().filter(|(_, p)| p.same_family(own) && p != &own) {
                if own.gateway.is_some() || index == endpoint.peer.segment {
                    routes.push(Route { to: other.net, via: own.gateway });
                }
            }
        }
        routes.sort_unstable();
        routes.dedup();
        routes
    }

    fn pools(&self) -> impl Iterator<Item = (SegmentIndex, &Pool)> {
        let segments = self.segments.iter().enumerate();
        segments.flat_map(|(index, s)| s.pools.iter().map(move |p| (index, p)))
    }
}

/// Turns changed entries into operations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Programmer<'a> {
    namespace: &'a str,
    segments: &'a [Segment],
    endpoints: &'a BTreeMap<EndpointId, Endpoint>,
}

impl Programmer<'_> {
    pub(crate) fn op(self, change: Change) -> KernelOp {
        let namespace = self.namespace.to_owned();
        let device = |index: SegmentIndex| self.segments[index].vxlan.name.clone();
        match change {
            Change::SetFdb(at, entry) => {
                KernelOp::ReplaceFdb { namespace, device: device(at), entry }
            }
            Change::RemoveFdb(at, entry) => {
                KernelOp::RemoveFdb { namespace, device: device(at), entry }
            }
            Change::SetNeighbour(at, entry) => {
                KernelOp::ReplaceNeighbour { namespace, device: device(at), entry }
            }
            Change::RemoveNeighbour(at, entry) => {
                KernelOp::RemoveNeighbour { namespace, device: device(at), entry }
            }
            Change::Announce(at, entry) => KernelOp::Announce {
                namespace,
                bridge: self.segments[at].bridge.name.clone(),
                ports: self.audience(at, entry.ip),
                entry,
            },
        }
    }

    /// The ports of those joined to a segment, but for whoever has the address, or wants it: it
    /// would take the announcement for that of an impostor.
    fn audience(self, at: SegmentIndex, ip: IpAddr) -> Vec<String> {
        let told = |e: &Endpoint| {
            e.far.is_some() && e.peer.segment == at && !e.peer.addresses().any(|own| own == ip)
        };
        let told = self.endpoints.iter().filter(|(_, endpoint)| told(endpoint));
        told.map(|(id, _)| names::port(*id)).collect()
    }
}

/// One MAC for the gateway on every host: an endpoint that moves finds its neighbour unchanged.
/// `0a` is locally administered, and is not what endpoints' derived MACs begin with.
fn gateway_mac(network: NetworkId) -> Mac {
    let id = network.as_bytes();
    Mac::from_bytes([0x0a, id[0], id[1], id[2], id[3], id[4]])
}

fn default_route(gateway: IpAddr) -> Route {
    let everything: IpAddr = match gateway {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let to = ipnetwork::IpNetwork::new(everything, 0).expect("zero is a prefix length");
    Route { to, via: Some(gateway) }
}
