//! `/cluster`, `/members`, `/status` and `/ipam`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::control::Secret;
use crate::id::{ClusterId, NetworkId, NodeId};

/// `POST /cluster/init`: makes a cluster of this one node. What is left out comes from the agent's
/// configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitRequest {
    /// Pool of the default IPv4 subnets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default4: Option<IpNetwork>,
    /// Prefix length each default IPv4 subnet is cut to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default4_prefix: Option<u8>,
    /// Pool of the default IPv6 subnets; a random ULA /48 when nothing names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default6: Option<IpNetwork>,
    /// Prefix length each default IPv6 subnet is cut to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default6_prefix: Option<u8>,
    /// First VNI of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vni_first: Option<u32>,
    /// Last VNI of the cluster, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vni_last: Option<u32>,
}

/// `POST /cluster/join`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// What `weft token` printed on a member.
    pub token: Secret,
    /// Members to ask, any of them; at least one.
    pub seeds: Vec<SocketAddr>,
}

/// `POST /cluster/leave`: hands this node's addresses to live members, then leaves for good.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveRequest {
    /// Removes this node's endpoints first instead of refusing while there are any, and leaves
    /// although members are away and none answers.
    #[serde(default)]
    pub force: bool,
}

/// `POST /cluster/forget`: asserts that nodes are stopped for good. Their addresses go to the node
/// that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetRequest {
    /// Who: names, ids, or prefixes of ids; at least one.
    pub nodes: Vec<String>,
    /// Goes on without members that are away, and also where half of the members are named.
    #[serde(default)]
    pub force: bool,
}

/// `POST /cluster/keys`: makes a new key and lets every member seal with it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// Goes on without members that are away.
    #[serde(default)]
    pub force: bool,
}

/// `DELETE /cluster/keys/{key}`: retires a key at once, on every member.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyQuery {
    /// Also where members are not known to have a newer one, and are cut off.
    #[serde(default)]
    pub force: bool,
}

/// What a key of the cluster is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// It seals, and tokens carry it.
    Primary,
    /// It sealed before, and still opens.
    Accepted,
    /// Members are asked to take it.
    Pending,
}

/// A row of `GET /cluster/keys`. The key itself is in no answer but a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyResource {
    /// Its fingerprint: 16 hexadecimal digits that tell nothing of it.
    pub id: String,
    /// What it is for.
    pub role: KeyRole,
    /// The rotation that brought it; 0 is the key that the cluster was founded with.
    pub rotation: u64,
    /// Of a pending key: the name of the member that asks the others to take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimant: Option<String>,
    /// Names of members. Of a pending key, at its claimant: who has not taken it. Else: who has not
    /// said yet that it seals with the primary.
    pub missing: Vec<String>,
}

/// `GET /cluster/token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenResponse {
    /// The join token.
    pub token: Secret,
    /// Addresses a joiner may name, this node's first.
    pub seeds: Vec<SocketAddr>,
}

/// Answer of init and join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterResource {
    /// The cluster.
    pub id: ClusterId,
    /// This node.
    pub node: NodeId,
    /// This node's name.
    pub name: String,
    /// Where other members reach this node.
    pub advertise: SocketAddr,
}

/// How far this node is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterState {
    /// In no cluster: `init` or `join` comes next.
    None,
    /// Asking to be let in.
    Joining,
    /// A member that has not yet synced facts with every live member since its start.
    Syncing,
    /// A member that may allocate.
    Ready,
    /// On its way out.
    Leaving,
}

/// `GET /status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusResource {
    /// Version of the agent.
    pub version: String,
    /// This node; none before the first init or join.
    pub node: Option<NodeId>,
    /// This node's name.
    pub name: String,
    /// Its cluster.
    pub cluster: Option<ClusterId>,
    /// How far it is there.
    pub state: ClusterState,
    /// Where other members reach this node.
    pub advertise: SocketAddr,
    /// Time since the agent's start, in milliseconds.
    pub uptime_ms: u64,
    /// Members by state.
    pub members: MemberCounts,
    /// Networks known.
    pub networks: u64,
    /// Endpoints of this node.
    pub endpoints: u64,
    /// Every overflow, refusal, drop and repair, by cause, since the agent's start.
    pub counters: BTreeMap<String, u64>,
}

/// Members by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemberCounts {
    /// Answering.
    pub alive: u64,
    /// Not answering for a moment.
    pub suspect: u64,
    /// Declared failed.
    pub failed: u64,
}

/// What this node holds of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It answers.
    Alive,
    /// It does not answer for a moment.
    Suspect,
    /// It does not answer; its networks stay as they are.
    Failed,
    /// It left in good order.
    Left,
    /// The operator said that it will not be back.
    Forgotten,
}

/// A row of `GET /members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberResource {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub address: SocketAddr,
    /// What this node holds of it.
    pub state: MemberState,
    /// How often it was started.
    pub boot: u64,
    /// It is the node that answers.
    pub this: bool,
}

/// A row of `GET /ipam`: one pool and who holds how much of it. Counts stop at `u64::MAX`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamPool {
    /// Address space: `weft-global`, `weft-local`, or `vni`.
    pub space: String,
    /// The network it serves; none for what networks are cut from.
    pub network: Option<NetworkId>,
    /// That network's name.
    pub network_name: Option<String>,
    /// The pool: a CIDR, or the first and last VNI.
    pub pool: String,
    /// Addresses in the pool that can be handed out.
    pub size: u64,
    /// Addresses in use on this node.
    pub used: u64,
    /// Addresses released on this node that rest before reuse.
    pub resting: u64,
    /// Addresses this node can hand out without asking.
    pub free: u64,
    /// Who owns how much.
    pub shares: Vec<IpamShare>,
}

/// One node's share of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamShare {
    /// The node.
    pub node: NodeId,
    /// Its name, where it is known.
    pub name: Option<String>,
    /// How many addresses it owns.
    pub addresses: u64,
}
