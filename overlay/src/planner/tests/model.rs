//! The planner against a reference that looks at everything from scratch.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::observed::{ObservedNamespace, ObservedPort, ObservedVxlan};
use crate::op::{Bridge, Vxlan};
use crate::publish::{Protocol, PublishedPort};

#[derive(Debug, Clone)]
enum Action {
    Create { network: u8, endpoint: u8, addresses: Addresses },
    DeleteEndpoint { network: u8, endpoint: u8 },
    Join { network: u8, endpoint: u8 },
    HandOver { network: u8, endpoint: u8 },
    Take { endpoint: u8 },
    Publish { network: u8, endpoint: u8, count: u16 },
    Leave { network: u8, endpoint: u8 },
    Hear { network: u8, endpoint: u8, record: PeerRecord },
    Forget { network: u8, endpoint: u8 },
}

/// The valid addresses, with the VNI of their segment, and some that are not.
const V4: [(&str, u32); 8] = [
    ("10.1.0.11/24", 1001),
    ("10.1.0.12/24", 1001),
    ("10.1.0.13/24", 1001),
    ("10.2.0.11/24", 1002),
    ("10.2.0.12/24", 1002),
    ("10.9.0.11/24", 2001),
    ("10.9.0.12/24", 2001),
    ("10.1.0.1/24", 0),
];
const V6: [(&str, u32); 2] = [("fd01::11/64", 1001), ("fd01::12/64", 1001)];
const VTEPS: [&str; 4] = [OWN_VTEP, "192.0.2.2", "192.0.2.3", "2001:db8::1"];

fn any_addresses() -> impl Strategy<Value = Addresses> {
    let v4 = prop::option::weighted(0.9, prop::sample::select(V4.map(|a| a.0).to_vec()));
    let v6 = prop::option::weighted(0.3, prop::sample::select(V6.map(|a| a.0).to_vec()));
    let of = |lamport| stamp(u64::from(lamport));
    (v4, v6, 1u8..5, 1u8..6, prop::option::weighted(0.2, 1u8..6)).prop_map(
        move |(v4, v6, m, lamport, replaces)| Addresses {
            stamp: of(lamport),
            replaces: replaces.map(of),
            ..addresses(v4, v6, mac(m))
        },
    )
}

fn any_record() -> impl Strategy<Value = PeerRecord> {
    (any_addresses(), prop::sample::select(VTEPS.to_vec())).prop_map(|(a, vtep)| {
        let Addresses { v4, v6, mac, stamp, replaces } = a;
        PeerRecord { v4, v6, mac, vtep: ip(vtep), stamp, replaces }
    })
}

fn any_action() -> impl Strategy<Value = Action> {
    let who = || (1u8..=2, 1u8..6);
    prop_oneof![
        3 => (who(), any_addresses()).prop_map(|((network, endpoint), addresses)| {
            Action::Create { network, endpoint, addresses }
        }),
        1 => who().prop_map(|(network, endpoint)| Action::DeleteEndpoint { network, endpoint }),
        3 => who().prop_map(|(network, endpoint)| Action::Join { network, endpoint }),
        3 => who().prop_map(|(network, endpoint)| Action::HandOver { network, endpoint }),
        2 => who().prop_map(|(_, endpoint)| Action::Take { endpoint }),
        2 => (who(), 0u16..3).prop_map(|((network, endpoint), count)| {
            Action::Publish { network, endpoint, count }
        }),
        2 => who().prop_map(|(network, endpoint)| Action::Leave { network, endpoint }),
        6 => (who(), any_record()).prop_map(|((network, endpoint), record)| {
            Action::Hear { network, endpoint, record }
        }),
        2 => who().prop_map(|(network, endpoint)| Action::Forget { network, endpoint }),
    ]
}

/// Where an endpoint's far end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Far {
    Nowhere,
    Sandbox,
    Host,
    Container,
}

/// What the planner was told and accepted.
#[derive(Default)]
struct Model {
    endpoints: BTreeMap<(u8, u8), (Addresses, Far)>,
    records: BTreeMap<(u8, u8), PeerRecord>,
    /// Ports of endpoints of the open network; the closed one has no way out.
    published: BTreeMap<u8, BTreeSet<PublishedPort>>,
}

