//! Chains of plugins.

use std::fs;

use cni::Error;
use cni::libcni::{Cni, CniConfig, NetworkConfigList, RuntimeConf};
use cni::types::Code;
use serde_json::{Value, json};

use crate::bench::{Bench, PLUGIN, entry, exists, list, pod, result};

/// Three plugins: one with a literal result, one that adds a name server, one that passes on.
fn chain(bench: &Bench, version: &str) -> (NetworkConfigList, RuntimeConf) {
    let behaviours = [
        ("d0", json!(result(version, "10.1.2.3/24").to_string())),
        ("d1", json!("INJECT-DNS")),
        ("d2", json!("PASSTHROUGH")),
    ];
    let plugins: Vec<Value> = behaviours
        .iter()
        .map(|(name, told)| {
            json!({
                "type": "noop",
                "debugFile": bench.debug(name, &json!({"ReportResult": told})),
                "commandLog": bench.path("log"),
                "capabilities": {"mac": *name == "d1", "bandwidth": true},
            })
        })
        .collect();
    let value = json!({"name": "some-list", "cniVersion": version, "plugins": plugins});
    (list(&value), pod())
}

fn final_result(version: &str) -> Value {
    let mut value = result(version, "10.1.2.3/24");
    value["dns"] = json!({"nameservers": ["1.2.3.4"]});
    value
}

fn commands(bench: &Bench) -> Vec<String> {
    let name = |call: &Value| call["Command"].as_str().unwrap_or_default().to_owned();
    bench.log("log").iter().map(name).collect()
}

/// Has plugins answer without a previous result.
fn content_without_result(bench: &Bench, names: &[&str]) {
    for name in names {
        bench.debug(name, &json!({"ReportResult": "{}"}));
    }
}

fn fail_second(bench: &Bench) {
    bench.debug("d1", &json!({"ReportError": "plugin error: banana", "ReportErrorCode": 11}));
}

#[tokio::test]
async fn add_runs_all_plugins_in_order_each_with_the_result_before() {
    let bench = Bench::new();
    let (list, mut rt) = chain(&bench, "1.0.0");
    rt.capability_args.insert("mac".into(), json!("c2:11:22:33:44:55"));
    let added = bench.cni.add_network_list(&list, &rt).await.unwrap();
    assert_eq!(serde_json::to_value(added).unwrap(), final_result("1.0.0"));
    assert_eq!(commands(&bench), ["ADD", "ADD", "ADD"]);
    assert!(bench.stdin("d0").get("prevResult").is_none());
    assert_eq!(bench.stdin("d1")["prevResult"], result("1.0.0", "10.1.2.3/24"));
    assert_eq!(bench.stdin("d2")["prevResult"], final_result("1.0.0"));
    for name in ["d0", "d1", "d2"] {
        let stdin = bench.stdin(name);
        assert_eq!((&stdin["name"], &stdin["cniVersion"]), (&json!("some-list"), &json!("1.0.0")));
        assert_eq!(stdin.get("runtimeConfig").is_some(), name == "d1");
    }
}

#[tokio::test]
async fn add_caches_the_last_result_and_the_whole_list() {
    let bench = Bench::new();
    let (list, rt) = chain(&bench, "1.1.0");
    bench.cni.add_network_list(&list, &rt).await.unwrap();
    let cached = bench.cni.get_network_list_cached_result(&list, &rt).unwrap().unwrap();
    assert_eq!(serde_json::to_value(cached).unwrap(), final_result("1.1.0"));
    let (config, filled) = bench.cni.get_network_list_cached_config(&list, &rt).unwrap().unwrap();
    assert_eq!(config, list.bytes);
    assert_eq!(filled, rt);
}

#[tokio::test]
async fn failing_plugin_of_a_chain_is_described_and_nothing_is_cached() {
    let bench = Bench::new();
    let (list, rt) = chain(&bench, "1.0.0");
    fail_second(&bench);
    let error = bench.cni.add_network_list(&list, &rt).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin type=\"noop\" failed (add): plugin error: banana");
    assert_eq!(error.code(), Some(Code::TRY_AGAIN_LATER));
    assert_eq!(commands(&bench), ["ADD", "ADD"]);
    assert!(!exists(&bench.cache_file("some-list", &rt)));
}

