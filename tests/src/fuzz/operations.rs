//! Calls and faults in any order, then peace: what is left equals a model.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_api::NetworkId;

use crate::cluster::Cluster;
use crate::nodes::{Crash, Nodes};

/// Things done in one run, at most: what comes after is left out.
const STEPS_MAX: usize = 60;
const HOSTS: usize = 3;
const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
const TABLE: &str = "names";
const PATIENCE: Duration = Duration::from_secs(60);

/// The tables of three hosts: what each wrote, all have, whatever was lost meanwhile.
pub fn tables(bytes: &[u8]) {
    let mut cluster = Cluster::formed(3, HOSTS);
    for host in 0..HOSTS {
        let attached = cluster.act(host, |db, now| db.attach(NETWORK, now));
        attached.expect("a ready member attaches");
    }
    cluster.run(Duration::from_secs(2));
    let mut model: [BTreeMap<String, Vec<u8>>; HOSTS] = Default::default();
    for (step, pair) in bytes.chunks_exact(2).take(STEPS_MAX).enumerate() {
        let (host, key) =
            (usize::from(pair[0]) % HOSTS, format!("{}-{}", pair[0] % 3, pair[1] % 8));
        let value = vec![pair[1]; step];
        match pair[0] >> 4 {
            0..=5 => {
                let written = cluster.act(host, |db, now| {
                    let created = db.create_entry(NETWORK, TABLE, &key, value.clone(), now);
                    created.or_else(|_| db.update_entry(NETWORK, TABLE, &key, value.clone(), now))
                });
                if written.is_ok() {
                    model[host].insert(key, value);
                }
            }
            6 | 7 => {
                let deleted =
                    cluster.act(host, |db, now| db.delete_entry(NETWORK, TABLE, &key, now));
                if deleted.is_ok() {
                    model[host].remove(&key);
                }
            }
            8 => cluster.restart(host),
            9 => cluster.network.split(&[host], &others(host)),
            10 => cluster.network.heal(),
            11 => cluster.network.loss = f64::from(pair[1] % 4) / 10.0,
            12 => cluster.network.duplicate = f64::from(pair[1] % 4) / 10.0,
            _ => cluster.run(Duration::from_millis(u64::from(pair[1]) * 20)),
        }
    }
    cluster.network.heal();
    (cluster.network.loss, cluster.network.duplicate) = (0.0, 0.0);
    let must: BTreeMap<String, Vec<u8>> = model.into_iter().flatten().collect();
    let is = |cluster: &Cluster, host: usize| -> BTreeMap<String, Vec<u8>> {
        let entries = cluster.db(host).walk(NETWORK, TABLE);
        entries.map(|entry| (entry.key.to_string(), entry.value.to_vec())).collect()
    };
    cluster.until(PATIENCE, "all hosts have what was written", |cluster| {
        (0..HOSTS).all(|host| is(cluster, host) == must)
    });
}

fn others(host: usize) -> Vec<usize> {
    (0..HOSTS).filter(|other| *other != host).collect()
}

/// Whole nodes: networks, endpoints and their addresses, on fake kernels. The simulator's own
/// checks find an address that two have, a range without an owner, and an entry that is lost.
pub fn nodes(bytes: &[u8]) {
    let mut nodes = Nodes::formed(4, HOSTS);
    for pair in bytes.chunks_exact(2).take(STEPS_MAX) {
        let (host, choice) = (usize::from(pair[0]) % HOSTS, usize::from(pair[1]));
        let runs = nodes.runs(host);
        match pair[0] >> 4 {
            0 | 1 if runs => nodes.create(host, ["red", "green"][choice % 2], None),
            2..=5 if runs => {
                let networks = nodes.node(host).db().definitions().map(|network| network.id);
                if let Some(network) = nth(networks, choice) {
                    nodes.attach(host, network);
                }
            }
            6 | 7 if runs => {
                if let Some((endpoint, _)) = nth(nodes.endpoints(host).into_iter(), choice) {
                    nodes.detach(host, endpoint);
                }
            }
            8 if runs => {
                let networks = nodes.node(host).db().definitions().map(|network| network.id);
                if let Some(network) = nth(networks, choice) {
                    nodes.delete(host, network);
                }
            }
            9 if runs => {
                let ways =
                    [Crash::Now, Crash::LosingUntold, Crash::BeforeCommit, Crash::AfterCommit];
                nodes.crash(host, ways[choice % ways.len()]);
            }
            10 if nodes.is_down(host) => nodes.restart(host),
            11 => nodes.split(&[host], &others(host)),
            12 => nodes.heal(),
            _ => nodes.run(Duration::from_millis(pair[1].into()) * 20),
        }
    }
    nodes.mend();
    nodes.quiet(PATIENCE);
}

fn nth<T>(all: impl Iterator<Item = T>, choice: usize) -> Option<T> {
    let all: Vec<T> = all.collect();
    let place = choice.checked_rem(all.len())?;
    all.into_iter().nth(place)
}
