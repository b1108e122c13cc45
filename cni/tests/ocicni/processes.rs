//! The pod layer over plugins that are processes, with and without a runtime.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cni::Error;
use cni::ocicni::{CniPlugin, NetAttachment, Ocicni, PodNetwork, Watch, blocking};
use serde_json::{Value, json};

use crate::bench::{Bench, interface, until};
use crate::sandbox::Sandbox;

/// The test plugin; see `test-plugin/main.rs`.
const PLUGIN: &str = env!("CARGO_BIN_EXE_cni-test-plugin");

fn with_processes() -> Bench {
    let bench = Bench::new();
    std::os::unix::fs::symlink(PLUGIN, bench.bin_dir().join("noop")).expect("writable");
    bench
}

/// A network of the plugin `noop`, which keeps a log.
fn network(bench: &Bench, file: &str, name: &str) -> PathBuf {
    let debug = bench.path(&format!("{name}.debug"));
    let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.7.0.2/24"}]});
    fs::write(&debug, json!({"ReportResult": result.to_string()}).to_string()).expect("writable");
    let log = bench.path(&format!("{name}.log"));
    let list = json!({
        "cniVersion": "1.0.0", "name": name,
        "plugins": [{"type": "noop", "debugFile": debug, "commandLog": log}],
    });
    bench.file(file, &list.to_string());
    log
}

fn commands(log: &PathBuf) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let call = |line: &str| -> Value { serde_json::from_str(line).expect("JSON") };
    text.lines().map(|line| call(line)["Command"].as_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn pod_goes_on_and_off_a_network_of_processes() {
    let bench = with_processes();
    let plugin = Ocicni::new(bench.options(), None).await.unwrap();
    let log = network(&bench, "1.conflist", "blue");
    until("it is noticed", async || plugin.status().await.is_ok()).await;
    let sandbox = Sandbox::new();
    plugin.set_up_pod(sandbox.name(), "ns", "web", "id").await.unwrap();
    plugin.tear_down_pod(sandbox.name(), "ns", "web", "id").await.unwrap();
    assert_eq!(commands(&log), ["ADD", "DEL"]);
    plugin.shutdown().await.unwrap();
}

#[tokio::test]
async fn dropped_call_ends_its_plugin_and_undoes_what_was_done() {
    let bench = with_processes();
    let log = network(&bench, "1.conflist", "blue");
    // Its plugin answers to VERSION, and later to nothing.
    let exec =
        cni::invoke::RawExec { timeout: Some(Duration::from_millis(300)), ..Default::default() };
    let stuck = json!({"cniVersion": "1.0.0", "name": "stuck", "plugins": [{"type": "turn"}]});
    std::os::unix::fs::symlink("noop", bench.bin_dir().join("turn")).unwrap();
    bench.file("2.conflist", &stuck.to_string());
    let options = bench.options().watch(Watch::Off);
    let plugin = Ocicni::new(options, Some(Arc::new(exec))).await.unwrap();
    let sandbox = Sandbox::new();
    let mut pod = PodNetwork::new(sandbox.path(), "ns", "web", "id");
    pod.networks = ["blue", "stuck"].map(NetAttachment::to).into();
    // From now on it sleeps, until the exec has enough of it.
    fs::remove_file(bench.bin_dir().join("turn")).unwrap();
    let script = bench.bin_dir().join("turn");
    fs::write(&script, "#!/bin/sh\nexec sleep 60\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let call = plugin.set_up_pod_networks(&pod);
    {
        tokio::pin!(call);
        until("the second network is being attached", async || {
            let moment = Duration::from_millis(5);
            let pending = tokio::time::timeout(moment, &mut call).await.is_err();
            pending && bench.cache_file("blue", "id", "eth0").exists()
        })
        .await;
    }
    until("it is undone", async || !bench.cache_file("blue", "id", "eth0").exists()).await;
    assert_eq!(commands(&log), ["ADD", "DEL"]);
}

#[test]
fn all_works_without_a_runtime() {
    use blocking::CniPlugin as _;

    let bench = with_processes();
    let log = network(&bench, "1.conflist", "blue");
    let plugin = blocking::Ocicni::new(bench.options(), None).unwrap();
    assert_eq!((plugin.name(), plugin.status().is_ok()), ("cni", true));
    let sandbox = Sandbox::new();
    interface(&sandbox, "eth9", &[]);
    plugin.set_up_pod(sandbox.name(), "ns", "web", "id").unwrap();
    interface(&sandbox, "eth0", &["10.7.0.2/24"]);
    let status = plugin.get_container_network_status(sandbox.name(), "ns", "web", "id").unwrap();
    assert_eq!(status.ip.to_string(), "10.7.0.2");
    let web = PodNetwork::new(sandbox.path(), "ns", "web", "id");
    // CHECK of this plugin wants no result, so that its answer is of no matter.
    assert_eq!(plugin.get_pod_network_status(&web).unwrap().len(), 1);
    plugin.gc(std::slice::from_ref(&web)).unwrap();
    plugin.tear_down_pod(sandbox.name(), "ns", "web", "id").unwrap();
    assert_eq!(commands(&log), ["ADD", "CHECK", "DEL"]);

    // The directory is followed by a thread.
    bench.remove("1.conflist");
    let began = std::time::Instant::now();
    while plugin.get_default_network_name().is_some() {
        assert!(began.elapsed() < Duration::from_secs(30), "never noticed");
        std::thread::sleep(Duration::from_millis(5));
    }
    plugin.reload().unwrap();
    plugin.shutdown().unwrap();
    assert!(matches!(plugin.status(), Err(Error::ShutDown)));
}