#[tokio::test]
async fn add_or_rollback_undoes_what_succeeded() {
    let bench = Bench::new();
    let (list, rt) = chain(&bench, "1.0.0");
    content_without_result(&bench, &["d2"]);
    fail_second(&bench);
    let error = bench.cni.add_or_rollback(&list, &rt).await.unwrap_err();
    // The plugin that fails ADD fails DEL as well here, so both are told.
    assert!(matches!(error, Error::Rollback { .. }), "{error}");
    assert_eq!(commands(&bench), ["ADD", "ADD", "DEL", "DEL"]);

    let bench = Bench::new();
    let (list, rt) = chain(&bench, "1.0.0");
    content_without_result(&bench, &["d1", "d2"]);
    bench.block_cache();
    let error = bench.cni.add_or_rollback(&list, &rt).await.unwrap_err();
    assert!(matches!(error, Error::SetCachedResult { .. }), "{error}");
    assert_eq!(commands(&bench), ["ADD", "ADD", "ADD", "DEL", "DEL", "DEL"]);
}

#[tokio::test]
async fn names_that_break_the_rules_are_refused_before_any_plugin_runs() {
    let bench = Bench::new();
    let (mut list, good) = chain(&bench, "1.0.0");
    let refused = async |list: &NetworkConfigList, rt: &RuntimeConf, msg: &str| {
        let error = bench.cni.add_network_list(list, rt).await.unwrap_err();
        assert!(error.to_string().contains(msg), "{error}");
        assert!(error.plugin_error().is_some());
        // Nothing was done, so nothing is undone: DEL checks no name.
        let error = bench.cni.add_or_rollback(list, rt).await.unwrap_err();
        assert!(error.to_string().contains(msg), "{error}");
    };
    let mut rt = good.clone();
    rt.container_id = "some-%%container-id".into();
    refused(&list, &rt, "invalid characters in containerID").await;
    for (name, msg) in [
        ("", "interface name is empty"),
        ("1234567890123456", "interface name is too long"),
        (".", "interface name is . or .."),
        ("..", "interface name is . or .."),
        ("test/test", "interface name contains / or : or whitespace characters"),
        ("test:test", "interface name contains / or : or whitespace characters"),
        ("test test", "interface name contains / or : or whitespace characters"),
    ] {
        let mut rt = good.clone();
        rt.if_name = name.into();
        refused(&list, &rt, msg).await;
    }
    list.name = "invalid-%%-name".into();
    refused(&list, &good, "invalid characters found in network name").await;
    assert!(bench.exec.calls().is_empty());
}

#[tokio::test]
async fn list_without_plugins_is_refused() {
    let bench = Bench::new();
    let (mut list, rt) = chain(&bench, "1.0.0");
    list.plugins.clear();
    let error = bench.cni.add_network_list(&list, &rt).await.unwrap_err();
    assert!(matches!(error, Error::NoPlugins), "{error}");
}

#[tokio::test]
async fn check_runs_all_plugins_in_order_with_the_cached_result() {
    for version in ["0.4.0", "1.0.0"] {
        let bench = Bench::new();
        let (list, rt) = chain(&bench, version);
        let cached = result(version, "10.9.9.9/24");
        bench.plant("some-list", &rt, entry("some-list", &rt, &cached));
        bench.cni.check_network_list(&list, &rt).await.unwrap();
        assert_eq!(commands(&bench), ["CHECK", "CHECK", "CHECK"]);
        for name in ["d0", "d1", "d2"] {
            assert_eq!(bench.stdin(name)["prevResult"], cached);
        }
    }
}

#[tokio::test]
async fn check_does_nothing_where_the_list_disables_it() {
    let bench = Bench::new();
    let (mut list, rt) = chain(&bench, "1.0.0");
    list.disable_check = true;
    bench.cni.check_network_list(&list, &rt).await.unwrap();
    assert!(bench.exec.calls().is_empty());
}

