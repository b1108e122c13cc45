//! The CNI plugin `weft-cni` with the reference plugins, as Debian packages them: those after it
//! in a chain, and the one it takes addresses from. They speak 1.0.0 at most.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use cni::libcni::{NetworkConfigList, RuntimeConf, conf_list_from_bytes};
use cni::types::v100;
use serde_json::{Value, json};
use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::run_in;
use weft_tests::testbed::{PATIENCE, Runtime, Sandbox, Testbed, pod};

const VERSION: &str = "1.0.0";

fn ips(result: &v100::Result) -> Vec<IpAddr> {
    result.ips.iter().map(|ip| ip.address.ip()).collect()
}

fn asking(pod: RuntimeConf, capability: &str, value: Value) -> RuntimeConf {
    RuntimeConf { capability_args: [(capability.to_owned(), value)].into(), ..pod }
}

/// What a program prints in a namespace.
fn print(namespace: &Namespace, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let run = || Command::new(words[0]).args(&words[1..]).output();
    let output = run_in(namespace, run).expect("the namespace").expect("the program is there");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Answers every connection to port 80 with a word.
fn serve(sandbox: &Sandbox) {
    let bind = || TcpListener::bind("[::]:80");
    let listener = run_in(sandbox.namespace(), bind).expect("the namespace").expect("a free port");
    // It ends with the process; nothing waits for it.
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let _gone = connection.write_all(b"here");
        }
    });
}

