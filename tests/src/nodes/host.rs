//! One host: a disk and a kernel that stay, and an agent that may run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_agent::node::Node;
use weft_api::{EndpointId, NetworkId, NodeId, Space, Stamp, Vni, Write};
use weft_ipam::Ticket;
use weft_networkdb::{ClaimId, Member, MemberState};
use weft_overlay::fake_kernel::FakeKernel;
use weft_overlay::{Knowledge, Planner};

use super::clock::Clock;
use super::crash::Doom;
use super::job::Job;
use crate::cluster::Disk;

/// The record that says that this disk's node was let in.
const JOINED: &[u8] = b"joined";

/// Who the node is, durable before it sends anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) node: NodeId,
    pub(super) boots: u64,
}

/// A simulated machine.
pub(super) struct Host {
    pub(super) index: usize,
    pub(super) addr: SocketAddr,
    pub(super) identity: Option<Identity>,
    pub(super) disk: Disk,
    /// What undoes the commits since this host last told anybody anything.
    pub(super) untold: Vec<Write>,
    pub(super) kernel: FakeKernel,
    pub(super) process: Option<Process>,
    pub(super) life: u64,
    pub(super) accepted: u64,
    /// When the latest datagram of each other host arrives here.
    pub(super) arrivals: BTreeMap<usize, Instant>,
    pub(super) wake: Option<Instant>,
    /// How it is to end, after so many more commits.
    pub(super) doom: Option<(u32, Doom)>,
    /// How often it committed, in all its lives.
    pub(super) commits: u64,
    pub(super) clock: Clock,
    /// It does nothing until then: a pause of its machine, or a SIGSTOP.
    pub(super) stalled: Option<Instant>,
    /// Its disk was rolled back or cloned, and it has not been told yet.
    pub(super) is_stale: bool,
    /// The networks of the tunnel devices in its kernel, by VNI.
    pub(super) tunnels: BTreeMap<Vni, String>,
}

/// The memory of a running agent.
pub(super) struct Process {
    pub(super) node: Node,
    pub(super) planner: Planner,
    pub(super) knowledge: Knowledge,
    /// Networks that the planner knows.
    pub(super) created: BTreeSet<NetworkId>,
    pub(super) endpoints: BTreeMap<EndpointId, Endpoint>,
    pub(super) tickets: BTreeMap<Ticket, Job>,
    pub(super) next_ticket: u64,
    pub(super) claims: BTreeMap<ClaimId, Job>,
    pub(super) writes: Vec<Write>,
    /// Keys whose delete this life has seen: no endpoint's id is used twice.
    pub(super) buried: BTreeSet<(NetworkId, String)>,
    /// Networks that this life has heard to be deleted.
    pub(super) deleted: BTreeSet<NetworkId>,
    /// Members that this life knows to be gone for good.
    pub(super) gone: BTreeSet<NodeId>,
}

/// An endpoint in the inventory, joined for as long as it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Endpoint {
    pub(super) id: EndpointId,
    pub(super) network: NetworkId,
    pub(super) pool: IpNetwork,
    pub(super) address: IpNetwork,
    pub(super) stamp: Stamp,
}

impl Endpoint {
    pub(super) fn to_write(&self) -> Write {
        let value = serde_json::to_vec(self).expect("plain fields encode");
        Write { space: Space::Controller, key: self.id.as_bytes().to_vec(), value: Some(value) }
    }

    pub(super) fn removal(id: EndpointId) -> Write {
        Write { space: Space::Controller, key: id.as_bytes().to_vec(), value: None }
    }
}

impl Host {
    pub(super) fn new(index: usize) -> Self {
        let [high, low] = u16::try_from(index).expect("fewer hosts than ports").to_be_bytes();
        Self {
            index,
            addr: SocketAddr::from(([172, 16, high, low + 1], 7950)),
            identity: None,
            disk: Disk::default(),
            untold: Vec::new(),
            kernel: FakeKernel::new(),
            process: None,
            life: 0,
            accepted: 0,
            arrivals: BTreeMap::new(),
            wake: None,
            doom: None,
            commits: 0,
            clock: Clock::default(),
            stalled: None,
            is_stale: false,
            tunnels: BTreeMap::new(),
        }
    }

    /// How this commit ends it, if it does.
    pub(super) fn next_doom(&mut self) -> Option<Doom> {
        let (left, doom) = self.doom.as_mut()?;
        let doom = (*left == 0).then_some(*doom);
        *left = left.saturating_sub(1);
        doom
    }

    pub(super) fn vtep(&self) -> IpAddr {
        self.addr.ip()
    }

    pub(super) fn id(&self) -> Option<NodeId> {
        self.identity.map(|identity| identity.node)
    }

    /// Tells whether its disk says that the cluster let it in.
    pub(super) fn is_joined(&self) -> bool {
        self.disk.of(Space::Node).any(|(key, _)| key == JOINED)
    }

    pub(super) fn joined_mark() -> Write {
        Write { space: Space::Node, key: JOINED.to_vec(), value: Some(vec![1]) }
    }

    /// The endpoints on its disk.
    pub(super) fn inventory(&self) -> impl Iterator<Item = Endpoint> {
        let records = self.disk.of(Space::Controller);
        records.map(|(_, value)| serde_json::from_slice(value).expect("written by this simulator"))
    }
}

impl Process {
    pub(super) fn new(node: Node, planner: Planner) -> Self {
        let is_gone =
            |member: &&Member| matches!(member.state, MemberState::Left | MemberState::Forgotten);
        Self {
            gone: node.db().members().filter(is_gone).map(|member| member.id).collect(),
            node,
            planner,
            knowledge: Knowledge::Partial,
            created: BTreeSet::new(),
            endpoints: BTreeMap::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            claims: BTreeMap::new(),
            writes: Vec::new(),
            buried: BTreeSet::new(),
            deleted: BTreeSet::new(),
        }
    }

    /// Names a request whose answer continues a job.
    pub(super) fn ticket(&mut self, job: Job) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.tickets.insert(ticket, job);
        ticket
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.tickets.is_empty() || !self.claims.is_empty()
    }

    pub(super) fn uses(&self, network: NetworkId) -> bool {
        let busy = |job: &Job| matches!(job, Job::Address { network: of, .. } if *of == network);
        self.endpoints.values().any(|endpoint| endpoint.network == network)
            || self.tickets.values().any(busy)
    }
}
