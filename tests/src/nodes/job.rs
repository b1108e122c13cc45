//! What the agent's controller does between a question to the node and its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_api::{Definition, EndpointId, Mac, NetworkId, NodeId, Stamp, Subnet, Vni};
use weft_ipam::{Block, BlockWant, Fate, Granted, Purpose, Request, Space, Ticket, Want};
use weft_networkdb::{ClaimId, FactKind, Origin, Outcome};
use weft_overlay::{Addresses, PEER_TABLE};

use super::Nodes;
use super::host::Endpoint;
use super::invariant::Invariant;
use super::ledger::Why;
use super::mutation::Mutation;

/// What goes on when an answer comes. It is lost with the process.
#[derive(Debug)]
pub(super) enum Job {
    /// A create waits for its VNI.
    Vni { name: String, pool: Option<IpNetwork> },
    /// A create waits for its pool.
    Pool { name: String, vni: Vni },
    /// A create waits for its claim.
    Define { blocks: Vec<Block>, definition: Box<Definition> },
    /// A delete waits for its claim.
    Delete,
    /// Hosts are to be forgotten.
    Forget { victims: Vec<NodeId> },
    /// An attach waits for its address.
    Address { network: NetworkId, pool: IpNetwork, endpoint: EndpointId },
}

impl Nodes {
    pub(super) fn granted(
        &mut self,
        host: usize,
        ticket: Ticket,
        result: Result<Granted, weft_ipam::Error>,
    ) {
        let Some(job) = self.process_mut(host).tickets.remove(&ticket) else {
            let what = format!("host {host} answers {ticket:?}, which nobody asked");
            self.break_off(Invariant::NoFault, what);
        };
        let pool = if let Job::Address { pool, .. } = &job { Some(*pool) } else { None };
        let result = result.map(|granted| self.planted.grant(pool, granted));
        if let Err(error) = &result {
            self.note_on(host, format!("{job:?}: {error}"));
        }
        let now = self.local(host);
        match (job, result) {
            (Job::Vni { name, pool: Some(pool) }, Ok(Granted::Block(block @ Block::Vni(vni)))) => {
                self.define(host, name, vni, (pool, Some(pool)), vec![block]);
            }
            (Job::Vni { name, pool: None }, Ok(Granted::Block(Block::Vni(vni)))) => {
                let process = self.process_mut(host);
                let avoid = weft_agent::host_routes::of_all(&process.node);
                let ticket = process.ticket(Job::Pool { name, vni });
                let want = BlockWant::Default4;
                process.node.with_ipam(now, |ipam| ipam.take_block(ticket, want, &avoid, now));
            }
            (Job::Pool { name, vni }, Ok(Granted::Block(block @ Block::Pool(pool)))) => {
                self.define(host, name, vni, (pool, None), vec![Block::Vni(vni), block]);
            }
            (Job::Pool { vni, .. }, Err(_)) => {
                self.return_blocks(host, vec![Block::Vni(vni)], Fate::Unused);
            }
            (Job::Address { network, pool, endpoint }, Ok(Granted::Address(address))) => {
                self.create_endpoint(host, network, pool, endpoint, address);
            }
            (Job::Address { network, .. }, Err(_)) => self.stop_using(host, network),
            (Job::Vni { .. }, Err(_)) => {}
            (job, Ok(granted)) => {
                self.break_off(Invariant::NoFault, format!("{job:?} is granted {granted:?}"));
            }
            (job @ (Job::Define { .. } | Job::Delete | Job::Forget { .. }), Err(_)) => {
                self.break_off(Invariant::NoFault, format!("{job:?} has a ticket"));
            }
        }
    }

