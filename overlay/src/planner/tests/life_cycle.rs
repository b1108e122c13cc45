use super::*;
use crate::op::{EndpointLink, Route};

#[test]
fn the_first_join_builds_and_the_last_leave_removes_everything() {
    let mut planner = Planner::new(host());
    let mut kernel = FakeKernel::new();
    planner.create_network(&open_network()).unwrap();
    for (n, address) in [(1, "10.1.0.11/24"), (2, "10.1.0.12/24")] {
        planner.create_endpoint(nid(1), eid(n), addresses(Some(address), None, mac(n))).unwrap();
    }
    assert_eq!(planner.poll_output(), None, "nothing stands before a sandbox joins");

    planner.join(nid(1), eid(1), sandbox(1)).unwrap();
    carry_out(&mut planner, &mut kernel);
    planner.join(nid(1), eid(2), sandbox(2)).unwrap();
    carry_out(&mut planner, &mut kernel);
    let observed = kernel.observe();
    let there = &observed.namespaces[&names::namespace(nid(1))];
    assert_eq!(there.bridges.keys().collect::<Vec<_>>(), ["wb1001", "wb1002"]);
    assert_eq!(there.vxlans.keys().collect::<Vec<_>>(), ["wx1001", "wx1002"]);
    assert_eq!(there.ports.len(), 2);
    assert!(observed.host_links.contains(&names::host_link(nid(1))));

    planner.leave(nid(1), eid(1)).unwrap();
    carry_out(&mut planner, &mut kernel);
    assert_eq!(kernel.observe().namespaces[&names::namespace(nid(1))].ports.len(), 1);
    planner.leave(nid(1), eid(2)).unwrap();
    carry_out(&mut planner, &mut kernel);
    assert_eq!(kernel.observe(), Observed::default());
}

#[test]
fn a_kept_network_outlives_its_last_leave_and_hears_of_peers_until_it_is_let_go() {
    let mut planner = joined();
    let mut kernel = FakeKernel::new();
    planner.leave(nid(1), eid(1)).unwrap();
    drain(&mut planner);
    planner.keep(nid(1)).unwrap();
    planner.join(nid(1), eid(1), sandbox(1)).unwrap();
    planner.keep(nid(1)).unwrap();
    planner.leave(nid(1), eid(1)).unwrap();
    carry_out(&mut planner, &mut kernel);
    assert_eq!(kernel.observe().namespaces[&names::namespace(nid(1))].ports.len(), 0);
    assert_eq!(planner.reconcile(&kernel.observe(), Knowledge::Complete).ops, []);
    set(&mut planner, 1, 9, &record("10.1.0.99/24", mac(99), "192.0.2.9", 60));
    carry_out(&mut planner, &mut kernel);
    let fdb = |kernel: &FakeKernel| {
        kernel.observe().namespaces[&names::namespace(nid(1))].vxlans["wx1001"].fdb.len()
    };
    assert_eq!(fdb(&kernel), 1);
    planner.join(nid(1), eid(1), sandbox(2)).unwrap();
    let ops = drain(&mut planner);
    assert!(!ops.iter().any(|op| matches!(op, KernelOp::EnsureNamespace { .. })), "{ops:?}");
    assert_eq!(kernel.apply_all(&ops), []);

    planner.let_go(nid(1)).unwrap();
    assert_eq!(drain(&mut planner), [], "it is in use");
    planner.leave(nid(1), eid(1)).unwrap();
    carry_out(&mut planner, &mut kernel);
    assert_eq!(kernel.observe(), Observed::default());
}

