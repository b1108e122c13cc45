//! Hosts on one underlay. All goes when the value is dropped, after a panic too.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use tempfile::TempDir;
use weft_api::{EndpointId, Mac, Vni};
use weft_overlay::names;
use weft_overlay::netlink::namespace::{make_anonymous, release_directory};
use weft_overlay::netlink::{Connection, Executor, Namespace, address, bridge, link, veth};
use weft_overlay::op::{
    Bridge, EndpointLink, FdbEntry, HandOver, HandedLink, KernelOp, Neighbour, Place, Route, Vxlan,
    WayOut,
};

pub(crate) const NETWORK: &str = "net-a";
pub(crate) const BRIDGE: &str = "br0";
pub(crate) const VXLAN: &str = "vx0";
pub(crate) const MTU: u32 = 1450;

/// Which family the underlay speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Underlay {
    V4,
    V6,
}

/// Hosts and the switch between them.
pub(crate) struct Bed {
    pub(crate) hosts: Vec<Host>,
    _switch: Namespace,
}

/// One host: a namespace with an uplink, and the executor in it.
pub(crate) struct Host {
    pub(crate) number: u8,
    pub(crate) namespace: Namespace,
    pub(crate) executor: Executor,
    pub(crate) vtep: IpAddr,
    run_dir: TempDir,
}

impl Drop for Host {
    fn drop(&mut self) {
        // A drop has nobody to tell.
        let _ = release_directory(self.run_dir.path().join("netns"));
    }
}

/// One endpoint: its sandbox, and what it was given.
pub(crate) struct Endpoint {
    pub(crate) sandbox: Namespace,
    pub(crate) v4: IpAddr,
    pub(crate) v6: IpAddr,
    pub(crate) mac: Mac,
    pub(crate) vtep: IpAddr,
}

/// Addresses of the test network by number.
pub(crate) fn v4(host: u8, number: u8) -> IpAddr {
    IpAddr::from([10, 77, host, number])
}

pub(crate) fn v6(host: u8, number: u8) -> IpAddr {
    IpAddr::from([0xfd77, 0, 0, 0, 0, 0, host.into(), number.into()])
}

pub(crate) fn mac(host: u8, number: u8) -> Mac {
    Mac::from_bytes([2, 0x77, 0, 0, host, number])
}

pub(crate) fn net(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

pub(crate) fn pools() -> Vec<IpNetwork> {
    vec![net("10.77.0.0/16"), net("fd77::/64")]
}

/// A path by which a namespace held here can be opened.
pub(crate) fn path_of(namespace: &Namespace) -> PathBuf {
    use std::os::fd::{AsFd, AsRawFd};
    let fd = namespace.as_fd().as_raw_fd();
    PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id()))
}

impl Bed {
    /// Makes hosts on one switch; fails with one clear sentence without root.
    pub(crate) async fn new(hosts: u8, underlay: Underlay) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make network namespaces: run them as root"
        );
        let switch = make_anonymous().unwrap();
        let mut connection = Connection::open(&switch).await.unwrap();
        bridge::ensure_plain(&mut connection, "switch").await.unwrap();
        let mut bed = Self { hosts: Vec::new(), _switch: switch };
        for number in 1..=hosts {
            let host = Host::new(number, underlay);
            bed.plug(&mut connection, &host).await;
            bed.hosts.push(host);
        }
        bed
    }

    async fn plug(&self, connection: &mut Connection, host: &Host) {
        let (near, far) =
            (veth::End::named(format!("h{}", host.number)), veth::End::named("uplink"));
        veth::create(connection, &near, &far, &host.namespace, 1500).await.unwrap();
        link::set_master(connection, &near.name, "switch").await.unwrap();
        link::set_up(connection, &near.name).await.unwrap();
        let mut inside = Connection::open(&host.namespace).await.unwrap();
        link::set_up(&mut inside, "lo").await.unwrap();
        link::set_up(&mut inside, "uplink").await.unwrap();
        let index = link::get(&mut inside, "uplink").await.unwrap().index;
        let prefix = if host.vtep.is_ipv4() { 24 } else { 64 };
        let own = IpNetwork::new(host.vtep, prefix).unwrap();
        address::add(&mut inside, index, own).await.unwrap();
    }
}

