//! Garbage collection.

use cni::Error;
use cni::libcni::{Cni, GcArgs, NetworkConfigList, RuntimeConf, StaleConfig};
use cni::types::GcAttachment;
use serde_json::{Value, json};

use crate::bench::{Bench, exists, list, pod, result};

fn network(bench: &Bench, version: &str) -> NetworkConfigList {
    let debug =
        bench.debug("d", &json!({"ReportResult": result(version, "10.1.2.3/24").to_string()}));
    list(&json!({
        "name": "some-list",
        "cniVersion": version,
        "plugins": [{"type": "noop", "debugFile": debug, "commandLog": bench.path("log")}],
    }))
}

fn interface(if_name: &str) -> RuntimeConf {
    let mut rt = pod();
    rt.if_name = if_name.into();
    rt
}

fn sparing(if_names: &[&str]) -> GcArgs {
    let attachment = |if_name: &&str| GcAttachment {
        container_id: "some-container-id".into(),
        if_name: (*if_name).into(),
    };
    GcArgs { valid_attachments: if_names.iter().map(attachment).collect() }
}

/// The commands since ADD, with their interfaces.
fn since_add(bench: &Bench) -> Vec<(String, String)> {
    let text = |call: &Value, key: &str| call[key].as_str().unwrap_or_default().to_owned();
    let all = bench.log("log");
    let after = all.iter().filter(|call| call["Command"] != "ADD");
    after.map(|call| (text(call, "Command"), text(call, "IfName"))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[tokio::test]
async fn stale_attachments_are_deleted_and_plugins_told_what_is_valid() {
    let bench = Bench::new();
    let list = network(&bench, "1.1.0");
    for name in ["eth0", "eth1"] {
        bench.cni.add_network_list(&list, &interface(name)).await.unwrap();
    }
    bench.cni.gc_network_list(&list, Some(&sparing(&["eth0"]))).await.unwrap();
    assert_eq!(since_add(&bench), pairs(&[("DEL", "eth1"), ("GC", "")]));
    let valid = json!([{"containerID": "some-container-id", "ifname": "eth0"}]);
    let stdin = bench.stdin("d");
    assert_eq!(stdin["cni.dev/valid-attachments"], valid);
    assert_eq!(stdin["cni.dev/attachments"], valid);
    assert_eq!((&stdin["name"], &stdin["cniVersion"]), (&json!("some-list"), &json!("1.1.0")));
    assert!(stdin.get("prevResult").is_none());
    assert!(exists(&bench.cache_file("some-list", &interface("eth0"))));
    assert!(!exists(&bench.cache_file("some-list", &interface("eth1"))));
}

#[tokio::test]
async fn attachments_to_other_networks_are_left_alone() {
    let bench = Bench::new();
    let list = network(&bench, "1.1.0");
    let mut other = list.clone();
    other.name = "some-other-list".into();
    bench.cni.add_network_list(&other, &interface("eth0")).await.unwrap();
    bench.cni.gc_network_list(&list, Some(&GcArgs::default())).await.unwrap();
    assert_eq!(since_add(&bench), pairs(&[("GC", "")]));
    assert_eq!(bench.stdin("d")["cni.dev/valid-attachments"], json!([]));
}

#[tokio::test]
async fn before_1_1_0_stale_attachments_are_deleted_and_no_plugin_is_told() {
    let bench = Bench::new();
    let list = network(&bench, "1.0.0");
    bench.cni.add_network_list(&list, &interface("eth0")).await.unwrap();
    bench.cni.gc_network_list(&list, Some(&GcArgs::default())).await.unwrap();
    assert_eq!(since_add(&bench), pairs(&[("DEL", "eth0")]));
}

#[tokio::test]
async fn without_a_list_nothing_is_stale() {
    let bench = Bench::new();
    let list = network(&bench, "1.1.0");
    bench.cni.add_network_list(&list, &interface("eth0")).await.unwrap();
    bench.cni.gc_network_list(&list, None).await.unwrap();
    assert_eq!(since_add(&bench), pairs(&[("GC", "")]));
    assert!(bench.stdin("d").get("cni.dev/valid-attachments").is_none());
    assert!(exists(&bench.cache_file("some-list", &interface("eth0"))));
}

#[tokio::test]
async fn list_may_disable_it() {
    let bench = Bench::new();
    let mut list = network(&bench, "1.1.0");
    bench.cni.add_network_list(&list, &interface("eth0")).await.unwrap();
    list.disable_gc = true;
    bench.cni.gc_network_list(&list, Some(&GcArgs::default())).await.unwrap();
    assert_eq!(since_add(&bench), []);
}

#[tokio::test]
async fn failures_are_collected_and_everything_is_tried() {
    let bench = Bench::new();
    let list = network(&bench, "1.1.0");
    for name in ["eth0", "eth1"] {
        bench.cni.add_network_list(&list, &interface(name)).await.unwrap();
    }
    bench.debug("d", &json!({"ReportError": "banana"}));
    let error = bench.cni.gc_network_list(&list, Some(&GcArgs::default())).await.unwrap_err();
    let delete = |name: &str| {
        format!(
            "failed to delete stale attachment some-container-id {name}: \
             plugin type=\"noop\" failed (delete): banana"
        )
    };
    let expected = [delete("eth0"), delete("eth1"), "failed to GC plugin noop: banana".to_owned()];
    assert_eq!(error.to_string(), expected.join("\n"));
    assert_eq!(since_add(&bench), pairs(&[("DEL", "eth0"), ("DEL", "eth1"), ("GC", "")]));
}

#[tokio::test]
async fn cache_that_cannot_be_listed_is_reported_and_plugins_are_told_all_the_same() {
    let bench = Bench::new();
    let list = network(&bench, "1.1.0");
    bench.block_cache();
    let error = bench.cni.gc_network_list(&list, Some(&GcArgs::default())).await.unwrap_err();
    assert!(matches!(&error, Error::Gc(errors) if errors.len() == 1), "{error}");
    assert_eq!(since_add(&bench), pairs(&[("GC", "")]));
}

#[tokio::test]
async fn stale_attachment_can_be_deleted_by_the_configuration_it_was_made_with() {
    let bench = Bench::new();
    let made_with = network(&bench, "1.1.0");
    bench.cni.add_network_list(&made_with, &interface("eth0")).await.unwrap();
    // Since then the configuration has come to name a plugin that is not there.
    let mut now = made_with.clone();
    now.plugins[0].network.plugin_type = "gone".into();
    let args = GcArgs::default();
    let error = bench.cni.gc_network_list(&now, Some(&args)).await.unwrap_err();
    assert!(matches!(&error, Error::Gc(errors) if errors.len() == 2), "{error}");
    let by_cache = bench.cni.clone().collect_with(StaleConfig::Cached);
    let error = by_cache.gc_network_list(&now, Some(&args)).await.unwrap_err();
    assert!(matches!(&error, Error::Gc(errors) if errors.len() == 1), "{error}");
    assert_eq!(since_add(&bench), pairs(&[("DEL", "eth0")]));
}

#[tokio::test]
async fn files_that_killed_writers_left_are_removed_and_those_of_today_kept() {
    let bench = Bench::new();
    let network = network(&bench, "1.1.0");
    bench.cni.add_network_list(&network, &pod()).await.unwrap();
    let entry = bench.cache_file("some-list", &pod());
    let results = entry.parent().unwrap();
    let (old, new) = (results.join(".new.1.0"), results.join(".new.1.1"));
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(86_400);
    for file in [&old, &new, &entry] {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        file.set_modified(yesterday).unwrap();
    }
    std::fs::write(&new, "half").unwrap();
    bench.cni.gc_network_list(&network, Some(&sparing(&["eth0"]))).await.unwrap();
    assert_eq!([exists(&old), exists(&new), exists(&entry)], [false, true, true]);
}
