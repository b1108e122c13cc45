//! The overlay driver hands interfaces over as a container engine wants it, on the real kernel.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(
    clippy::disallowed_methods,
    reason = "what the kernel did is waited for, and a wait has an end"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weft_agent::overlay_driver::options::{self, ADOPT, HANDOVER};
use weft_agent::overlay_driver::{OverlayDriver, Vanished};
use weft_api::driver::{
    Driver, DriverError, Interface, JoinResult, NetworkRegistration, Options, Scope,
};
use weft_api::error::Kind;
use weft_api::{Definition, EndpointId, NetworkId, NodeId, Stamp, Subnet, Vni};
use weft_overlay::netlink::namespace::{make_anonymous, release_directory};
use weft_overlay::netlink::sandbox::{self, Interface as Wanted};
use weft_overlay::netlink::{Connection, Executor, Namespace, link};
use weft_overlay::{Host, PEER_TABLE, Planner, names};

const NETWORK: NetworkId = NetworkId::from_bytes([0xda; 16]);
const SANDBOX_KEY: &str = "/var/run/docker/netns/1a2b3c4d5e6f";
/// Longest wait for what the reconciler does by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A host, which outlives its agents. All goes when the value is dropped.
struct Bed {
    host: Namespace,
    run_dir: tempfile::TempDir,
}

impl Drop for Bed {
    fn drop(&mut self) {
        // A drop has nobody to tell.
        let _ = release_directory(self.run_dir.path().join("netns"));
    }
}

/// One run of the agent's overlay task, with the network and its endpoints known.
struct Run {
    driver: OverlayDriver,
    vanished: mpsc::Receiver<Vanished>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn eid(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

fn definition() -> Definition {
    Definition {
        id: NETWORK,
        name: "blue".to_owned(),
        driver: "overlay".to_owned(),
        ipam: "weft".to_owned(),
        subnets: vec![Subnet {
            pool: "10.66.0.0/24".parse().unwrap(),
            gateway: Some("10.66.0.1".parse().unwrap()),
            range: None,
            auxiliary: BTreeMap::new(),
            vni: Vni::new(6600).unwrap(),
        }],
        options: BTreeMap::new(),
        mtu: None,
        internal: true,
        stamp: Stamp::default(),
    }
}

impl Bed {
    fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make network namespaces: run them as root"
        );
        Self { host: make_anonymous().unwrap(), run_dir: tempfile::tempdir().unwrap() }
    }

    async fn run(&self) -> Run {
        let executor =
            Executor::new_in(self.host.try_clone().unwrap(), self.run_dir.path()).unwrap();
        let planner = Planner::new(Host {
            node: NodeId::default(),
            vtep: [192, 0, 2, 1].into(),
            vxlan_port: 4789,
            uplink_mtu: 1500,
        });
        let (to_vanished, vanished) = mpsc::channel(8);
        let every = Duration::from_millis(20);
        let (driver, task) = OverlayDriver::new(planner, executor, every, to_vanished);
        let stop = CancellationToken::new();
        let task = tokio::spawn(task.run(stop.clone()));
        let (options, v4, v6) = options::options_of(&definition());
        let mut tables = NetworkRegistration::new(Scope::Global);
        driver.create_network(NETWORK, &options, &mut tables, &v4, &v6).await.unwrap();
        for n in [1, 2] {
            let address = Some(format!("10.66.0.{}/24", 10 + n).parse().unwrap());
            let mut interface = Interface { address, ..Interface::default() };
            driver.create_endpoint(NETWORK, eid(n), &mut interface, &Options::new()).await.unwrap();
        }
        Run { driver, vanished, stop, task }
    }

    async fn in_host(&self, name: &str) -> bool {
        let mut outside = Connection::open(&self.host).await.unwrap();
        link::find(&mut outside, name).await.unwrap().is_some()
    }

    async fn port(&self, n: u8) -> link::Link {
        let pin = self.run_dir.path().join("netns").join(names::namespace(NETWORK));
        let mut inside = Connection::open(&Namespace::open(pin).unwrap()).await.unwrap();
        link::get(&mut inside, &names::port(eid(n))).await.unwrap()
    }

