//! What every plugin configuration has in common.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fold::fold_keys;
use super::result::CniResult;

/// The members of a plugin configuration the specification names; the others stay in the bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetConf {
    /// Version of the specification the configuration is written for; empty means 0.1.0.
    #[serde(rename = "cniVersion", skip_serializing_if = "String::is_empty")]
    pub cni_version: String,
    /// The network's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The plugin: the name of its file.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub plugin_type: String,
    /// What the plugin takes in `runtimeConfig`; only those that are true count.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub capabilities: BTreeMap<String, bool>,
    /// The plugin it delegates addresses to.
    #[serde(skip_serializing_if = "Ipam::is_empty")]
    pub ipam: Ipam,
    /// Name resolution.
    #[serde(skip_serializing_if = "Dns::is_empty")]
    pub dns: Dns,
    /// The result of the plugin before, as it came;
    /// [`parse_prev_result`](crate::version::parse_prev_result) takes it.
    #[serde(rename = "prevResult", skip_serializing_if = "Option::is_none")]
    pub raw_prev_result: Option<Map<String, Value>>,
    /// The result of the plugin before, decoded.
    #[serde(skip)]
    pub prev_result: Option<CniResult>,
    /// For GC: what is still in use. `None` when the runtime said nothing, which is not the
    /// same as nothing being in use.
    #[serde(rename = "cni.dev/valid-attachments", skip_serializing_if = "Option::is_none")]
    pub valid_attachments: Option<Vec<GcAttachment>>,
}

const KEYS: [&str; 8] = [
    "cniVersion",
    "name",
    "type",
    "capabilities",
    "ipam",
    "dns",
    "prevResult",
    "cni.dev/valid-attachments",
];

/// What libcni before 1.2.3 called the list of valid attachments.
const FORMER_VALID_ATTACHMENTS: &str = "cni.dev/attachments";

impl NetConf {
    /// Decodes a plugin configuration.
    ///
    /// Members are found in any case, as Go finds them. The list of valid attachments is taken
    /// under its old name too, and `null` there is the empty list, for Go writes it so.
    ///
    /// # Errors
    /// If the bytes are no JSON object or a member has the wrong type.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let mut members: Map<String, Value> = serde_json::from_slice(bytes)?;
        let name = *KEYS.last().unwrap_or(&"");
        let listed = members.remove(name).or_else(|| members.remove(FORMER_VALID_ATTACHMENTS));
        if let Some(list) = listed {
            let list = if list.is_null() { Value::Array(Vec::new()) } else { list };
            members.insert(name.to_owned(), list);
        }
        serde_json::from_value(fold_keys(members, &KEYS))
    }

    /// Whether the specification names this member, in any case; what it does not name is the
    /// plugin's own.
    #[must_use]
    pub fn names(member: &str) -> bool {
        member == FORMER_VALID_ATTACHMENTS
            || KEYS.iter().any(|known| known.eq_ignore_ascii_case(member))
    }
}

/// The plugin that hands out addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ipam {
    /// The name of its file; empty for none.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub plugin_type: String,
}

impl Ipam {
    /// Whether no plugin is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plugin_type.is_empty()
    }
}

/// Name resolution, as in resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Name servers, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Domains to search.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of the resolver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An attachment that is in use, in the words of GC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GcAttachment {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// Its interface.
    #[serde(rename = "ifname")]
    pub if_name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(text: &str) -> Option<usize> {
        NetConf::decode(text.as_bytes()).unwrap().valid_attachments.map(|list| list.len())
    }

    #[test]
    fn members_are_found_in_any_case() {
        let conf = NetConf::decode(br#"{"TYPE":"x","cniversion":"1.0.0","dns":null}"#).unwrap();
        assert_eq!((conf.plugin_type.as_str(), conf.cni_version.as_str()), ("x", "1.0.0"));
    }

    #[test]
    fn missing_list_of_valid_attachments_is_not_an_empty_one() {
        assert_eq!(valid("{}"), None);
        assert_eq!(valid(r#"{"cni.dev/valid-attachments":[]}"#), Some(0));
        assert_eq!(valid(r#"{"cni.dev/valid-attachments":null}"#), Some(0));
    }

    #[test]
    fn valid_attachments_are_found_under_their_old_name() {
        let text = r#"{"cni.dev/attachments":[{"containerID":"c","ifname":"eth0"}]}"#;
        assert_eq!(valid(text), Some(1));
    }

    #[test]
    fn wrong_types_are_errors_not_panics() {
        for text in ["[]", "3", "", r#"{"name":5}"#, r#"{"capabilities":{"a":"b"}}"#] {
            assert!(NetConf::decode(text.as_bytes()).is_err(), "{text}");
        }
    }
}
