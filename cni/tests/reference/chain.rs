//! The plugins one by one, and what they hand each other.

use cni::libcni::RuntimeConf;
use cni::libcni::blocking::{Cni, CniConfig};
use serde_json::{Value, json};

use crate::bench::{Bench, addresses, pod};
use crate::sandbox::Sandbox;

fn plain(result: impl serde::Serialize) -> Value {
    serde_json::to_value(result).expect("plain data")
}

#[test]
fn loopback_is_brought_up() {
    let bench = Bench::new();
    let list = bench.list("lo", &[json!({"type": "loopback"})]);
    let sandbox = Sandbox::new();
    let mut rt = pod(&sandbox, "web");
    rt.if_name = "lo".to_owned();
    let result = plain(bench.add(&list, &rt));
    assert_eq!(result["interfaces"][0]["name"], "lo");
    assert_eq!(result["ips"][0]["address"], "127.0.0.1/8");
    assert!(sandbox.ip("-br link show lo").contains("LOOPBACK,UP"));
    bench.check(&list, &rt);
    bench.del(&list, &rt);
    assert!(!sandbox.ip("-br link show lo").contains("LOOPBACK,UP"));
}

#[test]
fn addresses_are_handed_out_in_order_and_come_back() {
    let bench = Bench::new();
    let list = bench.list("order", &[bench.bridge(&["10.84.0.0/29"])]);
    let sandboxes: Vec<Sandbox> = (0..5).map(|_| Sandbox::new()).collect();
    let pods: Vec<_> =
        sandboxes.iter().zip(0..).map(|(sandbox, n)| pod(sandbox, &format!("p{n}"))).collect();
    let mut given: Vec<String> =
        pods.iter().map(|pod| addresses(&bench.add(&list, pod))[0].to_string()).collect();
    given.sort();
    assert_eq!(given, ["10.84.0.2", "10.84.0.3", "10.84.0.4", "10.84.0.5", "10.84.0.6"]);
    assert_eq!(bench.handed_out("order"), given);
    // There is no address left, and the failure leaves nothing.
    let last = Sandbox::new();
    let error = bench.call(&list, &pod(&last, "p5"), CniConfig::add_or_rollback).unwrap_err();
    assert!(error.to_string().contains("no IP addresses available"), "{error}");
    assert!(!last.ip("-br link").contains("eth0"));
    for pod in &pods {
        bench.del(&list, pod);
    }
    assert_eq!(bench.handed_out("order"), Vec::<String>::new());
}

/// Plugins that each change what the one before made.
fn long_chain(bench: &Bench) -> Vec<Value> {
    vec![
        bench.bridge(&["10.85.0.0/24"]),
        json!({
            "type": "tuning", "capabilities": {"mac": true}, "mtu": 1400,
            "dataDir": bench.dir.path().join("tuning"),
            "sysctl": {"net.ipv4.conf.all.log_martians": "1"},
        }),
        json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}),
        json!({"type": "firewall"}),
    ]
}

fn with_all_asked(sandbox: &Sandbox) -> RuntimeConf {
    let mut rt = pod(sandbox, "web");
    rt.capability_args.insert("mac".to_owned(), json!("c2:11:22:33:44:55"));
    let bandwidth = json!({
        "ingressRate": 8_000_000, "ingressBurst": 80_000_000,
        "egressRate": 4_000_000, "egressBurst": 40_000_000,
    });
    rt.capability_args.insert("bandwidth".to_owned(), bandwidth);
    rt
}

#[test]
fn every_plugin_of_a_long_chain_finds_its_own_on_check() {
    let bench = Bench::new();
    let list = bench.list("long", &long_chain(&bench));
    let sandbox = Sandbox::new();
    let rt = with_all_asked(&sandbox);
    bench.add(&list, &rt);
    bench.check(&list, &rt);
    // The last of them misses what is its own.
    bench.print("iptables -F CNI-FORWARD");
    let error = bench.call(&list, &rt, CniConfig::check_network_list).unwrap_err();
    assert!(error.plugin_error().is_some(), "{error}");
    bench.del(&list, &rt);
}

