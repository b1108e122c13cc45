//! Hosts with a real Docker engine each, beside an agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::mount::{MntFlags, umount2};
use tokio::runtime::Runtime;

use super::engine::{Engine, IMAGE};
use super::ground::UPLINK;
use super::world::Entrance;
use super::{Host, Testbed, Underlay, mounts_below};

/// Where the image's one program comes from: Debian's busybox-static.
const BUSYBOX: &str = "/bin/busybox";
/// Beginning of the name of a testbed's directory; the process id follows.
const PREFIX: &str = "weft-docker-";
/// Hosts of the testbed that the tests of one program share.
const SHARED_HOSTS: usize = 3;
/// Where an agent serves its engine; each host has its own /run/docker.
const PLUGIN: &str = "/run/docker/plugins/weft.sock";

/// Hosts with an engine each. The agents beside them are one cluster and serve their engines.
#[derive(Debug)]
pub struct Docker {
    /// The engines, in the order of the hosts.
    pub engines: Vec<Engine>,
    /// The hosts.
    pub testbed: Testbed,
    pub(super) mode: Mode,
}

/// How the engines stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Standalone,
    Swarm,
}

impl Docker {
    /// Hosts with engines and agents that run and are settled.
    ///
    /// # Panics
    /// Without root, or without Docker.
    pub async fn cluster(hosts: usize) -> Self {
        Self::cluster_with(hosts, &[]).await
    }

    /// As [`Docker::cluster`], with arguments for the engines: `--live-restore` say.
    ///
    /// # Panics
    /// Without root, or without Docker.
    pub async fn cluster_with(hosts: usize, more: &[&str]) -> Self {
        let mut docker = Self::hosts(hosts).await;
        docker.testbed.found(&["--docker-socket", PLUGIN]).await;
        docker.start(more).await;
        docker
    }

    /// Hosts with engines that do not run yet, and without agents.
    ///
    /// # Panics
    /// Without root, or without Docker.
    pub async fn hosts(hosts: usize) -> Self {
        let (testbed, entrances) = hosts_with_worlds(hosts).await;
        let engine =
            |(host, entrance): (&Host, _)| Engine::new(&host.name, entrance, host.directory());
        let engines = testbed.hosts.iter().zip(entrances).map(engine).collect();
        Self { engines, testbed, mode: Mode::Standalone }
    }

    /// Starts all engines, `more` as for [`Engine::start`], and gives each the image.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn start(&mut self, more: &[&str]) {
        for engine in &mut self.engines {
            engine.start(more);
        }
        let layer = self.testbed.path("image.tar");
        make_layer(&self.testbed.path("image"), &layer);
        for engine in &mut self.engines {
            engine.answers().await;
            let layer = layer.to_str().expect("a path of ours");
            engine.docker(&["import", "--change", r#"CMD ["sleep", "inf"]"#, layer, IMAGE]).line();
        }
    }

    /// Starts one agent, as [`Docker::cluster`] does, and waits for it.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_agent(&mut self, host: usize) {
        self.testbed.hosts[host].start(&["--docker-socket", PLUGIN]);
        self.testbed.hosts[host].answers().await;
    }

    /// Takes the power from a host whose engine and agent run, and boots it: what is on its disk is
    /// there, all else is not. The agent starts before its engine, as the unit file has it.
    ///
    /// # Panics
    /// When something outlives it, or does not start.
    pub async fn reboot(&mut self, host: usize) {
        self.engines[host].kill();
        self.testbed.hosts[host].kill();
        let directory = self.testbed.hosts[host].directory();
        self.engines[host].cli.entrance().reboot(directory, UPLINK);
        self.start_agent(host).await;
        self.engines[host].start(&[]);
        self.engines[host].answers().await;
    }

    fn show_logs(&self) {
        for engine in &self.engines {
            engine.show_log();
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
    }
}

/// The testbed of all tests of one program that leave engines and agents running: three hosts.
/// Names of networks and containers are the test's own, and it removes them.
#[derive(Debug)]
pub struct Shared(&'static Docker);

impl Shared {
    /// Returns it, made by the first that asks. It lasts until the program ends.
    ///
    /// # Panics
    /// Without root, or without Docker.
    pub async fn docker() -> Self {
        static MADE: OnceLock<(Docker, Runtime)> = OnceLock::new();
        let make = || {
            // Each test has a runtime of its own; what all share needs one that lasts.
            let runtime = Runtime::new().expect("a runtime");
            (runtime.block_on(Docker::cluster(SHARED_HOSTS)), runtime)
        };
        let made = tokio::task::spawn_blocking(move || &MADE.get_or_init(make).0).await;
        Self(made.expect("a testbed"))
    }
}

impl std::ops::Deref for Shared {
    type Target = Docker;

    fn deref(&self) -> &Docker {
        self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.show_logs();
        }
    }
}

/// Hosts with a world each, and the ways in.
pub(super) async fn hosts_with_worlds(hosts: usize) -> (Testbed, Vec<Entrance>) {
    sweep();
    let prefix = format!("{PREFIX}{}-", std::process::id());
    let mut testbed = Testbed::new_in(Underlay::V4, &prefix).await;
    let mut entrances = Vec::new();
    for _ in 0..hosts {
        let number = testbed.add_host().await;
        entrances.push(testbed.hosts[number].make_world());
    }
    (testbed, entrances)
}

/// Makes a container's root directory: busybox and a link for each of its programs.
pub(super) fn make_root(directory: &Path) {
    let bin = directory.join("bin");
    fs::create_dir_all(&bin).expect("a directory");
    for name in ["tmp", "etc", "proc", "sys", "dev"] {
        fs::create_dir_all(directory.join(name)).expect("a directory");
    }
    fs::copy(BUSYBOX, bin.join("busybox"))
        .unwrap_or_else(|error| panic!("{BUSYBOX}: {error}; install busybox-static"));
    let list = Command::new(BUSYBOX).arg("--list").output().expect("busybox runs");
    let list = String::from_utf8(list.stdout).expect("names");
    for name in list.lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", bin.join(name)).expect("a link");
    }
}

/// Packs such a directory.
fn make_layer(directory: &Path, layer: &Path) {
    make_root(directory);
    let packed =
        Command::new("tar").arg("-C").arg(directory).arg("-cf").arg(layer).arg(".").status();
    assert!(packed.expect("tar runs").success(), "tar packs the image");
}

/// Removes what runs left behind that were killed together with the keepers of their worlds.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).expect("a directory").flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        let Some(process) = process else { continue };
        if Path::new("/proc").join(process).exists() {
            continue;
        }
        let directory: PathBuf = entry.path();
        for point in mounts_below(&directory).iter().rev() {
            // Another run may sweep too; what stays is swept by the next.
            let _ = umount2(point, MntFlags::MNT_DETACH);
        }
        if mounts_below(&directory).is_empty() {
            let _ = fs::remove_dir_all(&directory);
        }
    }
}
