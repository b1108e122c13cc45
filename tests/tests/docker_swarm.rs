//! Three engines in a Swarm, each with Weft as its managed plugin.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use weft_agent::control::Detail;
use weft_tests::testbed::{Container, Docker, IMAGE, eventually, eventually_within};

const NETWORK: &str = "blue";
const SERVICE: &str = "web";
/// A Swarm elects a new leader after ten seconds and more, which then gives a node that it has not
/// heard of half a minute.
const FAILOVER: Duration = Duration::from_secs(150);

/// A Swarm knows a managed plugin by its whole name alone.
fn create_network(docker: &Docker, leader: usize) {
    let create = ["network", "create", "--driver", "weft:latest", "--ipam-driver", "weft:latest"];
    let rest = ["--ipam-opt", "network=blue", "--attachable", NETWORK];
    docker.engines[leader].docker(&[&create[..], &rest].concat()).line();
}

fn update(docker: &Docker, leader: usize, more: &[&str]) {
    let update = ["service", "update", "--quiet", "--no-resolve-image"];
    docker.engines[leader].docker(&[&update, more, &[SERVICE]].concat()).done();
}

fn addresses(tasks: &[(usize, Container)]) -> Vec<IpAddr> {
    tasks.iter().flat_map(|(_, task)| task.addresses(NETWORK)).collect()
}

