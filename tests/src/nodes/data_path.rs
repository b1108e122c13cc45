//! Between the node, the planner and the fake kernel, as the agent's dispatch and executor are.

use std::path::PathBuf;

use ipnetwork::IpNetwork;
use weft_api::{Definition, NetworkId, Vni};
use weft_networkdb::{Cause, Change, TableEvent};
use weft_overlay::op::KernelOp;
use weft_overlay::{DefaultRoute, Event as PeerEvent, PEER_TABLE, Sandbox, names};

use super::Nodes;
use super::host::Endpoint;
use super::invariant::Invariant;
use super::mutation::Mutation;

impl Nodes {
    /// Returns to how many peers a host's kernel sends frames of a network.
    pub fn peers_programmed(&self, host: usize, network: NetworkId) -> usize {
        let observed = self.hosts[host].kernel.observe();
        let there = observed.namespaces.get(&names::namespace(network));
        there.into_iter().flat_map(|there| there.vxlans.values()).map(|v| v.fdb.len()).sum()
    }

    /// Removes a network's FDB entries behind the agent's back.
    pub fn damage_kernel(&mut self, host: usize, network: NetworkId) {
        let namespace = names::namespace(network);
        let kernel = &mut self.hosts[host].kernel;
        let observed = kernel.observe();
        let there = observed.namespaces.get(&namespace);
        for (device, vxlan) in there.into_iter().flat_map(|there| &there.vxlans) {
            for entry in vxlan.fdb.clone() {
                let (namespace, device) = (namespace.clone(), device.clone());
                let gone = kernel.apply(&KernelOp::RemoveFdb { namespace, device, entry });
                gone.expect("what is absent is removed, too");
            }
        }
    }

    /// Takes part in a network, and tells the planner what there is; false when refused.
    pub(super) fn use_network(&mut self, host: usize, definition: &Definition) -> bool {
        let (network, now) = (definition.id, self.local(host));
        if self.process(host).created.contains(&network) {
            return true;
        }
        let process = self.process_mut(host);
        if let Err(error) = process.node.with_db(now, |db| db.attach(network, now)) {
            self.note_on(host, format!("not attached: {error}"));
            return false;
        }
        if let Err(error) = process.planner.create_network(definition) {
            let what = format!("host {host}: the planner refuses {}: {error}", network.short());
            self.break_off(Invariant::NoFault, what);
        }
        process.created.insert(network);
        for entry in process.node.db().walk_counting(network, PEER_TABLE) {
            let (event, table) = (PeerEvent::Create, PEER_TABLE);
            // The planner counts what it refuses.
            drop(process.planner.event_notify(event, network, table, &entry.key, &entry.value));
        }
        true
    }

    /// Ends this node's part in a network that nothing here uses.
    pub(super) fn stop_using(&mut self, host: usize, network: NetworkId) {
        let now = self.local(host);
        let process = self.process_mut(host);
        if process.uses(network) {
            return;
        }
        if process.created.remove(&network)
            && let Err(error) = process.planner.delete_network(network)
        {
            let what = format!("host {host}: the planner keeps {}: {error}", network.short());
            self.break_off(Invariant::NoFault, what);
        }
        let process = self.process_mut(host);
        if !process.node.db().has_own_entries(network) {
            // Refused where it does not take part.
            drop(process.node.with_db(now, |db| db.detach(network, now)));
        }
    }

    /// Joins an endpoint to its sandbox, and publishes its record.
    pub(super) fn join_sandbox(&mut self, host: usize, endpoint: &Endpoint) -> Result<(), String> {
        let (network, now) = (endpoint.network, self.local(host));
        let forgets = self.planted.is(Mutation::ForgetsEntry);
        let process = self.process_mut(host);
        let sandbox = Sandbox {
            path: PathBuf::from(format!("/netns/{}", endpoint.id)),
            ifname: "eth0".to_owned(),
            default_route: DefaultRoute::Gateway,
            routes: Vec::new(),
        };
        let joined = process.planner.join(network, endpoint.id, sandbox);
        let record = joined.map_err(|error| error.to_string())?;
        if forgets {
            return Ok(());
        }
        let (key, own) = (endpoint.id.to_string(), process.node.id());
        let standing = process.node.db().entry(network, PEER_TABLE, &key);
        let published = match standing.filter(|entry| entry.owner == own) {
            Some(entry) if *entry.value == *record => Ok(()),
            Some(_) => process
                .node
                .with_db(now, |db| db.update_entry(network, PEER_TABLE, &key, record, now)),
            None => process
                .node
                .with_db(now, |db| db.create_entry(network, PEER_TABLE, &key, record, now)),
        };
        published.map_err(|error| {
            let left = process.planner.leave(network, endpoint.id);
            left.expect("it was joined above");
            error.to_string()
        })
    }

