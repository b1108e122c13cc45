//! Ports of the host that lead to endpoints.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use weft_api::EndpointId;
use weft_overlay::netlink::namespace::{make_anonymous, run_in};
use weft_overlay::netlink::{Executor, Namespace, NetlinkError, sysctl};
use weft_overlay::op::{KernelOp, Route};
use weft_overlay::publish::{HostPort, PortRequest, Protocol, PublishedPort};

use crate::bed::{Bed, Endpoint, Host, NETWORK, Underlay, net};
use crate::way_out::{listed, nft, outside};
use crate::wire::{PATIENCE, bind_soon, is_closed, is_silent, tcp_seen, udp_seen};

const ID: EndpointId = EndpointId::from_bytes([10; 16]);
const OTHER: EndpointId = EndpointId::from_bytes([11; 16]);

/// Two hosts on one underlay, the network with its way out and an endpoint on the first, and
/// somebody outside behind the first one's other interface.
struct Scene {
    bed: Bed,
    endpoint: Endpoint,
    outside: Namespace,
}

impl Scene {
    async fn new() -> Self {
        let mut bed = Bed::new(2, Underlay::V4).await;
        let outside = outside(&bed).await;
        let host = &mut bed.hosts[0];
        host.build().await;
        let endpoint = host.join(10).await;
        let way = host.way_out();
        host.apply(vec![KernelOp::EnsureWayOut { namespace: NETWORK.to_owned(), way }]).await;
        Self { bed, endpoint, outside }
    }

    fn host(&mut self) -> &mut Host {
        &mut self.bed.hosts[0]
    }

    /// The endpoint's addresses, each for all of its family.
    fn everywhere(&self) -> Vec<(IpAddr, IpAddr)> {
        vec![(ip("0.0.0.0"), self.endpoint.v4), (ip("::"), self.endpoint.v6)]
    }

    async fn publish(&mut self, protocol: Protocol, host_port: HostPort) -> Vec<PublishedPort> {
        let addresses = self.everywhere();
        let requests = [PortRequest { protocol, addresses, host_port, port: 80 }];
        self.publish_all(&requests).await
    }

    async fn publish_all(&mut self, requests: &[PortRequest]) -> Vec<PublishedPort> {
        let ports = self.host().executor.choose_ports(ID, requests).unwrap();
        let all = ports.iter().copied().collect();
        self.host().apply(vec![KernelOp::EnsurePublished { endpoint: ID, ports: all }]).await;
        ports
    }

    /// The endpoint serves at its port 80, at its address of this family.
    fn served(&self, asked: SocketAddr) -> (&Namespace, SocketAddr) {
        let own = if asked.is_ipv4() { self.endpoint.v4 } else { self.endpoint.v6 };
        (&self.endpoint.sandbox, SocketAddr::new(own, 80))
    }

    fn tcp(&self, from: &Namespace, ask: &str) -> std::io::Result<IpAddr> {
        let ask = ask.parse().unwrap();
        tcp_seen((from, ask), self.served(ask)).map(|seen| seen.ip())
    }

