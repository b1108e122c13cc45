//! The CNI plugin: how soon it speaks to the agent, and what ADD and DEL take beside the reference
//! plugins, driven by the same libcni on the same host.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use ::cni::libcni::{NetworkConfigList, RuntimeConf, conf_list_from_bytes};
use anyhow::Context;
use serde_json::json;
use weft_agent::lab::Quantiles;
use weft_tests::testbed::{Runtime, Sandbox, Testbed, pod};

use crate::table::{Row, short, spread};

const STARTS: usize = 200;
const ROUNDS: usize = 60;
/// Of the reference plugins' time, at most.
const SHARE_MAX: f64 = 0.7;
const START_MS_MAX: f64 = 3.0;
const VERSION_MS_MAX: f64 = 2.0;
const LIBRARY_MS_MAX: f64 = 1.0;

/// On a thread of its own: plugins are waited for there.
pub(crate) async fn measure() -> anyhow::Result<Vec<Row>> {
    let work = || tokio::runtime::Runtime::new()?.block_on(with_an_agent());
    tokio::task::spawn_blocking(work).await?
}

async fn with_an_agent() -> anyhow::Result<Vec<Row>> {
    anyhow::ensure!(std::env::var_os("WEFT_BIN").is_some(), "`WEFT_BIN` names no program");
    let testbed = Testbed::cluster(1).await;
    let runtime = Runtime::on(&testbed, 0);
    let version = repeated(STARTS, || version(&runtime))?;
    let starts = first_bytes(&testbed, &runtime)?;
    let (ours, theirs) = beside_reference(&testbed, &runtime)?;
    let (by_library, by_hand) = around_a_plugin(&testbed, &runtime)?;
    let each = |times: &[[Duration; 2]], which: usize| -> Vec<Duration> {
        times.iter().map(|both| both[which]).collect()
    };
    let sums = |times: &[[Duration; 2]]| -> Vec<Duration> {
        times.iter().map(|[add, del]| *add + *del).collect()
    };
    let p50 = |times: &[Duration]| Quantiles::of(times.to_vec()).p50;
    let share = p50(&sums(&ours)) / p50(&sums(&theirs));
    let (ours_spread, theirs_spread) = (spread(&sums(&ours)), spread(&sums(&theirs)));
    let parts = |times: &[[Duration; 2]]| {
        format!("ADD {} + DEL {} ms", short(p50(&each(times, 0))), short(p50(&each(times, 1))))
    };
    let judged = |metric: &str, max: f64, times: &[Duration]| {
        Row::judged(metric, &format!("p50 <= {max} ms"), spread(times), p50(times) <= max)
    };
    let added =
        |which: usize| (p50(&each(&by_library, which)) - p50(&each(&by_hand, which))).max(0.0);
    let (around_add, around_del) = (added(0), added(1));
    Ok(vec![
        judged("`weft-cni` VERSION", VERSION_MS_MAX, &version),
        judged("`weft-cni` from its start to its first byte to the agent", START_MS_MAX, &starts),
        Row::judged(
            "ADD + DEL by `weft-cni` / by bridge and host-local",
            &format!("<= {SHARE_MAX}"),
            format!("{share:.2} ({ours_spread})"),
            share <= SHARE_MAX,
        )
        .against(format!("bridge and host-local {theirs_spread}")),
        Row::told("  of it, by the medians", parts(&ours)).against(parts(&theirs)),
        Row::judged(
            "libcni adds to ADD and to DEL of a plugin",
            &format!("<= {LIBRARY_MS_MAX} ms each, by the medians"),
            format!("ADD {} ms, DEL {} ms", short(around_add), short(around_del)),
            around_add.max(around_del) <= LIBRARY_MS_MAX,
        )
        .against(format!("loopback by hand: {}", parts(&by_hand))),
    ])
}

fn repeated(
    times: usize,
    mut one: impl FnMut() -> anyhow::Result<Duration>,
) -> anyhow::Result<Vec<Duration>> {
    (0..times).map(|_| one()).collect()
}

fn version(runtime: &Runtime) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let output = runtime.plugin("VERSION", &RuntimeConf::default()).wait_with_output()?;
    let took = begin.elapsed();
    anyhow::ensure!(output.status.success(), "VERSION fails");
    Ok(took)
}

