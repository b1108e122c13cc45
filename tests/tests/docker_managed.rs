//! Engines in no Swarm, each with Weft as its managed plugin.

use weft_api::control::CheckStatus;
use weft_tests::testbed::Docker;

const NETWORK: &str = "blue";

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_engines_alone_reach_each_other_by_the_managed_plugin() {
    let docker = Docker::managed(2).await;
    for engine in &docker.engines {
        // An engine knows a managed plugin by its whole name.
        let create = ["network", "create", "--driver", "weft:latest"];
        let ipam = ["--ipam-driver", "weft:latest", "--ipam-opt", "network=blue", "--ipv6"];
        engine.docker(&[&create[..], &ipam, &[NETWORK]].concat()).line();
        let inspect = ["network", "inspect", "--format", "{{.Scope}}", NETWORK];
        assert_eq!(engine.docker(&inspect).line(), "local");
    }
    let [near, far] = [0, 1].map(|number| docker.engines[number].run(&["--network", NETWORK]));
    near.sandbox().reaches(&far.addresses(NETWORK)).await;
    far.sandbox().reaches(&near.addresses(NETWORK)).await;
    // A plugin that is killed is started again, and containers do not notice.
    let ping = near.sandbox().stream_to(far.addresses(NETWORK)[0]);
    docker.engines[0].kill_plugin();
    docker.agents_know(2).await;
    let fresh = docker.engines[0].run(&["--network", NETWORK]);
    far.sandbox().reaches(&fresh.addresses(NETWORK)).await;
    ping.lost_nothing().await;
    let report = docker.testbed.hosts[0].client.doctor().await.expect("a report");
    let docker_checks: Vec<_> =
        report.checks.iter().filter(|check| check.check.starts_with("docker")).collect();
    assert!(docker_checks.len() >= 2, "{report:?}");
    assert!(docker_checks.iter().all(|check| check.status == CheckStatus::Ok), "{docker_checks:?}");
    for container in [near, far, fresh] {
        container.remove();
    }
    for engine in &docker.engines {
        engine.remove_network(NETWORK);
    }
    docker.nothing_is_left().await;
}