/// One claim, as the reference sees it.
struct Claim {
    vni: u32,
    endpoint: u8,
    here: bool,
    record: PeerRecord,
}

impl Claim {
    fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.record.v4.iter().chain(&self.record.v6).map(|a| a.ip())
    }
}

impl Model {
    /// Has an action planned and carried out.
    fn act(&mut self, planner: &mut Planner, kernel: &mut FakeKernel, action: &Action) {
        self.plan(planner, action);
        carry_out(planner, kernel);
        if let Action::Take { endpoint } = action {
            let mut far = self.endpoints.iter_mut().filter(|((_, e), _)| e == endpoint);
            let waits = far.find(|(_, (_, far))| *far == Far::Host);
            let was_there = kernel.take(&names::handed(eid(*endpoint)), "/engine".as_ref());
            assert_eq!(was_there, waits.is_some());
            waits.into_iter().for_each(|(_, (_, far))| *far = Far::Container);
        }
    }

    /// Takes out what vanished with a port that somebody removed.
    fn vanish(&mut self, planner: &mut Planner, kernel: &mut FakeKernel) {
        for (network, endpoint) in planner.vanished(&kernel.observe()) {
            planner.leave(network, endpoint).unwrap();
            let mut endpoints = self.endpoints.iter_mut();
            let left = endpoints.find(|((n, e), _)| (nid(*n), eid(*e)) == (network, endpoint));
            let (_, (_, far)) = left.unwrap();
            assert!(matches!(far, Far::Host | Far::Container), "only what was handed over");
            *far = Far::Nowhere;
            let endpoint = endpoint.as_bytes()[0];
            if network == nid(1) {
                self.published.remove(&endpoint);
            }
        }
        // What else was damaged may refuse; the reconciliation that follows repairs it.
        let _ = kernel.apply_all(&drain(planner));
    }

    fn join(&mut self, network: u8, endpoint: u8, far: Far) {
        self.endpoints.get_mut(&(network, endpoint)).unwrap().1 = far;
    }

    fn publish(&mut self, planner: &mut Planner, network: u8, endpoint: u8, count: u16) {
        let own = planner.publishable(nid(network), eid(endpoint));
        let mut ports = BTreeSet::new();
        for to in own.iter().flatten() {
            let host = if to.is_ipv4() { ip("0.0.0.0") } else { ip("::") };
            ports.extend((0..count).map(|n| PublishedPort {
                protocol: Protocol::Tcp,
                host,
                host_port: 8000 + u16::from(endpoint) * 10 + n,
                to: *to,
                port: 80,
            }));
        }
        let asked: Vec<_> = ports.iter().copied().collect();
        let accepted = planner.publish(nid(network), eid(endpoint), &asked).is_ok();
        if own.is_ok() {
            assert!(accepted && network == 1, "the closed network has no way out");
            self.published.insert(endpoint, ports);
        }
    }

    fn plan(&mut self, planner: &mut Planner, action: &Action) {
        match action {
            Action::Create { network, endpoint, addresses } => {
                if planner.create_endpoint(nid(*network), eid(*endpoint), addresses.clone()).is_ok()
                {
                    self.endpoints.insert((*network, *endpoint), (addresses.clone(), Far::Nowhere));
                }
            }
            Action::DeleteEndpoint { network, endpoint } => {
                if planner.delete_endpoint(nid(*network), eid(*endpoint)).is_ok() {
                    self.endpoints.remove(&(*network, *endpoint));
                }
            }
            Action::Join { network, endpoint } => {
                let to = sandbox(network * 16 + endpoint);
                if planner.join(nid(*network), eid(*endpoint), to).is_ok() {
                    self.join(*network, *endpoint, Far::Sandbox);
                }
            }
            Action::HandOver { network, endpoint } => {
                if planner.join(nid(*network), eid(*endpoint), HandOver::First).is_ok() {
                    self.join(*network, *endpoint, Far::Host);
                }
            }
            Action::Take { .. } => {}
            Action::Publish { network, endpoint, count } => {
                self.publish(planner, *network, *endpoint, *count);
            }
            Action::Leave { network, endpoint } => {
                if planner.leave(nid(*network), eid(*endpoint)).is_ok() {
                    self.join(*network, *endpoint, Far::Nowhere);
                    if *network == 1 {
                        self.published.remove(endpoint);
                    }
                }
            }
            Action::Hear { network, endpoint, record } => {
                let accepted = hear(planner, *network, *endpoint, record).is_ok();
                if record.vtep == ip(OWN_VTEP) {
                    if accepted {
                        self.records.remove(&(*network, *endpoint));
                    }
                    return;
                }
                let valid = record.vtep.is_ipv4() && vni_of(*network, record).is_some();
                assert_eq!(accepted, valid, "{record:?}");
                if valid {
                    self.records.insert((*network, *endpoint), record.clone());
                }
            }
            Action::Forget { network, endpoint } => {
                delete(planner, *network, *endpoint);
                self.records.remove(&(*network, *endpoint));
            }
        }
    }

