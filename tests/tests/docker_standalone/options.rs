//! What `docker network create` and `docker run` take, and what they are refused.

use std::collections::BTreeSet;
use std::net::IpAddr;

use weft_agent::control::Detail;
use weft_tests::testbed::{Container, Shared};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The engine's network with its cluster network, up to the name.
const CREATE: [&str; 6] = ["network", "create", "--driver", "weft", "--ipam-driver", "weft"];

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_mac_asked_for_are_given_and_a_taken_one_is_refused_on_every_host() {
    let docker = Shared::docker().await;
    let [here, there] = [&docker.engines[0], &docker.engines[1]];
    let subnets = ["--ipv6", "--subnet", "10.72.0.0/24", "--subnet", "fd72::/64"];
    for engine in [here, there] {
        engine.create_network("fixed", &subnets);
    }
    let asked = ["--network", "fixed", "--ip", "10.72.0.9", "--ip6", "fd72::9"];
    let near = here.run(&[&asked[..], &["--mac-address", "02:72:00:00:00:09"]].concat());
    assert_eq!(near.addresses("fixed"), [address("10.72.0.9"), address("fd72::9")]);
    assert!(near.exec(&["ip", "link"]).contains("02:72:00:00:00:09"));
    let far = there.run(&["--network", "fixed"]);
    far.sandbox().reaches(&near.addresses("fixed")).await;
    for engine in [here, there] {
        for taken in [["--ip", "10.72.0.9"], ["--ip6", "fd72::9"], ["--ip", "10.72.0.1"]] {
            let run = [&["run", "--rm", "--pull", "never", "--network", "fixed"], &taken[..]];
            let refused = engine.docker(&[&run.concat()[..], &["weft-test:1"]].concat());
            refused.refuses(&[taken[1], "already"]);
        }
        let outside = ["run", "--rm", "--pull", "never", "--network", "fixed", "--ip", "10.73.0.9"];
        engine.docker(&[&outside[..], &["weft-test:1"]].concat()).refuses(&["10.73.0.9"]);
    }
    far.sandbox().reaches(&near.addresses("fixed")).await;
    for container in [near, far] {
        container.remove();
    }
    for engine in [here, there] {
        engine.remove_network("fixed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_asked_for_first_is_that_of_all_engines() {
    let docker = Shared::docker().await;
    let [here, there] = [&docker.engines[0], &docker.engines[1]];
    let gateway = ["--subnet", "10.71.0.0/24", "--gateway", "10.71.0.254"];
    here.create_network("led", &[&gateway[..], &["--opt", "gateway=weft"]].concat());
    let other = ["--subnet", "10.71.0.0/24", "--gateway", "10.71.0.1"];
    let other = [&["--ipam-opt", "network=led"], &other[..], &["led"]].concat();
    there.docker(&[&CREATE[..], &other].concat()).refuses(&["10.71.0.254"]);
    there.create_network("led", &[]);
    let near = here.run(&["--network", "led"]);
    let far = there.run(&["--network", "led"]);
    assert!(near.exec(&["ip", "route"]).contains("default via 10.71.0.254"));
    near.sandbox().reaches(&far.addresses("led")).await;
    near.remove();
    far.remove();
    for engine in [here, there] {
        engine.remove_network("led");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_bounds_what_is_handed_out_and_auxiliary_addresses_are_not() {
    let docker = Shared::docker().await;
    let [here, there] = [&docker.engines[0], &docker.engines[1]];
    let options = [
        "--subnet",
        "10.74.0.0/24",
        "--ip-range",
        "10.74.0.64/29",
        "--aux-address",
        "router=10.74.0.65",
    ];
    for engine in [here, there] {
        engine.create_network("ranged", &options);
    }
    let mut containers: Vec<Container> = Vec::new();
    let mut given = BTreeSet::new();
    for engine in [here, there, here] {
        let container = engine.run(&["--network", "ranged"]);
        let IpAddr::V4(one) = container.addresses("ranged")[0] else { panic!("IPv4") };
        assert!(given.insert(one), "{one} twice");
        assert_eq!(one.octets()[3] & !7, 64, "{one} is out of the range");
        assert_ne!(one.octets()[3], 65, "the auxiliary address");
        containers.push(container);
    }
    let run = ["run", "--rm", "--pull", "never", "--network", "ranged"];
    for engine in [here, there] {
        let asked = ["--ip", "10.74.0.65", "weft-test:1"];
        engine.docker(&[&run[..], &asked].concat()).refuses(&["10.74.0.65"]);
    }
    // Outside of the range, inside of the subnet: who asks for it has it.
    let asked = here.run(&["--network", "ranged", "--ip", "10.74.0.9"]);
    containers[1].sandbox().reaches(&asked.addresses("ranged")).await;
    for container in containers.iter().chain([&asked]) {
        container.remove();
    }
    for engine in [here, there] {
        engine.remove_network("ranged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_network_has_no_way_out() {
    let docker = Shared::docker().await;
    let [here, there] = [&docker.engines[1], &docker.engines[2]];
    for engine in [here, there] {
        engine.create_network("inner", &["--internal"]);
    }
    let near = here.run(&["--network", "inner"]);
    let far = there.run(&["--network", "inner"]);
    near.sandbox().reaches(&far.addresses("inner")).await;
    assert!(!near.exec(&["ip", "route"]).contains("default"));
    near.sandbox().reaches_none_of(&[docker.testbed.hosts[2].address()]).await;
    let cluster = docker.testbed.hosts[0].client.network("inner", Detail::Plain).await;
    assert!(cluster.expect("inner").internal);
    near.remove();
    far.remove();
    for engine in [here, there] {
        engine.remove_network("inner");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mtu_asked_for_is_the_interfaces_and_full_packets_pass() {
    let docker = Shared::docker().await;
    let [here, there] = [&docker.engines[0], &docker.engines[2]];
    for engine in [here, there] {
        engine.create_network("narrow", &["--opt", "com.docker.network.driver.mtu=1300"]);
    }
    let near = here.run(&["--network", "narrow"]);
    let far = there.run(&["--network", "narrow"]);
    assert_eq!(near.sandbox().link("eth0").await.mtu, 1300);
    near.sandbox().reaches_in_full(&far.addresses("narrow"), 1300).await;
    near.remove();
    far.remove();
    for engine in [here, there] {
        engine.remove_network("narrow");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vnis_asked_for_are_the_clusters_and_one_is_given_once() {
    let docker = Shared::docker().await;
    let [here, there] = [&docker.engines[0], &docker.engines[1]];
    let list = |vni: &str| format!("com.docker.network.driver.overlay.vxlanid_list={vni}");
    here.create_network("numbered", &["--opt", &list("9000001")]);
    // Who takes part need not say it, and must not say another.
    let other = ["--ipam-opt", "network=numbered", "--opt", &list("9000002"), "numbered"];
    there.docker(&[&CREATE[..], &other].concat()).refuses(&["numbered", "9000002"]);
    there.create_network("numbered", &[]);
    let client = &docker.testbed.hosts[1].client;
    let numbered = client.network("numbered", Detail::Plain).await.expect("a network");
    let vnis: Vec<_> = numbered.subnets.iter().map(|subnet| subnet.vni.get()).collect();
    assert_eq!(vnis, [9_000_001]);
    let taken = ["--ipam-opt", "network=second", "--opt", &list("9000001"), "second"];
    there.docker(&[&CREATE[..], &taken].concat()).refuses(&["9000001"]);
    let outside = ["--ipam-opt", "network=second", "--opt", &list("7001"), "second"];
    there.docker(&[&CREATE[..], &outside].concat()).refuses(&["VNI 7001"]);
    let near = here.run(&["--network", "numbered"]);
    let far = there.run(&["--network", "numbered"]);
    near.sandbox().reaches(&far.addresses("numbered")).await;
    near.remove();
    far.remove();
    for engine in [here, there] {
        engine.remove_network("numbered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_wefts_ipam_driver_the_right_command_is_told() {
    let docker = Shared::docker().await;
    let engine = &docker.engines[0];
    let right = "docker network create -d weft --ipam-driver weft";
    engine.docker(&["network", "create", "-d", "weft", "plain"]).refuses(&[right]);
    let named = ["network", "create", "-d", "weft", "-o", "network=green", "plain"];
    engine.docker(&named).refuses(&[right, "network=green"]);
    let with_subnet = ["network", "create", "-d", "weft", "--subnet", "10.75.0.0/24", "plain"];
    engine.docker(&with_subnet).refuses(&[right]);
    assert!(!engine.docker(&["network", "ls"]).stdout.contains("plain"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_contradicts_the_clusters_network_is_refused_and_named() {
    let docker = Shared::docker().await;
    let [here, there] = [&docker.engines[0], &docker.engines[1]];
    here.create_network("firm", &["--subnet", "10.76.0.0/24"]);
    let create = |options: &[&str]| {
        let options = [&CREATE, options, &["firm"]].concat();
        there.docker(&options)
    };
    let named = ["--ipam-opt", "network=firm"];
    let other_subnet = [&named[..], &["--subnet", "10.77.0.0/24"]].concat();
    create(&other_subnet).refuses(&["firm", "10.77.0.0/24"]);
    create(&[&named[..], &["--internal"]].concat()).refuses(&["firm", "internal"]);
    let mtu = ["--opt", "com.docker.network.driver.mtu=1200"];
    create(&[&named[..], &mtu].concat()).refuses(&["firm", "1200"]);
    create(&["--subnet", "10.76.0.128/25"]).refuses(&["10.76.0.128/25", "firm"]);
    create(&["--subnet", "10.76.0.0/24"]).refuses(&["10.76.0.0/24", "firm"]);
    let late = ["--opt", "network=firm"];
    create(&late).refuses(&["--ipam-opt network=firm"]);
    // What comes late fits where the subnet is the network's.
    create(&[&late[..], &["--subnet", "10.76.0.0/24"]].concat()).line();
    let near = here.run(&["--network", "firm"]);
    let far = there.run(&["--network", "firm"]);
    near.sandbox().reaches(&far.addresses("firm")).await;
    near.remove();
    far.remove();
    for engine in [here, there] {
        engine.remove_network("firm");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_that_name_none_of_the_clusters_are_each_engines_own() {
    let docker = Shared::docker().await;
    let [here, there] = [&docker.engines[0], &docker.engines[1]];
    let mut subnets = BTreeSet::new();
    let mut containers = Vec::new();
    for engine in [here, there] {
        engine.docker(&[&CREATE[..], &["private"]].concat()).line();
        let format = "{{(index .IPAM.Config 0).Subnet}}";
        let subnet = engine.docker(&["network", "inspect", "--format", format, "private"]).line();
        assert!(subnets.insert(subnet.clone()), "{subnet} twice");
        containers.push(engine.run(&["--network", "private"]));
    }
    containers[0].sandbox().reaches_none_of(&containers[1].addresses("private")).await;
    for (engine, container) in [here, there].iter().zip(containers) {
        container.remove();
        engine.remove_network("private");
    }
}
