//! What networkdb is told at the start: the joins of facts that are not its own.

use std::collections::BTreeMap;

use weft_api::NetworkId;
use weft_networkdb::{Config, FactKind, Join, JoinError, Joined, Limits, Timing};

use super::NodeConfig;
use crate::host_routes::HostRoutesJoin;

/// ipam's kinds of facts, in both crates' words.
pub(super) const IPAM_KINDS: [(FactKind, weft_ipam::FactKind); 2] = [
    (FactKind::RANGES, weft_ipam::FactKind::Ranges),
    (FactKind::ALLOCATION, weft_ipam::FactKind::Allocation),
];

/// Tells whether a kind is ipam's, and which.
pub(super) fn ipam_kind(kind: FactKind) -> Option<weft_ipam::FactKind> {
    IPAM_KINDS.into_iter().find(|(theirs, _)| *theirs == kind).map(|(_, ours)| ours)
}

/// How ipam joins: the new state, or none where nothing changed.
type JoinStates = fn(Option<&[u8]>, &[u8]) -> Result<Option<Vec<u8>>, weft_ipam::JoinError>;

/// A join of ipam's, in networkdb's shape.
struct IpamJoin(JoinStates);

impl Join for IpamJoin {
    fn join(&self, current: Option<&[u8]>, incoming: &[u8]) -> Result<Joined, JoinError> {
        match (self.0)(current, incoming) {
            Ok(Some(changed)) => Ok(Joined::Changed(changed)),
            Ok(None) => Ok(Joined::Unchanged),
            Err(error) => Err(JoinError(error.to_string())),
        }
    }

    fn network(&self, subject: &[u8]) -> Option<NetworkId> {
        weft_ipam::Space::network_of(subject)
    }

    fn parts(&self, network: NetworkId) -> Option<Vec<u8>> {
        Some(weft_ipam::Space::subjects_of(network))
    }
}

pub(super) fn db_config(config: NodeConfig) -> Config {
    let joins: BTreeMap<FactKind, Box<dyn Join>> = BTreeMap::from([
        (FactKind::RANGES, Box::new(IpamJoin(weft_ipam::join_ranges)) as Box<dyn Join>),
        (FactKind::ALLOCATION, Box::new(IpamJoin(weft_ipam::join_allocations))),
        (FactKind::HOST_ROUTES, Box::new(HostRoutesJoin)),
    ]);
    Config {
        cluster: config.cluster,
        node: config.node,
        boot: config.boot,
        name: config.name,
        advertise: config.advertise,
        keys: config.keys,
        seed: config.seed,
        joins,
        limits: Limits::default(),
        timing: Timing::default(),
    }
}
