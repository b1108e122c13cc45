//! Engines in a Swarm: the leader asks its plugin for the whole Swarm, each node asks its own.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_agent::control::Detail;
use weft_api::control::{MemberState, NetworkCreate};
use weft_tests::callers::{engine_id, plugins, socket, start_again};
use weft_tests::testbed::{Testbed, eventually};
use weft_tests::transcript::Caller;

const LOCAL: &str = "local";
const GLOBAL: &str = "global";
/// Ids as Swarms make them.
const ONE: &str = "ur8tmux5x1o7sl8c5ckjx1a5d";
const OTHER: &str = "s2jb55fo0kz4xk6hn49zrlnlc";
const NAME: &str = "blue";
const MACS: [&str; 3] = ["02:42:0a:00:00:01", "02:42:0a:00:00:02", "02:42:0a:00:00:03"];

/// A network of a Swarm, as its leader was told of it.
#[derive(Debug, Clone)]
struct Network {
    id: &'static str,
    /// The leader's.
    pool_id: Value,
    subnet: String,
    gateway: Value,
    options: Value,
}

impl Network {
    /// The cluster's network.
    fn cluster_id(&self) -> &str {
        self.options["weft.network.id"].as_str().expect("an id")
    }
}

fn pool(caller: &Caller, space: &str, subnet: &str, name: &str) -> (Value, String) {
    let options = json!({"network": name, "com.docker.network.ipam.serial": "true"});
    let body = json!({"AddressSpace": space, "Pool": subnet, "SubPool": "", "Options": options});
    let reply = caller.call("IpamDriver.RequestPool", body);
    (reply["PoolID"].clone(), reply["Pool"].as_str().expect("a pool").to_owned())
}

/// The same of any subnet, as a leader asks it.
fn pool_wanted() -> Value {
    json!({"AddressSpace": "weft-global", "Options": {"network": NAME}})
}

fn allocation(id: &str, subnet: &str, gateway: &Value, options: &Value) -> Value {
    let data = json!([{"AddressSpace": "", "Gateway": gateway, "Pool": subnet}]);
    json!({"NetworkID": id, "Options": options, "IPv4Data": data, "IPv6Data": null})
}

/// What a leader asks when its user makes a network.
fn made(leader: &Caller, id: &'static str) -> Network {
    let (pool_id, subnet) = pool(leader, "weft-global", "", NAME);
    let gateway = leader.gateway(&pool_id, "");
    let body = allocation(id, &subnet, &gateway, &json!({}));
    let options = leader.call("NetworkDriver.AllocateNetwork", body)["Options"].clone();
    Network { id, pool_id, subnet, gateway, options }
}

/// The same, of a name that another network of the Swarm has: nothing comes of it.
fn is_not_made(leader: &Caller, id: &str, words: &[&str]) {
    let (pool_id, subnet) = pool(leader, "weft-global", "", NAME);
    let gateway = leader.gateway(&pool_id, "");
    let body = allocation(id, &subnet, &gateway, &json!({}));
    leader.refused("NetworkDriver.AllocateNetwork", body, words);
    release(leader, &pool_id, gateway.as_str().expect("an address"));
    leader.call("IpamDriver.ReleasePool", json!({"PoolID": pool_id}));
}

/// What a new leader asks about a network there is.
fn replayed(leader: &Caller, network: &Network) -> Network {
    let (pool_id, subnet) = pool(leader, "weft-global", &network.subnet, NAME);
    let address = network.gateway.as_str().and_then(|text| text.split('/').next());
    let gateway = leader.gateway(&pool_id, address.expect("an address"));
    let body = allocation(network.id, &subnet, &gateway, &network.options);
    let options = leader.call("NetworkDriver.AllocateNetwork", body)["Options"].clone();
    assert_eq!(options, network.options);
    Network { pool_id, ..network.clone() }
}

fn wanted(pool_id: &Value, address: &str) -> Value {
    let options = json!({"com.docker.network.ipam.serial": "true", "network": NAME});
    json!({"PoolID": pool_id, "Address": address, "Options": options})
}

/// What a leader asks for each task; returns the address without the prefix length.
fn task(leader: &Caller, network: &Network, address: &str) -> String {
    let body = wanted(&network.pool_id, address);
    let reply = leader.call("IpamDriver.RequestAddress", body);
    let given = reply["Address"].as_str().and_then(|text| text.split('/').next());
    given.expect("an address").to_owned()
}

