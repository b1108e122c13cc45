//! Weft as a Docker engine's plugin: `docker run`, the first ping after it, and the plugin's calls.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use weft_agent::lab::Quantiles;
use weft_agent::lab::ping::{Families, Pace, Probe, Source};
use weft_tests::testbed::{Container, Docker, Engine, IMAGE};
use weft_tests::transcript::Caller;

use crate::table::{Row, short, spread};

/// Turns; each runs a container on every kind of network.
const RUNS: usize = 12;
/// The kinds, by the names of their networks.
const KINDS: [&str; 4] = ["none", "bridge", OVERLAY, WEFT];
/// Docker's own network across hosts, as containers outside of services use it.
const OVERLAY: &str = "bench-overlay";
const WEFT: &str = "bench-weft";
/// Containers whose first answer is waited for.
const PINGS: u8 = 12;
/// Endpoints that come and go through the plugin's socket.
const ENDPOINTS: u32 = 100;
/// Often, so that the pause between two requests is no part of the result.
const EAGER: Pace = Pace { every: Duration::from_millis(1), give_up: Duration::from_secs(10) };
const IDENTIFIER: u16 = 78;
/// Calls that wait for the kernel: devices are made in one and removed in the other.
const WAITING: [&str; 2] = ["NetworkDriver.Join", "NetworkDriver.Leave"];

/// On a thread of its own: commands of `docker` are waited for there.
pub(crate) async fn measure() -> anyhow::Result<Vec<Row>> {
    let work = || Runtime::new()?.block_on(on_engines());
    tokio::task::spawn_blocking(work).await?
}

async fn on_engines() -> anyhow::Result<Vec<Row>> {
    anyhow::ensure!(std::env::var_os("WEFT_BIN").is_some(), "`WEFT_BIN` names no program");
    let docker = Docker::cluster(2).await;
    let address = docker.testbed.hosts[0].address().to_string();
    docker.engines[0].docker(&["swarm", "init", "--advertise-addr", &address]).done();
    let overlay = ["network", "create", "--driver", "overlay", "--attachable", OVERLAY];
    docker.engines[0].docker(&overlay).done();
    for engine in &docker.engines {
        engine.create_network(WEFT, &["--subnet", "10.97.0.0/24"]);
    }
    let mut rows = runs(&docker.engines[0])?;
    rows.push(first_pings(&docker).await?);
    let socket = docker.testbed.hosts[0].run_dir().join("../docker/plugins/weft.sock");
    let caller = Caller::new(socket);
    rows.extend(calls(&caller)?);
    Ok(rows)
}

/// Runs a container and waits for it, as a user at a terminal does; returns when `docker` ended.
fn run(engine: &Engine, name: &str, arguments: &[&str]) -> anyhow::Result<Instant> {
    let run = ["run", "--detach", "--pull", "never", "--name", name];
    let mut command = engine.cli.command(&[&run, arguments, &[IMAGE]].concat());
    let status = command.stdout(Stdio::null()).status().context("docker starts")?;
    let end = Instant::now();
    anyhow::ensure!(status.success(), "`docker run` on {arguments:?}: {status}");
    Ok(end)
}

/// Every kind in turn, so that all meet the same load.
fn runs(engine: &Engine) -> anyhow::Result<Vec<Row>> {
    // Docker makes its overlay with the first container in it: one stays.
    for kind in [OVERLAY, WEFT] {
        run(engine, &format!("stays-{kind}"), &["--network", kind])?;
    }
    let mut times: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for turn in 0..RUNS {
        for kind in KINDS {
            let name = format!("run-{kind}-{turn}");
            let begin = Instant::now();
            let end = run(engine, &name, &["--network", kind])?;
            times.entry(kind).or_default().push(end - begin);
            engine.container(&name).remove();
        }
    }
    let p50 = |kind: &str| Quantiles::of(times[kind].clone()).p50;
    let ratio = p50(WEFT) / p50(OVERLAY);
    let judged = Row::judged(
        "docker run on Weft / on Docker's overlay",
        "<= 0.65",
        format!("{ratio:.2} ({} / {} ms)", short(p50(WEFT)), short(p50(OVERLAY))),
        ratio <= 0.65,
    );
    let overlay = format!("overlay: {}", spread(&times[OVERLAY]));
    let others = format!("none: {}; bridge: {} ms", short(p50("none")), short(p50("bridge")));
    Ok(vec![
        judged.against(overlay),
        Row::told("  docker run on Weft", spread(&times[WEFT])).against(others),
    ])
}

