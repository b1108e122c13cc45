//! A kernel that holds what it is told: the planner's counterpart in tests and in the simulator.
//!
//! It keeps the promises of [`crate::op`] that the planner relies on, and refuses what Linux
//! refuses. One contract suite runs on it and on the real data plane.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use weft_api::{EndpointId, Mac, Vni};

use crate::names;
use crate::observed::{Observed, ObservedNamespace, ObservedPort, ObservedVxlan};
use crate::op::{
    Bridge, EndpointLink, FdbEntry, HandOver, HandedLink, KernelOp, Limits, Neighbour, Place,
    Vxlan, WayOut,
};
use crate::publish::PublishedPort;

/// Why the fake kernel refuses, as Linux would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FakeError {
    /// The operation names a namespace that is not pinned.
    #[error("namespace {0} does not exist")]
    NoNamespace(String),
    /// The operation names a bridge or a VXLAN device that is not in the namespace.
    #[error("device {name} does not exist in namespace {namespace}")]
    NoDevice {
        /// The namespace.
        namespace: String,
        /// The device.
        name: String,
    },
    /// One host has one device a VNI and port.
    #[error("vni {0} is in use")]
    VniInUse(Vni),
    /// The sandbox has an interface of that name.
    #[error("interface {0} exists in the sandbox")]
    InterfaceExists(String),
    /// A port of the host leads to another endpoint.
    #[error("port {0} is taken")]
    PortTaken(PublishedPort),
    /// The pair that is to be adopted is not there.
    #[error("port {0} is gone")]
    HandedGone(String),
}

/// The pair of an endpoint that is handed over.
#[derive(Debug, Clone)]
struct Handed {
    host_link: String,
    /// Where the engine moved the far end; `None` while it waits in the host.
    taken: Option<PathBuf>,
}

/// A namespace of the host's, and what it is connected to.
#[derive(Debug, Clone, Default)]
pub struct FakeKernel {
    namespaces: BTreeMap<String, ObservedNamespace>,
    /// Endpoints' pairs by namespace and port.
    pairs: BTreeMap<(String, String), EndpointLink>,
    /// The same of those that are handed over.
    handed: BTreeMap<(String, String), Handed>,
    /// Ways out by the name of the host's end; the namespace is where the other end is.
    ways: BTreeMap<String, (String, WayOut)>,
    published: BTreeMap<EndpointId, BTreeSet<PublishedPort>>,
    /// What endpoints remember of others, by namespace and port.
    memories: BTreeMap<(String, String), BTreeMap<IpAddr, Mac>>,
}

impl FakeKernel {
    /// A kernel without anything of ours.
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries one operation out.
    ///
    /// # Errors
    /// What it needs is not there, or what it makes is somebody else's. Nothing changed then.
    pub fn apply(&mut self, op: &KernelOp) -> Result<(), FakeError> {
        match op {
            KernelOp::EnsureNamespace { name } => {
                self.namespaces.entry(name.clone()).or_default();
                Ok(())
            }
            KernelOp::RemoveNamespace { name } => {
                self.remove_namespace(name);
                Ok(())
            }
            KernelOp::EnsureBridge { namespace, bridge } => self.ensure_bridge(namespace, bridge),
            KernelOp::EnsureVxlan { namespace, vxlan } => self.ensure_vxlan(namespace, vxlan),
            KernelOp::EnsureEndpoint { namespace, link } => self.ensure_endpoint(namespace, link),
            KernelOp::EnsureHanded { namespace, link } => self.ensure_handed(namespace, link),
            KernelOp::EnsureLimits { namespace, port, shaper, limits } => {
                self.ensure_limits(namespace, port, shaper, *limits)
            }
            KernelOp::EnsureWayOut { namespace, way } => self.ensure_way_out(namespace, way),
            KernelOp::RemoveWayOut { way, .. } => {
                self.remove_way_out(&way.host_link);
                Ok(())
            }
            KernelOp::EnsurePublished { endpoint, ports } => self.publish(*endpoint, ports),
            KernelOp::RemovePublished { endpoint } => {
                self.published.remove(endpoint);
                Ok(())
            }
            KernelOp::RemoveLink { place, name } => {
                self.remove_link(place, name);
                Ok(())
            }
            KernelOp::ReplaceFdb { namespace, device, entry } => {
                self.device(namespace, device)?.replace_fdb(entry);
                Ok(())
            }
            KernelOp::RemoveFdb { namespace, device, entry } => {
                if let Ok(device) = self.device(namespace, device) {
                    device.fdb.remove(entry);
                }
                Ok(())
            }
            KernelOp::ReplaceNeighbour { namespace, device, entry } => {
                self.device(namespace, device)?.replace_neighbour(entry);
                Ok(())
            }
            KernelOp::RemoveNeighbour { namespace, device, entry } => {
                if let Ok(device) = self.device(namespace, device) {
                    device.neighbours.remove(entry);
                }
                Ok(())
            }
            KernelOp::Announce { namespace, ports, entry, .. } => {
                self.announce(namespace, ports, entry);
                Ok(())
            }
        }
    }

