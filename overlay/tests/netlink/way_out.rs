//! Endpoints reach the outside through their host; the outside does not reach them.

use std::net::IpAddr;
use std::process::{Command, Output};

use weft_overlay::netlink::namespace::{make_anonymous, run_in};
use weft_overlay::netlink::{
    Connection, Namespace, address, link, route, rule, sysctl, uplink, veth,
};
use weft_overlay::op::{KernelOp, Route};

use crate::bed::{Bed, Endpoint, NETWORK, Underlay, net};
use crate::wire::{is_silent, pings, tcp_round_trip, udp_round_trip};

const OUTSIDE_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

fn outside_v6() -> IpAddr {
    "2001:db8:9::9".parse().unwrap()
}

/// A host behind the first host's second interface, which knows no route back to any pool.
pub(crate) async fn outside(bed: &Bed) -> Namespace {
    let (host, outside) = (&bed.hosts[0].namespace, make_anonymous().unwrap());
    let mut here = Connection::open(host).await.unwrap();
    let mut there = Connection::open(&outside).await.unwrap();
    let (near, far) = (veth::End::named("wan"), veth::End::named("eth0"));
    veth::create(&mut here, &near, &far, &outside, 1500).await.unwrap();
    let sides = [
        (&mut here, "wan", ["203.0.113.1/24", "2001:db8:9::1/64"]),
        (&mut there, "eth0", ["203.0.113.9/24", "2001:db8:9::9/64"]),
    ];
    for (connection, name, addresses) in sides {
        link::set_up(connection, name).await.unwrap();
        let index = link::get(connection, name).await.unwrap().index;
        for text in addresses {
            address::add(connection, index, net(text)).await.unwrap();
        }
    }
    outside
}

async fn with_way_out() -> (Bed, Endpoint, Namespace) {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let outside = outside(&bed).await;
    let host = &mut bed.hosts[0];
    host.build().await;
    let endpoint = host.join(10).await;
    let way = host.way_out();
    host.apply(vec![KernelOp::EnsureWayOut { namespace: NETWORK.to_owned(), way }]).await;
    (bed, endpoint, outside)
}

/// Runs `nft` in a namespace: these tests read our messages with other eyes.
pub(crate) fn nft(namespace: &Namespace, arguments: &str) -> Output {
    let run = || Command::new("nft").args(arguments.split(' ')).output();
    let hint = "these tests read rules back with `nft`: apt-get install nftables";
    run_in(namespace, run).unwrap().expect(hint)
}

pub(crate) fn listed(namespace: &Namespace, what: &str) -> String {
    let output = nft(namespace, what);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn endpoints_reach_the_outside_under_their_hosts_address() {
    let (_bed, endpoint, outside) = with_way_out().await;
    assert!(pings(&endpoint.sandbox, OUTSIDE_V4));
    assert!(pings(&endpoint.sandbox, outside_v6()));
    let seen = udp_round_trip(&endpoint.sandbox, &outside, OUTSIDE_V4, 100).unwrap();
    assert_eq!(seen.ip(), IpAddr::from([203, 0, 113, 1]), "masqueraded");
    let seen = udp_round_trip(&endpoint.sandbox, &outside, outside_v6(), 100).unwrap();
    assert_eq!(seen.ip(), "2001:db8:9::1".parse::<IpAddr>().unwrap(), "masqueraded");
    tcp_round_trip(&endpoint.sandbox, &outside, OUTSIDE_V4).unwrap();
}

#[tokio::test]
async fn a_strict_reverse_path_filter_is_satisfied() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let _outside = outside(&bed).await;
    let strict = ["all", "default", "wan"].map(|n| (format!("ipv4/conf/{n}/rp_filter"), "1"));
    let host = &mut bed.hosts[0];
    sysctl::write_all(&host.namespace, &strict).unwrap();
    host.build().await;
    let endpoint = host.join(10).await;
    let way = host.way_out();
    host.apply(vec![KernelOp::EnsureWayOut { namespace: NETWORK.to_owned(), way }]).await;
    assert!(pings(&endpoint.sandbox, OUTSIDE_V4));
}

#[tokio::test]
async fn the_host_reaches_its_endpoints_and_the_outside_does_not() {
    let (bed, endpoint, outside) = with_way_out().await;
    assert!(pings(&bed.hosts[0].namespace, endpoint.v4));
    assert!(pings(&bed.hosts[0].namespace, endpoint.v6));
    let mut there = Connection::open(&outside).await.unwrap();
    let index = link::get(&mut there, "eth0").await.unwrap().index;
    let back = Route { to: net("10.77.0.0/16"), via: Some([203, 0, 113, 1].into()) };
    let entry =
        route::Entry { route: back, link: index, table: route::MAIN, onlink: route::Onlink::No };
    route::replace(&mut there, &entry).await.unwrap();
    assert!(is_silent(&outside, endpoint.v4), "nobody comes in who was not asked");
}

