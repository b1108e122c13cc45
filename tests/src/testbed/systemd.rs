//! A host whose first process is a real systemd, which runs the agent by its unit file.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use weft_overlay::netlink::namespace::run_in;

use super::Host;
use super::program::{Ran, weft_binary};
use super::world::cgroup;

const OUTSIDE: &str = include_str!("systemd/outside.sh");
const INSIDE: &str = include_str!("systemd/inside.sh");
/// The unit that is shipped, word by word.
const UNIT: &str = include_str!("../../../dist/weft.service");
/// Targets that it names, or that systemd wants by itself. A real host's do far more.
const TARGETS: [&str; 5] = ["basic", "multi-user", "network-online", "shutdown", "sysinit"];

/// The systemd of a host. It ends with this, and so does all that it started.
#[derive(Debug)]
pub struct Systemd {
    keeper: Child,
    lifeline: Option<ChildStdin>,
    init: String,
}

impl Systemd {
    /// Boots it on a host whose agent was not started otherwise. Network namespaces that it is to
    /// see have to be there already.
    ///
    /// # Panics
    /// Without root, or without systemd.
    pub fn boot(host: &Host) -> Self {
        let directory = host.directory();
        let units = directory.join("units");
        write_units(&units, host);
        fs::create_dir_all(host.run_dir()).expect("a directory");
        let log = File::create(directory.join("log")).expect("a log file");
        let mut command = Command::new("bash");
        command
            .args(["-c", OUTSIDE, "keeper", &cgroup(directory), INSIDE])
            .arg(&units)
            .arg(weft_binary())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C ends the test, and then this.
            .process_group(0);
        let spawned = run_in(&host.namespace, || command.spawn()).expect("the namespace");
        let mut keeper = spawned.expect("bash starts");
        let lifeline = keeper.stdin.take();
        let mut init = String::new();
        let stdout = keeper.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut init).expect("a line");
        let init = init.trim().to_owned();
        assert!(!init.is_empty(), "systemd starts: {}", host.log());
        Self { keeper, lifeline, init }
    }

    /// Runs `systemctl` on it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn systemctl(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", "60", "nsenter", "--target", &self.init, "--mount", "--pid"])
            .args(["--", "systemctl"])
            .args(arguments)
            .stdin(Stdio::null());
        Ran::of(&command.output().expect("nsenter starts"))
    }

    /// A property of the agent's unit.
    ///
    /// # Panics
    /// When systemd does not answer.
    pub fn property(&self, name: &str) -> String {
        self.systemctl(&["show", "--value", "--property", name, "weft.service"]).line()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // A drop has nobody to tell.
        let _ = self.keeper.wait();
    }
}

/// The unit as it is, and beside it what an operator sets by `systemctl edit`.
fn write_units(units: &Path, host: &Host) {
    let own = units.join("weft.service.d");
    fs::create_dir_all(&own).expect("a directory");
    fs::write(units.join("weft.service"), UNIT).expect("a unit");
    let socket = host.run_dir().join("weft.sock");
    let settings = format!(
        "[Service]\nEnvironment=WEFT_NAME={} WEFT_ADVERTISE={} WEFT_SOCKET={}\n",
        host.name,
        host.address(),
        socket.display()
    );
    fs::write(own.join("test.conf"), settings).expect("settings");
    for target in TARGETS {
        let wants = if target == "multi-user" { "Wants=weft.service\n" } else { "" };
        let text = format!("[Unit]\nDescription=The test's {target}\n{wants}");
        fs::write(units.join(format!("{target}.target")), text).expect("a target");
    }
}