    /// Does as libnetwork with the answer to a join.
    async fn take(&self, joined: &JoinResult, address: &str) -> Namespace {
        let container = make_anonymous().unwrap();
        let mut outside = Connection::open(&self.host).await.unwrap();
        let wanted = Wanted {
            ifname: format!("{}0", joined.dst_prefix),
            mac: None,
            mtu: None,
            addresses: vec![address.parse().unwrap()],
            routes: Vec::new(),
        };
        let from = (&mut outside, &self.host);
        sandbox::move_in(from, &joined.src_name, &container, &wanted).await.unwrap();
        container
    }
}

impl Run {
    async fn join(&self, n: u8, labels: &[&str]) -> Result<JoinResult, DriverError> {
        let options = labels.iter().map(|label| ((*label).to_owned(), true.into())).collect();
        let mut joined = JoinResult::default();
        self.driver.join(NETWORK, eid(n), SANDBOX_KEY, &mut joined, &options).await?;
        Ok(joined)
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Waits for what the reconciler brings about.
async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_hand_over_names_the_link_and_leaves_gateways_to_the_caller() {
    let bed = Bed::new();
    let run = bed.run().await;
    let joined = run.join(1, &[HANDOVER]).await.unwrap();
    assert_eq!(
        (joined.src_name.as_str(), joined.dst_prefix.as_str()),
        (&*names::handed(eid(1)), "eth")
    );
    assert!(!joined.gateway_service_disabled && joined.gateway.is_none());
    assert_eq!(joined.table_entries.len(), 1);
    assert_eq!(joined.table_entries[0].table, PEER_TABLE);
    assert!(bed.in_host(&joined.src_name).await);
    let again = run.join(1, &[HANDOVER]).await.unwrap_err();
    assert_eq!(again.kind(), Kind::Forbidden, "{again}");
    run.driver.leave(NETWORK, eid(1)).await.unwrap();
    assert!(!bed.in_host(&joined.src_name).await);
    run.end().await;
}

#[tokio::test]
async fn a_restart_adopts_what_is_in_its_container_and_tells_when_it_is_gone() {
    let bed = Bed::new();
    let first = bed.run().await;
    let joined = first.join(1, &[HANDOVER]).await.unwrap();
    let container = bed.take(&joined, "10.66.0.11/24").await;
    first.end().await;
    let before = bed.port(1).await;

    let mut second = bed.run().await;
    let adopted = second.join(1, &[HANDOVER, ADOPT]).await.unwrap();
    assert_eq!(adopted.table_entries, joined.table_entries);
    second.driver.set_restored().await;
    assert_eq!(bed.port(1).await, before);

    let mut inside = Connection::open(&container).await.unwrap();
    link::remove(&mut inside, "eth0").await.unwrap();
    let told = tokio::time::timeout(PATIENCE, second.vanished.recv()).await.unwrap().unwrap();
    let sandbox_key = SANDBOX_KEY.to_owned();
    assert_eq!(told, Vanished { network: NETWORK, endpoint: eid(1), sandbox_key });
    assert!(!bed.in_host(&joined.src_name).await, "nothing is made in its place");
    second.end().await;
}

#[tokio::test]
async fn adoption_of_what_is_gone_is_not_found_and_cuts_nobody_off() {
    let bed = Bed::new();
    let first = bed.run().await;
    let joined = first.join(1, &[HANDOVER]).await.unwrap();
    let container = bed.take(&joined, "10.66.0.11/24").await;
    first.end().await;
    let before = bed.port(1).await;

    let second = bed.run().await;
    // The other one is asked for first, and nobody is joined yet.
    let gone = second.join(2, &[HANDOVER, ADOPT]).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound, "{gone}");
    assert!(gone.to_string().contains(&names::port(eid(2))), "{gone}");
    assert_eq!(bed.port(1).await, before);
    second.join(1, &[HANDOVER, ADOPT]).await.unwrap();
    second.driver.set_restored().await;
    assert_eq!(bed.port(1).await, before);
    let mut inside = Connection::open(&container).await.unwrap();
    assert!(link::get(&mut inside, "eth0").await.unwrap().carrier);
    second.end().await;
}

#[tokio::test]
async fn what_a_crash_left_in_the_host_goes_once_the_rest_is_restored() {
    let bed = Bed::new();
    let first = bed.run().await;
    let joined = first.join(1, &[HANDOVER]).await.unwrap();
    first.end().await;
    let second = bed.run().await;
    assert!(bed.in_host(&joined.src_name).await);
    second.driver.set_restored().await;
    until("the removal of a stray", async || !bed.in_host(&joined.src_name).await).await;
    second.end().await;
}