    fn udp(&self, from: &Namespace, ask: &str) -> std::io::Result<IpAddr> {
        let ask = ask.parse().unwrap();
        udp_seen((from, ask), self.served(ask)).map(|seen| seen.ip())
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn one(port: u16) -> HostPort {
    HostPort::FirstOf(port..=port)
}

#[tokio::test]
async fn who_asks_from_elsewhere_is_led_to_the_endpoint_and_seen_by_it() {
    let mut scene = Scene::new().await;
    scene.publish(Protocol::Tcp, one(8080)).await;
    let neighbour = &scene.bed.hosts[1].namespace;
    assert_eq!(scene.tcp(neighbour, "192.0.2.1:8080").unwrap(), ip("192.0.2.2"));
    assert_eq!(scene.tcp(&scene.outside, "203.0.113.1:8080").unwrap(), ip("203.0.113.9"));
    let seen = scene.tcp(&scene.outside, "[2001:db8:9::1]:8080").unwrap();
    assert_eq!(seen, ip("2001:db8:9::9"));
    assert!(is_closed(neighbour, "192.0.2.1:80".parse().unwrap()), "that port leads nowhere");
}

#[tokio::test]
async fn datagrams_are_led_like_connections() {
    let mut scene = Scene::new().await;
    scene.publish(Protocol::Udp, one(5353)).await;
    let neighbour = &scene.bed.hosts[1].namespace;
    assert_eq!(scene.udp(neighbour, "192.0.2.1:5353").unwrap(), ip("192.0.2.2"));
    let seen = scene.udp(&scene.outside, "[2001:db8:9::1]:5353").unwrap();
    assert_eq!(seen, ip("2001:db8:9::9"));
    assert_eq!(scene.udp(&scene.outside, "203.0.113.1:5353").unwrap(), ip("203.0.113.9"));
}

#[tokio::test]
async fn the_host_itself_reaches_a_published_port_by_any_of_its_addresses() {
    let mut scene = Scene::new().await;
    scene.publish(Protocol::Tcp, one(8080)).await;
    let host = &scene.bed.hosts[0].namespace;
    for ask in ["192.0.2.1:8080", "203.0.113.1:8080", "[2001:db8:9::1]:8080", "127.0.0.1:8080"] {
        scene.tcp(host, ask).unwrap_or_else(|error| panic!("{ask}: {error}"));
    }
    let loopback = "[::1]:8080".parse().unwrap();
    let refused = run_in(host, || TcpStream::connect_timeout(&loopback, PATIENCE)).unwrap();
    let refused = refused.expect_err("the kernel lets nothing from ::1 leave");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "at once, and not in time");
}

#[tokio::test]
async fn endpoints_of_the_host_reach_a_published_port_too() {
    let mut scene = Scene::new().await;
    scene.publish(Protocol::Tcp, one(8080)).await;
    let sibling = scene.host().join(11).await;
    let (stranger, _) = other_network(scene.host()).await;
    for ask in ["192.0.2.1:8080", "203.0.113.1:8080"] {
        scene.tcp(&scene.endpoint.sandbox, ask).unwrap();
        scene.tcp(&sibling.sandbox, ask).unwrap();
        scene.tcp(&stranger, ask).unwrap();
    }
    scene.tcp(&sibling.sandbox, "[2001:db8:9::1]:8080").unwrap();
    assert!(is_silent(&stranger, scene.endpoint.v4), "by no other way");
    let direct = SocketAddr::new(scene.endpoint.v4, 80);
    assert!(tcp_seen((&stranger, direct), scene.served(direct)).is_err());
}

/// A second network of the host with its way out, and an endpoint in it.
async fn other_network(host: &mut Host) -> (Namespace, IpAddr) {
    let other = "net-b".to_owned();
    let mut bridge = host.bridge();
    bridge.addresses = vec![net("10.78.0.1/16")];
    let mut vxlan = host.vxlan();
    vxlan.vni = weft_api::Vni::new(7778).unwrap();
    let sandbox = make_anonymous().unwrap();
    let mut link = host.endpoint_link(20, &sandbox);
    link.addresses = vec![net("10.78.0.20/16")];
    link.routes = vec![Route { to: net("0.0.0.0/0"), via: Some(ip("10.78.0.1")) }];
    let mut way = host.way_out();
    way.host_link = "wf-b".to_owned();
    way.pools = vec![net("10.78.0.0/16")];
    host.apply(vec![
        KernelOp::EnsureNamespace { name: other.clone() },
        KernelOp::EnsureBridge { namespace: other.clone(), bridge },
        KernelOp::EnsureVxlan { namespace: other.clone(), vxlan },
        KernelOp::EnsureEndpoint { namespace: other.clone(), link },
        KernelOp::EnsureWayOut { namespace: other, way },
    ])
    .await;
    (sandbox, ip("10.78.0.20"))
}

#[tokio::test]
async fn published_ports_pass_a_forward_policy_of_drop() {
    let mut scene = Scene::new().await;
    let host = scene.host();
    for family in ["ip", "ip6"] {
        nft(&host.namespace, &format!("add table {family} filter"));
        let chain = format!(
            "add chain {family} filter FORWARD {{ type filter hook forward priority 0; policy drop; }}"
        );
        assert!(nft(&host.namespace, &chain).status.success());
    }
    let way = host.way_out();
    host.apply(vec![KernelOp::EnsureWayOut { namespace: NETWORK.to_owned(), way }]).await;
    scene.publish(Protocol::Tcp, one(8080)).await;
    scene.tcp(&scene.outside, "203.0.113.1:8080").unwrap();
    scene.tcp(&scene.outside, "[2001:db8:9::1]:8080").unwrap();
}

#[tokio::test]
async fn a_port_of_one_address_is_open_there_alone() {
    let mut scene = Scene::new().await;
    let addresses = vec![(ip("192.0.2.1"), scene.endpoint.v4)];
    let (protocol, host_port) = (Protocol::Tcp, one(8080));
    scene.publish_all(&[PortRequest { protocol, addresses, host_port, port: 80 }]).await;
    scene.tcp(&scene.bed.hosts[1].namespace, "192.0.2.1:8080").unwrap();
    assert!(is_closed(&scene.outside, "203.0.113.1:8080".parse().unwrap()));
    assert!(is_closed(&scene.outside, "[2001:db8:9::1]:8080".parse().unwrap()));
}

#[tokio::test]
async fn a_published_port_is_held_and_a_taken_one_is_named() {
    let mut scene = Scene::new().await;
    scene.publish(Protocol::Tcp, one(8080)).await;
    scene.publish(Protocol::Udp, one(5353)).await;
    let host = scene.bed.hosts[0].namespace.try_clone().unwrap();
    let taken = run_in(&host, || UdpSocket::bind("0.0.0.0:5353")).unwrap().unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    let released = bind_soon(&host, || TcpListener::bind("192.0.2.1:8080"));
    assert!(released.is_ok(), "the second call publishes something else instead");
    scene.publish(Protocol::Tcp, one(8081)).await;
    for address in ["0.0.0.0:8081", "192.0.2.1:8081", "[::]:8081"] {
        let taken = run_in(&host, || TcpListener::bind(address)).unwrap().unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse, "{address}");
    }
    let other = PortRequest {
        protocol: Protocol::Tcp,
        addresses: vec![(ip("192.0.2.1"), scene.endpoint.v4)],
        host_port: one(8081),
        port: 80,
    };
    let taken = scene.host().executor.choose_ports(OTHER, &[other]).unwrap_err();
    assert!(matches!(taken, NetlinkError::PortTaken { .. }), "{taken}");
    scene.publish(Protocol::Udp, one(5353)).await;