#[test]
fn a_kept_network_goes_when_it_is_let_go_or_deleted() {
    let ends: [fn(&mut Planner); 2] = [
        |planner| planner.let_go(nid(1)).unwrap(),
        |planner| {
            planner.delete_endpoint(nid(1), eid(1)).unwrap();
            planner.delete_network(nid(1)).unwrap();
        },
    ];
    for end in ends {
        let mut planner = joined();
        planner.keep(nid(1)).unwrap();
        planner.leave(nid(1), eid(1)).unwrap();
        let ops = drain(&mut planner);
        assert!(!ops.iter().any(|op| matches!(op, KernelOp::RemoveNamespace { .. })), "{ops:?}");
        end(&mut planner);
        let ops = drain(&mut planner);
        assert!(matches!(ops.last(), Some(KernelOp::RemoveNamespace { .. })), "{ops:?}");
        planner.let_go(nid(2)).unwrap();
        assert_eq!(planner.poll_output(), None, "what was never built is not taken down");
    }
}

#[test]
fn vxlan_devices_go_before_their_namespace() {
    let mut planner = joined();
    planner.leave(nid(1), eid(1)).unwrap();
    let ops = drain(&mut planner);
    let gone = |name: &str| {
        ops.iter().position(|op| matches!(op, KernelOp::RemoveLink { name: n, .. } if n == name))
    };
    assert!(gone("wx1001").is_some() && gone("wx1002").is_some());
    assert!(matches!(ops.last(), Some(KernelOp::RemoveNamespace { .. })));
}

#[test]
fn a_join_after_a_leave_has_the_same_addresses() {
    let mut planner = joined();
    planner.leave(nid(1), eid(1)).unwrap();
    drain(&mut planner);
    let bytes = planner.join(nid(1), eid(1), sandbox(7)).unwrap();
    let record = PeerRecord::decode(&bytes).unwrap();
    assert_eq!(record.v4, Some(net("10.1.0.11/24")));
    assert_eq!((record.mac, record.vtep), (mac(11), ip(OWN_VTEP)));
    assert_eq!(record.stamp, stamp(50));
}

fn link_of(definition: &Definition, own: Addresses, to: Sandbox) -> EndpointLink {
    let mut planner = Planner::new(host());
    planner.create_network(definition).unwrap();
    planner.create_endpoint(definition.id, eid(1), own).unwrap();
    planner.join(definition.id, eid(1), to).unwrap();
    match drain(&mut planner).pop() {
        Some(KernelOp::EnsureEndpoint { link, .. }) => link,
        other => panic!("the endpoint comes last, not {other:?}"),
    }
}

fn route(to: &str, via: Option<&str>) -> Route {
    Route { to: net(to), via: via.map(ip) }
}

#[test]
fn endpoints_take_the_pools_prefix_and_default_route_to_the_gateway() {
    let own = addresses(Some("10.1.0.11/32"), Some("fd01::11"), mac(1));
    let link = link_of(&open_network(), own, sandbox(1));
    assert_eq!(link.addresses, [net("10.1.0.11/24"), net("fd01::11/64")]);
    assert_eq!(link.mtu, 1450);
    let expected = [route("0.0.0.0/0", Some("10.1.0.1")), route("::/0", Some("fd01::1"))];
    assert_eq!(link.routes, expected);
}

#[test]
fn a_sandbox_with_its_default_route_elsewhere_still_reaches_the_other_pools() {
    let own = addresses(Some("10.1.0.11/24"), None, mac(1));
    let asked = route("172.16.0.0/12", Some("10.1.0.9"));
    let to = Sandbox {
        default_route: DefaultRoute::Elsewhere,
        routes: vec![asked.clone()],
        ..sandbox(1)
    };
    let link = link_of(&open_network(), own, to);
    assert_eq!(link.routes, [route("10.2.0.0/24", Some("10.1.0.1")), asked]);
}

#[test]
fn an_internal_network_has_neither_default_route_nor_way_out() {
    let own = addresses(Some("10.9.0.11/24"), None, mac(1));
    assert_eq!(link_of(&closed_network(), own.clone(), sandbox(1)).routes, []);
    let mut planner = Planner::new(host());
    planner.create_network(&closed_network()).unwrap();
    planner.create_endpoint(nid(2), eid(1), own).unwrap();
    planner.join(nid(2), eid(1), sandbox(1)).unwrap();
    let ops = drain(&mut planner);
    assert!(!ops.iter().any(|op| matches!(op, KernelOp::EnsureWayOut { .. })));
}

