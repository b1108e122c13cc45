//! The life of endpoints, through the command line.

use std::process::{Command, Stdio};

use weft_api::control::{EndpointResource, EndpointState, IpamPool};
use weft_overlay::netlink::namespace::run_in;
use weft_tests::testbed::{Host, Testbed, addresses, eventually, with_subnets};

const POOL: &str = "10.63.0.0/24";

async fn with_network(hosts: usize) -> Testbed {
    let testbed = Testbed::cluster(hosts).await;
    let network = with_subnets("blue", &[POOL, "fd00:63::/64"]);
    testbed.hosts[0].client.create_network(&network).await.expect("blue");
    testbed
}

fn endpoint(host: &Host, name: &str) -> EndpointResource {
    host.weft(&["endpoint", "inspect", name, "--json"]).json()
}

/// Addresses of the network's IPv4 pool in use on a host, and resting there.
fn used(host: &Host) -> (u64, u64) {
    let pools: Vec<IpamPool> = host.weft(&["ipam", "ls", "--json"]).json();
    let pool = pools.into_iter().find(|pool| pool.pool == POOL).expect("the pool");
    (pool.used, pool.resting)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_keeps_its_addresses_from_sandbox_to_sandbox() {
    let testbed = with_network(2).await;
    let host = &testbed.hosts[0];
    let (first, second) = (testbed.sandbox("first"), testbed.sandbox("second"));
    let before = used(host).0;
    let id = host.weft(&["endpoint", "create", "blue", "--name", "web"]).line();
    let created = endpoint(host, "web");
    assert_eq!(created.id.to_string(), id);
    assert_eq!(created.state, EndpointState::Created);
    host.weft(&["endpoint", "join", "web", "--netns", first.text()]).line();
    let joined = endpoint(host, "blue/web");
    assert_eq!(joined.state, EndpointState::Joined);
    assert_eq!(first.link("eth0").await.mac, joined.mac);
    let refused = host.weft(&["endpoint", "rm", "web"]);
    refused.fails(1, "is joined to sandbox");
    host.weft(&["endpoint", "join", "web", "--netns", second.text()]).fails(1, "is joined");
    assert_eq!(host.weft(&["endpoint", "leave", "web"]).code, 0);
    assert_eq!(first.links().await.len(), 1, "only lo is left");
    host.weft(&["endpoint", "leave", "web"]).fails(1, "is joined to no sandbox");
    host.weft(&["endpoint", "join", "web", "--netns", second.text()]).line();
    let again = endpoint(host, "web");
    assert_eq!(addresses(&again), addresses(&created));
    assert_eq!(again.mac, joined.mac);
    let (far, _) = testbed.attach(1, "blue", "far").await;
    far.reaches(&addresses(&created)).await;
    assert_eq!(host.weft(&["endpoint", "leave", "web"]).code, 0);
    assert_eq!(host.weft(&["endpoint", "rm", "web"]).code, 0);
    assert_eq!(used(host), (before, 1), "its address rests");
    host.weft(&["endpoint", "inspect", "web"]).fails(1, "web");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_endpoint_is_to_be_is_honoured_or_refused() {
    let testbed = with_network(2).await;
    let host = &testbed.hosts[0];
    let sandbox = testbed.sandbox("one");
    let arguments = ["attach", "blue", "--netns", sandbox.text(), "--name", "web"];
    let exactly = ["--ip", "10.63.0.77", "--ip", "fd00:63::77", "--mac", "02:00:00:00:00:77"];
    host.weft(&[&arguments[..], &exactly, &["--ifname", "net7"]].concat()).line();
    let web = endpoint(host, "web");
    let texts: Vec<_> = addresses(&web).iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["10.63.0.77", "fd00:63::77"]);
    let link = sandbox.link("net7").await;
    assert_eq!(link.mac.map(|mac| mac.to_string()).as_deref(), Some("02:00:00:00:00:77"));
    let other = testbed.sandbox("two");
    let before = used(host);
    let attach = |host: &Host, more: &[&str]| {
        host.weft(&[&["attach", "blue", "--netns", other.text()], more].concat())
    };
    attach(host, &["--name", "web"]).fails(1, "web");
    attach(host, &["--ip", "10.63.0.77"]).fails(1, "10.63.0.77");
    attach(&testbed.hosts[1], &["--ip", "10.63.0.77"]).fails(1, "10.63.0.77");
    attach(host, &["--ip", "10.63.0.1"]).fails(1, "10.63.0.1");
    attach(host, &["--ip", "10.63.0.0"]).fails(1, "10.63.0.0");
    attach(host, &["--ip", "10.63.0.255"]).fails(1, "10.63.0.255");
    attach(host, &["--ip", "10.64.0.7"]).fails(1, "is in no subnet");
    attach(host, &["--mac", "03:00:00:00:00:01"]).fails(1, "03:00:00:00:00:01");
    attach(host, &["--ifname", "lo"]).fails(1, "interface `lo` exists already");
    let same = ["attach", "blue", "--netns", sandbox.text(), "--ifname", "net7"];
    host.weft(&same).fails(1, "interface `net7` exists already");
    assert_eq!(other.links().await.len(), 1, "nothing half-made");
    let endpoints: Vec<EndpointResource> = host.weft(&["endpoint", "ls", "--json"]).json();
    assert_eq!(endpoints.len(), 1);
    assert_eq!(used(host).0, before.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_namespace_makes_its_endpoint_stale_and_keeps_its_address() {
    let testbed = with_network(2).await;
    let host = &testbed.hosts[0];
    let (sandbox, web) = testbed.attach(0, "blue", "web").await;
    let (far, _) = testbed.attach(1, "blue", "far").await;
    far.reaches(&addresses(&web)).await;
    sandbox.vanish();
    eventually("the endpoint is stale", async || {
        (endpoint(host, "web").state == EndpointState::Stale).then_some(())
    })
    .await;
    assert_eq!(addresses(&endpoint(host, "web")), addresses(&web));
    let v4 = web.address.expect("IPv4").ip().to_string();
    let other = testbed.sandbox("other");
    let taken = host.weft(&["attach", "blue", "--netns", other.text(), "--ip", &v4]);
    taken.fails(1, &v4);
    host.weft(&["endpoint", "join", "web", "--netns", other.text()]).line();
    far.reaches(&addresses(&web)).await;
    other.vanish();
    eventually("the endpoint is stale again", async || {
        (endpoint(host, "web").state == EndpointState::Stale).then_some(())
    })
    .await;
    assert_eq!(host.weft(&["detach", "web"]).code, 0);
    assert_eq!(used(host).1, 1, "its address rests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_stands_for_its_namespace() {
    let testbed = with_network(1).await;
    let host = &testbed.hosts[0];
    let sandbox = testbed.sandbox("process");
    // A shell that waits for its input to end, inside the namespace.
    let mut process = run_in(sandbox.namespace(), || {
        Command::new("sh").args(["-c", "read line"]).stdin(Stdio::piped()).spawn()
    })
    .expect("the namespace")
    .expect("a shell");
    let pid = process.id().to_string();
    host.weft(&["attach", "blue", "--pid", &pid, "--name", "web"]).line();
    assert_eq!(sandbox.link("eth0").await.mac, endpoint(host, "web").mac);
    drop(process.stdin.take());
    process.wait().expect("our own child");
    assert_eq!(host.weft(&["detach", "web"]).code, 0);
    assert_eq!(sandbox.links().await.len(), 1, "only lo is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_networks_in_a_sandbox_the_second_carries_no_default_route() {
    let mut testbed = with_network(2).await;
    let outside = testbed.add_host().await;
    let outside = testbed.hosts[outside].addresses();
    let green = with_subnets("green", &["10.65.0.0/24", "fd00:65::/64"]);
    testbed.hosts[1].client.create_network(&green).await.expect("green");
    let (sandbox, first) = testbed.attach(0, "blue", "web").await;
    let second = testbed.hosts[0].attach("green", "web", &sandbox).await;
    let (first, second) = (first.sandbox.expect("joined"), second.sandbox.expect("joined"));
    assert_eq!((first.ifname.as_str(), second.ifname.as_str()), ("eth0", "eth1"));
    assert!(first.gateway.is_some() && first.gateway_ipv6.is_some());
    assert_eq!((second.gateway, second.gateway_ipv6), (None, None));
    let (_blue, blue) = testbed.attach(1, "blue", "far").await;
    let (_green, green) = testbed.attach(1, "green", "far").await;
    sandbox.reaches(&outside).await;
    sandbox.reaches(&addresses(&blue)).await;
    sandbox.reaches(&addresses(&green)).await;
    assert_eq!(testbed.hosts[0].weft(&["detach", "green/web"]).code, 0);
    sandbox.reaches(&outside).await;
    testbed.hosts[0].weft(&["detach", "absent"]).fails(1, "absent");
}