    let _program = run_in(&host, || TcpListener::bind("0.0.0.0:9090")).unwrap().unwrap();
    let addresses = scene.everywhere();
    let request = |protocol, port| {
        let addresses = addresses.clone();
        [PortRequest { protocol, addresses, host_port: one(port), port: 80 }]
    };
    let executor = &mut scene.bed.hosts[0].executor;
    let by_program = executor.choose_ports(ID, &request(Protocol::Tcp, 9090)).unwrap_err();
    assert!(matches!(by_program, NetlinkError::PortTaken { .. }));
    assert_eq!(by_program.to_string(), "tcp port `0.0.0.0:9090` of this host is in use");
    let by_endpoint = executor.choose_ports(OTHER, &request(Protocol::Udp, 5353)).unwrap_err();
    assert_eq!(by_endpoint.to_string(), "udp port `0.0.0.0:5353` of this host is in use");
    let ports = BTreeSet::from([PublishedPort {
        protocol: Protocol::Udp,
        host: ip("192.0.2.1"),
        host_port: 5353,
        to: scene.endpoint.v4,
        port: 53,
    }]);
    let op = KernelOp::EnsurePublished { endpoint: OTHER, ports };
    let failures = executor.apply(vec![op]).await;
    assert!(matches!(failures[0].1, NetlinkError::PortTaken { .. }), "{failures:?}");
}

