//! Garbage collection.

use cni::Error;
use cni::ocicni::{CniPlugin, NetAttachment, PodNetwork};
use cni::types::Code;
use serde_json::{Value, json};

use crate::bench::{Bench, pod};
use crate::sandbox::Sandbox;

fn valid(bench: &Bench, network: &str) -> Value {
    let seen = bench.fake.seen();
    let gc = seen.iter().find(|seen| seen.command == "GC" && seen.network == network);
    gc.expect("a call of GC").stdin["cni.dev/valid-attachments"].clone()
}

fn attachment(id: &str, if_name: &str) -> Value {
    json!({"containerID": id, "ifname": if_name})
}

fn on(networks: &[&str], sandbox: &Sandbox, name: &str) -> PodNetwork {
    let mut pod = pod(sandbox, name);
    pod.networks = networks.iter().map(|name| NetAttachment::to(*name)).collect();
    pod
}

#[tokio::test]
async fn pods_that_are_not_valid_are_detached_from_the_default_network() {
    let bench = Bench::new();
    bench.network("1.conflist", "blue");
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let (kept, stale) = (pod(&sandbox, "kept"), pod(&sandbox, "stale"));
    plugin.set_up_pod_networks(&kept).await.unwrap();
    plugin.set_up_pod_networks(&stale).await.unwrap();
    bench.fake.forget();
    plugin.gc(&[kept]).await.unwrap();
    assert_eq!(bench.fake.briefs(), ["DEL blue eth0", "GC blue"]);
    assert_eq!(bench.fake.seen()[0].container_id, "id-stale");
    assert_eq!(valid(&bench, "blue"), json!([attachment("id-kept", "eth0")]));
    assert!(bench.cache_file("blue", "id-kept", "eth0").is_file());
    assert!(!bench.cache_file("blue", "id-stale", "eth0").exists());
}

#[tokio::test]
async fn every_network_is_told_its_own_valid_attachments() {
    let bench = Bench::new();
    for name in ["blue", "green", "red"] {
        bench.network(&format!("{name}.conflist"), name);
    }
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let web = on(&["red", "blue"], &sandbox, "web");
    let db = on(&["red"], &sandbox, "db");
    plugin.gc(&[web, db]).await.unwrap();
    assert_eq!(bench.fake.briefs(), ["GC blue", "GC green", "GC red"]);
    assert_eq!(valid(&bench, "blue"), json!([attachment("id-web", "eth1")]));
    assert_eq!(valid(&bench, "green"), json!([]));
    assert_eq!(
        valid(&bench, "red"),
        json!([attachment("id-db", "eth0"), attachment("id-web", "eth0")])
    );
}

#[tokio::test]
async fn valid_pod_keeps_the_network_it_was_made_with_when_the_default_is_another() {
    let bench = Bench::new();
    bench.network("5.conflist", "blue");
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let web = pod(&sandbox, "web");
    plugin.set_up_pod_networks(&web).await.unwrap();
    bench.network("1.conflist", "red");
    plugin.reload().await.unwrap();
    assert_eq!(plugin.get_default_network_name().as_deref(), Some("red"));
    bench.fake.forget();
    plugin.gc(&[web]).await.unwrap();
    assert_eq!(bench.fake.briefs(), ["GC blue", "GC red"]);
    assert!(bench.cache_file("blue", "id-web", "eth0").is_file());
}

#[tokio::test]
async fn networks_of_others_in_the_same_cache_are_left_alone() {
    let bench = Bench::new();
    bench.network("1.conflist", "blue");
    bench.network("2.conflist", "of-others");
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    plugin.set_up_pod_networks(&on(&["of-others"], &sandbox, "web")).await.unwrap();
    bench.remove("2.conflist");
    plugin.reload().await.unwrap();
    plugin.gc(&[]).await.unwrap();
    assert!(bench.cache_file("of-others", "id-web", "eth0").is_file());
}

#[tokio::test]
async fn stale_pod_is_detached_by_the_configuration_it_was_made_with() {
    let bench = Bench::new();
    bench.network("1.conflist", "blue");
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    plugin.set_up_pod_networks(&pod(&sandbox, "stale")).await.unwrap();
    let changed = json!({"cniVersion": "1.1.0", "name": "blue", "plugins": [{"type": "meta"}]});
    bench.file("1.conflist", &changed.to_string());
    plugin.reload().await.unwrap();
    bench.fake.forget();
    plugin.gc(&[]).await.unwrap();
    let types: Vec<_> = bench.fake.seen().iter().map(|seen| seen.stdin["type"].clone()).collect();
    assert_eq!(types, [json!("main"), json!("meta")]);
}

#[tokio::test]
async fn failures_are_collected_and_every_network_is_tried() {
    let bench = Bench::new();
    bench.network("1.conflist", "blue");
    bench.network("2.conflist", "red");
    let plugin = bench.start_still().await;
    bench.fake.refuse("GC blue", Code::TRY_AGAIN_LATER);
    let error = plugin.gc(&[]).await.unwrap_err();
    assert!(matches!(&error, Error::Gc(failed) if failed.len() == 1), "{error}");
    assert_eq!(bench.fake.briefs(), ["GC blue", "GC red"]);
}
