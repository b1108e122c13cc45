//! Engines and agents that stop, die and come back, beside containers that go on.

use weft_api::control::{EndpointState, ListFilter};
use weft_tests::testbed::{Container, Docker, SteadyPing, eventually};

const LIVE: [&str; 1] = ["--live-restore"];

#[derive(Clone, Copy, Debug)]
enum End {
    Kill,
    Stop,
}

/// Two engines that leave containers running when they end, and a container on each.
async fn live_pair() -> (Docker, [Container; 2]) {
    let docker = Docker::cluster_with(2, &LIVE).await;
    for engine in &docker.engines {
        engine.create_network("blue", &["--ipv6"]);
    }
    let containers = [0, 1].map(|number| docker.engines[number].run(&["--network", "blue"]));
    let [near, far] = &containers;
    near.sandbox().reaches(&far.addresses("blue")).await;
    far.sandbox().reaches(&near.addresses("blue")).await;
    (docker, containers)
}

/// Pings of both directions, one in each family.
fn pings(near: &Container, far: &Container) -> [SteadyPing; 2] {
    let (here, there) = (near.addresses("blue"), far.addresses("blue"));
    [near.sandbox().stream_to(there[0]), far.sandbox().stream_to(here[1])]
}

/// A new container of the first engine reaches one of the second, and goes.
async fn new_ones_work(docker: &Docker, far: &Container) {
    let fresh = docker.engines[0].run(&["--network", "blue"]);
    fresh.sandbox().reaches(&far.addresses("blue")).await;
    far.sandbox().reaches(&fresh.addresses("blue")).await;
    fresh.remove();
}

async fn all_goes(docker: &Docker, containers: [Container; 2]) {
    for (engine, container) in docker.engines.iter().zip(containers) {
        container.remove();
        engine.remove_network("blue");
    }
    docker.nothing_is_left().await;
}

