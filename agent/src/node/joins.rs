//! The joins of the facts that ipam keeps in networkdb.

use weft_networkdb::{Config, FactKind, Join, JoinError, Joined, Limits, Timing};

use super::NodeConfig;

/// ipam's kinds of facts, in both crates' words.
pub(super) const IPAM_KINDS: [(FactKind, weft_ipam::FactKind); 2] = [
    (FactKind::RANGES, weft_ipam::FactKind::Ranges),
    (FactKind::ALLOCATION, weft_ipam::FactKind::Allocation),
];

/// Tells whether a kind is ipam's, and which.
pub(super) fn ipam_kind(kind: FactKind) -> Option<weft_ipam::FactKind> {
    IPAM_KINDS.into_iter().find(|(theirs, _)| *theirs == kind).map(|(_, ours)| ours)
}
