//! Many containers that come and go at once on three engines.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::thread;

use weft_agent::control::Detail;
use weft_api::control::ListFilter;
use weft_tests::testbed::{Container, Docker, eventually};

/// Containers in all.
const CONTAINERS: usize = 100;
/// Those who start and remove them, on each engine.
const WORKERS: usize = 4;
/// How many each of them has running at a time.
const HELD: usize = 2;
const NETWORK: &str = "churn";

/// Who has an address at the moment.
type Holders = Mutex<BTreeMap<IpAddr, String>>;

fn start(docker: &Docker, engine: usize, holders: &Holders) -> Container {
    let container = docker.engines[engine].run(&["--network", NETWORK]);
    for address in container.addresses(NETWORK) {
        let before = holders.lock().expect("a lock").insert(address, container.id.clone());
        assert_eq!(before, None, "{address} was given twice: to {} too", container.id);
    }
    container
}

fn remove(container: &Container, holders: &Holders) {
    holders.lock().expect("a lock").retain(|_, holder| *holder != container.id);
    container.remove();
}

/// Starts and removes containers from all workers at once; returns those that still run, by engine.
fn churn(docker: &Docker, holders: &Holders) -> Vec<(usize, Container)> {
    let workers = docker.engines.len() * WORKERS;
    thread::scope(|scope| {
        let work = |worker: usize| {
            let engine = worker % docker.engines.len();
            let mut held = Vec::new();
            for _ in (worker..CONTAINERS).step_by(workers) {
                held.push((engine, start(docker, engine, holders)));
                if held.len() > HELD {
                    remove(&held.remove(0).1, holders);
                }
            }
            held
        };
        let threads: Vec<_> =
            (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        let ended = threads.into_iter().map(|thread| thread.join().expect("a worker"));
        ended.flatten().collect()
    })
}

/// Waits until the kernel and the agent of each host hold what runs and nothing else.
async fn holds_what_runs(docker: &Docker, held: &[(usize, Container)]) {
    for (number, host) in docker.testbed.hosts.iter().enumerate() {
        let own = held.iter().filter(|(engine, _)| *engine == number).count();
        let what = format!("{} holds {own} of its own, and all of the others", host.name);
        let others = if own == 0 { 0 } else { held.len() - own };
        eventually(&what, async || {
            let kernel = host.kernel().await;
            let namespaces = || kernel.observed.namespaces.values();
            let ports: usize = namespaces().map(|ns| ns.ports.len()).sum();
            let vxlans = || namespaces().flat_map(|ns| ns.vxlans.values());
            let entries: usize = vxlans().map(|vxlan| vxlan.fdb.len()).sum();
            let endpoints = host.client.endpoints(None, &ListFilter::default()).await.ok()?;
            ((ports, entries, endpoints.len()) == (own, others, own)).then_some(())
        })
        .await;
    }
}

/// The addresses of the network in use as a host sees it, those at rest left out.
async fn used(docker: &Docker, host: usize) -> u64 {
    let pools = docker.testbed.hosts[host].client.ipam().await.expect("pools");
    let of_network = pools.iter().filter(|pool| pool.network_name.as_deref() == Some(NETWORK));
    of_network.map(|pool| pool.used).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_containers_come_and_go_on_three_engines_and_leave_nothing() {
    let docker = Docker::cluster(3).await;
    for engine in &docker.engines {
        engine.create_network(NETWORK, &["--ipv6"]);
    }
    let before = used(&docker, 0).await;
    let holders = Holders::default();
    let held = tokio::task::block_in_place(|| churn(&docker, &holders));
    assert!(held.len() > docker.engines.len() * WORKERS, "{} run", held.len());
    holds_what_runs(&docker, &held).await;
    let all: Vec<IpAddr> = holders.lock().expect("a lock").keys().copied().collect();
    for number in 0..docker.engines.len() {
        let (_, one) = held.iter().find(|(engine, _)| *engine == number).expect("one that runs");
        one.sandbox().reaches(&all).await;
    }
    tokio::task::block_in_place(|| {
        thread::scope(|scope| {
            for (_, container) in &held {
                scope.spawn(|| remove(container, &holders));
            }
        });
    });
    holds_what_runs(&docker, &[]).await;
    for host in 0..docker.engines.len() {
        eventually("no address is in use", async || {
            (used(&docker, host).await == before).then_some(())
        })
        .await;
    }
    let network = docker.testbed.hosts[0].client.network(NETWORK, Detail::Plain).await;
    for engine in &docker.engines {
        engine.remove_network(NETWORK);
    }
    docker.nothing_is_left_of(&network.expect("the network")).await;
    docker.nothing_is_left().await;
}
