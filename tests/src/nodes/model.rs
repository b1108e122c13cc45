//! The reference model: in plain terms, what every node equals once the cluster is quiet.
//!
//! It is made of what an onlooker saw: what is on the disks of the members, which endpoints their
//! controllers have, and what was acknowledged to whoever asked for it. How a node comes to know
//! all that is no part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weft_api::{Definition, Mac, NetworkId, NodeId, Space};
use weft_networkdb::{FactKind, MemberState};
use weft_overlay::op::{FdbEntry, Neighbour};
use weft_overlay::{PEER_TABLE, names};

use super::Nodes;
use super::host::Endpoint;

/// What a node knows and has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Who answers.
    pub(super) alive: BTreeSet<NodeId>,
    /// Who is gone without having left or been forgotten.
    pub(super) failed: BTreeSet<NodeId>,
    /// Networks in force; true: frozen.
    pub(super) networks: BTreeMap<NetworkId, bool>,
    /// Networks deleted for ever.
    pub(super) deleted: BTreeSet<NetworkId>,
    /// All facts: kind, subject, state.
    pub(super) facts: BTreeMap<(FactKind, Vec<u8>), Vec<u8>>,
    /// The entries of each network that it takes part in, and whose they are.
    pub(super) tables: BTreeMap<NetworkId, BTreeMap<String, NodeId>>,
    /// What is in its kernel, by namespace.
    pub(super) kernel: BTreeMap<String, Wires>,
}

/// One network in one kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wires {
    pub(super) ports: BTreeSet<String>,
    pub(super) fdb: BTreeSet<FdbEntry>,
    pub(super) neighbours: BTreeSet<Neighbour>,
}

/// What the onlooker knows of the whole cluster.
pub(super) struct Model<'a> {
    nodes: &'a Nodes,
    alive: BTreeSet<NodeId>,
    facts: BTreeMap<(FactKind, Vec<u8>), Vec<u8>>,
    networks: BTreeMap<NetworkId, bool>,
    deleted: BTreeSet<NetworkId>,
    /// Every endpoint, its host and its node.
    endpoints: Vec<(usize, NodeId, &'a Endpoint)>,
}

impl<'a> Model<'a> {
    pub(super) fn of(nodes: &'a Nodes) -> Self {
        let mut facts = BTreeMap::new();
        for host in nodes.members() {
            for (key, value) in nodes.hosts[host].disk.of(Space::Facts) {
                if let Some((kind, subject)) = key.split_first() {
                    // Disks differ in no fact; where they do, the comparison shows it.
                    facts.entry((FactKind(*kind), subject.to_vec())).or_insert(value.to_vec());
                }
            }
        }
        let of_kind = |kind: FactKind| -> BTreeSet<NetworkId> {
            let subjects = facts.keys().filter(|(of, _)| *of == kind);
            let ids = subjects.filter_map(|(_, subject)| subject.as_slice().try_into().ok());
            ids.map(NetworkId::from_bytes).collect()
        };
        let deleted = of_kind(FactKind::DELETED);
        let defined = of_kind(FactKind::DEFINITION);
        let in_force = defined.difference(&deleted);
        let in_force: Vec<&Definition> =
            in_force.filter_map(|id| nodes.ledger.defined.get(id)).collect();
        let networks = in_force.iter().map(|one| (one.id, is_frozen(one, &in_force))).collect();
        let members = || nodes.members();
        let alive = members().filter_map(|host| nodes.hosts[host].id()).collect();
        let endpoints = members()
            .flat_map(|host| {
                let node = nodes.node(host).id();
                nodes.process(host).endpoints.values().map(move |e| (host, node, e))
            })
            .collect();
        Self { nodes, alive, facts, networks, deleted, endpoints }
    }

    /// What was acknowledged and is not so: a network that nobody knows, or a deleted one that is
    /// there.
    pub(super) fn forgets(&self) -> Option<NetworkId> {
        let ledger = &self.nodes.ledger;
        if self.alive.is_empty() {
            // All left: with the last one the cluster ends.
            return None;
        }
        let known = |id: &NetworkId| self.deleted.contains(id) || self.networks.contains_key(id);
        let mut lost = ledger.acknowledged.keys().filter(|id| !known(id));
        // Alone in its part of a split a node can delete, leave, and be all who knew of it.
        let may_be_back = ledger.allowance.parted;
        let is_back = |id: &&NetworkId| !may_be_back && !self.deleted.contains(*id);
        let mut back = ledger.acknowledged_gone.iter().filter(is_back);
        lost.next().or_else(|| back.next()).copied()
    }

    /// What a host that is a member must have.
    pub(super) fn member(&self, host: usize) -> View {
        let here: BTreeSet<NetworkId> =
            self.of_host(host).map(|endpoint| endpoint.network).collect();
        let entries = |network: &NetworkId| {
            let of = self.of_network(*network);
            (*network, of.map(|(_, node, e)| (e.id.to_string(), node)).collect())
        };
        View {
            alive: self.alive.clone(),
            failed: BTreeSet::new(),
            networks: self.networks.clone(),
            deleted: self.deleted.clone(),
            facts: self.facts.clone(),
            tables: here.iter().map(entries).collect(),
            kernel: self.kernel(host),
        }
    }

