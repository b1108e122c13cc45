//! `weft pod` with the reference plugins of CNI, as Debian packages them.
//!
//! The host is a network namespace of the test's own, which the plugins take for the machine's:
//! their bridges and rules are made there and go with it.

use std::fs::Permissions;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use weft_overlay::netlink::namespace::run_in;
use weft_overlay::netlink::{Connection, link};
use weft_tests::testbed::{PATIENCE, Ran, Sandbox, Testbed, Underlay, eventually, weft_binary};

/// Variables that `weft pod` reads.
const VARIABLES: [&str; 5] = ["NETCONFPATH", "CNI_PATH", "CNI_IFNAME", "CNI_ARGS", "CAP_ARGS"];

struct Ground {
    testbed: Testbed,
    host: Sandbox,
}

impl Ground {
    async fn new() -> Self {
        let testbed = Testbed::new(Underlay::V4).await;
        let host = testbed.sandbox("host");
        let mut inside = Connection::open(host.namespace()).await.expect("netlink");
        link::set_up(&mut inside, "lo").await.expect("lo is up");
        std::fs::create_dir(testbed.path("net.d")).expect("a directory");
        Self { testbed, host }
    }

    fn path(&self, name: &str) -> String {
        self.testbed.path(name).to_str().expect("a path of ours").to_owned()
    }

