//! Endpoints whose far end waits in the host until a container engine takes it.

use weft_overlay::netlink::namespace::make_anonymous;
use weft_overlay::netlink::sandbox::{self, Interface};
use weft_overlay::netlink::{Connection, Executor, Namespace, NetlinkError, link, veth};
use weft_overlay::op::{HandOver, KernelOp, Place};

use crate::bed::{Bed, Endpoint, Host, NETWORK, Underlay, mac, net, v4, v6};
use crate::wire::{is_silent, pings};

fn ensure(host: &Host, number: u8, hand_over: HandOver) -> KernelOp {
    let link = host.handed_link(number, hand_over);
    KernelOp::EnsureHanded { namespace: NETWORK.to_owned(), link }
}

/// A host with the network, an endpoint of ours, and another that waits to be taken.
async fn waiting() -> (Bed, Endpoint) {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    host.build().await;
    let neighbour = host.join(10).await;
    let op = ensure(host, 20, HandOver::First);
    host.apply(vec![op]).await;
    (bed, neighbour)
}

/// Does as libnetwork: moves the link out of the host, renames it, addresses it, sets it up.
async fn take(host: &Host, number: u8) -> Namespace {
    let container = make_anonymous().unwrap();
    let mut outside = Connection::open(&host.namespace).await.unwrap();
    let wanted = Interface {
        ifname: "eth0".to_owned(),
        mac: None,
        mtu: None,
        addresses: vec![
            ipnetwork::IpNetwork::new(v4(host.number, number), 16).unwrap(),
            ipnetwork::IpNetwork::new(v6(host.number, number), 64).unwrap(),
        ],
        routes: Vec::new(),
    };
    let name = host.handed_link(number, HandOver::First).host_link;
    let from = (&mut outside, &host.namespace);
    sandbox::move_in(from, &name, &container, &wanted).await.unwrap();
    container
}

async fn in_host(host: &Host, name: &str) -> Option<link::Link> {
    let mut outside = Connection::open(&host.namespace).await.unwrap();
    link::find(&mut outside, name).await.unwrap()
}

async fn port_of(host: &Host) -> link::Link {
    let mut inside = Connection::open(&host.network()).await.unwrap();
    link::get(&mut inside, "p20").await.unwrap()
}

#[tokio::test]
async fn what_waits_has_mac_and_mtu_and_is_down() {
    let (bed, _) = waiting().await;
    let host = &bed.hosts[0];
    let wanted = host.handed_link(20, HandOver::First);
    let waits = in_host(host, &wanted.host_link).await.unwrap();
    assert_eq!((waits.mac, waits.mtu, waits.up), (Some(mac(1, 20)), host.mtu(), false));
    let port = port_of(host).await;
    assert!(port.up && !port.carrier);
}

#[tokio::test]
async fn an_engine_takes_it_and_its_container_is_reached() {
    let (mut bed, neighbour) = waiting().await;
    let host = &mut bed.hosts[0];
    let container = take(host, 20).await;
    assert!(pings(&container, neighbour.v4) && pings(&container, neighbour.v6));
    assert!(pings(&neighbour.sandbox, v4(1, 20)) && pings(&neighbour.sandbox, v6(1, 20)));
    let observed = host.executor.observe().await.unwrap();
    assert!(observed.handed.is_empty());
    assert!(observed.namespaces[NETWORK].ports["p20"].carrier);
    assert!(observed.host_links.is_empty(), "it is not taken for a way out");
}

#[tokio::test]
async fn to_ensure_it_again_changes_nothing_before_and_after_it_is_taken() {
    let (mut bed, neighbour) = waiting().await;
    let host = &mut bed.hosts[0];
    let before = port_of(host).await;
    let ops = vec![ensure(host, 20, HandOver::First), ensure(host, 20, HandOver::Adopted)];
    host.apply(ops.clone()).await;
    assert_eq!(port_of(host).await, before);
    let container = take(host, 20).await;
    let taken = port_of(host).await;
    host.apply(ops).await;
    assert_eq!(port_of(host).await, taken);
    assert!(pings(&neighbour.sandbox, v4(1, 20)));
    drop(container);
}

#[tokio::test]
async fn a_second_executor_adopts_it_and_no_link_changes() {
    let (mut bed, neighbour) = waiting().await;
    let host = &mut bed.hosts[0];
    let container = take(host, 20).await;
    let mut inside = Connection::open(&container).await.unwrap();
    let (far, port) = (link::get(&mut inside, "eth0").await.unwrap(), port_of(host).await);
    let namespace = host.namespace.try_clone().unwrap();
    host.executor = Executor::new_in(namespace, host.run_dir()).unwrap();
    let mut ops = host.network_ops();
    ops.push(ensure(host, 20, HandOver::Adopted));
    host.apply(ops).await;
    assert_eq!(link::get(&mut inside, "eth0").await.unwrap(), far);
    assert_eq!(port_of(host).await, port);
    assert!(pings(&neighbour.sandbox, v4(1, 20)));
}

