use super::*;
use crate::op::WayOut;
use crate::reconcile::{Drift, Kind};

/// A planner with a peer and an endpoint, and the kernel that did as it was told.
fn standing() -> (Planner, FakeKernel) {
    let mut planner = Planner::new(host());
    let mut kernel = FakeKernel::new();
    planner.create_network(&open_network()).unwrap();
    let own = addresses(Some("10.1.0.11/24"), Some("fd01::11/64"), mac(11));
    planner.create_endpoint(nid(1), eid(1), own).unwrap();
    planner.join(nid(1), eid(1), sandbox(1)).unwrap();
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(5), "192.0.2.5", 9));
    carry_out(&mut planner, &mut kernel);
    (planner, kernel)
}

/// Disturbs the kernel, repairs it at once, and returns what was found.
fn drift_after(ops: &[KernelOp]) -> (Vec<KernelOp>, BTreeMap<Kind, Drift>) {
    let (planner, mut kernel) = standing();
    let whole = kernel.observe();
    assert_eq!(kernel.apply_all(ops), []);
    let repair = planner.reconcile(&kernel.observe(), Knowledge::Complete);
    assert_eq!(kernel.apply_all(&repair.ops), []);
    assert_eq!(kernel.observe(), whole);
    assert!(planner.reconcile(&kernel.observe(), Knowledge::Complete).is_clean());
    (repair.ops, repair.drift)
}

fn missing(missing: u64) -> Drift {
    Drift { missing, ..Drift::default() }
}

fn wrong(wrong: u64) -> Drift {
    Drift { wrong, ..Drift::default() }
}

fn stray(stray: u64) -> Drift {
    Drift { stray, ..Drift::default() }
}

#[test]
fn a_kernel_as_desired_is_adopted_with_no_operation() {
    let (_, kernel) = standing();
    let (restarted, _) = standing();
    for knowledge in [Knowledge::Partial, Knowledge::Complete] {
        let repair = restarted.reconcile(&kernel.observe(), knowledge);
        assert_eq!(repair, Repair::default());
    }
}

#[test]
fn a_restart_keeps_the_entries_of_peers_it_has_not_heard_of_again() {
    let (_, mut kernel) = standing();
    let restarted = joined_alone();
    assert!(restarted.reconcile(&kernel.observe(), Knowledge::Partial).is_clean());
    let repair = restarted.reconcile(&kernel.observe(), Knowledge::Complete);
    assert_eq!(repair.drift, BTreeMap::from([(Kind::Fdb, stray(1)), (Kind::Neighbour, stray(1))]));
    assert_eq!(kernel.apply_all(&repair.ops), []);
}

/// What `standing` has, without the peer.
fn joined_alone() -> Planner {
    let mut planner = Planner::new(host());
    planner.create_network(&open_network()).unwrap();
    let own = addresses(Some("10.1.0.11/24"), Some("fd01::11/64"), mac(11));
    planner.create_endpoint(nid(1), eid(1), own).unwrap();
    planner.join(nid(1), eid(1), sandbox(1)).unwrap();
    drain(&mut planner);
    planner
}

#[test]
fn a_lost_entry_returns_a_wrong_one_is_replaced_and_a_stray_one_goes() {
    let (ops, drift) = drift_after(&[remove_fdb(mac(5), "192.0.2.5")]);
    assert_eq!(ops, [set_fdb(mac(5), "192.0.2.5")]);
    assert_eq!(drift, BTreeMap::from([(Kind::Fdb, missing(1))]));

    let (ops, drift) = drift_after(&[set_neighbour("10.1.0.5", mac(9))]);
    assert_eq!(ops, [set_neighbour("10.1.0.5", mac(5))]);
    assert_eq!(drift, BTreeMap::from([(Kind::Neighbour, wrong(1))]));

    let (ops, drift) = drift_after(&[set_fdb(mac(200), "192.0.2.9")]);
    assert_eq!(ops, [remove_fdb(mac(200), "192.0.2.9")]);
    assert_eq!(drift, BTreeMap::from([(Kind::Fdb, stray(1))]));
}

#[test]
fn a_second_destination_of_one_mac_is_removed_and_the_right_one_stays() {
    let (planner, kernel) = standing();
    let mut observed = kernel.observe();
    let there = observed.namespaces.get_mut(&names::namespace(nid(1))).unwrap();
    let fdb = &mut there.vxlans.get_mut("wx1001").unwrap().fdb;
    fdb.insert(FdbEntry { mac: mac(5), vtep: ip("192.0.2.4") });
    fdb.insert(FdbEntry { mac: mac(5), vtep: ip("192.0.2.6") });
    let repair = planner.reconcile(&observed, Knowledge::Partial);
    assert_eq!(repair.ops, [remove_fdb(mac(5), "192.0.2.4"), remove_fdb(mac(5), "192.0.2.6")]);
}

#[test]
fn a_lost_vxlan_device_returns_with_its_entries() {
    let place = Place::Network(names::namespace(nid(1)));
    let (_, drift) = drift_after(&[KernelOp::RemoveLink { place, name: "wx1001".to_owned() }]);
    let expected =
        [(Kind::Vxlan, missing(1)), (Kind::Fdb, missing(1)), (Kind::Neighbour, missing(1))];
    assert_eq!(drift, BTreeMap::from(expected));
}

