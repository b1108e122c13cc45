//! Addresses given to a Swarm's leader, each once.
//!
//! A new leader asks by name for every address that the last one had, so one that is allocated
//! already has to be given again. The same leader never does, unless two of its containers want one
//! address. What it was given since it took its networks up tells the one from the other, also
//! after a restart of the agent.
//!
//! Several networks of a Swarm can have one network of the cluster. A leader takes all of its
//! networks up before it asks for an address, so a pool is forgotten with the first network that is
//! taken up again, and not with those that follow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_api::{Space, Write};

/// How keys of addresses begin.
const ADDRESS: &[u8] = b"docker/given/";
/// How keys of a pool's networks begin.
const NETWORKS: &[u8] = b"docker/led/";

/// Whether a leader asks for a network that it makes, or for one of the last leader's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakenUp {
    First,
    Again,
}

/// What is known of each pool.
#[derive(Debug, Default)]
pub(super) struct Granted(BTreeMap<IpNetwork, Pool>);

#[derive(Debug, Default)]
struct Pool {
    /// The Swarm's networks that the leader took up, by its ids.
    networks: BTreeSet<String>,
    /// Never more than are allocated.
    addresses: BTreeSet<IpAddr>,
}

/// An address, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Address {
    pool: IpNetwork,
    address: IpAddr,
}

/// The networks of a pool, as they are kept.
#[derive(Debug, Serialize, Deserialize)]
struct Networks {
    pool: IpNetwork,
    networks: BTreeSet<String>,
}

impl Granted {
    /// Takes up what an earlier start kept.
    ///
    /// # Errors
    /// A record does not decode.
    pub(super) fn restore(
        &mut self,
        records: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), serde_json::Error> {
        for (key, value) in records {
            if key.starts_with(ADDRESS) {
                let Address { pool, address } = serde_json::from_slice(value)?;
                self.0.entry(pool).or_default().addresses.insert(address);
            } else if key.starts_with(NETWORKS) {
                let Networks { pool, networks } = serde_json::from_slice(value)?;
                self.0.entry(pool).or_default().networks = networks;
            }
        }
        Ok(())
    }

    /// Notes an address as given; `false` when it was. [`kept`] is what makes it durable.
    pub(super) fn give(&mut self, pool: IpNetwork, address: IpAddr) -> bool {
        self.0.entry(pool).or_default().addresses.insert(address)
    }

    /// Strikes an address out: it was released, or not given after all.
    #[must_use]
    pub(super) fn take_back(&mut self, pool: IpNetwork, address: IpAddr) -> Option<Write> {
        let given = self.0.get_mut(&pool)?;
        given.addresses.remove(&address).then(|| removal(address_key(pool, address)))
    }

    /// A leader takes a network of these pools up.
    #[must_use]
    pub(super) fn take_up(
        &mut self,
        pools: &[IpNetwork],
        network: &str,
        taken_up: TakenUp,
    ) -> Vec<Write> {
        let mut writes = Vec::new();
        for pool in pools.iter().copied() {
            let known = self.0.entry(pool).or_default();
            if taken_up == TakenUp::Again && known.networks.contains(network) {
                // Another leader's time ended with it: all begins anew.
                let addresses = std::mem::take(&mut known.addresses);
                writes.extend(addresses.into_iter().map(|a| removal(address_key(pool, a))));
                known.networks.clear();
            }
            if known.networks.insert(network.to_owned()) {
                writes.push(keep_networks(pool, known));
            }
        }
        writes
    }

    /// A network of the Swarm ends; with the last one of a pool that is forgotten.
    #[must_use]
    pub(super) fn end(&mut self, network: &str) -> Vec<Write> {
        let mut writes = Vec::new();
        for (pool, known) in &mut self.0 {
            if !known.networks.remove(network) {
                continue;
            }
            if known.networks.is_empty() {
                let addresses = std::mem::take(&mut known.addresses);
                writes.extend(addresses.into_iter().map(|a| removal(address_key(*pool, a))));
                writes.push(removal(networks_key(*pool)));
            } else {
                writes.push(keep_networks(*pool, known));
            }
        }
        self.0.retain(|_, known| !known.networks.is_empty() || !known.addresses.is_empty());
        writes
    }
}

