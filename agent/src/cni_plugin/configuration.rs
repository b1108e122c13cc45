//! A configuration as every command reads it: which network, which agent, whose addresses.
//!
//! DEL must work with a configuration that ADD would refuse, so what only ADD needs is read
//! elsewhere ([`super::wishes`]).

use std::path::PathBuf;

use cni::types::{Code, NetConf, PluginError};
use serde_json::{Map, Value};
use weft_api::control::{AttachmentKey, AttachmentRef};

use super::member::{self, invalid};
use super::socket::Agent;
use crate::cli::DEFAULT_SOCKET;

/// The members there are beside the specification's; `args` is a convention for others.
const OWN: [&str; 12] = [
    "args",
    "network",
    "subnet",
    "ipv6",
    "mtu",
    "ips",
    "mac",
    "ranges",
    "isGateway",
    "ipMasq",
    "socket",
    "runtimeConfig",
];

/// A configuration, decoded.
pub(super) struct Configuration {
    /// What the specification names.
    pub(super) standard: NetConf,
    /// All of it.
    pub(super) members: Map<String, Value>,
}

impl Configuration {
    /// Decodes standard input.
    pub(super) fn decode(stdin: &[u8]) -> Result<Self, PluginError> {
        let undecodable = |error: serde_json::Error| {
            PluginError::new(Code::DECODING_FAILURE, format!("network configuration: {error}"))
        };
        let standard = NetConf::decode(stdin).map_err(undecodable)?;
        let members = serde_json::from_slice(stdin).map_err(undecodable)?;
        Ok(Self { standard, members })
    }

    /// The network on Weft: `network`, or else the name of the configuration.
    pub(super) fn network(&self) -> Result<String, PluginError> {
        let named: Option<String> = member::read(&self.members, "network")?;
        let network = named.unwrap_or_else(|| self.standard.name.clone());
        if network.is_empty() {
            return Err(invalid("network", "a network has a name"));
        }
        Ok(network)
    }

    /// The agent of this host.
    pub(super) fn agent(&self) -> Result<Agent, PluginError> {
        let socket: Option<PathBuf> = member::read(&self.members, "socket")?;
        let socket = socket.unwrap_or_else(|| DEFAULT_SOCKET.into());
        if !socket.is_absolute() {
            return Err(invalid("socket", "an absolute path is needed"));
        }
        Ok(Agent::at(socket))
    }

    /// The plugin that gives the addresses, where it is not Weft.
    pub(super) fn ipam(&self) -> Option<&str> {
        Some(self.standard.ipam.plugin_type.as_str()).filter(|plugin| !plugin.is_empty())
    }

    /// The attachment that a call is about.
    pub(super) fn attachment(&self, id: &str, ifname: &str) -> Result<AttachmentRef, PluginError> {
        let key = AttachmentKey { container_id: id.to_owned(), ifname: ifname.to_owned() };
        let configuration = self.standard.name.clone();
        Ok(AttachmentRef { network: self.network()?, configuration, key })
    }

    /// The members that nobody here reads.
    pub(super) fn unknown(&self) -> Vec<&str> {
        self.members
            .keys()
            .map(String::as_str)
            .filter(|key| !OWN.contains(key) && !NetConf::names(key))
            .collect()
    }
}
