//! Calls of an engine to which something came in between, and calls that nothing came of.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_agent::client::Client;
use weft_agent::control::HeldByEngine;
use weft_api::control::{ClusterState, EndpointCreate, NetworkCreate, SubnetRequest};
use weft_overlay::netlink::{Connection, link, route};
use weft_overlay::op::Route;
use weft_tests::callers::{engine_id, plugins, socket, start, start_again};
use weft_tests::testbed::{Testbed, Underlay, eventually};
use weft_tests::transcript::Caller;

const LOCAL: &str = "local";
const MACS: [&str; 2] = ["02:42:00:00:00:01", "02:42:00:00:00:02"];

/// Addresses of a network in use on a host, those at rest left out.
async fn in_use(client: &Client, network: &str) -> Option<u64> {
    let pools = client.ipam().await.ok()?;
    let pool = pools.into_iter().find(|pool| pool.network_name.as_deref() == Some(network));
    pool.map(|pool| pool.used)
}

async fn is_gone(testbed: &Testbed, network: &str) {
    for host in &testbed.hosts {
        eventually(&format!("`{network}` is gone on {}", host.name), async || {
            let networks = host.client.networks(&Default::default()).await.ok()?;
            networks.iter().all(|one| one.name != network).then_some(())
        })
        .await;
    }
}

