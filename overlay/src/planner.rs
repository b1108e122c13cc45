//! The planner: networks, endpoints and peers in, kernel operations out.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use weft_api::{Definition, EndpointId, NetworkId, NodeId};

use crate::endpoint::{Addresses, Sandbox};
use crate::error::{PlanError, Refusal};
use crate::observed::Observed;
use crate::op::KernelOp;
use crate::peer_db::Conflict;
use crate::reconcile::{Knowledge, Repair};

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

/// The overlay driver's state for one node.
#[derive(Debug)]
pub struct Planner {
    host: Host,
    ops: VecDeque<KernelOp>,
    counters: Counters,
}

impl Planner {
    /// Starts with nothing.
    pub fn new(host: Host) -> Self {
        Self { host, ops: VecDeque::new(), counters: Counters::default() }
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
        Err(PlanError::NetworkExists(definition.id))
    }

    /// Forgets a network and its peers.
    ///
    /// # Errors
    /// It is unknown, or still has endpoints here.
    pub fn delete_network(&mut self, network: NetworkId) -> Result<(), PlanError> {
        Err(PlanError::NoNetwork(network))
    }

    /// Makes an endpoint known, with the addresses it keeps until it is deleted.
    ///
    /// # Errors
    /// The network is unknown, the endpoint is here already, or it cannot have these addresses.
    pub fn create_endpoint(
        &mut self,
        network: NetworkId,
        _endpoint: EndpointId,
        _addresses: Addresses,
    ) -> Result<(), PlanError> {
        Err(PlanError::NoNetwork(network))
    }

    /// Forgets an endpoint.
    ///
    /// # Errors
    /// It is unknown, or joined.
    pub fn delete_endpoint(
        &mut self,
        network: NetworkId,
        _endpoint: EndpointId,
    ) -> Result<(), PlanError> {
        Err(PlanError::NoNetwork(network))
    }

    /// Joins an endpoint to a sandbox; the first join builds the network. Returns the encoded
    /// [`crate::PeerRecord`] to publish under the endpoint's id.
    ///
    /// # Errors
    /// It is unknown, joined already, or the interface cannot have that name.
    pub fn join(
        &mut self,
        network: NetworkId,
        _endpoint: EndpointId,
        _sandbox: Sandbox,
    ) -> Result<Vec<u8>, PlanError> {
        Err(PlanError::NoNetwork(network))
    }

    /// Takes an endpoint out of its sandbox; the last leave removes the network's namespace. The
    /// caller deletes the peer record.
    ///
    /// # Errors
    /// It is unknown, or not joined.
    pub fn leave(&mut self, network: NetworkId, _endpoint: EndpointId) -> Result<(), PlanError> {
        Err(PlanError::NoNetwork(network))
    }

    /// Takes a change of the peer table. For an owner that merely failed nothing comes: its data
    /// path stays.
    ///
    /// # Errors
    /// The event changed nothing; it is counted. The caller logs it.
    pub fn event_notify(
        &mut self,
        _event: Event,
        network: NetworkId,
        _table: &str,
        _key: &str,
        _value: &[u8],
    ) -> Result<(), Refusal> {
        Err(Refusal::NoNetwork(network))
    }

    /// Shows an entry to people: the key, and `Host IP`, `IPv4`, `IPv6`, `MAC` by name. Nothing
    /// but the key when the value is no peer record.
    pub fn decode_table_entry(
        &self,
        _table: &str,
        key: &str,
        _value: &[u8],
    ) -> (String, BTreeMap<String, String>) {
        (key.to_owned(), BTreeMap::new())
    }

    /// Returns the next operation; drained to `None` after every call.
    pub fn poll_output(&mut self) -> Option<KernelOp> {
        self.ops.pop_front()
    }

    /// Compares what the kernel holds with what it should hold. Drain and carry out
    /// [`Self::poll_output`] before observing, or what is under way counts as drift.
    pub fn reconcile(&self, _observed: &Observed, _knowledge: Knowledge) -> Repair {
        Repair::default()
    }

    /// Lists the addresses and MACs that several endpoints claim.
    pub fn conflicts(&self) -> Vec<Conflict> {
        Vec::new()
    }

    /// Returns what was refused so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
