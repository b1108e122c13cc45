//! How a claim ends for whoever submitted it.

use ipnetwork::IpNetwork;
use weft_api::{Definition, NetworkId, NodeId, Vni};

use crate::keys::Fingerprint;

/// How a claim ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The network is defined, in the whole cluster.
    Defined(Definition),
    /// The network exists already, with the same name and shape: get-or-create got it.
    Joined(Definition),
    /// The network is deleted, in the whole cluster.
    Deleted(NetworkId),
    /// These members are forgotten, in the whole cluster, and this node is their heir.
    Forgotten(Vec<NodeId>),
    /// Every member that had to has this key, and seals with it from now on.
    Rotated(Fingerprint),
    /// Nothing changed.
    Refused(ClaimError),
}

/// Says why a claim came to nothing. It was withdrawn; no state changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// A network of another shape has the name. The caller's to solve.
    #[error("network name `{name}` is taken by network {id} of another shape")]
    NameTaken {
        /// The name.
        name: String,
        /// The network that has it.
        id: NetworkId,
    },
    /// A pool overlaps one of another network (libnetwork's `ErrPoolOverlap`). The caller's to
    /// solve, by another pool.
    #[error("pool {pool} overlaps pool {other_pool} of network `{other}`")]
    PoolOverlap {
        /// The pool asked for.
        pool: IpNetwork,
        /// The pool in its way.
        other_pool: IpNetwork,
        /// The name of the network that has it.
        other: String,
    },
    /// A network in force has a VNI of it: this node's disk is older than that network. The
    /// caller's to solve, by another VNI.
    #[error("VNI {vni} is network `{other}`'s")]
    VniTaken {
        /// The VNI.
        vni: Vni,
        /// The name of the network that has it.
        other: String,
    },
    /// The network does not exist, or exists no more.
    #[error("network {0} does not exist")]
    NoSuchNetwork(NetworkId),
    /// Nodes, failed ones included, have attachments or endpoints in the network.
    #[error("network {network} is in use on {}", list(.nodes))]
    InUse {
        /// The network.
        network: NetworkId,
        /// Where it is in use.
        nodes: Vec<NodeId>,
    },
    /// A claim of another node is in the way, and did not end in time; if its claimant failed it
    /// stays until that node returns.
    #[error("a pending claim of node {node} on `{what}` is in the way")]
    Contended {
        /// The other claimant.
        node: NodeId,
        /// What it claims: a network's name, or its id.
        what: String,
    },
    /// Members neither accepted nor refused in time.
    #[error("no answer from {}", list(.members))]
    Unanswered {
        /// The members that did not answer.
        members: Vec<NodeId>,
    },
    /// A definition's id or VNI is in use, or was once; neither is used again.
    #[error("the id or VNI of network {0} was used before")]
    IdUsed(NetworkId),
    /// The definition has no name, no subnet, or breaks a bound.
    #[error("definition of network `{name}` breaks a bound: {what}")]
    Invalid {
        /// The network's name.
        name: String,
        /// Which bound.
        what: &'static str,
    },
    /// Who is to be forgotten answers. The caller's to solve: a node that runs leaves by itself.
    #[error("{} still answers", list(.nodes))]
    Answers {
        /// Who answers.
        nodes: Vec<NodeId>,
    },
    /// Half of the members or more are to be forgotten, and the caller does not force that.
    #[error("{named} of {members} members are named: the others could do the same")]
    Half {
        /// How many are named.
        named: usize,
        /// How many members there are, named ones included.
        members: usize,
    },
    /// The node was never a member.
    #[error("node {0} is not a member")]
    NoSuchMember(NodeId),
    /// All nodes named left or were forgotten before.
    #[error("{} left or was forgotten before", list(.nodes))]
    AlreadyGone {
        /// Who was named.
        nodes: Vec<NodeId>,
    },
    /// None or too many nodes are named at once.
    #[error("{named} nodes are named; 1 to {bound} may be")]
    Named {
        /// How many are.
        named: usize,
        /// How many may be.
        bound: usize,
    },
    /// Another rotation was quicker: its key is in force. The caller's to look whether it serves.
    #[error("another rotation of the key was quicker")]
    Rotated,
    /// A rotation asked for at this node is under way.
    #[error("a rotation of the key is under way at this node")]
    Rotating,
    /// Too many claims are under way, here or on a member.
    #[error("too many claims are under way")]
    Full,
    /// The node is leaving the cluster.
    #[error("this node is leaving")]
    Leaving,
}

fn list(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(NodeId::short).collect();
    if names.is_empty() { "no node".to_owned() } else { names.join(", ") }
}