    pub(super) fn claim_ended(
        &mut self,
        host: usize,
        claim: ClaimId,
        outcome: Outcome,
        asked: bool,
    ) {
        let Some(job) = self.process_mut(host).claims.remove(&claim) else {
            // Made by an earlier life; nobody waits for it any more.
            return self.note_on(host, format!("claim {claim} of an earlier life ended"));
        };
        let fate = Fate::of_refused(asked);
        match (job, outcome) {
            (Job::Define { .. }, Outcome::Defined(definition)) => {
                self.ledger.tally.networks += 1;
                let (name, id) = (definition.name.clone(), definition.id.short());
                // What one does that is forgotten, and has not heard of it, counts for nobody.
                if !self.ledger.forgotten.contains(&self.node(host).id()) {
                    self.ledger.acknowledged.insert(definition.id, definition);
                }
                self.note_on(host, format!("{name} is {id}"));
            }
            (Job::Define { blocks, .. }, Outcome::Joined(_)) => {
                self.return_blocks(host, blocks, fate);
            }
            (Job::Define { blocks, definition }, Outcome::Refused(error)) => {
                self.note_on(host, format!("create refused: {error}"));
                if self.planted.is(Mutation::AcknowledgesRefused) {
                    self.ledger.acknowledged.insert(definition.id, *definition);
                }
                self.return_blocks(host, blocks, fate);
            }
            (Job::Delete, Outcome::Deleted(network)) => {
                if !self.ledger.forgotten.contains(&self.node(host).id()) {
                    self.ledger.acknowledged_gone.insert(network);
                }
            }
            (Job::Delete, Outcome::Refused(error)) => {
                self.note_on(host, format!("delete refused: {error}"));
            }
            (Job::Forget { victims }, Outcome::Forgotten(nodes)) => {
                self.note_on(host, format!("is the heir of {victims:?}"));
                self.ledger.tally.forgotten += nodes.len() as u64;
            }
            (Job::Forget { .. }, Outcome::Refused(error)) => {
                self.note_on(host, format!("forget refused: {error}"));
            }
            (job, outcome) => {
                self.break_off(Invariant::NoFault, format!("{job:?} ended as {outcome:?}"));
            }
        }
    }

    /// Claims a network of one subnet. The pool comes with what the user named, if anything.
    pub(super) fn define(
        &mut self,
        host: usize,
        name: String,
        vni: Vni,
        (pool, asked): (IpNetwork, Option<IpNetwork>),
        blocks: Vec<Block>,
    ) {
        let mut id = [0; 16];
        rand::Rng::fill_bytes(&mut self.rng, &mut id);
        let pool = asked.unwrap_or(pool);
        let subnet = Subnet {
            pool,
            gateway: Some(first_host(pool)),
            range: None,
            auxiliary: BTreeMap::new(),
            vni,
        };
        let definition = Definition {
            id: NetworkId::from_bytes(id),
            name,
            driver: "overlay".to_owned(),
            ipam: "weft".to_owned(),
            subnets: vec![subnet],
            options: BTreeMap::new(),
            mtu: None,
            internal: false,
            stamp: Stamp::default(),
        };
        let origin = if asked.is_some() { Origin::Asked } else { Origin::Default };
        let now = self.local(host);
        let process = self.process_mut(host);
        let kept = Box::new(definition.clone());
        let claim = process.node.with_db(now, |db| db.define(definition, vec![origin], now));
        process.claims.insert(claim, Job::Define { blocks, definition: kept });
    }

    fn return_blocks(&mut self, host: usize, blocks: Vec<Block>, fate: Fate) {
        let now = self.local(host);
        for block in blocks {
            let process = self.process_mut(host);
            process.node.with_ipam(now, |ipam| ipam.return_block(block, fate, now));
        }
    }

    pub(super) fn request_address(
        &mut self,
        host: usize,
        network: NetworkId,
        endpoint: EndpointId,
    ) {
        let db = self.node(host).db();
        let Some(definition) = db.definition(network).cloned() else { return };
        if db.is_frozen(network) {
            return self.note_on(host, format!("{} is frozen", network.short()));
        }
        if !self.use_network(host, &definition) {
            return;
        }
        let pool = definition.subnets[0].pool;
        let now = self.local(host);
        let process = self.process_mut(host);
        let ticket = process.ticket(Job::Address { network, pool, endpoint });
        let request = Request {
            space: Space::Subnet { network, pool },
            want: Want::First,
            within: None,
            purpose: Purpose::Endpoint(endpoint),
        };
        process.node.with_ipam(now, |ipam| ipam.request(ticket, request, now));
    }

