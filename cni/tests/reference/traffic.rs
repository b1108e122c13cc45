//! Packets through what the plugins made.

use std::net::SocketAddr;

use serde_json::json;

use crate::bench::{Bench, CLIENT, HOST, addresses, ask, is_refused, pod, serve};
use crate::sandbox::Sandbox;

fn at(address: impl ToString, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_string().parse().expect("an address"), port)
}

#[test]
fn pods_on_a_bridge_reach_each_other_and_the_host() {
    let bench = Bench::new();
    let list = bench.list("pods", &[bench.bridge(&["10.81.0.0/24"])]);
    let (first, second) = (Sandbox::new(), Sandbox::new());
    let one = addresses(&bench.add(&list, &pod(&first, "one")))[0];
    let two = addresses(&bench.add(&list, &pod(&second, "two")))[0];
    serve(&first, "0.0.0.0:80", "one");
    assert_eq!(ask(&second, at(one, 80)), format!("one to {two}"));
    assert_eq!(ask(&bench.host, at(one, 80)), "one to 10.81.0.1");
    bench.check(&list, &pod(&first, "one"));
    bench.del(&list, &pod(&first, "one"));
    bench.del(&list, &pod(&second, "two"));
    assert_eq!(bench.handed_out("pods"), Vec::<String>::new());
    assert!(!first.ip("-br link").contains("eth0"));
}

#[test]
fn port_of_the_host_leads_to_the_pod_until_it_is_deleted() {
    let bench = Bench::new();
    let client = bench.client();
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": true});
    let list = bench.list("mapped", &[bench.bridge(&["10.82.0.0/24"]), portmap]);
    let sandbox = Sandbox::new();
    let mut rt = pod(&sandbox, "web");
    rt.capability_args.insert(
        "portMappings".to_owned(),
        json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]),
    );
    bench.add(&list, &rt);
    serve(&sandbox, "0.0.0.0:80", "web");
    // From another machine, by way of the host's address; and from the host itself.
    assert_eq!(ask(&client, at(HOST, 8080)), format!("web to {CLIENT}"));
    assert!(ask(&bench.host, at(HOST, 8080)).starts_with("web to "));
    assert!(ask(&bench.host, at("127.0.0.1", 8080)).starts_with("web to "));

    bench.del(&list, &rt);
    assert!(is_refused(&client, at(HOST, 8080)));
    let rules = bench.print("iptables-save");
    assert!(!rules.contains("8080") && !rules.contains("10.82.0."), "{rules}");
}

#[test]
fn both_families_are_mapped_and_masqueraded() {
    let bench = Bench::new();
    let mut bridge = bench.bridge(&["10.83.0.0/24", "fd00:83::/64"]);
    bridge["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    let list = bench.list("dual", &[bridge, portmap]);
    let sandbox = Sandbox::new();
    let mut rt = pod(&sandbox, "web");
    rt.capability_args.insert(
        "portMappings".to_owned(),
        json!([{"hostPort": 8083, "containerPort": 80, "protocol": "tcp"}]),
    );
    let result = bench.add(&list, &rt);
    let ips = addresses(&result);
    assert_eq!(ips.iter().filter(|ip| ip.is_ipv6()).count(), 1);
    serve(&sandbox, "[::]:80", "web");
    bench.settle();
    for ip in ips {
        assert!(ask(&bench.host, at(ip, 80)).starts_with("web to "), "{ip}");
    }
    assert!(bench.print("ip6tables-save").contains("8083"));
    bench.del(&list, &rt);
    assert!(!bench.print("ip6tables-save").contains("8083"));
    assert_eq!(bench.handed_out("dual"), Vec::<String>::new());
}
