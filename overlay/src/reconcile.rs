//! Desired minus observed: the operations that repair drift.

use std::collections::{BTreeMap, BTreeSet};

use weft_api::{EndpointId, NetworkId};

use crate::endpoint::{Endpoint, FarEnd};
use crate::names;
use crate::network::Network;
use crate::observed::{Observed, ObservedNamespace, ObservedPort};
use crate::op::{Bridge, KernelOp, Place, Vxlan, WayOut};
use crate::peer_db::SegmentIndex;

/// Whether the planner has heard of every peer there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// The tables are not synced since the start: FDB entries and neighbours that nobody named yet
    /// are kept, so that a restart does not interrupt traffic.
    Partial,
    /// The tables are synced: what nobody named is removed.
    Complete,
}

/// What kind of object drifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A network's namespace.
    Namespace,
    /// A bridge.
    Bridge,
    /// A VXLAN device.
    Vxlan,
    /// An endpoint's pair.
    Port,
    /// What limits an endpoint's traffic.
    Limits,
    /// The far end of a pair that waits in the host to be taken.
    Handed,
    /// A way out.
    WayOut,
    /// An endpoint's published ports.
    Published,
    /// An FDB entry.
    Fdb,
    /// A neighbour.
    Neighbour,
}

/// How many objects of one kind drifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drift {
    /// They were not there.
    pub missing: u64,
    /// They were there in another shape.
    pub wrong: u64,
    /// They were there and ours, and should not have been.
    pub stray: u64,
}

/// The outcome of a reconciliation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Repair {
    /// To be carried out in this order.
    pub ops: Vec<KernelOp>,
    /// Counts by kind; kinds without drift are absent.
    pub drift: BTreeMap<Kind, Drift>,
}

impl Repair {
    fn drift(&mut self, kind: Kind) -> &mut Drift {
        self.drift.entry(kind).or_default()
    }

    fn add(&mut self, kind: Kind, drift: Drift) {
        if drift != Drift::default() {
            let sum = self.drift(kind);
            sum.missing += drift.missing;
            sum.wrong += drift.wrong;
            sum.stray += drift.stray;
        }
    }

    /// Tells whether the kernel held what it should.
    pub fn is_clean(&self) -> bool {
        self.ops.is_empty()
    }
}

pub(crate) fn reconcile(
    networks: &BTreeMap<NetworkId, Network>,
    observed: &Observed,
    knowledge: Knowledge,
) -> Repair {
    let built: BTreeMap<&str, &Network> =
        networks.values().filter(|n| n.is_built()).map(|n| (n.namespace.as_str(), n)).collect();
    let mut repair = Repair::default();
    remove_unpublished(networks, observed, &mut repair);
    remove_untaken(networks, observed, &mut repair);
    remove_leftovers(&built, observed, &mut repair);
    let empty = ObservedNamespace::default();
    for (name, network) in built {
        let there = observed.namespaces.get(name);
        if there.is_none() {
            repair.drift(Kind::Namespace).missing += 1;
            repair.ops.push(KernelOp::EnsureNamespace { name: name.to_owned() });
        }
        let there = there.unwrap_or(&empty);
        let mut links = Links { network, there, repair: &mut repair };
        links.remove_strays();
        links.bridges();
        let fresh = links.vxlans();
        links.way_out(observed);
        entries(network, there, &fresh, knowledge, &mut repair);
        Links { network, there, repair: &mut repair }.ports();
        published(network, observed, &mut repair);
    }
    repair
}

/// Removes ports that lead to endpoints which are gone, or are not published any more.
fn remove_unpublished(
    networks: &BTreeMap<NetworkId, Network>,
    observed: &Observed,
    repair: &mut Repair,
) {
    let publishes = |id: EndpointId| {
        networks.values().any(|n| n.endpoints.get(&id).is_some_and(Endpoint::is_published))
    };
    for endpoint in observed.published.keys().filter(|id| !publishes(**id)) {
        repair.drift(Kind::Published).stray += 1;
        repair.ops.push(KernelOp::RemovePublished { endpoint: *endpoint });
    }
}

