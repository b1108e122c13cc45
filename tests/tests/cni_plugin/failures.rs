//! The CNI plugin `weft-cni` when things break: no agent, and -9 of the plugin, the agent and the
//! runtime at any moment. DEL and GC leave nothing.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cni::libcni::{NetworkConfigList, RuntimeConf};
use serde_json::{Value, json};
use weft_agent::control::HeldByEngine;
use weft_overlay::netlink::namespace::run_in;
use weft_tests::testbed::{Host, Runtime, Sandbox, Testbed, eventually, pod};

const NEWEST: &str = "1.1.0";

fn code(error: &cni::Error) -> Option<u32> {
    error.code().map(|code| code.0)
}

async fn attached(host: &Host) -> usize {
    host.client.attachments(None).await.expect("attachments").len()
}

async fn is_off(sandbox: &Sandbox) -> bool {
    sandbox.links().await.iter().all(|link| link.name != "eth0")
}

fn waiting(testbed: &Testbed) -> usize {
    let entries = std::fs::read_dir(testbed.hosts[0].run_dir().join("cni-detached"));
    entries.into_iter().flatten().count()
}

async fn answers_again(testbed: &mut Testbed) {
    testbed.hosts[0].start(&[]);
    testbed.hosts[0].answers().await;
    testbed.settled().await;
}