    /// What must be in a host's kernel: a namespace for each network that has an endpoint here,
    /// with the way to each endpoint elsewhere.
    pub(super) fn kernel(&self, host: usize) -> BTreeMap<String, Wires> {
        let mut kernel: BTreeMap<String, Wires> = BTreeMap::new();
        for here in self.of_host(host) {
            let wires = kernel.entry(names::namespace(here.network)).or_default();
            wires.ports.insert(names::port(here.id));
            for (there, _, endpoint) in self.of_network(here.network) {
                if there != host {
                    let (mac, ip) = (mac(endpoint), endpoint.address.ip());
                    let vtep = self.nodes.hosts[there].vtep();
                    wires.fdb.insert(FdbEntry { mac, vtep });
                    wires.neighbours.insert(Neighbour { ip, mac });
                }
            }
        }
        kernel
    }

    fn of_host(&self, host: usize) -> impl Iterator<Item = &'a Endpoint> {
        let of = self.endpoints.iter().filter(move |(index, ..)| *index == host);
        of.map(|(.., endpoint)| *endpoint)
    }

    fn of_network(
        &self,
        network: NetworkId,
    ) -> impl Iterator<Item = (usize, NodeId, &'a Endpoint)> {
        let of = self.endpoints.iter().filter(move |(.., e)| e.network == network);
        of.map(|(host, node, endpoint)| (*host, *node, *endpoint))
    }
}

/// Frozen is whoever has the name or overlaps the pool of one with a lower stamp.
fn is_frozen(one: &Definition, all: &[&Definition]) -> bool {
    let lower = |other: &&&Definition| (other.stamp, other.id) < (one.stamp, one.id);
    all.iter().filter(lower).any(|other| clash(one, other))
}

/// Tells whether two networks cannot both be used.
pub(super) fn clash(one: &Definition, other: &Definition) -> bool {
    let overlap = |a: &weft_api::Subnet, b: &weft_api::Subnet| {
        a.pool.contains(b.pool.ip()) || b.pool.contains(a.pool.ip())
    };
    one.name == other.name
        || one.subnets.iter().any(|a| other.subnets.iter().any(|b| overlap(a, b)))
}

/// The MAC of an endpoint: it follows from the address.
pub(super) fn mac(endpoint: &Endpoint) -> Mac {
    match endpoint.address.ip() {
        IpAddr::V4(v4) => Mac::from_ipv4(v4),
        IpAddr::V6(v6) => Mac::from_ipv6(v6),
    }
}

impl View {
    /// What a member shows.
    pub(super) fn of(nodes: &Nodes, host: usize) -> Self {
        let db = nodes.node(host).db();
        let standing = |state: MemberState| -> BTreeSet<NodeId> {
            db.members().filter(|member| member.state == state).map(|member| member.id).collect()
        };
        let mut failed = standing(MemberState::Failed);
        failed.extend(standing(MemberState::Suspect));
        let facts = KINDS.into_iter().flat_map(|kind| {
            db.facts(kind).map(move |(subject, state)| ((kind, subject.to_vec()), state.to_vec()))
        });
        let tables = db.own_attachments().into_iter().map(|network| {
            let entries = db.walk(network, PEER_TABLE);
            (network, entries.map(|entry| (entry.key.to_string(), entry.owner)).collect())
        });
        let deleted = db.facts(FactKind::DELETED);
        let deleted = deleted.filter_map(|(subject, _)| subject.try_into().ok());
        Self {
            alive: standing(MemberState::Alive),
            failed,
            networks: db.definitions().map(|one| (one.id, db.is_frozen(one.id))).collect(),
            deleted: deleted.map(NetworkId::from_bytes).collect(),
            facts: facts.collect(),
            tables: tables.collect(),
            kernel: Self::kernel(nodes, host),
        }
    }

    /// What is in a host's kernel, a member or not.
    pub(super) fn kernel(nodes: &Nodes, host: usize) -> BTreeMap<String, Wires> {
        let observed = nodes.hosts[host].kernel.observe();
        let namespaces = observed.namespaces.into_iter().map(|(name, there)| {
            let mut wires = Wires { ports: there.ports.into_keys().collect(), ..Wires::default() };
            for vxlan in there.vxlans.into_values() {
                wires.fdb.extend(vxlan.fdb);
                wires.neighbours.extend(vxlan.neighbours);
            }
            (name, wires)
        });
        namespaces.collect()
    }
}

/// Every kind of fact.
const KINDS: [FactKind; 7] = [
    FactKind::DEFINITION,
    FactKind::DELETED,
    FactKind::LEFT,
    FactKind::FORGOTTEN,
    FactKind::RANGES,
    FactKind::ALLOCATION,
    FactKind::HOST_ROUTES,
];
