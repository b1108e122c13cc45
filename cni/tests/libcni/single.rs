//! Single plugins: `add_network`, `check_network`, `del_network`, versions, validation.

use cni::libcni::{BadCache, Cni, NetworkConfig, RuntimeConf};
use cni::types::Code;
use serde_json::json;

use crate::bench::{Bench, conf, entry, exists, pod, result};

fn noop(bench: &Bench, version: &str) -> (NetworkConfig, RuntimeConf) {
    let debug =
        bench.debug("d", &json!({"ReportResult": result(version, "10.1.2.3/24").to_string()}));
    let conf = conf(&json!({
        "cniVersion": version,
        "name": "apitest",
        "type": "noop",
        "some-key": "some-value",
        "capabilities": {"portMappings": true, "noCapability": false},
    }));
    let mut rt = pod();
    rt.args = vec![("DEBUG".to_owned(), debug), ("FOO".to_owned(), "BAR".to_owned())];
    (conf, rt)
}

fn reporting_error(bench: &Bench, rt: &mut RuntimeConf) {
    let debug = bench.debug("d", &json!({"ReportError": "plugin error: banana"}));
    rt.args = vec![("DEBUG".to_owned(), debug)];
}

#[tokio::test]
async fn add_runs_the_plugin_with_all_arguments_and_returns_its_result() {
    let bench = Bench::new();
    let (conf, mut rt) = noop(&bench, "1.0.0");
    rt.capability_args.insert("portMappings".into(), json!([{"hostPort": 8080}]));
    rt.capability_args.insert("noCapability".into(), json!(1));
    rt.capability_args.insert("unheardOf".into(), json!(2));

    let added = bench.cni.add_network(&conf, &rt).await.unwrap();

    assert_eq!(serde_json::to_value(&added).unwrap(), result("1.0.0", "10.1.2.3/24"));
    let seen = bench.seen("d");
    assert_eq!(seen["Command"], "ADD");
    assert_eq!(seen["ContainerID"], "some-container-id");
    assert_eq!(seen["Netns"], "/some/netns/path");
    assert_eq!(seen["IfName"], "eth0");
    assert_eq!(seen["Path"], bench.bin().display().to_string());
    assert!(seen["Args"].as_str().unwrap().ends_with(";FOO=BAR"));
    let stdin = bench.stdin("d");
    assert_eq!(stdin["name"], "apitest");
    assert_eq!(stdin["some-key"], "some-value");
    // Of the capabilities, those the plugin has and the runtime gave a value for.
    assert_eq!(stdin["runtimeConfig"], json!({"portMappings": [{"hostPort": 8080}]}));
}

#[tokio::test]
async fn plugin_without_used_capabilities_gets_no_runtime_config() {
    let bench = Bench::new();
    let (conf, mut rt) = noop(&bench, "1.0.0");
    rt.capability_args.insert("noCapability".into(), json!(1));
    bench.cni.add_network(&conf, &rt).await.unwrap();
    assert!(bench.stdin("d").get("runtimeConfig").is_none());
}

#[tokio::test]
async fn plugin_that_is_not_there_is_named_by_every_call() {
    let bench = Bench::new();
    let (mut conf, rt) = noop(&bench, "1.0.0");
    conf.network.plugin_type = "does-not-exist".into();
    let path = bench.bin().display().to_string();
    let text = format!("failed to find plugin \"does-not-exist\" in path [{path}]");
    let cni = &bench.cni;
    assert_eq!(cni.add_network(&conf, &rt).await.unwrap_err().to_string(), text);
    assert_eq!(cni.check_network(&conf, &rt).await.unwrap_err().to_string(), text);
    assert_eq!(cni.del_network(&conf, &rt).await.unwrap_err().to_string(), text);
    assert_eq!(cni.validate_network(&conf).await.unwrap_err().to_string(), text);
    assert_eq!(cni.get_version_info("does-not-exist").await.unwrap_err().to_string(), text);
}

#[tokio::test]
async fn error_of_the_plugin_comes_back_bare() {
    let bench = Bench::new();
    let (conf, mut rt) = noop(&bench, "1.0.0");
    reporting_error(&bench, &mut rt);
    for error in [
        bench.cni.add_network(&conf, &rt).await.unwrap_err(),
        bench.cni.check_network(&conf, &rt).await.unwrap_err(),
        bench.cni.del_network(&conf, &rt).await.unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "plugin error: banana");
        assert_eq!(error.code(), Some(Code::INTERNAL));
    }
}

#[tokio::test]
async fn add_fails_when_the_cache_cannot_be_written() {
    let bench = Bench::new();
    let (conf, rt) = noop(&bench, "1.0.0");
    bench.block_cache();
    let error = bench.cni.add_network(&conf, &rt).await.unwrap_err().to_string();
    assert!(error.starts_with("failed to set network \"apitest\" cached result: "), "{error}");
}

#[tokio::test]
async fn check_and_del_pass_the_cached_result_on() {
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let bench = Bench::new();
        let (conf, rt) = noop(&bench, version);
        let cached = result(version, "10.9.9.9/24");
        bench.plant("apitest", &rt, entry("apitest", &rt, &cached));
        bench.cni.check_network(&conf, &rt).await.unwrap();
        assert_eq!(bench.seen("d")["Command"], "CHECK");
        assert_eq!(bench.stdin("d")["prevResult"], cached);
        bench.cni.del_network(&conf, &rt).await.unwrap();
        assert_eq!(bench.seen("d")["Command"], "DEL");
        assert_eq!(bench.stdin("d")["prevResult"], cached);
    }
}