#[tokio::test]
async fn check_is_refused_before_0_4_0_even_where_disabled() {
    let bench = Bench::new();
    let (mut list, rt) = chain(&bench, "0.3.1");
    list.disable_check = true;
    let error = bench.cni.check_network_list(&list, &rt).await.unwrap_err().to_string();
    assert_eq!(error, "configuration version \"0.3.1\" does not support the CHECK command");
}

#[tokio::test]
async fn check_stops_at_the_first_failure_and_returns_it_bare() {
    let bench = Bench::new();
    let (list, rt) = chain(&bench, "1.0.0");
    bench.plant("some-list", &rt, entry("some-list", &rt, &result("1.0.0", "10.1.2.3/24")));
    fail_second(&bench);
    let error = bench.cni.check_network_list(&list, &rt).await.unwrap_err().to_string();
    assert_eq!(error, "plugin error: banana");
    assert_eq!(commands(&bench), ["CHECK", "CHECK"]);
}

#[tokio::test]
async fn check_refuses_an_unusable_cache_entry() {
    let bench = Bench::new();
    let (list, rt) = chain(&bench, "1.0.0");
    bench.plant("some-list", &rt, "adfadsfasdfasfdsafaf");
    let error = bench.cni.check_network_list(&list, &rt).await.unwrap_err().to_string();
    assert!(error.starts_with("failed to get network \"some-list\" cached result: "), "{error}");
}

#[tokio::test]
async fn del_runs_all_plugins_in_reverse_with_the_cached_result_and_forgets() {
    let bench = Bench::new();
    let (list, rt) = chain(&bench, "1.0.0");
    bench.cni.add_network_list(&list, &rt).await.unwrap();
    bench.cni.del_network_list(&list, &rt).await.unwrap();
    let order: Vec<Value> = bench.log("log").iter().skip(3).map(debug_file).collect();
    let expected = ["d2", "d1", "d0"].map(|name| json!(bench.path(name)));
    assert_eq!(order, expected);
    for name in ["d0", "d1", "d2"] {
        assert_eq!(bench.stdin(name)["prevResult"], final_result("1.0.0"));
    }
    assert!(!exists(&bench.cache_file("some-list", &rt)));
}

fn debug_file(call: &Value) -> Value {
    let stdin: Value =
        serde_json::from_str(call["Stdin"].as_str().expect("text")).expect("a configuration");
    stdin["debugFile"].clone()
}

#[tokio::test]
async fn del_before_0_4_0_passes_no_result() {
    let bench = Bench::new();
    let (list, rt) = chain(&bench, "0.3.1");
    content_without_result(&bench, &["d1", "d2"]);
    bench.plant("some-list", &rt, entry("some-list", &rt, &result("0.3.1", "10.1.2.3/24")));
    bench.cni.del_network_list(&list, &rt).await.unwrap();
    for name in ["d0", "d1", "d2"] {
        assert!(bench.stdin(name).get("prevResult").is_none());
    }
    assert!(!exists(&bench.cache_file("some-list", &rt)));
}

#[tokio::test]
async fn del_stops_at_the_first_failure_and_keeps_the_entry() {
    let bench = Bench::new();
    let (list, rt) = chain(&bench, "1.0.0");
    bench.cni.add_network_list(&list, &rt).await.unwrap();
    fail_second(&bench);
    let error = bench.cni.del_network_list(&list, &rt).await.unwrap_err().to_string();
    assert_eq!(error, "plugin type=\"noop\" failed (delete): plugin error: banana");
    assert_eq!(commands(&bench)[3..], ["DEL", "DEL"]);
    assert!(exists(&bench.cache_file("some-list", &rt)));
}

#[tokio::test]
async fn del_tolerates_an_unusable_cache_entry_and_removes_it() {
    for content in ["adfadsfasdfasfdsafaf", "", "{\"kind\":\"cniCacheV1\",\"resu"] {
        let bench = Bench::new();
        let (list, rt) = chain(&bench, "1.0.0");
        content_without_result(&bench, &["d1", "d2"]);
        bench.plant("some-list", &rt, content);
        bench.cni.del_network_list(&list, &rt).await.unwrap();
        assert_eq!(commands(&bench), ["DEL", "DEL", "DEL"]);
        assert!(!exists(&bench.cache_file("some-list", &rt)));
    }
}