    fn create_endpoint(
        &mut self,
        host: usize,
        network: NetworkId,
        pool: IpNetwork,
        id: EndpointId,
        address: IpNetwork,
    ) {
        let process = self.process(host);
        let stamp = Stamp { lamport: process.node.db().lamport(), node: process.node.id() };
        let endpoint = Endpoint { id, network, pool, address, stamp };
        let created = self.admit(host, &endpoint).map_err(|error| error.to_string());
        match created.and_then(|()| self.join_sandbox(host, &endpoint)) {
            Ok(()) => {
                let process = self.process_mut(host);
                process.writes.push(endpoint.to_write());
                process.endpoints.insert(id, endpoint);
                return;
            }
            Err(why) => self.note_on(host, format!("no endpoint {}: {why}", id.short())),
        }
        // Unknown where the planner refused it.
        drop(self.process_mut(host).planner.delete_endpoint(network, id));
        self.release(host, &endpoint);
        self.stop_using(host, network);
    }

    /// Makes an endpoint known to the planner.
    pub(super) fn admit(
        &mut self,
        host: usize,
        endpoint: &Endpoint,
    ) -> Result<(), weft_overlay::PlanError> {
        let IpAddr::V4(v4) = endpoint.address.ip() else { unreachable!("pools are IPv4") };
        let addresses = Addresses {
            v4: Some(endpoint.address),
            v6: None,
            mac: Mac::from_ipv4(v4),
            stamp: endpoint.stamp,
            replaces: None,
        };
        let planner = &mut self.process_mut(host).planner;
        planner.create_endpoint(endpoint.network, endpoint.id, addresses)
    }

    fn release(&mut self, host: usize, endpoint: &Endpoint) {
        let now = self.local(host);
        let Endpoint { id, network, pool, address, .. } = *endpoint;
        let space = Space::Subnet { network, pool };
        let purpose = Purpose::Endpoint(id);
        let process = self.process_mut(host);
        process.node.with_ipam(now, |ipam| ipam.release(space, address.ip(), &purpose, now));
    }

    pub(super) fn end_endpoint(&mut self, host: usize, id: EndpointId) {
        let Some(endpoint) = self.process_mut(host).endpoints.remove(&id) else { return };
        let (network, now) = (endpoint.network, self.local(host));
        let key = id.to_string();
        let process = self.process_mut(host);
        // Absent when it went with its network.
        drop(process.node.with_db(now, |db| db.delete_entry(network, PEER_TABLE, &key, now)));
        self.leave_sandbox(host, &endpoint);
        self.release(host, &endpoint);
        self.process_mut(host).writes.push(Endpoint::removal(id));
        self.stop_using(host, network);
    }

    /// The endpoints of whoever is forgotten run no more, and if they do others may have their
    /// addresses.
    pub(super) fn forgotten(&mut self, node: NodeId) {
        let victims = self.hosts.iter().filter(|host| host.id() == Some(node));
        let endpoints: Vec<Endpoint> = victims.flat_map(|host| host.inventory()).collect();
        self.ledger.forget(endpoints.into_iter());
        if self.ledger.allowance.parted {
            // What it made alone in its part of a split nobody else ever heard of.
            let known: BTreeSet<NetworkId> =
                self.members().flat_map(|host| self.networks_on_disk(host)).collect();
            let theirs = |made: &Definition| made.stamp.node == node && !known.contains(&made.id);
            self.ledger.acknowledged.retain(|_, made| !theirs(made));
        }
    }