impl Host {
    fn new(number: u8, underlay: Underlay) -> Self {
        let namespace = make_anonymous().unwrap();
        let run_dir = tempfile::Builder::new().prefix("weft-test-").tempdir().unwrap();
        let executor = Executor::new_in(namespace.try_clone().unwrap(), run_dir.path()).unwrap();
        let vtep = match underlay {
            Underlay::V4 => IpAddr::from([192, 0, 2, number]),
            Underlay::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()]),
        };
        Self { number, namespace, executor, vtep, run_dir }
    }

    pub(crate) fn run_dir(&self) -> &std::path::Path {
        self.run_dir.path()
    }

    pub(crate) fn network(&self) -> Namespace {
        Namespace::open(self.executor.pin_path(NETWORK)).unwrap()
    }

    /// The operations that build the network here.
    pub(crate) fn network_ops(&self) -> Vec<KernelOp> {
        let namespace = NETWORK.to_owned();
        vec![
            KernelOp::EnsureNamespace { name: namespace.clone() },
            KernelOp::EnsureBridge { namespace: namespace.clone(), bridge: self.bridge() },
            KernelOp::EnsureVxlan { namespace, vxlan: self.vxlan() },
        ]
    }

    pub(crate) fn bridge(&self) -> Bridge {
        Bridge {
            name: BRIDGE.to_owned(),
            mac: mac(0, 1),
            mtu: self.mtu(),
            addresses: vec![net("10.77.0.1/16"), net("fd77::1/64")],
        }
    }

    pub(crate) fn mtu(&self) -> u32 {
        if self.vtep.is_ipv4() { MTU } else { MTU - 20 }
    }

    pub(crate) fn vxlan(&self) -> Vxlan {
        Vxlan {
            name: VXLAN.to_owned(),
            vni: Vni::new(7777).unwrap(),
            port: 4789,
            local: self.vtep,
            mtu: self.mtu(),
            bridge: BRIDGE.to_owned(),
        }
    }

    pub(crate) fn way_out(&self) -> WayOut {
        WayOut {
            host_link: "wf-a".to_owned(),
            network_link: "out".to_owned(),
            mtu: self.mtu(),
            pools: pools(),
        }
    }

    pub(crate) fn endpoint_link(&self, number: u8, sandbox: &Namespace) -> EndpointLink {
        EndpointLink {
            port: format!("p{number}"),
            bridge: BRIDGE.to_owned(),
            sandbox: Place::Sandbox(path_of(sandbox)),
            ifname: "eth0".to_owned(),
            mac: mac(self.number, number),
            mtu: self.mtu(),
            addresses: vec![
                IpNetwork::new(v4(self.number, number), 16).unwrap(),
                IpNetwork::new(v6(self.number, number), 64).unwrap(),
            ],
            routes: vec![
                Route { to: net("0.0.0.0/0"), via: Some(IpAddr::from([10, 77, 0, 1])) },
                Route { to: net("::/0"), via: Some("fd77::1".parse().unwrap()) },
            ],
        }
    }

    pub(crate) fn handed_link(&self, number: u8, hand_over: HandOver) -> HandedLink {
        HandedLink {
            port: format!("p{number}"),
            bridge: BRIDGE.to_owned(),
            host_link: names::handed(EndpointId::from_bytes([number; 16])),
            mac: mac(self.number, number),
            mtu: self.mtu(),
            hand_over,
        }
    }

    /// Carries operations out; all have to succeed.
    pub(crate) async fn apply(&mut self, ops: Vec<KernelOp>) {
        let failures = self.executor.apply(ops).await;
        let texts: Vec<String> = failures.iter().map(|(i, e)| format!("{i}: {e}")).collect();
        assert!(texts.is_empty(), "host {}: {texts:?}", self.number);
    }

    /// Builds the network here.
    pub(crate) async fn build(&mut self) {
        self.apply(self.network_ops()).await;
    }

    /// Joins an endpoint in a sandbox of its own.
    pub(crate) async fn join(&mut self, number: u8) -> Endpoint {
        let sandbox = make_anonymous().unwrap();
        let link = self.endpoint_link(number, &sandbox);
        let op = KernelOp::EnsureEndpoint { namespace: NETWORK.to_owned(), link };
        self.apply(vec![op]).await;
        Endpoint {
            sandbox,
            v4: v4(self.number, number),
            v6: v6(self.number, number),
            mac: mac(self.number, number),
            vtep: self.vtep,
        }
    }

    /// Tells this host where a peer is.
    pub(crate) async fn learn(&mut self, peer: &Endpoint) {
        self.apply(replace_ops(peer.mac, peer.vtep, &[peer.v4, peer.v6])).await;
    }
}

/// The operations that set a peer.
pub(crate) fn replace_ops(mac: Mac, vtep: IpAddr, ips: &[IpAddr]) -> Vec<KernelOp> {
    let (namespace, device) = (NETWORK.to_owned(), VXLAN.to_owned());
    let fdb = KernelOp::ReplaceFdb {
        namespace: namespace.clone(),
        device: device.clone(),
        entry: FdbEntry { mac, vtep },
    };
    let neighbours = ips.iter().map(|ip| KernelOp::ReplaceNeighbour {
        namespace: namespace.clone(),
        device: device.clone(),
        entry: Neighbour { ip: *ip, mac },
    });
    std::iter::once(fdb).chain(neighbours).collect()
}

/// The operations that remove a peer.
pub(crate) fn remove_ops(mac: Mac, vtep: IpAddr, ips: &[IpAddr]) -> Vec<KernelOp> {
    let (namespace, device) = (NETWORK.to_owned(), VXLAN.to_owned());
    let fdb = KernelOp::RemoveFdb {
        namespace: namespace.clone(),
        device: device.clone(),
        entry: FdbEntry { mac, vtep },
    };
    let neighbours = ips.iter().map(|ip| KernelOp::RemoveNeighbour {
        namespace: namespace.clone(),
        device: device.clone(),
        entry: Neighbour { ip: *ip, mac },
    });
    std::iter::once(fdb).chain(neighbours).collect()
}

/// Three hosts, the network on each, one endpoint each, all told of all.
pub(crate) async fn three_hosts(underlay: Underlay) -> (Bed, Vec<Endpoint>) {
    let mut bed = Bed::new(3, underlay).await;
    let mut endpoints = Vec::new();
    for host in &mut bed.hosts {
        host.build().await;
        endpoints.push(host.join(10).await);
    }
    for host in &mut bed.hosts {
        let own = host.vtep;
        for peer in endpoints.iter().filter(|peer| peer.vtep != own) {
            host.learn(peer).await;
        }
    }
    (bed, endpoints)
}