/// Waits until so many tasks run, checks that all have addresses of their own, and that each
/// reaches all others; returns them.
async fn are_well(docker: &Docker, replicas: usize) -> Vec<(usize, Container)> {
    let tasks = eventually_within(FAILOVER, &format!("{replicas} tasks run"), async || {
        let tasks = docker.tasks(SERVICE);
        (tasks.len() == replicas).then_some(tasks)
    })
    .await;
    let all = addresses(&tasks);
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), replicas, "{all:?}");
    for (_, task) in &tasks {
        task.sandbox().reaches(&all).await;
    }
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_scaled_updated_drained_and_removed_and_leaves_nothing() {
    let docker = Docker::swarm(3).await;
    create_network(&docker, 0);
    docker.engines[0].create_service(&["--name", SERVICE, "--network", NETWORK, "--replicas", "3"]);
    let tasks = are_well(&docker, 3).await;
    let engines: BTreeSet<_> = tasks.iter().map(|(engine, _)| *engine).collect();
    assert_eq!(engines.len(), 3, "one on each engine");
    // A container of any engine takes part, as the network is attachable.
    let guest = docker.engines[2].run(&["--network", NETWORK]);
    guest.sandbox().reaches(&addresses(&tasks)).await;
    docker.engines[0].docker(&["service", "scale", "--detach=false", "web=7"]).done();
    let before = are_well(&docker, 7).await;
    let kept = addresses(&tasks);
    assert!(kept.iter().all(|one| addresses(&before).contains(one)), "who runs keeps his address");
    docker.engines[0].docker(&["service", "scale", "--detach=false", "web=3"]).done();
    are_well(&docker, 3).await;
    let rolling = ["--force", "--update-parallelism", "1", "--update-monitor", "500ms"];
    update(&docker, 0, &rolling);
    let updated = are_well(&docker, 3).await;
    assert!(updated.iter().all(|(_, task)| before.iter().all(|(_, old)| old.id != task.id)));
    docker.engines[0].docker(&["node", "update", "--availability", "drain", "h2"]).done();
    eventually("the tasks of the drained node are elsewhere", async || {
        docker.engines[1].tasks(SERVICE).is_empty().then_some(())
    })
    .await;
    guest.sandbox().reaches(&addresses(&are_well(&docker, 3).await)).await;
    eventually("nothing of the network is on the drained node", async || {
        docker.testbed.hosts[1].kernel().await.pins.is_empty().then_some(())
    })
    .await;
    let network = docker.testbed.hosts[0].client.network(NETWORK, Detail::Plain).await;
    guest.remove();
    docker.engines[0].docker(&["service", "rm", SERVICE]).done();
    eventually("the network is removed", async || {
        let removed = docker.engines[0].docker(&["network", "rm", NETWORK]);
        (removed.code == 0).then_some(())
    })
    .await;
    docker.nothing_is_left_of(&network.expect("the network")).await;
    docker.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_keep_addresses_and_traffic_when_the_leader_is_killed_and_new_ones_get_free_ones() {
    let mut docker = Docker::swarm(3).await;
    create_network(&docker, 0);
    docker.engines[0].create_service(&["--name", SERVICE, "--network", NETWORK, "--replicas", "6"]);
    let tasks = are_well(&docker, 6).await;
    let (of_leader, of_others): (Vec<_>, Vec<_>) =
        tasks.into_iter().partition(|(engine, _)| *engine == 0);
    let kept = addresses(&of_others);
    let ping = of_others[0].1.sandbox().stream_to(*kept.last().expect("an address"));
    docker.engines[0].kill();
    docker.engines[0].kill_plugin();
    // A node that is gone loses its tasks to the others. Its containers run on, and with them
    // their addresses stay in use.
    let tasks = are_well(&docker, 6).await;
    let now = addresses(&tasks);
    assert!(kept.iter().all(|one| now.contains(one)), "{kept:?} are among {now:?}");
    docker.engines[1].docker(&["service", "scale", "--detach=false", "web=9"]).done();
    are_well(&docker, 9).await;
    ping.lost_nothing().await;
    docker.engines[0].start(&[]);
    docker.engines[0].answers().await;
    docker.agents_know(3).await;
    eventually("the engine that is back ends what it ran", async || {
        let left = of_leader.iter().filter(|(_, task)| task.runs()).count();
        (left == 0).then_some(())
    })
    .await;
    docker.engines[1].docker(&["service", "scale", "--detach=false", "web=12"]).done();
    are_well(&docker, 12).await;
    let network = docker.testbed.hosts[0].client.network(NETWORK, Detail::Plain).await;
    docker.engines[1].docker(&["service", "rm", SERVICE]).done();
    eventually("the network is removed", async || {
        let removed = docker.engines[1].docker(&["network", "rm", NETWORK]);
        (removed.code == 0).then_some(())
    })
    .await;
    docker.nothing_is_left_of(&network.expect("the network")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_goes_on_when_the_managed_plugin_is_killed_and_when_it_is_disabled_and_enabled() {
    let docker = Docker::swarm(2).await;
    create_network(&docker, 0);
    let near = docker.engines[0].run(&["--network", NETWORK]);
    let far = docker.engines[1].run(&["--network", NETWORK]);
    near.sandbox().reaches(&far.addresses(NETWORK)).await;
    let ping = near.sandbox().stream_to(far.addresses(NETWORK)[0]);
    let before = docker.testbed.hosts[0].kernel().await;
    docker.engines[0].kill_plugin();
    // The engine starts it again.
    docker.agents_know(2).await;
    let fresh = docker.engines[0].run(&["--network", NETWORK]);
    far.sandbox().reaches(&fresh.addresses(NETWORK)).await;
    fresh.remove();
    docker.engines[0].docker(&["plugin", "disable", "--force", "weft"]).done();
    docker.engines[0].docker(&["plugin", "enable", "weft"]).done();
    docker.agents_know(2).await;
    ping.lost_nothing().await;
    assert_eq!(docker.testbed.hosts[0].kernel().await.observed, before.observed);
    near.remove();
    far.remove();
    docker.engines[0].remove_network(NETWORK);
    docker.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fixed_address_is_one_containers_in_the_whole_swarm_until_it_ends() {
    let docker = Docker::swarm(2).await;
    let create = ["network", "create", "--driver", "weft:latest", "--ipam-driver", "weft:latest"];
    let rest = ["--subnet", "10.78.0.0/24", "--attachable", NETWORK];
    docker.engines[0].docker(&[&create[..], &rest].concat()).line();
    let fixed = ["--network", NETWORK, "--ip", "10.78.0.9"];
    let holder = docker.engines[0].run(&fixed);
    let address: IpAddr = "10.78.0.9".parse().expect("an address");
    assert_eq!(holder.addresses(NETWORK), [address]);
    // One that is restarted comes back for it while the Swarm still ends what it had it for.
    docker.engines[0].docker(&["restart", "--time", "0", &holder.id]).done();
    assert_eq!(holder.addresses(NETWORK), [address]);
    // The leader does not allocate it, and the engine gives up waiting.
    for engine in [1, 0] {
        let run = ["run", "--pull", "never", "--detach"];
        let refused = docker.engines[engine].docker(&[&run[..], &fixed, &[IMAGE]].concat());
        refused.refuses(&["attaching to network failed"]);
    }
    // Nor did the end of those free it.
    let guests: Vec<_> = (0..3).map(|_| docker.engines[1].run(&["--network", NETWORK])).collect();
    for guest in &guests {
        assert_ne!(guest.addresses(NETWORK), [address]);
        guest.sandbox().reaches(&[address]).await;
    }
    holder.remove();
    let next = eventually("the address is free for the other engine", async || {
        let run = ["run", "--pull", "never", "--detach"];
        let run = docker.engines[1].docker(&[&run[..], &fixed, &[IMAGE]].concat());
        (run.code == 0).then(|| docker.engines[1].container(run.line().trim()))
    })
    .await;
    assert_eq!(next.addresses(NETWORK), [address]);
    next.remove();
    for guest in guests {
        guest.remove();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_and_its_service_are_made_again_at_once_under_their_names() {
    let docker = Docker::swarm(2).await;
    let service = ["--name", SERVICE, "--network", NETWORK, "--replicas", "4"];
    create_network(&docker, 0);
    docker.engines[0].create_service(&service);
    are_well(&docker, 4).await;
    let of_cluster = async || docker.testbed.hosts[0].client.network(NETWORK, Detail::Plain).await;
    let before = of_cluster().await.expect("the network").id;
    docker.engines[0].docker(&["service", "rm", SERVICE]).done();
    // As `docker stack deploy` does, with what `docker stack rm` does not wait for.
    eventually("the network is removed", async || {
        let removed = docker.engines[0].docker(&["network", "rm", NETWORK]);
        (removed.code == 0).then_some(())
    })
    .await;
    // The engine itself has the old one until its own tasks have stopped.
    let create = ["network", "create", "--driver", "weft:latest", "--ipam-driver", "weft:latest"];
    let create = [&create[..], &["--ipam-opt", "network=blue", NETWORK]].concat();
    eventually("the engine has room for the name", async || {
        (docker.engines[0].docker(&create).code == 0).then_some(())
    })
    .await;
    docker.engines[0].create_service(&service);
    are_well(&docker, 4).await;
    assert_ne!(of_cluster().await.expect("the network").id, before);
}