    /// Networks that a host's disk knows: in force, deleted, or claimed.
    fn networks_on_disk(&self, host: usize) -> Vec<NetworkId> {
        let disk = &self.hosts[host].disk;
        let facts = disk.of(weft_api::Space::Facts).filter_map(|(key, _)| {
            let of = [FactKind::DEFINITION.0, FactKind::DELETED.0].contains(key.first()?);
            key[1..].try_into().ok().filter(|_| of).map(NetworkId::from_bytes)
        });
        let acknowledged = self.ledger.acknowledged.keys().copied();
        facts.chain(acknowledged.filter(|id| self.holds_claim_on(host, *id))).collect()
    }

    /// Takes up what an earlier life left, and gives back what nothing uses any more.
    pub(super) fn restore(&mut self, host: usize) {
        let endpoints: Vec<Endpoint> = self.hosts[host].inventory().collect();
        for endpoint in endpoints {
            let definition = self.node(host).db().definition(endpoint.network).cloned();
            if let Some(definition) = definition
                && self.use_network(host, &definition)
                && self.admit(host, &endpoint).is_ok()
                && self.join_sandbox(host, &endpoint).is_ok()
            {
                self.process_mut(host).endpoints.insert(endpoint.id, endpoint);
            } else {
                self.note_on(host, format!("{} is not restored", endpoint.id.short()));
                self.process_mut(host).writes.push(Endpoint::removal(endpoint.id));
            }
        }
        self.release_orphans(host);
    }

    fn release_orphans(&mut self, host: usize) {
        let now = self.local(host);
        let process = self.process_mut(host);
        for block in process.node.ipam().pending_blocks() {
            process.node.with_ipam(now, |ipam| ipam.return_block(block, Fate::Unused, now));
        }
        for (space, address, purpose) in process.node.ipam().endpoint_allocations() {
            if let Purpose::Endpoint(endpoint) = &purpose
                && !process.endpoints.contains_key(endpoint)
            {
                process.node.with_ipam(now, |ipam| ipam.release(space, address, &purpose, now));
            }
        }
    }

    /// Tables are in step: own entries and attachments that no endpoint needs go. Before, they
    /// might be written over what a rolled-back disk lacks.
    pub(super) fn release_strays(&mut self, host: usize) {
        let now = self.local(host);
        let process = self.process_mut(host);
        let own = process.node.id();
        for network in process.node.db().own_attachments() {
            let entries = process.node.db().walk_counting(network, PEER_TABLE);
            for entry in entries.into_iter().filter(|entry| entry.owner == own) {
                let known = |id: EndpointId| process.endpoints.contains_key(&id);
                if !entry.key.parse().is_ok_and(known) {
                    drop(process.node.with_db(now, |db| {
                        db.delete_entry(network, &entry.table, &entry.key, now)
                    }));
                }
            }
            if !process.uses(network) && !process.node.db().has_own_entries(network) {
                drop(process.node.with_db(now, |db| db.detach(network, now)));
            }
        }
    }

    /// The node is a member no more: its endpoints and its disk end with its membership.
    pub(super) fn end_membership(&mut self, host: usize) {
        if self.hosts[host].process.is_some() {
            let endpoints: Vec<Endpoint> = self.process(host).endpoints.values().cloned().collect();
            for endpoint in &endpoints {
                self.leave_sandbox(host, endpoint);
            }
            self.program(host);
            // The agent runs on: its next look at the kernel removes what an earlier start left.
            self.reconcile(host);
        }
        let removals: Vec<_> = self.hosts[host].disk.records();
        for (space, key, _) in removals {
            self.write(host, weft_api::Write { space, key, value: None }, Why::Undone);
        }
        self.hosts[host].identity = None;
        let is_stale = std::mem::take(&mut self.hosts[host].is_stale);
        self.drop_process(host);
        if is_stale {
            self.sweep(host);
        }
    }
}

/// The first host address of a pool.
fn first_host(pool: IpNetwork) -> IpAddr {
    match pool.network() {
        IpAddr::V4(first) => IpAddr::V4((u32::from(first) + 1).into()),
        IpAddr::V6(first) => IpAddr::V6((u128::from(first) + 1).into()),
    }
}
