//! How a claim ends for whoever submitted it.

use ipnetwork::IpNetwork;
use weft_api::{Definition, NetworkId, NodeId};

/// How a claim ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The network is defined, in the whole cluster.
    Defined(Definition),
    /// The network exists already, with the same name and shape: get-or-create got it.
    Joined(Definition),
    /// The network is deleted, in the whole cluster.
    Deleted(NetworkId),
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
    /// A definition's id is in use, or was once; ids are never used again.
    #[error("network id {0} was used before")]
    IdUsed(NetworkId),
    /// The definition has no name, no subnet, or breaks a bound.
    #[error("definition of network `{name}` breaks a bound: {what}")]
    Invalid {
        /// The network's name.
        name: String,
        /// Which bound.
        what: &'static str,
    },
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