fn published(network: &Network, observed: &Observed, repair: &mut Repair) {
    for (id, endpoint) in network.endpoints.iter().filter(|(_, e)| e.is_published()) {
        match observed.published.get(id) {
            Some(there) if *there == endpoint.published => continue,
            Some(_) => repair.drift(Kind::Published).wrong += 1,
            None => repair.drift(Kind::Published).missing += 1,
        }
        repair.ops.extend(network.ensure_published(*id));
    }
}

/// Removes what waits in the host for nobody: a join was cut short by a crash, the agent's or the
/// engine's. The port goes with it, wherever it is.
fn remove_untaken(
    networks: &BTreeMap<NetworkId, Network>,
    observed: &Observed,
    repair: &mut Repair,
) {
    let joined = networks.values().flat_map(Network::joined);
    let handed = joined.filter(|(_, _, far)| matches!(far, FarEnd::Handed(_)));
    let awaited: BTreeSet<String> = handed.map(|(id, ..)| names::handed(id)).collect();
    let untaken = |name: &&String| names::is_handed(name) && !awaited.contains(*name);
    for name in observed.handed.iter().filter(untaken) {
        repair.drift(Kind::Handed).stray += 1;
        repair.ops.push(KernelOp::RemoveLink { place: Place::Host, name: name.clone() });
    }
}

/// Removes namespaces and ways out with names of ours that no network has. They go first: a VXLAN
/// device in one of them may hold a VNI that is about to be made again.
fn remove_leftovers(built: &BTreeMap<&str, &Network>, observed: &Observed, repair: &mut Repair) {
    let leftover = |name: &&String| names::is_ours(name) && !built.contains_key(name.as_str());
    for link in observed.host_links.iter().filter(leftover) {
        repair.drift(Kind::WayOut).stray += 1;
        repair.ops.push(KernelOp::RemoveWayOut { namespace: link.clone(), way: bare_way(link) });
    }
    for (name, there) in observed.namespaces.iter().filter(|(name, _)| leftover(name)) {
        repair.drift(Kind::Namespace).stray += 1;
        if there.way_out.is_some() && !observed.host_links.contains(name) {
            let way = bare_way(name);
            repair.ops.push(KernelOp::RemoveWayOut { namespace: name.clone(), way });
        }
        repair.ops.extend(there.vxlans.keys().map(|device| KernelOp::RemoveLink {
            place: Place::Network(name.clone()),
            name: device.clone(),
        }));
        repair.ops.push(KernelOp::RemoveNamespace { name: name.clone() });
    }
}

/// A way out of which only the names are known. The host's end has its namespace's name.
fn bare_way(name: &str) -> WayOut {
    WayOut {
        host_link: name.to_owned(),
        network_link: names::network_link_beside(name),
        mtu: 0,
        pools: Vec::new(),
    }
}

/// The links of one network.
struct Links<'a> {
    network: &'a Network,
    there: &'a ObservedNamespace,
    repair: &'a mut Repair,
}