    /// Carries a batch out in order and goes on after a failure, as the executor does. Returns the
    /// failures by index.
    pub fn apply_all<'a>(
        &mut self,
        ops: impl IntoIterator<Item = &'a KernelOp>,
    ) -> Vec<(usize, FakeError)> {
        let outcomes = ops.into_iter().map(|op| self.apply(op)).enumerate();
        outcomes.filter_map(|(index, outcome)| Some((index, outcome.err()?))).collect()
    }

    /// Reads back all that is ours.
    pub fn observe(&self) -> Observed {
        let host_links = self.ways.keys().filter(|name| names::is_ours(name)).cloned().collect();
        let waiting = self.handed.values().filter(|pair| pair.taken.is_none());
        let handed = waiting.map(|pair| pair.host_link.clone()).collect();
        let published = self.published.clone();
        Observed { namespaces: self.namespaces.clone(), host_links, handed, published }
    }

    /// A container engine moves a far end from the host into a sandbox, and sets it up there.
    /// Returns whether it was there to take.
    pub fn take(&mut self, host_link: &str, sandbox: &Path) -> bool {
        let waits = |pair: &Handed| pair.host_link == host_link && pair.taken.is_none();
        let Some((key, pair)) = self.handed.iter_mut().find(|(_, pair)| waits(pair)) else {
            return false;
        };
        pair.taken = Some(sandbox.to_owned());
        let (namespace, port) = key;
        if let Some(there) = self.namespaces.get_mut(namespace)
            && let Some(port) = there.ports.get_mut(port)
        {
            port.carrier = true;
        }
        true
    }

    /// An interface in a sandbox, as its pair was made.
    pub fn interface(&self, sandbox: &Path, ifname: &str) -> Option<&EndpointLink> {
        self.pairs.values().find(|link| is_at(link, sandbox) && link.ifname == ifname)
    }

    /// The endpoint behind a port has spoken to another one, and remembers its MAC.
    pub fn remember(&mut self, namespace: &str, port: &str, other: &Neighbour) {
        let key = (namespace.to_owned(), port.to_owned());
        self.memories.entry(key).or_default().insert(other.ip, other.mac);
    }

    /// The MAC that the endpoint behind a port remembers.
    pub fn remembers(&self, namespace: &str, port: &str, ip: IpAddr) -> Option<Mac> {
        self.memories.get(&(namespace.to_owned(), port.to_owned()))?.get(&ip).copied()
    }

    /// A sandbox vanishes, and the pairs that reach into it with it.
    pub fn vanish_sandbox(&mut self, sandbox: &Path) {
        let placed = self.pairs.iter().filter(|(_, link)| is_at(link, sandbox));
        let taken = self.handed.iter().filter(|(_, h)| h.taken.as_deref() == Some(sandbox));
        let gone: Vec<_> =
            placed.map(|(key, _)| key.clone()).chain(taken.map(|(key, _)| key.clone())).collect();
        for (namespace, port) in gone {
            self.remove_link(&Place::Network(namespace), &port);
        }
    }

    fn namespace(&mut self, name: &str) -> Result<&mut ObservedNamespace, FakeError> {
        self.namespaces.get_mut(name).ok_or_else(|| FakeError::NoNamespace(name.to_owned()))
    }

    fn device(&mut self, namespace: &str, name: &str) -> Result<&mut ObservedVxlan, FakeError> {
        let missing =
            || FakeError::NoDevice { namespace: namespace.to_owned(), name: name.to_owned() };
        self.namespace(namespace)?.vxlans.get_mut(name).ok_or_else(missing)
    }

    fn need_bridge(&mut self, namespace: &str, name: &str) -> Result<(), FakeError> {
        if self.namespace(namespace)?.bridges.contains_key(name) {
            return Ok(());
        }
        Err(FakeError::NoDevice { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    fn ensure_bridge(&mut self, namespace: &str, bridge: &Bridge) -> Result<(), FakeError> {
        self.namespace(namespace)?.bridges.insert(bridge.name.clone(), bridge.clone());
        Ok(())
    }

    fn ensure_vxlan(&mut self, namespace: &str, vxlan: &Vxlan) -> Result<(), FakeError> {
        self.need_bridge(namespace, &vxlan.bridge)?;
        let taken = self.namespaces.iter().any(|(place, there)| {
            there.vxlans.values().any(|other| {
                (other.shape.vni, other.shape.port) == (vxlan.vni, vxlan.port)
                    && (place.as_str(), &other.shape.name) != (namespace, &vxlan.name)
            })
        });
        if taken {
            return Err(FakeError::VniInUse(vxlan.vni));
        }
        let there = &mut self.namespace(namespace)?.vxlans;
        let old = there.remove(&vxlan.name).filter(|old| {
            let was = &old.shape;
            (was.vni, was.port, was.local) == (vxlan.vni, vxlan.port, vxlan.local)
        });
        let (fdb, neighbours) = old.map(|o| (o.fdb, o.neighbours)).unwrap_or_default();
        let device = ObservedVxlan { shape: vxlan.clone(), fdb, neighbours };
        there.insert(vxlan.name.clone(), device);
        Ok(())
    }

    fn ensure_endpoint(&mut self, namespace: &str, link: &EndpointLink) -> Result<(), FakeError> {
        self.need_bridge(namespace, &link.bridge)?;
        let key = (namespace.to_owned(), link.port.clone());
        let taken = self.pairs.iter().any(|(other, there)| {
            *other != key && (&there.sandbox, &there.ifname) == (&link.sandbox, &link.ifname)
        });
        if taken {
            return Err(FakeError::InterfaceExists(link.ifname.clone()));
        }
        let port = ObservedPort { bridge: link.bridge.clone(), up: true, carrier: true };
        self.namespace(namespace)?.ports.insert(link.port.clone(), port);
        self.handed.remove(&key);
        self.pairs.insert(key, link.clone());
        Ok(())
    }

    fn ensure_handed(&mut self, namespace: &str, link: &HandedLink) -> Result<(), FakeError> {
        self.need_bridge(namespace, &link.bridge)?;
        let there = self.namespace(namespace)?;
        match (there.ports.get_mut(&link.port), link.hand_over) {
            (Some(port), HandOver::First | HandOver::Adopted) => {
                port.bridge.clone_from(&link.bridge);
                port.up = true;
                return Ok(());
            }
            (None, HandOver::Adopted) => return Err(FakeError::HandedGone(link.port.clone())),
            (None, HandOver::First) => {}
        }
        self.remove_link(&Place::Host, &link.host_link);
        let port = ObservedPort { bridge: link.bridge.clone(), up: true, carrier: false };
        self.namespace(namespace)?.ports.insert(link.port.clone(), port);
        let pair = Handed { host_link: link.host_link.clone(), taken: None };
        self.handed.insert((namespace.to_owned(), link.port.clone()), pair);
        Ok(())
    }

    fn ensure_limits(
        &mut self,
        namespace: &str,
        port: &str,
        shaper: &str,
        limits: Limits,
    ) -> Result<(), FakeError> {
        let there = self.namespace(namespace)?;
        if !there.ports.contains_key(port) {
            let (namespace, name) = (namespace.to_owned(), port.to_owned());
            return Err(FakeError::NoDevice { namespace, name });
        }
        let rates = there.rates.entry(port.to_owned()).or_default();
        rates.ingress = limits.rates().ingress.or(rates.ingress);
        rates.egress = limits.rates().egress.or(rates.egress);
        if limits.egress.is_some() {
            there.shapers.insert(shaper.to_owned());
        }
        Ok(())
    }

    fn announce(&mut self, namespace: &str, ports: &[String], entry: &Neighbour) {
        for port in ports {
            let memory = self.memories.get_mut(&(namespace.to_owned(), port.clone()));
            if let Some(mac) = memory.and_then(|memory| memory.get_mut(&entry.ip)) {
                *mac = entry.mac;
            }
        }
    }

    fn publish(
        &mut self,
        endpoint: EndpointId,
        ports: &BTreeSet<PublishedPort>,
    ) -> Result<(), FakeError> {
        let others = self.published.iter().filter(|(id, _)| **id != endpoint);
        let held: BTreeSet<_> = others.flat_map(|(_, ports)| ports).collect();
        if let Some(taken) = ports.iter().find(|port| held.iter().any(|h| clash(h, port))) {
            return Err(FakeError::PortTaken(*taken));
        }
        self.published.insert(endpoint, ports.clone());
        Ok(())
    }

    fn ensure_way_out(&mut self, namespace: &str, way: &WayOut) -> Result<(), FakeError> {
        self.namespace(namespace)?.way_out = Some(way.network_link.clone());
        self.ways.insert(way.host_link.clone(), (namespace.to_owned(), way.clone()));
        Ok(())
    }

    fn remove_way_out(&mut self, host_link: &str) {
        if let Some((namespace, _)) = self.ways.remove(host_link)
            && let Some(there) = self.namespaces.get_mut(&namespace)
        {
            there.way_out = None;
        }
    }

    fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
        self.pairs.retain(|(namespace, _), _| namespace != name);
        self.handed.retain(|(namespace, _), _| namespace != name);
        self.memories.retain(|(namespace, _), _| namespace != name);
        self.ways.retain(|_, (namespace, _)| namespace != name);
    }

    fn remove_link(&mut self, place: &Place, name: &str) {
        match place {
            Place::Host => {
                self.remove_way_out(name);
                let waits = |pair: &Handed| pair.host_link == name && pair.taken.is_none();
                if let Some((key, _)) = self.handed.iter().find(|(_, pair)| waits(pair)) {
                    let (namespace, port) = key.clone();
                    self.remove_in_namespace(&namespace, &port);
                }
            }
            Place::Network(namespace) => self.remove_in_namespace(namespace, name),
            Place::Sandbox(path) => {
                let pair = self.pairs.iter().find(|(_, l)| is_at(l, path) && l.ifname == name);
                if let Some((key, _)) = pair {
                    let (namespace, port) = key.clone();
                    self.remove_in_namespace(&namespace, &port);
                }
            }
        }
    }

    fn remove_in_namespace(&mut self, namespace: &str, name: &str) {
        let Some(there) = self.namespaces.get_mut(namespace) else { return };
        there.vxlans.remove(name);
        there.ports.remove(name);
        there.rates.remove(name);
        if there.shapers.remove(name) {
            let of = |port: &str| names::shaper_beside(port) == name;
            let rates = there.rates.iter_mut().filter(|(port, _)| of(port));
            rates.for_each(|(_, rates)| rates.egress = None);
        }
        if there.bridges.remove(name).is_some() {
            let ports = there.ports.values_mut().map(|port| &mut port.bridge);
            let devices = there.vxlans.values_mut().map(|vxlan| &mut vxlan.shape.bridge);
            ports.chain(devices).filter(|bridge| *bridge == name).for_each(String::clear);
        }
        let way_out = there.way_out.as_deref() == Some(name);
        let key = (namespace.to_owned(), name.to_owned());
        self.pairs.remove(&key);
        self.handed.remove(&key);
        self.memories.remove(&key);
        if way_out {
            there.way_out = None;
            self.ways.retain(|_, (place, _)| place != namespace);
        }
    }
}

impl ObservedVxlan {
    fn replace_fdb(&mut self, entry: &FdbEntry) {
        let lowest = FdbEntry { mac: entry.mac, vtep: std::net::Ipv4Addr::UNSPECIFIED.into() };
        while let Some(old) = self.fdb.range(&lowest..).next().filter(|o| o.mac == entry.mac) {
            let old = old.clone();
            self.fdb.remove(&old);
        }
        self.fdb.insert(entry.clone());
    }

    fn replace_neighbour(&mut self, entry: &Neighbour) {
        let lowest = Neighbour { ip: entry.ip, mac: weft_api::Mac::from_bytes([0; 6]) };
        while let Some(old) = self.neighbours.range(&lowest..).next().filter(|o| o.ip == entry.ip) {
            let old = old.clone();
            self.neighbours.remove(&old);
        }
        self.neighbours.insert(entry.clone());
    }
}

/// Both want the same port of the same address.
fn clash(a: &PublishedPort, b: &PublishedPort) -> bool {
    let all = |a: &PublishedPort, b: &PublishedPort| {
        a.host.is_unspecified() && a.host.is_ipv4() == b.host.is_ipv4()
    };
    (a.protocol, a.host_port) == (b.protocol, b.host_port)
        && (a.host == b.host || all(a, b) || all(b, a))
}

fn is_at(link: &EndpointLink, sandbox: &Path) -> bool {
    link.sandbox == Place::Sandbox(PathBuf::from(sandbox))
}
