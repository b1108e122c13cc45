//! Announcements of one namespace, sent together.

use std::collections::BTreeMap;

use super::connections::Network;
use crate::netlink::announce::{self, Announcement};
use crate::netlink::error::NetlinkError;
use crate::netlink::{link, neigh};
use crate::op::KernelOp;

/// The namespace of an announcement; `None` for any other operation.
pub(super) fn place(op: &KernelOp) -> Option<&str> {
    if let KernelOp::Announce { namespace, .. } = op { Some(namespace) } else { None }
}

/// Corrects what the bridges remember as gateways, and sends to the endpoints. A bridge that is
/// gone remembers nothing.
///
/// # Errors
/// When nothing could be sent. What failed by itself is among the failures, by index.
pub(super) async fn apply(
    network: &mut Network,
    ops: &[(usize, &KernelOp)],
    failures: &mut Vec<(usize, NetlinkError)>,
) -> Result<(), NetlinkError> {
    let mut bridges: BTreeMap<&str, Option<u32>> = BTreeMap::new();
    let (mut positions, mut announcements) = (Vec::new(), Vec::new());
    for (position, op) in ops {
        let KernelOp::Announce { bridge, ports, entry, .. } = op else { continue };
        if !bridges.contains_key(bridge.as_str()) {
            let found = link::find(&mut network.connection, bridge).await?;
            bridges.insert(bridge, found.map(|link| link.index));
        }
        if let Some(index) = bridges.get(bridge.as_str()).copied().flatten() {
            let corrected = neigh::correct(&mut network.connection, index, entry).await;
            failures.extend(corrected.err().map(|error| (*position, error)));
        }
        if !ports.is_empty() {
            positions.push(*position);
            announcements.push(Announcement { ports: ports.clone(), entry: entry.clone() });
        }
    }
    if announcements.is_empty() {
        return Ok(());
    }
    let outcomes = announce::send(&network.namespace, announcements).await?;
    let failed = positions.into_iter().zip(outcomes);
    failures.extend(failed.filter_map(|(position, outcome)| Some((position, outcome.err()?))));
    Ok(())
}
