//! What a process has used, as the kernel counts it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::Context;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// What a process has used so far, and what it holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Time on a processor, of all threads that ever were.
    pub(crate) cpu: Duration,
    /// Resident memory, in KiB.
    pub(crate) resident_kib: u64,
    /// The part of it that no file backs, in KiB.
    pub(crate) anonymous_kib: u64,
    /// Bytes that left its network namespace by other ways than loopback, headers included.
    pub(crate) sent_bytes: u64,
    /// Packets of them.
    pub(crate) sent_packets: u64,
    /// Times a thread of it (of those that are there) went to sleep of its own accord.
    pub(crate) sleeps: u64,
}

/// Finds the process named `weft` in a network namespace.
pub(crate) fn agent_in(inode: u64) -> anyhow::Result<i32> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // Processes end while we look.
        let in_it = fs::metadata(entry.path().join("ns/net")).is_ok_and(|ns| ns.ino() == inode);
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if in_it && name.trim() == "weft" {
            return Ok(pid);
        }
    }
    anyhow::bail!("no agent runs in namespace {inode}")
}

impl Usage {
    /// Reads a process's.
    pub(crate) fn of(pid: i32) -> anyhow::Result<Self> {
        let now = clock_getcpuclockid(Pid::from_raw(pid))?.now()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let (sent_bytes, sent_packets) = sent(pid)?;
        Ok(Self {
            cpu: Duration::from(now),
            resident_kib: field(&status, "VmRSS:")?,
            anonymous_kib: field(&status, "RssAnon:")?,
            sent_bytes,
            sent_packets,
            sleeps: sleeps(pid)?,
        })
    }
}

fn field(text: &str, name: &str) -> anyhow::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).with_context(|| format!("no `{name}`"))
}

fn sent(pid: i32) -> anyhow::Result<(u64, u64)> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/dev"))?;
    let (_, counts) = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == "eth0")
        .context("no `eth0` in the agent's namespace")?;
    let count = |at: usize| {
        let text = counts.split_whitespace().nth(at);
        text.and_then(|text| text.parse().ok()).context("a malformed line in net/dev")
    };
    Ok((count(8)?, count(9)?))
}

fn sleeps(pid: i32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        if let Ok(status) = fs::read_to_string(task.path().join("status")) {
            sum += field(&status, "voluntary_ctxt_switches:")?;
        }
    }
    Ok(sum)
}
