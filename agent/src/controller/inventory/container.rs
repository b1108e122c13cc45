//! What an endpoint made for a CNI container has besides.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use weft_api::control::AttachmentKey;

/// Characters of a container's id in its endpoint's name: as many as runtimes show.
const ID_CHARS: usize = 12;

/// The container an endpoint was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// What its runtime knows it by.
    pub key: AttachmentKey,
    /// The CNI configuration it was made by.
    #[serde(default)]
    pub configuration: String,
    /// Addresses that were asked for by name.
    #[serde(default)]
    pub named: Vec<IpAddr>,
}

impl Container {
    /// Returns a name for people, which another container's endpoint may have already.
    pub fn name(&self) -> String {
        let id: String = self.key.container_id.chars().take(ID_CHARS).collect();
        format!("{id}-{}", self.key.ifname)
    }
}
