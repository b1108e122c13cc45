//! Hosts with a real containerd each, beside an agent, and its command line `ctr`.

use std::fs::{self, File};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::Process;
use super::program::{self, Ran};
use super::sandbox::Sandbox;
use super::world::{self, Entrance};
use super::{Testbed, docker, eventually};

/// Where it listens, in a host's own /run.
const SOCKET: &str = "/run/ctr.sock";
/// How long a command may take before it is killed, in seconds.
const COMMAND_SECONDS: &str = "60";
/// Puts places of the host's own where CNI has fixed ones: configurations, the cache, and plugins,
/// which begin as links to the machine's.
const PLACES: &str = r#"set -eu
mkdir -p /run/cni-plugins /usr/lib/cni /opt/cni/bin /etc/cni /var/lib/cni
mount --bind /usr/lib/cni /run/cni-plugins
for place in /usr/lib/cni /opt/cni/bin /etc/cni /var/lib/cni; do
  mount -t tmpfs tmpfs "$place"
done
ln -s /run/cni-plugins/* /usr/lib/cni/
ln -s /run/cni-plugins/* /opt/cni/bin/
mkdir /etc/cni/net.d
"#;

/// Hosts with a containerd each. The agents beside them are one cluster.
#[derive(Debug)]
pub struct Containerds {
    /// The runtimes, in the order of the hosts.
    pub runtimes: Vec<Containerd>,
    /// The hosts.
    pub testbed: Testbed,
}

/// A real `containerd` that runs.
#[derive(Debug)]
pub struct Containerd {
    entrance: Entrance,
    directory: PathBuf,
    group: String,
    process: Process,
}

impl Containerds {
    /// Hosts with runtimes and agents that run and are settled.
    ///
    /// # Panics
    /// Without root, or without containerd.
    pub async fn cluster(hosts: usize) -> Self {
        let (mut testbed, entrances) = docker::hosts_with_worlds(hosts).await;
        testbed.found(&[]).await;
        let image = testbed.path("image");
        docker::make_root(&image);
        let mut runtimes = Vec::new();
        for (host, entrance) in testbed.hosts.iter().zip(entrances) {
            runtimes.push(Containerd::start(entrance, host.directory()).await);
        }
        Self { runtimes, testbed }
    }

    /// Runs a container that sleeps until it is killed, attached by the host's CNI configuration.
    ///
    /// # Panics
    /// When the runtime refuses.
    pub fn run(&self, host: usize, name: &str) -> Sandbox {
        self.start(host, name, &["--detach"], &["/bin/sleep", "inf"]).done();
        self.runtimes[host].sandbox(name)
    }

    /// Runs a program in a container to its end.
    ///
    /// # Panics
    /// When `ctr` cannot be started.
    pub fn run_to_end(&self, host: usize, name: &str, program: &[&str]) -> Ran {
        self.start(host, name, &["--rm"], program)
    }

    fn start(&self, host: usize, name: &str, more: &[&str], program: &[&str]) -> Ran {
        let root = self.testbed.path("image");
        let place = [root.to_str().expect("a path of ours"), name];
        let run = ["run", "--cni", "--rootfs"];
        self.runtimes[host].ctr(&[&run, more, &place, program].concat())
    }
}

impl Containerd {
    async fn start(entrance: Entrance, host: &Path) -> Self {
        let directory = host.join("containerd");
        fs::create_dir_all(&directory).expect("a directory");
        let settings = directory.join("config.toml");
        let root = directory.join("root");
        let text = format!(
            "version = 2\nroot = {root:?}\nstate = \"/run/ctr\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {SOCKET:?}\n"
        );
        fs::write(&settings, text).expect("a file");
        let mut places = Command::new("bash");
        places.args(["-c", PLACES]);
        let made = entrance.enter(&places).status().expect("nsenter starts");
        assert!(made.success(), "the places of CNI: {made}");

        let log = File::create(directory.join("log")).expect("a log file");
        let mut command = Command::new("containerd");
        command.arg("--config").arg(settings);
        let process = Process::spawn_in(entrance, &command, log);
        let group = world::cgroup(host);
        let mut containerd = Self { entrance, directory, group, process };
        eventually("containerd answers", async || {
            let ended = containerd.process.ended();
            assert!(ended.is_none(), "containerd ended: {ended:?}: {}", containerd.log());
            (containerd.ctr(&["version"]).code == 0).then_some(())
        })
        .await;
        containerd
    }

    /// Runs `ctr` against it.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn ctr(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", COMMAND_SECONDS, "ctr", "--address", SOCKET])
            // Cgroups are called by it, and are the host's own so.
            .args(["--namespace", &self.group])
            .args(arguments);
        self.inside(&command)
    }

    /// Runs `weft` where the runtime runs, and finds the same plugins and configurations.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn weft(&self, arguments: &[&str]) -> Ran {
        let mut command = program::command();
        command.args(arguments);
        self.inside(&command)
    }

    /// The id CNI knows a container by.
    pub fn container_id(&self, name: &str) -> String {
        format!("{}-{name}", self.group)
    }

    /// Kills a container and removes it. `ctr` leaves what CNI made.
    ///
    /// # Panics
    /// When the runtime refuses.
    pub async fn remove(&self, name: &str) {
        self.ctr(&["task", "kill", "--signal", "KILL", name]).done();
        eventually("the container has ended", async || {
            // It says so with the code of what was killed.
            let removed = self.ctr(&["task", "rm", name]);
            removed.stderr.contains("exit with non-zero exit code").then_some(())
        })
        .await;
        self.ctr(&["container", "rm", name]).done();
    }

    /// What it wrote to standard output and standard error.
    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn sandbox(&self, name: &str) -> Sandbox {
        let tasks = self.ctr(&["task", "ls"]);
        tasks.done();
        let process = tasks.stdout.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
        });
        let process = process.unwrap_or_else(|| panic!("no `{name}` in {tasks:?}"));
        Sandbox::open(self.entrance.namespace_of(process))
    }

    fn inside(&self, command: &Command) -> Ran {
        Ran::of(&self.entrance.enter(command).output().expect("nsenter starts"))
    }
}

impl Deref for Containerds {
    type Target = [Containerd];

    fn deref(&self) -> &[Containerd] {
        &self.runtimes
    }
}
