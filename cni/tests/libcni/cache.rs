//! The cache: Go's form both ways, whole entries only, nothing outside its directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cni::Error;
use cni::invoke::Call;
use cni::invoke::blocking::Exec;
use cni::libcni::{Cni, CniConfig, NetworkConfig, RuntimeConf, conf_list_from_bytes};
use serde_json::{Value, json};

use crate::bench::{Bench, PLUGIN, conf, entry, list, pod, result};

/// A network whose plugin answers with a literal result.
fn network(bench: &Bench) -> NetworkConfig {
    let debug =
        bench.debug("d", &json!({"ReportResult": result("1.0.0", "10.1.2.3/24").to_string()}));
    conf(&json!({"cniVersion": "1.0.0", "name": "cachetest", "type": "noop", "debugFile": debug}))
}

fn named(container_id: &str, if_name: &str) -> RuntimeConf {
    RuntimeConf::new(container_id, "/some/netns", if_name)
}

/// An entry as Go 1.2.3 wrote it: `{"type":"noop"}` in base64, members in Go's order.
const BY_GO: &str = concat!(
    r#"{"kind":"cniCacheV1","containerId":"pod-1","config":"eyJ0eXBlIjoibm9vcCJ9","#,
    r#""ifName":"eth0","networkName":"cachetest","netns":"/run/netns/pod1","#,
    r#""cniArgs":[["A","1"],["B","2"]],"capabilityArgs":{"mac":"c2:11:22:33:44:55"},"#,
    r#""result":{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}]}}"#
);

#[tokio::test]
async fn entry_is_byte_for_byte_what_go_writes() {
    let bench = Bench::new();
    let mut network = network(&bench);
    network.bytes = br#"{"type":"noop","debugFile":"D"}"#.to_vec();
    network.bytes = String::from_utf8(network.bytes)
        .unwrap()
        .replace("\"D\"", &json!(bench.path("d")).to_string())
        .into_bytes();
    let mut rt = RuntimeConf::new("pod-1", "/run/netns/pod1", "eth0");
    rt.args = vec![("A".into(), "1".into()), ("B".into(), "2".into())];
    rt.capability_args.insert("mac".into(), json!("c2:11:22:33:44:55"));
    bench.cni.add_network(&network, &rt).await.unwrap();

    let file = bench.cache_file("cachetest", &rt);
    let written = fs::read_to_string(&file).unwrap();
    let value: Value = serde_json::from_str(&written).unwrap();
    let config = value["config"].as_str().unwrap();
    assert_eq!(written, BY_GO.replace("eyJ0eXBlIjoibm9vcCJ9", config));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let results = file.parent().unwrap();
    assert_eq!(fs::metadata(results).unwrap().permissions().mode() & 0o777, 0o700);
    // No half-written file stays beside it.
    assert_eq!(fs::read_dir(results).unwrap().count(), 1);
}

/// What libcni 1.1.2 of Go, as packaged, wrote for the calls of the test below. It knows no
/// `netns` yet.
const RECORDED: &str = concat!(
    r#"{"kind":"cniCacheV1","containerId":"id1","config":"eyJjbmlWZXJzaW9uIjoiMS4wLjAiLCJuYW1"#,
    r#"lIjoibmV0IiwicGx1Z2lucyI6W3sidHlwZSI6Im5vb3AiLCJ4IjoiPMOpPiJ9XX0=","ifName":"eth0","#,
    r#""networkName":"net","cniArgs":[["A","\u003c\u0026\u003e"],["B","\u2028é\u0001"]],"#,
    r#""capabilityArgs":{"a\u0026b":{"a":[true,null,"x"],"z":1},"mac":"c2:11:22:33:44:55"},"#,
    r#""result":{"cniVersion":"1.0.0","dns":{"domain":"x","nameservers":["1.1.1.1"]},"#,
    r#""interfaces":[{"mac":"c2:11:22:33:44:55","name":"eth0","sandbox":"/x\u0026y"}],"#,
    r#""ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1","interface":0},"#,
    r#"{"address":"fd00::3/64"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.1.2.1"},{"dst":"::/0"}]}}"#
);