    /// Takes an endpoint out of its sandbox and out of the planner.
    pub(super) fn leave_sandbox(&mut self, host: usize, endpoint: &Endpoint) {
        let planner = &mut self.process_mut(host).planner;
        let left = planner.leave(endpoint.network, endpoint.id);
        left.expect("what is in the inventory is joined");
        let deleted = planner.delete_endpoint(endpoint.network, endpoint.id);
        deleted.expect("it left above");
    }

    /// A failed owner's data path stays: what is hidden or returns changes nothing.
    pub(super) fn table_event(&mut self, host: usize, event: &TableEvent) {
        match event.cause {
            Cause::Hidden | Cause::Returned => return,
            Cause::Written | Cause::Left | Cause::Superseded | Cause::Detached => {}
        }
        self.watch_the_dead(host, event);
        let kind = match event.change {
            Change::Create => PeerEvent::Create,
            Change::Update => PeerEvent::Update,
            Change::Delete => PeerEvent::Delete,
        };
        let process = self.process_mut(host);
        if process.created.contains(&event.network) {
            let planner = &mut process.planner;
            // The planner counts what it refuses.
            drop(planner.event_notify(kind, event.network, &event.table, &event.key, &event.value));
        }
        if self.planted.is(Mutation::ReplaysRecord) && event.change == Change::Delete {
            let again = TableEvent { change: Change::Create, ..event.clone() };
            self.table_event(host, &again);
        }
    }

    /// What an owner deleted stays deleted.
    fn watch_the_dead(&mut self, host: usize, event: &TableEvent) {
        let id = (event.network, event.key.to_string());
        match (event.change, event.cause) {
            (Change::Delete, Cause::Written) => {
                self.process_mut(host).buried.insert(id);
            }
            (Change::Create | Change::Update, _) if self.process(host).buried.contains(&id) => {
                let what = format!("entry {} is back on host {host} after its delete", event.key);
                self.break_off(Invariant::NothingResurrects, what);
            }
            (Change::Create | Change::Update | Change::Delete, _) => {}
        }
    }

    /// Carries out what the planner wants.
    pub(super) fn program(&mut self, host: usize) {
        let now = self.elapsed();
        loop {
            let there = &mut self.hosts[host];
            let Some(process) = there.process.as_mut() else { return };
            let Some(op) = process.planner.poll_output() else { return };
            self.trace.add(host, now, format!("{op:?}").as_bytes());
            if let Some(op) = self.mutate_op(host, op) {
                self.apply(host, &op);
            }
        }
    }

    fn apply(&mut self, host: usize, op: &KernelOp) {
        if let Err(error) = self.hosts[host].kernel.apply(op) {
            let what = format!("kernel of host {host} refuses {op:?}: {error}");
            self.break_off(Invariant::NoFault, what);
        }
        if let KernelOp::EnsureVxlan { namespace, vxlan } = op {
            self.tunnel_is_its_networks(host, namespace, vxlan.vni);
        }
    }

    /// All tunnels of one VNI are in namespaces of one network: what one sends another takes in.
    fn tunnel_is_its_networks(&mut self, host: usize, namespace: &str, vni: Vni) {
        self.hosts[host].tunnels.insert(vni, namespace.to_owned());
        let other = self.hosts.iter().find_map(|there| {
            let of = there.tunnels.get(&vni).filter(|of| *of != namespace)?;
            Some((there.index, of.clone()))
        });
        if let Some((there, of)) = other {
            let what = format!(
                "VNI {vni} is {namespace}'s on host {host} and {of}'s on host {there}: frames cross"
            );
            self.break_off(Invariant::NetworksApart, what);
        }
    }

    /// Compares the kernel with the plan, and repairs it.
    pub(super) fn reconcile(&mut self, host: usize) {
        let there = &mut self.hosts[host];
        let Some(process) = there.process.as_mut() else { return };
        let repair = process.planner.reconcile(&there.kernel.observe(), process.knowledge);
        for op in repair.ops {
            if let Some(op) = self.mutate_op(host, op) {
                self.apply(host, &op);
            }
        }
    }

    /// What a membership that ended left in the kernel goes, as at the next start of an agent.
    pub(super) fn sweep(&mut self, host: usize) {
        let kernel = &mut self.hosts[host].kernel;
        for name in kernel.observe().namespaces.into_keys() {
            let gone = kernel.apply(&KernelOp::RemoveNamespace { name });
            gone.expect("what is absent is removed, too");
        }
    }

    /// Tells the cluster a route of this host, which default pools must not overlap.
    pub(super) fn publish_routes(&mut self, host: usize) {
        let now = self.local(host);
        let third = u8::try_from(host % 250).unwrap_or_default();
        let route = IpNetwork::new(std::net::Ipv4Addr::new(10, 128, third % 16, 0).into(), 28);
        let routes = vec![route.expect("a prefix of IPv4")];
        let node = &mut self.process_mut(host).node;
        if let Err(error) = weft_agent::host_routes::publish(node, &routes, now) {
            let what = format!("host {host} cannot tell its routes: {error}");
            self.break_off(Invariant::NoFault, what);
        }
    }
}
