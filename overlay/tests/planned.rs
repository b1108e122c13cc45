//! The planner with each data plane: what it asks for is carried out, read back as asked for, and
//! repaired when it drifts, by the fake kernel as by Linux.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use weft_api::{Definition, EndpointId, Mac, NetworkId, NodeId, Stamp, Subnet, Vni};
use weft_overlay::fake_kernel::FakeKernel;
use weft_overlay::netlink::namespace::{make_anonymous, release_directory, run_in};
use weft_overlay::netlink::sandbox::{self, Interface};
use weft_overlay::netlink::{Connection, Executor, Namespace, link};
use weft_overlay::observed::Observed;
use weft_overlay::op::{FdbEntry, KernelOp, Neighbour, Place};
use weft_overlay::publish::{Protocol, PublishedPort};
use weft_overlay::{
    Addresses, DefaultRoute, Event, FarEnd, HandOver, Host, Knowledge, PEER_TABLE, PeerRecord,
    Planner, Repair, Sandbox, names,
};

/// One host's data plane, with a sandbox beside it.
enum DataPlane {
    Fake(FakeKernel),
    Linux { executor: Box<Executor>, sandbox: Namespace, run_dir: tempfile::TempDir },
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        match self {
            Self::Fake(_) => {}
            // A drop has nobody to tell.
            Self::Linux { run_dir, .. } => drop(release_directory(run_dir.path().join("netns"))),
        }
    }
}

impl DataPlane {
    fn linux() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make network namespaces: run them as root"
        );
        let run_dir = tempfile::tempdir().unwrap();
        let host = make_anonymous().unwrap();
        let executor = Box::new(Executor::new_in(host, run_dir.path()).unwrap());
        Self::Linux { executor, sandbox: make_anonymous().unwrap(), run_dir }
    }

    fn sandbox(&self) -> PathBuf {
        use std::os::fd::{AsFd, AsRawFd};
        match self {
            Self::Fake(_) => PathBuf::from("/run/netns/sandbox"),
            Self::Linux { sandbox, .. } => {
                let fd = sandbox.as_fd().as_raw_fd();
                PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id()))
            }
        }
    }

    async fn apply(&mut self, ops: Vec<KernelOp>) {
        let failures = match self {
            Self::Fake(kernel) => format!("{:?}", kernel.apply_all(&ops)),
            Self::Linux { executor, .. } => format!("{:?}", executor.apply(ops.clone()).await),
        };
        assert_eq!(failures, "[]", "{ops:#?}");
    }

    async fn observe(&mut self) -> Observed {
        match self {
            Self::Fake(kernel) => kernel.observe(),
            Self::Linux { executor, .. } => executor.observe().await.unwrap(),
        }
    }

    /// Does as a container engine: moves a far end out of the host, names it and sets it up.
    async fn take(&mut self, host_link: &str, address: &str) {
        let path = self.sandbox();
        match self {
            Self::Fake(kernel) => assert!(kernel.take(host_link, &path), "{host_link} waits"),
            Self::Linux { executor, sandbox, .. } => {
                let mut outside = Connection::open(executor.host()).await.unwrap();
                let wanted = Interface {
                    ifname: "eth0".to_owned(),
                    mac: None,
                    mtu: None,
                    addresses: vec![address.parse().unwrap()],
                    routes: Vec::new(),
                };
                let from = (&mut outside, executor.host());
                sandbox::move_in(from, host_link, sandbox, &wanted).await.unwrap();
            }
        }
    }

    /// Endpoint 1 has spoken to another one, and remembers its MAC.
    fn remember(&mut self, other: &Neighbour) {
        match self {
            Self::Fake(kernel) => {
                kernel.remember(&names::namespace(nid(1)), &names::port(eid(1)), other);
            }
            Self::Linux { sandbox, .. } => {
                let Neighbour { ip, mac } = other;
                ip_neighbour(sandbox, &format!("replace {ip} lladdr {mac} dev eth1 nud reachable"));
            }
        }
    }

    /// The MAC that endpoint 1 remembers.
    fn remembers(&self, ip: IpAddr) -> Option<Mac> {
        match self {
            Self::Fake(kernel) => {
                kernel.remembers(&names::namespace(nid(1)), &names::port(eid(1)), ip)
            }
            Self::Linux { sandbox, .. } => {
                let shown = ip_neighbour(sandbox, &format!("show {ip}"));
                let mac = shown.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
                mac.map(|mac| mac.parse().unwrap())
            }
        }
    }

    /// The container ends, and what is in its sandbox with it.
    async fn end_container(&mut self) {
        let path = self.sandbox();
        match self {
            Self::Fake(kernel) => kernel.vanish_sandbox(&path),
            Self::Linux { sandbox, .. } => {
                let mut inside = Connection::open(sandbox).await.unwrap();
                link::remove(&mut inside, "eth0").await.unwrap();
            }
        }
    }

    /// Carries out what has to fail, and returns how much did.
    async fn failures(&mut self, planner: &mut Planner) -> usize {
        let ops: Vec<_> = std::iter::from_fn(|| planner.poll_output()).collect();
        match self {
            Self::Fake(kernel) => kernel.apply_all(&ops).len(),
            Self::Linux { executor, .. } => executor.apply(ops).await.len(),
        }
    }

    async fn carry_out(&mut self, planner: &mut Planner) {
        let ops = std::iter::from_fn(|| planner.poll_output()).collect();
        self.apply(ops).await;
    }

    async fn reconcile(&mut self, planner: &Planner) -> Repair {
        let repair = planner.reconcile(&self.observe().await, Knowledge::Complete);
        self.apply(repair.ops.clone()).await;
        repair
    }
}

