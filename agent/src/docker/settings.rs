//! The options of a network, as an engine passes them on: libnetwork's labels and what the user
//! gave with `-o`.

use std::collections::BTreeMap;

use serde_json::Value;
use weft_api::NetworkId;
use weft_api::control::ControlError;
use weft_api::driver::Options;

use crate::control::Answer;
use crate::controller::inventory::WayOutBy;
use crate::overlay_driver::options::{INTERNAL, MTU, VXLAN_IDS};

/// Driver option: the cluster's network of this name. It comes after the pool was chosen, so it
/// needs a `--subnet`; `--ipam-opt network=NAME` does not.
pub(super) const NETWORK: &str = "network";
/// Driver option: who leads packets out, `engine` (the default) or `weft`.
const GATEWAY: &str = "gateway";
/// What a Swarm's leader is answered, and every node told: the cluster's network by its id.
pub(super) const CLUSTER_NETWORK: &str = "weft.network.id";
/// Docker's own overlay encrypts with it; Weft's does not yet.
const ENCRYPTED: &str = "encrypted";
/// Where libnetwork puts the driver options.
const GENERIC: &str = "com.docker.network.generic";

/// What an engine says about a network, besides its pools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Settings {
    /// The cluster's network, by name.
    pub(super) network: Option<String>,
    /// The cluster's network, by id.
    pub(super) cluster_network: Option<NetworkId>,
    pub(super) mtu: Option<u32>,
    /// VNIs, comma-separated.
    pub(super) vnis: Option<String>,
    pub(super) internal: bool,
    pub(super) way_out: WayOutBy,
    /// Options that are nobody's here; they are kept with the network.
    pub(super) others: BTreeMap<String, String>,
}

impl Settings {
    /// Reads the options of `CreateNetwork`.
    pub(super) fn of_network(options: &Options) -> Answer<Self> {
        let generic = match options.get(GENERIC) {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(Value::Object(map)) => {
                map.iter().map(|(key, value)| (key.clone(), text(value))).collect()
            }
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                return Err(ControlError::invalid(format!("`{GENERIC}` is not a set of options")));
            }
        };
        let mut settings = Self::of_driver(&generic)?;
        settings.internal |= options.get(INTERNAL) == Some(&Value::Bool(true));
        Ok(settings)
    }

    /// Reads driver options alone, as `AllocateNetwork` has them.
    pub(super) fn of_driver(options: &BTreeMap<String, String>) -> Answer<Self> {
        let mut settings = Self::default();
        for (key, value) in options {
            match key.as_str() {
                NETWORK => settings.network = Some(value.clone()),
                CLUSTER_NETWORK => {
                    let id = value.parse().map_err(|_| refused(key, value, "an id of Weft's"))?;
                    settings.cluster_network = Some(id);
                }
                MTU => {
                    let mtu =
                        value.parse().map_err(|_| refused(key, value, "a number of bytes"))?;
                    // libnetwork's overlay takes 0 for its default.
                    settings.mtu = Some(mtu).filter(|mtu| *mtu > 0);
                }
                VXLAN_IDS => settings.vnis = Some(value.clone()),
                INTERNAL => settings.internal |= value == "true",
                GATEWAY => {
                    settings.way_out = match value.as_str() {
                        "weft" => WayOutBy::Weft,
                        "engine" => WayOutBy::Engine,
                        _ => return Err(refused(key, value, "`weft` or `engine`")),
                    };
                }
                ENCRYPTED if value != "false" => {
                    return Err(ControlError::invalid(
                        "option `encrypted` is not for Weft: its tunnels are not encrypted yet",
                    )
                    .with_hint(
                        "leave it out, and keep the underlay private or encrypted by other means",
                    ));
                }
                _ => {
                    if !key.contains('.') {
                        tracing::warn!(key, "option is not one of Weft's; it changes nothing");
                    }
                    settings.others.insert(key.clone(), value.clone());
                }
            }
        }
        Ok(settings)
    }
}

fn refused(key: &str, value: &str, expected: &str) -> ControlError {
    ControlError::invalid(format!("option `{key}` is `{value}`"))
        .with_hint(format!("it has to be {expected}"))
}

/// Options are texts; engines write a few of their own as booleans and numbers.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(options: Value) -> Answer<Settings> {
        Settings::of_network(&serde_json::from_value(options).unwrap())
    }

    #[test]
    fn the_known_options_are_read_and_others_kept() {
        let settings = read(json!({
            "com.docker.network.enable_ipv6": true,
            "com.docker.network.internal": true,
            GENERIC: {MTU: "1400", VXLAN_IDS: "5000", "gateway": "weft", "network": "blue",
                      "foo": "bar"},
        }))
        .unwrap();
        assert_eq!(
            settings,
            Settings {
                network: Some("blue".into()),
                cluster_network: None,
                mtu: Some(1400),
                vnis: Some("5000".into()),
                internal: true,
                way_out: WayOutBy::Weft,
                others: BTreeMap::from([("foo".into(), "bar".into())]),
            }
        );
        assert_eq!(read(json!({})).unwrap(), Settings::default());
        assert_eq!(read(json!({GENERIC: null})).unwrap(), Settings::default());
    }

    #[test]
    fn what_cannot_be_met_is_refused_and_named() {
        for (options, named) in [
            (json!({GENERIC: {MTU: "large"}}), MTU),
            (json!({GENERIC: {"gateway": "mine"}}), "gateway"),
            (json!({GENERIC: {"encrypted": ""}}), "encrypted"),
            (json!({GENERIC: {CLUSTER_NETWORK: "x"}}), CLUSTER_NETWORK),
            (json!({GENERIC: 7}), GENERIC),
        ] {
            let error = read(options).unwrap_err();
            assert!(error.error.contains(named), "{error}");
        }
    }
}
