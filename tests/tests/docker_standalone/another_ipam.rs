//! A Weft network whose addresses an engine takes from another IPAM plugin.

use std::net::IpAddr;

use weft_tests::testbed::{Docker, Shared};
use weft_tests::third_party::ThirdParty;

const SUBNET: &str = "10.79.0.0/24";

/// A plugin of its own beside each of the first two engines: the two know nothing of each other,
/// and each gives the lowest address that is free as far as it knows.
fn plugins(docker: &Docker, name: &str) -> [ThirdParty; 2] {
    [0, 1].map(|host| {
        let mut plugin = ThirdParty::new("local", None);
        let sockets = docker.testbed.hosts[host].run_dir().join("../docker/plugins");
        plugin.listen(&sockets.join(format!("{name}.sock")));
        plugin
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_another_plugin_are_claimed_in_the_whole_cluster() {
    let docker = Shared::docker().await;
    let _plugins = plugins(&docker, "lowest");
    let [here, there] = [&docker.engines[0], &docker.engines[1]];
    for engine in [here, there] {
        let create = ["network", "create", "-d", "weft", "--ipam-driver", "lowest"];
        let named = ["--subnet", SUBNET, "--opt", "network=lent", "lent"];
        engine.docker(&[&create[..], &named].concat()).line();
    }
    let near = here.run(&["--network", "lent"]);
    let [first] = near.addresses("lent")[..] else { panic!("one address") };
    // There the plugin gives the same one, which the cluster knows to be taken.
    let run = ["run", "--rm", "--pull", "never", "--network", "lent", "weft-test:1"];
    there.docker(&run).refuses(&[&first.to_string(), "already"]);
    let far = there.run(&["--network", "lent", "--ip", "10.79.0.9"]);
    assert_eq!(far.addresses("lent"), ["10.79.0.9".parse::<IpAddr>().expect("an address")]);
    near.sandbox().reaches(&far.addresses("lent")).await;
    far.sandbox().reaches(&near.addresses("lent")).await;
    // The plugin gives again what it got back.
    near.remove();
    let next = here.run(&["--network", "lent"]);
    assert_eq!(next.addresses("lent"), [first]);
    for container in [next, far] {
        container.remove();
    }
    for engine in [here, there] {
        engine.remove_network("lent");
    }
}
