//! Network namespaces as containers have them, and pings from inside.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weft_agent::lab::ping::{Families, Pace, Probe, Source, Stream};
use weft_api::control::EndpointResource;
use weft_overlay::netlink::link::{self, Link};
use weft_overlay::netlink::namespace::{make_pinned, unpin};
use weft_overlay::netlink::{Connection, Namespace, sysctl};

use super::PATIENCE;

const PINGS: u16 = 1;
const STREAM: u16 = 2;
/// How long a ping that must not be answered is tried.
const SILENCE: Duration = Duration::from_millis(700);
const PING_EVERY: Duration = Duration::from_millis(50);
const STREAM_EVERY: Duration = Duration::from_millis(10);
const STREAM_GRACE: Duration = Duration::from_secs(3);

/// The network namespace of a container, or as one has it.
#[derive(Debug)]
pub struct Sandbox {
    path: PathBuf,
    namespace: Namespace,
}

impl Sandbox {
    /// Makes one, pinned there.
    pub fn make(path: PathBuf) -> Self {
        let namespace = make_pinned(&path).expect("a namespace");
        Self { path, namespace }
    }

    /// One that somebody else made.
    pub(super) fn open(path: PathBuf) -> Self {
        let namespace = Namespace::open(&path).expect("a namespace");
        Self { path, namespace }
    }

    /// Where it is found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path as a command's argument.
    pub fn text(&self) -> &str {
        self.path.to_str().expect("a path of ours")
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Takes the namespace away, as the end of a container does.
    pub fn vanish(self) {
        unpin(&self.path).expect("a pin to remove");
    }

    /// Its links.
    pub async fn links(&self) -> Vec<Link> {
        let mut connection = Connection::open(&self.namespace).await.expect("netlink");
        link::list(&mut connection).await.expect("links")
    }

    /// Its link of this name.
    ///
    /// # Panics
    /// When there is none.
    pub async fn link(&self, name: &str) -> Link {
        let links = self.links().await;
        let found = links.iter().find(|link| link.name == name).cloned();
        found.unwrap_or_else(|| panic!("no {name} among {links:?}"))
    }

    /// Asks anew for a neighbour that did not answer after 50 ms in place of the kernel's second:
    /// a ping may be earlier than the news of its target.
    pub(super) fn ask_soon(&self) {
        let settings: Vec<_> = ["eth0", "eth1"]
            .iter()
            .flat_map(|link| ["ipv4", "ipv6"].map(|f| format!("{f}/neigh/{link}/retrans_time_ms")))
            .map(|key| (key, "50"))
            .collect();
        sysctl::write_all(&self.namespace, &settings).expect("settings");
    }

    fn source(&self, identifier: u16) -> Source {
        Source::open(&self.namespace, Families::Both, identifier).expect("raw sockets")
    }

    /// Returns those that do not answer, though there is time enough.
    pub async fn silent(&self, probes: &[Probe]) -> Vec<IpAddr> {
        let pace = Pace { every: PING_EVERY, give_up: PATIENCE };
        let answers = self.source(PINGS).round(probes, pace).await;
        probes.iter().zip(answers).filter(|(_, a)| a.is_none()).map(|(p, _)| p.to).collect()
    }

    /// Checks that all addresses answer.
    ///
    /// # Panics
    /// When one does not.
    pub async fn reaches(&self, addresses: &[IpAddr]) {
        let probes: Vec<_> = addresses.iter().map(|to| Probe::small(*to)).collect();
        let silent = self.silent(&probes).await;
        assert!(silent.is_empty(), "{} does not reach {silent:?}", self.path.display());
    }

    /// Checks that full packets of `mtu` bytes are answered.
    ///
    /// # Panics
    /// When one is not.
    pub async fn reaches_in_full(&self, addresses: &[IpAddr], mtu: u32) {
        let probes: Vec<_> = addresses.iter().map(|to| Probe::full(*to, mtu)).collect();
        let silent = self.silent(&probes).await;
        assert!(silent.is_empty(), "{}: no full packets to {silent:?}", self.path.display());
    }

    /// Checks that none of the addresses answers.
    ///
    /// # Panics
    /// When one does.
    pub async fn reaches_none_of(&self, addresses: &[IpAddr]) {
        let probes: Vec<_> = addresses.iter().map(|to| Probe::small(*to)).collect();
        let pace = Pace { every: PING_EVERY, give_up: SILENCE };
        let answers = self.source(PINGS).round(&probes, pace).await;
        let leaks: Vec<_> =
            addresses.iter().zip(answers).filter(|(_, a)| a.is_some()).map(|(to, _)| to).collect();
        assert!(leaks.is_empty(), "{} reaches {leaks:?}", self.path.display());
    }

    /// Pings an address steadily until told to end.
    pub fn stream_to(&self, to: IpAddr) -> SteadyPing {
        let source = self.source(STREAM);
        let (end, ended) = oneshot::channel::<()>();
        let work = tokio::spawn(async move {
            let stop = async { drop(ended.await) };
            source.stream(to, STREAM_EVERY, STREAM_GRACE, stop).await
        });
        SteadyPing { end, work }
    }
}

/// Pings under way.
#[derive(Debug)]
pub struct SteadyPing {
    end: oneshot::Sender<()>,
    work: JoinHandle<Stream>,
}

impl SteadyPing {
    /// Ends it and returns what it met.
    ///
    /// # Panics
    /// When it broke down.
    pub async fn end(self) -> Stream {
        drop(self.end);
        self.work.await.expect("pings")
    }

    /// Ends it and checks that every single ping was answered.
    ///
    /// # Panics
    /// When one was not.
    pub async fn lost_nothing(self) {
        let seen = self.end().await;
        assert!(seen.sent > 20, "too few pings to tell: {seen:?}");
        assert_eq!(seen.sent, seen.answered, "pings were lost: {seen:?}");
    }
}

/// An endpoint's addresses, IPv4 first.
pub fn addresses(endpoint: &EndpointResource) -> Vec<IpAddr> {
    let both = [endpoint.address, endpoint.address_ipv6];
    both.into_iter().flatten().map(|address| address.ip()).collect()
}
