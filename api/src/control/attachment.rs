//! `/attachments`: the endpoints of CNI containers, found by container id and interface name.
//!
//! A runtime knows an attachment by its configuration, its container and its interface, and by
//! nothing else: it may ask for the end of one whose making it never heard of. So the agent keeps
//! these three beside the endpoint, and every request names them.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::control::{EndpointResource, NetworkCreate};
use crate::id::Mac;

/// Which attachment of a network: CNI's `CNI_CONTAINERID` and `CNI_IFNAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachmentKey {
    /// The container's id: letters, digits, `_`, `.` and `-`, a letter or digit first.
    pub container_id: String,
    /// The interface in the container's namespace, at most 15 bytes.
    pub ifname: String,
}

/// An attachment as its runtime names it.
///
/// CNI tells attachments apart by the name of the configuration, so that name counts where there
/// is one: the configuration may have had another network when the attachment was made. One
/// without a name, of the request or of the attachment, goes by its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachmentRef {
    /// The network, by name, as the configuration has it now.
    pub network: String,
    /// The name of the CNI configuration; empty is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub configuration: String,
    /// Which of its attachments.
    pub key: AttachmentKey,
}

impl AttachmentRef {
    /// Tells whether this names the attachment with a key that a configuration made to a network.
    #[must_use]
    pub fn names(&self, network: &str, configuration: &str, key: &AttachmentKey) -> bool {
        let by_network = self.configuration.is_empty() || configuration.is_empty();
        let same =
            if by_network { self.network == network } else { self.configuration == configuration };
        same && self.key == *key
    }
}

/// `POST /attachments`: makes an endpoint and joins it, or does neither.
///
/// One that is there already under this key is a conflict, unless its namespace is gone or another
/// one, or its interface is gone: then it is ended first and made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachmentAdd {
    /// The network; it is made when there is none of that name, and must agree when there is.
    pub network: NetworkCreate,
    /// Which attachment this is.
    pub key: AttachmentKey,
    /// The name of the CNI configuration it is made by: several may use one network.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub configuration: String,
    /// Absolute path of the container's network namespace.
    pub netns: String,
    /// Where its addresses come from.
    #[serde(default)]
    pub addresses: AttachmentAddresses,
    /// MAC address; none derives it from the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Limits of the traffic; none is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
}

/// Where the addresses of an attachment come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum AttachmentAddresses {
    /// The network's own IPAM: one of each family the network has.
    Network {
        /// Addresses asked for, at most one of each family; given exactly or refused.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        wanted: Vec<IpAddr>,
        /// Where those not asked for come from, at most one range of each family; none takes the
        /// network's.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ranges: Vec<IpNetwork>,
    },
    /// Another IPAM plugin gave them. They are claimed in the whole cluster, and a taken one is
    /// refused. They must lie in the network's subnets.
    Given {
        /// At most one address of each family, with the prefix length of its subnet.
        addresses: Vec<IpNetwork>,
    },
}

impl Default for AttachmentAddresses {
    fn default() -> Self {
        Self::Network { wanted: Vec::new(), ranges: Vec::new() }
    }
}

/// Limits of one endpoint's traffic, as CNI's capability `bandwidth` words them. A rate of 0 is no
/// limit; a burst of 0 takes a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bandwidth {
    /// Towards the container, in bits a second.
    #[serde(default)]
    pub ingress_rate: u64,
    /// Towards the container at once, in bits.
    #[serde(default)]
    pub ingress_burst: u64,
    /// From the container, in bits a second.
    #[serde(default)]
    pub egress_rate: u64,
    /// From the container at once, in bits.
    #[serde(default)]
    pub egress_burst: u64,
}

/// An attachment of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentResource {
    /// Which one it is.
    pub key: AttachmentKey,
    /// Its endpoint, with addresses, MAC, gateways and MTU.
    pub endpoint: EndpointResource,
    /// What in the kernel is not as it was made; empty when all is. Only where it was asked for
    /// (`GET /attachments/{network}/{container}/{ifname}?configuration=NAME`). A smaller MTU and a
    /// default route in another table are no faults: plugins that are chained behind do that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// `POST /attachments/gc`: ends every attachment of this node and this configuration that is not
/// named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachmentGc {
    /// The network, by name. It counts where no configuration is named: one that has another
    /// network by now still owns what it made on the former.
    pub network: String,
    /// Only what was made by the CNI configuration of this name is looked at.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub configuration: String,
    /// What is in use. An empty list says that nothing is.
    pub valid: Vec<AttachmentKey>,
}

/// What `POST /attachments/gc` ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AttachmentsGone {
    /// The attachments that are gone now.
    pub removed: Vec<AttachmentKey>,
    /// Those that should be and are not, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}

/// `GET /attachments/status`: whether an ADD can be served now. It looks at memory only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentStatus {
    /// This node is in a cluster and has taken up what it kept.
    pub ready: bool,
    /// Containers that are attached may be cut off as well: CNI's code 51, not 50.
    pub limited_connectivity: bool,
    /// Why not, in one sentence; empty when ready.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}
