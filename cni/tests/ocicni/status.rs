//! What is told of pods and of the default network.

use cni::Error;
use cni::ocicni::CniPlugin;
use cni::types::Code;
use serde_json::json;

use crate::bench::{Bench, interface, pod};
use crate::sandbox::Sandbox;

#[tokio::test]
async fn addresses_of_both_families_are_read_from_the_kernel() {
    let bench = Bench::new();
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let status =
        async || plugin.get_container_network_status(sandbox.name(), "ns", "web", "id").await;

    let error = status().await.unwrap_err();
    assert!(matches!(error, Error::NoInterface { .. }), "{error}");
    // An address for the link alone is none that others could use.
    interface(&sandbox, "eth0", &[]);
    let error = status().await.unwrap_err();
    assert!(matches!(error, Error::NoAddress { .. }), "{error}");

    sandbox.ip("addr add fd00::7/64 dev eth0 nodad");
    let seen = status().await.unwrap();
    assert_eq!((seen.ip.to_string().as_str(), seen.additional_ips.len()), ("fd00::7", 0));
    sandbox.ip("addr add 10.9.0.7/24 dev eth0");
    sandbox.ip("addr add 10.9.1.7/24 dev eth0");
    let seen = status().await.unwrap();
    let additional: Vec<String> = seen.additional_ips.iter().map(ToString::to_string).collect();
    assert_eq!(
        (seen.ip.to_string(), additional.join(" ")),
        ("10.9.0.7".into(), "10.9.1.7 fd00::7".into())
    );
    // No plugin was asked, and another interface does not count.
    interface(&sandbox, "eth1", &["10.8.0.1/24"]);
    assert_eq!(status().await.unwrap(), seen);
    assert!(bench.fake.seen().is_empty());
}

#[tokio::test]
async fn address_of_a_link_with_a_peer_is_our_own() {
    let bench = Bench::new();
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    interface(&sandbox, "eth0", &[]);
    sandbox.ip("addr add 10.9.0.7 peer 10.9.0.1/32 dev eth0");
    let seen = plugin.get_container_network_status(sandbox.name(), "ns", "web", "id").await;
    assert_eq!(seen.unwrap().ip.to_string(), "10.9.0.7");
}

#[tokio::test]
async fn namespace_that_is_gone_is_an_error() {
    let bench = Bench::new();
    let plugin = bench.start_still().await;
    for path in ["", "/not/there", "/etc/hostname"] {
        let error = plugin.get_container_network_status(path, "ns", "web", "id").await.unwrap_err();
        assert!(matches!(error, Error::Namespace { .. }), "{path}: {error}");
    }
}

#[tokio::test]
async fn pod_is_checked_and_its_results_are_told() {
    let bench = Bench::new();
    bench.network("1.conflist", "blue");
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let web = pod(&sandbox, "web");
    let made = plugin.set_up_pod_networks(&web).await.unwrap();
    assert_eq!(plugin.get_pod_network_status(&web).await.unwrap(), made);
    assert_eq!(bench.fake.briefs(), ["ADD blue eth0", "CHECK blue eth0"]);
    bench.fake.refuse("CHECK blue", Code(103));
    let error = plugin.get_pod_network_status(&web).await.unwrap_err();
    assert_eq!(error.code(), Some(Code(103)));
}

#[tokio::test]
async fn kernel_stands_in_for_a_result_the_cache_has_lost() {
    let bench = Bench::new();
    bench.network("1.conflist", "blue");
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let web = pod(&sandbox, "web");
    plugin.set_up_pod_networks(&web).await.unwrap();
    std::fs::remove_dir_all(bench.path("cache")).unwrap();
    interface(&sandbox, "eth0", &["10.9.0.7/24"]);
    sandbox.ip("addr add fd00::7/64 dev eth0 nodad");
    let told = plugin.get_pod_network_status(&web).await.unwrap();
    assert_eq!((told.len(), told[0].attachment.if_name.as_str()), (1, "eth0"));
    let expected = json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "eth0", "mac": "c2:11:22:33:44:55", "sandbox": sandbox.name()}
        ],
        "ips": [
            {"interface": 0, "address": "10.9.0.7/24"}, {"interface": 0, "address": "fd00::7/64"}
        ],
    });
    assert_eq!(serde_json::to_value(&told[0].result).unwrap(), expected);
}

#[tokio::test]
async fn networks_from_before_check_are_not_checked() {
    let bench = Bench::new();
    bench.network_of("1.conflist", "blue", "0.3.1");
    bench.fake.answer("ADD blue", json!({"ips": [{"version": "4", "address": "10.1.0.2/24"}]}));
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let web = pod(&sandbox, "web");
    let made = plugin.set_up_pod_networks(&web).await.unwrap();
    assert_eq!(plugin.get_pod_network_status(&web).await.unwrap(), made);
    assert_eq!(bench.fake.briefs(), ["ADD blue eth0"]);
}

#[tokio::test]
async fn loopback_that_is_down_or_has_strange_addresses_is_told() {
    let bench = Bench::new();
    bench.network("1.conflist", "blue");
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let web = pod(&sandbox, "web");
    plugin.set_up_pod_networks(&web).await.unwrap();
    sandbox.ip("addr add 10.0.0.1/32 dev lo");
    let error = plugin.get_pod_network_status(&web).await.unwrap_err();
    assert!(error.to_string().contains("has the address 10.0.0.1/32"), "{error}");
    sandbox.ip("addr del 10.0.0.1/32 dev lo");
    sandbox.ip("link set lo down");
    let error = plugin.get_pod_network_status(&web).await.unwrap_err();
    assert!(matches!(&error, Error::Loopback { reason, .. } if reason == "down"), "{error}");
}

#[tokio::test]
async fn plugins_of_the_default_network_tell_whether_they_are_ready() {
    let bench = Bench::new();
    bench.network("1.conflist", "blue");
    bench.network("2.conflist", "red");
    let plugin = bench.start_still().await;
    plugin.status().await.unwrap();
    assert_eq!(bench.fake.briefs(), ["STATUS blue"]);
    for code in [Code::PLUGIN_NOT_AVAILABLE, Code::LIMITED_CONNECTIVITY] {
        bench.fake.refuse("STATUS blue", code);
        assert_eq!(plugin.status().await.unwrap_err().code(), Some(code));
    }
    // It does not wait for what is being done.
    let gate = bench.fake.gate("ADD blue");
    let sandbox = Sandbox::new();
    let web = pod(&sandbox, "web");
    let set_up = plugin.set_up_pod_networks(&web);
    tokio::pin!(set_up);
    tokio::select! {
        biased;
        _ = &mut set_up => panic!("it waits for the gate"),
        status = async {
            crate::bench::until("at work", async || {
                bench.fake.briefs().contains(&"ADD blue eth0".to_owned())
            }).await;
            plugin.status().await
        } => assert!(status.is_err()),
    }
    gate.add_permits(1);
    set_up.await.unwrap();
}

#[tokio::test]
async fn status_of_networks_before_1_1_0_asks_nobody() {
    let bench = Bench::new();
    bench.network_of("1.conflist", "blue", "1.0.0");
    let plugin = bench.start_still().await;
    plugin.status().await.unwrap();
    assert!(bench.fake.seen().is_empty());
}