/// From the return of `docker run` on one host to the first answer to a container of another.
async fn first_pings(docker: &Docker) -> anyhow::Result<Row> {
    let far = docker.engines[1].run(&["--network", WEFT]);
    let sandbox = far.sandbox();
    let mut times = Vec::new();
    for number in 0..PINGS {
        let address = Ipv4Addr::new(10, 97, 0, 100 + number);
        let from = Source::open(sandbox.namespace(), Families::V4, IDENTIFIER)?;
        let name = format!("ping-{number}");
        let asked = ["--network", WEFT, "--ip", &address.to_string()];
        let returned = run(&docker.engines[0], &name, &asked)?;
        let answers = from.round(&[Probe::small(IpAddr::V4(address))], EAGER).await;
        let answer = answers[0].context("the new container never answered")?;
        times.push(answer.at.into_std().saturating_duration_since(returned));
        docker.engines[0].container(&name).remove();
    }
    drop(sandbox);
    Container::remove(&far);
    let max = Quantiles::of(times.clone()).max;
    let metric = "docker run returned on host A to first answer to host B";
    Ok(Row::judged(metric, "<= 20 ms", spread(&times), max <= 20.0))
}

/// The calls of an engine, one connection each, over a network of their own.
fn calls(caller: &Caller) -> anyhow::Result<Vec<Row>> {
    let mut times: BTreeMap<&'static str, Vec<Duration>> = BTreeMap::new();
    let mut call = |path: &'static str, body: Value| -> anyhow::Result<Value> {
        let begin = Instant::now();
        let reply = caller.post(path, &body);
        times.entry(path).or_default().push(begin.elapsed());
        anyhow::ensure!(reply.error().is_none() && reply.status == 200, "{path}: {reply:?}");
        Ok(reply.body)
    };
    let id = |number: u32| format!("{number:064x}");
    let network = id(0xbe);
    let space = "weft-local";
    let pool = json!({ "AddressSpace": space, "Pool": "10.98.0.0/16", "Options": {
        "network": "bench-calls" } });
    let pool = call("IpamDriver.RequestPool", pool)?["PoolID"].clone();
    let gateway = json!({ "RequestAddressType": "com.docker.network.gateway" });
    let gateway = json!({ "PoolID": pool, "Address": "", "Options": gateway });
    let gateway = call("IpamDriver.RequestAddress", gateway)?["Address"].clone();
    let data = json!([{ "AddressSpace": space, "Pool": "10.98.0.0/16", "Gateway": gateway }]);
    let create = json!({ "NetworkID": network, "IPv4Data": data, "IPv6Data": [], "Options": {} });
    call("NetworkDriver.CreateNetwork", create)?;
    for number in 1..=ENDPOINTS {
        let mac = format!("02:42:00:00:00:{number:02x}");
        let options = json!({ "com.docker.network.endpoint.macaddress": mac });
        let asked = json!({ "PoolID": pool, "Address": "", "Options": options });
        let address = call("IpamDriver.RequestAddress", asked)?["Address"].clone();
        let endpoint = json!({ "NetworkID": network, "EndpointID": id(number) });
        let with = |more: Value| {
            let mut body = endpoint.as_object().cloned().unwrap_or_default();
            body.extend(more.as_object().cloned().unwrap_or_default());
            Value::Object(body)
        };
        let interface = json!({ "Address": address, "AddressIPv6": "", "MacAddress": mac });
        let create = with(json!({ "Interface": interface, "Options": {} }));
        call("NetworkDriver.CreateEndpoint", create)?;
        let sandbox = format!("/var/run/docker/netns/{number:012x}");
        call("NetworkDriver.Join", with(json!({ "SandboxKey": sandbox, "Options": {} })))?;
        call("NetworkDriver.EndpointOperInfo", endpoint.clone())?;
        call("NetworkDriver.Leave", endpoint.clone())?;
        call("NetworkDriver.DeleteEndpoint", endpoint)?;
        let plain = address.as_str().and_then(|text| text.split('/').next()).unwrap_or_default();
        call("IpamDriver.ReleaseAddress", json!({ "PoolID": pool, "Address": plain }))?;
    }
    call("NetworkDriver.DeleteNetwork", json!({ "NetworkID": network }))?;
    Ok(told(&times))
}

fn told(times: &BTreeMap<&'static str, Vec<Duration>>) -> Vec<Row> {
    let repeated = times.iter().filter(|(_, all)| all.len() >= ENDPOINTS as usize);
    let (waiting, plain): (Vec<_>, Vec<_>) = repeated.partition(|(path, _)| WAITING.contains(path));
    let each = plain.iter().map(|(path, all)| (*path, Quantiles::of((*all).clone())));
    let worst = each.max_by(|(_, one), (_, other)| one.p99.total_cmp(&other.p99));
    let all: Vec<_> = plain.iter().flat_map(|(_, all)| all.iter().copied()).collect();
    let judged = worst.map(|(path, worst)| {
        let worst_of = format!("the slowest call, {path}: p99 {} ms", short(worst.p99));
        Row::judged(
            "plugin calls that do not wait for the kernel",
            "p99 <= 20 ms",
            spread(&all),
            worst.p99 <= 20.0,
        )
        .against(worst_of)
    });
    let waits = waiting.iter().map(|(path, all)| Row::told(&format!("  {path}"), spread(all)));
    judged.into_iter().chain(waits).collect()
}
