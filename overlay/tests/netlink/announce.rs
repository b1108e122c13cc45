//! Endpoints that remember another one's MAC are told when its address has another.

use std::net::IpAddr;

use weft_api::Mac;
use weft_overlay::netlink::namespace::make_anonymous;
use weft_overlay::op::{KernelOp, Neighbour, Place};

use crate::bed::{
    BRIDGE, Endpoint, Host, NETWORK, Underlay, mac, remove_ops, replace_ops, three_hosts,
};
use crate::wire::{Listener, is_silent, pings};

fn announce(ports: &[&str], ips: [IpAddr; 2], mac: Mac) -> Vec<KernelOp> {
    let op = |ip| KernelOp::Announce {
        namespace: NETWORK.to_owned(),
        bridge: BRIDGE.to_owned(),
        ports: ports.iter().map(|port| (*port).to_owned()).collect(),
        entry: Neighbour { ip, mac },
    };
    ips.map(op).to_vec()
}

/// Restarts an endpoint as an engine does: the same addresses, another sandbox, another MAC.
async fn restart(host: &mut Host, number: u8, old: &Endpoint, mac: Mac) -> Endpoint {
    let (namespace, place) = (NETWORK.to_owned(), Place::Network(NETWORK.to_owned()));
    let sandbox = make_anonymous().unwrap();
    let mut link = host.endpoint_link(number, &sandbox);
    link.mac = mac;
    let gone = KernelOp::RemoveLink { place, name: link.port.clone() };
    host.apply(vec![gone, KernelOp::EnsureEndpoint { namespace, link }]).await;
    Endpoint { sandbox, mac, ..*old }
}

#[tokio::test]
async fn a_peer_with_another_mac_is_reached_by_who_remembers_the_old_one() {
    let (mut bed, endpoints) = three_hosts(Underlay::V4).await;
    let near = bed.hosts[0].join(11).await;
    bed.hosts[1].learn(&near).await;
    let (callers, old) = ([&endpoints[0], &near], &endpoints[1]);
    let ips = [old.v4, old.v6];
    for (caller, ip) in callers.into_iter().flat_map(|caller| ips.map(|ip| (caller, ip))) {
        assert!(pings(&caller.sandbox, ip), "{} to {ip}", caller.v4);
    }
    let new = restart(&mut bed.hosts[1], 10, old, mac(2, 99)).await;
    bed.hosts[0].apply(replace_ops(new.mac, new.vtep, &ips)).await;
    bed.hosts[0].apply(remove_ops(old.mac, old.vtep, &[])).await;
    for ip in ips {
        assert!(is_silent(&endpoints[0].sandbox, ip), "the old entry stands in the way to {ip}");
    }
    bed.hosts[0].apply(announce(&["p10", "p11"], ips, new.mac)).await;
    for (caller, ip) in callers.into_iter().flat_map(|caller| ips.map(|ip| (caller, ip))) {
        assert!(pings(&caller.sandbox, ip), "{} to {ip}", caller.v4);
    }
}

#[tokio::test]
async fn a_neighbour_with_another_mac_is_reached_by_the_gateway_too() {
    let (mut bed, endpoints) = three_hosts(Underlay::V4).await;
    let host = &mut bed.hosts[0];
    let old = host.join(11).await;
    let (caller, gateway) = (&endpoints[0].sandbox, host.network());
    let ips = [old.v4, old.v6];
    for (from, ip) in [caller, &gateway].into_iter().flat_map(|from| ips.map(|ip| (from, ip))) {
        assert!(pings(from, ip), "{ip}");
    }
    let new = restart(host, 11, &old, mac(1, 99)).await;
    for (from, ip) in [caller, &gateway].into_iter().flat_map(|from| ips.map(|ip| (from, ip))) {
        assert!(is_silent(from, ip), "the old entry stands in the way to {ip}");
    }
    host.apply(announce(&["p10"], ips, new.mac)).await;
    for (from, ip) in [caller, &gateway].into_iter().flat_map(|from| ips.map(|ip| (from, ip))) {
        assert!(pings(from, ip), "{ip}");
    }
}

#[tokio::test]
async fn an_announcement_is_seen_behind_its_ports_alone_and_on_no_other_host() {
    let (mut bed, endpoints) = three_hosts(Underlay::V4).await;
    let near = bed.hosts[0].join(11).await;
    bed.hosts[1].learn(&near).await;
    let told = Listener::in_namespace(&endpoints[0].sandbox);
    let not_told = [
        Listener::in_namespace(&near.sandbox),
        Listener::in_namespace(&endpoints[1].sandbox),
        Listener::in_namespace(&bed.hosts[0].namespace),
    ];
    let inside = Listener::in_namespace(&bed.hosts[0].network());
    let (addresses, new) = ([endpoints[1].v4, endpoints[1].v6], mac(9, 9));
    bed.hosts[0].apply(announce(&["p10"], addresses, new)).await;
    // What comes after it on the same ways shows that it would have arrived.
    assert!(pings(&near.sandbox, endpoints[1].v4) && pings(&near.sandbox, endpoints[0].v4));
    assert_eq!(told.frames_about(new), 2, "one a family");
    assert_eq!(not_told.map(|listener| listener.frames_about(new)), [0; 3]);
    assert_eq!(inside.frames_about(new), 2, "on the port, not on the bridge or the tunnel");
}

#[tokio::test]
async fn there_is_nobody_to_be_told_where_all_is_gone() {
    let (mut bed, endpoints) = three_hosts(Underlay::V4).await;
    let host = &mut bed.hosts[0];
    let ips = [endpoints[1].v4, endpoints[1].v6];
    host.apply(announce(&["p77"], ips, mac(9, 9))).await;
    host.apply(vec![KernelOp::RemoveLink {
        place: Place::Network(NETWORK.to_owned()),
        name: BRIDGE.to_owned(),
    }])
    .await;
    host.apply(announce(&["p10"], ips, mac(9, 9))).await;
    host.apply(vec![KernelOp::RemoveNamespace { name: NETWORK.to_owned() }]).await;
    host.apply(announce(&["p10"], ips, mac(9, 9))).await;
}