#[test]
fn every_plugin_of_a_long_chain_gets_the_result_before_it_and_undoes_its_own() {
    let bench = Bench::new();
    let mut plugins = long_chain(&bench);
    plugins.push(json!({"type": "portmap", "capabilities": {"portMappings": true}}));
    let list = bench.list("long", &plugins);
    let sandbox = Sandbox::new();
    let mut rt = with_all_asked(&sandbox);
    let mapping = json!([{"hostPort": 8085, "containerPort": 80, "protocol": "tcp"}]);
    rt.capability_args.insert("portMappings".to_owned(), mapping);
    let result = bench.add(&list, &rt);
    let ip = addresses(&result)[0];
    let told = plain(&result);
    let interfaces = told["interfaces"].as_array().unwrap();
    let of_pod = interfaces.iter().find(|interface| interface["name"] == "eth0").unwrap();
    assert_eq!(of_pod["mac"], "c2:11:22:33:44:55");
    assert_eq!(of_pod["sandbox"], sandbox.name());

    // What each plugin did is seen in the kernel.
    let link = sandbox.ip("-o link show eth0");
    assert!(link.contains("c2:11:22:33:44:55") && link.contains("mtu 1400"), "{link}");
    let sysctl =
        sandbox.run(|| std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/log_martians"));
    assert_eq!(sysctl.unwrap().trim(), "1");
    assert!(bench.print("tc qdisc show").contains("tbf"));
    let rules = bench.print("iptables-save");
    assert!(rules.contains("CNI-FORWARD") && rules.contains(&format!("{ip}/32")), "{rules}");
    assert!(rules.contains("--dport 8085"), "{rules}");

    bench.del(&list, &rt);
    assert!(!bench.print("tc qdisc show").contains("tbf"));
    let rules = bench.print("iptables-save");
    assert!(!rules.contains(&ip.to_string()) && !rules.contains("8085"), "{rules}");
    assert_eq!(bench.handed_out("long"), Vec::<String>::new());
}

#[test]
fn pod_whose_namespace_is_gone_is_deleted_as_often_as_wanted() {
    let bench = Bench::new();
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    let list = bench.list("gone", &[bench.bridge(&["10.86.0.0/24"]), portmap]);
    let sandbox = Sandbox::new();
    let mut rt = pod(&sandbox, "web");
    rt.capability_args.insert(
        "portMappings".to_owned(),
        json!([{"hostPort": 8086, "containerPort": 80, "protocol": "tcp"}]),
    );
    bench.add(&list, &rt);
    drop(sandbox);
    rt.netns.clear();
    for _ in 0..2 {
        bench.del(&list, &rt);
        assert!(!bench.print("iptables-save").contains("8086"));
        assert_eq!(bench.handed_out("gone"), Vec::<String>::new());
    }
}

#[test]
fn plugins_tell_their_versions_and_capabilities() {
    let bench = Bench::new();
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    let list = bench.list("valid", &[bench.bridge(&["10.87.0.0/24"]), portmap]);
    let validate = |cni: &CniConfig, list: &_, _: &_| cni.validate_network_list(list);
    let capabilities = bench.call(&list, &Default::default(), validate).unwrap();
    assert_eq!(capabilities, ["portMappings"]);
    let newest = |cni: &CniConfig, _: &_, _: &_| cni.get_version_info("bridge");
    let info = bench.call(&list, &Default::default(), newest).unwrap();
    assert!(info.lists("0.3.1") && info.lists("1.0.0"), "{info:?}");
    let mut future = list.clone();
    future.cni_version = "9.0.0".to_owned();
    let error = bench.call(&future, &Default::default(), validate).unwrap_err().to_string();
    assert!(error.contains("plugin bridge does not support config version \"9.0.0\""), "{error}");
}

#[test]
fn check_finds_what_was_taken_away_behind_the_plugins() {
    let bench = Bench::new();
    let list = bench.list("checked", &[bench.bridge(&["10.88.0.0/24"])]);
    let sandbox = Sandbox::new();
    let rt = pod(&sandbox, "web");
    let ip = addresses(&bench.add(&list, &rt))[0];
    bench.check(&list, &rt);
    sandbox.ip(&format!("addr del {ip}/24 dev eth0"));
    let error = bench.call(&list, &rt, CniConfig::check_network_list).unwrap_err();
    assert!(error.plugin_error().is_some(), "{error}");
    bench.del(&list, &rt);
}