/// Answers as the plugin did that was recorded.
struct Answer;

impl Exec for Answer {
    fn exec_plugin(&self, _: Call<'_>) -> Result<Vec<u8>, Error> {
        let result = json!({
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "eth0", "mac": "c2:11:22:33:44:55", "sandbox": "/x&y"}],
            "ips": [
                {"interface": 0, "address": "10.1.2.3/24", "gateway": "10.1.2.1"},
                {"address": "fd00::3/64"},
            ],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "::/0"}],
            "dns": {"nameservers": ["1.1.1.1"], "domain": "x"},
        });
        Ok(result.to_string().into_bytes())
    }
}

#[test]
fn entry_recorded_of_go_is_read_and_written_to_the_byte() {
    use cni::libcni::blocking::{Cni, CniConfig};

    let bench = Bench::new();
    let conf = r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"noop","x":"<é>"}]}"#;
    let chain = conf_list_from_bytes(conf.as_bytes()).unwrap();
    let mut rt = RuntimeConf::new("id1", "", "eth0");
    rt.args = vec![("A".into(), "<&>".into()), ("B".into(), "\u{2028}é\u{1}".into())];
    rt.capability_args.insert("mac".into(), json!("c2:11:22:33:44:55"));
    rt.capability_args.insert("a&b".into(), json!({"z": 1, "a": [true, null, "x"]}));
    let cni = CniConfig::with_cache_dir(
        vec![bench.bin()],
        bench.path("cache"),
        Some(std::sync::Arc::new(Answer)),
    );
    let result = cni.add_network_list(&chain, &rt).unwrap();
    assert_eq!(fs::read_to_string(bench.cache_file("net", &rt)).unwrap(), RECORDED);

    bench.plant("net", &rt, RECORDED);
    let bare = RuntimeConf::new("id1", "", "eth0");
    let cached = cni.get_network_list_cached_config(&chain, &bare).unwrap();
    assert_eq!(cached, Some((conf.as_bytes().to_vec(), rt)));
    assert_eq!(cni.get_network_list_cached_result(&chain, &bare).unwrap(), Some(result));
}

#[tokio::test]
async fn empty_members_are_left_out() {
    let bench = Bench::new();
    bench.cni.add_network(&network(&bench), &pod()).await.unwrap();
    let text = fs::read_to_string(bench.cache_file("cachetest", &pod())).unwrap();
    assert!(!text.contains("cniArgs") && !text.contains("capabilityArgs"), "{text}");
}

