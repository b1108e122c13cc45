//! How fast peers get into the kernel: the executor's batches beside plain sequential requests of
//! `rtnetlink`, in the same minute, in namespaces of its own. Needs root.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "its figures are its output")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourState};
use weft_api::{Mac, Vni};
use weft_overlay::netlink::namespace::{make_anonymous, release_directory, run_in};
use weft_overlay::netlink::{Connection, Executor, Namespace, link};
use weft_overlay::op::{Bridge, FdbEntry, KernelOp, Neighbour, Vxlan};

const PEERS: u32 = 10_000;
const ROUNDS: usize = 7;
const SINGLE: u32 = 2_000;
const NETWORK: &str = "bench";
const DEVICE: &str = "vx0";

fn main() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this bench makes network namespaces: run it as root"
    );
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::spawn(run()).await.unwrap() });
}

async fn run() {
    let run_dir = tempfile::tempdir().unwrap();
    let host = make_anonymous().unwrap();
    let mut executor = Executor::new_in(host.try_clone().unwrap(), run_dir.path()).unwrap();
    let (mut ours, mut plain, mut observed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        build(&mut executor).await;
        let ops: Vec<KernelOp> = (0..PEERS).flat_map(replace).collect();
        ours.push(timed(async { assert!(executor.apply(ops).await.is_empty()) }).await);
        let seen = timed(async {
            let seen = executor.observe().await.unwrap();
            assert_eq!(seen.namespaces[NETWORK].vxlans[DEVICE].fdb.len(), PEERS as usize);
        });
        observed.push(seen.await);
        build(&mut executor).await;
        let network = Namespace::open(executor.pin_path(NETWORK)).unwrap();
        plain.push(timed(sequential(&network)).await);
    }
    let mut single = Vec::new();
    build(&mut executor).await;
    for number in 0..SINGLE {
        let ops = replace(number).into_iter().take(1).collect();
        single.push(timed(async { assert!(executor.apply(ops).await.is_empty()) }).await);
    }
    drop(executor);
    release_directory(run_dir.path().join("netns")).unwrap();
    println!("{PEERS} peers, one FDB entry and one neighbour each; {ROUNDS} rounds");
    report("executor, batches", &mut ours);
    report("rtnetlink, one at a time", &mut plain);
    report("observe all of them", &mut observed);
    println!("ratio of the medians: {:.1}", median(&plain) / median(&ours));
    println!("one FDB entry through the executor, {SINGLE} times");
    report("executor, single", &mut single);
}

async fn timed<F: Future>(work: F) -> Duration {
    let start = Instant::now();
    work.await;
    start.elapsed()
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    let ms = |at: usize| times[at.min(times.len() - 1)].as_secs_f64() * 1000.0;
    let (p50, p99, max) = (ms(times.len() / 2), ms(times.len() * 99 / 100), ms(times.len()));
    println!("{what:28} p50 {p50:8.3} ms   p99 {p99:8.3} ms   max {max:8.3} ms");
}

fn median(times: &[Duration]) -> f64 {
    times[times.len() / 2].as_secs_f64()
}

fn peer(number: u32) -> (Mac, IpAddr, IpAddr) {
    let [_, a, b, c] = number.to_be_bytes();
    let vtep = IpAddr::from([192, 0, 2, c % 25 + 1]);
    (Mac::from_bytes([2, 1, 0, a, b, c]), vtep, IpAddr::from([10, 128 | a, b, c]))
}

fn replace(number: u32) -> [KernelOp; 2] {
    let (mac, vtep, ip) = peer(number);
    let (namespace, device) = (NETWORK.to_owned(), DEVICE.to_owned());
    let entry = FdbEntry { mac, vtep };
    let fdb = KernelOp::ReplaceFdb { namespace: namespace.clone(), device: device.clone(), entry };
    [fdb, KernelOp::ReplaceNeighbour { namespace, device, entry: Neighbour { ip, mac } }]
}

/// The network anew, without entries.
async fn build(executor: &mut Executor) {
    let namespace = NETWORK.to_owned();
    let mtu = 1450;
    let bridge = Bridge {
        name: "br0".to_owned(),
        mac: Mac::from_bytes([2, 0, 0, 0, 0, 1]),
        mtu,
        addresses: Vec::new(),
    };
    let vxlan = Vxlan {
        name: DEVICE.to_owned(),
        vni: Vni::new(42).unwrap(),
        port: 4789,
        local: IpAddr::from([192, 0, 2, 200]),
        mtu,
        bridge: bridge.name.clone(),
    };
    let ops = vec![
        KernelOp::RemoveNamespace { name: namespace.clone() },
        KernelOp::EnsureNamespace { name: namespace.clone() },
        KernelOp::EnsureBridge { namespace: namespace.clone(), bridge },
        KernelOp::EnsureVxlan { namespace, vxlan },
    ];
    assert!(executor.apply(ops).await.is_empty());
}

/// What most programs do: `rtnetlink`, each request awaited before the next.
async fn sequential(network: &Namespace) {
    let runtime = tokio::runtime::Handle::current();
    let (connection, handle, _) = run_in(network, || {
        let _runtime = runtime.enter();
        rtnetlink::new_connection().unwrap()
    })
    .unwrap();
    let driver = tokio::spawn(connection);
    let mut own = Connection::open(network).await.unwrap();
    let index = link::get(&mut own, DEVICE).await.unwrap().index;
    for number in 0..PEERS {
        let (mac, vtep, ip) = peer(number);
        let fdb = handle.neighbours().add_bridge(index, &mac.octets()).destination(vtep);
        let fdb = fdb.flags(NeighbourFlags::Own).state(NeighbourState::Permanent).replace();
        fdb.execute().await.unwrap();
        let neighbour = handle.neighbours().add(index, ip).link_layer_address(&mac.octets());
        neighbour.state(NeighbourState::Permanent).replace().execute().await.unwrap();
    }
    driver.abort();
}
