//! What claims need to see of the rest of networkdb.

use std::time::Instant;

use weft_api::{Definition, NetworkId, NodeId, Vni};

use crate::keys::Fingerprint;

/// How a member stands in this node's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Alive or suspect: not declared failed.
    Live,
    /// Declared failed.
    Failed,
    /// Left or forgotten: it never returns.
    Gone,
    /// Never heard of.
    Unknown,
}

/// A change of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberChange {
    /// Joined, came back, or runs under a new boot.
    Up,
    /// Declared failed.
    Failed,
    /// Left for good.
    Left,
    /// Declared stopped for good.
    Forgotten,
}

/// How a rotation stands in this node's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It replaces the key that seals here, and the key to come is known.
    Fit,
    /// This node has not heard of the key that it replaces, or not got the one to come.
    Early,
    /// Its key is in force.
    Done,
    /// Another key is in force in its place.
    Over,
}

/// The rest of networkdb, as claims read it. Given anew with each call.
pub(crate) trait View {
    /// Lists the members not declared failed; whether this node is among them does not matter.
    /// A member known from disk and not yet heard of since the start counts as live.
    fn live(&self) -> Vec<NodeId>;

    /// Lists the members that are not gone for good, failed ones and this node included.
    fn members(&self) -> Vec<NodeId>;

    /// Tells how `node` stands.
    fn standing(&self, node: NodeId) -> Standing;

    /// Lists the networks in force and not deleted.
    fn definitions(&self) -> Box<dyn Iterator<Item = &Definition> + '_>;

    /// Tells whether the network was ever in force here, deleted since or not.
    fn is_defined(&self, network: NetworkId) -> bool;

    /// Tells whether the network has its tombstone here.
    fn is_deleted(&self, network: NetworkId) -> bool;

    /// Tells whether a network that is deleted had the VNI.
    fn was_deleted_with(&self, vni: Vni) -> bool;

    /// Lists the nodes attached to the network, hidden owners included, this node too.
    fn attached(&self, network: NetworkId) -> Vec<NodeId>;

    /// Tells whether this node has endpoints in the network, attached or not.
    fn has_endpoints_here(&self, network: NetworkId) -> bool;

    /// Tells how a rotation to `key`, away from `base`, stands.
    fn turn(&self, rotation: u64, key: Fingerprint, base: Fingerprint) -> Turn;

    /// Tells whether a key is in force.
    fn is_in_force(&self, key: Fingerprint) -> bool;

    /// Returns when the key that seals has done so for long enough to be replaced.
    fn key_rested_at(&self) -> Option<Instant>;
}
