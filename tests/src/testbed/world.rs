//! A host's own process and mount namespaces, in which a Docker engine believes to be alone.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::run_in;

const OUTSIDE: &str = include_str!("world/outside.sh");
const INSIDE: &str = include_str!("world/inside.sh");
const REBOOT: &str = include_str!("world/reboot.sh");

/// The namespaces. All processes in them, all mounts, the host's directory and its cgroups go when
/// this goes, and also when the test dies without a chance to clean up.
#[derive(Debug)]
pub(super) struct World {
    entrance: Entrance,
    keeper: Child,
    lifeline: Option<ChildStdin>,
}

/// How to get in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entrance {
    init: u32,
}

impl World {
    /// Makes a host's world in its network namespace. `directory` is the host's own: it goes with
    /// the world.
    pub(super) fn make(namespace: &Namespace, directory: &Path) -> Self {
        let mut command = Command::new("bash");
        command
            .args(["-c", OUTSIDE, "keeper"])
            .arg(directory)
            .args([&cgroup(directory), INSIDE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C ends the test, and then this.
            .process_group(0);
        let spawned = run_in(namespace, || command.spawn()).expect("the namespace");
        let mut keeper = spawned.expect("bash starts");
        let lifeline = keeper.stdin.take();
        let mut line = String::new();
        let stdout = keeper.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let init = line.trim().parse().expect("the world comes to be and says its process id");
        Self { entrance: Entrance { init }, keeper, lifeline }
    }

    pub(super) fn entrance(&self) -> Entrance {
        self.entrance
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // A drop has nobody to tell.
        let _ = self.keeper.wait();
    }
}

impl Entrance {
    /// Returns a command that runs another one inside.
    pub(super) fn enter(self, inner: &Command) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init.to_string(), "--net", "--mount", "--uts", "--pid", "--"])
            .arg(inner.get_program())
            .args(inner.get_args())
            .stdin(Stdio::null())
            .process_group(0);
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Kills what runs inside under this name, with SIGKILL.
    ///
    /// # Panics
    /// When nothing does.
    pub(super) fn kill_by_name(self, name: &str) {
        // Processes of other worlds cannot be seen from there.
        let mut kill = Command::new("bash");
        kill.args(["-c", r#"kill -KILL $(pidof "$1")"#, "kill", name]);
        let killed = self.enter(&kill).status().expect("nsenter starts");
        assert!(killed.success(), "`{name}` runs and is killed");
    }

    /// Ends all processes and empties the memory and the kernel of the host, whose own `directory`
    /// and `uplink` stay.
    ///
    /// # Panics
    /// When something stays.
    pub(super) fn reboot(self, directory: &Path, uplink: &str) {
        let mut script = Command::new("bash");
        script.args(["-c", REBOOT, "reboot"]).arg(directory).arg(uplink);
        let done = self.enter(&script).status().expect("nsenter starts");
        assert!(done.success(), "all of {} ends: {done}", directory.display());
    }

    /// Where the network namespace of a process is found, by its id inside.
    pub(super) fn namespace_of(self, process: u32) -> PathBuf {
        format!("/proc/{}/root/proc/{process}/ns/net", self.init).into()
    }
}

/// The name of a host's cgroups: that of its directory in one word.
pub(super) fn cgroup(directory: &Path) -> String {
    let names: Vec<_> = directory.iter().map(|name| name.to_string_lossy()).collect();
    names[names.len().saturating_sub(2)..].join("-")
}