fn internal(name: &str, subnet: &str) -> NetworkCreate {
    let subnets = vec![SubnetRequest::of(subnet.parse().expect("a subnet"))];
    NetworkCreate { subnets, internal: true, ..NetworkCreate::named(name) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_engine_asked_for_and_never_used_goes_back() {
    let (testbed, callers) = plugins(1, LOCAL, "docker_unused_seconds = 2\n").await;
    let (caller, client) = (&callers[0], &testbed.hosts[0].client);
    let pool = caller.whole_network(&engine_id(1), "used", "10.81.0.0/24");
    let [claimed, forgotten] = MACS.map(|mac| caller.address(&pool, "", mac));
    caller.endpoint(&engine_id(1), &engine_id(2), &claimed, MACS[0]);
    assert_ne!(claimed, forgotten);
    // Of a network that is never made.
    caller.pool("unused", "10.82.0.0/24");
    let before = in_use(client, "used").await.expect("the pool of a network");
    eventually("the address that no endpoint took goes back", async || {
        (in_use(client, "used").await? == before - 1).then_some(())
    })
    .await;
    is_gone(&testbed, "unused").await;
    // What is used stays.
    let endpoints = client.endpoints(None, &Default::default()).await.expect("endpoints");
    let addresses: Vec<_> = endpoints.iter().filter_map(|endpoint| endpoint.address).collect();
    assert_eq!(addresses.len(), 1);
    assert_eq!(json!(addresses[0].to_string()), claimed);
    assert_eq!(in_use(client, "used").await, Some(before - 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_whose_end_was_not_heard_gives_way_to_the_next_of_its_address() {
    let (mut testbed, callers) = plugins(1, LOCAL, "").await;
    let caller = &callers[0];
    let pool = caller.whole_network(&engine_id(1), "blue", "10.83.0.0/24");
    let address = caller.address(&pool, "10.83.0.9", MACS[0]);
    caller.endpoint(&engine_id(1), &engine_id(2), &address, MACS[0]);
    // The one that is about to be joined keeps it.
    let reply = caller.ask_address(&pool, "10.83.0.9", MACS[1]);
    assert!(reply.error().is_some_and(|told| told.contains("already")), "{reply:?}");
    testbed.hosts[0].kill();
    // The engine removes its container now, tells nobody, and starts it again later.
    start_again(&mut testbed, 0, LOCAL).await;
    let again = caller.address(&pool, "10.83.0.9", MACS[1]);
    assert_eq!(again, address);
    caller.endpoint(&engine_id(1), &engine_id(3), &address, MACS[1]);
    let endpoints = testbed.hosts[0].client.endpoints(None, &Default::default()).await;
    assert_eq!(endpoints.expect("endpoints").len(), 1);
}

/// What an engine says of one of its endpoints.
fn endpoint_of(network: u32, endpoint: u32) -> Value {
    json!({"NetworkID": engine_id(network), "EndpointID": own_id(endpoint)})
}

/// An engine's id of one endpoint of several: its first digits tell it from the others.
fn own_id(number: u32) -> String {
    format!("{number:012x}{:052x}", 0)
}

fn join_of(network: u32, endpoint: u32) -> Value {
    let mut join = endpoint_of(network, endpoint);
    join["SandboxKey"] = json!(format!("/var/run/docker/netns/{endpoint:012}"));
    join
}

/// Makes endpoints with addresses of their own and starts the agent again: whoever asks for one of
/// these addresses is given it, as long as its endpoint is not joined.
async fn left_before_a_restart(
    testbed: &mut Testbed,
    caller: &Caller,
    subnet: &str,
    endpoints: std::ops::Range<u32>,
) -> Vec<(u32, String, Value)> {
    let pool = caller.whole_network(&engine_id(1), "blue", subnet);
    let mut left = Vec::new();
    for number in endpoints {
        let host = format!("{}{number}", subnet.trim_end_matches("0/24"));
        let mac = format!("02:42:00:00:01:{number:02}");
        let address = caller.address(&pool, &host, &mac);
        caller.endpoint(&engine_id(1), &own_id(number), &address, &mac);
        left.push((number, host, pool.clone()));
    }
    testbed.hosts[0].kill();
    start_again(testbed, 0, LOCAL).await;
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_being_joined_keeps_its_address() {
    let (mut testbed, callers) = plugins(1, LOCAL, "").await;
    let left = left_before_a_restart(&mut testbed, &callers[0], "10.91.0.0/24", 10..26).await;
    for (number, address, pool) in left {
        let together = Arc::new(Barrier::new(2));
        let (theirs, joiner) = (together.clone(), Caller::new(socket(&testbed, 0)));
        let joining = std::thread::spawn(move || {
            theirs.wait();
            joiner.post("NetworkDriver.Join", &join_of(1, number))
        });
        together.wait();
        let mac = format!("02:42:00:00:02:{number:02}");
        let asked = callers[0].ask_address(&pool, &address, &mac);
        let joined = joining.join().expect("an answer");
        let won = [&joined, &asked].map(|reply| reply.error().is_none());
        assert_ne!(won[0], won[1], "of {joined:?} and {asked:?} one is to be refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_whose_creation_is_repeated_keeps_its_address_until_it_is_joined() {
    let (mut testbed, callers) = plugins(1, LOCAL, "").await;
    let left = left_before_a_restart(&mut testbed, &callers[0], "10.92.0.0/24", 10..11).await;
    let (number, address, pool) = &left[0];
    let full = json!(format!("{address}/24"));
    callers[0].endpoint(&engine_id(1), &own_id(*number), &full, "02:42:00:00:01:10");
    let asked = callers[0].ask_address(pool, address, MACS[0]);
    assert!(asked.error().is_some_and(|told| told.contains("already in use")), "{asked:?}");
    callers[0].call("NetworkDriver.Join", join_of(1, *number));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_asked_for_again_and_again_is_not_given_back_meanwhile() {
    let (_testbed, callers) = plugins(1, LOCAL, "docker_unused_seconds = 2\n").await;
    let pool = callers[0].whole_network(&engine_id(1), "blue", "10.93.0.0/24");
    let address = callers[0].address(&pool, "", MACS[0]);
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert_eq!(callers[0].address(&pool, "", MACS[0]), address);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    callers[0].endpoint(&engine_id(1), &engine_id(2), &address, MACS[0]);
}

/// A network with a subnet of each family; returns their pools.
fn dual(caller: &Caller, id: u32, subnets: [&str; 2]) -> [Value; 2] {
    let pools = subnets.map(|subnet| caller.pool("dual", subnet));
    let data = [0, 1].map(|family| {
        let gateway = caller.gateway(&pools[family], "");
        json!([{"AddressSpace": "weft-local", "Pool": subnets[family], "Gateway": gateway}])
    });
    let options = json!({"com.docker.network.enable_ipv6": true});
    let body = json!({"NetworkID": engine_id(id), "IPv4Data": data[0], "IPv6Data": data[1],
        "Options": options});
    caller.call("NetworkDriver.CreateNetwork", body);
    pools
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_with_a_fixed_address_of_one_family_comes_back_at_once() {
    let (_testbed, callers) = plugins(1, LOCAL, "").await;
    let caller = &callers[0];
    let pools = dual(caller, 1, ["10.94.0.0/24", "fd94::/64"]);
    for (kind, fixed) in [["10.94.0.9", ""], ["", "fd94::9"]].iter().enumerate() {
        for round in 0..3 {
            let number = 10 + 10 * kind as u32 + round;
            let mac = format!("02:42:00:00:02:{number}");
            let [v4, v6] = [0, 1].map(|one| caller.address(&pools[one], fixed[one], &mac));
            let mut body = endpoint_of(1, number);
            body["Interface"] = json!({"Address": v4, "AddressIPv6": v6, "MacAddress": mac});
            caller.call("NetworkDriver.CreateEndpoint", body);
            caller.call("NetworkDriver.Join", join_of(1, number));
            for call in ["Leave", "DeleteEndpoint"] {
                caller.call(&format!("NetworkDriver.{call}"), endpoint_of(1, number));
            }
            for (pool, address) in pools.iter().zip([v4, v6]) {
                let address = address.as_str().and_then(|text| text.split('/').next());
                let body = json!({"PoolID": pool, "Address": address});
                caller.call("IpamDriver.ReleaseAddress", body);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_its_engine_forgot_is_removed_by_force() {
    let (testbed, callers) = plugins(2, LOCAL, "").await;
    let client = &testbed.hosts[0].client;
    let pool = callers[0].whole_network(&engine_id(1), "blue", "10.84.0.0/24");
    let refused = client.delete_network("blue", HeldByEngine::Refuse).await.expect_err("in use");
    assert!(refused.to_string().contains("in use on `h1`"), "{refused}");
    let told = testbed.hosts[0].weft(&["network", "rm", "blue"]);
    told.refuses(&["in use on `h1`", "docker network rm", "--force"]);
    // With a container on it, it is more than a forgotten name.
    let address = callers[0].address(&pool, "", MACS[0]);
    callers[0].endpoint(&engine_id(1), &engine_id(2), &address, MACS[0]);
    let endpoint = json!({"NetworkID": engine_id(1), "EndpointID": engine_id(2)});
    let mut join = endpoint.clone();
    join["SandboxKey"] = json!("/var/run/docker/netns/0123456789ab");
    callers[0].call("NetworkDriver.Join", join);
    testbed.hosts[0].weft(&["network", "rm", "--force", "blue"]).refuses(&["1 endpoint"]);
    callers[0].call("NetworkDriver.Leave", endpoint);
    // Where another host takes part, this host's part ends and the network stays.
    callers[1].whole_network(&engine_id(4), "blue", "10.84.0.0/24");
    let forced = testbed.hosts[0].weft(&["network", "rm", "--force", "blue"]);
    forced.refuses(&["in use on `h2`", "is ended"]);
    callers[1].remove_network(&engine_id(4), &pool, &[]);
    is_gone(&testbed, "blue").await;
    // An engine that remembers it after all is told what to do.
    let join = json!({"NetworkID": engine_id(1), "EndpointID": engine_id(3), "SandboxKey": "/s"});
    callers[0].refused("NetworkDriver.Join", join, &["make it anew"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_engine_sets_the_gateway_and_the_others_agree() {
    let (testbed, callers) = plugins(2, LOCAL, "").await;
    let subnet = "10.85.0.0/24";
    let pool = callers[0].pool("blue", subnet);
    let gateway = callers[0].gateway(&pool, "10.85.0.254");
    assert_eq!(gateway, "10.85.0.254/24");
    callers[0].network(&engine_id(1), subnet, &gateway, json!({}));
    let blue = eventually("the other host knows it", async || {
        testbed.hosts[1].client.network("blue", weft_agent::control::Detail::Plain).await.ok()
    })
    .await;
    assert_eq!(blue.subnets[0].gateway, "10.85.0.254".parse().ok());
    let pool = callers[1].pool("blue", subnet);
    let asked = json!({"PoolID": pool, "Address": "10.85.0.1",
        "Options": {"RequestAddressType": "com.docker.network.gateway"}});
    let words = ["10.85.0.254", "--gateway"];
    callers[1].refused("IpamDriver.RequestAddress", asked, &words);
    assert_eq!(callers[1].gateway(&pool, ""), "10.85.0.254/24");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_network_whose_first_address_is_taken_has_one_gateway_for_all_engines() {
    let (testbed, callers) = plugins(2, LOCAL, "").await;
    let subnet = "10.86.0.0/24";
    let client = &testbed.hosts[0].client;
    client.create_network(&internal("shut", subnet)).await.expect("a network");
    let first = EndpointCreate {
        addresses: vec!["10.86.0.1".parse().expect("an address")],
        ..EndpointCreate::default()
    };
    client.create_endpoint("shut", &first).await.expect("an endpoint");
    let mut gateways = Vec::new();
    for (number, caller) in (1..).zip(&callers) {
        let pool = caller.pool("shut", subnet);
        let gateway = caller.gateway(&pool, "");
        let options = json!({"com.docker.network.internal": true});
        caller.network(&engine_id(number), subnet, &gateway, options);
        gateways.push(gateway);
    }
    assert_ne!(gateways[0], "10.86.0.1/24");
    assert_eq!(gateways[0], gateways[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_engines_set_aside_goes_back_with_the_last_of_them() {
    let (testbed, callers) = plugins(2, LOCAL, "").await;
    let client = &testbed.hosts[0].client;
    client.create_network(&NetworkCreate::named("firm")).await.expect("a network");
    let firm = client.network("firm", weft_agent::control::Detail::Plain).await.expect("it");
    let pool = firm.subnets[0].pool;
    let subnet = pool.to_string();
    let aside = pool.iter().nth(200).expect("a host address").to_string();
    // As on a host: an address that is set aside is refused, one that is free is given.
    let other = callers[1].whole_network(&engine_id(2), "firm", &subnet);
    let mut pools: Vec<Value> = Vec::new();
    for number in [1, 3] {
        let pool = callers[0].whole_network(&engine_id(number), "firm", &subnet);
        let body = json!({"PoolID": pool, "Address": aside, "Options": null});
        callers[0].call("IpamDriver.RequestAddress", body);
        pools.push(pool);
    }
    let taken = |mac| callers[1].ask_address(&other, &aside, mac);
    assert!(taken(MACS[0]).error().is_some());
    callers[0].remove_network(&engine_id(1), &pools[0], &[&aside]);
    assert!(taken(MACS[0]).error().is_some(), "another network of that engine has it");
    callers[0].remove_network(&engine_id(3), &pools[1], &[&aside]);
    assert!(taken(MACS[0]).error().is_some(), "who set it aside is not known: it stays");
    let before = in_use(client, "firm").await.expect("a pool");
    callers[1].remove_network(&engine_id(2), &other, &[]);
    eventually("it goes back", async || {
        (in_use(client, "firm").await? == before - 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_one_engine_gives_up_as_another_sets_it_aside_stays_set_aside() {
    let (testbed, callers) = plugins(2, LOCAL, "").await;
    let client = &testbed.hosts[0].client;
    client.create_network(&NetworkCreate::named("firm")).await.expect("a network");
    let firm = client.network("firm", weft_agent::control::Detail::Plain).await.expect("it");
    let pool = firm.subnets[0].pool;
    let subnet = pool.to_string();
    let aside = pool.iter().nth(200).expect("a host address").to_string();
    let set_aside = |caller: &Caller, pool: &Value| {
        let body = json!({"PoolID": pool, "Address": aside, "Options": null});
        caller.call("IpamDriver.RequestAddress", body);
    };
    let theirs = callers[1].whole_network(&engine_id(1), "firm", &subnet);
    set_aside(&callers[1], &theirs);
    let own = callers[0].pool("firm", &subnet);
    let gateway = callers[0].gateway(&own, "");
    set_aside(&callers[0], &own);
    let before = in_use(client, "firm").await.expect("a pool");
    // Before the network is made here, the other engine removes its own.
    callers[1].remove_network(&engine_id(1), &theirs, &[&aside]);
    eventually("nobody sets it aside", async || {
        (in_use(client, "firm").await? < before).then_some(())
    })
    .await;
    let named = json!({"printer": format!("{aside}/{}", pool.prefix())});
    let data = json!([{"AddressSpace": "weft-local", "Pool": subnet, "Gateway": gateway,
        "AuxAddresses": named}]);
    let options = json!({"com.docker.network.generic": {"network": "firm"}});
    let body = json!({"NetworkID": engine_id(2), "IPv4Data": data, "IPv6Data": [],
        "Options": options});
    callers[0].call("NetworkDriver.CreateNetwork", body);
    assert_eq!(in_use(client, "firm").await, Some(before));
    let asked = callers[0].ask_address(&own, &aside, MACS[0]);
    assert!(asked.error().is_some_and(|told| told.contains("already in use")), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_answer_holds_up_no_address() {
    let (mut testbed, callers) = plugins(2, LOCAL, "docker_unused_seconds = 2\n").await;
    let pool = callers[0].whole_network(&engine_id(1), "blue", "10.95.0.0/24");
    let spare: Vec<_> = (1..6)
        .map(|number| callers[0].pool(&format!("spare-{number}"), &format!("10.96.{number}.0/24")))
        .collect();
    let before = in_use(&testbed.hosts[0].client, "blue").await.expect("a pool");
    testbed.hosts[1].freeze();
    let asked = Instant::now();
    callers[0].address(&pool, "", MACS[0]);
    for pool in &spare {
        callers[0].call("IpamDriver.ReleasePool", json!({"PoolID": pool}));
    }
    eventually("the address that no endpoint took goes back", async || {
        (in_use(&testbed.hosts[0].client, "blue").await? == before).then_some(())
    })
    .await;
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_no_network_can_have_is_refused_at_once() {
    let (_testbed, callers) = plugins(1, LOCAL, "").await;
    let pools = ["255.255.255.255/32", "10.87.0.1/24", "224.0.0.0/8", "fd00::/127"];
    for pool in pools {
        let body = json!({"AddressSpace": "weft-local", "Pool": pool});
        callers[0].refused("IpamDriver.RequestPool", body, &["subnet"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subnet_that_this_host_has_a_route_to_is_not_offered() {
    let (testbed, callers) = plugins(1, LOCAL, "default4 = \"10.88.0.0/16\"\n").await;
    let client = &testbed.hosts[0].client;
    client.create_network(&NetworkCreate::named("blue")).await.expect("a network");
    let blue = client.network("blue", weft_agent::control::Detail::Plain).await.expect("it");
    let pool = blue.subnets[0].pool;
    let mut connection = Connection::open(&testbed.hosts[0].namespace).await.expect("netlink");
    let uplink = link::get(&mut connection, "eth0").await.expect("an uplink").index;
    let entry = |to: &str| {
        let route = Route { to: to.parse().expect("a network"), via: None };
        route::Entry { route, link: uplink, table: route::MAIN, onlink: route::Onlink::No }
    };
    let covers = entry(&pool.to_string());
    route::replace(&mut connection, &covers).await.expect("a route");
    // The engine would refuse it and ask again without end.
    let named = json!({"AddressSpace": "weft-local", "Options": {"network": "blue"}});
    let words = [&pool.to_string(), "overlaps", "--subnet"];
    callers[0].refused("IpamDriver.RequestPool", named, &words);
    // Its user may insist, and any other subnet is offered.
    callers[0].pool("blue", &pool.to_string());
    let any = json!({"AddressSpace": "weft-local"});
    let offered = callers[0].call("IpamDriver.RequestPool", any.clone())["Pool"].clone();
    assert_ne!(offered, json!(pool.to_string()));
    // Where a route covers all that there is, that is said.
    route::replace(&mut connection, &entry("10.88.0.0/16")).await.expect("a route");
    callers[0].refused("IpamDriver.RequestPool", any, &["--subnet"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_swarm_without_a_token_waits_and_founds_nothing() {
    let mut testbed = Testbed::new(Underlay::V4).await;
    testbed.add_host().await;
    start(&mut testbed, 0, "global");
    testbed.hosts[0].answers().await;
    let caller = Caller::new(socket(&testbed, 0));
    let node = json!({"Address": "198.18.7.9", "Self": false});
    let news = json!({"DiscoveryType": 1, "DiscoveryData": node});
    caller.call("NetworkDriver.DiscoverNew", news.clone());
    caller.call("NetworkDriver.DiscoverDelete", news);
    let any = json!({"AddressSpace": "weft-global"});
    caller.refused("IpamDriver.RequestPool", any, &["no cluster"]);
    let status = testbed.hosts[0].client.status().await.expect("a status");
    assert_eq!(status.state, ClusterState::None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_may_have_ipv6_alone() {
    let (testbed, callers) = plugins(1, LOCAL, "").await;
    let subnet = "fd89::/64";
    let pool = callers[0].pool("six", subnet);
    let gateway = callers[0].gateway(&pool, "");
    let data = json!([{"AddressSpace": "weft-local", "Pool": subnet, "Gateway": gateway}]);
    // As an engine of version 28 says it.
    let options = json!({"com.docker.network.enable_ipv4": false,
        "com.docker.network.enable_ipv6": true});
    let body = json!({"NetworkID": engine_id(1), "IPv4Data": [], "IPv6Data": data,
        "Options": options});
    callers[0].call("NetworkDriver.CreateNetwork", body);
    let address = callers[0].address(&pool, "", MACS[0]);
    let interface = json!({"AddressIPv6": address, "MacAddress": MACS[0]});
    let body = json!({"NetworkID": engine_id(1), "EndpointID": engine_id(2),
        "Interface": interface});
    callers[0].call("NetworkDriver.CreateEndpoint", body);
    let all = testbed.hosts[0].client.endpoints(None, &Default::default()).await.expect("one");
    assert_eq!((all[0].address, all.len()), (None, 1));
    assert_eq!(all[0].address_ipv6.map(|one| json!(one.to_string())), Some(address));
}
