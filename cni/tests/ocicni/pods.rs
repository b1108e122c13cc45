//! Setting pods up and tearing them down.

use cni::Error;
use cni::ocicni::{CniPlugin, NetAttachment, RuntimeConfig};
use cni::types::Code;
use serde_json::json;

use crate::bench::{Bench, interface, pod};
use crate::sandbox::Sandbox;

fn attachment(name: &str, if_name: &str) -> NetAttachment {
    NetAttachment { name: name.to_owned(), if_name: if_name.to_owned() }
}

#[tokio::test]
async fn pod_goes_on_the_default_network_and_off_it() {
    let bench = Bench::new();
    bench.network("1.conflist", "blue");
    bench.network("2.conflist", "red");
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    plugin.set_up_pod(sandbox.name(), "ns", "web", "id-web").await.unwrap();
    assert!(bench.cache_file("blue", "id-web", "eth0").is_file());
    plugin.tear_down_pod(sandbox.name(), "ns", "web", "id-web").await.unwrap();
    assert!(!bench.cache_file("blue", "id-web", "eth0").exists());

    let seen = bench.fake.seen();
    assert_eq!(bench.fake.briefs(), ["ADD blue eth0", "DEL blue eth0"]);
    for seen in &seen {
        assert_eq!((seen.container_id.as_str(), seen.netns.as_str()), ("id-web", sandbox.name()));
        assert_eq!(
            seen.args,
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web;\
             K8S_POD_INFRA_CONTAINER_ID=id-web;K8S_POD_UID="
        );
    }
    assert_eq!(seen[1].stdin["prevResult"]["ips"], json!([{"address": "10.1.2.3/24"}]));
}

#[tokio::test]
async fn loopback_is_brought_up_without_a_plugin() {
    let bench = Bench::new();
    bench.network("1.conflist", "blue");
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    assert!(!sandbox.ip("-br link show lo").contains("LOOPBACK,UP"));
    plugin.set_up_pod(sandbox.name(), "ns", "web", "id").await.unwrap();
    let shown = sandbox.ip("-br addr show lo");
    assert!(shown.contains("127.0.0.1/8"), "{shown}");
    assert!(sandbox.ip("-br link show lo").contains("LOOPBACK,UP"));
    assert_eq!(bench.fake.briefs(), ["ADD blue eth0"]);
}

#[tokio::test]
async fn pod_goes_on_several_networks_by_chosen_and_by_free_names() {
    let bench = Bench::new();
    for name in ["blue", "red", "green"] {
        bench.network(&format!("{name}.conflist"), name);
        let address = format!("10.{}.0.2/24", name.len());
        bench.fake.answer(&format!("ADD {name}"), json!({"ips": [{"address": address}]}));
    }
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let mut pod = pod(&sandbox, "web");
    pod.networks = vec![attachment("red", ""), attachment("blue", "san0"), attachment("green", "")];
    let asked = RuntimeConfig { ip: "10.4.0.9".parse().ok(), ..RuntimeConfig::default() };
    pod.runtime_config.insert("blue".to_owned(), asked);
    let made = plugin.set_up_pod_networks(&pod).await.unwrap();

    let named =
        [attachment("red", "eth0"), attachment("blue", "san0"), attachment("green", "eth1")];
    let attachments: Vec<_> = made.iter().map(|made| made.attachment.clone()).collect();
    assert_eq!(attachments, named);
    let address = |index: usize| made[index].result.to_current().unwrap().ips[0].address;
    assert_eq!(address(1), "10.4.0.2/24".parse().unwrap());
    assert_eq!(address(2), "10.5.0.2/24".parse().unwrap());
    assert!(bench.fake.seen()[1].args.ends_with(";IP=10.4.0.9"));
    assert!(!bench.fake.seen()[0].args.contains(";IP="));

    bench.fake.forget();
    plugin.tear_down_pod_networks(&pod).await.unwrap();
    assert_eq!(bench.fake.briefs(), ["DEL green eth1", "DEL blue san0", "DEL red eth0"]);
}