#[test]
fn entry_by_go_is_read() {
    let bench = Bench::new();
    let rt = named("pod-1", "eth0");
    bench.plant("cachetest", &rt, BY_GO);
    let network = network(&bench);
    let cached = bench.cni.get_network_cached_result(&network, &rt).unwrap().unwrap();
    assert_eq!(serde_json::to_value(cached).unwrap(), result("1.0.0", "10.1.2.3/24"));
    let (config, filled) = bench.cni.get_network_cached_config(&network, &rt).unwrap().unwrap();
    assert_eq!(config, br#"{"type":"noop"}"#);
    // A copy of what was given, with the cached arguments.
    assert_eq!(filled.netns, "/some/netns");
    assert_eq!(filled.args, [("A".into(), "1".into()), ("B".into(), "2".into())]);
    assert_eq!(filled.capability_args["mac"], "c2:11:22:33:44:55");
}

#[test]
fn cached_arguments_replace_given_ones_only_where_there_are_some() {
    let bench = Bench::new();
    let mut rt = pod();
    bench.plant("cachetest", &rt, entry("cachetest", &rt, &json!({})));
    rt.args = vec![("GIVEN".into(), "1".into())];
    rt.capability_args.insert("mac".into(), json!("x"));
    let (_, filled) = bench.cni.get_network_cached_config(&network(&bench), &rt).unwrap().unwrap();
    assert_eq!(filled.args, rt.args);
    assert!(filled.capability_args.is_empty());
}

#[test]
fn members_in_any_case_are_read_as_go_reads_them() {
    let bench = Bench::new();
    let rt = named("pod-1", "eth0");
    let odd = BY_GO.replace("containerId", "containerID").replace("ifName", "ifname");
    bench.plant("cachetest", &rt, odd);
    assert_eq!(bench.cni.get_cached_attachments(Some("pod-1")).unwrap().len(), 1);
}

#[test]
fn entry_from_before_kinds_is_a_bare_result() {
    let bench = Bench::new();
    bench.plant("cachetest", &pod(), result("0.4.0", "10.1.2.3/24").to_string());
    let cached = bench.cni.get_network_cached_result(&network(&bench), &pod()).unwrap().unwrap();
    assert_eq!(serde_json::to_value(cached).unwrap(), result("1.0.0", "10.1.2.3/24"));
    let error = bench.cni.get_network_cached_config(&network(&bench), &pod()).unwrap_err();
    let text = "read cached network \"cachetest\" config has wrong kind: ";
    assert_eq!(error.to_string(), text);
}

#[test]
fn missing_entry_is_no_error() {
    let bench = Bench::new();
    let network = network(&bench);
    assert_eq!(bench.cni.get_network_cached_result(&network, &pod()).unwrap(), None);
    assert_eq!(bench.cni.get_network_cached_config(&network, &pod()).unwrap(), None);
    assert_eq!(bench.cni.get_cached_attachments(None).unwrap(), []);
    // Nor is an entry that has no result.
    bench.plant("cachetest", &pod(), entry("cachetest", &pod(), &json!(null)));
    assert_eq!(bench.cni.get_network_cached_result(&network, &pod()).unwrap(), None);
}

#[test]
fn malformed_entry_is_an_error_that_names_the_network() {
    let bench = Bench::new();
    for content in ["adfadsfasdfasfdsafaf", "", "[1]", r#"{"kind":"cniCacheV1","config":"%"}"#] {
        bench.plant("cachetest", &pod(), content);
        let error = bench.cni.get_network_cached_config(&network(&bench), &pod()).unwrap_err();
        let start = "failed to unmarshal cached network \"cachetest\" config: ";
        assert!(error.to_string().starts_with(start), "{error}");
    }
}

#[test]
fn result_that_does_not_convert_names_the_version() {
    let bench = Bench::new();
    bench.plant("cachetest", &pod(), entry("cachetest", &pod(), &json!({"cniVersion": "1.0.0"})));
    let mut old = network(&bench);
    old.network.cni_version = "0.2.0".into();
    let error = bench.cni.get_network_cached_result(&old, &pod()).unwrap_err().to_string();
    let text = "failed to convert cached result to config version \"0.2.0\": \
                cannot convert: no valid IP addresses";
    assert_eq!(error, text);
}

#[test]
fn all_three_names_are_needed() {
    let bench = Bench::new();
    let mut nameless = network(&bench);
    nameless.network.name = String::new();
    let good = network(&bench);
    for (network, rt) in
        [(&nameless, pod()), (&good, named("", "eth0")), (&good, named("pod-1", ""))]
    {
        let error = bench.cni.get_network_cached_result(network, &rt).unwrap_err();
        let expected = format!(
            "cache file path requires network name ({:?}), container ID ({:?}), \
             and interface name ({:?})",
            network.network.name, rt.container_id, rt.if_name
        );
        assert_eq!(error.to_string(), expected);
        assert!(bench.cni.get_network_cached_config(network, &rt).is_err());
    }
}

#[tokio::test]
async fn names_never_lead_out_of_the_directory() {
    let bench = Bench::new();
    let network = network(&bench);
    let victim = bench.path("victim-x");
    fs::write(&victim, "precious").unwrap();
    for rt in [
        named("a/../../../victim", "x"),
        named("../../victim", "x"),
        named("a", "/../../../victim-x"),
        named("a\0b", "x"),
    ] {
        let error = bench.cni.get_network_cached_result(&network, &rt).unwrap_err();
        assert!(matches!(error, Error::CacheKeyCharacters(_)), "{error}");
        assert!(bench.cni.del_network(&network, &rt).await.is_err());
    }
    assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
}

#[test]
fn entries_of_a_runtime_that_is_killed_while_writing_are_whole() {
    let bench = Bench::new();
    let cache = bench.path("cache");
    let churn = bench.bin().join("churn");
    std::os::unix::fs::symlink(PLUGIN, &churn).unwrap();
    let chain = list(&json!({
        "cniVersion": "1.0.0", "name": "churn", "plugins": [{"type": "noop"}]
    }));
    let mut seen = 0;
    for round in 0..20 {
        let mut runtime = std::process::Command::new(&churn).arg(&cache).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5 + 3 * round));
        assert_eq!(runtime.try_wait().unwrap(), None, "it goes on until it is killed");
        runtime.kill().unwrap();
        runtime.wait().unwrap();
        for number in 0..7 {
            let rt = named(&format!("id-{number}"), "eth0");
            // A missing one is none; half of one would be an error.
            let config = bench.cni.get_network_list_cached_config(&chain, &rt).unwrap();
            let result = bench.cni.get_network_list_cached_result(&chain, &rt).unwrap();
            assert_eq!(config.is_some(), result.is_some());
            seen += usize::from(config.is_some());
        }
    }
    assert!(seen > 0);
}

