//! Planning for 10,000 peers, without a kernel.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ipnetwork::IpNetwork;
use weft_api::{Definition, EndpointId, Mac, NetworkId, NodeId, Stamp, Subnet, Vni};
use weft_overlay::fake_kernel::FakeKernel;
use weft_overlay::observed::Observed;
use weft_overlay::op::KernelOp;
use weft_overlay::{
    Addresses, DefaultRoute, Event, Host, Knowledge, PEER_TABLE, PeerRecord, Planner, Sandbox,
};

const PEERS: u32 = 10_000;
const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
const OWN: EndpointId = EndpointId::from_bytes([0xff; 16]);

fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 128, 0, 2)) + n)
}

fn stamp(n: u32) -> Stamp {
    Stamp { lamport: u64::from(n), node: NodeId::default() }
}

fn pooled(ip: Ipv4Addr) -> IpNetwork {
    IpNetwork::new(IpAddr::V4(ip), 16).expect("16 is a prefix length")
}

fn planner() -> Planner {
    let mut planner = Planner::new(Host {
        node: NodeId::default(),
        vtep: Ipv4Addr::new(192, 0, 2, 1).into(),
        vxlan_port: 4789,
        uplink_mtu: 1500,
    });
    let gateway = Ipv4Addr::new(10, 128, 0, 1);
    let subnet = Subnet {
        pool: pooled(Ipv4Addr::new(10, 128, 0, 0)),
        gateway: Some(gateway.into()),
        range: None,
        auxiliary: BTreeMap::new(),
        vni: Vni::new(8_388_608).expect("it is in range"),
    };
    let definition = Definition {
        id: NETWORK,
        name: "bench".to_owned(),
        driver: "overlay".to_owned(),
        ipam: "weft".to_owned(),
        subnets: vec![subnet],
        options: BTreeMap::new(),
        mtu: None,
        internal: false,
        stamp: stamp(0),
    };
    planner.create_network(&definition).expect("the definition is sound");
    let own = Addresses {
        v4: Some(pooled(address(60_000))),
        v6: None,
        mac: Mac::from_ipv4(address(60_000)),
        stamp: stamp(0),
        replaces: None,
    };
    planner.create_endpoint(NETWORK, OWN, own).expect("the address is free");
    planner
}

/// Key and value of a peer on the host with the last octet `host`.
fn peer(n: u32, host: u8) -> (String, Vec<u8>) {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    let record = PeerRecord {
        v4: Some(pooled(address(n))),
        v6: None,
        mac: Mac::from_ipv4(address(n)),
        vtep: Ipv4Addr::new(192, 0, 2, host).into(),
        stamp: stamp(n),
        replaces: None,
    };
    (EndpointId::from_bytes(id).to_string(), record.encode())
}

fn hear(planner: &mut Planner, (key, value): &(String, Vec<u8>)) {
    planner
        .event_notify(Event::Update, NETWORK, PEER_TABLE, key, value)
        .expect("the record is sound");
}

fn join(planner: &mut Planner) -> Vec<KernelOp> {
    let sandbox = Sandbox {
        path: "/run/netns/bench".into(),
        ifname: "eth0".to_owned(),
        default_route: DefaultRoute::Gateway,
        routes: Vec::new(),
    };
    planner.join(NETWORK, OWN, sandbox).expect("the endpoint is not joined");
    std::iter::from_fn(|| planner.poll_output()).collect()
}

fn full() -> Planner {
    let mut planner = planner();
    (0..PEERS).for_each(|n| hear(&mut planner, &peer(n, 2)));
    planner
}

fn plan(criterion: &mut Criterion) {
    let peers: Vec<_> = (0..PEERS).map(|n| peer(n, 2)).collect();
    criterion.bench_function("hear of 10,000 peers", |bencher| {
        let hear_all = |mut planner: Planner| {
            peers.iter().for_each(|peer| hear(&mut planner, peer));
            planner
        };
        bencher.iter_batched(planner, hear_all, BatchSize::LargeInput);
    });
    criterion.bench_function("build a network of 10,000 peers", |bencher| {
        bencher.iter_batched(full, |mut planner| join(&mut planner), BatchSize::LargeInput);
    });

    let mut planner = full();
    let mut kernel = FakeKernel::new();
    let failures = kernel.apply_all(&join(&mut planner));
    assert!(failures.is_empty(), "the fake kernel does all it is asked");
    let observed = kernel.observe();
    criterion.bench_function("reconcile 10,000 peers, none drifted", |bencher| {
        bencher.iter(|| black_box(planner.reconcile(black_box(&observed), Knowledge::Complete)));
    });
    let nothing = Observed::default();
    criterion.bench_function("reconcile 10,000 peers, all missing", |bencher| {
        bencher.iter(|| black_box(planner.reconcile(black_box(&nothing), Knowledge::Complete)));
    });
    let homes = [peer(5_000, 3), peer(5_000, 4)];
    let mut turn = 0;
    criterion.bench_function("one of 10,000 peers moves", |bencher| {
        bencher.iter(|| {
            turn ^= 1;
            hear(&mut planner, &homes[turn]);
            black_box(planner.poll_output())
        });
    });
}

criterion_group!(benches, plan);
criterion_main!(benches);
