//! Teardown by what the cache remembers.

use std::fs;

use cni::Error;
use cni::ocicni::{CniPlugin, NetAttachment};
use cni::types::Code;
use serde_json::json;

use crate::bench::{Bench, pod};
use crate::sandbox::Sandbox;

/// Two networks, a pod on both.
async fn on_two(bench: &Bench) -> (cni::ocicni::Ocicni, Sandbox, cni::ocicni::PodNetwork) {
    bench.network("1.conflist", "blue");
    bench.network("2.conflist", "red");
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let mut pod = pod(&sandbox, "web");
    pod.networks = ["red", "blue"].map(NetAttachment::to).into();
    plugin.set_up_pod_networks(&pod).await.expect("both networks answer");
    bench.fake.forget();
    (plugin, sandbox, pod)
}

#[tokio::test]
async fn networks_the_pod_names_are_torn_down_and_no_others() {
    let bench = Bench::new();
    let (plugin, _sandbox, mut pod) = on_two(&bench).await;
    pod.networks.remove(1);
    plugin.tear_down_pod_networks(&pod).await.unwrap();
    assert_eq!(bench.fake.briefs(), ["DEL red eth0"]);
    assert!(bench.cache_file("blue", "id-web", "eth1").is_file());
}

#[tokio::test]
async fn network_named_alone_is_found_by_the_interface_it_got_among_others() {
    let bench = Bench::new();
    let (plugin, _sandbox, mut pod) = on_two(&bench).await;
    pod.networks.remove(0);
    plugin.get_pod_network_status(&pod).await.unwrap();
    plugin.tear_down_pod_networks(&pod).await.unwrap();
    assert_eq!(bench.fake.briefs(), ["CHECK blue eth1", "DEL blue eth1"]);
    assert!(bench.cache_file("red", "id-web", "eth0").is_file());
}

#[tokio::test]
async fn pod_that_names_no_network_is_detached_from_all_the_cache_has() {
    let bench = Bench::new();
    let (plugin, _sandbox, mut pod) = on_two(&bench).await;
    pod.networks.clear();
    plugin.tear_down_pod_networks(&pod).await.unwrap();
    let mut briefs = bench.fake.briefs();
    briefs.sort();
    assert_eq!(briefs, ["DEL blue eth1", "DEL red eth0"]);
    assert_eq!(fs::read_dir(bench.path("cache/results")).unwrap().count(), 0);
}

#[tokio::test]
async fn configuration_a_pod_was_made_with_counts_when_it_is_changed_or_gone() {
    let bench = Bench::new();
    let (plugin, _sandbox, mut pod) = on_two(&bench).await;
    bench.remove("2.conflist");
    let changed = json!({
        "cniVersion": "1.0.0", "name": "blue", "plugins": [{"type": "meta", "new": true}]
    });
    bench.file("1.conflist", &changed.to_string());
    plugin.reload().await.unwrap();
    pod.networks.clear();
    plugin.tear_down_pod_networks(&pod).await.unwrap();
    assert_eq!(bench.fake.seen().len(), 2);
    for seen in bench.fake.seen() {
        assert_eq!((&seen.stdin["type"], seen.command.as_str()), (&json!("main"), "DEL"));
        assert_eq!(seen.stdin["cniVersion"], "1.1.0");
    }
}

#[tokio::test]
async fn nothing_but_the_cache_is_needed_after_a_restart_without_namespace_or_directory() {
    let bench = Bench::new();
    let (plugin, sandbox, _) = on_two(&bench).await;
    plugin.shutdown().await.unwrap();
    let path = sandbox.name().to_owned();
    drop(sandbox);
    fs::remove_dir_all(bench.conf_dir()).unwrap();
    let plugin = bench.start().await;
    plugin.tear_down_pod(&path, "ns", "web", "id-web").await.unwrap();
    assert_eq!(bench.fake.briefs().len(), 2);
    // Once more there is nothing left to go by.
    let error = plugin.tear_down_pod("", "ns", "web", "id-web").await.unwrap_err();
    assert!(matches!(error, Error::NoDefaultNetwork { .. }), "{error}");
}

