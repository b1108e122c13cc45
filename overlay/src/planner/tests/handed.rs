use super::*;
use crate::op::HandedLink;
use crate::reconcile::{Drift, Kind};

const ENGINES: &str = "/var/run/docker/netns/1a2b";

/// Endpoint 1, handed over and waiting in the host.
fn waiting() -> (Planner, FakeKernel) {
    let mut planner = known();
    let mut kernel = FakeKernel::new();
    planner.join(nid(1), eid(1), HandOver::First).unwrap();
    carry_out(&mut planner, &mut kernel);
    (planner, kernel)
}

/// The same, with the far end in its container.
fn taken() -> (Planner, FakeKernel) {
    let (planner, mut kernel) = waiting();
    assert!(kernel.take(&names::handed(eid(1)), ENGINES.as_ref()));
    (planner, kernel)
}

/// The open network with endpoint 1, joined to nothing.
fn known() -> Planner {
    let mut planner = Planner::new(host());
    planner.create_network(&open_network()).unwrap();
    let own = addresses(Some("10.1.0.11/24"), Some("fd01::11/64"), mac(11));
    planner.create_endpoint(nid(1), eid(1), own).unwrap();
    planner
}

fn clean(planner: &Planner, kernel: &FakeKernel) -> bool {
    let observed = kernel.observe();
    planner.vanished(&observed).is_empty()
        && planner.reconcile(&observed, Knowledge::Complete).is_clean()
}

#[test]
fn the_far_end_waits_in_the_host_until_it_is_taken() {
    let (planner, mut kernel) = waiting();
    let there = kernel.observe();
    assert!(there.handed.contains(&names::handed(eid(1))));
    assert!(!there.namespaces[&names::namespace(nid(1))].ports[&names::port(eid(1))].carrier);
    assert!(clean(&planner, &kernel), "to wait is no drift");
    assert!(kernel.take(&names::handed(eid(1)), ENGINES.as_ref()));
    assert!(kernel.observe().handed.is_empty());
    assert!(clean(&planner, &kernel), "nor is to be taken");
}

#[test]
fn the_engine_gets_mac_and_mtu_and_sets_the_rest() {
    let mut planner = known();
    let bytes = planner.join(nid(1), eid(1), HandOver::First).unwrap();
    assert_eq!(PeerRecord::decode(&bytes).unwrap().v6, Some(net("fd01::11/64")));
    let link = HandedLink {
        port: names::port(eid(1)),
        bridge: "wb1001".to_owned(),
        host_link: names::handed(eid(1)),
        mac: mac(11),
        mtu: 1450,
        hand_over: HandOver::First,
    };
    let namespace = names::namespace(nid(1));
    assert_eq!(drain(&mut planner).pop(), Some(KernelOp::EnsureHanded { namespace, link }));
}

#[test]
fn a_second_hand_over_is_refused_like_any_second_join() {
    let (mut planner, _) = waiting();
    for again in [HandOver::First, HandOver::Adopted] {
        let refused = Err(PlanError::EndpointJoined(eid(1)));
        assert_eq!(planner.join(nid(1), eid(1), again), refused);
    }
    assert_eq!(planner.join(nid(1), eid(1), sandbox(1)), Err(PlanError::EndpointJoined(eid(1))));
    assert_eq!(drain(&mut planner), []);
}

#[test]
fn a_restart_adopts_what_is_in_its_container() {
    let (_, mut kernel) = taken();
    let before = kernel.observe();
    let mut restarted = known();
    restarted.join(nid(1), eid(1), HandOver::Adopted).unwrap();
    carry_out(&mut restarted, &mut kernel);
    assert_eq!(kernel.observe(), before);
    assert!(clean(&restarted, &kernel));
}

#[test]
fn to_adopt_what_is_gone_fails_and_leaves_nothing() {
    let mut planner = known();
    let mut kernel = FakeKernel::new();
    planner.join(nid(1), eid(1), HandOver::Adopted).unwrap();
    let ops = drain(&mut planner);
    let gone = crate::fake_kernel::FakeError::HandedGone(names::port(eid(1)));
    assert_eq!(kernel.apply_all(&ops), [(ops.len() - 1, gone)]);
    planner.leave(nid(1), eid(1)).unwrap();
    carry_out(&mut planner, &mut kernel);
    assert_eq!(kernel.observe(), Observed::default());
}