/// `ip neighbour` in a sandbox.
fn ip_neighbour(sandbox: &Namespace, words: &str) -> String {
    let run = || Command::new("ip").arg("neighbour").args(words.split(' ')).output();
    let output = run_in(sandbox, run).unwrap().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn nid(n: u8) -> NetworkId {
    NetworkId::from_bytes([n; 16])
}

fn eid(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

fn subnet(pool: &str, gateway: &str, vni: u32) -> Subnet {
    Subnet {
        pool: pool.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
        range: None,
        auxiliary: BTreeMap::new(),
        vni: Vni::new(vni).unwrap(),
    }
}

/// Two segments, the first of them dual stack; pools and VNIs differ by the number.
fn definition(n: u8) -> Definition {
    let vni = u32::from(n) * 10;
    Definition {
        id: nid(n),
        name: format!("net{n}"),
        driver: "overlay".to_owned(),
        ipam: "weft".to_owned(),
        subnets: vec![
            subnet(&format!("10.{n}.0.0/24"), &format!("10.{n}.0.1"), vni),
            subnet(&format!("fd0{n}::/64"), &format!("fd0{n}::1"), vni),
            subnet(&format!("10.{n}.1.0/24"), &format!("10.{n}.1.1"), vni + 1),
        ],
        options: BTreeMap::new(),
        mtu: None,
        internal: false,
        stamp: Stamp::default(),
    }
}

/// A network with an endpoint in the sandbox, a port of it published, and a peer in each segment.
fn populate(planner: &mut Planner, n: u8, path: PathBuf) {
    let (ifname, default_route) = (format!("eth{n}"), DefaultRoute::Elsewhere);
    join(planner, n, Sandbox { path, ifname, default_route, routes: Vec::new() });
    let port = |host: &str, to: String| PublishedPort {
        protocol: Protocol::Tcp,
        host: host.parse().unwrap(),
        host_port: 8000 + u16::from(n),
        to: to.parse().unwrap(),
        port: 80,
    };
    let ports = [port("0.0.0.0", format!("10.{n}.0.10")), port("::", format!("fd0{n}::10"))];
    planner.publish(nid(n), eid(n), &ports).unwrap();
}

/// A network with an endpoint that joins as is said, and a peer in each segment.
fn join(planner: &mut Planner, n: u8, far: impl Into<FarEnd>) {
    planner.create_network(&definition(n)).unwrap();
    let own = Addresses {
        v4: Some(format!("10.{n}.0.10/24").parse().unwrap()),
        v6: Some(format!("fd0{n}::10/64").parse().unwrap()),
        mac: Mac::from_bytes([2, 0, 0, 0, n, 10]),
        stamp: Stamp::default(),
        replaces: None,
    };
    planner.create_endpoint(nid(n), eid(n), own).unwrap();
    planner.join(nid(n), eid(n), far).unwrap();
    for (peer, v6) in [(0, Some(format!("fd0{n}::20").parse().unwrap())), (1, None)] {
        let record = PeerRecord {
            v4: Some(format!("10.{n}.{peer}.20/24").parse().unwrap()),
            v6,
            mac: Mac::from_bytes([2, 0, 0, 0, n, 20]),
            vtep: IpAddr::from([192, 0, 2, 20 + peer]),
            stamp: Stamp::default(),
            replaces: None,
        };
        let key = eid(100 + peer).to_string();
        planner.event_notify(Event::Create, nid(n), PEER_TABLE, &key, &record.encode()).unwrap();
    }
}

fn planner() -> Planner {
    Planner::new(Host {
        node: NodeId::default(),
        vtep: IpAddr::from([192, 0, 2, 1]),
        vxlan_port: 4789,
        uplink_mtu: 1500,
    })
}

fn disturbances() -> Vec<KernelOp> {
    let namespace = || names::namespace(nid(1));
    let link = |name: String| KernelOp::RemoveLink { place: Place::Network(namespace()), name };
    let device = || names::vxlan(Vni::new(10).unwrap());
    let (mac, stranger) =
        (Mac::from_bytes([2, 0, 0, 0, 1, 20]), Mac::from_bytes([2, 0, 0, 0, 1, 99]));
    let vtep = IpAddr::from([192, 0, 2, 99]);
    let fdb = |mac| KernelOp::ReplaceFdb {
        namespace: namespace(),
        device: device(),
        entry: FdbEntry { mac, vtep },
    };
    let entry = Neighbour { ip: IpAddr::from([10, 1, 0, 99]), mac };
    vec![
        fdb(mac),
        fdb(stranger),
        KernelOp::ReplaceNeighbour { namespace: namespace(), device: device(), entry },
        link(device()),
        link(names::vxlan(Vni::new(11).unwrap())),
        link(names::bridge(Vni::new(10).unwrap())),
        link(names::port(eid(1))),
        link(names::network_link(nid(1))),
        KernelOp::RemoveLink { place: Place::Host, name: names::host_link(nid(1)) },
        KernelOp::RemovePublished { endpoint: eid(1) },
        KernelOp::RemoveNamespace { name: namespace() },
    ]
}

async fn a_plan_is_carried_out_adopted_repaired_and_taken_back(mut plane: DataPlane) {
    let mut first = planner();
    populate(&mut first, 1, plane.sandbox());
    plane.carry_out(&mut first).await;
    assert_eq!(plane.reconcile(&first).await, Repair::default());

    let mut restarted = planner();
    populate(&mut restarted, 1, plane.sandbox());
    while restarted.poll_output().is_some() {}
    assert_eq!(plane.reconcile(&restarted).await, Repair::default(), "adopted as it stands");

    for disturbance in disturbances() {
        plane.apply(vec![disturbance.clone()]).await;
        assert!(!plane.reconcile(&first).await.is_clean(), "{disturbance:?} shows");
        assert_eq!(plane.reconcile(&first).await, Repair::default(), "after {disturbance:?}");
    }

    let mut crashed = planner();
    populate(&mut crashed, 2, plane.sandbox());
    plane.carry_out(&mut crashed).await;
    assert!(!plane.reconcile(&first).await.is_clean(), "leftovers show");
    assert_eq!(plane.reconcile(&first).await, Repair::default(), "leftovers are gone");

    first.leave(nid(1), eid(1)).unwrap();
    plane.carry_out(&mut first).await;
    assert_eq!(plane.observe().await, Observed::default());
}

async fn a_hand_over_is_taken_adopted_and_ends_with_its_container(mut plane: DataPlane) {
    let mut first = planner();
    join(&mut first, 1, HandOver::First);
    plane.carry_out(&mut first).await;
    let waits = plane.observe().await;
    assert!(waits.handed.contains(&names::handed(eid(1))));
    assert_eq!(first.vanished(&waits), []);
    assert_eq!(plane.reconcile(&first).await, Repair::default(), "it may wait");
    plane.take(&names::handed(eid(1)), "10.1.0.10/24").await;
    let whole = plane.observe().await;
    assert_eq!(whole.handed, BTreeSet::new());
    assert_eq!(plane.reconcile(&first).await, Repair::default(), "it is taken");

    let mut restarted = planner();
    join(&mut restarted, 1, HandOver::Adopted);
    plane.carry_out(&mut restarted).await;
    assert_eq!(plane.observe().await, whole, "adopted as it stands");
    assert_eq!(plane.reconcile(&restarted).await, Repair::default());
    let place = Place::Network(names::namespace(nid(1)));
    let name = names::bridge(Vni::new(10).unwrap());
    plane.apply(vec![KernelOp::RemoveLink { place, name }]).await;
    assert!(!plane.reconcile(&restarted).await.is_clean());
    assert_eq!(plane.observe().await, whole, "its port is back in its bridge");

    plane.end_container().await;
    assert_eq!(restarted.vanished(&plane.observe().await), [(nid(1), eid(1))]);
    assert_eq!(plane.reconcile(&restarted).await, Repair::default(), "nothing is made again");
    let mut late = planner();
    join(&mut late, 1, HandOver::Adopted);
    assert_eq!(plane.failures(&mut late).await, 1, "nothing is there to adopt");
    late.leave(nid(1), eid(1)).unwrap();
    plane.carry_out(&mut late).await;
    assert_eq!(plane.observe().await, Observed::default(), "nothing is left behind");

    let mut crashed = planner();
    join(&mut crashed, 2, HandOver::First);
    plane.carry_out(&mut crashed).await;
    assert!(!plane.reconcile(&planner()).await.is_clean(), "what waits for nobody shows");
    assert_eq!(plane.observe().await, Observed::default(), "and goes");
}

async fn who_remembers_an_address_learns_its_new_mac(mut plane: DataPlane) {
    let mut planner = planner();
    populate(&mut planner, 1, plane.sandbox());
    plane.carry_out(&mut planner).await;
    let mac = |n| Mac::from_bytes([2, 0, 0, 0, 1, n]);
    let known: [IpAddr; 2] = ["10.1.0.20".parse().unwrap(), "fd01::20".parse().unwrap()];
    for ip in known {
        plane.remember(&Neighbour { ip, mac: mac(20) });
    }
    let mut tell = |event, endpoint: u8, v4: &str, v6: Option<&str>, mac| {
        let record = PeerRecord {
            v4: Some(v4.parse().unwrap()),
            v6: v6.map(|v6| v6.parse().unwrap()),
            mac,
            vtep: IpAddr::from([192, 0, 2, 20]),
            stamp: Stamp::default(),
            replaces: None,
        };
        let key = eid(endpoint).to_string();
        planner.event_notify(event, nid(1), PEER_TABLE, &key, &record.encode()).unwrap();
    };
    tell(Event::Create, 102, "10.1.0.30/24", None, mac(30));
    tell(Event::Update, 102, "10.1.0.30/24", None, mac(31));
    tell(Event::Delete, 100, "10.1.0.20/24", None, mac(20));
    tell(Event::Create, 103, "10.1.0.20/24", Some("fd01::20/64"), mac(21));
    plane.carry_out(&mut planner).await;
    // What was sent first has arrived first.
    let learnt = async {
        while known.iter().any(|ip| plane.remembers(*ip) != Some(mac(21))) {
            tokio::task::yield_now().await;
        }
    };
    let learnt = tokio::time::timeout(Duration::from_secs(2), learnt).await;
    assert!(learnt.is_ok(), "{:?}", known.map(|ip| plane.remembers(ip)));
    assert_eq!(plane.remembers("10.1.0.30".parse().unwrap()), None, "it never spoke to that one");
}

#[tokio::test]
async fn the_fake_kernel_tells_of_a_new_mac() {
    let plane = DataPlane::Fake(FakeKernel::new());
    who_remembers_an_address_learns_its_new_mac(plane).await;
}

#[tokio::test]
async fn linux_tells_of_a_new_mac() {
    who_remembers_an_address_learns_its_new_mac(DataPlane::linux()).await;
}

#[tokio::test]
async fn the_fake_kernel_hands_over() {
    let plane = DataPlane::Fake(FakeKernel::new());
    a_hand_over_is_taken_adopted_and_ends_with_its_container(plane).await;
}

#[tokio::test]
async fn linux_hands_over() {
    a_hand_over_is_taken_adopted_and_ends_with_its_container(DataPlane::linux()).await;
}

#[tokio::test]
async fn the_fake_kernel_fulfils_plans() {
    let plane = DataPlane::Fake(FakeKernel::new());
    a_plan_is_carried_out_adopted_repaired_and_taken_back(plane).await;
}

#[tokio::test]
async fn linux_fulfils_plans() {
    a_plan_is_carried_out_adopted_repaired_and_taken_back(DataPlane::linux()).await;
}