    /// Endpoints that remember a MAC of another one remember the one it has now. Then all of them
    /// speak to all of their segment.
    fn check_memories(&self, kernel: &mut FakeKernel) {
        for network in [1, 2] {
            let namespace = names::namespace(nid(network));
            let claims = self.claims(network);
            let claims: Vec<&Claim> = claims.iter().collect();
            for own in claims.iter().filter(|c| c.here) {
                let port = names::port(eid(own.endpoint));
                let others = claims.iter().filter(|c| c.vni == own.vni);
                for ip in others.flat_map(|c| c.ips()).filter(|ip| !own.ips().any(|o| o == *ip)) {
                    let mac = winner(claims.iter().filter(|c| c.ips().any(|i| i == ip))).record.mac;
                    let remembered = kernel.remembers(&namespace, &port, ip);
                    assert!(remembered.is_none_or(|m| m == mac), "{ip} in {network} of {port}");
                    kernel.remember(&namespace, &port, &Neighbour { ip, mac });
                }
            }
        }
    }

    fn claims(&self, network: u8) -> Vec<Claim> {
        let joined = |(_, far): &(Addresses, Far)| *far != Far::Nowhere;
        let own = self.endpoints.iter().filter(|((n, _), e)| *n == network && joined(e));
        let own = own.map(|((_, endpoint), (a, _))| {
            let Addresses { v4, v6, mac, stamp, replaces } = a.clone();
            let record = PeerRecord { v4, v6, mac, vtep: ip(OWN_VTEP), stamp, replaces };
            let vni = vni_of(network, &record).unwrap();
            Claim { vni, endpoint: *endpoint, here: true, record }
        });
        let shadowed = |e: &u8| self.endpoints.get(&(network, *e)).is_some_and(joined);
        let peers = self.records.iter().filter(|((n, e), _)| *n == network && !shadowed(e));
        let peers = peers.map(|((_, endpoint), record)| Claim {
            vni: vni_of(network, record).unwrap(),
            endpoint: *endpoint,
            here: false,
            record: record.clone(),
        });
        own.chain(peers).collect()
    }

    /// What the kernel must hold.
    fn expected(&self) -> Observed {
        let published = self.published.iter().filter(|(_, ports)| !ports.is_empty());
        let published =
            published.map(|(endpoint, ports)| (eid(*endpoint), ports.clone())).collect();
        let mut observed = Observed { published, ..Observed::default() };
        for network in [1, 2] {
            let claims = self.claims(network);
            if !claims.iter().any(|c| c.here) {
                continue;
            }
            let namespace = names::namespace(nid(network));
            let mut there = ObservedNamespace::default();
            let segments: &[(u32, &[&str])] = match network {
                1 => &[(1001, &["10.1.0.1/24", "fd01::1/64"]), (1002, &["10.2.0.1/24"])],
                _ => &[(2001, &[])],
            };
            for (vni, gateways) in segments {
                let bridge = bridge(network, *vni, gateways);
                let device = vxlan(*vni, &claims);
                there.bridges.insert(bridge.name.clone(), bridge);
                there.vxlans.insert(device.shape.name.clone(), device);
            }
            for claim in claims.iter().filter(|c| c.here) {
                let id = eid(claim.endpoint);
                let far = self.endpoints[&(network, claim.endpoint)].1;
                if far == Far::Host {
                    observed.handed.insert(names::handed(id));
                }
                let (bridge, carrier) = (format!("wb{}", claim.vni), far != Far::Host);
                there.ports.insert(names::port(id), ObservedPort { bridge, up: true, carrier });
            }
            if network == 1 {
                there.way_out = Some(names::network_link(nid(1)));
                observed.host_links.insert(names::host_link(nid(1)));
            }
            observed.namespaces.insert(namespace, there);
        }
        observed
    }
}