    /// Configures a network: a bridge with addresses of a subnet, and more plugins after it.
    fn configure(&self, name: &str, subnet: &str, more: &[Value]) {
        let bridge = json!({
            "type": "bridge", "bridge": format!("{name}0"), "isGateway": true,
            "ipam": {
                "type": "host-local", "ranges": [[{"subnet": subnet}]],
                "routes": [{"dst": "0.0.0.0/0"}], "dataDir": self.path("addresses"),
            },
        });
        let plugins: Vec<&Value> = [&bridge].into_iter().chain(more).collect();
        let list = json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins});
        let file = self.testbed.path("net.d").join(format!("{name}.conflist"));
        std::fs::write(file, list.to_string()).expect("a configuration");
    }

    /// Starts `weft pod` on the host.
    fn start(&self, line: &str) -> Child {
        let mut command = Command::new(weft_binary());
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.arg("pod").args(line.split(' '));
        command.arg("--conf-dir").arg(self.path("net.d"));
        command.arg("--cache-dir").arg(self.path("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = run_in(self.host.namespace(), || command.spawn()).expect("a namespace");
        started.expect("weft runs")
    }

    /// Runs `weft pod` on the host.
    fn pod(&self, line: &str) -> Ran {
        Self::end(self.start(line))
    }

    fn end(child: Child) -> Ran {
        let output = child.wait_with_output().expect("our own child");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Attaches a namespace and returns its address.
    fn add(&self, network: &str, pod: &Sandbox) -> IpAddr {
        let result: Value =
            self.pod(&format!("add {network} --netns {} --json", pod.text())).json();
        address(&result["ips"][0]["address"])
    }

    /// The attachments that are listed.
    fn listed(&self) -> Vec<Value> {
        self.pod("ls --json").json()
    }

    /// The addresses that are handed out on a network.
    fn handed_out(&self, network: &str) -> usize {
        let entries = std::fs::read_dir(Path::new(&self.path("addresses")).join(network));
        let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().parse::<IpAddr>().is_ok()).count()
    }
}

fn address(text: &Value) -> IpAddr {
    let text = text.as_str().expect("an address");
    text.split('/').next().unwrap_or_default().parse().expect("an address")
}

async fn has_interface(pod: &Sandbox) -> bool {
    pod.links().await.iter().any(|link| link.name == "eth0")
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_reach_each_other_and_are_listed_checked_and_deleted() {
    let ground = Ground::new().await;
    ground.configure("pods", "10.96.0.0/24", &[]);
    let (web, db) = (ground.testbed.sandbox("web"), ground.testbed.sandbox("db"));
    let told = ground.pod(&format!("add pods --netns {}", web.text()));
    told.done();
    assert!(told.stdout.contains("address    10.96.0.2/24 on eth0 gateway 10.96.0.1"), "{told:?}");
    assert!(told.stdout.lines().any(|line| line == "route      0.0.0.0/0"), "{told:?}");
    let result: Value = ground.pod(&format!("add pods --netns {} --json", db.text())).json();
    assert_eq!(result["cniVersion"], "1.0.0");
    let of_pod = result["interfaces"].as_array().expect("interfaces").last().expect("the pod's");
    assert_eq!((&of_pod["name"], &of_pod["sandbox"]), (&json!("eth0"), &json!(db.text())));
    let addresses = ["10.96.0.2".parse().expect("web"), address(&result["ips"][0]["address"])];
    web.reaches(&addresses[1..]).await;
    db.reaches(&addresses[..1]).await;

    // A second ADD would fail, and undoing it would take the first away.
    ground.pod(&format!("add pods --netns {}", web.text())).fails(1, "attached already");
    ground.configure("other", "10.97.0.0/24", &[]);
    ground.pod(&format!("add other --netns {}", web.text())).fails(1, "an interface `eth0` is in");
    web.reaches(&addresses[1..]).await;

    let listed = ground.listed();
    assert_eq!(listed.len(), 2);
    let of_db = listed.iter().find(|one| one["netns"] == db.text()).expect("db");
    assert_eq!(of_db["addresses"], json!([format!("{}/24", addresses[1])]));
    assert_eq!((&of_db["namespace"], &of_db["configured"]), (&json!("there"), &json!(true)));

    ground.pod(&format!("check pods --netns {}", db.text())).done();
    ground.pod(&format!("check pods --netns {}", web.text())).done();
    let mut inside = Connection::open(web.namespace()).await.expect("netlink");
    link::remove(&mut inside, "eth0").await.expect("eth0 goes");
    let answer = ground.pod(&format!("check pods --netns {} --json", web.text()));
    assert_eq!(answer.code, 1, "{answer:?}");
    let verdict: Value = serde_json::from_str(&answer.stdout).expect("JSON");
    assert_eq!(verdict["ok"], false);
    assert!(verdict["error"]["code"].is_u64() && verdict["error"]["msg"].is_string(), "{verdict}");
    assert!(answer.stderr.contains("(code "), "{answer:?}");

    ground.pod(&format!("del pods --netns {}", web.text())).done();
    ground.pod(&format!("del pods --netns {}", db.text())).done();
    assert!(!has_interface(&db).await);
    assert!(ground.listed().is_empty());
    assert_eq!(ground.handed_out("pods"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_namespace_left_is_collected_and_the_others_stay() {
    let ground = Ground::new().await;
    ground.configure("pods", "10.98.0.0/24", &[]);
    let (web, db) = (ground.testbed.sandbox("web"), ground.testbed.sandbox("db"));
    ground.add("pods", &web);
    let stays = ground.add("pods", &db);
    let gone = web.text().to_owned();
    web.vanish();
    assert_eq!(ground.handed_out("pods"), 2);

    let would: Value = ground.pod("gc pods --dry-run --json").json();
    assert_eq!(would["removed"][0]["netns"], gone);
    assert_eq!(would["removed"][0]["namespace"], "gone");
    assert_eq!(would["kept"][0]["netns"], db.text());
    assert_eq!(ground.handed_out("pods"), 2);

    let done = ground.pod("gc pods");
    done.done();
    assert!(done.stderr.contains("`pods`: 1 removed, 1 in use"), "{done:?}");
    assert_eq!(ground.handed_out("pods"), 1);
    let listed = ground.listed();
    assert_eq!((listed.len(), &listed[0]["netns"]), (1, &json!(db.text())));
    ground.pod(&format!("check pods --netns {}", db.text())).done();
    let cache = ground.testbed.sandbox("cache");
    ground.add("pods", &cache);
    cache.reaches(&[stays]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_names_the_plugin_its_message_and_its_code_and_leaves_nothing() {
    let ground = Ground::new().await;
    // Of four addresses one is for a pod.
    ground.configure("tiny", "10.99.0.0/30", &[]);
    let (web, db) = (ground.testbed.sandbox("web"), ground.testbed.sandbox("db"));
    ground.add("tiny", &web);
    let refused = ground.pod(&format!("add tiny --netns {} --json", db.text()));
    refused.fails(1, "network `tiny`: plugin type=\"bridge\" failed (add): ");
    refused.refuses(&["no IP addresses available", "(code "]);
    assert!(!has_interface(&db).await);
    assert_eq!((ground.listed().len(), ground.handed_out("tiny")), (1, 1));
    ground.pod(&format!("check tiny --netns {}", web.text())).done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapped_port_leads_to_the_pod_until_it_is_deleted_without_its_configuration() {
    let ground = Ground::new().await;
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    ground.configure("mapped", "10.100.0.0/24", &[portmap]);
    let web = ground.testbed.sandbox("web");
    let cap = r#"portMappings=[{"hostPort":8098,"containerPort":80,"protocol":"tcp"}]"#;
    let netns = web.text();
    ground.pod(&format!("add mapped --netns {netns} --container-id web-1 --cap {cap}")).done();
    let serve = || TcpListener::bind("0.0.0.0:80");
    let listener = run_in(web.namespace(), serve).expect("a namespace").expect("a free port");
    // It ends with the process; nothing waits for it.
    std::thread::spawn(move || listener.incoming().flatten().for_each(drop));
    let to = SocketAddr::from(([10, 100, 0, 1], 8098));
    let connect = || TcpStream::connect_timeout(&to, PATIENCE);
    let mut answer = run_in(ground.host.namespace(), connect).expect("a namespace").expect("open");
    assert_eq!(answer.read(&mut [0]).expect("the end"), 0);

    std::fs::remove_file(ground.testbed.path("net.d/mapped.conflist")).expect("a file of ours");
    assert_eq!(ground.listed()[0]["configured"], false);
    ground.pod("del mapped --container-id web-1").done();
    assert!(!has_interface(&web).await);
    let refused = run_in(ground.host.namespace(), connect).expect("a namespace");
    assert_eq!(refused.expect_err("closed").kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(ground.listed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_that_is_interrupted_tells_that_it_waits_and_is_undone() {
    let ground = Ground::new().await;
    let (bin, log) = (ground.testbed.path("bin"), ground.testbed.path("log"));
    std::fs::create_dir(&bin).expect("a directory");
    // It never answers to ADD; what it started ends with it.
    let script = format!(
        "#!/bin/sh\necho $CNI_COMMAND >>{}\nif [ $CNI_COMMAND = ADD ]; then sleep 3600; fi\n",
        log.display()
    );
    let plugin = bin.join("slow");
    std::fs::write(&plugin, script).expect("a plugin");
    std::fs::set_permissions(&plugin, Permissions::from_mode(0o755)).expect("it can be run");
    ground.configure("slow", "10.101.0.0/24", &[json!({"type": "slow"})]);
    let web = ground.testbed.sandbox("web");
    let bins = format!("{}:/opt/cni/bin:/usr/lib/cni", bin.display());
    let mut child = ground.start(&format!("add slow --netns {} --bin-dir {bins}", web.text()));
    let mut told = [0; 256];
    let length = child.stderr.as_mut().expect("a pipe").read(&mut told).expect("a word");
    let told = String::from_utf8_lossy(&told[..length]).into_owned();
    assert!(told.starts_with("waiting for the plugins of `slow` ..."), "{told}");
    let called = async || std::fs::read_to_string(&log).ok().filter(|text| text == "ADD\n");
    eventually("the plugin is called", called).await;
    assert!(has_interface(&web).await);

    kill(Pid::from_raw(child.id().try_into().expect("a process id")), Signal::SIGINT)
        .expect("our own child");
    let ran = Ground::end(child);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("stopped by Ctrl-C, and what was done is undone"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&log).expect("calls"), "ADD\nDEL\n");
    assert!(!has_interface(&web).await);
    assert_eq!((ground.listed().len(), ground.handed_out("slow")), (0, 0));
}
