//! Networks that engines share, and containers on them.

use weft_agent::control::Detail;
use weft_tests::testbed::{Docker, Shared};

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_two_engines_ping_each_other_by_address_in_both_families() {
    let docker = Shared::docker().await;
    let mut containers = Vec::new();
    for engine in &docker.engines[..2] {
        engine.create_network("blue", &["--ipv6"]);
        let container = engine.run(&["--network", "blue"]);
        assert_eq!(container.addresses("blue").len(), 2, "IPv4 and IPv6");
        containers.push(container);
    }
    let [near, far] = &containers[..] else { panic!("two containers") };
    near.sandbox().reaches(&far.addresses("blue")).await;
    far.sandbox().reaches(&near.addresses("blue")).await;
    for (engine, container) in docker.engines.iter().zip(&containers) {
        container.remove();
        engine.remove_network("blue");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_network_goes_with_the_last_engines_and_nothing_is_left() {
    let docker = Docker::cluster(2).await;
    for engine in &docker.engines {
        engine.create_network("blue", &["--ipv6"]);
        engine.create_network("shut", &["--internal"]);
    }
    let blue = docker.testbed.hosts[0].client.network("blue", Detail::Plain).await.expect("blue");
    for engine in &docker.engines {
        let container = engine.run(&["--network", "blue"]);
        engine.docker(&["network", "connect", "shut", &container.id]);
        container.remove();
    }
    docker.engines[0].remove_network("blue");
    let there = docker.testbed.hosts[1].client.network("blue", Detail::Plain).await.expect("blue");
    assert_eq!(there.id, blue.id, "the other engine has it yet");
    docker.engines[1].remove_network("blue");
    docker.nothing_is_left_of(&blue).await;
    for engine in &docker.engines {
        engine.remove_network("shut");
    }
    docker.nothing_is_left().await;
}
