//! Labs to measure in: made, used, removed.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use weft_agent::client::Client;
use weft_agent::lab::ping::{Families, Source};
use weft_agent::lab::{self, Inside, Name, Options, Progress, Size, Standing, StandingEndpoint};
use weft_overlay::netlink::Namespace;

use crate::process;

/// Makes labs, and knows which it made.
#[derive(Debug, Clone)]
pub(crate) struct Beds {
    weft: PathBuf,
    made: Arc<AtomicUsize>,
    removed: Arc<AtomicUsize>,
}

/// A lab that stands, with one network.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) standing: Standing,
    pub(crate) clients: Vec<Client>,
}

impl Beds {
    pub(crate) fn new(weft: PathBuf) -> Self {
        Self { weft, made: Arc::default(), removed: Arc::default() }
    }

    /// Makes a lab of so many hosts, one network, and one endpoint of it on each.
    pub(crate) async fn make(&self, nodes: u32) -> anyhow::Result<Bed> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let size = Size { nodes, networks: 1, endpoints: 1, inside: Inside::V4, ..Size::default() };
        let options = Options { size, weft: self.weft.clone(), progress: Progress::Quiet };
        let standing = lab::up(&name(number)?, options).await?;
        let clients = standing.hosts.iter().map(|host| Client::new(&host.socket)).collect();
        Ok(Bed { standing, clients })
    }

    /// Removes whatever was made and is still there.
    pub(crate) async fn sweep(&self) {
        let made = self.made.load(Ordering::Relaxed);
        for number in self.removed.load(Ordering::Relaxed)..made {
            let Ok(name) = name(number) else { continue };
            if name.directory().exists()
                && let Err(failure) = lab::down(&name).await
            {
                eprintln!("bench: {}", failure.report());
            }
        }
        self.removed.store(made, Ordering::Relaxed);
    }
}

fn name(number: usize) -> anyhow::Result<Name> {
    Ok(Name::new(&format!("weft-bench-{}-{number}", std::process::id()))?)
}

impl Bed {
    pub(crate) fn network(&self) -> &str {
        &self.standing.networks[0]
    }

    /// The endpoint of a host.
    pub(crate) fn endpoint(&self, host: usize) -> anyhow::Result<&StandingEndpoint> {
        let name = &self.standing.hosts[host].name;
        let mut endpoints = self.standing.endpoints.iter();
        endpoints.find(|endpoint| &endpoint.host == name).context("each host has an endpoint")
    }

    /// The first address of a host's endpoint.
    pub(crate) fn address(&self, host: usize) -> anyhow::Result<IpAddr> {
        self.endpoint(host)?.addresses.first().copied().context("each endpoint has an address")
    }

    /// Where pings of a host's endpoint come from.
    pub(crate) fn source(&self, host: usize, identifier: u16) -> anyhow::Result<Source> {
        let namespace = Namespace::open(&self.endpoint(host)?.netns)?;
        Ok(Source::open(&namespace, Families::V4, identifier)?)
    }

    /// The processes of the agents, in the order of the hosts.
    pub(crate) fn agents(&self) -> anyhow::Result<Vec<i32>> {
        let one = |netns: &Path| process::agent_in(Namespace::open(netns)?.inode());
        self.standing.hosts.iter().map(|host| one(&host.netns)).collect()
    }
}

/// Lets what building a lab set in motion come to rest.
pub(crate) async fn settle(time: Duration) {
    tokio::time::sleep(time).await;
}