/// The write that keeps an address that was given.
pub(super) fn kept(pool: IpNetwork, address: IpAddr) -> Write {
    put(address_key(pool, address), &Address { pool, address })
}

fn keep_networks(pool: IpNetwork, known: &Pool) -> Write {
    put(networks_key(pool), &Networks { pool, networks: known.networks.clone() })
}

fn address_key(pool: IpNetwork, address: IpAddr) -> Vec<u8> {
    [ADDRESS, format!("{pool}/{address}").as_bytes()].concat()
}

fn networks_key(pool: IpNetwork) -> Vec<u8> {
    [NETWORKS, pool.to_string().as_bytes()].concat()
}

fn put(key: Vec<u8>, record: &impl Serialize) -> Write {
    let value = serde_json::to_vec(record).expect("a record with text keys only");
    Write { space: Space::Controller, key, value: Some(value) }
}

fn removal(key: Vec<u8>) -> Write {
    Write { space: Space::Controller, key, value: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLUE: &str = "ur8tmux5x1o7sl8c5ckjx1a5d";
    const GREEN: &str = "s2jb55fo0kz4xk6hn49zrlnlc";

    fn pools() -> [IpNetwork; 2] {
        ["10.1.0.0/24", "10.2.0.0/24"].map(|pool| pool.parse().unwrap())
    }

    fn address() -> IpAddr {
        "10.1.0.2".parse().unwrap()
    }

    #[test]
    fn an_address_is_given_once_until_it_is_taken_back() {
        let mut granted = Granted::default();
        let pools = pools();
        assert!(granted.give(pools[0], address()) && !granted.give(pools[0], address()));
        assert_eq!(granted.take_back(pools[1], address()), None);
        assert!(!granted.give(pools[0], address()));
        assert!(granted.take_back(pools[0], address()).is_some());
        assert!(granted.give(pools[0], address()));
    }

    #[test]
    fn a_pool_is_forgotten_with_the_first_of_its_networks_that_is_taken_up_again() {
        let mut granted = Granted::default();
        let pool = &pools()[..1];
        let _ = granted.take_up(pool, BLUE, TakenUp::First);
        assert!(granted.give(pool[0], address()));
        let _ = granted.take_up(pool, GREEN, TakenUp::First);
        assert!(!granted.give(pool[0], address()), "one network more");
        let _ = granted.take_up(pool, GREEN, TakenUp::First);
        assert!(!granted.give(pool[0], address()), "a repeated call");
        let _ = granted.take_up(pool, BLUE, TakenUp::Again);
        assert!(granted.give(pool[0], address()), "a new leader");
        let _ = granted.take_up(pool, GREEN, TakenUp::Again);
        assert!(!granted.give(pool[0], address()), "the same new leader");
    }

    #[test]
    fn a_pool_is_forgotten_with_the_last_of_its_networks_that_ends() {
        let mut granted = Granted::default();
        let pool = &pools()[..1];
        for network in [BLUE, GREEN] {
            let _ = granted.take_up(pool, network, TakenUp::First);
        }
        assert!(granted.give(pool[0], address()));
        assert_eq!(granted.end(BLUE).len(), 1);
        assert!(!granted.give(pool[0], address()));
        assert_eq!(granted.end(GREEN).len(), 2);
        assert!(granted.end(GREEN).is_empty());
        assert!(granted.give(pool[0], address()));
    }

    #[test]
    fn what_was_given_is_known_after_a_restart() {
        let mut granted = Granted::default();
        let pool = pools()[0];
        let mut writes = granted.take_up(&[pool], BLUE, TakenUp::First);
        writes.push(kept(pool, address()));
        let records: Vec<_> =
            writes.into_iter().map(|write| (write.key, write.value.unwrap())).collect();
        let mut again = Granted::default();
        again.restore(&records).unwrap();
        assert!(!again.give(pool, address()));
        let ended: Vec<_> = again.end(BLUE).into_iter().map(|write| write.key).collect();
        assert!(records.iter().all(|(key, _)| ended.contains(key)));
    }
}