#[test]
fn a_port_that_is_gone_has_vanished_and_is_not_made_again() {
    let (mut planner, mut kernel) = taken();
    kernel.vanish_sandbox(ENGINES.as_ref());
    let observed = kernel.observe();
    assert_eq!(planner.vanished(&observed), [(nid(1), eid(1))]);
    let repair = planner.reconcile(&observed, Knowledge::Complete);
    assert_eq!(repair, Repair::default());
    planner.leave(nid(1), eid(1)).unwrap();
    carry_out(&mut planner, &mut kernel);
    assert_eq!(kernel.observe(), Observed::default());
}

#[test]
fn what_was_put_into_a_sandbox_by_us_never_vanishes_by_its_port_alone() {
    assert_eq!(joined().vanished(&Observed::default()), []);
}

#[test]
fn a_far_end_that_is_down_is_its_containers_business_and_a_port_that_is_down_is_ours() {
    let (planner, kernel) = taken();
    let mut observed = kernel.observe();
    let there = observed.namespaces.get_mut(&names::namespace(nid(1))).unwrap();
    let port = there.ports.get_mut(&names::port(eid(1))).unwrap();
    port.carrier = false;
    port.up = false;
    let repair = planner.reconcile(&observed, Knowledge::Complete);
    let wrong = Drift { wrong: 1, ..Drift::default() };
    assert_eq!(repair.drift, BTreeMap::from([(Kind::Port, wrong)]));
    match &repair.ops[..] {
        [KernelOp::EnsureHanded { link, .. }] => assert_eq!(link.hand_over, HandOver::Adopted),
        other => panic!("one port is repaired, not {other:?}"),
    }
}

#[test]
fn a_lost_bridge_takes_back_the_port_of_what_was_handed_over() {
    let (planner, mut kernel) = taken();
    let whole = kernel.observe();
    let place = Place::Network(names::namespace(nid(1)));
    kernel.apply(&KernelOp::RemoveLink { place, name: "wb1001".to_owned() }).unwrap();
    let repair = planner.reconcile(&kernel.observe(), Knowledge::Complete);
    assert_eq!(kernel.apply_all(&repair.ops), []);
    assert_eq!(kernel.observe(), whole);
}

#[test]
fn what_waits_for_nobody_is_removed_with_its_port() {
    let (_, mut kernel) = waiting();
    let crashed = Planner::new(host());
    let repair = crashed.reconcile(&kernel.observe(), Knowledge::Partial);
    let stray = Drift { stray: 1, ..Drift::default() };
    assert_eq!(repair.drift[&Kind::Handed], stray);
    let first = KernelOp::RemoveLink { place: Place::Host, name: names::handed(eid(1)) };
    assert_eq!(repair.ops[0], first);
    assert_eq!(kernel.apply_all(&repair.ops), []);
    assert_eq!(kernel.observe(), Observed::default());
}

#[test]
fn a_link_that_waits_is_stray_once_its_endpoint_is_in_a_sandbox_of_ours() {
    let (_, kernel) = waiting();
    let mut planner = known();
    planner.join(nid(1), eid(1), sandbox(1)).unwrap();
    drain(&mut planner);
    let repair = planner.reconcile(&kernel.observe(), Knowledge::Complete);
    assert_eq!(repair.drift[&Kind::Handed].stray, 1);
}

#[test]
fn a_leave_takes_the_pair_wherever_its_far_end_is() {
    for (mut planner, mut kernel) in [waiting(), taken()] {
        planner.leave(nid(1), eid(1)).unwrap();
        carry_out(&mut planner, &mut kernel);
        assert_eq!(kernel.observe(), Observed::default());
    }
}

#[test]
fn after_a_leave_the_next_hand_over_makes_another_pair() {
    let (mut planner, mut kernel) = taken();
    planner.leave(nid(1), eid(1)).unwrap();
    carry_out(&mut planner, &mut kernel);
    planner.join(nid(1), eid(1), HandOver::First).unwrap();
    carry_out(&mut planner, &mut kernel);
    assert!(kernel.observe().handed.contains(&names::handed(eid(1))));
}