#[tokio::test]
async fn pod_may_be_twice_on_one_network() {
    let bench = Bench::new();
    bench.network("1.conflist", "blue");
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let mut pod = pod(&sandbox, "web");
    pod.networks = vec![attachment("blue", ""), attachment("blue", "")];
    plugin.set_up_pod_networks(&pod).await.unwrap();
    pod.networks.clear();
    plugin.tear_down_pod_networks(&pod).await.unwrap();
    assert_eq!(
        bench.fake.briefs(),
        ["ADD blue eth0", "ADD blue eth1", "DEL blue eth1", "DEL blue eth0"]
    );
}

#[tokio::test]
async fn results_come_in_the_version_of_each_configuration() {
    let bench = Bench::new();
    bench.network_of("1.conflist", "old", "0.3.1");
    bench.network_of("2.conflist", "new", "1.1.0");
    bench.fake.answer("ADD old", json!({"ips": [{"version": "4", "address": "10.1.0.2/24"}]}));
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let mut pod = pod(&sandbox, "web");
    pod.networks = vec![attachment("old", ""), attachment("new", "")];
    let made = plugin.set_up_pod_networks(&pod).await.unwrap();
    assert_eq!([made[0].result.version(), made[1].result.version()], ["0.3.1", "1.1.0"]);
    plugin.tear_down_pod_networks(&pod).await.unwrap();
    let dels: Vec<_> = bench.fake.seen().into_iter().filter(|s| s.command == "DEL").collect();
    // Before 0.4.0 plugins get no result of ADD.
    assert!(dels[0].stdin.get("prevResult").is_some());
    assert!(dels[1].stdin.get("prevResult").is_none());
}

#[tokio::test]
async fn network_written_this_moment_is_looked_for_on_disk() {
    let bench = Bench::new();
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    bench.network("1.conflist", "blue");
    let mut pod = pod(&sandbox, "web");
    plugin.set_up_pod_networks(&pod).await.unwrap();
    bench.network("2.conflist", "red");
    pod.networks = vec![NetAttachment::to("red")];
    plugin.set_up_pod_networks(&pod).await.unwrap();
    assert_eq!(bench.fake.briefs(), ["ADD blue eth0", "ADD red eth0"]);
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_any_plugin_runs() {
    let bench = Bench::new();
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let mut asked = pod(&sandbox, "web");
    let error = plugin.set_up_pod_networks(&asked).await.unwrap_err();
    assert!(matches!(error, Error::NoDefaultNetwork { .. }), "{error}");

    bench.network("1.conflist", "blue");
    asked.networks = vec![NetAttachment::to("blue"), NetAttachment::to("grey")];
    let error = plugin.set_up_pod_networks(&asked).await.unwrap_err();
    assert!(matches!(error, Error::UnknownNetwork(name) if name == "grey"));

    asked.networks = vec![attachment("blue", "eth0"), attachment("blue", "eth0")];
    let error = plugin.set_up_pod_networks(&asked).await.unwrap_err();
    assert!(matches!(error, Error::DuplicateInterface(name) if name == "eth0"));

    for netns in ["", "/not/there", "/dev/null", "/etc"] {
        let error = plugin.set_up_pod(netns, "ns", "web", "id").await.unwrap_err();
        assert!(matches!(error, Error::Namespace { .. }), "{netns}: {error}");
    }
    for id in ["", "../../etc/passwd", "a b"] {
        let error = plugin.set_up_pod(sandbox.name(), "ns", "web", id).await.unwrap_err();
        let codes = [Some(Code::UNKNOWN_CONTAINER), Some(Code::INVALID_ENVIRONMENT)];
        assert!(codes.contains(&error.code()), "{id}: {error}");
    }
    assert!(bench.fake.seen().is_empty());
    assert!(!bench.path("cache").exists());
}

#[tokio::test]
async fn interface_that_is_there_already_is_nobodys_to_undo() {
    let bench = Bench::new();
    bench.network("1.conflist", "blue");
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    interface(&sandbox, "eth0", &[]);
    let pod = pod(&sandbox, "web");
    let error = plugin.set_up_pod_networks(&pod).await.unwrap_err();
    assert!(matches!(error, Error::InterfaceExists { .. }), "{error}");
    assert!(bench.fake.seen().is_empty());
}
