//! Which networks a directory configures, and which is the default.

use cni::Error;
use cni::ocicni::{
    CNI_PLUGIN_NAME, CniPlugin, DEFAULT_CNI_DIR, DEFAULT_INTERFACE_NAME, DEFAULT_NET_DIR,
    NetAttachment, Options, VENDOR_CNI_DIR_TEMPLATE, Watch,
};
use serde_json::json;

use crate::bench::{Bench, pod};
use crate::sandbox::Sandbox;

#[test]
fn constants_are_those_runtimes_know() {
    let constants = [
        DEFAULT_INTERFACE_NAME,
        CNI_PLUGIN_NAME,
        DEFAULT_NET_DIR,
        DEFAULT_CNI_DIR,
        VENDOR_CNI_DIR_TEMPLATE,
    ];
    assert_eq!(constants, ["eth0", "cni", "/etc/cni/net.d", "/opt/cni/bin", "%s/opt/%s/bin"]);
    let unsaid = format!("{:?}", Options::new("", Vec::new()));
    assert!(unsaid.contains(DEFAULT_NET_DIR) && unsaid.contains(DEFAULT_CNI_DIR), "{unsaid}");
}

#[tokio::test]
async fn existing_configuration_is_the_default_network() {
    let bench = Bench::new();
    bench.network("5-blue.conflist", "blue");
    bench.network("9-red.conflist", "red");
    let plugin = bench.start_still().await;
    assert_eq!(plugin.name(), "cni");
    assert_eq!(plugin.get_default_network_name().as_deref(), Some("blue"));
    plugin.status().await.unwrap();
}

#[tokio::test]
async fn chosen_default_network_is_not_the_first() {
    let bench = Bench::new();
    bench.network("5-blue.conflist", "blue");
    bench.network("9-red.conflist", "red");
    let options = bench.options().watch(Watch::Off).default_network("red");
    let plugin = bench.start_with(options).await;
    assert_eq!(plugin.get_default_network_name().as_deref(), Some("red"));
    plugin.status().await.unwrap();

    // One that is not configured is not replaced by another.
    let options = bench.options().watch(Watch::Off).default_network("green");
    let plugin = bench.start_with(options).await;
    assert_eq!(plugin.get_default_network_name().as_deref(), Some("green"));
    let error = plugin.status().await.unwrap_err();
    assert!(matches!(error, Error::NoDefaultNetwork { .. }), "{error}");
}

#[tokio::test]
async fn directory_that_is_empty_or_missing_is_no_error_and_no_network() {
    let bench = Bench::new();
    let missing = Options::new(bench.path("nowhere"), vec![bench.bin_dir()]).watch(Watch::Off);
    for options in [bench.options().watch(Watch::Off), missing] {
        let plugin = bench.start_with(options).await;
        assert_eq!(plugin.get_default_network_name(), None);
        let text = plugin.status().await.unwrap_err().to_string();
        assert!(text.contains("no CNI configuration file in"), "{text}");
    }
}

#[tokio::test]
async fn unusable_files_are_passed_over_and_named_by_the_status() {
    let bench = Bench::new();
    bench.file("1-broken.conflist", "{");
    bench.file("2-nobody.conf", &json!({"name": "x", "type": "nobody"}).to_string());
    bench.file(
        "3-future.conf",
        &json!({"name": "x", "type": "main", "cniVersion": "9"}).to_string(),
    );
    bench.file("4-notes.txt", "not a configuration");
    nix::unistd::mkfifo(&bench.conf_dir().join("0-pipe.conf"), nix::sys::stat::Mode::S_IRWXU)
        .unwrap();
    let plugin = bench.start_still().await;
    let text = plugin.status().await.unwrap_err().to_string();
    for part in [
        "0-pipe.conf: not a file",
        "1-broken.conflist: error parsing configuration list",
        "2-nobody.conf: [failed to find plugin \"nobody\"",
        "3-future.conf: [plugin main does not support config version \"9\"]",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    assert!(!text.contains("notes"), "{text}");
    bench.network("5-blue.conflist", "blue");
    plugin.reload().await.unwrap();
    assert_eq!(plugin.get_default_network_name().as_deref(), Some("blue"));
}

#[tokio::test]
async fn all_three_endings_count_and_the_first_of_a_name_wins() {
    let bench = Bench::new();
    let single = |name: &str, mtu: u32| {
        json!({"name": name, "type": "main", "cniVersion": "1.0.0", "mtu": mtu}).to_string()
    };
    bench.file("1.json", &single("blue", 1));
    bench.file("2.conf", &single("blue", 2));
    bench.file("3.conf", &single("red", 3));
    bench.network("4.conflist", "green");
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let mut pod = pod(&sandbox, "web");
    pod.networks = ["blue", "red", "green"].map(NetAttachment::to).into();
    plugin.set_up_pod_networks(&pod).await.unwrap();
    let mtus: Vec<_> = bench.fake.seen().iter().map(|seen| seen.stdin["mtu"].clone()).collect();
    assert_eq!(mtus, [json!(1), json!(3), json!(null)]);
}

#[tokio::test]
async fn network_without_a_name_has_that_of_its_file() {
    let bench = Bench::new();
    bench.file("7-it.conf", &json!({"type": "main", "cniVersion": "1.0.0"}).to_string());
    let plugin = bench.start_still().await;
    assert_eq!(plugin.get_default_network_name().as_deref(), Some("7-it.conf"));
    let sandbox = Sandbox::new();
    let pod = pod(&sandbox, "web");
    plugin.set_up_pod_networks(&pod).await.unwrap();
    bench.remove("7-it.conf");
    plugin.reload().await.unwrap();
    plugin.tear_down_pod_networks(&pod).await.unwrap();
    assert_eq!(bench.fake.briefs(), ["ADD 7-it.conf eth0", "DEL 7-it.conf eth0"]);
}

#[tokio::test]
async fn plugins_are_also_looked_for_in_the_directory_of_their_vendor() {
    let bench = Bench::new();
    bench.file(
        "1.conf",
        &json!({"name": "blue", "type": "acme", "cniVersion": "1.0.0"}).to_string(),
    );
    let plugin = bench.start_still().await;
    assert!(plugin.status().await.is_err());
    let vendor = cni::ocicni::vendor_cni_dir(&bench.path("vendors"), "acme");
    std::fs::create_dir_all(&vendor).unwrap();
    std::fs::write(vendor.join("acme"), "").unwrap();
    plugin.status().await.unwrap();
}
