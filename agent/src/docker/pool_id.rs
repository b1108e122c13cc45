//! A pool's id in the plugin protocol: all that a release says.

use std::fmt;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use weft_api::NodeId;
use weft_api::control::ControlError;

use crate::ipam_driver::{GLOBAL_SPACE, LOCAL_SPACE};

/// Who asks: an engine for itself, or a Swarm's leader for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AddressSpace {
    /// What an engine asks of its own node.
    Local,
    /// Cluster-wide.
    Global,
}

impl AddressSpace {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Local => LOCAL_SPACE,
            Self::Global => GLOBAL_SPACE,
        }
    }
}

impl FromStr for AddressSpace {
    type Err = ControlError;

    fn from_str(text: &str) -> Result<Self, ControlError> {
        match text {
            LOCAL_SPACE => Ok(Self::Local),
            GLOBAL_SPACE => Ok(Self::Global),
            _ => Err(ControlError::invalid(format!("invalid address space `{text}`"))
                .with_hint(format!("Weft's are `{LOCAL_SPACE}` and `{GLOBAL_SPACE}`"))),
        }
    }
}

/// Names space, engine, network and pool: `SPACE/NODE/NETWORK/POOL[/SUBPOOL]`. The network's name
/// is `-` where none was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PoolId {
    pub(super) space: AddressSpace,
    /// The node whose engine asked, cut as people see it.
    pub(super) node: String,
    pub(super) network: Option<String>,
    pub(super) pool: IpNetwork,
    pub(super) sub_pool: Option<IpNetwork>,
}

impl PoolId {
    pub(super) fn new(
        space: AddressSpace,
        node: NodeId,
        network: Option<String>,
        pool: IpNetwork,
        sub_pool: Option<IpNetwork>,
    ) -> Self {
        Self { space, node: node.short(), network, pool, sub_pool }
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = self.network.as_deref().unwrap_or("-");
        write!(f, "{}/{}/{network}/{}", self.space.as_str(), self.node, self.pool)?;
        match self.sub_pool {
            Some(sub_pool) => write!(f, "/{sub_pool}"),
            None => Ok(()),
        }
    }
}

impl FromStr for PoolId {
    type Err = ControlError;

    fn from_str(text: &str) -> Result<Self, ControlError> {
        parse(text).ok_or_else(|| {
            ControlError::invalid(format!("`{text}` is not a pool of Weft's"))
                .with_hint("remove the engine's network and make it anew")
        })
    }
}

fn parse(text: &str) -> Option<PoolId> {
    let parts: Vec<&str> = text.split('/').collect();
    let (head, sub_pool) = match parts.as_slice() {
        [head @ .., ip, prefix] if parts.len() == 7 => {
            (head, Some(format!("{ip}/{prefix}").parse().ok()?))
        }
        head => (head, None),
    };
    let [space, node, network, ip, prefix] = head else { return None };
    Some(PoolId {
        space: space.parse().ok()?,
        node: (*node).to_owned(),
        network: (*network != "-").then(|| (*network).to_owned()),
        pool: format!("{ip}/{prefix}").parse().ok()?,
        sub_pool,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_id_survives_its_text() {
        let node = NodeId::from_bytes([7; 16]);
        for (network, pool, sub_pool) in [
            (Some("blue"), "10.1.0.0/16", Some("10.1.3.0/24")),
            (None, "10.1.0.0/16", None),
            (Some("a-b"), "fd00:1::/64", Some("fd00:1::/80")),
            (None, "fd00:1::/64", None),
        ] {
            for space in [AddressSpace::Local, AddressSpace::Global] {
                let id = PoolId::new(
                    space,
                    node,
                    network.map(ToOwned::to_owned),
                    pool.parse().unwrap(),
                    sub_pool.map(|sub_pool| sub_pool.parse().unwrap()),
                );
                assert_eq!(id.to_string().parse::<PoolId>().unwrap(), id);
            }
        }
    }

    #[test]
    fn what_is_no_pool_id_is_refused() {
        for text in [
            "",
            "weft-local",
            "LocalDefault/10.0.0.0/8",
            "weft-global/10.77.0.0/16",
            "other/1/-/10.0.0.0/8",
            "weft-local/1/-/10.0.0.0/8/x",
            "weft-local/1/-/10.0.0.0/8/10.0.0.0/33",
            "weft-local/1/-/10.0.0.0/8/10.0.0.0/9/x",
        ] {
            assert!(text.parse::<PoolId>().is_err(), "{text}");
        }
    }
}