#[test]
fn a_device_with_another_source_address_is_made_anew_with_its_entries() {
    let (_, mut kernel) = standing();
    let moved = Host { vtep: ip("192.0.2.77"), ..host() };
    let mut planner = Planner::new(moved);
    planner.create_network(&open_network()).unwrap();
    let own = addresses(Some("10.1.0.11/24"), Some("fd01::11/64"), mac(11));
    planner.create_endpoint(nid(1), eid(1), own).unwrap();
    planner.join(nid(1), eid(1), sandbox(1)).unwrap();
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(5), "192.0.2.5", 9));
    drain(&mut planner);
    let repair = planner.reconcile(&kernel.observe(), Knowledge::Complete);
    assert_eq!(repair.drift[&Kind::Vxlan], wrong(2));
    assert_eq!(kernel.apply_all(&repair.ops), []);
    assert!(planner.reconcile(&kernel.observe(), Knowledge::Complete).is_clean());
}

#[test]
fn a_lost_bridge_takes_its_ports_back() {
    let place = Place::Network(names::namespace(nid(1)));
    let (_, drift) = drift_after(&[KernelOp::RemoveLink { place, name: "wb1001".to_owned() }]);
    let expected = [(Kind::Bridge, missing(1)), (Kind::Vxlan, wrong(1)), (Kind::Port, wrong(1))];
    assert_eq!(drift, BTreeMap::from(expected));
}

#[test]
fn a_port_whose_far_end_is_down_is_made_whole() {
    let (planner, kernel) = standing();
    let mut observed = kernel.observe();
    let there = observed.namespaces.get_mut(&names::namespace(nid(1))).unwrap();
    there.ports.get_mut(&names::port(eid(1))).unwrap().carrier = false;
    let repair = planner.reconcile(&observed, Knowledge::Complete);
    assert!(matches!(&repair.ops[..], [KernelOp::EnsureEndpoint { .. }]));
    assert_eq!(repair.drift, BTreeMap::from([(Kind::Port, wrong(1))]));
}

#[test]
fn a_lost_namespace_returns_whole() {
    let name = names::namespace(nid(1));
    let (_, drift) = drift_after(&[KernelOp::RemoveNamespace { name }]);
    assert_eq!(drift[&Kind::Namespace], missing(1));
    assert_eq!(drift[&Kind::Port], missing(1));
}

#[test]
fn half_a_way_out_is_made_whole() {
    let (planner, kernel) = standing();
    let mut observed = kernel.observe();
    observed.host_links.clear();
    let repair = planner.reconcile(&observed, Knowledge::Complete);
    assert!(matches!(&repair.ops[..], [KernelOp::EnsureWayOut { .. }]));
    assert_eq!(repair.drift, BTreeMap::from([(Kind::WayOut, wrong(1))]));
}

#[test]
fn leftovers_of_a_network_nobody_has_are_removed_first() {
    let (planner, mut kernel) = standing();
    let whole = kernel.observe();
    let mut dead = Planner::new(host());
    let left = Definition {
        id: nid(9),
        subnets: vec![subnet("10.8.0.0/24", Some("10.8.0.1"), 9001)],
        ..open_network()
    };
    dead.create_network(&left).unwrap();
    let own = addresses(Some("10.8.0.2/24"), None, mac(2));
    dead.create_endpoint(nid(9), eid(9), own).unwrap();
    dead.join(nid(9), eid(9), sandbox(9)).unwrap();
    carry_out(&mut dead, &mut kernel);
    let repair = planner.reconcile(&kernel.observe(), Knowledge::Partial);
    assert_eq!(
        repair.drift,
        BTreeMap::from([(Kind::Namespace, stray(1)), (Kind::WayOut, stray(1))])
    );
    let name = names::namespace(nid(9));
    let way = WayOut {
        host_link: names::host_link(nid(9)),
        network_link: names::network_link(nid(9)),
        mtu: 0,
        pools: Vec::new(),
    };
    assert_eq!(
        repair.ops,
        [
            KernelOp::RemoveWayOut { namespace: name.clone(), way },
            KernelOp::RemoveLink { place: Place::Network(name.clone()), name: "wx9001".to_owned() },
            KernelOp::RemoveNamespace { name },
        ]
    );
    assert_eq!(kernel.apply_all(&repair.ops), []);
    assert_eq!(kernel.observe(), whole);
}

#[test]
fn what_is_not_named_like_ours_is_left_alone() {
    let (planner, mut kernel) = standing();
    let name = "weft-lab".to_owned();
    kernel.apply(&KernelOp::EnsureNamespace { name }).unwrap();
    assert!(planner.reconcile(&kernel.observe(), Knowledge::Complete).is_clean());
}

#[test]
fn the_port_of_an_endpoint_that_left_while_the_agent_was_down_is_removed() {
    let (mut planner, mut kernel) = standing();
    let other = addresses(Some("10.1.0.12/24"), None, mac(12));
    planner.create_endpoint(nid(1), eid(2), other).unwrap();
    planner.join(nid(1), eid(2), sandbox(2)).unwrap();
    carry_out(&mut planner, &mut kernel);
    let (restarted, _) = standing();
    let repair = restarted.reconcile(&kernel.observe(), Knowledge::Complete);
    let place = Place::Network(names::namespace(nid(1)));
    assert_eq!(repair.ops, [KernelOp::RemoveLink { place, name: names::port(eid(2)) }]);
}