/// The segment of a record whose addresses the network has, all in one segment.
fn vni_of(network: u8, record: &PeerRecord) -> Option<u32> {
    let own: &[u32] = if network == 1 { &[1001, 1002] } else { &[2001] };
    let vni = |a: IpNetwork| V4.iter().chain(&V6).find(|(text, _)| net(text) == a).unwrap().1;
    let vnis: BTreeSet<u32> = record.v4.into_iter().chain(record.v6).map(vni).collect();
    match vnis.into_iter().collect::<Vec<_>>()[..] {
        [one] if own.contains(&one) => Some(one),
        _ => None,
    }
}

fn bridge(network: u8, vni: u32, gateways: &[&str]) -> Bridge {
    Bridge {
        name: format!("wb{vni}"),
        mac: Mac::from_bytes([0x0a, network, network, network, network, network]),
        mtu: 1450,
        addresses: gateways.iter().map(|g| net(g)).collect(),
    }
}

fn vxlan(vni: u32, claims: &[Claim]) -> ObservedVxlan {
    let shape = Vxlan {
        name: format!("wx{vni}"),
        vni: Vni::new(vni).unwrap(),
        port: 4789,
        local: ip(OWN_VTEP),
        mtu: 1450,
        bridge: format!("wb{vni}"),
    };
    let claims: Vec<&Claim> = claims.iter().filter(|c| c.vni == vni).collect();
    let macs: BTreeSet<Mac> = claims.iter().map(|c| c.record.mac).collect();
    let fdb = macs.into_iter().filter_map(|mac| {
        let winner = winner(claims.iter().filter(|c| c.record.mac == mac));
        (!winner.here).then_some(FdbEntry { mac, vtep: winner.record.vtep })
    });
    let has = |c: &Claim, ip| c.record.v4.iter().chain(&c.record.v6).any(|a| a.ip() == ip);
    let ips = claims.iter().flat_map(|c| c.record.v4.iter().chain(&c.record.v6)).map(|a| a.ip());
    let ips: BTreeSet<IpAddr> = ips.collect();
    let neighbours = ips.into_iter().filter_map(|ip| {
        let winner = winner(claims.iter().filter(|c| has(c, ip)));
        (!winner.here).then_some(Neighbour { ip, mac: winner.record.mac })
    });
    ObservedVxlan { shape, fdb: fdb.collect(), neighbours: neighbours.collect() }
}

fn winner<'a>(claims: impl Iterator<Item = &'a &'a Claim> + Clone) -> &'a Claim {
    let replaced = |c: &Claim| {
        claims.clone().any(|other| {
            other.record.replaces == Some(c.record.stamp) && other.record.stamp > c.record.stamp
        })
    };
    let standing = claims.clone().filter(|c| !replaced(c));
    standing.min_by_key(|c| (c.record.stamp, c.endpoint, !c.here)).unwrap()
}

fn start() -> (Planner, FakeKernel, Model) {
    let mut planner = Planner::new(host());
    planner.create_network(&open_network()).unwrap();
    planner.create_network(&closed_network()).unwrap();
    (planner, FakeKernel::new(), Model::default())
}