#[tokio::test]
async fn networks_do_not_reach_each_other_through_their_host() {
    let (mut bed, endpoint, _outside) = with_way_out().await;
    let host = &mut bed.hosts[0];
    let other = "net-b".to_owned();
    let mut bridge = host.bridge();
    bridge.addresses = vec![net("10.78.0.1/16")];
    let mut vxlan = host.vxlan();
    vxlan.vni = weft_api::Vni::new(7778).unwrap();
    let sandbox = make_anonymous().unwrap();
    let mut link = host.endpoint_link(20, &sandbox);
    link.addresses = vec![net("10.78.0.20/16")];
    link.routes = vec![Route { to: net("0.0.0.0/0"), via: Some([10, 78, 0, 1].into()) }];
    let mut way = host.way_out();
    way.host_link = "wf-b".to_owned();
    way.pools = vec![net("10.78.0.0/16")];
    host.apply(vec![
        KernelOp::EnsureNamespace { name: other.clone() },
        KernelOp::EnsureBridge { namespace: other.clone(), bridge },
        KernelOp::EnsureVxlan { namespace: other.clone(), vxlan },
        KernelOp::EnsureEndpoint { namespace: other.clone(), link },
        KernelOp::EnsureWayOut { namespace: other.clone(), way: way.clone() },
    ])
    .await;
    assert!(pings(&sandbox, OUTSIDE_V4), "both networks have their way out");
    assert!(pings(&endpoint.sandbox, OUTSIDE_V4));
    assert!(is_silent(&sandbox, endpoint.v4));
    assert!(is_silent(&endpoint.sandbox, [10, 78, 0, 20].into()));

    // The one is removed, the other stays.
    host.apply(vec![KernelOp::RemoveWayOut { namespace: other, way }]).await;
    assert!(pings(&endpoint.sandbox, OUTSIDE_V4));
    assert!(is_silent(&sandbox, OUTSIDE_V4));
    assert_eq!(host.executor.observe().await.unwrap().host_links.len(), 1);
}

#[tokio::test]
async fn nft_reads_our_rules_and_pools_stay_out_of_the_main_table() {
    let (mut bed, _endpoint, _outside) = with_way_out().await;
    let host = &mut bed.hosts[0];
    let rules = listed(&host.namespace, "list table inet weft");
    for expected in [
        "type nat hook postrouting priority srcnat; policy accept;",
        "type filter hook forward priority filter; policy accept;",
        "ip saddr 10.77.0.0/16 ip daddr != 10.77.0.0/16 oifgroup != 30565 masquerade",
        "ip6 saddr fd77::/64 ip6 daddr != fd77::/64 oifgroup != 30565 masquerade",
        "oifgroup 30565 ct status dnat accept",
        "ct state established,related accept",
        "comment \"weft wf-a 10.77.0.0/16\"",
    ] {
        assert!(rules.contains(expected), "{expected} is missing in\n{rules}");
    }
    let mut connection = Connection::open(&host.namespace).await.unwrap();
    let routes = route::list(&mut connection).await.unwrap();
    let of_pool = routes.iter().filter(|entry| entry.route.to == net("10.77.0.0/16"));
    assert!(of_pool.clone().count() == 1 && of_pool.clone().all(|e| e.table != route::MAIN));
    let prefixes = uplink::prefixes(&mut connection).await.unwrap();
    assert!(!prefixes.contains(&net("10.77.0.0/16")), "our own pools are not the host's routes");

    let way = host.way_out();
    host.apply(vec![KernelOp::RemoveWayOut { namespace: NETWORK.to_owned(), way }]).await;
    assert_eq!(listed(&host.namespace, "list ruleset").trim(), "");
    let routes = route::list(&mut connection).await.unwrap();
    assert!(routes.iter().all(|entry| entry.route.to != net("10.77.0.0/16")));
}

