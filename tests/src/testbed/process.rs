//! A daemon that a test started.

use std::fs::{self, File};
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::world::Entrance;

const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A child that runs, or a child's only child that does.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    target: Pid,
}

impl Process {
    /// The child itself.
    pub(super) fn plain(child: Child) -> Self {
        let target = pid(child.id());
        Self { child, target }
    }

    /// Starts a command in a host's world; what it writes goes to a log.
    pub(super) fn spawn_in(entrance: Entrance, inner: &Command, log: File) -> Self {
        let mut command = entrance.enter(inner);
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        Self::entered(command.spawn().expect("nsenter starts"))
    }

    /// What `nsenter` started: it has one child and ends as that ends, but passes no signal on.
    fn entered(mut child: Child) -> Self {
        let target = loop {
            if let Some(target) = only_child_of(child.id()) {
                break target;
            }
            let ended = child.try_wait().expect("our own child");
            assert!(ended.is_none(), "what was to run in a host's world ended at once: {ended:?}");
            sleep(LOOK_EVERY);
        };
        Self { child, target }
    }

    /// Sends a signal, and waits for the end.
    pub(super) fn end_by(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.child.wait().expect("our own child")
    }

    /// Sends a signal; one that ended already needs none.
    pub(super) fn signal(&mut self, signal: Signal) {
        if self.ended().is_some() {
            return;
        }
        match kill(self.target, signal) {
            // It ended a moment ago, and `nsenter` is about to.
            Ok(()) | Err(Errno::ESRCH) => (),
            Err(error) => panic!("{signal} for our own child {}: {error}", self.target),
        }
    }

    /// Its process id.
    pub(super) fn id(&self) -> i32 {
        self.target.as_raw()
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child")
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("a process id"))
}

/// Finds a process by its parent: /proc/PID/stat has the parent second after the name, which ends
/// with the last parenthesis (proc(5)).
fn only_child_of(parent: u32) -> Option<Pid> {
    let parent = parent.to_string();
    fs::read_dir("/proc").expect("/proc").find_map(|entry| {
        let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        (rest.split_whitespace().nth(1) == Some(&parent)).then(|| pid(id))
    })
}