/// Starts the plugin's ADD as a runtime does, and leaves it alone.
fn start_add(runtime: &Runtime, list: &NetworkConfigList, pod: &RuntimeConf) -> Child {
    let mut conf: Value = serde_json::from_slice(&list.plugins[0].bytes).expect("JSON");
    conf["name"] = json!(list.name);
    conf["cniVersion"] = json!(list.cni_version);
    let mut plugin = runtime.plugin("ADD", pod);
    let mut stdin = plugin.stdin.take().expect("a pipe");
    stdin.write_all(conf.to_string().as_bytes()).expect("it reads");
    plugin
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_agent_del_is_kept_for_it_and_all_else_says_so() {
    let mut testbed = Testbed::cluster(2).await;
    let runtime = Runtime::on(&testbed, 0);
    let list = runtime.list("pods", NEWEST, json!({}), &[]);
    let [web, db, new] = ["web", "db", "new"].map(|name| testbed.sandbox(name));
    let [web_pod, db_pod, new_pod] =
        [("web", &web), ("db", &db), ("new", &new)].map(|(name, sandbox)| pod(name, sandbox));
    runtime.added(&list, &web_pod);
    let before = runtime.added(&list, &db_pod);
    testbed.hosts[0].kill();

    let began = Instant::now();
    assert_eq!(code(&runtime.status(&list).expect_err("no agent")), Some(50));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(code(&runtime.add(&list, &new_pod).expect_err("no agent")), Some(11));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(code(&runtime.check(&list, &web_pod).expect_err("no agent")), Some(11));
    assert_eq!(code(&runtime.gc(&list, &[&web_pod, &db_pod]).expect_err("no agent")), Some(11));
    runtime.del(&list, &web_pod);
    runtime.del(&list, &web_pod);
    runtime.del(&list, &db_pod);
    // What was never attached does no harm.
    runtime.del(&list, &new_pod);
    assert_eq!(waiting(&testbed), 3);

    // A container of the same name may be there before the agent has looked at what it missed.
    testbed.hosts[0].start(&[]);
    testbed.hosts[0].answers().await;
    let again = eventually("the agent attaches again", async || {
        let added = runtime.add(&list, &db_pod);
        added.map_err(|error| assert_eq!(code(&error), Some(11), "{error}")).ok()
    })
    .await;
    assert_ne!(again.to_current().expect("a result").ips, before.ips);
    eventually("what was missed is done", async || {
        (waiting(&testbed) == 0 && attached(&testbed.hosts[0]).await == 1).then_some(())
    })
    .await;
    assert!(is_off(&web).await);
    runtime.status(&list).expect("an agent");
    runtime.check(&list, &db_pod).expect("it is as it was made");
    runtime.del(&list, &db_pod);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_waits_a_little_for_an_agent_that_starts() {
    let mut testbed = Testbed::cluster(1).await;
    let runtime = Runtime::on(&testbed, 0);
    let list = runtime.list("pods", NEWEST, json!({}), &[]);
    let (web, db) = (testbed.sandbox("web"), testbed.sandbox("db"));
    runtime.added(&list, &pod("web", &web));
    testbed.hosts[0].stop();
    testbed.hosts[0].start(&[]);
    // No wait for the agent: the plugin's own has to do.
    runtime.added(&list, &pod("db", &db));
    testbed.hosts[0].answers().await;
    runtime.del(&list, &pod("db", &db));
    runtime.check(&list, &pod("web", &web)).expect("it is as it was made");
    assert_eq!(attached(&testbed.hosts[0]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_killed_at_any_moment_leaves_nothing_after_del_and_gc() {
    let testbed = Testbed::cluster(1).await;
    let host = &testbed.hosts[0];
    let runtime = Runtime::on(&testbed, 0);
    let list = runtime.list("pods", NEWEST, json!({}), &[]);
    let stays = testbed.sandbox("stays");
    let stays_pod = pod("stays", &stays);
    runtime.added(&list, &stays_pod);
    let mut attached_by_then = 0;
    for step in 0..40_u64 {
        let sandbox = testbed.sandbox(&format!("killed-{step}"));
        let killed = pod(&format!("killed-{step}"), &sandbox);
        let mut plugin = start_add(&runtime, &list, &killed);
        std::thread::sleep(Duration::from_micros(500 * step));
        plugin.kill().expect("our own child");
        plugin.wait().expect("our own child");
        attached_by_then += attached(host).await - 1;
        runtime.del(&list, &killed);
        eventually(&format!("nothing is left of step {step}"), async || {
            // What the agent had not read when its caller died may begin after DEL.
            runtime.gc(&list, &[&stays_pod]).expect("collected");
            (is_off(&sandbox).await && attached(host).await == 1).then_some(())
        })
        .await;
    }
    assert!(attached_by_then > 0, "no kill came late enough to matter");
    runtime.check(&list, &stays_pod).expect("it is as it was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_during_an_add_leaves_nothing_after_del_and_gc() {
    let mut testbed = Testbed::cluster(1).await;
    let runtime = Runtime::on(&testbed, 0);
    let list = runtime.list("pods", NEWEST, json!({}), &[]);
    let stays = testbed.sandbox("stays");
    let stays_pod = pod("stays", &stays);
    runtime.added(&list, &stays_pod);
    for step in 0..8_u64 {
        let sandbox = testbed.sandbox(&format!("killed-{step}"));
        let killed = pod(&format!("killed-{step}"), &sandbox);
        let plugin = start_add(&runtime, &list, &killed);
        std::thread::sleep(Duration::from_millis(3 * step));
        testbed.hosts[0].kill();
        let output = plugin.wait_with_output().expect("our own child");
        if !output.status.success() {
            let error: Value = serde_json::from_slice(&output.stdout).expect("an error object");
            assert_eq!(error["code"], 11, "{error}");
        }
        // Half of the runtimes are quicker than the agent's next start.
        if step % 2 == 0 {
            runtime.del(&list, &killed);
        }
        answers_again(&mut testbed).await;
        runtime.del(&list, &killed);
        eventually(&format!("nothing is left of step {step}"), async || {
            // What the agent had not read when its caller died may begin after DEL.
            runtime.gc(&list, &[&stays_pod]).expect("collected");
            let left = attached(&testbed.hosts[0]).await == 1 && waiting(&testbed) == 0;
            (is_off(&sandbox).await && left).then_some(())
        })
        .await;
    }
    runtime.check(&list, &stays_pod).expect("it is as it was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_killed_at_any_moment_leaves_nothing_after_del_and_gc() {
    let testbed = Testbed::cluster(1).await;
    let host = &testbed.hosts[0];
    let runtime = Runtime::on(&testbed, 0);
    let list = runtime.list("pods", NEWEST, json!({}), &[]);
    std::fs::create_dir(testbed.path("net.d")).expect("a directory");
    std::fs::write(testbed.path("net.d/pods.conflist"), &list.bytes).expect("a configuration");
    let text = |name: &str| testbed.path(name).to_str().expect("a path of ours").to_owned();
    let (conf, cache) = (text("net.d"), runtime.cache.to_str().expect("a path").to_owned());
    let bin = runtime.bin_dirs[0].to_str().expect("a path").to_owned();
    for step in 0..24_u64 {
        let sandbox = testbed.sandbox(&format!("killed-{step}"));
        let more = ["--conf-dir", &conf, "--cache-dir", &cache, "--bin-dir", &bin];
        let words = [&["pod", "add", "pods", "--netns", sandbox.text()][..], &more].concat();
        let mut command = host.command(&words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut weft = run_in(&host.namespace, || command.spawn()).expect("it").expect("starts");
        std::thread::sleep(Duration::from_millis(2 * step));
        weft.kill().expect("our own child");
        weft.wait().expect("our own child");
        // The plugin it started may be at work still.
        let words = [&["pod", "del", "pods", "--netns", sandbox.text()][..], &more].concat();
        run_in(&host.namespace, || host.weft(&words)).expect("the namespace").done();
        eventually(&format!("nothing is left of step {step}"), async || {
            runtime.gc(&list, &[]).expect("collected");
            (is_off(&sandbox).await && attached(host).await == 0).then_some(())
        })
        .await;
    }
}

/// Attaches and detaches containers until there were enough, and tells of addresses given twice.
fn churn(
    testbed: &Testbed,
    runtimes: &[(Runtime, NetworkConfigList)],
    next: &AtomicUsize,
    in_use: &Mutex<BTreeSet<IpAddr>>,
) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= CONTAINERS {
            return;
        }
        let (runtime, list) = &runtimes[number % runtimes.len()];
        let sandbox = testbed.sandbox(&format!("c{number}"));
        let container = pod(&format!("c{number}"), &sandbox);
        let ip = runtime.added(list, &container).ips[0].address.ip();
        assert!(in_use.lock().expect("a lock").insert(ip), "{ip} is given twice");
        if number.is_multiple_of(10) {
            runtime.check(list, &container).expect("it is as it was made");
        }
        runtime.del(list, &container);
        // An address that was given back rests for longer than this takes.
        in_use.lock().expect("a lock").remove(&ip);
        sandbox.vanish();
    }
}

/// Containers attached and detached, in all.
const CONTAINERS: usize = 1000;
/// At a time.
const AT_ONCE: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_containers_come_and_go_in_parallel_without_a_leak() {
    let testbed = Testbed::cluster(3).await;
    let runtimes: Vec<_> = (0..3)
        .map(|host| {
            let runtime = Runtime::on(&testbed, host);
            let list = runtime.list("pods", NEWEST, json!({"subnet": "10.76.0.0/20"}), &[]);
            (runtime, list)
        })
        .collect();
    let (next, in_use) = (AtomicUsize::new(0), Mutex::default());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| churn(&testbed, &runtimes, &next, &in_use));
        }
    });
    for host in &testbed.hosts {
        assert_eq!(attached(host).await, 0);
        let entries = std::fs::read_dir(host.run_dir().join("cni-detached"));
        assert_eq!(entries.into_iter().flatten().count(), 0);
    }
    eventually("the network goes", async || {
        testbed.hosts[0].client.delete_network("pods", HeldByEngine::Refuse).await.ok()
    })
    .await;
    for host in &testbed.hosts {
        eventually(&format!("nothing is left on {}", host.name), async || {
            host.kernel().await.is_clean().then_some(())
        })
        .await;
    }
    for (runtime, _) in &runtimes {
        let results = std::fs::read_dir(runtime.cache.join("results")).expect("the cache");
        assert_eq!(results.count(), 0);
    }
}
