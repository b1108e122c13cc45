use std::collections::BTreeSet;

use super::*;
use crate::publish::{PUBLISHED_MAX, Protocol, PublishedPort};
use crate::reconcile::{Drift, Kind};

fn port(host_port: u16, to: &str) -> PublishedPort {
    let to = ip(to);
    let host = if to.is_ipv4() { ip("0.0.0.0") } else { ip("::") };
    PublishedPort { protocol: Protocol::Tcp, host, host_port, to, port: 80 }
}

/// Endpoint 1 with both families, publishing on both.
fn publishing() -> (Planner, FakeKernel) {
    let mut planner = Planner::new(host());
    planner.create_network(&open_network()).unwrap();
    let own = addresses(Some("10.1.0.11/24"), Some("fd01::11/64"), mac(11));
    planner.create_endpoint(nid(1), eid(1), own).unwrap();
    planner.join(nid(1), eid(1), sandbox(1)).unwrap();
    let ports = [port(8080, "10.1.0.11"), port(8080, "fd01::11")];
    planner.publish(nid(1), eid(1), &ports).unwrap();
    let mut kernel = FakeKernel::new();
    carry_out(&mut planner, &mut kernel);
    (planner, kernel)
}

#[test]
fn ports_are_published_after_the_join_and_end_with_it() {
    let (mut planner, mut kernel) = publishing();
    let there = &kernel.observe().published[&eid(1)];
    assert_eq!(there.len(), 2);
    assert_eq!(planner.published(nid(1), eid(1)), Ok(there));
    planner.leave(nid(1), eid(1)).unwrap();
    let ops = drain(&mut planner);
    assert_eq!(ops[0], KernelOp::RemovePublished { endpoint: eid(1) }, "nobody is led to nobody");
    assert_eq!(kernel.apply_all(&ops), []);
    assert_eq!(kernel.observe(), Observed::default());
    assert_eq!(planner.published(nid(1), eid(1)), Ok(&BTreeSet::new()));
}

#[test]
fn the_same_again_changes_nothing_and_others_replace_what_was() {
    let (mut planner, mut kernel) = publishing();
    let before = kernel.observe();
    let again = [port(8080, "10.1.0.11"), port(8080, "fd01::11")];
    planner.publish(nid(1), eid(1), &again).unwrap();
    carry_out(&mut planner, &mut kernel);
    assert_eq!(kernel.observe(), before);
    planner.publish(nid(1), eid(1), &[port(9090, "10.1.0.11")]).unwrap();
    carry_out(&mut planner, &mut kernel);
    let there = &kernel.observe().published[&eid(1)];
    assert_eq!(there, &BTreeSet::from([port(9090, "10.1.0.11")]));
    planner.unpublish(nid(1), eid(1)).unwrap();
    planner.unpublish(nid(1), eid(1)).unwrap();
    assert_eq!(drain(&mut planner).len(), 1, "what is gone is not removed again");
}

#[test]
fn what_nothing_leads_to_cannot_be_published() {
    let mut planner = joined();
    let own = addresses(Some("10.9.0.11/24"), None, mac(9));
    planner.create_endpoint(nid(2), eid(2), own).unwrap();
    let internal = [port(80, "10.9.0.11")];
    assert_eq!(planner.publish(nid(2), eid(2), &internal), Err(PlanError::NotJoined(eid(2))));
    planner.join(nid(2), eid(2), sandbox(2)).unwrap();
    drain(&mut planner);
    assert_eq!(planner.publish(nid(2), eid(2), &internal), Err(PlanError::NoWayOut(nid(2))));
    assert_eq!(planner.publishable(nid(1), eid(1)), Ok(vec![ip("10.1.0.11")]));
    let refused = |address| PlanError::CannotPublish { endpoint: eid(1), address: ip(address) };
    let foreign = [port(80, "10.1.0.12")];
    assert_eq!(planner.publish(nid(1), eid(1), &foreign), Err(refused("0.0.0.0")));
    let mixed = [PublishedPort { host: ip("::"), ..port(80, "10.1.0.11") }];
    assert_eq!(planner.publish(nid(1), eid(1), &mixed), Err(refused("::")));
    let many = vec![port(80, "10.1.0.11"); PUBLISHED_MAX + 1];
    let refused = Err(PlanError::TooManyPorts(eid(1), PUBLISHED_MAX + 1));
    assert_eq!(planner.publish(nid(1), eid(1), &many), refused);
    assert_eq!(planner.publish(nid(1), eid(7), &[]), Err(PlanError::NoEndpoint(eid(7))));
    assert_eq!(drain(&mut planner), []);
}

#[test]
fn a_pool_without_a_gateway_is_not_published() {
    let mut definition = open_network();
    definition.subnets[2].gateway = None;
    let mut planner = Planner::new(host());
    planner.create_network(&definition).unwrap();
    let own = addresses(Some("10.1.0.11/24"), Some("fd01::11/64"), mac(11));
    planner.create_endpoint(nid(1), eid(1), own).unwrap();
    planner.join(nid(1), eid(1), HandOver::First).unwrap();
    assert_eq!(planner.publishable(nid(1), eid(1)), Ok(vec![ip("10.1.0.11")]));
}

#[test]
fn lost_ports_return_and_stray_ones_go() {
    let (planner, mut kernel) = publishing();
    let whole = kernel.observe();
    kernel.apply(&KernelOp::RemovePublished { endpoint: eid(1) }).unwrap();
    let ports = BTreeSet::from([port(7070, "10.1.0.99")]);
    kernel.apply(&KernelOp::EnsurePublished { endpoint: eid(9), ports }).unwrap();
    let repair = planner.reconcile(&kernel.observe(), Knowledge::Partial);
    let drift = Drift { missing: 1, stray: 1, wrong: 0 };
    assert_eq!(repair.drift, BTreeMap::from([(Kind::Published, drift)]));
    assert_eq!(kernel.apply_all(&repair.ops), []);
    assert_eq!(kernel.observe(), whole);
}