#[tokio::test]
async fn attachments_of_a_container_are_told_apart() {
    let bench = Bench::new();
    let network = network(&bench);
    for (container, interface) in
        [("pod-1", "eth0"), ("pod-1", "eth1"), ("pod", "eth0"), ("1", "eth0")]
    {
        bench.cni.add_network(&network, &named(container, interface)).await.unwrap();
    }
    bench.plant("junk", &named("pod-1", "eth9"), "not json");
    bench.plant("old", &named("pod-1", "eth8"), r#"{"cniVersion":"0.4.0"}"#);
    bench.plant(
        "nameless",
        &named("pod-1", "eth7"),
        r#"{"kind":"cniCacheV1","containerId":"pod-1"}"#,
    );

    let of = |container| -> Vec<(String, String)> {
        let all = bench.cni.get_cached_attachments(container).unwrap();
        all.into_iter().map(|found| (found.container_id, found.if_name)).collect()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(of(Some("pod-1")), [pair("pod-1", "eth0"), pair("pod-1", "eth1")]);
    assert_eq!(of(Some("pod")), [pair("pod", "eth0")]);
    assert_eq!(of(Some("nobody")), []);
    assert_eq!(of(None).len(), 4);
    let attachment = bench.cni.get_cached_attachments(Some("pod")).unwrap().remove(0);
    assert_eq!(
        (attachment.network.as_str(), attachment.netns.as_str()),
        ("cachetest", "/some/netns")
    );
    assert_eq!(attachment.config, network.bytes);
    assert_eq!(attachment.runtime_conf(), named("pod", "eth0"));
}

#[tokio::test]
async fn several_attachments_to_one_network_have_files_of_their_own() {
    let bench = Bench::new();
    let network = network(&bench);
    let (first, second) = (named("pod-1", "eth0"), named("pod-1", "eth1"));
    bench.cni.add_network(&network, &first).await.unwrap();
    bench.debug("d", &json!({"ReportResult": result("1.0.0", "10.1.2.4/24").to_string()}));
    bench.cni.add_network(&network, &second).await.unwrap();
    for (rt, address) in [(&first, "10.1.2.3/24"), (&second, "10.1.2.4/24")] {
        let cached = bench.cni.get_network_cached_result(&network, rt).unwrap().unwrap();
        assert_eq!(serde_json::to_value(cached).unwrap(), result("1.0.0", address));
    }
}

#[tokio::test]
async fn directory_of_the_runtime_conf_counts_unless_the_config_has_its_own() {
    let bench = Bench::new();
    let network = network(&bench);
    let mut rt = pod();
    #[expect(deprecated, reason = "it is still honoured")]
    {
        rt.cache_dir = Some(bench.path("other"));
    }
    let cni = CniConfig::new(vec![bench.bin()], None);
    cni.add_network(&network, &rt).await.unwrap();
    assert_eq!(fs::read_dir(bench.path("other").join("results")).unwrap().count(), 1);
    bench.cni.add_network(&network, &rt).await.unwrap();
    assert!(bench.cache_file("cachetest", &rt).is_file());
}
