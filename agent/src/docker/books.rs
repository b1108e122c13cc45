//! What the plugin remembers between calls: pools that have no network yet, and networks to be
//! deleted once nobody uses them. Durable before the call is answered.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_api::{NetworkId, Space, Write};

use crate::controller::engine::since_s;

/// How keys of reservations begin.
const RESERVATION: &[u8] = b"docker/pool/";
/// How keys of networks to be deleted begin.
const RETIRING: &[u8] = b"docker/retire/";
/// How all keys of the plugin begin.
pub(super) const PREFIX: &[u8] = b"docker/";

/// How a pool came to an engine's network that is not made yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Origin {
    /// `--ipam-opt network=NAME`: it is a subnet of that network.
    Named(String),
    /// `--subnet` equal to a subnet of that network.
    Found(String),
    /// `--subnet`, of no network so far.
    Asked,
    /// A block of the default pools.
    Default,
}

/// A pool that an engine asked for and whose network it has not made yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reservation {
    pub(super) pool: IpNetwork,
    pub(super) origin: Origin,
    /// The gateway, once it is asked for.
    pub(super) gateway: Option<IpAddr>,
    /// Seconds since 1970.
    pub(super) since_s: u64,
    /// Asked for by a Swarm's leader: it does not expire.
    pub(super) swarm: bool,
}

/// How long a network in use is tried to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Insist {
    /// Until it is clear that others use it: the last of them deletes it.
    Briefly,
    /// Until it is gone: the engine says that nobody may use it any more.
    Always,
}

/// The plugin's memory.
#[derive(Debug, Default)]
pub(super) struct Books {
    reservations: BTreeMap<IpNetwork, Reservation>,
    retiring: BTreeMap<NetworkId, Insist>,
}

impl Books {
    /// Takes up what an earlier start kept.
    ///
    /// # Errors
    /// A record does not decode.
    pub(super) fn restore(
        &mut self,
        records: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), serde_json::Error> {
        for (key, value) in records {
            if key.starts_with(RESERVATION) {
                let mut reservation: Reservation = serde_json::from_slice(value)?;
                reservation.since_s = since_s(reservation.since_s);
                self.reservations.insert(reservation.pool, reservation);
            } else if let Some(id) = key.strip_prefix(RETIRING)
                && let Ok(id) = <[u8; 16]>::try_from(id)
            {
                let insist = serde_json::from_slice(value)?;
                self.retiring.insert(NetworkId::from_bytes(id), insist);
            }
        }
        Ok(())
    }

    pub(super) fn reservation(&self, pool: IpNetwork) -> Option<&Reservation> {
        self.reservations.get(&pool)
    }

    pub(super) fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        self.reservations.values()
    }

    /// Adds or replaces a reservation; returns the write that keeps it.
    pub(super) fn reserve(&mut self, reservation: Reservation) -> Write {
        let write = put(reservation_key(reservation.pool), &reservation);
        self.reservations.insert(reservation.pool, reservation);
        write
    }

    /// Removes a reservation; returns it and the write that removes it.
    pub(super) fn unreserve(&mut self, pool: IpNetwork) -> Option<(Reservation, Write)> {
        let removed = self.reservations.remove(&pool)?;
        let key = reservation_key(pool);
        Some((removed, Write { space: Space::Controller, key, value: None }))
    }

    pub(super) fn retiring(&self) -> BTreeMap<NetworkId, Insist> {
        self.retiring.clone()
    }

    /// Notes a network to be deleted.
    pub(super) fn retire(&mut self, network: NetworkId, insist: Insist) -> Write {
        self.retiring.insert(network, insist);
        put(retiring_key(network), &insist)
    }

    /// Strikes a network off the list of those to be deleted.
    pub(super) fn retired(&mut self, network: NetworkId) -> Write {
        self.retiring.remove(&network);
        Write { space: Space::Controller, key: retiring_key(network), value: None }
    }
}

fn reservation_key(pool: IpNetwork) -> Vec<u8> {
    [RESERVATION, pool.to_string().as_bytes()].concat()
}

fn retiring_key(network: NetworkId) -> Vec<u8> {
    [RETIRING, &network.as_bytes()[..]].concat()
}

fn put(key: Vec<u8>, record: &impl Serialize) -> Write {
    let value = serde_json::to_vec(record).expect("a record with text keys only");
    Write { space: Space::Controller, key, value: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_after_a_restart_and_what_is_removed_is_not() {
        let mut books = Books::default();
        let pool: IpNetwork = "10.9.0.0/24".parse().unwrap();
        let reservation = Reservation {
            pool,
            origin: Origin::Named("blue".into()),
            gateway: None,
            since_s: 7,
            swarm: false,
        };
        let network = NetworkId::from_bytes([3; 16]);
        let writes = [books.reserve(reservation.clone()), books.retire(network, Insist::Always)];
        let records: Vec<_> =
            writes.into_iter().map(|write| (write.key, write.value.unwrap())).collect();
        let mut again = Books::default();
        again.restore(&records).unwrap();
        assert_eq!(again.reservation(pool), Some(&reservation));
        assert_eq!(again.retiring(), BTreeMap::from([(network, Insist::Always)]));
        let (removed, write) = again.unreserve(pool).unwrap();
        assert_eq!((removed, write.key, write.value), (reservation, records[0].0.clone(), None));
        assert_eq!(again.retired(network).key, records[1].0);
        assert!(again.unreserve(pool).is_none() && again.retiring().is_empty());
    }
}
