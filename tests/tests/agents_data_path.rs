//! Packets between real agents' endpoints: who is reached, and who is not.

use std::net::IpAddr;

use weft_api::control::NetworkCreate;
use weft_tests::testbed::{Sandbox, Testbed, Underlay, addresses, knows, with_subnets};

struct Place {
    network: &'static str,
    sandbox: Sandbox,
    addresses: Vec<IpAddr>,
}

/// Attaches one endpoint on each host to each network.
async fn attach_everywhere(testbed: &Testbed, networks: &[&'static str]) -> Vec<Place> {
    let mut places = Vec::new();
    for host in 0..testbed.hosts.len() {
        for network in networks {
            let (sandbox, endpoint) = testbed.attach(host, network, &format!("e{host}")).await;
            places.push(Place { network, sandbox, addresses: addresses(&endpoint) });
        }
    }
    places
}

/// Checks that exactly the pairs of one network reach each other, with full packets too.
async fn expect_pairs(places: &[Place], mtu: u32) {
    for from in places {
        let others = |same: bool| {
            let chosen = places.iter().filter(move |to| (to.network == from.network) == same);
            chosen.flat_map(|to| to.addresses.clone()).collect::<Vec<_>>()
        };
        from.sandbox.reaches(&others(true)).await;
        from.sandbox.reaches_in_full(&others(true), mtu).await;
        from.sandbox.reaches_none_of(&others(false)).await;
    }
}

fn dual_stack(name: &str) -> NetworkCreate {
    NetworkCreate { ipv6: true, ..NetworkCreate::named(name) }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_dual_stack_each_pair_of_a_network_answers_and_no_other_pair() {
    let testbed = Testbed::cluster(3).await;
    testbed.hosts[0].client.create_network(&dual_stack("blue")).await.expect("blue");
    testbed.hosts[1].client.create_network(&dual_stack("green")).await.expect("green");
    let places = attach_everywhere(&testbed, &["blue", "green"]).await;
    let all: std::collections::BTreeSet<_> = places.iter().flat_map(|p| &p.addresses).collect();
    assert_eq!(all.len(), 12, "each endpoint has an address of each family, none twice");
    expect_pairs(&places, 1450).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipv6_underlay_carries_both_families() {
    let testbed = Testbed::cluster_on(Underlay::V6, 2).await;
    testbed.hosts[0].client.create_network(&dual_stack("blue")).await.expect("blue");
    testbed.hosts[1].client.create_network(&dual_stack("green")).await.expect("green");
    let places = attach_everywhere(&testbed, &["blue", "green"]).await;
    expect_pairs(&places, 1430).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_of_all_subnets_of_a_network_reach_each_other() {
    let testbed = Testbed::cluster(2).await;
    let subnets = ["10.61.0.0/24", "10.62.0.0/24", "fd00:61::/64", "fd00:62::/64"];
    testbed.hosts[0].client.create_network(&with_subnets("wide", &subnets)).await.expect("wide");
    let mut places = Vec::new();
    for (host, subnet) in [(0, 1), (0, 2), (1, 1), (1, 2)] {
        let sandbox = testbed.sandbox(&format!("w{host}{subnet}"));
        let v4 = format!("10.6{subnet}.0.{}", 10 + host);
        let ran =
            testbed.hosts[host].weft(&["attach", "wide", "--netns", sandbox.text(), "--ip", &v4]);
        ran.line();
        let v6 = testbed.hosts[host]
            .client
            .endpoints(Some("wide"), &Default::default())
            .await
            .expect("endpoints")
            .into_iter()
            .find(|endpoint| addresses(endpoint).contains(&v4.parse().expect("an address")))
            .and_then(|endpoint| endpoint.address_ipv6)
            .expect("the segment's other family")
            .ip();
        assert!(v6.to_string().starts_with(&format!("fd00:6{subnet}::")), "{v6} beside {v4}");
        places.push((sandbox, [v4.parse().expect("an address"), v6]));
    }
    let all: Vec<IpAddr> = places.iter().flat_map(|(_, addresses)| *addresses).collect();
    for (sandbox, _) in &places {
        sandbox.reaches(&all).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_network_has_no_way_out_and_others_have() {
    let mut testbed = Testbed::cluster(2).await;
    let outside = testbed.add_host().await;
    let outside = testbed.hosts[outside].addresses();
    let shut = NetworkCreate { internal: true, ..dual_stack("shut") };
    testbed.hosts[0].client.create_network(&shut).await.expect("shut");
    testbed.hosts[0].client.create_network(&dual_stack("open")).await.expect("open");
    for host in 0..2 {
        knows(&testbed.hosts[host].client, "open").await;
        let (open, _) = testbed.attach(host, "open", &format!("o{host}")).await;
        open.reaches(&outside).await;
        knows(&testbed.hosts[host].client, "shut").await;
        let (shut, endpoint) = testbed.attach(host, "shut", &format!("s{host}")).await;
        let sandbox = endpoint.sandbox.expect("joined");
        assert_eq!((sandbox.gateway, sandbox.gateway_ipv6), (None, None));
        shut.reaches_none_of(&outside).await;
        shut.reaches_none_of(&testbed.hosts[host].addresses()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_answers_on_each_host_though_it_is_cut_off() {
    let mut testbed = Testbed::cluster(2).await;
    testbed.hosts[0].client.create_network(&dual_stack("blue")).await.expect("blue");
    let (near, _) = testbed.attach(0, "blue", "near").await;
    let (far, endpoint) = testbed.attach(1, "blue", "far").await;
    let sandbox = endpoint.sandbox.expect("joined");
    let gateways = [sandbox.gateway.expect("IPv4"), sandbox.gateway_ipv6.expect("IPv6")];
    near.reaches(&gateways).await;
    testbed.cut_off(1).await;
    far.reaches(&gateways).await;
}