fn release(caller: &Caller, pool_id: &Value, address: &str) {
    let address = address.split('/').next().expect("an address");
    caller.call("IpamDriver.ReleaseAddress", json!({"PoolID": pool_id, "Address": address}));
}

/// What a node asks when the first task comes to it; returns its own pool's id.
fn taken_part(node: &Caller, network: &Network) -> Value {
    let (pool_id, _) = pool(node, "weft-local", &network.subnet, NAME);
    let address = network.gateway.as_str().and_then(|text| text.split('/').next());
    node.gateway(&pool_id, address.expect("an address"));
    let data = json!([{"AddressSpace": "weft-local", "Gateway": network.gateway,
                       "Pool": network.subnet}]);
    let generic = json!({"com.docker.network.generic": network.options});
    let body = json!({"NetworkID": network.id, "Options": generic, "IPv4Data": data,
                      "IPv6Data": []});
    node.call("NetworkDriver.CreateNetwork", body);
    pool_id
}

fn claim(pool_id: &Value, address: &str, mac: &str) -> Value {
    let options = json!({"com.docker.network.endpoint.macaddress": mac});
    json!({"PoolID": pool_id, "Address": address, "Options": options})
}

fn endpoint(network: &str, id: &str, address: &str, prefix: &str, mac: &str) -> Value {
    let address = format!("{address}/{prefix}");
    let interface = json!({"Address": address, "AddressIPv6": "", "MacAddress": mac});
    json!({"NetworkID": network, "EndpointID": id, "Interface": interface, "Options": {}})
}

/// A container that starts: its address, its endpoint, its sandbox.
fn started(node: &Caller, network: &Network, pool_id: &Value, id: &str, address: &str, mac: &str) {
    node.address(pool_id, address, mac);
    let prefix = network.subnet.split('/').nth(1).expect("a prefix length");
    let body = endpoint(network.id, id, address, prefix, mac);
    node.call("NetworkDriver.CreateEndpoint", body);
    let sandbox = format!("/var/run/docker/netns/{id}");
    let body = json!({"NetworkID": network.id, "EndpointID": id, "SandboxKey": sandbox,
                      "Options": {}});
    node.call("NetworkDriver.Join", body);
}

/// And one that ends.
fn ended(node: &Caller, network: &Network, pool_id: &Value, id: &str, address: &str) {
    let body = json!({"NetworkID": network.id, "EndpointID": id});
    node.call("NetworkDriver.Leave", body.clone());
    node.call("NetworkDriver.DeleteEndpoint", body);
    release(node, pool_id, address);
}

async fn is_known(testbed: &Testbed, network: &Network) {
    for host in &testbed.hosts {
        let known = host.client.network(NAME, Detail::Plain).await.expect("the network");
        assert_eq!(known.id.to_string(), network.cluster_id(), "{}", host.name);
    }
}

