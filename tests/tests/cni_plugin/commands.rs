//! The CNI plugin `weft-cni`, driven by libcni and `weft pod`, with real agents.

use std::net::IpAddr;

use cni::libcni::RuntimeConf;
use cni::types::v100;
use serde_json::{Value, json};
use weft_agent::cni_plugin::VERSIONS;
use weft_overlay::netlink::namespace::run_in;
use weft_tests::testbed::{Ran, Runtime, Sandbox, Testbed, eventually, of, pod};

const NEWEST: &str = "1.1.0";

fn ips(result: &v100::Result) -> Vec<IpAddr> {
    result.ips.iter().map(|ip| ip.address.ip()).collect()
}

async fn attached(testbed: &Testbed, host: usize) -> usize {
    testbed.hosts[host].client.attachments(None).await.expect("attachments").len()
}

async fn has_eth0(sandbox: &Sandbox) -> bool {
    sandbox.links().await.iter().any(|link| link.name == "eth0")
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_on_three_hosts_reach_each_other_by_both_families() {
    let testbed = Testbed::cluster(3).await;
    let own = json!({"network": "blue", "subnet": ["10.70.0.0/24", "fd00:70::/64"]});
    let mut pods = Vec::new();
    for host in 0..3 {
        let runtime = Runtime::on(&testbed, host);
        let list = runtime.list("pods", NEWEST, own.clone(), &[]);
        let sandbox = testbed.sandbox(&format!("pod-{host}"));
        let pod = pod(&format!("pod-{host}"), &sandbox);
        let result = runtime.added(&list, &pod);
        let of_pod = result.interfaces.last().expect("the container's");
        assert_eq!((&of_pod.name[..], &of_pod.sandbox[..]), ("eth0", sandbox.text()));
        let link = sandbox.link("eth0").await;
        assert_eq!(link.mac.map(|mac| mac.to_string()), Some(of_pod.mac.clone()));
        assert_eq!(of_pod.mtu, i64::from(link.mtu));
        assert_eq!(result.interfaces.len(), 1, "{result:?}");
        let gateways: Vec<_> = result.ips.iter().filter_map(|ip| ip.gateway).collect();
        assert_eq!(gateways, ["10.70.0.1", "fd00:70::1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!(result.routes.len(), 2);
        pods.push((runtime, list, sandbox, pod, ips(&result)));
    }
    let all: Vec<IpAddr> = pods.iter().flat_map(|(.., ips)| ips.clone()).collect();
    assert_eq!(all.len(), 6);
    for (runtime, list, sandbox, pod, _) in &pods {
        sandbox.reaches(&all).await;
        runtime.check(list, pod).expect("it is as it was made");
        runtime.status(list).expect("more can be attached");
    }
    for (host, (runtime, list, sandbox, pod, _)) in pods.iter().enumerate() {
        runtime.del(list, pod);
        runtime.del(list, pod);
        assert!(!has_eth0(sandbox).await);
        assert_eq!(attached(&testbed, host).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_the_specification_attaches_checks_and_detaches() {
    let testbed = Testbed::cluster(1).await;
    let runtime = Runtime::on(&testbed, 0);
    let mut sandboxes = Vec::new();
    for version in VERSIONS {
        let list = runtime.list("pods", version, json!({"ipv6": true}), &[]);
        let sandbox = testbed.sandbox(version);
        let pod = pod(&format!("v{version}"), &sandbox);
        let result = runtime.add(&list, &pod).expect("attached");
        assert_eq!(result.version(), version);
        let result = result.to_current().expect("a result");
        assert_eq!(result.ips.len(), 2, "{result:?}");
        match version {
            "0.3.0" | "0.3.1" => assert!(runtime.check(&list, &pod).is_err(), "no CHECK yet"),
            _ => runtime.check(&list, &pod).expect("it is as it was made"),
        }
        sandboxes.push((list, sandbox, pod, ips(&result)));
    }
    let first = &sandboxes[0].1;
    first.reaches(&sandboxes.last().expect("pods").3).await;
    for (list, sandbox, pod, _) in &sandboxes {
        runtime.del(list, pod);
        assert!(!has_eth0(sandbox).await);
    }
    assert_eq!(attached(&testbed, 0).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_one_container_is_given_or_refused() {
    let testbed = Testbed::cluster(2).await;
    let runtimes = [Runtime::on(&testbed, 0), Runtime::on(&testbed, 1)];
    let own = json!({
        "subnet": "10.71.0.0/24", "mtu": 1300, "dns": {"nameservers": ["10.71.0.53"]},
        "capabilities": {"ips": true, "mac": true, "ipRanges": true},
    });
    let lists = runtimes.each_ref().map(|one| one.list("pods", NEWEST, own.clone(), &[]));
    let (web, db, third) = (testbed.sandbox("web"), testbed.sandbox("db"), testbed.sandbox("x"));
    let asking = |pod: RuntimeConf, capabilities: Value| {
        let capabilities = capabilities.as_object().cloned().expect("members");
        RuntimeConf { capability_args: capabilities.into_iter().collect(), ..pod }
    };
    let wanted = json!({"ips": ["10.71.0.77/24"], "mac": "02:00:00:00:00:77"});
    let result = runtimes[0].added(&lists[0], &asking(pod("web", &web), wanted.clone()));
    assert_eq!(result.ips[0].address.to_string(), "10.71.0.77/24");
    assert_eq!(result.dns.nameservers, ["10.71.0.53"]);
    let link = web.link("eth0").await;
    assert_eq!(link.mac.map(|mac| mac.to_string()).as_deref(), Some("02:00:00:00:00:77"));
    assert_eq!(link.mtu, 1300);

    // The address is taken in the whole cluster, and the refusal leaves nothing.
    let refused = runtimes[1].add(&lists[1], &asking(pod("db", &db), wanted)).expect_err("taken");
    assert_eq!(refused.code().map(|code| code.0), Some(101), "{refused}");
    assert!(!has_eth0(&db).await);
    assert_eq!(attached(&testbed, 1).await, 0);

    let ranges = json!({"ipRanges": [[{"subnet": "10.71.0.128/25"}]]});
    let result = runtimes[1].added(&lists[1], &asking(pod("db", &db), ranges));
    let upper: ipnetwork::IpNetwork = "10.71.0.128/25".parse().expect("a range");
    assert!(upper.contains(ips(&result)[0]), "{result:?}");
    web.reaches(&ips(&result)).await;

    let mut by_arguments = pod("x", &third);
    by_arguments.args = [("IgnoreUnknown", "1"), ("K8S_POD_NAME", "x"), ("IP", "10.71.0.99")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    assert_eq!(ips(&runtimes[0].added(&lists[0], &by_arguments))[0].to_string(), "10.71.0.99");
    // A second ADD without a DEL between is an error, and the first stays.
    let again = runtimes[0].add(&lists[0], &by_arguments).expect_err("attached already");
    assert_eq!(again.code().map(|code| code.0), Some(101), "{again}");
    third.reaches(&ips(&result)).await;
    // A configuration that contradicts the network is refused.
    let other = runtimes[0].list("pods", NEWEST, json!({"subnet": "10.72.0.0/24"}), &[]);
    let refused = runtimes[0].add(&other, &pod("other", &testbed.sandbox("other")));
    assert_eq!(refused.expect_err("contradicts").code().map(|code| code.0), Some(101));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_without_a_gateway_has_no_way_out() {
    let testbed = Testbed::cluster(1).await;
    let runtime = Runtime::on(&testbed, 0);
    let shut = runtime.list("shut", NEWEST, json!({"isGateway": false}), &[]);
    let sandbox = testbed.sandbox("pod");
    let pod = pod("pod", &sandbox);
    let result = runtime.added(&shut, &pod);
    assert!(result.routes.is_empty() && result.ips[0].gateway.is_none(), "{result:?}");
    runtime.check(&shut, &pod).expect("it is as it was made");
    runtime.del(&shut, &pod);
    let refused = runtime.list("shut", NEWEST, json!({"ipMasq": false}), &[]);
    let refused = runtime.add(&refused, &pod).expect_err("not supported");
    assert_eq!(refused.code().map(|code| code.0), Some(2), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_what_somebody_changed() {
    let testbed = Testbed::cluster(1).await;
    let runtime = Runtime::on(&testbed, 0);
    let list = runtime.list("pods", NEWEST, json!({}), &[]);
    let sandbox = testbed.sandbox("pod");
    let pod = pod("pod", &sandbox);
    runtime.added(&list, &pod);
    runtime.check(&list, &pod).expect("it is as it was made");
    let remove = || std::process::Command::new("ip").args(["link", "del", "eth0"]).status();
    let removed = run_in(sandbox.namespace(), remove).expect("the namespace").expect("ip starts");
    assert!(removed.success());
    let error = runtime.check(&list, &pod).expect_err("it is gone");
    assert_eq!(error.code().map(|code| code.0), Some(100), "{error}");
    // DEL and ADD mend it.
    runtime.del(&list, &pod);
    runtime.added(&list, &pod);
    runtime.check(&list, &pod).expect("it is as it was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_ends_what_is_not_in_use_on_this_node_of_this_network_and_configuration() {
    let testbed = Testbed::cluster(2).await;
    let (here, there) = (Runtime::on(&testbed, 0), Runtime::on(&testbed, 1));
    let blue =
        |runtime: &Runtime, name: &str| runtime.list(name, NEWEST, json!({"network": "blue"}), &[]);
    let (list, other_list) = (blue(&here, "pods"), blue(&here, "jobs"));
    let green = here.list("green", NEWEST, json!({}), &[]);
    let sandboxes = ["a", "b", "c", "d", "e", "f"].map(|name| testbed.sandbox(name));
    let pods: Vec<_> =
        sandboxes.iter().zip(["a", "b", "c", "d", "e"]).map(|(s, name)| pod(name, s)).collect();
    here.added(&list, &pods[0]);
    here.added(&list, &pods[1]);
    here.added(&other_list, &pods[2]);
    here.added(&green, &pods[3]);
    there.added(&blue(&there, "pods"), &pods[4]);
    testbed.hosts[0].attach("blue", "by-hand", &sandboxes[5]).await;
    // The runtime lost its cache: only the plugin knows what there is.
    std::fs::remove_dir_all(&here.cache).expect("a cache");

    here.gc(&list, &[&pods[1]]).expect("collected");
    let client = &testbed.hosts[0].client;
    assert!(client.attachment(&of("blue", &pods[0])).await.is_err());
    assert!(!has_eth0(&sandboxes[0]).await);
    for (network, pod) in [("blue", &pods[1]), ("blue", &pods[2]), ("green", &pods[3])] {
        let stays = client.attachment(&of(network, pod)).await.expect("it is in use");
        assert_eq!(stays.faults, Vec::<String>::new());
    }
    assert_eq!(attached(&testbed, 1).await, 1);
    assert!(has_eth0(&sandboxes[5]).await, "what was attached by hand stays");
    // Nobody says what is in use: nothing happens.
    here.call(|cni| cni::libcni::blocking::Cni::gc_network_list(cni, &list, None))
        .expect("nothing");
    assert_eq!(attached(&testbed, 0).await, 3);
    here.gc(&list, &[]).expect("collected");
    assert_eq!(attached(&testbed, 0).await, 2);
}

/// `weft pod` on a host, with what `weft cni install` put there.
struct Installed<'a> {
    testbed: &'a Testbed,
    bin: String,
    conf: String,
    cache: String,
}

impl Installed<'_> {
    fn pod(&self, line: &str) -> Ran {
        let cache = ["--cache-dir", &self.cache];
        let plugins = ["--bin-dir", &self.bin];
        let cache = if line.starts_with("status") { &[][..] } else { &cache[..] };
        let plugins = if line.starts_with("ls") { &[][..] } else { &plugins[..] };
        let words: Vec<&str> = ["pod"].into_iter().chain(line.split(' ')).collect();
        let words = [&words[..], &["--conf-dir", &self.conf], cache, plugins].concat();
        let host = &self.testbed.hosts[0];
        run_in(&host.namespace, || host.weft(&words)).expect("the host's namespace")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weft_pod_runs_what_weft_cni_install_installed() {
    let testbed = Testbed::cluster(1).await;
    let host = &testbed.hosts[0];
    let text = |name: &str| testbed.path(name).to_str().expect("a path of ours").to_owned();
    let installed = Installed {
        testbed: &testbed,
        bin: text("opt/cni/bin"),
        conf: text("etc/cni/net.d"),
        cache: text("cache"),
    };
    let install = ["cni", "install", "--bin-dir", &installed.bin, "--conf-dir", &installed.conf];
    let done: Value = host.weft(&[&install[..], &["--network", "pods", "--json"]].concat()).json();
    assert_eq!(done.as_array().map(Vec::len), Some(2), "{done}");
    assert!(done.as_array().expect("files").iter().all(|file| file["done"] == "written"), "{done}");
    // The agent of a test is not where those of hosts are.
    let file = testbed.path("etc/cni/net.d/10-weft.conflist");
    let mut list: Value =
        serde_json::from_str(&std::fs::read_to_string(&file).expect("a file")).expect("JSON");
    list["plugins"][0]["socket"] = json!(host.client.socket());
    std::fs::write(&file, list.to_string()).expect("a file");

    let (web, db) = (testbed.sandbox("web"), testbed.sandbox("db"));
    installed.pod("status pods").done();
    let result: Value = installed.pod(&format!("add pods --netns {} --json", web.text())).json();
    assert_eq!(result["cniVersion"], NEWEST);
    installed.pod(&format!("add pods --netns {}", db.text())).done();
    let address = result["ips"][0]["address"].as_str().expect("an address");
    let address: ipnetwork::IpNetwork = address.parse().expect("an address");
    db.reaches(&[address.ip()]).await;
    installed.pod(&format!("check pods --netns {}", web.text())).done();
    assert_eq!(attached(&testbed, 0).await, 2);
    web.vanish();
    installed.pod("gc pods").done();
    eventually("what the namespace left is collected", async || {
        (attached(&testbed, 0).await == 1).then_some(())
    })
    .await;
    installed.pod(&format!("check pods --netns {}", db.text())).done();
    installed.pod(&format!("del pods --netns {}", db.text())).done();
    assert_eq!(attached(&testbed, 0).await, 0);
    assert!(installed.pod("ls --json").json::<Vec<Value>>().is_empty());
}