#[tokio::test]
async fn check_is_refused_before_0_4_0_and_nothing_runs() {
    let bench = Bench::new();
    let (conf, rt) = noop(&bench, "0.3.1");
    let error = bench.cni.check_network(&conf, &rt).await.unwrap_err().to_string();
    assert_eq!(error, "configuration version \"0.3.1\" does not support the CHECK command");
    assert!(bench.exec.calls().is_empty());
}

#[tokio::test]
async fn del_before_0_4_0_passes_no_result_and_forgets_it_all_the_same() {
    let bench = Bench::new();
    let (conf, rt) = noop(&bench, "0.3.1");
    bench.plant("apitest", &rt, entry("apitest", &rt, &result("0.3.1", "10.9.9.9/24")));
    bench.cni.del_network(&conf, &rt).await.unwrap();
    assert!(bench.stdin("d").get("prevResult").is_none());
    assert!(!exists(&bench.cache_file("apitest", &rt)));
}

#[tokio::test]
async fn cached_result_of_another_version_is_converted() {
    let bench = Bench::new();
    let (conf, rt) = noop(&bench, "1.0.0");
    bench.plant("apitest", &rt, result("0.4.0", "10.1.2.3/24").to_string());
    bench.cni.check_network(&conf, &rt).await.unwrap();
    assert_eq!(bench.stdin("d")["prevResult"], result("1.0.0", "10.1.2.3/24"));
    bench.cni.del_network(&conf, &rt).await.unwrap();
    assert_eq!(bench.stdin("d")["prevResult"], result("1.0.0", "10.1.2.3/24"));
}

#[tokio::test]
async fn cached_result_that_cannot_be_used_is_an_error() {
    let bench = Bench::new();
    let (conf, rt) = noop(&bench, "1.0.0");
    let start = "failed to get network \"apitest\" cached result: ";
    for (content, cause) in [
        ("adfadsfasdfasfdsafaf", "decoding version from network config: "),
        ("", "decoding version from network config: "),
        (r#"{"cniVersion":"0.4567.0"}"#, "unsupported CNI result version \"0.4567.0\""),
    ] {
        bench.plant("apitest", &rt, content);
        for error in [
            bench.cni.check_network(&conf, &rt).await.unwrap_err().to_string(),
            bench.cni.del_network(&conf, &rt).await.unwrap_err().to_string(),
        ] {
            assert!(error.starts_with(start) && error.contains(cause), "{error}");
        }
    }
    assert!(bench.exec.calls().is_empty());
}

#[tokio::test]
async fn del_goes_on_without_an_unusable_entry_when_told_so() {
    let bench = Bench::new();
    let (conf, rt) = noop(&bench, "1.0.0");
    bench.plant("apitest", &rt, "");
    let tolerant = bench.cni.clone().on_bad_cache(BadCache::Remove);
    tolerant.del_network(&conf, &rt).await.unwrap();
    assert!(bench.stdin("d").get("prevResult").is_none());
    assert!(!exists(&bench.cache_file("apitest", &rt)));
}

#[tokio::test]
async fn second_del_succeeds_without_a_cached_result() {
    let bench = Bench::new();
    let (conf, rt) = noop(&bench, "1.0.0");
    bench.cni.add_network(&conf, &rt).await.unwrap();
    assert!(exists(&bench.cache_file("apitest", &rt)));
    bench.cni.del_network(&conf, &rt).await.unwrap();
    assert!(bench.stdin("d").get("prevResult").is_some());
    assert!(!exists(&bench.cache_file("apitest", &rt)));
    bench.cni.del_network(&conf, &rt).await.unwrap();
    assert!(bench.stdin("d").get("prevResult").is_none());
}

#[tokio::test]
async fn failed_del_keeps_the_entry_for_the_next_try() {
    let bench = Bench::new();
    let (conf, mut rt) = noop(&bench, "1.0.0");
    bench.cni.add_network(&conf, &rt).await.unwrap();
    reporting_error(&bench, &mut rt);
    bench.cni.del_network(&conf, &rt).await.unwrap_err();
    assert!(exists(&bench.cache_file("apitest", &rt)));
}

#[tokio::test]
async fn versions_of_a_plugin_are_what_it_says() {
    let bench = Bench::new();
    let info = bench.cni.get_version_info("noop").await.unwrap();
    let expected = ["0.-42.0", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
    assert_eq!(info.supported_versions(), expected);
}

#[tokio::test]
async fn validation_gives_capabilities_and_refuses_versions_the_plugin_lacks() {
    let bench = Bench::new();
    let (mut conf, _) = noop(&bench, "1.0.0");
    assert_eq!(bench.cni.validate_network(&conf).await.unwrap(), ["portMappings"]);
    conf.network.cni_version = "broken".into();
    let error = bench.cni.validate_network(&conf).await.unwrap_err().to_string();
    assert_eq!(error, "plugin noop does not support config version \"broken\"");
    conf.network.cni_version = String::new();
    bench.cni.validate_network(&conf).await.unwrap();
}

#[tokio::test]
async fn plugin_from_before_version_works_and_speaks_0_1_0() {
    let bench = Bench::new();
    let conf = conf(&json!({"name": "old-thing", "type": "ancient"}));
    let added = bench.cni.add_network(&conf, &pod()).await.unwrap();
    assert_eq!(serde_json::to_value(added).unwrap(), result("0.1.0", "10.1.2.3/24"));
    let info = bench.cni.get_version_info("ancient").await.unwrap();
    assert_eq!(info.supported_versions(), ["0.1.0"]);
    bench.cni.validate_network(&conf).await.unwrap();
}
