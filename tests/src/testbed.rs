//! Several hosts on one machine, each a network namespace with a real `weft agent` in it, on one
//! underlay. Whatever ends a test, all of it goes with the [`Testbed`].
//!
//! Agents are started by a thread inside the namespace. `ip netns exec` would give them a mount
//! namespace of their own, and the networks they pin would end with them.

mod agent;
mod clock;
mod container;
mod containerd;
mod crowd;
mod docker;
mod engine;
mod fault;
mod ground;
mod kernel;
mod leftovers;
mod managed;
mod process;
mod program;
mod runtime;
mod sandbox;
mod swarm;
mod systemd;
pub mod tap;
mod world;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use weft_agent::client::Client;
use weft_api::control::{
    ClusterState, EndpointResource, InitRequest, JoinRequest, NetworkCreate, NetworkResource,
    SubnetRequest,
};

pub use agent::Host;
pub use clock::Clock;
pub use container::Container;
pub use containerd::{Containerd, Containerds};
pub use docker::{Docker, Shared};
pub use engine::{Cli, Engine, IMAGE};
pub use fault::{Cut, SmallDisk};
pub use ground::{GOSSIP_PORT, Underlay};
pub use kernel::Kernel;
pub use program::{Ran, weft_binary};
pub use runtime::{Runtime, of, pod};
pub use sandbox::{Sandbox, SteadyPing, addresses};
pub use systemd::Systemd;

use ground::Ground;

/// How long anything may take that a test waits for: far more than it needs on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Hosts on one underlay.
#[derive(Debug)]
pub struct Testbed {
    ground: Ground,
    /// The hosts, in the order they were added.
    pub hosts: Vec<Host>,
    directory: TempDir,
}

impl Testbed {
    /// An underlay without hosts.
    ///
    /// # Panics
    /// Without root.
    pub async fn new(underlay: Underlay) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make network namespaces: run them as root"
        );
        Self::new_in(underlay, "weft-e2e-").await
    }

    /// An underlay without hosts, in a directory whose name begins like this.
    async fn new_in(underlay: Underlay, prefix: &str) -> Self {
        let directory = tempfile::Builder::new().prefix(prefix).tempdir().expect("a directory");
        Self { ground: Ground::lay(underlay).await, hosts: Vec::new(), directory }
    }

    /// Hosts with agents, all in one cluster and settled, on an IPv4 underlay.
    pub async fn cluster(hosts: usize) -> Self {
        Self::cluster_on(Underlay::V4, hosts).await
    }

    /// Hosts with agents, all in one cluster and settled.
    pub async fn cluster_on(underlay: Underlay, hosts: usize) -> Self {
        let mut testbed = Self::new(underlay).await;
        for _ in 0..hosts {
            testbed.add_host().await;
        }
        testbed.found(&[]).await;
        testbed
    }

    /// The same, on an IPv4 underlay; each agent reads its configuration from [`Self::config`].
    pub async fn configured(hosts: usize, config: &str) -> Self {
        let mut testbed = Self::new(Underlay::V4).await;
        std::fs::write(testbed.path("weft.toml"), config).expect("a file");
        for _ in 0..hosts {
            testbed.add_host().await;
        }
        let config = testbed.config();
        testbed.found(&["--config", &config]).await;
        testbed
    }

    /// Returns the path of the configuration that [`Self::configured`] wrote.
    pub fn config(&self) -> String {
        self.path("weft.toml").display().to_string()
    }

    /// Starts all agents, with `more` arguments, and makes one cluster of them.
    ///
    /// # Panics
    /// When they do not come together.
    pub async fn found(&mut self, more: &[&str]) {
        for host in &mut self.hosts {
            host.start(more);
        }
        for host in &mut self.hosts {
            host.answers().await;
        }
        self.hosts[0].client.init(&InitRequest::default()).await.expect("init");
        for host in 1..self.hosts.len() {
            self.join(host).await;
        }
        self.settled().await;
    }

    /// Adds a host without an agent, and returns its number.
    pub async fn add_host(&mut self) -> usize {
        let number = self.hosts.len();
        let (namespace, addresses) = self.ground.add_host(number + 1).await;
        let directory = self.directory.path().join(format!("h{}", number + 1));
        self.hosts.push(Host::new(number, namespace, addresses, directory));
        number
    }

    /// Lets a host join the cluster of the first.
    pub async fn join(&self, host: usize) {
        self.hosts[host].client.join(&self.invitation().await).await.expect("join");
    }

    /// What the first host's cluster lets others in by.
    pub async fn invitation(&self) -> JoinRequest {
        let first = &self.hosts[0];
        let token = first.client.token().await.expect("token").token;
        JoinRequest { token, seeds: vec![SocketAddr::new(first.address(), GOSSIP_PORT)] }
    }

    /// Waits until each agent that runs is ready and knows exactly the others that run as alive.
    pub async fn settled(&self) {
        let running: Vec<&Host> = self.hosts.iter().filter(|host| host.runs()).collect();
        let count = running.len() as u64;
        for host in running {
            eventually(&format!("{} knows {count} members", host.name), async || {
                let status = host.client.status().await.ok()?;
                (status.state == ClusterState::Ready && status.members.alive == count).then_some(())
            })
            .await;
        }
    }

    /// Makes a network namespace to attach.
    pub fn sandbox(&self, name: &str) -> Sandbox {
        Sandbox::make(self.directory.path().join(format!("ns-{name}")))
    }

    /// Returns a path of this testbed's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Cuts a host off the underlay, for good.
    pub async fn cut_off(&mut self, host: usize) {
        self.ground.cut_off(host + 1).await;
    }

    /// Makes a sandbox and attaches it to a network on a host.
    pub async fn attach(
        &self,
        host: usize,
        network: &str,
        name: &str,
    ) -> (Sandbox, EndpointResource) {
        let sandbox = self.sandbox(&format!("{network}-{name}"));
        let endpoint = self.hosts[host].attach(network, name, &sandbox).await;
        (sandbox, endpoint)
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            host.end();
        }
        // Mounts can be stacked: a network's pin on a shared directory, once for each start.
        for _ in 0..100 {
            let mounts = mounts_below(self.directory.path());
            for path in mounts.iter().rev() {
                // A drop has nobody to tell; what stays is tried again.
                let _ = umount2(path, MntFlags::MNT_DETACH);
            }
            if mounts.is_empty() {
                break;
            }
        }
    }
}

fn mounts_below(directory: &std::path::Path) -> BTreeSet<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|path| path.starts_with(directory))
        .collect()
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none in time.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, look).await
}

/// Asks again and again until there is an answer, where others than Weft take their time.
///
/// # Panics
/// When there is none in this time.
pub async fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until a node knows a network of this name.
pub async fn knows(client: &Client, network: &str) -> NetworkResource {
    eventually(&format!("network `{network}` is known"), async || {
        client.network(network, weft_agent::control::Detail::Plain).await.ok()
    })
    .await
}

/// A network with explicit subnets.
pub fn with_subnets(name: &str, subnets: &[&str]) -> NetworkCreate {
    let subnets = subnets.iter().map(|s| SubnetRequest::of(s.parse().expect("a subnet"))).collect();
    NetworkCreate { subnets, ..NetworkCreate::named(name) }
}