impl Links<'_> {
    fn namespace(&self) -> String {
        self.network.namespace.clone()
    }

    fn remove(&mut self, kind: Kind, name: &str) {
        self.repair.drift(kind).stray += 1;
        self.remove_link(name);
    }

    fn remove_link(&mut self, name: &str) {
        let place = Place::Network(self.namespace());
        self.repair.ops.push(KernelOp::RemoveLink { place, name: name.to_owned() });
    }

    fn remove_strays(&mut self) {
        let (network, there) = (self.network, self.there);
        let segments = &network.segments;
        let bridges: BTreeSet<&str> = segments.iter().map(|s| s.bridge.name.as_str()).collect();
        let vxlans: BTreeSet<&str> = segments.iter().map(|s| s.vxlan.name.as_str()).collect();
        let ports: BTreeSet<String> = network.joined().map(|(id, ..)| names::port(id)).collect();
        for name in there.ports.keys().filter(|name| !ports.contains(*name)) {
            self.remove(Kind::Port, name);
        }
        let shaped = network.joined().filter(|(_, endpoint, _)| endpoint.limits.egress.is_some());
        let shapers: BTreeSet<String> = shaped.map(|(id, ..)| names::shaper(id)).collect();
        for name in there.shapers.iter().filter(|name| !shapers.contains(*name)) {
            self.remove(Kind::Limits, name);
        }
        for name in there.vxlans.keys().filter(|name| !vxlans.contains(name.as_str())) {
            self.remove(Kind::Vxlan, name);
        }
        for name in there.bridges.keys().filter(|name| !bridges.contains(name.as_str())) {
            self.remove(Kind::Bridge, name);
        }
    }

    fn bridges(&mut self) {
        for segment in &self.network.segments {
            let bridge = &segment.bridge;
            match self.there.bridges.get(&bridge.name) {
                Some(there) if same_bridge(bridge, there) => continue,
                Some(_) => self.repair.drift(Kind::Bridge).wrong += 1,
                None => self.repair.drift(Kind::Bridge).missing += 1,
            }
            let namespace = self.namespace();
            self.repair.ops.push(KernelOp::EnsureBridge { namespace, bridge: bridge.clone() });
        }
    }

    /// Returns the devices that are made anew and hold no entry.
    fn vxlans(&mut self) -> BTreeSet<SegmentIndex> {
        let mut fresh = BTreeSet::new();
        for (index, segment) in self.network.segments.iter().enumerate() {
            let vxlan = &segment.vxlan;
            match self.there.vxlans.get(&vxlan.name) {
                Some(there) if there.shape == *vxlan => continue,
                Some(there) => {
                    self.repair.drift(Kind::Vxlan).wrong += 1;
                    if !can_become(&there.shape, vxlan) {
                        self.remove_link(&vxlan.name);
                        fresh.insert(index);
                    }
                }
                None => {
                    self.repair.drift(Kind::Vxlan).missing += 1;
                    fresh.insert(index);
                }
            }
            let namespace = self.namespace();
            self.repair.ops.push(KernelOp::EnsureVxlan { namespace, vxlan: vxlan.clone() });
        }
        fresh
    }

    fn way_out(&mut self, observed: &Observed) {
        let namespace = self.namespace();
        let host_end = observed.host_links.contains(&namespace);
        let inner = self.there.way_out.as_deref();
        let Some(way) = &self.network.way else {
            if host_end || inner.is_some() {
                self.repair.drift(Kind::WayOut).stray += 1;
                let way = bare_way(&namespace);
                self.repair.ops.push(KernelOp::RemoveWayOut { namespace, way });
            }
            return;
        };
        match (host_end, inner) {
            (true, Some(name)) if name == way.network_link => return,
            (false, None) => self.repair.drift(Kind::WayOut).missing += 1,
            (true | false, _) => self.repair.drift(Kind::WayOut).wrong += 1,
        }
        self.repair.ops.push(KernelOp::EnsureWayOut { namespace, way: way.clone() });
    }

    fn ports(&mut self) {
        for (id, endpoint, far) in self.network.joined() {
            let bridge = &self.network.segments[endpoint.peer.segment].bridge.name;
            match (self.there.ports.get(&names::port(id)), far) {
                (Some(there), far) if there.bridge == *bridge && works(there, far) => {
                    self.limits(id, endpoint);
                    continue;
                }
                (Some(_), _) => self.repair.drift(Kind::Port).wrong += 1,
                (None, FarEnd::Placed(_)) => self.repair.drift(Kind::Port).missing += 1,
                // Not ours to make again: see `Planner::vanished`.
                (None, FarEnd::Handed(_)) => continue,
            }
            self.repair.ops.extend(self.network.ensure_endpoint(id));
            self.repair.ops.extend(self.network.ensure_limits(id));
        }
    }

    /// Limits the traffic of a port that is as it should be. What limits a port that should not be
    /// limited is somebody else's.
    fn limits(&mut self, id: EndpointId, endpoint: &Endpoint) {
        let wanted = endpoint.limits.rates();
        let there = self.there.rates.get(&names::port(id)).copied().unwrap_or_default();
        let differs = |wanted: Option<u64>, there| wanted.is_some() && wanted != there;
        if differs(wanted.ingress, there.ingress) || differs(wanted.egress, there.egress) {
            self.repair.drift(Kind::Limits).missing += 1;
            self.repair.ops.extend(self.network.ensure_limits(id));
        }
    }
}