async fn containers_outlive_an_engine(end: End) {
    let (mut docker, containers) = live_pair().await;
    let [near, far] = &containers;
    let pings = pings(near, far);
    let before = docker.testbed.hosts[0].kernel().await;
    match end {
        End::Kill => docker.engines[0].kill(),
        End::Stop => docker.engines[0].stop(),
    }
    docker.engines[0].start(&LIVE);
    docker.engines[0].answers().await;
    new_ones_work(&docker, far).await;
    for ping in pings {
        ping.lost_nothing().await;
    }
    assert_eq!(docker.testbed.hosts[0].kernel().await.observed, before.observed);
    // The engine knows its container again: it restarts it and takes it off and on its network.
    let engine = &docker.engines[0];
    engine.docker(&["restart", &near.id]).done();
    near.sandbox().reaches(&far.addresses("blue")).await;
    engine.docker(&["network", "disconnect", "blue", &near.id]).done();
    engine.docker(&["network", "connect", "blue", &near.id]).done();
    far.sandbox().reaches(&near.addresses("blue")).await;
    all_goes(&docker, containers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_lose_nothing_when_their_engine_is_killed_and_restores_them_live() {
    containers_outlive_an_engine(End::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_lose_nothing_when_their_engine_stops_and_restores_them_live() {
    containers_outlive_an_engine(End::Stop).await;
}

async fn containers_outlive_an_agent(end: End) {
    let (mut docker, containers) = live_pair().await;
    let [near, far] = &containers;
    for host in 0..2 {
        let pings = pings(near, far);
        let before = docker.testbed.hosts[host].kernel().await;
        match end {
            End::Kill => docker.testbed.hosts[host].kill(),
            End::Stop => docker.testbed.hosts[host].stop(),
        }
        docker.start_agent(host).await;
        docker.testbed.settled().await;
        new_ones_work(&docker, far).await;
        for ping in pings {
            ping.lost_nothing().await;
        }
        assert_eq!(docker.testbed.hosts[host].kernel().await, before, "{end:?}: all is as it was");
    }
    all_goes(&docker, containers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_lose_nothing_when_an_agent_is_killed_and_started_again() {
    containers_outlive_an_agent(End::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_lose_nothing_when_an_agent_stops_and_starts_again() {
    containers_outlive_an_agent(End::Stop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_engine_comes_back_without_stale_endpoints() {
    let mut docker = Docker::cluster(2).await;
    for engine in &docker.engines {
        engine.create_network("blue", &["--subnet", "10.78.0.0/24", "--ipv6"]);
    }
    let far = docker.engines[1].run(&["--network", "blue"]);
    let engine = &docker.engines[0];
    let always = ["--network", "blue", "--restart", "always", "--ip", "10.78.0.9"];
    let back = engine.run(&always);
    let gone = engine.run(&["--network", "blue"]);
    far.sandbox().reaches(&gone.addresses("blue")).await;
    docker.engines[0].kill();
    docker.engines[0].start(&[]);
    docker.engines[0].answers().await;
    eventually("the container that always runs is back", async || {
        let running = back.inspect()["State"]["Running"].as_bool()?;
        (running && !back.addresses("blue").is_empty()).then_some(())
    })
    .await;
    far.sandbox().reaches(&back.addresses("blue")).await;
    let host = &docker.testbed.hosts[0];
    eventually("one endpoint is left, and it is joined", async || {
        let all = host.client.endpoints(None, &ListFilter::default()).await.ok()?;
        let joined = all.iter().all(|endpoint| endpoint.state == EndpointState::Joined);
        (all.len() == 1 && joined).then_some(())
    })
    .await;
    // What did not come back can be started again.
    docker.engines[0].docker(&["start", &gone.id]).done();
    far.sandbox().reaches(&gone.addresses("blue")).await;
    for container in [back, gone, far] {
        container.remove();
    }
    for engine in &docker.engines {
        engine.remove_network("blue");
    }
    docker.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_stopped_in_order_starts_its_containers_again() {
    let mut docker = Docker::cluster(2).await;
    for engine in &docker.engines {
        engine.create_network("blue", &["--ipv6"]);
    }
    let far = docker.engines[1].run(&["--network", "blue"]);
    let back = docker.engines[0].run(&["--network", "blue", "--restart", "always"]);
    far.sandbox().reaches(&back.addresses("blue")).await;
    docker.engines[0].stop();
    // The engine and its plugin start at once, as a host that boots starts them.
    docker.testbed.hosts[0].stop();
    docker.engines[0].start(&[]);
    docker.start_agent(0).await;
    docker.engines[0].answers().await;
    eventually("the container runs again", async || {
        back.inspect()["State"]["Running"].as_bool()?.then_some(())
    })
    .await;
    far.sandbox().reaches(&back.addresses("blue")).await;
    back.sandbox().reaches(&far.addresses("blue")).await;
    for container in [back, far] {
        container.remove();
    }
    for engine in &docker.engines {
        engine.remove_network("blue");
    }
    docker.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lost_its_power_comes_back_with_its_containers_and_nothing_stale() {
    let mut docker = Docker::cluster(2).await;
    for engine in &docker.engines {
        engine.create_network("blue", &["--subnet", "10.80.0.0/24", "--ipv6"]);
    }
    let far = docker.engines[1].run(&["--network", "blue"]);
    let engine = &docker.engines[0];
    let always = ["--network", "blue", "--restart", "always"];
    let named = engine.run(&[&always[..], &["--ip", "10.80.0.9"]].concat());
    let any = engine.run(&always);
    let stays_down = engine.run(&["--network", "blue"]);
    far.sandbox().reaches(&stays_down.addresses("blue")).await;
    docker.reboot(0).await;
    for back in [&named, &any] {
        eventually("a container that always runs is back", async || {
            (back.runs() && !back.addresses("blue").is_empty()).then_some(())
        })
        .await;
        far.sandbox().reaches(&back.addresses("blue")).await;
        back.sandbox().reaches(&far.addresses("blue")).await;
    }
    assert_eq!(named.addresses("blue")[0].to_string(), "10.80.0.9");
    for host in &docker.testbed.hosts {
        eventually("the endpoints are those that run", async || {
            let all = host.client.endpoints(None, &ListFilter::default()).await.ok()?;
            let joined = all.iter().all(|endpoint| endpoint.state == EndpointState::Joined);
            let expected = if host.name == "h1" { 2 } else { 1 };
            (all.len() == expected && joined).then_some(())
        })
        .await;
    }
    docker.engines[0].docker(&["start", &stays_down.id]).done();
    far.sandbox().reaches(&stays_down.addresses("blue")).await;
    for container in [named, any, stays_down, far] {
        container.remove();
    }
    for engine in &docker.engines {
        engine.remove_network("blue");
    }
    docker.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_engine_removes_without_its_agent_is_gone_when_the_agent_is_back() {
    let mut docker = Docker::cluster(1).await;
    docker.engines[0].create_network("kept", &["--subnet", "10.83.0.0/24"]);
    let fixed = ["--network", "kept", "--ip", "10.83.0.9"];
    let removed = docker.engines[0].run(&fixed);
    docker.testbed.hosts[0].kill();
    // The engine waits for its plugin, gives up, and forgets.
    removed.remove();
    docker.start_agent(0).await;
    let client = &docker.testbed.hosts[0].client;
    eventually("its endpoint is seen to be in no container", async || {
        let all = client.endpoints(None, &ListFilter::default()).await.ok()?;
        let stale = all.iter().all(|endpoint| endpoint.state == EndpointState::Stale);
        (all.len() == 1 && stale).then_some(())
    })
    .await;
    // Who names the address again has it.
    let again = docker.engines[0].run(&fixed);
    again.remove();
    docker.engines[0].remove_network("kept");
    docker.nothing_is_left().await;
}
