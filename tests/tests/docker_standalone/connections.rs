//! Containers that are connected to networks and disconnected, and what they see of it.

use std::net::IpAddr;
use std::process::Command;

use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::run_in;
use weft_tests::testbed::{Container, Docker, Engine, Shared, eventually};

/// The interfaces of a container that have an address, with it.
fn interfaces(container: &Container) -> Vec<(String, String)> {
    let shown = container.exec(&["ip", "-4", "-o", "addr"]);
    let found = shown.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some((words.get(1)?.to_string(), words.get(3)?.split('/').next()?.to_owned()))
    });
    found.filter(|(name, _)| name != "lo").collect()
}

/// The interface of a container's default route.
fn way_out(container: &Container) -> Option<String> {
    let routes = container.exec(&["ip", "route"]);
    let route = routes.lines().find(|line| line.starts_with("default"))?;
    Some(route.split(" dev ").nth(1)?.split(' ').next()?.to_owned())
}

fn has(container: &Container, network: &str) -> (String, String) {
    let address = container.addresses(network)[0].to_string();
    let found = interfaces(container).into_iter().find(|(_, there)| *there == address);
    found.unwrap_or_else(|| panic!("no {address} in {}", container.exec(&["ip", "addr"])))
}

async fn reach_each_other(one: &Container, other: &Container, network: &str) {
    one.sandbox().reaches(&other.addresses(network)).await;
    other.sandbox().reaches(&one.addresses(network)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_connected_and_disconnected_again_and_again() {
    let docker = Shared::docker().await;
    let [here, there] = [&docker.engines[0], &docker.engines[1]];
    for engine in [here, there] {
        engine.create_network("on-off", &[]);
    }
    let far = there.run(&["--network", "on-off"]);
    // The engine's own bridge is where a container is that says nothing.
    let near = here.run(&[]);
    assert_eq!(way_out(&near).as_deref(), Some("eth0"));
    for round in 0..4 {
        here.docker(&["network", "connect", "on-off", &near.id]).done();
        // An engine counts on, as it does with its own networks.
        let name = format!("eth{}", round + 1);
        assert_eq!(has(&near, "on-off").0, name, "round {round}");
        assert_eq!(way_out(&near).as_deref(), Some("eth0"), "round {round}");
        reach_each_other(&near, &far, "on-off").await;
        here.docker(&["network", "disconnect", "on-off", &near.id]).done();
        assert_eq!(interfaces(&near).len(), 1, "round {round}");
        assert_eq!(way_out(&near).as_deref(), Some("eth0"), "round {round}");
    }
    near.remove();
    far.remove();
    for engine in [here, there] {
        engine.remove_network("on-off");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_out_moves_to_the_engines_bridge_when_only_weft_is_left() {
    let docker = Shared::docker().await;
    let engine = &docker.engines[0];
    engine.create_network("alone", &[]);
    let container = engine.run(&[]);
    engine.docker(&["network", "connect", "alone", &container.id]).done();
    engine.docker(&["network", "disconnect", "bridge", &container.id]).done();
    let weft = has(&container, "alone").0;
    let out = way_out(&container).expect("a way out");
    assert_ne!(out, weft, "docker_gwbridge leads out");
    container.sandbox().reaches(&[docker.testbed.hosts[1].address()]).await;
    container.remove();
    engine.remove_network("alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_on_two_weft_networks_reaches_the_peers_of_both() {
    let docker = Shared::docker().await;
    let [here, there] = [&docker.engines[1], &docker.engines[2]];
    let networks = ["both-a", "both-b"];
    for engine in [here, there] {
        for network in networks {
            engine.create_network(network, &["--ipv6"]);
        }
    }
    let middle = here.run(&["--network", networks[0]]);
    here.docker(&["network", "connect", networks[1], &middle.id]).done();
    let peers = networks.map(|network| there.run(&["--network", network]));
    for (peer, network) in peers.iter().zip(networks) {
        reach_each_other(&middle, peer, network).await;
    }
    let names = networks.map(|network| has(&middle, network).0);
    assert_ne!(names[0], names[1]);
    // Networks are apart but for those who are on both.
    peers[0].sandbox().reaches_none_of(&peers[1].addresses(networks[1])).await;
    here.docker(&["restart", &middle.id]).done();
    for (peer, network) in peers.iter().zip(networks) {
        reach_each_other(&middle, peer, network).await;
    }
    here.docker(&["network", "disconnect", networks[0], &middle.id]).done();
    reach_each_other(&middle, &peers[1], networks[1]).await;
    for container in peers.iter().chain([&middle]) {
        container.remove();
    }
    for engine in [here, there] {
        for network in networks {
            engine.remove_network(network);
        }
    }
}

/// The word behind another one.
fn behind(text: &str, word: &str) -> Option<String> {
    text.split_whitespace().skip_while(|there| *there != word).nth(1).map(str::to_owned)
}

/// The MAC that a container has on a network.
fn mac(container: &Container, network: &str) -> String {
    let shown = container.exec(&["ip", "link", "show", &has(container, network).0]);
    behind(&shown, "link/ether").unwrap_or_else(|| panic!("no MAC in {shown}"))
}

/// The MAC that a container remembers of an address.
fn remembers(container: &Container, address: IpAddr) -> Option<String> {
    let address = address.to_string();
    let show = || Command::new("ip").args(["neighbour", "show", &address]).output();
    let namespace = Namespace::open(container.sandbox().path()).expect("its namespace");
    let shown = run_in(&namespace, show).expect("the namespace").expect("ip");
    behind(&String::from_utf8_lossy(&shown.stdout), "lladdr")
}

/// Peers that spoke to a container learn its new MAC before anybody speaks again.
async fn hear_of(mac: &str, container: &Container, peers: &[&Container]) {
    for address in container.addresses("again") {
        for peer in peers {
            let what = format!("`{}` hears of {mac} at {address}", peer.id);
            let heard = async || remembers(peer, address).filter(|there| there == mac);
            eventually(&what, heard).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_container_is_reached_again_and_keeps_the_address_it_asked_for() {
    let docker = Shared::docker().await;
    let [here, there] = [&docker.engines[0], &docker.engines[2]];
    for engine in [here, there] {
        let subnets = ["--ipv6", "--subnet", "10.71.0.0/24", "--subnet", "fd71::/64"];
        engine.create_network("again", &subnets);
    }
    let asked = ["--network", "again", "--ip", "10.71.0.77", "--ip6", "fd71::77"];
    let fixed = here.run(&asked);
    let free = here.run(&["--network", "again"]);
    let (near, far) = (here.run(&["--network", "again"]), there.run(&["--network", "again"]));
    for container in [&fixed, &free] {
        for peer in [&near, &far] {
            reach_each_other(container, peer, "again").await;
        }
        for _ in 0..2 {
            // The engine gives it another MAC, of which those hear who spoke to it lately.
            let before = mac(container, "again");
            here.docker(&["restart", &container.id]).done();
            if container.id == fixed.id {
                let now = mac(container, "again");
                assert_ne!(before, now, "or nothing is shown");
                hear_of(&now, container, &[&near, &far]).await;
            }
            for peer in [&near, &far] {
                reach_each_other(peer, container, "again").await;
            }
        }
    }
    let addresses = ["10.71.0.77", "fd71::77"].map(|text| text.parse::<IpAddr>().expect("one"));
    assert_eq!(fixed.addresses("again"), addresses);
    for container in [fixed, free, near, far] {
        container.remove();
    }
    for engine in [here, there] {
        engine.remove_network("again");
    }
}

fn has_network(engine: &Engine, name: &str) -> bool {
    let listed = engine.docker(&["network", "ls", "--format", "{{.Name}}"]);
    listed.stdout.lines().any(|line| line == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_takes_unused_networks_and_leaves_those_in_use() {
    // Not the shared engines: prune asks nobody whose a network is.
    let own = Docker::cluster(2).await;
    for engine in &own.engines {
        engine.create_network("used", &[]);
        engine.create_network("spare", &[]);
    }
    let near = own.engines[0].run(&["--network", "used"]);
    let far = own.engines[1].run(&["--network", "used"]);
    for engine in &own.engines {
        engine.docker(&["network", "prune", "--force"]).done();
        assert!(has_network(engine, "used") && !has_network(engine, "spare"));
    }
    reach_each_other(&near, &far, "used").await;
    near.remove();
    far.remove();
    for engine in &own.engines {
        engine.docker(&["network", "prune", "--force"]).done();
        assert!(!has_network(engine, "used"));
    }
    own.nothing_is_left().await;
}
