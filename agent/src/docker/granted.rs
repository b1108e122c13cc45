//! Addresses given to a Swarm's leader, each once.
//!
//! A new leader asks by name for every address that the last one had, so one that is allocated
//! already has to be given again. The same leader never does, unless two of its containers want one
//! address. What it was given since it took a network up tells the one from the other. An agent
//! that is started again knows nothing of that, and takes the leader at its word.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// The addresses by pool; never more than are allocated.
#[derive(Debug, Default)]
pub(super) struct Granted(BTreeMap<IpNetwork, BTreeSet<IpAddr>>);

impl Granted {
    /// Notes an address as given; `false` when it was.
    pub(super) fn give(&mut self, pool: IpNetwork, address: IpAddr) -> bool {
        self.0.entry(pool).or_default().insert(address)
    }

    /// Strikes an address out: it was released, or not given after all.
    pub(super) fn take_back(&mut self, pool: IpNetwork, address: IpAddr) {
        if let Some(given) = self.0.get_mut(&pool) {
            given.remove(&address);
        }
    }

    /// Forgets a pool: its network ends, or a leader takes it up.
    pub(super) fn forget(&mut self, pool: IpNetwork) {
        self.0.remove(&pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_given_once_until_it_is_taken_back_or_its_pool_forgotten() {
        let mut granted = Granted::default();
        let pools: [IpNetwork; 2] = ["10.1.0.0/24", "10.2.0.0/24"].map(|p| p.parse().unwrap());
        let address: IpAddr = "10.1.0.2".parse().unwrap();
        assert!(granted.give(pools[0], address) && !granted.give(pools[0], address));
        granted.take_back(pools[1], address);
        granted.forget(pools[1]);
        assert!(!granted.give(pools[0], address));
        granted.take_back(pools[0], address);
        assert!(granted.give(pools[0], address));
        granted.forget(pools[0]);
        assert!(granted.give(pools[0], address));
    }
}