/// Both ends of a pair are ours to keep up, unless the far one was handed over: it may wait in the
/// host, or be down because its container wants it so.
fn works(port: &ObservedPort, far: &FarEnd) -> bool {
    match far {
        FarEnd::Placed(_) => port.carrier,
        FarEnd::Handed(_) => port.up,
    }
}

/// The kernel gives a bridge's addresses in its own order.
fn same_bridge(desired: &Bridge, there: &Bridge) -> bool {
    let mut addresses = there.addresses.clone();
    addresses.sort_unstable();
    desired.addresses == addresses
        && (&desired.name, desired.mac, desired.mtu) == (&there.name, there.mac, there.mtu)
}

/// A VXLAN device cannot change its VNI, its port or, in all kernels we run on, its source.
fn can_become(there: &Vxlan, desired: &Vxlan) -> bool {
    (there.vni, there.port, there.local) == (desired.vni, desired.port, desired.local)
}

fn entries(
    network: &Network,
    there: &ObservedNamespace,
    fresh: &BTreeSet<SegmentIndex>,
    knowledge: Knowledge,
    repair: &mut Repair,
) {
    for (index, segment) in network.segments.iter().enumerate() {
        let device = &segment.vxlan.name;
        let none = (BTreeSet::new(), BTreeSet::new());
        let (fdb, neighbours) = match there.vxlans.get(device) {
            Some(vxlan) if !fresh.contains(&index) => (&vxlan.fdb, &vxlan.neighbours),
            Some(_) | None => (&none.0, &none.1),
        };
        let (namespace, device) = (|| network.namespace.clone(), || device.clone());
        let drift = difference(
            network.peers.fdb(index),
            fdb,
            |e| e.mac,
            knowledge,
            |wish| {
                repair.ops.push(match wish {
                    Wish::Set(entry) => {
                        KernelOp::ReplaceFdb { namespace: namespace(), device: device(), entry }
                    }
                    Wish::Remove(entry) => {
                        KernelOp::RemoveFdb { namespace: namespace(), device: device(), entry }
                    }
                });
            },
        );
        repair.add(Kind::Fdb, drift);
        let desired = network.peers.neighbours(index);
        let drift = difference(
            desired,
            neighbours,
            |e| e.ip,
            knowledge,
            |wish| {
                repair.ops.push(match wish {
                    Wish::Set(entry) => KernelOp::ReplaceNeighbour {
                        namespace: namespace(),
                        device: device(),
                        entry,
                    },
                    Wish::Remove(entry) => KernelOp::RemoveNeighbour {
                        namespace: namespace(),
                        device: device(),
                        entry,
                    },
                });
            },
        );
        repair.add(Kind::Neighbour, drift);
    }
}

enum Wish<E> {
    Set(E),
    Remove(E),
}

/// Walks two sorted sequences side by side: linear in both. `key` is what the kernel replaces by,
/// and what both are sorted by first; there is one desired entry a key.
fn difference<E: Ord + Clone, K: Ord>(
    desired: impl Iterator<Item = E>,
    observed: &BTreeSet<E>,
    key: impl Fn(&E) -> K,
    knowledge: Knowledge,
    mut wish: impl FnMut(Wish<E>),
) -> Drift {
    let mut drift = Drift::default();
    let mut there = observed.iter().peekable();
    let stray = |entry: &E, drift: &mut Drift, wish: &mut dyn FnMut(Wish<E>)| match knowledge {
        Knowledge::Complete => {
            drift.stray += 1;
            wish(Wish::Remove(entry.clone()));
        }
        Knowledge::Partial => {}
    };
    let mut same_key = Vec::new();
    for entry in desired {
        while let Some(other) = there.next_if(|o| key(o) < key(&entry)) {
            stray(other, &mut drift, &mut wish);
        }
        same_key.clear();
        while let Some(other) = there.next_if(|o| key(o) == key(&entry)) {
            same_key.push(other);
        }
        if same_key.contains(&&entry) {
            for other in same_key.iter().filter(|o| **o != &entry) {
                drift.stray += 1;
                wish(Wish::Remove(E::clone(other)));
            }
            continue;
        }
        if same_key.is_empty() {
            drift.missing += 1;
        } else {
            drift.wrong += 1;
        }
        wish(Wish::Set(entry));
    }
    for other in there {
        stray(other, &mut drift, &mut wish);
    }
    drift
}
