//! News about the cluster that drivers ask for (libnetwork's `discoverapi`).

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::driver::DriverError;

/// Hears of nodes that come and go, and of keys for the data path.
#[async_trait]
pub trait Discover: Send + Sync {
    /// Is told of something new, for example a node that joined.
    ///
    /// # Errors
    /// What the driver says; the news is not repeated.
    async fn discover_new(&self, news: &Discovery) -> Result<(), DriverError>;

    /// Is told that something went, for example a node that left.
    ///
    /// # Errors
    /// What the driver says; the news is not repeated.
    async fn discover_delete(&self, news: &Discovery) -> Result<(), DriverError>;
}

/// Tells the sorts of news apart. The numbers are on the plugin protocol's wire and start at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DiscoveryType {
    /// A node joined or left.
    NodeDiscovery = 1,
    /// The first keys of the data path.
    EncryptionKeysConfig = 2,
    /// A change of the data path's keys.
    EncryptionKeysUpdate = 3,
}

impl DiscoveryType {
    /// Returns the number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// One piece of news with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// A node joined or left.
    Node(NodeDiscoveryData),
    /// The first keys of the data path.
    EncryptionKeysConfig(EncryptionKeys),
    /// A change of the data path's keys.
    EncryptionKeysUpdate(EncryptionKeysUpdate),
}

impl Discovery {
    /// Returns what sort of news this is.
    pub const fn discovery_type(&self) -> DiscoveryType {
        match self {
            Self::Node(_) => DiscoveryType::NodeDiscovery,
            Self::EncryptionKeysConfig(_) => DiscoveryType::EncryptionKeysConfig,
            Self::EncryptionKeysUpdate(_) => DiscoveryType::EncryptionKeysUpdate,
        }
    }
}

/// A node, as the plugin protocol's JSON names it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeDiscoveryData {
    /// Where other nodes reach it.
    pub address: String,
    /// Where it listens.
    pub bind_address: String,
    /// Whether it is the node that is told.
    #[serde(rename = "Self")]
    pub is_self: bool,
}

/// Keys of the data path, each with its tag (libnetwork's `DriverEncryptionConfig`).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct EncryptionKeys {
    /// The keys, the primary one first.
    pub keys: Vec<Vec<u8>>,
    /// One tag a key, in the same order.
    pub tags: Vec<u64>,
}

/// A change of the data path's keys (libnetwork's `DriverEncryptionUpdate`).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct EncryptionKeysUpdate {
    /// A key to add, with its tag.
    pub key: Option<(Vec<u8>, u64)>,
    /// The key to send with from now on.
    pub primary: Option<(Vec<u8>, u64)>,
    /// The key to drop.
    pub prune: Option<(Vec<u8>, u64)>,
}

// Keys never reach a log: Debug shows tags alone.
impl std::fmt::Debug for EncryptionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncryptionKeys").field("tags", &self.tags).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for EncryptionKeysUpdate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tag = |key: &Option<(Vec<u8>, u64)>| key.as_ref().map(|(_, tag)| *tag);
        f.debug_struct("EncryptionKeysUpdate")
            .field("key", &tag(&self.key))
            .field("primary", &tag(&self.primary))
            .field("prune", &tag(&self.prune))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reads_as_the_plugin_protocol_writes_it() {
        let json = r#"{"Address":"192.0.2.1","BindAddress":"192.0.2.2","Self":true}"#;
        let node: NodeDiscoveryData = serde_json::from_str(json).unwrap();
        assert!(node.is_self);
        assert_eq!(serde_json::to_string(&node).unwrap(), json);
    }

    #[test]
    fn news_know_their_number() {
        let numbers = [
            Discovery::Node(NodeDiscoveryData::default()),
            Discovery::EncryptionKeysConfig(EncryptionKeys::default()),
            Discovery::EncryptionKeysUpdate(EncryptionKeysUpdate::default()),
        ]
        .map(|news| news.discovery_type().number());
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn a_key_is_not_shown() {
        let keys = EncryptionKeys { keys: vec![vec![200; 4]], tags: vec![7] };
        assert!(!format!("{keys:?}").contains("200"));
        let update = EncryptionKeysUpdate { key: Some((vec![200; 4], 7)), ..Default::default() };
        assert!(!format!("{update:?}").contains("200"));
    }
}