#[test]
fn the_gateway_has_one_mac_on_every_host() {
    let bridge_mac = |host: Host| {
        let mut planner = Planner::new(host);
        planner.create_network(&open_network()).unwrap();
        planner.networks[&nid(1)].segments[0].bridge.mac
    };
    let other = Host { node: node(2), vtep: ip("192.0.2.2"), ..host() };
    assert_eq!(bridge_mac(host()), bridge_mac(other));
    assert!(bridge_mac(host()).is_unicast());
}

#[test]
fn a_network_that_cannot_be_carried_is_refused() {
    let create = |change: fn(&mut Definition)| {
        let mut definition = open_network();
        change(&mut definition);
        Planner::new(host()).create_network(&definition).unwrap_err()
    };
    assert_eq!(create(|d| d.subnets.clear()), PlanError::NoSubnet(nid(1)));
    assert_eq!(
        create(|d| d.mtu = Some(1500)),
        PlanError::MtuTooLarge { asked: 1500, maximum: 1450 }
    );
    assert_eq!(
        create(|d| d.subnets.push(subnet("10.1.0.128/25", None, 7))),
        PlanError::PoolsOverlap(net("10.1.0.0/24"), net("10.1.0.128/25"))
    );
    for gateway in ["10.3.0.1", "10.1.0.0", "10.1.0.255"] {
        let mut definition = open_network();
        definition.subnets[0].gateway = Some(ip(gateway));
        assert_eq!(
            Planner::new(host()).create_network(&definition),
            Err(PlanError::GatewayOutside { gateway: ip(gateway), pool: net("10.1.0.0/24") })
        );
    }
}

#[test]
fn two_networks_share_neither_id_nor_names_nor_vni() {
    let mut planner = joined();
    assert_eq!(planner.create_network(&open_network()), Err(PlanError::NetworkExists(nid(1))));
    let mut id = [1; 16];
    id[15] = 9;
    let near = Definition { id: NetworkId::from_bytes(id), ..open_network() };
    assert_eq!(planner.create_network(&near), Err(PlanError::NameTaken(near.id, nid(1))));
    let twin = Definition { id: nid(3), ..open_network() };
    let vni = Vni::new(1001).unwrap();
    assert_eq!(planner.create_network(&twin), Err(PlanError::VniTaken { vni, by: nid(1) }));
    planner.leave(nid(1), eid(1)).unwrap();
    planner.delete_endpoint(nid(1), eid(1)).unwrap();
    planner.delete_network(nid(1)).unwrap();
    assert_eq!(planner.create_network(&twin), Ok(()), "its vni is free again here");
}

