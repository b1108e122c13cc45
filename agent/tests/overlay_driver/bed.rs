//! A host with agents' overlay tasks, one after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weft_agent::overlay_driver::{OverlayDriver, Vanished, options};
use weft_api::driver::{
    Driver, DriverError, Interface, JoinResult, NetworkRegistration, Options, Scope,
};
use weft_api::{Definition, EndpointId, NetworkId, NodeId, Stamp, Subnet, Vni};
use weft_overlay::netlink::namespace::{make_anonymous, release_directory};
use weft_overlay::netlink::{Connection, Executor, Namespace, link};
use weft_overlay::{Host, Planner, names};

pub(crate) const NETWORK: NetworkId = NetworkId::from_bytes([0xda; 16]);

/// A host, which outlives its agents. All goes when the value is dropped.
pub(crate) struct Bed {
    pub(crate) host: Namespace,
    run_dir: tempfile::TempDir,
    definition: Definition,
}

impl Drop for Bed {
    fn drop(&mut self) {
        // A drop has nobody to tell.
        let _ = release_directory(self.run_dir.path().join("netns"));
    }
}

/// One run of the agent's overlay task, with the network and its endpoints known.
pub(crate) struct Run {
    pub(crate) driver: OverlayDriver,
    pub(crate) vanished: mpsc::Receiver<Vanished>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub(crate) fn eid(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

fn definition(internal: bool) -> Definition {
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
        internal,
        stamp: Stamp::default(),
    }
}

impl Bed {
    /// A host with an internal network.
    pub(crate) async fn internal() -> Self {
        Self::of(definition(true)).await
    }

    /// A host with a network that has a way out.
    pub(crate) async fn open() -> Self {
        Self::of(definition(false)).await
    }

    async fn of(definition: Definition) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make network namespaces: run them as root"
        );
        let host = make_anonymous().unwrap();
        let mut connection = Connection::open(&host).await.unwrap();
        link::set_up(&mut connection, "lo").await.unwrap();
        Self { host, run_dir: tempfile::tempdir().unwrap(), definition }
    }

    /// Starts an agent here; what ran before has ended.
    pub(crate) async fn run(&self) -> Run {
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
        let (options, v4, v6) = options::options_of(&self.definition);
        let mut tables = NetworkRegistration::new(Scope::Global);
        driver.create_network(NETWORK, &options, &mut tables, &v4, &v6).await.unwrap();
        for n in [1, 2] {
            let address = Some(format!("10.66.0.{}/24", 10 + n).parse().unwrap());
            let mut interface = Interface { address, ..Interface::default() };
            driver.create_endpoint(NETWORK, eid(n), &mut interface, &Options::new()).await.unwrap();
        }
        Run { driver, vanished, stop, task }
    }

    pub(crate) async fn in_host(&self, name: &str) -> bool {
        let mut outside = Connection::open(&self.host).await.unwrap();
        link::find(&mut outside, name).await.unwrap().is_some()
    }

    pub(crate) async fn port(&self, n: u8) -> link::Link {
        let pin = self.run_dir.path().join("netns").join(names::namespace(NETWORK));
        let mut inside = Connection::open(&Namespace::open(pin).unwrap()).await.unwrap();
        link::get(&mut inside, &names::port(eid(n))).await.unwrap()
    }
}

impl Run {
    /// Joins an endpoint with these labels set to true.
    pub(crate) async fn join(
        &self,
        n: u8,
        sandbox_key: &str,
        labels: &[&str],
    ) -> Result<JoinResult, DriverError> {
        let options = labels.iter().map(|label| ((*label).to_owned(), true.into()));
        let name = (options::IFNAME.to_owned(), "eth0".into());
        let options = options.chain([name]).collect();
        let mut joined = JoinResult::default();
        self.driver.join(NETWORK, eid(n), sandbox_key, &mut joined, &options).await?;
        Ok(joined)
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}
