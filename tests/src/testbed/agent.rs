//! A host, and the agent process in it.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};
use weft_agent::client::Client;
use weft_api::control::{
    AttachRequest, Check, CheckStatus, DetachRequest, DoctorReport, EndpointResource,
};
use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::run_in;

use super::clock::Clock;
use super::kernel::Kernel;
use super::process::Process;
use super::program::{self, Ran};
use super::sandbox::Sandbox;
use super::world::{Entrance, World};
use super::{PATIENCE, eventually};

/// The agent's control socket in its run directory.
const SOCKET: &str = "weft.sock";
/// Lines of an agent's log that a failed test shows.
const LOG_LINES: usize = 30;
/// Between two looks of `weft doctor`, which tries what the kernel can.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// A host on the underlay; its agent, when it runs.
#[derive(Debug)]
pub struct Host {
    /// `h1`, `h2` and so on.
    pub name: String,
    /// Speaks to its agent.
    pub client: Client,
    /// Its network namespace.
    pub namespace: Namespace,
    addresses: [IpAddr; 2],
    directory: PathBuf,
    run_dir: PathBuf,
    process: Option<Process>,
    world: Option<World>,
    environment: Vec<(String, PathBuf)>,
}

impl Host {
    pub(super) fn new(
        number: usize,
        namespace: Namespace,
        addresses: [IpAddr; 2],
        directory: PathBuf,
    ) -> Self {
        fs::create_dir_all(&directory).expect("a directory");
        let run_dir = directory.join("run");
        let client = Client::new(run_dir.join(SOCKET));
        let name = format!("h{}", number + 1);
        let (process, world, environment) = (None, None, Vec::new());
        Self { name, client, namespace, addresses, directory, run_dir, process, world, environment }
    }

    /// Gives it process and mount namespaces of its own, and a /run; where they are entered.
    pub(super) fn make_world(&mut self) -> Entrance {
        self.run_dir = self.directory.join("host-run/weft");
        self.client = Client::new(self.run_dir.join(SOCKET));
        let world = World::make(&self.namespace, &self.directory);
        self.world.insert(world).entrance()
    }

    /// What is its own on disk.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The address its agent advertises.
    pub fn address(&self) -> IpAddr {
        self.addresses[0]
    }

    /// Its addresses on the underlay, of both families.
    pub fn addresses(&self) -> [IpAddr; 2] {
        self.addresses
    }

    /// Where its agent keeps state.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Where its agent has its socket and pins.
    pub fn run_dir(&self) -> PathBuf {
        self.run_dir.clone()
    }

    /// What its agent wrote to standard output and standard error, over all starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// The agent's command line, with `more` arguments; they go over the usual ones.
    pub fn agent_command(&self, more: &[&str]) -> Command {
        let config = self.directory.join("weft.toml");
        if !config.exists() {
            // The machine's own configuration is not the test's.
            fs::write(&config, "").expect("a file");
        }
        let text = |path: PathBuf| path.to_str().expect("a path of ours").to_owned();
        let usual = [
            ("--config", text(config)),
            ("--data-dir", text(self.data_dir())),
            ("--run-dir", text(self.run_dir())),
            ("--name", self.name.clone()),
            ("--advertise", self.address().to_string()),
        ];
        let mut command = program::command();
        command.arg("agent");
        for (flag, value) in usual {
            if !more.contains(&flag) {
                command.args([flag, &value]);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // A group of its own: Ctrl-C ends the test, and the test ends the agents.
        command.args(more).stdin(Stdio::null()).process_group(0);
        command
    }

    /// Lets agents that are started from now on have this clock.
    pub fn set_clock(&mut self, clock: &Clock) {
        let variables = clock.environment().into_iter();
        self.environment = variables.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    }

    /// Starts the agent; `more` are arguments beside the usual ones.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&mut self, more: &[&str]) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("log"))
            .expect("a log file");
        let mut command = self.agent_command(more);
        self.process = Some(match &self.world {
            None => {
                command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
                let child = run_in(&self.namespace, || command.spawn()).expect("the namespace");
                Process::plain(child.expect("the agent starts"))
            }
            Some(world) => Process::spawn_in(world.entrance(), &command, log),
        });
    }

    /// Runs an agent that ends by itself, in this host's namespace.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run_agent(&self, command: &mut Command) -> Ran {
        let output = run_in(&self.namespace, || command.output()).expect("the namespace");
        Ran::of(&output.expect("the agent starts"))
    }

    /// Waits until the agent answers.
    ///
    /// # Panics
    /// When it ends, or does not answer in time.
    pub async fn answers(&mut self) {
        let process = self.process.as_mut().expect("an agent that was started");
        let (client, name) = (&self.client, &self.name);
        eventually(&format!("the agent of {name} answers"), async || {
            let ended = process.ended();
            assert!(ended.is_none(), "the agent of {name} ended: {ended:?}");
            client.status().await.ok()
        })
        .await;
    }

