//! Endpoints on three hosts reach each other, and only each other.

use std::time::Duration;

use weft_overlay::op::KernelOp;

use crate::bed::{MTU, NETWORK, Underlay, mac, replace_ops, three_hosts, v4, v6};
use crate::wire::{is_silent, ping, pings, tcp_round_trip, udp_round_trip};

#[tokio::test]
async fn every_pair_of_endpoints_answers_over_both_families() {
    let (_bed, endpoints) = three_hosts(Underlay::V4).await;
    for from in &endpoints {
        for to in endpoints.iter().filter(|to| to.vtep != from.vtep) {
            assert!(pings(&from.sandbox, to.v4), "{} to {}", from.v4, to.v4);
            assert!(pings(&from.sandbox, to.v6), "{} to {}", from.v6, to.v6);
        }
    }
    let (a, b) = (&endpoints[0], &endpoints[1]);
    let seen = udp_round_trip(&a.sandbox, &b.sandbox, b.v4, 512).unwrap();
    assert_eq!(seen.ip(), a.v4, "nothing rewrites addresses inside a network");
    udp_round_trip(&a.sandbox, &b.sandbox, b.v6, 512).unwrap();
    tcp_round_trip(&a.sandbox, &b.sandbox, b.v4).unwrap();
    tcp_round_trip(&a.sandbox, &b.sandbox, b.v6).unwrap();
}

#[tokio::test]
async fn a_full_packet_passes_whole_and_a_larger_one_is_refused() {
    let (_bed, endpoints) = three_hosts(Underlay::V4).await;
    let (a, b) = (&endpoints[0], &endpoints[1]);
    // Linux sets DF on what fits; IP and ICMP headers are 28 octets, or 48.
    let full = MTU as usize - 28;
    ping(&a.sandbox, b.v4, full, Duration::from_secs(2)).unwrap();
    ping(&a.sandbox, b.v6, MTU as usize - 48, Duration::from_secs(2)).unwrap();
    let raw_too_large = crate::wire::send_with_df(&a.sandbox, b.v4, MTU as usize + 1);
    assert_eq!(raw_too_large.unwrap_err().raw_os_error(), Some(nix::libc::EMSGSIZE));
    crate::wire::send_with_df(&a.sandbox, b.v4, MTU as usize).unwrap();
}

#[tokio::test]
async fn endpoints_of_one_host_reach_each_other() {
    let (mut bed, endpoints) = three_hosts(Underlay::V4).await;
    let second = bed.hosts[0].join(11).await;
    assert!(pings(&endpoints[0].sandbox, second.v4));
    assert!(pings(&second.sandbox, endpoints[0].v6));
    bed.hosts[1].learn(&second).await;
    assert!(pings(&second.sandbox, endpoints[1].v4));
}

#[tokio::test]
async fn the_gateway_is_answered_on_the_own_host_only() {
    let (mut bed, endpoints) = three_hosts(Underlay::V4).await;
    let gateway = [v4(0, 1), v6(0, 1)];
    for ip in gateway {
        assert!(pings(&endpoints[0].sandbox, ip));
    }
    // Without addresses on its own bridge no other host's gateway answers.
    let mut bridge = bed.hosts[0].bridge();
    bridge.addresses.clear();
    let op = KernelOp::EnsureBridge { namespace: NETWORK.to_owned(), bridge };
    bed.hosts[0].apply(vec![op]).await;
    for ip in gateway {
        assert!(is_silent(&endpoints[0].sandbox, ip), "{ip}");
    }
}

#[tokio::test]
async fn replacing_a_forwarding_entry_moves_a_peer() {
    let (mut bed, endpoints) = three_hosts(Underlay::V4).await;
    let (a, b) = (&endpoints[0], &endpoints[1]);
    assert!(pings(&a.sandbox, b.v4));
    let wrong_host = endpoints[2].vtep;
    bed.hosts[0].apply(replace_ops(b.mac, wrong_host, &[b.v4])).await;
    assert!(is_silent(&a.sandbox, b.v4), "the peer is no longer where it was");
    bed.hosts[0].apply(replace_ops(b.mac, b.vtep, &[b.v4])).await;
    assert!(pings(&a.sandbox, b.v4));
    let observed = bed.hosts[0].executor.observe().await.unwrap();
    let fdb = &observed.namespaces[NETWORK].vxlans["vx0"].fdb;
    let of_peer: Vec<_> = fdb.iter().filter(|entry| entry.mac == mac(2, 10)).collect();
    assert_eq!(of_peer.len(), 1, "a MAC has one host: {of_peer:?}");
}

#[tokio::test]
async fn an_unknown_peer_is_not_looked_for_by_flooding() {
    let (mut bed, endpoints) = three_hosts(Underlay::V4).await;
    let silent = bed.hosts[1].join(99).await;
    assert!(is_silent(&endpoints[0].sandbox, silent.v4));
    assert!(is_silent(&endpoints[0].sandbox, silent.v6));
}

#[tokio::test]
async fn a_frame_to_another_host_is_not_shown_to_the_neighbours_on_this_one() {
    let (mut bed, endpoints) = three_hosts(Underlay::V4).await;
    let bystander = bed.hosts[0].join(11).await;
    assert!(pings(&endpoints[0].sandbox, endpoints[1].v4));
    let listener = crate::wire::Listener::in_namespace(&bystander.sandbox);
    assert!(pings(&endpoints[0].sandbox, endpoints[1].v4));
    let seen = listener.frames_to(endpoints[1].mac);
    assert_eq!(seen, 0, "a bridge that learns nothing must not flood");
}

#[tokio::test]
async fn broadcast_and_multicast_stay_on_their_host() {
    let (mut bed, endpoints) = three_hosts(Underlay::V4).await;
    let neighbour = bed.hosts[0].join(11).await;
    let near = crate::wire::Listener::in_namespace(&neighbour.sandbox);
    let far = crate::wire::Listener::in_namespace(&endpoints[1].sandbox);
    let groups = ["10.77.255.255", "224.0.0.251"];
    for group in groups {
        crate::wire::shout(&endpoints[0].sandbox, group.parse().unwrap());
    }
    // What comes after them on the same way shows that they would have arrived.
    assert!(pings(&endpoints[0].sandbox, endpoints[1].v4));
    assert_eq!(near.shouts(), groups.len());
    assert_eq!(far.shouts(), 0);
}
