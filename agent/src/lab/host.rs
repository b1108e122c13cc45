//! One host of a lab: a namespace and a real agent process inside it.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::run_in;

use super::ground::explain;
use super::plan::HostPlan;
use crate::client::Client;
use crate::failure::Failure;

/// Time an agent may take until it answers.
const START_MAX: Duration = Duration::from_secs(20);
/// Time between two looks for its socket.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Lines of an agent's log that an error shows.
const LOG_LINES: usize = 5;

/// A host with its agent.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) plan: HostPlan,
    pub(super) client: Client,
    namespace: Namespace,
    process: Child,
}

impl Host {
    /// Starts the agent and waits until it answers.
    pub(super) async fn start(
        plan: HostPlan,
        namespace: Namespace,
        weft: &Path,
    ) -> Result<Self, Failure> {
        let process = spawn(&plan, &namespace, weft)?;
        let client = Client::new(&plan.socket);
        let mut host = Self { plan, client, namespace, process };
        host.answers().await?;
        Ok(host)
    }

    /// Kills the agent with SIGKILL and starts it again; returns when it answers.
    pub(super) async fn kill_and_restart(&mut self, weft: &Path) -> Result<(), Failure> {
        let killed = self.process.kill().and_then(|()| self.process.wait());
        killed.map_err(|error| {
            Failure::failed(format!("the agent of `{}` cannot be killed: {error}", self.plan.name))
        })?;
        self.process = spawn(&self.plan, &self.namespace, weft)?;
        self.answers().await
    }

    async fn answers(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(self.failed(&format!("ended ({status})")));
            }
            if let Ok(Ok(_)) = timeout(START_MAX, self.client.status()).await {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.failed("does not answer"));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn failed(&self, what: &str) -> Failure {
        let log = last_lines(&self.plan.log);
        let name = &self.plan.name;
        Failure::failed(format!("the agent of `{name}` {what}{log}"))
            .with_hint("the last lines of its log, if there are any, stand above")
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().rev().take(LOG_LINES).collect();
    lines.iter().rev().fold(String::new(), |all, line| format!("{all}\n  | {line}"))
}

/// Starts the process. It inherits the namespace of the thread that starts it.
fn spawn(plan: &HostPlan, namespace: &Namespace, weft: &Path) -> Result<Child, Failure> {
    let failed = |error: io::Error| {
        Failure::failed(format!("the agent of `{}` cannot be started: {error}", plan.name))
    };
    let mut command = prepare(plan, weft).map_err(failed)?;
    run_in(namespace, || command.spawn()).map_err(explain)?.map_err(failed)
}

fn prepare(plan: &HostPlan, weft: &Path) -> io::Result<Command> {
    let run = plan.socket.parent().unwrap_or(Path::new("."));
    for directory in [run, &plan.data] {
        fs::create_dir_all(directory)?;
    }
    // The machine's own configuration is not the lab's.
    let config = plan.log.with_file_name("weft.toml");
    fs::write(&config, "")?;
    let log = File::options().create(true).append(true).open(&plan.log)?;
    let mut command = Command::new(weft);
    let ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("WEFT_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command
        .arg("agent")
        .args([Path::new("--config"), &config])
        .args([Path::new("--data-dir"), &plan.data])
        .args([Path::new("--run-dir"), run])
        .args([Path::new("--socket"), &plan.socket])
        .args(["--name", &plan.name])
        .args(["--advertise", &plan.address.ip().to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // A group of its own: Ctrl-C is for us to answer, not for the agents.
        .process_group(0);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_end_of_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        assert_eq!(last_lines(&log), "");
        fs::write(&log, "1\n2\n3\n4\n5\n6\n").unwrap();
        assert_eq!(last_lines(&log), "\n  | 2\n  | 3\n  | 4\n  | 5\n  | 6");
    }
}