#[test]
fn an_endpoint_gets_the_addresses_it_names_or_an_error() {
    let mut planner = joined();
    let mut create = |v4: Option<&str>, v6: Option<&str>, m| {
        planner.create_endpoint(nid(1), eid(2), addresses(v4, v6, m)).unwrap_err()
    };
    let outside = |a| PlanError::AddressOutside { network: nid(1), address: ip(a) };
    assert_eq!(create(None, None, mac(2)), PlanError::NoAddress(eid(2)));
    assert_eq!(create(Some("10.3.0.2/24"), None, mac(2)), outside("10.3.0.2"));
    assert_eq!(create(Some("10.1.0.255/24"), None, mac(2)), outside("10.1.0.255"));
    assert_eq!(create(None, Some("fd01::/64"), mac(2)), outside("fd01::"));
    assert_eq!(
        create(Some("10.1.0.1/24"), None, mac(2)),
        PlanError::AddressIsGateway(ip("10.1.0.1"))
    );
    assert_eq!(
        create(Some("10.2.0.2/24"), Some("fd01::2/64"), mac(2)),
        PlanError::TwoSegments(net("10.2.0.0/24"), net("fd01::/64"))
    );
    assert_eq!(
        create(None, Some("10.1.0.2/24"), mac(2)),
        PlanError::WrongFamily(net("10.1.0.2/24"))
    );
    let group = Mac::from_bytes([1, 0, 0, 0, 0, 1]);
    assert_eq!(create(Some("10.1.0.2/24"), None, group), PlanError::BadMac(group));
    let gateway = Mac::from_bytes([0x0a, 1, 1, 1, 1, 1]);
    assert_eq!(create(Some("10.1.0.2/24"), None, gateway), PlanError::BadMac(gateway));
    assert_eq!(
        create(Some("10.1.0.11/24"), None, mac(2)),
        PlanError::AddressTaken { address: ip("10.1.0.11"), by: eid(1) }
    );
    assert_eq!(
        create(Some("10.1.0.2/24"), None, mac(11)),
        PlanError::MacTaken { mac: mac(11), by: eid(1) }
    );
}

#[test]
fn steps_out_of_order_have_their_errors_and_change_nothing() {
    let mut planner = joined();
    let own = || addresses(Some("10.1.0.2/24"), None, mac(2));
    assert_eq!(planner.create_endpoint(nid(9), eid(2), own()), Err(PlanError::NoNetwork(nid(9))));
    assert_eq!(
        planner.create_endpoint(nid(1), eid(1), own()),
        Err(PlanError::EndpointExists(eid(1)))
    );
    assert_eq!(planner.join(nid(1), eid(2), sandbox(2)), Err(PlanError::NoEndpoint(eid(2))));
    assert_eq!(planner.join(nid(1), eid(1), sandbox(2)), Err(PlanError::EndpointJoined(eid(1))));
    assert_eq!(planner.delete_endpoint(nid(1), eid(1)), Err(PlanError::EndpointJoined(eid(1))));
    assert_eq!(planner.delete_endpoint(nid(1), eid(2)), Err(PlanError::NoEndpoint(eid(2))));
    let busy = PlanError::NetworkBusy { network: nid(1), endpoints: 1 };
    assert_eq!(planner.delete_network(nid(1)), Err(busy));
    planner.create_endpoint(nid(1), eid(2), own()).unwrap();
    assert_eq!(planner.leave(nid(1), eid(2)), Err(PlanError::NotJoined(eid(2))));
    assert_eq!(drain(&mut planner), []);
}

#[test]
fn an_interface_name_must_be_free_and_possible() {
    let mut planner = joined();
    planner.create_endpoint(nid(1), eid(2), addresses(Some("10.1.0.2/24"), None, mac(2))).unwrap();
    for name in ["", "lo", "..", "a/b", "a b", "a:b", "sixteen-letters-", "übel"] {
        let to = Sandbox { ifname: name.to_owned(), ..sandbox(2) };
        let refused = Err(PlanError::BadInterfaceName(name.to_owned()));
        assert_eq!(planner.join(nid(1), eid(2), to), refused);
    }
    let taken = PlanError::InterfaceTaken { ifname: "eth0".to_owned(), by: eid(1) };
    assert_eq!(planner.join(nid(1), eid(2), sandbox(1)), Err(taken));
    planner.leave(nid(1), eid(1)).unwrap();
    assert!(planner.join(nid(1), eid(2), sandbox(1)).is_ok(), "a leave frees the name");
}

#[test]
fn several_endpoints_of_one_sandbox_have_names_of_their_own() {
    let mut planner = joined();
    planner.create_endpoint(nid(2), eid(2), addresses(Some("10.9.0.2/24"), None, mac(2))).unwrap();
    let to = Sandbox { ifname: "eth1".to_owned(), ..sandbox(1) };
    assert!(planner.join(nid(2), eid(2), to).is_ok());
}
