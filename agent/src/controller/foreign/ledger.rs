//! What this node has of third parties' plugins, durable: whatever happens, it is given back.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_api::{EndpointId, NetworkId, Space, Write};

/// How keys of these records begin.
const PREFIX: &[u8] = b"foreign/";

/// Names a record. The order is that in which they are given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// An endpoint at its network driver, and its addresses.
    Endpoint(EndpointId),
    /// A network at its network driver.
    Network(NetworkId),
    /// A network's pools.
    Pools(NetworkId),
}

/// A pool of an IPAM plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldPool {
    /// The plugin's name for it.
    pub(crate) id: String,
    /// The pool.
    pub(crate) pool: IpNetwork,
    /// Addresses the network itself has in it: its gateway, auxiliary ones.
    pub(crate) addresses: Vec<IpAddr>,
}

/// An address of an IPAM plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldAddress {
    /// The plugin's name for its pool.
    pub(crate) pool_id: String,
    /// The address.
    pub(crate) address: IpAddr,
}

/// How an endpoint is in its sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Joined {
    /// Path of the sandbox's namespace.
    pub(crate) key: String,
    /// Its interface there.
    pub(crate) ifname: String,
    /// That interface's name in the host, while it is moved.
    pub(crate) link: Option<String>,
    /// The plugin programmed a way to and from the outside.
    pub(crate) external: bool,
}

/// What of an endpoint is a plugin's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForeignEndpoint {
    pub(crate) id: EndpointId,
    pub(crate) network: NetworkId,
    /// Network driver that knows it.
    pub(crate) driver: Option<String>,
    /// IPAM driver that gave its addresses.
    pub(crate) ipam: Option<String>,
    pub(crate) held: Vec<HeldAddress>,
    /// Where it is joined, as far as the plugin knows.
    pub(crate) joined: Option<Joined>,
}

/// A network that its plugin knows on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForeignNetwork {
    pub(crate) id: NetworkId,
    pub(crate) driver: String,
    /// The plugin said that it made it; otherwise it may have, and is asked again.
    pub(crate) made: bool,
}

/// How long this node answers for pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Until {
    /// The claim under way is settled. Then they are the network's, or nobody's.
    Settled,
    /// The network is deleted.
    Deleted,
}

/// Pools this node answers for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForeignPools {
    pub(crate) network: NetworkId,
    pub(crate) ipam: String,
    pub(crate) pools: Vec<HeldPool>,
    pub(crate) until: Until,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Record {
    Endpoint(ForeignEndpoint),
    Network(ForeignNetwork),
    Pools(ForeignPools),
}

impl Record {
    pub(crate) const fn key(&self) -> Key {
        match self {
            Self::Endpoint(endpoint) => Key::Endpoint(endpoint.id),
            Self::Network(network) => Key::Network(network.id),
            Self::Pools(pools) => Key::Pools(pools.network),
        }
    }

    pub(crate) fn to_write(&self) -> Write {
        let value = serde_json::to_vec(self).expect("a record has no keys but texts");
        Write { space: Space::Controller, key: self.key().bytes(), value: Some(value) }
    }
}

impl Key {
    fn bytes(self) -> Vec<u8> {
        let (kind, id) = match &self {
            Self::Endpoint(id) => (b"endpoint/".as_slice(), id.as_bytes()),
            Self::Network(id) => (b"network/".as_slice(), id.as_bytes()),
            Self::Pools(id) => (b"pools/".as_slice(), id.as_bytes()),
        };
        [PREFIX, kind, &id[..]].concat()
    }

    pub(crate) fn removal(self) -> Write {
        Write { space: Space::Controller, key: self.bytes(), value: None }
    }
}

/// All records.
#[derive(Debug, Default)]
pub(crate) struct Ledger(BTreeMap<Key, Record>);

impl Ledger {
    /// Takes up what an earlier start kept.
    ///
    /// # Errors
    /// A record does not decode.
    pub(crate) fn restore(
        &mut self,
        records: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), serde_json::Error> {
        for (_, value) in records.iter().filter(|(key, _)| key.starts_with(PREFIX)) {
            let record: Record = serde_json::from_slice(value)?;
            self.0.insert(record.key(), record);
        }
        Ok(())
    }

    pub(crate) fn put(&mut self, record: Record) {
        self.0.insert(record.key(), record);
    }

    pub(crate) fn remove(&mut self, key: Key) {
        self.0.remove(&key);
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.0.keys().copied().collect()
    }

    pub(crate) fn endpoint(&self, id: EndpointId) -> Option<ForeignEndpoint> {
        match self.0.get(&Key::Endpoint(id))? {
            Record::Endpoint(endpoint) => Some(endpoint.clone()),
            Record::Network(_) | Record::Pools(_) => None,
        }
    }

    pub(crate) fn network(&self, id: NetworkId) -> Option<ForeignNetwork> {
        match self.0.get(&Key::Network(id))? {
            Record::Network(network) => Some(network.clone()),
            Record::Endpoint(_) | Record::Pools(_) => None,
        }
    }

    pub(crate) fn pools(&self, id: NetworkId) -> Option<ForeignPools> {
        match self.0.get(&Key::Pools(id))? {
            Record::Pools(pools) => Some(pools.clone()),
            Record::Endpoint(_) | Record::Network(_) => None,
        }
    }

    /// Returns what there is of the endpoints.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &ForeignEndpoint> {
        self.0.values().filter_map(|record| match record {
            Record::Endpoint(endpoint) => Some(endpoint),
            Record::Network(_) | Record::Pools(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_are_given_back_from_the_endpoint_up() {
        let network = NetworkId::from_bytes([1; 16]);
        let records = [
            Record::Pools(ForeignPools {
                network,
                ipam: "tidy".to_owned(),
                pools: vec![HeldPool {
                    id: "p1".to_owned(),
                    pool: "10.9.0.0/24".parse().unwrap(),
                    addresses: vec!["10.9.0.1".parse().unwrap()],
                }],
                until: Until::Deleted,
            }),
            Record::Network(ForeignNetwork { id: network, driver: "tidy".to_owned(), made: true }),
            Record::Endpoint(ForeignEndpoint {
                id: EndpointId::from_bytes([2; 16]),
                network,
                driver: None,
                ipam: Some("tidy".to_owned()),
                held: Vec::new(),
                joined: None,
            }),
        ];
        let kept: Vec<_> = records
            .iter()
            .map(Record::to_write)
            .map(|write| (write.key, write.value.unwrap()))
            .chain([(b"endpoint/other".to_vec(), b"not ours".to_vec())])
            .collect();
        let mut ledger = Ledger::default();
        ledger.restore(&kept).unwrap();
        let order: Vec<Key> = records.iter().rev().map(Record::key).collect();
        assert_eq!(ledger.keys(), order);
        assert_eq!(Record::Pools(ledger.pools(network).unwrap()), records[0]);
    }
}