/// What a connection from a namespace is answered with.
fn ask(namespace: &Namespace, to: SocketAddr) -> std::io::Result<String> {
    run_in(namespace, || {
        let mut connection = TcpStream::connect_timeout(&to, PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        connection.read_to_string(&mut text)?;
        Ok(text)
    })
    .expect("the namespace")
}

/// That list without CHECK, which `portmap` 1.1.1 fails for what it has set up.
fn unchecked(list: &NetworkConfigList) -> NetworkConfigList {
    let mut value: Value = serde_json::from_slice(&list.bytes).expect("JSON");
    value["disableCheck"] = json!(true);
    conf_list_from_bytes(value.to_string().as_bytes()).expect("a list")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapped_port_leads_to_the_container_until_it_is_deleted() {
    let testbed = Testbed::cluster(2).await;
    let runtime = Runtime::on(&testbed, 0);
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": true});
    let own = json!({"subnet": ["10.73.0.0/24", "fd00:73::/64"]});
    let list = unchecked(&runtime.list("pods", VERSION, own, &[portmap]));
    let web = testbed.sandbox("web");
    let mapping = json!([{"hostPort": 8073, "containerPort": 80, "protocol": "tcp"}]);
    let web_pod = asking(pod("web", &web), "portMappings", mapping);
    let result = runtime.added(&list, &web_pod);
    serve(&web);
    let (host, other) = (&testbed.hosts[0], &testbed.hosts[1]);
    for address in host.addresses() {
        let to = SocketAddr::new(address, 8073);
        assert_eq!(ask(&other.namespace, to).expect("it leads there"), "here", "{to}");
    }
    let local = SocketAddr::from(([127, 0, 0, 1], 8073));
    assert_eq!(ask(&host.namespace, local).expect("the host itself"), "here");
    // The host reaches the container by its address as well, and so does another container.
    for ip in ips(&result) {
        assert_eq!(ask(&host.namespace, SocketAddr::new(ip, 80)).expect("an answer"), "here");
    }
    runtime.del(&list, &web_pod);
    for address in host.addresses() {
        let refused = ask(&other.namespace, SocketAddr::new(address, 8073)).expect_err("closed");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    assert!(!print(&host.namespace, "iptables-save").contains("8073"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tuning_firewall_and_sbr_find_what_they_need_and_check_holds() {
    let mut testbed = Testbed::cluster(2).await;
    let runtime = Runtime::on(&testbed, 0);
    let more = [
        json!({
            "type": "tuning", "mtu": 1200, "dataDir": testbed.path("tuning"),
            "sysctl": {"net.ipv4.conf.eth0.log_martians": "1"},
        }),
        json!({"type": "firewall"}),
    ];
    let list = runtime.list("pods", VERSION, json!({}), &more);
    let web = testbed.sandbox("web");
    let web_pod = pod("web", &web);
    let address = ips(&runtime.added(&list, &web_pod))[0];
    assert_eq!(web.link("eth0").await.mtu, 1200);
    let rules = print(&testbed.hosts[0].namespace, "iptables-save");
    assert!(rules.contains("CNI-FORWARD") && rules.contains(&format!("{address}/32")), "{rules}");
    runtime.check(&list, &web_pod).expect("every plugin finds its own");

    let routed = runtime.list("pods", VERSION, json!({}), &[json!({"type": "sbr"})]);
    let db = testbed.sandbox("db");
    let db_pod = pod("db", &db);
    let of_db = ips(&runtime.added(&routed, &db_pod))[0];
    let rules = print(db.namespace(), "ip rule list");
    assert!(rules.contains(&format!("from {of_db}")), "{rules}");
    // What comes in by this interface is answered by it; what begins there has to name it.
    let there = Runtime::on(&testbed, 1);
    let far = testbed.sandbox("far");
    let plain = there.list("pods", VERSION, json!({}), &[]);
    let of_far = ips(&there.added(&plain, &pod("far", &far)))[0];
    web.reaches(&[of_db, of_far]).await;
    far.reaches(&[address, of_db]).await;

    // What others set on an interface outlives the agent.
    testbed.hosts[0].kill();
    testbed.hosts[0].start(&[]);
    testbed.settled().await;
    assert_eq!(web.link("eth0").await.mtu, 1200);
    let routes = print(db.namespace(), "ip route");
    assert!(!routes.contains("default"), "what was moved to another table stays there: {routes}");
    runtime.check(&list, &web_pod).expect("every plugin finds its own");
    far.reaches(&[address, of_db]).await;
    runtime.del(&list, &web_pod);
    runtime.del(&routed, &db_pod);
    let rules = print(&testbed.hosts[0].namespace, "iptables-save");
    assert!(!rules.contains(&format!("{address}/32")), "{rules}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_bandwidth_refuses_and_nothing_is_limited_or_left() {
    let testbed = Testbed::cluster(1).await;
    let runtime = Runtime::on(&testbed, 0);
    let bandwidth = json!({"type": "bandwidth", "capabilities": {"bandwidth": true}});
    let list = runtime.list("pods", VERSION, json!({}), &[bandwidth]);
    let limits = json!({
        "ingressRate": 8_000_000, "ingressBurst": 8_000_000,
        "egressRate": 8_000_000, "egressBurst": 8_000_000,
    });
    // Whatever numbers the interfaces have.
    for number in 0..6 {
        let sandbox = testbed.sandbox(&format!("pod-{number}"));
        let limited = asking(pod(&format!("pod-{number}"), &sandbox), "bandwidth", limits.clone());
        let refused = runtime.add(&list, &limited).expect_err("refused");
        let text = refused.to_string();
        assert!(text.contains("bandwidth") && text.contains("host ns"), "{text}");
        let shaped = print(&testbed.hosts[0].namespace, "tc qdisc show");
        assert!(!shaped.contains("tbf"), "{shaped}");
        runtime.del(&list, &limited);
    }
    let left = testbed.hosts[0].client.attachments(None).await.expect("attachments");
    assert_eq!(left, []);
}

/// Bytes of a transfer that a limit is to slow down.
const TRANSFER: usize = 1 << 20;

/// How long a transfer from one container to another takes.
fn transfer(from: &Sandbox, to: &Sandbox, address: IpAddr) -> Duration {
    let bind = || TcpListener::bind("[::]:81");
    let listener = run_in(to.namespace(), bind).expect("the namespace").expect("a free port");
    let reader = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a connection");
        std::io::copy(&mut connection, &mut std::io::sink()).expect("bytes")
    });
    let begin = Instant::now();
    let send = || TcpStream::connect((address, 81))?.write_all(&vec![0; TRANSFER]);
    run_in(from.namespace(), send).expect("the namespace").expect("it is sent");
    assert_eq!(reader.join().expect("a reader"), TRANSFER as u64);
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_runtime_hold_both_ways_and_only_where_they_are_asked_for() {
    let testbed = Testbed::cluster(1).await;
    let runtime = Runtime::on(&testbed, 0);
    let own = json!({"capabilities": {"bandwidth": true}});
    let list = runtime.list("pods", VERSION, own, &[]);
    let limits = json!({
        "ingressRate": 8_000_000, "ingressBurst": 400_000,
        "egressRate": 8_000_000, "egressBurst": 400_000,
    });
    let [slow, quick, other] = ["slow", "quick", "other"].map(|name| testbed.sandbox(name));
    let of_slow = ips(&runtime.added(&list, &asking(pod("slow", &slow), "bandwidth", limits)))[0];
    let of_quick = ips(&runtime.added(&list, &pod("quick", &quick)))[0];
    runtime.added(&list, &pod("other", &other));
    quick.reaches(&[of_slow]).await;
    slow.reaches(&[of_quick]).await;
    other.reaches(&[of_quick]).await;
    let free = transfer(&other, &quick, of_quick);
    for limited in [transfer(&quick, &slow, of_slow), transfer(&slow, &quick, of_quick)] {
        // 8.4 Mbit at 8 Mbit/s, less what may pass at once.
        assert!(limited > Duration::from_millis(700), "{limited:?}");
        assert!(free * 2 < limited, "{free:?} and {limited:?}");
    }
    runtime.check(&list, &pod("slow", &slow)).expect("it is as it was made");
    runtime.del(&list, &pod("slow", &slow));
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_host_local_are_used_claimed_and_given_back() {
    let testbed = Testbed::cluster(2).await;
    let (here, there) = (Runtime::on(&testbed, 0), Runtime::on(&testbed, 1));
    let own = |name: &str| {
        json!({"ipam": {
            "type": "host-local", "dataDir": testbed.path(name),
            "ranges": [[{"subnet": "10.74.0.0/29"}], [{"subnet": "fd00:74::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        }})
    };
    // Each host's own books: both begin with the same address.
    let list = here.list("pods", VERSION, own("here"), &[]);
    let far_list = there.list("pods", VERSION, own("there"), &[]);
    let handed_out = |name: &str| {
        let entries = std::fs::read_dir(testbed.path(name).join("pods"));
        let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().parse::<IpAddr>().is_ok()).count()
    };
    let (web, db, far) = (testbed.sandbox("web"), testbed.sandbox("db"), testbed.sandbox("far"));
    let result = here.added(&list, &pod("web", &web));
    let texts: Vec<String> = result.ips.iter().map(|ip| ip.address.to_string()).collect();
    assert_eq!(texts, ["10.74.0.2/29", "fd00:74::2/64"]);
    assert_eq!(result.routes.len(), 2);
    here.check(&list, &pod("web", &web)).expect("it is as it was made");

    let refused = there.add(&far_list, &pod("far", &far)).expect_err("taken in the cluster");
    assert_eq!(refused.code().map(|code| code.0), Some(101), "{refused}");
    assert_eq!(handed_out("there"), 0, "what was refused went back");
    // host-local goes on to the next address, as runtimes try again.
    let of_far = there.added(&far_list, &pod("far", &far));
    assert_eq!(of_far.ips[0].address.to_string(), "10.74.0.3/29");
    web.reaches(&ips(&of_far)).await;

    let of_db = here.add(&list, &pod("db", &db));
    let of_db = of_db.or_else(|_| here.add(&list, &pod("db", &db))).expect("another address");
    far.reaches(&ips(&of_db.to_current().expect("a result"))).await;
    for (runtime, list, name, sandbox) in
        [(&here, &list, "web", &web), (&here, &list, "db", &db), (&there, &far_list, "far", &far)]
    {
        runtime.del(list, &pod(name, sandbox));
        runtime.del(list, &pod(name, sandbox));
    }
    assert_eq!((handed_out("here"), handed_out("there")), (0, 0));
    for host in &testbed.hosts {
        assert!(host.client.attachments(None).await.expect("attachments").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_another_plugin_has_attached_gets_a_second_interface() {
    let testbed = Testbed::cluster(1).await;
    let runtime = Runtime::on(&testbed, 0);
    let bridge = json!({
        "type": "bridge", "bridge": "cni0", "isDefaultGateway": true,
        "ipam": {
            "type": "host-local", "dataDir": testbed.path("addresses"),
            "ranges": [[{"subnet": "10.75.0.0/24"}]],
        },
    });
    let first = json!({"cniVersion": VERSION, "name": "first", "plugins": [bridge]});
    let first = conf_list_from_bytes(first.to_string().as_bytes()).expect("a list");
    let second = runtime.list("second", VERSION, json!({}), &[]);
    let web = testbed.sandbox("web");
    let (eth0, eth1) = (pod("web", &web), RuntimeConf::new("web", web.text(), "eth1"));
    runtime.added(&first, &eth0);
    let result = runtime.added(&second, &eth1);
    assert_eq!(result.interfaces[0].name, "eth1");
    runtime.check(&second, &eth1).expect("it is as it was made");
    let way_out = print(web.namespace(), "ip route show default");
    assert!(way_out.contains("dev eth0"), "the first keeps the default route: {way_out}");
    assert!(result.routes.is_empty(), "{result:?}");
    runtime.del(&second, &eth1);
    assert_eq!(print(web.namespace(), "ip route show default"), way_out);
    let links = web.links().await;
    assert!(links.iter().any(|link| link.name == "eth0"), "the other's stays");
    assert!(links.iter().all(|link| link.name != "eth1"));
    runtime.del(&first, &eth0);
}