#[tokio::test]
async fn a_forward_policy_of_drop_is_passed_and_left_as_it_was() {
    let (mut bed, endpoint, _outside) = with_way_out().await;
    let host = &mut bed.hosts[0];
    for family in ["ip", "ip6"] {
        nft(&host.namespace, &format!("add table {family} filter"));
        let chain = format!(
            "add chain {family} filter FORWARD {{ type filter hook forward priority 0; policy drop; }}"
        );
        assert!(nft(&host.namespace, &chain).status.success());
    }
    let before = listed(&host.namespace, "list table ip filter");
    assert!(is_silent(&endpoint.sandbox, OUTSIDE_V4), "the policy drops");
    let observed = host.executor.observe().await.unwrap();
    assert_eq!(observed.namespaces[NETWORK].way_out, None, "so the way out is not whole");
    let obstacles = uplink::obstacles(&host.namespace).await.unwrap();
    let chains: Vec<_> = obstacles.iter().map(|obstacle| obstacle.chain.as_str()).collect();
    assert_eq!(chains, ["ip filter FORWARD", "ip6 filter FORWARD"]);

    let way = host.way_out();
    let ensure = KernelOp::EnsureWayOut { namespace: NETWORK.to_owned(), way: way.clone() };
    host.apply(vec![ensure.clone(), ensure.clone()]).await;
    assert!(pings(&endpoint.sandbox, OUTSIDE_V4));
    assert!(pings(&endpoint.sandbox, outside_v6()));
    let rules = listed(&host.namespace, "list table ip filter");
    assert_eq!(rules.matches("weft from wf-a").count(), 1, "{rules}");
    assert_eq!(rules.matches("weft to wf-a").count(), 1, "{rules}");
    assert!(host.executor.observe().await.unwrap().namespaces[NETWORK].way_out.is_some());

    // Where Docker leaves a chain to others, rules go there.
    nft(&host.namespace, "add chain ip filter DOCKER-USER");
    nft(&host.namespace, "insert rule ip filter FORWARD jump DOCKER-USER");
    host.apply(vec![ensure]).await;
    let user = listed(&host.namespace, "list chain ip filter DOCKER-USER");
    assert!(user.contains("weft from wf-a"), "{user}");
    host.apply(vec![KernelOp::RemoveWayOut { namespace: NETWORK.to_owned(), way }]).await;
    nft(&host.namespace, "flush chain ip filter FORWARD");
    nft(&host.namespace, "delete chain ip filter DOCKER-USER");
    assert_eq!(listed(&host.namespace, "list table ip filter"), before);
    assert!(!listed(&host.namespace, "list ruleset").contains("weft"));
}

#[tokio::test]
async fn flushed_rules_are_seen_and_made_again() {
    let (mut bed, endpoint, _outside) = with_way_out().await;
    let host = &mut bed.hosts[0];
    nft(&host.namespace, "flush ruleset");
    assert_eq!(host.executor.observe().await.unwrap().namespaces[NETWORK].way_out, None);
    let way = host.way_out();
    host.apply(vec![KernelOp::EnsureWayOut { namespace: NETWORK.to_owned(), way }]).await;
    assert!(host.executor.observe().await.unwrap().namespaces[NETWORK].way_out.is_some());
    assert!(pings(&endpoint.sandbox, OUTSIDE_V4));
}

#[tokio::test]
async fn a_leftover_of_which_only_the_name_is_known_is_removed_whole() {
    let (mut bed, _endpoint, _outside) = with_way_out().await;
    let host = &mut bed.hosts[0];
    assert_eq!(rules_of_table(&host.namespace).await, 2);
    // The namespace is gone, and the host's end with it; rules are left.
    host.apply(vec![KernelOp::RemoveNamespace { name: NETWORK.to_owned() }]).await;
    let observed = host.executor.observe().await.unwrap();
    assert_eq!(observed.host_links.iter().collect::<Vec<_>>(), ["wf-a"]);
    let mut way = host.way_out();
    way.pools.clear();
    host.apply(vec![KernelOp::RemoveWayOut { namespace: NETWORK.to_owned(), way }]).await;
    assert_eq!(listed(&host.namespace, "list ruleset").trim(), "");
    assert_eq!(rules_of_table(&host.namespace).await, 0);
    assert!(host.executor.observe().await.unwrap().host_links.is_empty());
}

/// How many rules look our table up, of both families.
async fn rules_of_table(namespace: &Namespace) -> usize {
    let mut connection = Connection::open(namespace).await.unwrap();
    rule::list(&mut connection, weft_overlay::netlink::way_out::TABLE).await.unwrap().len()
}

#[tokio::test]
async fn iptables_can_read_what_we_put_into_its_table() {
    let (mut bed, endpoint, _outside) = with_way_out().await;
    let host = &mut bed.hosts[0];
    let iptables = |arguments: &str| {
        let run = || Command::new("iptables-nft").args(arguments.split(' ')).output();
        let hint = "this test plays Docker with `iptables-nft`: apt-get install iptables";
        let output = run_in(&host.namespace, run).unwrap().expect(hint);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    iptables("-P FORWARD DROP");
    iptables("-N DOCKER-USER");
    iptables("-A FORWARD -j DOCKER-USER");
    assert!(is_silent(&endpoint.sandbox, OUTSIDE_V4), "the policy drops");
    let way = host.way_out();
    let namespace = NETWORK.to_owned();
    let ensure = KernelOp::EnsureWayOut { namespace, way };
    assert!(host.executor.apply(vec![ensure]).await.is_empty());
    assert!(pings(&endpoint.sandbox, OUTSIDE_V4));
    let rules = iptables("-S DOCKER-USER");
    assert!(rules.contains("-i wf-a") && rules.contains("-o wf-a"), "{rules}");
    assert!(rules.contains("weft from wf-a"), "{rules}");
}