#[tokio::test]
async fn the_first_free_port_of_a_range_is_taken() {
    let mut scene = Scene::new().await;
    let host = scene.bed.hosts[0].namespace.try_clone().unwrap();
    let _v4 = run_in(&host, || TcpListener::bind("0.0.0.0:9000")).unwrap().unwrap();
    let _v6 = run_in(&host, || TcpListener::bind("[2001:db8:9::1]:9001")).unwrap().unwrap();
    let ports = scene.publish(Protocol::Tcp, HostPort::FirstOf(9000..=9005)).await;
    assert_eq!(ports.iter().map(|port| port.host_port).collect::<Vec<_>>(), [9002, 9002]);
    scene.tcp(&scene.outside, "203.0.113.1:9002").unwrap();
    let again = scene.publish(Protocol::Tcp, HostPort::FirstOf(9000..=9005)).await;
    assert_eq!(again, ports, "asked for again it stays");
}

#[tokio::test]
async fn any_port_is_one_that_the_kernel_gives_and_stays() {
    let mut scene = Scene::new().await;
    let host = scene.bed.hosts[0].namespace.try_clone().unwrap();
    let range = [("ipv4/ip_local_port_range".to_owned(), "40000 40009")];
    sysctl::write_all(&host, &range).unwrap();
    let addresses = scene.everywhere();
    let request = |port| PortRequest {
        protocol: Protocol::Tcp,
        addresses: addresses.clone(),
        host_port: HostPort::Any,
        port,
    };
    let ports = scene.publish_all(&[request(80), request(81)]).await;
    assert_eq!(ports.len(), 4);
    assert!(ports.iter().all(|port| (40000..=40009).contains(&port.host_port)), "{ports:?}");
    assert_eq!(ports[0].host_port, ports[1].host_port, "one port for both families");
    assert_ne!(ports[0].host_port, ports[2].host_port);
    assert_eq!(scene.publish_all(&[request(80), request(81)]).await, ports);
    let ask = format!("192.0.2.1:{}", ports[0].host_port);
    scene.tcp(&scene.bed.hosts[1].namespace, &ask).unwrap();
}

#[tokio::test]
async fn what_is_removed_leaves_no_rule_and_no_port() {
    let mut scene = Scene::new().await;
    let host = scene.bed.hosts[0].namespace.try_clone().unwrap();
    let before = listed(&host, "list ruleset");
    scene.publish(Protocol::Tcp, one(8080)).await;
    assert_ne!(listed(&host, "list ruleset"), before);
    let remove = || vec![KernelOp::RemovePublished { endpoint: ID }];
    scene.host().apply(remove()).await;
    assert_eq!(listed(&host, "list ruleset"), before);
    assert!(is_closed(&scene.outside, "203.0.113.1:8080".parse().unwrap()));
    assert!(scene.host().executor.observe().await.unwrap().published.is_empty());
    bind_soon(&host, || TcpListener::bind("0.0.0.0:8080")).unwrap();
    scene.host().apply(remove()).await;
}

