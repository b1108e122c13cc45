//! Claims about the planner; `model` checks it against a reference computed from scratch.

mod announced;
mod handed;
mod life_cycle;
mod limits;
mod model;
mod peers;
mod published;
mod repair;

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;
use weft_api::{Mac, Stamp, Subnet};

use super::*;
use crate::endpoint::{DefaultRoute, Sandbox};
use crate::fake_kernel::FakeKernel;
use crate::op::{FdbEntry, HandOver, Neighbour};
use crate::record::PeerRecord;

const OWN_VTEP: &str = "192.0.2.1";

fn host() -> Host {
    Host { node: node(1), vtep: ip(OWN_VTEP), vxlan_port: 4789, uplink_mtu: 1500 }
}

fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

fn nid(n: u8) -> NetworkId {
    NetworkId::from_bytes([n; 16])
}

fn eid(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

fn mac(n: u8) -> Mac {
    Mac::from_bytes([2, 0, 0, 0, 0, n])
}

fn stamp(lamport: u64) -> Stamp {
    Stamp { lamport, node: node(1) }
}

fn subnet(pool: &str, gateway: Option<&str>, vni: u32) -> Subnet {
    Subnet {
        pool: net(pool),
        gateway: gateway.map(ip),
        range: None,
        auxiliary: BTreeMap::new(),
        vni: Vni::new(vni).unwrap(),
    }
}

/// Two segments, the first of them dual stack.
fn open_network() -> Definition {
    Definition {
        id: nid(1),
        name: "open".to_owned(),
        driver: "overlay".to_owned(),
        ipam: "weft".to_owned(),
        subnets: vec![
            subnet("10.1.0.0/24", Some("10.1.0.1"), 1001),
            subnet("10.2.0.0/24", Some("10.2.0.1"), 1002),
            subnet("fd01::/64", Some("fd01::1"), 1001),
        ],
        options: BTreeMap::new(),
        mtu: None,
        internal: false,
        stamp: stamp(1),
    }
}

/// One segment, no way out.
fn closed_network() -> Definition {
    Definition {
        id: nid(2),
        name: "closed".to_owned(),
        subnets: vec![subnet("10.9.0.0/24", None, 2001)],
        internal: true,
        ..open_network()
    }
}

fn addresses(v4: Option<&str>, v6: Option<&str>, mac: Mac) -> Addresses {
    Addresses { v4: v4.map(net), v6: v6.map(net), mac, stamp: stamp(50), replaces: None }
}

fn sandbox(n: u8) -> Sandbox {
    Sandbox {
        path: format!("/run/netns/s{n}").into(),
        ifname: "eth0".to_owned(),
        default_route: DefaultRoute::Gateway,
        routes: Vec::new(),
    }
}

fn record(v4: &str, mac: Mac, vtep: &str, lamport: u64) -> PeerRecord {
    PeerRecord {
        v4: Some(net(v4)),
        v6: None,
        mac,
        vtep: ip(vtep),
        stamp: stamp(lamport),
        replaces: None,
    }
}

fn set(planner: &mut Planner, network: u8, endpoint: u8, record: &PeerRecord) {
    hear(planner, network, endpoint, record).unwrap();
}

fn hear(
    planner: &mut Planner,
    network: u8,
    endpoint: u8,
    record: &PeerRecord,
) -> Result<(), Refusal> {
    let (key, value) = (eid(endpoint).to_string(), record.encode());
    planner.event_notify(Event::Update, nid(network), PEER_TABLE, &key, &value)
}

fn delete(planner: &mut Planner, network: u8, endpoint: u8) {
    let key = eid(endpoint).to_string();
    planner.event_notify(Event::Delete, nid(network), PEER_TABLE, &key, &[]).unwrap();
}

fn drain(planner: &mut Planner) -> Vec<KernelOp> {
    std::iter::from_fn(|| planner.poll_output()).collect()
}

fn set_fdb(mac: Mac, vtep: &str) -> KernelOp {
    KernelOp::ReplaceFdb {
        namespace: names::namespace(nid(1)),
        device: "wx1001".to_owned(),
        entry: FdbEntry { mac, vtep: ip(vtep) },
    }
}

fn remove_fdb(mac: Mac, vtep: &str) -> KernelOp {
    KernelOp::RemoveFdb {
        namespace: names::namespace(nid(1)),
        device: "wx1001".to_owned(),
        entry: FdbEntry { mac, vtep: ip(vtep) },
    }
}

fn set_neighbour(address: &str, mac: Mac) -> KernelOp {
    KernelOp::ReplaceNeighbour {
        namespace: names::namespace(nid(1)),
        device: "wx1001".to_owned(),
        entry: Neighbour { ip: ip(address), mac },
    }
}

fn remove_neighbour(address: &str, mac: Mac) -> KernelOp {
    KernelOp::RemoveNeighbour {
        namespace: names::namespace(nid(1)),
        device: "wx1001".to_owned(),
        entry: Neighbour { ip: ip(address), mac },
    }
}

fn announce(endpoints: &[u8], address: &str, mac: Mac) -> KernelOp {
    KernelOp::Announce {
        namespace: names::namespace(nid(1)),
        bridge: "wb1001".to_owned(),
        ports: endpoints.iter().map(|n| names::port(eid(*n))).collect(),
        entry: Neighbour { ip: ip(address), mac },
    }
}

/// Both networks, and endpoint 1 joined to the open one at 10.1.0.11; operations drained.
fn joined() -> Planner {
    let mut planner = Planner::new(host());
    planner.create_network(&open_network()).unwrap();
    planner.create_network(&closed_network()).unwrap();
    let own = addresses(Some("10.1.0.11/24"), None, mac(11));
    planner.create_endpoint(nid(1), eid(1), own).unwrap();
    planner.join(nid(1), eid(1), sandbox(1)).unwrap();
    drain(&mut planner);
    planner
}

/// The kernel after what the planner has asked of it so far.
fn carry_out(planner: &mut Planner, kernel: &mut FakeKernel) {
    let ops = drain(planner);
    assert_eq!(kernel.apply_all(&ops), [], "{ops:#?}");
}