/// An operation that nobody asked for.
fn any_disturbance() -> impl Strategy<Value = KernelOp> {
    let namespace = || {
        let ours = [nid(1), nid(2), nid(77)].map(names::namespace);
        prop::sample::select(ours.to_vec())
    };
    let device = || prop::sample::select(vec!["wx1001", "wx1002", "wx2001"]);
    let link = prop::sample::select(vec![
        "wx1001".to_owned(),
        "wb1001".to_owned(),
        "wb2001".to_owned(),
        names::port(eid(1)),
        names::port(eid(2)),
        names::port(eid(3)),
        names::network_link(nid(1)),
    ]);
    let fdb = (1u8..8, prop::sample::select(VTEPS[1..3].to_vec()))
        .prop_map(|(m, vtep)| FdbEntry { mac: mac(m), vtep: ip(vtep) });
    let neighbour = (prop::sample::select(V4.map(|a| a.0).to_vec()), 1u8..8)
        .prop_map(|(a, m)| Neighbour { ip: net(a).ip(), mac: mac(m) });
    prop_oneof![
        1 => namespace().prop_map(|name| KernelOp::RemoveNamespace { name }),
        1 => namespace().prop_map(|name| KernelOp::EnsureNamespace { name }),
        1 => (namespace(), link).prop_map(|(n, name)| KernelOp::RemoveLink {
            place: Place::Network(n),
            name
        }),
        1 => namespace().prop_map(|name| KernelOp::RemoveLink { place: Place::Host, name }),
        1 => (1u8..6).prop_map(|n| KernelOp::RemovePublished { endpoint: eid(n) }),
        1 => (1u8..12).prop_map(|n| KernelOp::EnsurePublished {
            endpoint: eid(n),
            ports: BTreeSet::from([PublishedPort {
                protocol: Protocol::Udp,
                host: ip("0.0.0.0"),
                host_port: 53,
                to: ip("10.1.0.99"),
                port: u16::from(n),
            }]),
        }),
        1 => (1u8..6).prop_map(|n| KernelOp::RemoveLink {
            place: Place::Host,
            name: names::handed(eid(n))
        }),
        1 => (namespace(), any::<u8>()).prop_map(|(namespace, n)| KernelOp::EnsureBridge {
            namespace,
            bridge: bridge(n, 1001, &[])
        }),
        4 => (namespace(), device(), fdb.clone()).prop_map(|(namespace, d, entry)| {
            KernelOp::ReplaceFdb { namespace, device: d.to_owned(), entry }
        }),
        2 => (namespace(), device(), fdb).prop_map(|(namespace, d, entry)| {
            KernelOp::RemoveFdb { namespace, device: d.to_owned(), entry }
        }),
        4 => (namespace(), device(), neighbour).prop_map(|(namespace, d, entry)| {
            KernelOp::ReplaceNeighbour { namespace, device: d.to_owned(), entry }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_planned_step_by_step_equals_what_is_computed_from_scratch(
        actions in prop::collection::vec(any_action(), 1..60),
    ) {
        let (mut planner, mut kernel, mut model) = start();
        for action in &actions {
            model.act(&mut planner, &mut kernel, action);
            let observed = kernel.observe();
            prop_assert_eq!(&observed, &model.expected(), "after {:?}", action);
            prop_assert_eq!(planner.vanished(&observed), vec![], "after {:?}", action);
            model.check_memories(&mut kernel);
            let repair = planner.reconcile(&observed, Knowledge::Complete);
            prop_assert_eq!(repair, Repair::default(), "after {:?}", action);
        }
    }

    #[test]
    fn one_reconciliation_repairs_any_drift(
        actions in prop::collection::vec(any_action(), 1..60),
        disturbances in prop::collection::vec(any_disturbance(), 1..12),
    ) {
        let (mut planner, mut kernel, mut model) = start();
        for action in &actions {
            model.act(&mut planner, &mut kernel, action);
        }
        for op in &disturbances {
            let _ = kernel.apply(op);
        }
        model.vanish(&mut planner, &mut kernel);
        let damaged = kernel.observe();
        let repair = planner.reconcile(&damaged, Knowledge::Complete);
        prop_assert_eq!(repair.drift.is_empty(), repair.ops.is_empty());
        prop_assert_eq!(kernel.apply_all(&repair.ops), vec![]);
        prop_assert_eq!(kernel.observe(), model.expected());
        let again = planner.reconcile(&kernel.observe(), Knowledge::Complete);
        prop_assert_eq!(again, Repair::default());
    }

    #[test]
    fn the_order_in_which_records_come_does_not_matter(
        records in prop::collection::btree_map(1u8..6, any_record(), 1..5),
        order in Just((0..5usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let hear_all = |order: Vec<usize>| {
            let mut planner = joined();
            let records: Vec<_> = records.iter().collect();
            for (endpoint, record) in order.into_iter().filter_map(|at| records.get(at)) {
                let _ = hear(&mut planner, 1, **endpoint + 10, record);
            }
            let repair = planner.reconcile(&Observed::default(), Knowledge::Complete);
            repair.ops
        };
        prop_assert_eq!(hear_all(order), hear_all((0..5).collect()));
    }
}