#[tokio::test]
async fn one_endpoints_ports_go_and_the_others_stay() {
    let mut scene = Scene::new().await;
    scene.publish(Protocol::Tcp, one(8080)).await;
    let ports = BTreeSet::from([PublishedPort {
        protocol: Protocol::Tcp,
        host: ip("0.0.0.0"),
        host_port: 9090,
        to: scene.endpoint.v4,
        port: 80,
    }]);
    let host = scene.host();
    host.apply(vec![KernelOp::EnsurePublished { endpoint: OTHER, ports: ports.clone() }]).await;
    host.apply(vec![KernelOp::RemovePublished { endpoint: ID }]).await;
    let published = host.executor.observe().await.unwrap().published;
    assert_eq!(published.into_iter().collect::<Vec<_>>(), [(OTHER, ports)]);
    assert!(is_closed(&scene.outside, "203.0.113.1:8080".parse().unwrap()));
    scene.tcp(&scene.outside, "203.0.113.1:9090").unwrap();
}

#[tokio::test]
async fn a_second_executor_takes_over_published_ports_as_they_stand() {
    let mut scene = Scene::new().await;
    let ports = scene.publish(Protocol::Tcp, one(8080)).await;
    let host = scene.bed.hosts[0].namespace.try_clone().unwrap();
    let before = listed(&host, "-a list table inet weft");
    let run_dir = scene.host().run_dir().to_owned();
    scene.host().executor = Executor::new_in(host.try_clone().unwrap(), run_dir).unwrap();
    scene.tcp(&scene.outside, "203.0.113.1:8080").expect("rules outlive the agent");
    let all: BTreeSet<_> = ports.iter().copied().collect();
    let observed = scene.host().executor.observe().await.unwrap().published;
    assert_eq!(observed[&ID], all);
    scene.host().apply(vec![KernelOp::EnsurePublished { endpoint: ID, ports: all }]).await;
    assert_eq!(listed(&host, "-a list table inet weft"), before, "no rule was made anew");
    let taken = run_in(&host, || TcpListener::bind("0.0.0.0:8080")).unwrap();
    assert!(taken.is_err(), "the port is held again");
}

#[tokio::test]
async fn lost_rules_of_published_ports_are_seen_and_made_again() {
    let mut scene = Scene::new().await;
    let ports = scene.publish(Protocol::Tcp, one(8080)).await;
    let all: BTreeSet<_> = ports.into_iter().collect();
    let ensure = || vec![KernelOp::EnsurePublished { endpoint: ID, ports: all.clone() }];
    let host = scene.bed.hosts[0].namespace.try_clone().unwrap();
    for (disturbance, left) in [
        ("flush chain inet weft published", None),
        ("flush chain inet weft prerouting", Some(BTreeSet::new())),
        ("flush chain inet weft turning", Some(BTreeSet::new())),
    ] {
        assert!(nft(&host, disturbance).status.success(), "{disturbance}");
        let published = scene.host().executor.observe().await.unwrap().published;
        assert_eq!(published.get(&ID), left.as_ref(), "{disturbance}");
        scene.host().apply(ensure()).await;
        let published = scene.host().executor.observe().await.unwrap().published;
        assert_eq!(published[&ID], all, "{disturbance}");
        scene.tcp(&scene.outside, "203.0.113.1:8080").unwrap();
    }
    let rules = listed(&host, "list chain inet weft published");
    assert!(rules.contains("tcp dport 8080 dnat ip to 10.77.1.10:80"), "{rules}");
    assert!(rules.contains("tcp dport 8080 dnat ip6 to [fd77::1:a]:80"), "{rules}");
}

#[tokio::test]
async fn many_ports_are_published_at_once() {
    let mut scene = Scene::new().await;
    let (endpoint, v4) = (ID, scene.endpoint.v4);
    let port = |n: u16| PublishedPort {
        protocol: Protocol::Udp,
        host: ip("0.0.0.0"),
        host_port: 20000 + n,
        to: v4,
        port: 1 + n,
    };
    let ports: BTreeSet<_> = (0..300).map(port).collect();
    scene.host().apply(vec![KernelOp::EnsurePublished { endpoint, ports: ports.clone() }]).await;
    assert_eq!(scene.host().executor.observe().await.unwrap().published[&ID], ports);
}