    /// True while the agent was started and not stopped.
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Kills the agent with SIGKILL.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
    }

    /// Stops the agent with SIGTERM, and checks that it ends well.
    pub fn stop(&mut self) {
        let code = self.signal(Signal::SIGTERM);
        assert_eq!(code, Some(0), "the agent of {} stops in good order", self.name);
    }

    /// Lets the agent stand still with SIGSTOP: it answers nobody, and nobody knows why.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&mut self) {
        self.process.as_mut().expect("an agent that runs").signal(Signal::SIGSTOP);
    }

    /// Lets a frozen agent go on, with SIGCONT.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&mut self) {
        self.process.as_mut().expect("an agent that runs").signal(Signal::SIGCONT);
    }

    /// Waits until the agent ends by itself; its exit code.
    ///
    /// # Panics
    /// When it goes on.
    pub async fn ends(&mut self) -> Option<i32> {
        let process = self.process.as_mut().expect("an agent that was started");
        let what = format!("the agent of {} ends", self.name);
        let ended = eventually(&what, async || process.ended()).await;
        self.process = None;
        ended.code()
    }

    /// How the agent ended by itself, if it did.
    ///
    /// # Panics
    /// When it was not started.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.process.as_mut().expect("an agent that was started").ended()
    }

    /// The process of its agent.
    ///
    /// # Panics
    /// When it does not run.
    pub fn process_id(&self) -> i32 {
        self.process.as_ref().expect("an agent that runs").id()
    }

    /// What `weft doctor` says, whatever its exit code.
    ///
    /// # Panics
    /// When it says nothing that can be read.
    pub fn doctor(&self) -> DoctorReport {
        let ran = self.weft(&["doctor", "--json"]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// Waits until `weft doctor` finds this wrong: a check of this name, with these words.
    ///
    /// # Panics
    /// When it does not.
    pub async fn finds(&self, check: &str, words: &str) {
        let what = format!("`weft doctor` on {} finds `{check}`: {words}", self.name);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.doctor();
            let finds = |found: &Check| {
                found.status != CheckStatus::Ok
                    && found.check == check
                    && found.detail.contains(words)
            };
            if report.checks.iter().any(finds) {
                return;
            }
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}: {report:#?}");
            sleep(ASK_EVERY).await;
        }
    }

    /// Waits until `weft doctor` finds nothing wrong with this any more.
    ///
    /// # Panics
    /// When it does.
    pub async fn finds_well(&self, check: &str) {
        eventually(&format!("`weft doctor` on {} finds `{check}` well", self.name), async || {
            sleep(ASK_EVERY).await;
            let is_wrong = |found: &Check| found.check == check && found.status != CheckStatus::Ok;
            (!self.doctor().checks.iter().any(is_wrong)).then_some(())
        })
        .await;
    }

    fn signal(&mut self, signal: Signal) -> Option<i32> {
        self.process.take().expect("an agent that runs").end_by(signal).code()
    }

    /// Ends whatever runs; for the end of a test.
    pub(super) fn end(&mut self) {
        if let Some(process) = &mut self.process {
            process.end_by(Signal::SIGKILL);
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().rev().take(LOG_LINES).collect();
            for line in lines.iter().rev() {
                eprintln!("{} | {line}", self.name);
            }
        }
        drop(self.world.take());
    }

    /// A command of `weft` against this host's agent.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program::command();
        command.args(arguments).env("WEFT_SOCKET", self.client.socket()).stdin(Stdio::null());
        command
    }

    /// Runs a command of `weft` against this host's agent.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn weft(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().expect("weft starts"))
    }

    /// Attaches a sandbox with the defaults.
    pub async fn attach(&self, network: &str, name: &str, sandbox: &Sandbox) -> EndpointResource {
        let request = AttachRequest {
            network: network.to_owned(),
            name: Some(name.to_owned()),
            addresses: Vec::new(),
            mac: None,
            netns: sandbox.path().display().to_string(),
            ifname: None,
            options: Default::default(),
        };
        let attached = self.client.attach(&request).await;
        let endpoint =
            attached.unwrap_or_else(|error| panic!("attach {name} on {}: {error}", self.name));
        sandbox.ask_soon();
        endpoint
    }

    /// Takes an endpoint off its network.
    ///
    /// # Panics
    /// When the agent refuses.
    pub async fn detach(&self, endpoint: &str) {
        let request = DetachRequest { endpoint: endpoint.to_owned() };
        let detached = self.client.detach(&request).await;
        detached.unwrap_or_else(|error| panic!("detach {endpoint} on {}: {error}", self.name));
    }

    /// Reads what the kernel holds of Weft's on this host.
    pub async fn kernel(&self) -> Kernel {
        Kernel::read(&self.namespace, &self.run_dir()).await
    }
}
