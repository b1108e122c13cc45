//! What operators and runtimes ask of an agent.

use ipnetwork::IpNetwork;
use weft_api::{EndpointId, NetworkId, NodeId};
use weft_ipam::{BlockPool, BlockWant, ClusterPools};
use weft_networkdb::Reach;

use super::Nodes;
use super::host::Endpoint;
use super::job::Job;
use super::mutation::Mutation;

/// VNIs of a simulated cluster.
const VNIS: std::ops::RangeInclusive<u32> = 1000..=1999;
/// Default pools of a simulated cluster: few and small, so that they run out.
const POOL4: (&str, u8) = ("10.128.0.0/20", 28);
const POOL6: (&str, u8) = ("fd00:1::/56", 64);

impl Nodes {
    /// What a simulated cluster shares out.
    pub(crate) fn pools() -> ClusterPools {
        let blocks = |(pool, block_prefix): (&str, u8)| BlockPool {
            pool: pool.parse().expect("a constant"),
            block_prefix,
        };
        ClusterPools { vnis: VNIS, default4: blocks(POOL4), default6: blocks(POOL6) }
    }

    /// `weft init`.
    pub fn init(&mut self, host: usize) {
        self.note_on(host, "init");
        let identity = self.new_identity();
        self.start(host, identity);
        let now = self.local(host);
        let process = self.process_mut(host);
        process.writes.push(super::host::Host::joined_mark());
        process.node.found_cluster(&Self::pools(), now);
        self.drain(host);
        // Whoever ran it was told.
        self.hosts[host].untold.clear();
    }

    /// `weft join` through other hosts.
    pub fn join(&mut self, host: usize, seeds: &[usize]) {
        self.note_on(host, format!("join through {seeds:?}"));
        if self.is_split() {
            self.ledger.tally.joins_in_splits += 1;
        }
        // What a forgotten node that runs on lets in and gives to, the others know nothing of.
        let mut ids = seeds.iter().filter_map(|seed| self.hosts[*seed].id());
        let any_forgotten = ids.any(|id| self.ledger.forgotten.contains(&id));
        self.ledger.allowance.forced |= any_forgotten;
        let seeds: Vec<_> = seeds.iter().map(|seed| self.hosts[*seed].addr).collect();
        let identity = self.new_identity();
        self.start(host, identity);
        let now = self.local(host);
        self.process_mut(host).node.with_db(now, |db| db.join(&seeds, now));
        self.drain(host);
    }

    /// `weft leave` after `weft detach` of all, since an address in use is not handed over. It is
    /// refused where no other member answers and some are away.
    pub fn leave(&mut self, host: usize) {
        if self.node(host).is_cut_off() {
            return self.note_on(host, "leave refused: no other member answers");
        }
        self.note_on(host, "leave");
        for (endpoint, _) in self.endpoints(host) {
            self.end_endpoint(host, endpoint);
        }
        let now = self.local(host);
        if self.planted.is(Mutation::LeavesWithoutHandOver) {
            self.process_mut(host).node.with_db(now, |db| db.leave(now));
        } else {
            self.process_mut(host).node.leave(now);
        }
        self.drain(host);
    }

    /// `weft forget`: of hosts whose agents will not run again.
    pub fn forget(&mut self, host: usize, victims: &[usize], reach: Reach) {
        self.note_on(host, format!("forget {victims:?} {reach:?}"));
        let ids = victims.iter().filter_map(|victim| self.hosts[*victim].id()).collect();
        self.forget_nodes(host, ids, reach);
    }

    /// `weft forget`, by the ids of nodes: also of those that no disk has any more.
    pub(super) fn forget_nodes(&mut self, host: usize, ids: Vec<NodeId>, reach: Reach) {
        let now = self.local(host);
        let victims = ids.clone();
        let process = self.process_mut(host);
        if !process.node.ipam().knows_owners() {
            return self.note_on(host, "has not heard yet who owns what");
        }
        let claim = process.node.forget(ids, reach, now);
        process.claims.insert(claim, Job::Forget { victims });
        self.drain(host);
    }

    /// `weft network create`, without a subnet or with one.
    pub fn create(&mut self, host: usize, name: &str, pool: Option<IpNetwork>) {
        self.note_on(host, format!("create {name} {pool:?}"));
        self.draft(host, name.to_owned(), pool);
        self.drain(host);
    }

    /// `weft network rm`, where this host has no endpoint in it.
    pub fn delete(&mut self, host: usize, network: NetworkId) {
        if self.process(host).uses(network) {
            return;
        }
        self.note_on(host, format!("delete {}", network.short()));
        self.stop_using(host, network);
        let now = self.local(host);
        let process = self.process_mut(host);
        let claim = process.node.with_db(now, |db| db.undefine(network, now));
        process.claims.insert(claim, Job::Delete);
        self.drain(host);
    }

    /// `weft attach`: allocates, creates, joins and publishes an endpoint. Refused where the
    /// network is frozen or unknown.
    pub fn attach(&mut self, host: usize, network: NetworkId) {
        let mut id = [0; 16];
        rand::Rng::fill_bytes(&mut self.rng, &mut id);
        let endpoint = EndpointId::from_bytes(id);
        self.note_on(host, format!("attach {} to {}", endpoint.short(), network.short()));
        self.request_address(host, network, endpoint);
        self.drain(host);
    }

    /// `weft detach`: unpublishes, leaves, deletes and releases an endpoint.
    pub fn detach(&mut self, host: usize, endpoint: EndpointId) {
        self.note_on(host, format!("detach {}", endpoint.short()));
        self.end_endpoint(host, endpoint);
        self.drain(host);
    }

    /// Returns a host's endpoints and their networks.
    pub fn endpoints(&self, host: usize) -> Vec<(EndpointId, NetworkId)> {
        let process = self.hosts[host].process.as_ref();
        let endpoints = process.into_iter().flat_map(|process| process.endpoints.values());
        endpoints.map(|Endpoint { id, network, .. }| (*id, *network)).collect()
    }

    /// Returns the addresses of a host's endpoints.
    pub fn addresses(&self, host: usize) -> Vec<IpNetwork> {
        self.process(host).endpoints.values().map(|endpoint| endpoint.address).collect()
    }

    /// Returns the network in force that a host knows by a name.
    pub fn network_named(&self, host: usize, name: &str) -> Option<NetworkId> {
        self.node(host).db().definition_by_name(name).map(|definition| definition.id)
    }

    /// Begins a create: what is known of the name, else a VNI and a pool of this node's blocks.
    fn draft(&mut self, host: usize, name: String, pool: Option<IpNetwork>) {
        let existing = self.node(host).db().definition_by_name(&name).cloned();
        if let Some(subnet) = existing.and_then(|found| found.subnets.into_iter().next()) {
            return self.define(host, name, subnet.vni, (subnet.pool, pool), Vec::new());
        }
        let now = self.local(host);
        let process = self.process_mut(host);
        let ticket = process.ticket(Job::Vni { name, pool });
        process.node.with_ipam(now, |ipam| ipam.take_block(ticket, BlockWant::Vni, &[], now));
    }
}
