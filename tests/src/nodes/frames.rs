//! Follows frames through the kernels, from endpoint to endpoint.

use std::collections::BTreeMap;

use weft_overlay::names;
use weft_overlay::observed::Observed;

use super::Nodes;
use super::host::Endpoint;
use super::invariant::{Check, Invariant, Violation, ensure};
use super::model::mac;

/// Frames followed in a sample.
const SAMPLE: usize = 4;

/// Kernels as they were read: each once.
struct Kernels<'a> {
    nodes: &'a Nodes,
    read: BTreeMap<usize, Observed>,
}

impl<'a> Kernels<'a> {
    fn of(&mut self, host: usize) -> &Observed {
        let kernel = &self.nodes.hosts[host].kernel;
        self.read.entry(host).or_insert_with(|| kernel.observe())
    }

    /// Where a frame of one endpoint for the MAC of another comes out: the host and the namespace,
    /// and whether the other one's port is there.
    fn follow(&mut self, from: (usize, &Endpoint), to: &Endpoint) -> Option<(usize, String, bool)> {
        let (host, sender) = from;
        let here = self.of(host).namespaces.get(&names::namespace(sender.network))?;
        let port = names::port(to.id);
        if here.ports.contains_key(&port) {
            return Some((host, names::namespace(sender.network), true));
        }
        let mac = mac(to);
        let (vni, vtep) = here.vxlans.values().find_map(|vxlan| {
            let entry = vxlan.fdb.iter().find(|entry| entry.mac == mac)?;
            Some((vxlan.shape.vni, entry.vtep))
        })?;
        let there = self.nodes.hosts.iter().find(|other| other.vtep() == vtep)?.index;
        let (namespace, found) =
            self.of(there).namespaces.iter().find(|(_, namespace)| {
                namespace.vxlans.values().any(|vxlan| vxlan.shape.vni == vni)
            })?;
        Some((there, namespace.clone(), found.ports.contains_key(&port)))
    }
}

impl Nodes {
    fn all_endpoints(&self) -> Vec<(usize, &Endpoint)> {
        let running =
            self.hosts.iter().filter_map(|host| Some((host.index, host.process.as_ref()?)));
        running
            .flat_map(|(host, process)| process.endpoints.values().map(move |e| (host, e)))
            .collect()
    }

    /// Sends some frames between endpoints chosen by chance; none may arrive in another network.
    pub(super) fn sample_frames(&mut self) {
        let chosen: Vec<(usize, usize)> = {
            let count = self.all_endpoints().len();
            if count < 2 {
                return;
            }
            let mut any = || rand::RngExt::random_range(&mut self.rng, 0..count);
            (0..SAMPLE).map(|_| (any(), any())).collect()
        };
        let all = self.all_endpoints();
        let mut kernels = Kernels { nodes: self, read: BTreeMap::new() };
        let mut arrived = 0;
        let mut verdict = Ok(());
        for (from, to) in chosen {
            let (from, to) = (all[from], all[to].1);
            let Some((host, namespace, _)) = kernels.follow(from, to) else { continue };
            arrived += 1;
            if namespace != names::namespace(from.1.network) {
                verdict = Err(crossed(from, host, &namespace));
            }
        }
        self.ledger.tally.frames += SAMPLE as u64;
        self.ledger.tally.frames_arrived += arrived;
        self.hold(verdict);
    }

    /// Once quiet each endpoint reaches each other one of its network.
    pub(super) fn frames_arrive(&self) -> Check {
        let all = self.all_endpoints();
        let mut kernels = Kernels { nodes: self, read: BTreeMap::new() };
        for from in &all {
            let others = all.iter().filter(|to| to.1.network == from.1.network);
            for to in others.filter(|to| to.1.id != from.1.id) {
                let end = kernels.follow(*from, to.1);
                let Some((host, namespace, there)) = end else {
                    return Err(lost(*from, *to));
                };
                ensure(
                    namespace == names::namespace(from.1.network),
                    Invariant::NetworksApart,
                    || crossed(*from, host, &namespace).what,
                )?;
                if host != to.0 || !there {
                    return Err(lost(*from, *to));
                }
            }
        }
        Ok(())
    }
}

fn crossed(from: (usize, &Endpoint), host: usize, namespace: &str) -> Violation {
    let what = format!(
        "a frame of {} on host {} arrives in {namespace} on host {host}",
        from.1.network.short(),
        from.0
    );
    Violation::new(Invariant::NetworksApart, what)
}

fn lost(from: (usize, &Endpoint), to: (usize, &Endpoint)) -> Violation {
    let what = format!("host {} does not reach {} on host {}", from.0, to.1.address, to.0);
    Violation::new(Invariant::KernelAsPlanned, what)
}
