//! The messages of Docker's plugin protocol: JSON over HTTP, one POST a call.
//!
//! Both ends are here: the agent answers an engine in these, and calls third parties' plugins in
//! these. Members are named as libnetwork's `drivers/remote/api` and `ipams/remote/api` name them;
//! a member that is absent or `null` is the empty value, as it is in Go, and unknown ones are
//! ignored. Ids are texts: an engine's are of 64 hexadecimal digits, a Swarm's of 25 letters and
//! digits.
//!
//! ```
//! use weft_api::plugin::network::{JoinRequest, PATH};
//!
//! let body = r#"{"NetworkID":"a","EndpointID":"b","SandboxKey":"/run/c","Options":null}"#;
//! let join: JoinRequest = serde_json::from_str(body).unwrap();
//! assert_eq!((join.endpoint_id.as_str(), join.options.len()), ("b", 0));
//! assert_eq!(format!("{PATH}Join"), "/NetworkDriver.Join");
//! ```

pub mod ipam;
pub mod network;

use serde::{Deserialize, Deserializer, Serialize};

/// The media type of requests and answers.
pub const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";
/// The call that asks what a plugin implements; its body is empty.
pub const ACTIVATE: &str = "/Plugin.Activate";

/// What a plugin implements.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Manifest {
    /// [`NETWORK_PLUGIN_ENDPOINT_TYPE`](crate::driver::NETWORK_PLUGIN_ENDPOINT_TYPE),
    /// [`PLUGIN_ENDPOINT_TYPE`](crate::ipam::PLUGIN_ENDPOINT_TYPE) or others.
    #[serde(deserialize_with = "nullable")]
    pub implements: Vec<String>,
}

/// An answer without members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Empty {}

/// Reads `null` as the empty value: Go writes it for a map or list that was never made.
fn nullable<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
