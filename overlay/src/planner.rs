//! The planner: networks, endpoints and peers in, kernel operations out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;

use weft_api::{Definition, EndpointId, NetworkId, NodeId, Vni};

use crate::endpoint::{self, Addresses, FarEnd};
use crate::error::{PlanError, Refusal};
use crate::names;
use crate::network::Network;
use crate::notify::{self, Heard};
use crate::observed::Observed;
use crate::op::{KernelOp, Limits, Place};
use crate::peer_db::Conflict;
use crate::publish::PublishedPort;
use crate::reconcile::{self, Knowledge, Repair};
use crate::record::PEER_TABLE;

/// The node, as its data plane sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// This node.
    pub node: NodeId,
    /// Outer source address of its tunnels.
    pub vtep: IpAddr,
    /// UDP port of the tunnels, the same on every node.
    pub vxlan_port: u16,
    /// MTU of the interface that holds `vtep`, in bytes.
    pub uplink_mtu: u32,
}

/// What happened to a table entry, as NetworkDB's drivers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A key appeared.
    Create,
    /// Its value changed.
    Update,
    /// It is gone.
    Delete,
}

/// What the planner refused or ignored since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Events that named an unknown network or another table.
    pub misdirected: u64,
    /// Keys or values that do not decode.
    pub malformed: u64,
    /// Records with an address, MAC or host that the network cannot have.
    pub out_of_place: u64,
    /// Records refused because their network was full.
    pub overflow: u64,
    /// Records that name this node's own VTEP: its own endpoints, or nobody's.
    pub own: u64,
}

impl Counters {
    fn count(&mut self, outcome: &Result<Heard, Refusal>) {
        let counter = match outcome {
            Ok(Heard::Peer) => return,
            Ok(Heard::Own) => &mut self.own,
            Err(Refusal::NoNetwork(_) | Refusal::OtherTable(_)) => &mut self.misdirected,
            Err(Refusal::BadKey(_) | Refusal::Malformed(..)) => &mut self.malformed,
            Err(
                Refusal::AddressOutside { .. }
                | Refusal::TwoSegments(_)
                | Refusal::BadMac { .. }
                | Refusal::BadVtep { .. },
            ) => &mut self.out_of_place,
            Err(Refusal::Full(_)) => &mut self.overflow,
        };
        *counter += 1;
    }
}

/// The overlay driver's state for one node.
///
/// ```
/// use weft_overlay::{Host, Planner};
///
/// let mut planner = Planner::new(Host {
///     node: weft_api::NodeId::from_bytes([1; 16]),
///     vtep: "192.0.2.1".parse().expect("an address"),
///     vxlan_port: 4789,
///     uplink_mtu: 1500,
/// });
/// assert_eq!(planner.poll_output(), None);
/// ```
#[derive(Debug)]
pub struct Planner {
    host: Host,
    networks: BTreeMap<NetworkId, Network>,
    vnis: BTreeMap<Vni, NetworkId>,
    /// Interfaces of joined endpoints, by sandbox and name; the host's path is empty.
    interfaces: BTreeMap<(PathBuf, String), EndpointId>,
    ops: VecDeque<KernelOp>,
    counters: Counters,
}

