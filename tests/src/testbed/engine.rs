//! A Docker engine in a host's world, and its command line.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::container::Container;
use super::eventually;
use super::process::Process;
use super::program::Ran;
use super::world::{self, Entrance};

/// The image that each engine has: a static busybox, which sleeps unless told otherwise.
pub const IMAGE: &str = "weft-test:1";
/// Lines of an engine's log that a failed test shows.
const LOG_LINES: usize = 30;
/// How long a command may take before it is killed, in seconds: an engine that waits for a plugin
/// waits for 30 each time.
const COMMAND_SECONDS: &str = "120";
/// An engine's settings: each container has a first process that ends when told to.
const SETTINGS: &str = r#"{"init": true}"#;

/// A real `dockerd`, when it runs, with a containerd of its own.
#[derive(Debug)]
pub struct Engine {
    /// That of its host: `h1`, `h2` and so on.
    pub name: String,
    /// Its command line.
    pub cli: Cli,
    entrance: Entrance,
    directory: PathBuf,
    cgroup: String,
    process: Option<Process>,
}

/// The command line of an engine.
#[derive(Debug, Clone)]
pub struct Cli {
    directory: PathBuf,
    entrance: Entrance,
}

impl Engine {
    /// `host` is the directory of the host, in whose world the engine is to run.
    pub(super) fn new(name: &str, entrance: Entrance, host: &Path) -> Self {
        let directory = host.join("docker");
        fs::write(directory.join("daemon.json"), SETTINGS).expect("a file");
        let cli = Cli { directory: directory.clone(), entrance };
        let cgroup = world::cgroup(host);
        Self { name: name.to_owned(), cli, entrance, directory, cgroup, process: None }
    }

    /// Starts it; `more` are arguments beside the usual ones, `--live-restore` say.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&mut self, more: &[&str]) {
        let place =
            |flag: &str, name: &str| format!("{flag}{}", self.directory.join(name).display());
        let mut command = Command::new("dockerd");
        command
            .args([
                place("--host=unix://", "docker.sock"),
                place("--data-root=", "data"),
                "--pidfile=/run/docker.pid".to_owned(),
                place("--config-file=", "daemon.json"),
                format!("--cgroup-parent=/{}", self.cgroup),
            ])
            .args([
                "--storage-driver=vfs",
                "--exec-opt=native.cgroupdriver=cgroupfs",
                "--log-level=warn",
            ])
            .args(more);
        let log = File::options().create(true).append(true).open(self.directory.join("log"));
        self.process = Some(Process::spawn_in(self.entrance, &command, log.expect("a log file")));
    }

    /// Waits until it answers.
    ///
    /// # Panics
    /// When it ends, or does not answer in time.
    pub async fn answers(&mut self) {
        let process = self.process.as_mut().expect("an engine that was started");
        let (cli, name) = (&self.cli, &self.name);
        eventually(&format!("the engine of {name} answers"), async || {
            let ended = process.ended();
            assert!(ended.is_none(), "the engine of {name} ended: {ended:?}");
            // A request waits until the engine is done with its start.
            UnixStream::connect(cli.directory.join("docker.sock")).ok()?;
            (cli.run(&["version"]).code == 0).then_some(())
        })
        .await;
    }

    /// True while it was started and not stopped.
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Kills it with SIGKILL. Its containerd goes with it, its containers and shims stay.
    pub fn kill(&mut self) {
        self.process.take().expect("an engine that runs").end_by(Signal::SIGKILL);
    }

    /// Stops it with SIGTERM, and checks that it ends well. Its containers stop too unless it was
    /// started with `--live-restore`.
    pub fn stop(&mut self) {
        let ended = self.process.take().expect("an engine that runs").end_by(Signal::SIGTERM);
        assert!(ended.success(), "the engine of {} stops in good order: {ended}", self.name);
    }

    /// Runs `docker`.
    pub fn docker(&self, arguments: &[&str]) -> Ran {
        self.cli.run(arguments)
    }

    /// Runs a container of the test's image that sleeps, with arguments of `docker run`.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn run(&self, arguments: &[&str]) -> Container {
        self.run_program(arguments, &[])
    }

    /// Runs a container of the test's image, with arguments of `docker run` and a program.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn run_program(&self, arguments: &[&str], program: &[&str]) -> Container {
        let run = ["run", "--detach", "--pull", "never"];
        let id = self.docker(&[&run, arguments, &[IMAGE], program].concat()).line();
        self.container(&id)
    }

    /// Makes the engine's network of a name from the cluster's network of the same name; `more`
    /// are arguments of `docker network create`.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn create_network(&self, name: &str, more: &[&str]) {
        let option = format!("network={name}");
        let create = ["network", "create", "--driver", "weft"];
        let ipam = ["--ipam-driver", "weft", "--ipam-opt", &option];
        self.docker(&[&create, &ipam, more, &[name]].concat()).line();
    }

    /// Removes the engine's network.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn remove_network(&self, name: &str) {
        self.docker(&["network", "rm", name]).line();
    }

    /// A container by its name or id.
    pub fn container(&self, name: &str) -> Container {
        Container::new(name, self.cli.clone())
    }

    /// What it wrote to standard output and standard error, over all starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Shows the end of its log; for a test that failed.
    pub(super) fn show_log(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().rev().take(LOG_LINES).collect();
        for line in lines.iter().rev() {
            eprintln!("docker {} | {line}", self.name);
        }
    }
}

/// The client that came with the engine, where it did: a newer one refuses what the engine can.
fn client() -> &'static str {
    let beside_engine = "/usr/bin/docker";
    if Path::new(beside_engine).exists() { beside_engine } else { "docker" }
}

impl Cli {
    /// A command of `docker` against this engine.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.bounded(client(), arguments)
    }

    /// Runs a command of `docker` against this engine.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().expect("docker starts"))
    }

    /// Runs Debian's `docker-compose` against this engine, in a directory with a file
    /// `docker-compose.yml`.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn compose(&self, directory: &Path, arguments: &[&str]) -> Ran {
        let mut command = self.bounded("/usr/bin/docker-compose", arguments);
        Ran::of(&command.current_dir(directory).output().expect("docker-compose starts"))
    }

    fn bounded(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", COMMAND_SECONDS, program]).args(arguments);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("DOCKER_") || name.starts_with("COMPOSE_") {
                command.env_remove(&*name);
            }
        }
        let socket = format!("unix://{}", self.directory.join("docker.sock").display());
        command.env("DOCKER_HOST", socket);
        command.env("DOCKER_CONFIG", self.directory.join("client"));
        command.stdin(Stdio::null());
        command
    }

    pub(super) fn entrance(&self) -> Entrance {
        self.entrance
    }
}