/// An agent is played, to see the plugin's first byte.
fn first_bytes(testbed: &Testbed, runtime: &Runtime) -> anyhow::Result<Vec<Duration>> {
    let socket = testbed.path("played.sock");
    let listener = UnixListener::bind(&socket)?;
    let conf = json!({"cniVersion": "1.0.0", "name": "pods", "type": "weft-cni", "socket": socket});
    let conf = conf.to_string().into_bytes();
    let container = RuntimeConf::new("played", "", "eth0");
    repeated(STARTS, || {
        let begin = Instant::now();
        let mut plugin = runtime.plugin("DEL", &container);
        write(&mut plugin, &conf)?;
        let (mut stream, _) = listener.accept()?;
        stream.read_exact(&mut [0])?;
        let took = begin.elapsed();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        anyhow::ensure!(plugin.wait()?.success(), "DEL fails");
        Ok(took)
    })
}

fn write(plugin: &mut Child, conf: &[u8]) -> anyhow::Result<()> {
    Ok(plugin.stdin.take().context("a pipe")?.write_all(conf)?)
}

/// ADD and DEL of the reference's `loopback`, by libcni and by hand, by turns.
fn around_a_plugin(testbed: &Testbed, runtime: &Runtime) -> anyhow::Result<(Times, Times)> {
    let own = json!({"cniVersion": "1.0.0", "name": "lo", "type": "loopback"});
    let list = json!({"cniVersion": "1.0.0", "name": "lo", "plugins": [{"type": "loopback"}]});
    let list = conf_list_from_bytes(list.to_string().as_bytes())?;
    let own = own.to_string().into_bytes();
    let sandbox = testbed.sandbox("around");
    let container = pod("measured", &sandbox);
    let by_hand = |command: &str| -> anyhow::Result<Duration> {
        let begin = Instant::now();
        let mut plugin = runtime.reference("loopback", command, &container);
        write(&mut plugin, &own)?;
        let output = plugin.wait_with_output()?;
        let took = begin.elapsed();
        anyhow::ensure!(output.status.success(), "loopback fails");
        Ok(took)
    };
    let (mut library, mut hand) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        library.push(add_and_del(runtime, &list, &sandbox)?);
        hand.push([by_hand("ADD")?, by_hand("DEL")?]);
    }
    Ok((library, hand))
}

type Times = Vec<[Duration; 2]>;

/// ADD and DEL of one container after the other, with one that stays, by turns.
fn beside_reference(testbed: &Testbed, runtime: &Runtime) -> anyhow::Result<(Times, Times)> {
    let ours = runtime.list("pods", "1.0.0", json!({}), &[]);
    let bridge = json!({
        "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
        "ipam": {
            "type": "host-local", "ranges": [[{"subnet": "10.79.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}], "dataDir": testbed.path("addresses"),
        },
    });
    let theirs = json!({"cniVersion": "1.0.0", "name": "reference", "plugins": [bridge]});
    let theirs = conf_list_from_bytes(theirs.to_string().as_bytes())?;
    let (first, second) = (testbed.sandbox("stays-1"), testbed.sandbox("stays-2"));
    runtime.add(&ours, &pod("stays-1", &first))?;
    runtime.add(&theirs, &pod("stays-2", &second))?;
    let (mut by_us, mut by_them) = (Vec::new(), Vec::new());
    for number in 0..ROUNDS {
        by_us.push(add_and_del(runtime, &ours, &testbed.sandbox(&format!("us-{number}")))?);
        by_them.push(add_and_del(runtime, &theirs, &testbed.sandbox(&format!("they-{number}")))?);
        // What runs on behind an answer is not to weigh on the next.
        thread::sleep(Duration::from_millis(20));
    }
    Ok((by_us, by_them))
}

fn add_and_del(
    runtime: &Runtime,
    list: &NetworkConfigList,
    sandbox: &Sandbox,
) -> anyhow::Result<[Duration; 2]> {
    let container = pod("measured", sandbox);
    let begin = Instant::now();
    runtime.add(list, &container)?;
    let added = begin.elapsed();
    let begin = Instant::now();
    runtime.del(list, &container);
    Ok([added, begin.elapsed()])
}
