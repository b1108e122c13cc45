use super::*;
use crate::op::{Limit, Limits, Rates};
use crate::reconcile::Kind;

fn both_ways() -> Limits {
    Limits { ingress: Limit::of_bits(8_000_000, 0), egress: Limit::of_bits(16_000_000, 0) }
}

/// The open network with a limited endpoint that is joined.
fn limited(kernel: &mut FakeKernel) -> Planner {
    let mut planner = Planner::new(host());
    planner.create_network(&open_network()).unwrap();
    let own = addresses(Some("10.1.0.11/24"), None, mac(11));
    planner.create_endpoint(nid(1), eid(1), own).unwrap();
    planner.limit(nid(1), eid(1), both_ways()).unwrap();
    planner.join(nid(1), eid(1), sandbox(1)).unwrap();
    carry_out(&mut planner, kernel);
    planner
}

fn rates(kernel: &FakeKernel) -> Option<Rates> {
    let there = &kernel.observe().namespaces[&names::namespace(nid(1))];
    there.rates.get(&names::port(eid(1))).copied()
}

#[test]
fn rates_are_bits_and_a_burst_lets_the_largest_packet_pass() {
    let limit = |rate, burst| Limit::of_bits(rate, burst).map(|l| (l.rate_bytes_s, l.burst_bytes));
    assert_eq!(limit(0, 8_000_000), None, "no rate is no limit");
    assert_eq!(limit(80_000_000, 8_000_000), Some((10_000_000, 1_000_000)));
    assert_eq!(limit(80_000_000, 0), Some((10_000_000, 200_000)), "what passes in 20 ms");
    assert_eq!(limit(1, 1), Some((1, 32 << 10)));
    assert_eq!(limit(u64::MAX, u64::MAX), Some((u64::MAX.div_ceil(8), u32::MAX)));
}

#[test]
fn a_join_limits_the_traffic_and_a_leave_removes_what_did() {
    let mut kernel = FakeKernel::new();
    let mut planner = limited(&mut kernel);
    assert_eq!(rates(&kernel), Some(both_ways().rates()));
    assert!(planner.reconcile(&kernel.observe(), Knowledge::Complete).is_clean());
    planner.keep(nid(1)).unwrap();
    planner.leave(nid(1), eid(1)).unwrap();
    carry_out(&mut planner, &mut kernel);
    let there = &kernel.observe().namespaces[&names::namespace(nid(1))];
    assert!(there.rates.is_empty() && there.shapers.is_empty(), "{there:?}");
}

#[test]
fn limits_that_went_come_back_and_a_shaper_without_its_port_goes() {
    let mut kernel = FakeKernel::new();
    let planner = limited(&mut kernel);
    let namespace = Place::Network(names::namespace(nid(1)));
    for gone in [names::shaper(eid(1)), names::port(eid(1))] {
        let op = KernelOp::RemoveLink { place: namespace.clone(), name: gone };
        kernel.apply(&op).unwrap();
        let repair = planner.reconcile(&kernel.observe(), Knowledge::Complete);
        assert!(!repair.is_clean());
        assert_eq!(kernel.apply_all(&repair.ops), []);
        assert_eq!(rates(&kernel), Some(both_ways().rates()));
    }
    let stray = KernelOp::EnsureLimits {
        namespace: names::namespace(nid(1)),
        port: names::port(eid(1)),
        shaper: names::shaper(eid(7)),
        limits: both_ways(),
    };
    kernel.apply(&stray).unwrap();
    let repair = planner.reconcile(&kernel.observe(), Knowledge::Complete);
    assert_eq!(repair.drift[&Kind::Limits].stray, 1);
    assert_eq!(kernel.apply_all(&repair.ops), []);
    assert!(planner.reconcile(&kernel.observe(), Knowledge::Complete).is_clean());
}

#[test]
fn what_is_joined_keeps_its_limits() {
    let mut planner = limited(&mut FakeKernel::new());
    let changed = planner.limit(nid(1), eid(1), Limits::default());
    assert_eq!(changed, Err(PlanError::EndpointJoined(eid(1))));
    assert_eq!(planner.limit(nid(1), eid(9), both_ways()), Err(PlanError::NoEndpoint(eid(9))));
}