#[tokio::test]
async fn what_is_configured_stands_in_for_a_cache_that_is_missing_or_bad() {
    let bench = Bench::new();
    let (plugin, _sandbox, mut pod) = on_two(&bench).await;
    fs::write(bench.cache_file("red", "id-web", "eth0"), "").unwrap();
    fs::remove_file(bench.cache_file("blue", "id-web", "eth1")).unwrap();
    plugin.tear_down_pod_networks(&pod).await.unwrap();
    assert_eq!(bench.fake.briefs(), ["DEL blue eth1", "DEL red eth0"]);
    assert!(bench.fake.seen().iter().all(|seen| seen.stdin.get("prevResult").is_none()));

    // Without networks either, the default one it is.
    bench.fake.forget();
    pod.networks.clear();
    plugin.tear_down_pod_networks(&pod).await.unwrap();
    assert_eq!(bench.fake.briefs(), ["DEL blue eth0"]);
}

#[tokio::test]
async fn arguments_of_the_set_up_are_those_of_the_teardown() {
    let bench = Bench::new();
    let list = json!({
        "cniVersion": "1.0.0", "name": "blue",
        "plugins": [{"type": "main", "capabilities": {"aliases": true}}]
    });
    bench.file("1.conflist", &list.to_string());
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let mut asked = pod(&sandbox, "web");
    asked.uid = "u-1".to_owned();
    asked.aliases.insert("blue".to_owned(), vec!["db".to_owned()]);
    plugin.set_up_pod_networks(&asked).await.unwrap();
    plugin.tear_down_pod_networks(&pod(&sandbox, "web")).await.unwrap();
    let seen = bench.fake.seen();
    assert_eq!(seen[0].args, seen[1].args);
    assert!(seen[1].args.ends_with("K8S_POD_UID=u-1"), "{}", seen[1].args);
    assert_eq!(seen[1].stdin["runtimeConfig"], json!({"aliases": ["db"]}));
}

#[tokio::test]
async fn one_network_that_fails_does_not_keep_the_others() {
    let bench = Bench::new();
    let (plugin, _sandbox, pod) = on_two(&bench).await;
    bench.fake.refuse("DEL blue", Code::TRY_AGAIN_LATER);
    let error = plugin.tear_down_pod_networks(&pod).await.unwrap_err();
    assert!(matches!(&error, Error::TearDownPod(failed) if failed.len() == 1), "{error}");
    assert_eq!(error.code(), Some(Code::TRY_AGAIN_LATER));
    assert_eq!(bench.fake.briefs(), ["DEL blue eth1", "DEL red eth0"]);
    assert!(bench.cache_file("blue", "id-web", "eth1").is_file());
    assert!(!bench.cache_file("red", "id-web", "eth0").exists());
    bench.fake.allow("DEL blue");
    plugin.tear_down_pod_networks(&pod).await.unwrap();
    assert!(!bench.cache_file("blue", "id-web", "eth1").exists());
}

#[tokio::test]
async fn loopback_networks_of_older_pod_layers_are_left_alone() {
    let bench = Bench::new();
    let (plugin, _sandbox, mut pod) = on_two(&bench).await;
    let entry = |network: &str, if_name: &str| {
        json!({
            "kind": "cniCacheV1", "containerId": "id-web", "config": "e30=",
            "ifName": if_name, "networkName": network,
        })
    };
    for (network, if_name) in [("cni-loopback", "eth0"), ("other", "lo")] {
        let file = bench.cache_file(network, "id-web", if_name);
        fs::write(file, entry(network, if_name).to_string()).unwrap();
    }
    pod.networks.clear();
    plugin.tear_down_pod_networks(&pod).await.unwrap();
    assert_eq!(bench.fake.briefs().len(), 2);
}

#[tokio::test]
async fn pod_without_id_is_not_everybody() {
    let bench = Bench::new();
    let (plugin, _sandbox, mut pod) = on_two(&bench).await;
    pod.networks.clear();
    pod.id.clear();
    let _either = plugin.tear_down_pod_networks(&pod).await;
    assert!(bench.cache_file("blue", "id-web", "eth1").is_file());
    assert!(bench.cache_file("red", "id-web", "eth0").is_file());
}
