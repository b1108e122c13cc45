//! The pod layer over the reference plugins.

use std::fs;

use cni::ocicni::blocking::{CniPlugin, Ocicni};
use cni::ocicni::{NetAttachment, Options, PodNetwork, PortMapping, RuntimeConfig};
use serde_json::json;

use crate::bench::{Bench, ask, bin_dir, serve};
use crate::sandbox::Sandbox;

#[test]
fn pod_on_two_networks_is_set_up_told_and_torn_down() {
    let bench = Bench::new();
    let conf_dir = bench.dir.path().join("net.d");
    fs::create_dir(&conf_dir).unwrap();
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    let main = bench.list("main", &[bench.bridge(&["10.89.0.0/24", "fd00:89::/64"]), portmap]);
    let mut storage = bench.bridge(&["10.90.0.0/24"]);
    storage["bridge"] = json!("san0");
    storage["ipam"]["routes"] = json!([]);
    let storage = bench.list("storage", &[storage]);
    for (file, list) in [("1.conflist", &main), ("2.conflist", &storage)] {
        fs::write(conf_dir.join(file), &list.bytes).unwrap();
    }

    let sandbox = Sandbox::new();
    let mut pod = PodNetwork::new(sandbox.path(), "ns", "db", "id-db");
    pod.networks = vec![
        NetAttachment::to("main"),
        NetAttachment { name: "storage".to_owned(), if_name: "disk0".to_owned() },
    ];
    let mapping = PortMapping {
        host_port: 8089,
        container_port: 80,
        protocol: "tcp".to_owned(),
        host_ip: String::new(),
    };
    let asked = RuntimeConfig { port_mappings: vec![mapping], ..RuntimeConfig::default() };
    pod.runtime_config.insert("main".to_owned(), asked);

    let options = Options::new(&conf_dir, vec![bin_dir()]).cache_dir(bench.dir.path().join("pods"));
    let mine = pod.clone();
    let (plugin, status) = bench.host.run(move || {
        let plugin = Ocicni::new(options, None).expect("it starts");
        plugin.status().expect("ready");
        plugin.set_up_pod_networks(&mine).expect("both networks");
        let path = mine.netns.to_str().expect("ASCII").to_owned();
        let status = plugin.get_container_network_status(&path, "ns", "db", "id-db");
        let told = plugin.get_pod_network_status(&mine).expect("CHECK of both succeeds");
        assert_eq!(told.len(), 2);
        (plugin, status.expect("addresses"))
    });
    assert!(status.ip.is_ipv4() && status.additional_ips[0].is_ipv6(), "{status:?}");
    assert!(sandbox.ip("-o addr show dev disk0").contains("10.90.0.2/24"));
    serve(&sandbox, "0.0.0.0:80", "db");
    assert!(ask(&bench.host, ([127, 0, 0, 1], 8089)).starts_with("db to "));

    // The configuration goes, and the pod can still be torn down.
    fs::remove_dir_all(&conf_dir).unwrap();
    let path = sandbox.name().to_owned();
    bench.host.run(move || {
        plugin.tear_down_pod(&path, "ns", "db", "id-db").expect("by the cache");
        plugin.shutdown().expect("it ends");
    });
    let links = sandbox.ip("-br link");
    assert!(!links.contains("eth0") && !links.contains("disk0"), "{links}");
    assert_eq!(bench.handed_out("main"), Vec::<String>::new());
    assert_eq!(bench.handed_out("storage"), Vec::<String>::new());
    assert!(!bench.print("iptables-save").contains("8089"));
}