#[tokio::test]
async fn a_port_that_was_set_down_or_out_of_its_bridge_is_put_right() {
    let (mut bed, neighbour) = waiting().await;
    let host = &mut bed.hosts[0];
    let container = take(host, 20).await;
    let mut inside = Connection::open(&host.network()).await.unwrap();
    link::remove(&mut inside, "br0").await.unwrap();
    link::set_down(&mut inside, "p20").await.unwrap();
    let observed = host.executor.observe().await.unwrap();
    let port = &observed.namespaces[NETWORK].ports["p20"];
    assert!(!port.up && port.bridge.is_empty());
    host.build().await;
    let op = ensure(host, 20, HandOver::Adopted);
    host.apply(vec![op]).await;
    let mine = host.endpoint_link(10, &neighbour.sandbox);
    host.apply(vec![KernelOp::EnsureEndpoint { namespace: NETWORK.to_owned(), link: mine }]).await;
    assert!(pings(&container, neighbour.v4));
}

#[tokio::test]
async fn adoption_does_not_mind_a_far_end_that_is_down() {
    let (mut bed, _) = waiting().await;
    let host = &mut bed.hosts[0];
    let container = take(host, 20).await;
    let mut inside = Connection::open(&container).await.unwrap();
    link::set_down(&mut inside, "eth0").await.unwrap();
    let op = ensure(host, 20, HandOver::Adopted);
    host.apply(vec![op]).await;
    assert!(!link::get(&mut inside, "eth0").await.unwrap().up, "its container set it down");
}

#[tokio::test]
async fn adoption_of_what_is_gone_is_refused_and_makes_nothing() {
    let (mut bed, _neighbour) = waiting().await;
    let host = &mut bed.hosts[0];
    drop(take(host, 20).await);
    let mut inside = Connection::open(&host.network()).await.unwrap();
    link::remove(&mut inside, "p20").await.unwrap();
    let op = ensure(host, 20, HandOver::Adopted);
    let failures = host.executor.apply(vec![op]).await;
    assert!(
        matches!(&failures[..], [(0, NetlinkError::HandedGone(port))] if port == "p20"),
        "{failures:?}"
    );
    let observed = host.executor.observe().await.unwrap();
    assert!(!observed.namespaces[NETWORK].ports.contains_key("p20"));
    assert!(observed.handed.is_empty());
    assert!(!host.executor.has_link(NETWORK, "p20").await.unwrap());
    assert!(host.executor.has_link(NETWORK, "p10").await.unwrap());
    assert!(!host.executor.has_link("nowhere", "p10").await.unwrap());
}

#[tokio::test]
async fn a_leave_takes_the_containers_interface_away() {
    let (mut bed, _) = waiting().await;
    let host = &mut bed.hosts[0];
    let container = take(host, 20).await;
    let place = Place::Network(NETWORK.to_owned());
    host.apply(vec![KernelOp::RemoveLink { place, name: "p20".to_owned() }]).await;
    let mut inside = Connection::open(&container).await.unwrap();
    assert!(link::find(&mut inside, "eth0").await.unwrap().is_none());
}

#[tokio::test]
async fn what_an_earlier_start_left_in_the_host_is_replaced() {
    let (mut bed, neighbour) = waiting().await;
    let host = &mut bed.hosts[0];
    let wanted = host.handed_link(20, HandOver::First);
    // The pair of a network's namespace that is no longer pinned.
    let elsewhere = make_anonymous().unwrap();
    let mut outside = Connection::open(&host.namespace).await.unwrap();
    link::remove(&mut outside, &wanted.host_link).await.unwrap();
    let group = weft_overlay::netlink::endpoint::HANDED_GROUP;
    let left = veth::End { name: wanted.host_link.clone(), mac: None, group };
    veth::create(&mut outside, &left, &veth::End::named("p20"), &elsewhere, 1400).await.unwrap();
    let observed = host.executor.observe().await.unwrap();
    assert!(observed.handed.contains(&wanted.host_link), "a leftover shows");
    let op = ensure(host, 20, HandOver::First);
    host.apply(vec![op]).await;
    let container = take(host, 20).await;
    assert!(pings(&container, neighbour.v4));
}

#[tokio::test]
async fn a_strangers_link_of_that_name_is_left_alone() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    host.build().await;
    let wanted = host.handed_link(20, HandOver::First);
    let mut outside = Connection::open(&host.namespace).await.unwrap();
    let (near, far) = (veth::End::named(&wanted.host_link), veth::End::named("strange"));
    veth::create(&mut outside, &near, &far, &host.namespace, 1400).await.unwrap();
    let before = in_host(host, &wanted.host_link).await;
    assert!(host.executor.observe().await.unwrap().handed.is_empty());
    let op = ensure(host, 20, HandOver::First);
    let failures = host.executor.apply(vec![op]).await;
    assert!(matches!(failures[0].1, NetlinkError::WrongKind { .. }), "{failures:?}");
    assert_eq!(in_host(host, &wanted.host_link).await, before);
    assert!(host.executor.observe().await.unwrap().namespaces[NETWORK].ports.is_empty());
}

#[tokio::test]
async fn before_it_is_taken_nobody_answers_for_it() {
    let (_bed, neighbour) = waiting().await;
    assert!(is_silent(&neighbour.sandbox, v4(1, 20)));
    assert!(is_silent(&neighbour.sandbox, net("fd77::1:20/64").ip()));
}