#[tokio::test]
async fn plugin_that_is_not_there_stops_every_chain() {
    let bench = Bench::new();
    let (mut list, rt) = chain(&bench, "1.1.0");
    content_without_result(&bench, &["d2"]);
    list.plugins[1].network.plugin_type = "does-not-exist".into();
    let text = "failed to find plugin \"does-not-exist\" in path";
    for error in [
        bench.cni.add_network_list(&list, &rt).await.unwrap_err(),
        bench.cni.check_network_list(&list, &rt).await.unwrap_err(),
        bench.cni.del_network_list(&list, &rt).await.unwrap_err(),
        bench.cni.get_status_network_list(&list).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[tokio::test]
async fn validation_gives_every_enabled_capability_once() {
    let bench = Bench::new();
    let (list, _) = chain(&bench, "1.0.0");
    assert_eq!(bench.cni.validate_network_list(&list).await.unwrap(), ["bandwidth", "mac"]);
}

#[tokio::test]
async fn validation_reports_every_plugin_that_is_wrong() {
    let bench = Bench::new();
    let (mut list, _) = chain(&bench, "1.0.0");
    list.plugins[0].network.plugin_type = "nope".into();
    list.plugins[2].network.plugin_type = "neither".into();
    let path = bench.bin().display().to_string();
    let error = bench.cni.validate_network_list(&list).await.unwrap_err().to_string();
    let expected = format!(
        "[failed to find plugin \"nope\" in path [{path}] \
         failed to find plugin \"neither\" in path [{path}]]"
    );
    assert_eq!(error, expected);

    let (mut list, _) = chain(&bench, "1.0.0");
    list.cni_version = "broken".into();
    list.plugins.truncate(1);
    let error = bench.cni.validate_network_list(&list).await.unwrap_err().to_string();
    assert_eq!(error, "[plugin noop does not support config version \"broken\"]");
}

#[tokio::test]
async fn status_asks_every_plugin_and_returns_the_first_refusal_bare() {
    let bench = Bench::new();
    let (list, _) = chain(&bench, "1.1.0");
    content_without_result(&bench, &["d0", "d1", "d2"]);
    bench.cni.get_status_network_list(&list).await.unwrap();
    assert_eq!(commands(&bench), ["STATUS", "STATUS", "STATUS"]);
    let seen = bench.seen("d0");
    assert_eq!((&seen["ContainerID"], &seen["IfName"]), (&json!(""), &json!("")));
    bench.debug("d1", &json!({"ReportError": "no pool left", "ReportErrorCode": 50}));
    let error = bench.cni.get_status_network_list(&list).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::PLUGIN_NOT_AVAILABLE));
    assert_eq!(error.to_string(), "no pool left");
    assert_eq!(commands(&bench).len(), 5);
}

#[tokio::test]
async fn status_before_1_1_0_asks_nobody() {
    let bench = Bench::new();
    let (list, _) = chain(&bench, "1.0.0");
    bench.cni.get_status_network_list(&list).await.unwrap();
    assert!(bench.exec.calls().is_empty());
}

#[tokio::test]
async fn plugins_are_found_in_the_first_directory_that_has_them() {
    let bench = Bench::new();
    let (list, rt) = chain(&bench, "1.0.0");
    let second = bench.path("second");
    fs::create_dir(&second).unwrap();
    std::os::unix::fs::symlink(PLUGIN, second.join("noop")).unwrap();
    fs::remove_file(bench.bin().join("noop")).unwrap();
    let path = vec![bench.bin(), second.clone()];
    let cni = CniConfig::with_cache_dir(path, bench.path("cache"), None);
    cni.add_network_list(&list, &rt).await.unwrap();
    let expected = format!("{}:{}", bench.bin().display(), second.display());
    assert_eq!(bench.seen("d0")["Path"], expected);
}
