//! Several callers at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cni::ocicni::CniPlugin;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bench::{Bench, pod, until};
use crate::sandbox::Sandbox;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_pod_is_worked_on_by_one_caller_at_a_time() {
    let bench = Arc::new(Bench::new());
    bench.network("1.conflist", "blue");
    let plugin = Arc::new(bench.start_still().await);
    let sandbox = Arc::new(Sandbox::new());
    let gate = bench.fake.gate("ADD blue");

    let mut callers = JoinSet::new();
    for _ in 0..2 {
        let (plugin, sandbox) = (plugin.clone(), sandbox.clone());
        callers.spawn(async move { plugin.set_up_pod_networks(&pod(&sandbox, "web")).await });
    }
    until("the first is at work", async || bench.fake.seen().len() == 1).await;
    // Another pod does not wait for this one: its call comes to the gate as well.
    let (plugin2, sandbox2) = (plugin.clone(), Arc::new(Sandbox::new()));
    callers.spawn(async move { plugin2.set_up_pod_networks(&pod(&sandbox2, "db")).await });
    until("another pod is at work", async || bench.fake.seen().len() == 2).await;
    assert!(timeout(Duration::from_millis(50), callers.join_next()).await.is_err());
    assert_eq!(bench.fake.seen().len(), 2, "the second caller for one pod waits");
    gate.add_permits(3);
    while let Some(done) = callers.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(bench.fake.seen().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_pods_come_and_go_without_a_trace() {
    const PODS: usize = 100;
    let bench = Arc::new(Bench::new());
    bench.network("1.conflist", "blue");
    let plugin = Arc::new(bench.start().await);
    let sandbox = Arc::new(Sandbox::new());
    let mut callers = JoinSet::new();
    for number in 0..PODS {
        let (plugin, sandbox) = (plugin.clone(), sandbox.clone());
        callers.spawn(async move {
            let pod = pod(&sandbox, &format!("pod-{number}"));
            plugin.set_up_pod_networks(&pod).await?;
            plugin.get_pod_network_status(&pod).await?;
            plugin.tear_down_pod_networks(&pod).await
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap().unwrap();
    }
    let mut by_pod: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for seen in bench.fake.seen() {
        by_pod.entry(seen.container_id).or_default().push(seen.command);
    }
    assert_eq!(by_pod.len(), PODS);
    assert!(by_pod.values().all(|commands| *commands == ["ADD", "CHECK", "DEL"]));
    assert_eq!(std::fs::read_dir(bench.path("cache/results")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn collection_runs_alone() {
    let bench = Arc::new(Bench::new());
    bench.network("1.conflist", "blue");
    let plugin = Arc::new(bench.start_still().await);
    let sandbox = Arc::new(Sandbox::new());
    let gate = bench.fake.gate("ADD blue");
    let (setting_up, collecting) = (plugin.clone(), plugin.clone());
    let mine = sandbox.clone();
    let set_up =
        tokio::spawn(async move { setting_up.set_up_pod_networks(&pod(&mine, "web")).await });
    until("a pod is being set up", async || bench.fake.seen().len() == 1).await;
    let valid = pod(&sandbox, "web");
    let mut gc = tokio::spawn(async move { collecting.gc(&[valid]).await });
    assert!(timeout(Duration::from_millis(50), &mut gc).await.is_err());
    assert_eq!(bench.fake.briefs(), ["ADD blue eth0"]);
    gate.add_permits(1);
    set_up.await.unwrap().unwrap();
    gc.await.unwrap().unwrap();
    assert_eq!(bench.fake.briefs(), ["ADD blue eth0", "GC blue"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn shutdown_waits_for_what_is_being_done() {
    let bench = Arc::new(Bench::new());
    bench.network("1.conflist", "blue");
    let plugin = Arc::new(bench.start().await);
    let sandbox = Sandbox::new();
    let gate = bench.fake.gate("ADD blue");
    let setting_up = plugin.clone();
    let mine = pod(&sandbox, "web");
    let set_up = tokio::spawn(async move { setting_up.set_up_pod_networks(&mine).await });
    until("a pod is being set up", async || bench.fake.seen().len() == 1).await;
    let mut shutdown = tokio::spawn(async move { plugin.shutdown().await });
    assert!(timeout(Duration::from_millis(50), &mut shutdown).await.is_err());
    gate.add_permits(1);
    set_up.await.unwrap().unwrap();
    shutdown.await.unwrap().unwrap();
}