/// Lets a node make networks that nobody takes, and waits until they are gone: what was to be
/// deleted before them was tried.
async fn chores_are_done(testbed: &Testbed, host: usize, caller: &Caller) {
    for number in 0..2 {
        let name = format!("spare-{host}-{number}");
        let (pool_id, _) = pool(caller, "weft-local", "", &name);
        caller.call("IpamDriver.ReleasePool", json!({"PoolID": pool_id}));
        eventually(&format!("`{name}` is gone"), async || {
            let networks = testbed.hosts[host].client.networks(&Default::default()).await.ok()?;
            networks.iter().all(|network| network.name != name).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_failed_creation_leaves_the_swarms_network_alone() {
    let (testbed, callers) = plugins(2, GLOBAL, "").await;
    let network = made(&callers[0], ONE);
    for (host, caller) in callers.iter().enumerate() {
        // The creation breaks off before CreateNetwork, or that fails.
        let (pool_id, _) = pool(caller, "weft-local", &network.subnet, NAME);
        caller.call("IpamDriver.ReleasePool", json!({"PoolID": pool_id}));
        chores_are_done(&testbed, host, caller).await;
        is_known(&testbed, &network).await;
    }
    // Another engine of the Swarm still has it.
    let pool_id = taken_part(&callers[1], &network);
    let address = task(&callers[0], &network, "");
    started(&callers[1], &network, &pool_id, "e1", &address, MACS[0]);
    ended(&callers[1], &network, &pool_id, "e1", &address);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_made_again_is_not_the_one_that_is_being_deleted() {
    let (testbed, callers) = plugins(2, GLOBAL, "").await;
    let (leader, node) = (&callers[0], &callers[1]);
    let old = made(leader, ONE);
    // Nobody uses it yet, and it is not the other's all the same.
    is_not_made(leader, OTHER, &[ONE, "try again"]);
    chores_are_done(&testbed, 0, leader).await;
    is_known(&testbed, &old).await;
    let address = task(leader, &old, "");
    let pool_id = taken_part(node, &old);
    started(node, &old, &pool_id, "e1", &address, MACS[0]);
    // The service is removed and deployed again while its tasks stop.
    leader.call("NetworkDriver.FreeNetwork", json!({"NetworkID": ONE}));
    let asked = Instant::now();
    leader.refused("IpamDriver.RequestPool", pool_wanted(), &[ONE, "h2", "try again"]);
    assert!(asked.elapsed() < Duration::from_secs(10), "it waits a little for the last task");
    // Who leads from now on was not told.
    is_not_made(node, OTHER, &[ONE, "try again"]);
    is_known(&testbed, &old).await;
    let again = Caller::new(socket(&testbed, 0));
    let again = std::thread::spawn(move || made(&again, OTHER));
    ended(node, &old, &pool_id, "e1", &address);
    node.call("NetworkDriver.DeleteNetwork", json!({"NetworkID": ONE}));
    let new = again.join().expect("it is made");
    assert_ne!(new.cluster_id(), old.cluster_id());
    chores_are_done(&testbed, 0, leader).await;
    let known = testbed.hosts[0].client.network(NAME, Detail::Plain).await.expect("it stays");
    assert_eq!(known.id.to_string(), new.cluster_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_gives_an_address_that_is_named_once() {
    let (mut testbed, callers) = plugins(2, GLOBAL, "").await;
    let network = made(&callers[0], ONE);
    let twice = |leader: &Caller, network: &Network, address: &str| {
        let body = wanted(&network.pool_id, address);
        leader.refused("IpamDriver.RequestAddress", body, &[address, "already in use"]);
    };
    let any = task(&callers[0], &network, "");
    twice(&callers[0], &network, &any);
    let named = any.rsplit_once('.').map(|(head, _)| format!("{head}.99")).expect("IPv4");
    assert_eq!(task(&callers[0], &network, &named), named);
    twice(&callers[0], &network, &named);
    // Given back, it is anybody's.
    release(&callers[0], &network.pool_id, &named);
    task(&callers[0], &network, &named);
    twice(&callers[0], &network, &named);
    // One that is refused for another reason was not given.
    let outside = wanted(&network.pool_id, network.subnet.split('/').next().expect("a network"));
    for _ in 0..2 {
        let reply = callers[0].post("IpamDriver.RequestAddress", &outside);
        assert!(reply.error().is_some(), "{reply:?}");
    }
    // A new leader asks for each once more, and so does the old one that leads again.
    for leader in [&callers[1], &callers[0]] {
        let network = replayed(leader, &network);
        for address in [&any, &named] {
            assert_eq!(task(leader, &network, address), *address);
            twice(leader, &network, address);
        }
    }
    // What it gave before its restart an agent knows after it.
    release(&callers[0], &network.pool_id, &any);
    testbed.hosts[0].kill();
    start_again(&mut testbed, 0, GLOBAL).await;
    twice(&callers[0], &network, &named);
    assert_eq!(task(&callers[0], &network, &any), any);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_networks_of_a_swarm_on_one_of_the_cluster_neither_forgets_for_the_other() {
    let (testbed, callers) = plugins(2, GLOBAL, "").await;
    let plain = NetworkCreate::named(NAME);
    testbed.hosts[0].client.create_network(&plain).await.expect("a network");
    let one = made(&callers[0], ONE);
    let address = task(&callers[0], &one, "");
    let other = made(&callers[0], OTHER);
    assert_eq!(one.cluster_id(), other.cluster_id());
    let twice = |leader: &Caller, network: &Network, address: &str| {
        let body = wanted(&network.pool_id, address);
        leader.refused("IpamDriver.RequestAddress", body, &[address, "already in use"]);
    };
    twice(&callers[0], &other, &address);
    // A leader takes all networks up before the first address; one of them may fail and come late.
    let one = replayed(&callers[1], &one);
    assert_eq!(task(&callers[1], &one, &address), address);
    let other = replayed(&callers[1], &other);
    twice(&callers[1], &other, &address);
    // The end of one is not that of the other.
    callers[1].call("NetworkDriver.FreeNetwork", json!({"NetworkID": OTHER}));
    twice(&callers[1], &one, &address);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_network_that_a_dead_node_has_part_in_holds_up_no_leader() {
    let (mut testbed, callers) = plugins(2, GLOBAL, "").await;
    let network = made(&callers[0], ONE);
    let address = task(&callers[0], &network, "");
    let pool_id = taken_part(&callers[1], &network);
    started(&callers[1], &network, &pool_id, "e1", &address, MACS[0]);
    testbed.hosts[1].kill();
    eventually("the node is dead", async || {
        let members = testbed.hosts[0].client.members().await.ok()?;
        let is_dead = |name: &str, state| name == "h2" && state == MemberState::Failed;
        members.iter().any(|member| is_dead(&member.name, member.state)).then_some(())
    })
    .await;
    callers[0].call("NetworkDriver.FreeNetwork", json!({"NetworkID": ONE}));
    let asked = Instant::now();
    callers[0].refused("IpamDriver.RequestPool", pool_wanted(), &[ONE, "h2", "another name"]);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_task_hears_who_has_an_address_before_it_takes_it() {
    let (_testbed, callers) = plugins(3, GLOBAL, "").await;
    let network = made(&callers[0], ONE);
    let address = task(&callers[0], &network, "");
    let pool_id = taken_part(&callers[1], &network);
    started(&callers[1], &network, &pool_id, "e1", &address, MACS[0]);
    // The first container there, of the same `--ip`.
    let pool_id = taken_part(&callers[2], &network);
    callers[2].address(&pool_id, &address, MACS[1]);
    let prefix = network.subnet.split('/').nth(1).expect("a prefix length");
    let body = endpoint(ONE, "e2", &address, prefix, MACS[1]);
    callers[2].refused("NetworkDriver.CreateEndpoint", body, &[&address, "already in use", "h2"]);
    release(&callers[2], &pool_id, &address);
    // And one of its own is none of theirs.
    let own = task(&callers[0], &network, "");
    started(&callers[2], &network, &pool_id, "e3", &own, MACS[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_request_takes_over_an_address_that_no_endpoint_came_for() {
    for scope in [GLOBAL, LOCAL] {
        let (_testbed, callers) = plugins(1, scope, "").await;
        let node = &callers[0];
        let (id, address, subnet, pool_id) = if scope == GLOBAL {
            let network = made(node, ONE);
            let address = task(node, &network, "");
            let pool_id = taken_part(node, &network);
            (ONE.to_owned(), address, network.subnet, pool_id)
        } else {
            let subnet = "10.81.0.0/24";
            let pool_id = node.whole_network(&engine_id(1), NAME, subnet);
            (engine_id(1), "10.81.0.9".to_owned(), subnet.to_owned(), pool_id)
        };
        let prefix = subnet.split('/').nth(1).expect("a prefix length");
        // The first call breaks off after this, and nobody gives the address back.
        for mac in &MACS[..2] {
            node.address(&pool_id, &address, mac);
        }
        let body = endpoint(&id, "e2", &address, prefix, MACS[1]);
        node.call("NetworkDriver.CreateEndpoint", body);
        // Of two that were told they may have it, the first that comes has it.
        let body = endpoint(&id, "e1", &address, prefix, MACS[0]);
        node.refused("NetworkDriver.CreateEndpoint", body, &[&address, "already in use"]);
        release(node, &pool_id, &address);
        let third = claim(&pool_id, &address, MACS[2]);
        node.refused("IpamDriver.RequestAddress", third, &[&address, "already in use"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_release_leaves_an_address_to_whoever_asked_for_it_last() {
    let (_testbed, callers) = plugins(1, GLOBAL, "").await;
    let node = &callers[0];
    let network = made(node, ONE);
    let address = task(node, &network, "");
    let pool_id = taken_part(node, &network);
    for mac in &MACS[..2] {
        node.address(&pool_id, &address, mac);
    }
    // The first call's, which broke off.
    release(node, &pool_id, &address);
    let prefix = network.subnet.split('/').nth(1).expect("a prefix length");
    let body = endpoint(ONE, "e2", &address, prefix, MACS[1]);
    node.call("NetworkDriver.CreateEndpoint", body);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_come_at_once_for_one_address_get_it_once() {
    let (testbed, callers) = plugins(1, GLOBAL, "").await;
    let network = made(&callers[0], ONE);
    let pool_id = taken_part(&callers[0], &network);
    let prefix = network.subnet.split('/').nth(1).expect("a prefix length").to_owned();
    for round in 0..8 {
        let address = task(&callers[0], &network, "");
        let macs = [1, 2].map(|number| format!("02:42:0a:00:{round:02}:{number:02}"));
        for mac in &macs {
            callers[0].address(&pool_id, &address, mac);
        }
        let comers = macs.iter().enumerate().map(|(number, mac)| {
            let body = endpoint(ONE, &format!("r{round}e{number}"), &address, &prefix, mac);
            let caller = Caller::new(socket(&testbed, 0));
            std::thread::spawn(move || caller.post("NetworkDriver.CreateEndpoint", &body))
        });
        let comers: Vec<_> = comers.collect();
        let replies = comers.into_iter().map(|comer| comer.join().expect("a reply"));
        let won = replies.filter(|reply| reply.error().is_none()).count();
        assert_eq!(won, 1, "in round {round}");
    }
    let endpoints = testbed.hosts[0].client.endpoints(None, &Default::default()).await;
    assert_eq!(endpoints.expect("endpoints").len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_a_swarm_that_no_endpoint_comes_for_is_unbound_with_time() {
    let config = "docker_unused_seconds = 2\n";
    let (testbed, callers) = plugins(1, GLOBAL, config).await;
    let network = made(&callers[0], ONE);
    let pool_id = taken_part(&callers[0], &network);
    let address = task(&callers[0], &network, "");
    callers[0].address(&pool_id, &address, MACS[0]);
    let words = "no endpoint took it";
    eventually("the claim is dropped", async || {
        testbed.hosts[0].log().contains(words).then_some(())
    })
    .await;
    // It stays the leader's to give back, and a task that comes for it has it.
    let body = wanted(&network.pool_id, &address);
    callers[0].refused("IpamDriver.RequestAddress", body, &["already in use"]);
    assert_ne!(task(&callers[0], &network, ""), address);
    started(&callers[0], &network, &pool_id, "e1", &address, MACS[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_ends_with_its_network() {
    let (testbed, callers) = plugins(1, GLOBAL, "").await;
    let network = made(&callers[0], ONE);
    let pool_id = taken_part(&callers[0], &network);
    let address = task(&callers[0], &network, "");
    callers[0].address(&pool_id, &address, MACS[0]);
    callers[0].call("NetworkDriver.FreeNetwork", json!({"NetworkID": ONE}));
    eventually("the network is gone, and what was claimed of it", async || {
        testbed.hosts[0].log().contains("its network is gone").then_some(())
    })
    .await;
    assert!(testbed.hosts[0].client.network(NAME, Detail::Plain).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_scope_for_an_engines_mode_is_told_with_what_to_do() {
    let data = json!([{"AddressSpace": "weft-local", "Gateway": "10.81.0.1/24",
                       "Pool": "10.81.0.0/24"}]);
    let body = |id: &str| json!({"NetworkID": id, "Options": {}, "IPv4Data": data});
    let create = "NetworkDriver.CreateNetwork";
    {
        let (_testbed, callers) = plugins(1, LOCAL, "").await;
        let set = ["scope `local`", "docker_scope = \"global\"", "WEFT_DOCKER_SCOPE=global"];
        callers[0].refused("NetworkDriver.AllocateNetwork", body(ONE), &set);
        callers[0].refused(create, body(ONE), &[&set[..], &["managed plugin"]].concat());
    }
    let (_testbed, callers) = plugins(1, GLOBAL, "").await;
    let set = ["scope `global`", "docker_scope = \"local\"", "WEFT_DOCKER_SCOPE=local"];
    callers[0].refused(create, body(&engine_id(1)), &[&set[..], &["on a manager"]].concat());
}
