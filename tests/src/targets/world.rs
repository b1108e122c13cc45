//! What the scenarios share: clusters of a kind, writes, and who saw them when.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weft_api::{NetworkId, NodeId};
use weft_networkdb::{Change, MemberEvent, Output};

use super::Tally;
use crate::cluster::Cluster;

/// The network that all hosts are attached to.
pub(super) const NET: NetworkId = NetworkId::from_bytes([1; 16]);
/// Its table.
pub(super) const TABLE: &str = "peers";
/// The cluster that NetworkDB's figures are of.
pub(super) const NODES: usize = 25;
/// 1 Gbit/s.
const RATE: u64 = 125_000_000;
/// Bytes of a value: about those of a peer record.
const VALUE: usize = 64;

pub(super) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A scenario's own chance, apart from its cluster's.
pub(super) fn chance(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed ^ 0x7461_7267_6574_7321)
}

/// A local network: 0.2 to 0.3 ms one way, 1 Gbit/s out of each host. All hosts are attached to
/// [`NET`], know it of each other, and have come to rest.
pub(super) fn local(seed: u64, hosts: usize) -> Cluster {
    let mut cluster = Cluster::new(seed);
    cluster.network.rate = Some(RATE);
    cluster.form(hosts);
    attach(&mut cluster, 0..hosts);
    cluster.run(seconds(3));
    cluster
}

/// Attaches hosts to [`NET`] and waits until all know of each other there.
pub(super) fn attach(cluster: &mut Cluster, hosts: Range<usize>) {
    for host in hosts.clone() {
        cluster.act(host, |db, now| db.attach(NET, now)).expect("a host attaches");
    }
    every(cluster, millis(20), seconds(60), "all know who is attached", |c| {
        hosts.clone().all(|host| c.db(host).attached(NET).len() == hosts.len())
    });
}

/// Writes a new entry.
pub(super) fn write(cluster: &mut Cluster, host: usize, key: &str) {
    let value = vec![7; VALUE];
    cluster.act(host, |db, now| db.create_entry(NET, TABLE, key, value, now)).expect("a new key");
}

/// Runs until a condition holds, looked at once in a while; returns how long it took.
pub(super) fn every(
    cluster: &mut Cluster,
    pause: Duration,
    patience: Duration,
    what: &str,
    holds: impl Fn(&Cluster) -> bool,
) -> Duration {
    let begin = cluster.elapsed();
    while !holds(cluster) {
        let took = cluster.elapsed() - begin;
        assert!(took < patience, "not within {patience:?}: {what}");
        cluster.run(pause);
    }
    cluster.elapsed() - begin
}

/// Tells whether all running hosts hold all running hosts alive.
pub(super) fn all_alive(cluster: &Cluster) -> bool {
    let running = cluster.running().count();
    cluster.running().all(|host| cluster.alive(host).len() == running)
}

/// Who saw entries appear, and when the last one did.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    written: BTreeMap<String, Duration>,
    seen: BTreeMap<String, (usize, Duration)>,
    /// Members declared failed: by whom, who, when.
    pub(super) failures: Vec<(usize, usize, Duration)>,
}

impl Sightings {
    /// Writes an entry whose way is followed.
    pub(super) fn write(&mut self, cluster: &mut Cluster, host: usize, key: &str) {
        write(cluster, host, key);
        self.written.insert(key.to_owned(), cluster.elapsed());
    }

    /// Takes what hosts have put out so far.
    pub(super) fn look(&mut self, cluster: &mut Cluster, hosts: Range<usize>) {
        let index: BTreeMap<_, _> = hosts.clone().map(|host| (cluster.node(host), host)).collect();
        for host in hosts {
            for (at, output) in cluster.take_outputs(host) {
                self.see(host, at, &output, &index);
            }
        }
    }

    /// Looks at what hosts have put out so far, and leaves it there.
    pub(super) fn peek(&mut self, cluster: &Cluster, hosts: Range<usize>) {
        let index = BTreeMap::new();
        for host in hosts {
            for (at, output) in cluster.outputs(host) {
                self.see(host, *at, output, &index);
            }
        }
    }

    fn see(&mut self, host: usize, at: Duration, output: &Output, index: &BTreeMap<NodeId, usize>) {
        if let Output::Table(event) = output {
            if event.change == Change::Create && self.written.contains_key(&*event.key) {
                let (count, last) = self.seen.entry(event.key.to_string()).or_default();
                *count += 1;
                *last = at.max(*last);
            }
        } else if let Output::Member(MemberEvent::Failed(node)) = output
            && let Some(subject) = index.get(node)
        {
            self.failures.push((host, *subject, at));
        }
    }

    /// Notes of each entry when the last of so many hosts saw it.
    pub(super) fn note(&self, tally: &mut Tally, of: &'static str, hosts: usize) {
        for (key, written) in &self.written {
            match self.seen.get(key) {
                Some((count, last)) if *count >= hosts => tally.time(of, *last - *written),
                Some(_) | None => tally.count("entries that did not reach all", 1),
            }
        }
    }
}

/// Copies of records that hosts got so far, whoever sent them.
pub(super) fn copies(cluster: &Cluster, hosts: Range<usize>) -> u64 {
    hosts.map(|host| cluster.db(host).sync_counters().records_in).sum()
}

/// A time between two, to the microsecond.
pub(super) fn between(rng: &mut ChaCha8Rng, least: Duration, most: Duration) -> Duration {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(rng.random_range(micros(least)..=micros(most)))
}
