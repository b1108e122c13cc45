//! What agents and their hosts hold at one moment.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;
use weft_overlay::netlink::namespace::{list_pinned, run_in};
use weft_overlay::netlink::{Connection, Namespace, link};
use weft_tests::testbed::{Host, Testbed};

/// How long what was taken back may take to be gone from the kernel.
const REST: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What one agent's process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Process {
    /// Resident memory, in KiB.
    pub(crate) resident_kib: u64,
    /// The part of it that no file backs, in KiB. The rest is pages of the program, which come in
    /// as they are used.
    pub(crate) anonymous_kib: u64,
    /// Open descriptors.
    pub(crate) descriptors: u64,
    /// Netlink sockets, in its host's namespace and in those of its networks.
    pub(crate) netlink: u64,
    /// Threads.
    pub(crate) threads: u64,
}

/// What all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    /// By host.
    pub(crate) processes: Vec<Process>,
    /// Links in the namespaces of hosts and networks.
    pub(crate) links: u64,
    /// Network namespaces that are pinned, or that an agent holds open.
    pub(crate) namespaces: u64,
    /// The largest state file, in KiB.
    pub(crate) state_kib: u64,
}

impl Sample {
    /// Looks once the kernel holds as much as at the first look, or some time later.
    pub(crate) async fn settled(testbed: &Testbed, first: Option<&Self>) -> anyhow::Result<Self> {
        let deadline = Instant::now() + REST;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = Self::take(testbed).await?;
            let same =
                |first: &Self| (first.links, first.namespaces) == (now.links, now.namespaces);
            let is_first = first.is_none() && Instant::now() + REST / 2 >= deadline;
            if first.map_or(is_first, same) || Instant::now() >= deadline {
                return Ok(now);
            }
        }
    }

    async fn take(testbed: &Testbed) -> anyhow::Result<Self> {
        let mut sample = Self { processes: Vec::new(), links: 0, namespaces: 0, state_kib: 0 };
        let mut namespaces = BTreeSet::new();
        for host in &testbed.hosts {
            let mut netlink = BTreeSet::new();
            for namespace in namespaces_of(host)? {
                let mut connection = Connection::open(&namespace).await?;
                sample.links += link::list(&mut connection).await?.len() as u64;
                drop(connection);
                namespaces.insert(namespace.inode());
                netlink.extend(run_in(&namespace, netlink_sockets)??);
            }
            let (process, held) = process(host, &netlink)?;
            sample.processes.push(process);
            namespaces.extend(held);
            let state = fs::metadata(host.data_dir().join("weft.redb"))?;
            sample.state_kib = sample.state_kib.max(state.len() >> 10);
        }
        sample.namespaces = namespaces.len() as u64;
        Ok(sample)
    }
}

fn namespaces_of(host: &Host) -> anyhow::Result<Vec<Namespace>> {
    let pins = host.run_dir().join("netns");
    let mut all = vec![host.namespace.try_clone()?];
    for name in list_pinned(&pins)? {
        all.push(Namespace::open(pins.join(name))?);
    }
    Ok(all)
}

/// Inodes of the netlink sockets in this thread's namespace: the last field of proc(5)'s
/// net/netlink.
fn netlink_sockets() -> std::io::Result<Vec<u64>> {
    let table = fs::read_to_string("/proc/thread-self/net/netlink")?;
    let inode = |line: &str| line.split_whitespace().last()?.parse().ok();
    Ok(table.lines().skip(1).filter_map(inode).collect())
}

/// An agent's process, and the inodes of the network namespaces that it holds open.
fn process(host: &Host, netlink: &BTreeSet<u64>) -> anyhow::Result<(Process, Vec<u64>)> {
    let place = format!("/proc/{}", host.process_id());
    let status = fs::read_to_string(format!("{place}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).with_context(|| format!("no `{name}`"))
    };
    let mut process = Process {
        resident_kib: field("VmRSS:")?,
        anonymous_kib: field("RssAnon:")?,
        threads: field("Threads:")?,
        ..Process::default()
    };
    let mut held = Vec::new();
    for entry in fs::read_dir(format!("{place}/fd"))?.flatten() {
        // Descriptors are closed while we look.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy();
        process.descriptors += 1;
        let inode = |kind: &str| target.strip_prefix(kind)?.strip_suffix(']')?.parse().ok();
        if let Some(inode) = inode("socket:[") {
            process.netlink += u64::from(netlink.contains(&inode));
        }
        held.extend(inode("net:["));
    }
    Ok((process, held))
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processes, links, namespaces, state_kib } = self;
        let all = |of: fn(&Process) -> u64| {
            let each: Vec<_> = processes.iter().map(|process| of(process).to_string()).collect();
            each.join(" ")
        };
        write!(
            f,
            "resident {} MiB, anonymous {} KiB, descriptors {}, netlink {}, links {links}, namespaces {namespaces}, \
             state {state_kib} KiB",
            all(|process| process.resident_kib >> 10),
            all(|process| process.anonymous_kib),
            all(|process| process.descriptors),
            all(|process| process.netlink),
        )
    }
}