impl Planner {
    /// Starts with nothing.
    pub fn new(host: Host) -> Self {
        Self {
            host,
            networks: BTreeMap::new(),
            vnis: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            ops: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Tells whom it plans for.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Makes a network known; the kernel learns of it at the first join.
    ///
    /// # Errors
    /// The definition cannot be carried by this host, or is here already.
    pub fn create_network(&mut self, definition: &Definition) -> Result<(), PlanError> {
        let id = definition.id;
        if self.networks.contains_key(&id) {
            return Err(PlanError::NetworkExists(id));
        }
        if let Some(by) = self.networks.keys().find(|other| names::networks_collide(id, **other)) {
            return Err(PlanError::NameTaken(id, *by));
        }
        let network = Network::new(definition, &self.host)?;
        for segment in &network.segments {
            if let Some(by) = self.vnis.get(&segment.vni) {
                return Err(PlanError::VniTaken { vni: segment.vni, by: *by });
            }
        }
        self.vnis.extend(network.segments.iter().map(|s| (s.vni, id)));
        self.networks.insert(id, network);
        Ok(())
    }

    /// Forgets a network and its peers.
    ///
    /// # Errors
    /// It is unknown, or still has endpoints here.
    pub fn delete_network(&mut self, network: NetworkId) -> Result<(), PlanError> {
        let endpoints = self.network(network)?.endpoints.len();
        if endpoints > 0 {
            return Err(PlanError::NetworkBusy { network, endpoints });
        }
        self.let_go(network)?;
        self.networks.remove(&network);
        self.vnis.retain(|_, by| *by != network);
        Ok(())
    }

    /// Keeps a network that is built, with its peers, though its last endpoint leaves: another one
    /// is soon to come. One that is not built is not made by this.
    ///
    /// # Errors
    /// It is unknown.
    pub fn keep(&mut self, network: NetworkId) -> Result<(), PlanError> {
        let network = self.network_mut(network)?;
        network.kept = network.is_built();
        Ok(())
    }

    /// Ends [`Self::keep`]: removes the network's namespace if nothing is joined.
    ///
    /// # Errors
    /// It is unknown.
    pub fn let_go(&mut self, network: NetworkId) -> Result<(), PlanError> {
        let Self { networks, ops, .. } = self;
        let network = networks.get_mut(&network).ok_or(PlanError::NoNetwork(network))?;
        if std::mem::take(&mut network.kept) && !network.is_built() {
            ops.extend(network.tear_down());
        }
        Ok(())
    }

    /// Makes an endpoint known, with the addresses it keeps until it is deleted.
    ///
    /// # Errors
    /// The network is unknown, the endpoint is here already, or it cannot have these addresses.
    pub fn create_endpoint(
        &mut self,
        network: NetworkId,
        endpoint: EndpointId,
        addresses: Addresses,
    ) -> Result<(), PlanError> {
        let network = self.network_mut(network)?;
        let admitted = network.admit(endpoint, addresses)?;
        network.endpoints.insert(endpoint, admitted);
        Ok(())
    }

    /// Limits an endpoint's traffic from its next join on.
    ///
    /// # Errors
    /// It is unknown, or joined.
    pub fn limit(
        &mut self,
        network: NetworkId,
        endpoint: EndpointId,
        limits: Limits,
    ) -> Result<(), PlanError> {
        let found = self.network_mut(network)?.endpoints.get_mut(&endpoint);
        let found = found.ok_or(PlanError::NoEndpoint(endpoint))?;
        if found.far.is_some() {
            return Err(PlanError::EndpointJoined(endpoint));
        }
        found.limits = limits;
        Ok(())
    }

    /// Forgets an endpoint.
    ///
    /// # Errors
    /// It is unknown, or joined.
    pub fn delete_endpoint(
        &mut self,
        network: NetworkId,
        endpoint: EndpointId,
    ) -> Result<(), PlanError> {
        let network = self.network_mut(network)?;
        let found = network.endpoints.get(&endpoint).ok_or(PlanError::NoEndpoint(endpoint))?;
        if found.far.is_some() {
            return Err(PlanError::EndpointJoined(endpoint));
        }
        network.endpoints.remove(&endpoint);
        Ok(())
    }

    /// Joins an endpoint: puts it into a [`crate::Sandbox`], or hands it over to a container engine
    /// that will. The first join builds the network. Returns the encoded [`crate::PeerRecord`] to
    /// publish under the endpoint's id.
    ///
    /// # Errors
    /// It is unknown, joined already, or the interface cannot have that name.
    pub fn join(
        &mut self,
        network: NetworkId,
        endpoint: EndpointId,
        far: impl Into<FarEnd>,
    ) -> Result<Vec<u8>, PlanError> {
        let Self { networks, interfaces, ops, .. } = self;
        let network = networks.get_mut(&network).ok_or(PlanError::NoNetwork(network))?;
        let found = network.endpoints.get_mut(&endpoint);
        let found = found.ok_or(PlanError::NoEndpoint(endpoint))?;
        if found.far.is_some() {
            return Err(PlanError::EndpointJoined(endpoint));
        }
        let far = far.into();
        let interface = far.interface(endpoint);
        if !endpoint::is_interface_name(&interface.1) {
            return Err(PlanError::BadInterfaceName(interface.1));
        }
        if let Some(by) = interfaces.get(&interface) {
            return Err(PlanError::InterfaceTaken { ifname: interface.1, by: *by });
        }
        interfaces.insert(interface, endpoint);
        let (own, record) = (found.peer, found.record().encode());
        found.far = Some(far);
        let first = !network.is_built();
        network.joined += 1;
        if first {
            network.peers.join(endpoint, own, |_| {});
            network.peers.forget_gone();
            ops.extend(network.build());
            ops.extend(network.program_peers());
        }
        ops.extend(network.ensure_endpoint(endpoint));
        ops.extend(network.ensure_limits(endpoint));
        if !first {
            let (peers, programmer) = network.programming();
            peers.join(endpoint, own, |change| ops.push_back(programmer.op(change)));
        }
        network.settle(endpoint);
        Ok(record)
    }

    /// Takes an endpoint out of its sandbox; the last leave removes the network's namespace, unless
    /// it is kept. The caller deletes the peer record.
    ///
    /// # Errors
    /// It is unknown, or not joined.
    pub fn leave(&mut self, network: NetworkId, endpoint: EndpointId) -> Result<(), PlanError> {
        let Self { networks, interfaces, ops, .. } = self;
        let network = networks.get_mut(&network).ok_or(PlanError::NoNetwork(network))?;
        let found = network.endpoints.get_mut(&endpoint);
        let found = found.ok_or(PlanError::NoEndpoint(endpoint))?;
        let far = found.far.take().ok_or(PlanError::NotJoined(endpoint))?;
        interfaces.remove(&far.interface(endpoint));
        let shaped = found.limits.egress.is_some();
        if !std::mem::take(&mut found.published).is_empty() {
            ops.push_back(KernelOp::RemovePublished { endpoint });
        }
        ops.push_back(KernelOp::RemoveLink {
            place: Place::Network(network.namespace.clone()),
            name: names::port(endpoint),
        });
        if shaped {
            ops.push_back(KernelOp::RemoveLink {
                place: Place::Network(network.namespace.clone()),
                name: names::shaper(endpoint),
            });
        }
        network.joined -= 1;
        if network.is_built() {
            let (peers, programmer) = network.programming();
            peers.leave(endpoint, |change| ops.push_back(programmer.op(change)));
        } else {
            network.peers.leave(endpoint, |_| {});
            ops.extend(network.tear_down());
        }
        Ok(())
    }

    /// The addresses at which the outside can be led to a joined endpoint.
    ///
    /// # Errors
    /// It is unknown or not joined, or its network has no way out.
    pub fn publishable(
        &self,
        network: NetworkId,
        endpoint: EndpointId,
    ) -> Result<Vec<IpAddr>, PlanError> {
        self.network(network)?.publishable(endpoint)
    }

    /// Leads ports of the host to a joined endpoint, until it leaves. Whatever it published before
    /// and is not among them ends.
    ///
    /// # Errors
    /// It is unknown or not joined, its network has no way out, or a port leads to what is not its
    /// address.
    pub fn publish(
        &mut self,
        network: NetworkId,
        endpoint: EndpointId,
        ports: &[PublishedPort],
    ) -> Result<(), PlanError> {
        if ports.is_empty() {
            return self.unpublish(network, endpoint);
        }
        let network = self.network_mut(network)?;
        network.admit_published(endpoint, ports)?;
        if let Some(found) = network.endpoints.get_mut(&endpoint) {
            found.published = ports.iter().copied().collect();
        }
        let op = network.ensure_published(endpoint);
        self.ops.extend(op);
        Ok(())
    }

    /// Leads nothing to an endpoint any more; success where nothing is.
    ///
    /// # Errors
    /// It is unknown.
    pub fn unpublish(&mut self, network: NetworkId, endpoint: EndpointId) -> Result<(), PlanError> {
        let found = self.network_mut(network)?.endpoints.get_mut(&endpoint);
        let found = found.ok_or(PlanError::NoEndpoint(endpoint))?;
        if !std::mem::take(&mut found.published).is_empty() {
            self.ops.push_back(KernelOp::RemovePublished { endpoint });
        }
        Ok(())
    }

    /// Tells which ports of the host lead to an endpoint.
    ///
    /// # Errors
    /// It is unknown.
    pub fn published(
        &self,
        network: NetworkId,
        endpoint: EndpointId,
    ) -> Result<&BTreeSet<PublishedPort>, PlanError> {
        let found = self.network(network)?.endpoints.get(&endpoint);
        found.map(|e| &e.published).ok_or(PlanError::NoEndpoint(endpoint))
    }

    /// Takes a change of the peer table. For an owner that merely failed nothing comes: its data
    /// path stays.
    ///
    /// # Errors
    /// The event changed nothing; it is counted. The caller logs it.
    pub fn event_notify(
        &mut self,
        event: Event,
        network: NetworkId,
        table: &str,
        key: &str,
        value: &[u8],
    ) -> Result<(), Refusal> {
        let Self { host, networks, ops, counters, .. } = self;
        let outcome = if table == PEER_TABLE {
            let found = networks.get_mut(&network).ok_or(Refusal::NoNetwork(network));
            found.and_then(|n| notify::apply(n, host, event, key, value, ops))
        } else {
            Err(Refusal::OtherTable(table.to_owned()))
        };
        counters.count(&outcome);
        outcome.map(|_| ())
    }

    /// Returns the next operation; drained to `None` after every call.
    pub fn poll_output(&mut self) -> Option<KernelOp> {
        self.ops.pop_front()
    }

    /// Compares what the kernel holds with what it should hold. Drain and carry out
    /// [`Self::poll_output`] before observing, or what is under way counts as drift.
    pub fn reconcile(&self, observed: &Observed, knowledge: Knowledge) -> Repair {
        reconcile::reconcile(&self.networks, observed, knowledge)
    }

    /// Finds the endpoints that were handed over and whose port is gone: their container is gone
    /// with the far end, and nothing makes them whole again. They are to be taken out with
    /// [`Self::leave`] before [`Self::reconcile`], which passes over them. To be observed as there.
    pub fn vanished(&self, observed: &Observed) -> Vec<(NetworkId, EndpointId)> {
        let gone = self.networks.values().flat_map(|network| {
            let there = observed.namespaces.get(&network.namespace);
            let handed = network.joined().filter(|(_, _, far)| matches!(far, FarEnd::Handed(_)));
            handed
                .filter(move |(id, ..)| {
                    !there.is_some_and(|n| n.ports.contains_key(&names::port(*id)))
                })
                .map(|(id, ..)| (network.id, id))
        });
        gone.collect()
    }

    /// Lists the addresses and MACs that several endpoints claim.
    pub fn conflicts(&self) -> Vec<Conflict> {
        self.networks.values().flat_map(|n| n.peers.conflicts(n.id)).collect()
    }

    /// Returns what was refused so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn network(&self, id: NetworkId) -> Result<&Network, PlanError> {
        self.networks.get(&id).ok_or(PlanError::NoNetwork(id))
    }

    fn network_mut(&mut self, id: NetworkId) -> Result<&mut Network, PlanError> {
        self.networks.get_mut(&id).ok_or(PlanError::NoNetwork(id))
    }
}

#[cfg(test)]
mod tests;
