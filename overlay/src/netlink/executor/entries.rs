//! Neighbouring FDB and neighbour operations, sent together.

use std::collections::BTreeMap;

use netlink_packet_route::RouteNetlinkMessage;

use crate::netlink::connection::{BATCH_MAX, Connection, Request};
use crate::netlink::error::NetlinkError;
use crate::netlink::{fdb, link, neigh};
use crate::op::KernelOp;

/// What an operation on an entry is about; `None` for any other operation.
pub(super) fn target(op: &KernelOp) -> Option<(&str, &str)> {
    match op {
        KernelOp::ReplaceFdb { namespace, device, .. }
        | KernelOp::RemoveFdb { namespace, device, .. }
        | KernelOp::ReplaceNeighbour { namespace, device, .. }
        | KernelOp::RemoveNeighbour { namespace, device, .. } => Some((namespace, device)),
        KernelOp::EnsureNamespace { .. }
        | KernelOp::RemoveNamespace { .. }
        | KernelOp::EnsureBridge { .. }
        | KernelOp::EnsureVxlan { .. }
        | KernelOp::EnsureEndpoint { .. }
        | KernelOp::EnsureHanded { .. }
        | KernelOp::EnsureWayOut { .. }
        | KernelOp::RemoveWayOut { .. }
        | KernelOp::EnsurePublished { .. }
        | KernelOp::EnsureLimits { .. }
        | KernelOp::RemovePublished { .. }
        | KernelOp::RemoveLink { .. }
        | KernelOp::Announce { .. } => None,
    }
}

fn request(op: &KernelOp, index: u32) -> Option<Request<RouteNetlinkMessage>> {
    match op {
        KernelOp::ReplaceFdb { entry, .. } => Some(fdb::replace_request(index, entry)),
        KernelOp::RemoveFdb { entry, .. } => Some(fdb::remove_request(index, entry)),
        KernelOp::ReplaceNeighbour { entry, .. } => Some(neigh::replace_request(index, entry)),
        KernelOp::RemoveNeighbour { entry, .. } => Some(neigh::remove_request(index, entry)),
        KernelOp::EnsureNamespace { .. }
        | KernelOp::RemoveNamespace { .. }
        | KernelOp::EnsureBridge { .. }
        | KernelOp::EnsureVxlan { .. }
        | KernelOp::EnsureEndpoint { .. }
        | KernelOp::EnsureHanded { .. }
        | KernelOp::EnsureWayOut { .. }
        | KernelOp::RemoveWayOut { .. }
        | KernelOp::EnsurePublished { .. }
        | KernelOp::EnsureLimits { .. }
        | KernelOp::RemovePublished { .. }
        | KernelOp::RemoveLink { .. }
        | KernelOp::Announce { .. } => None,
    }
}

fn removes(op: &KernelOp) -> bool {
    matches!(op, KernelOp::RemoveFdb { .. } | KernelOp::RemoveNeighbour { .. })
}

fn describe(op: &KernelOp) -> String {
    match op {
        KernelOp::ReplaceFdb { device, entry, .. } => {
            format!("set {} behind {} on `{device}`", entry.mac, entry.vtep)
        }
        KernelOp::RemoveFdb { device, entry, .. } => {
            format!("remove {} behind {} on `{device}`", entry.mac, entry.vtep)
        }
        KernelOp::ReplaceNeighbour { device, entry, .. } => {
            format!("set neighbour {} on `{device}`", entry.ip)
        }
        KernelOp::RemoveNeighbour { device, entry, .. } => {
            format!("remove neighbour {} on `{device}`", entry.ip)
        }
        KernelOp::EnsureNamespace { .. }
        | KernelOp::RemoveNamespace { .. }
        | KernelOp::EnsureBridge { .. }
        | KernelOp::EnsureVxlan { .. }
        | KernelOp::EnsureEndpoint { .. }
        | KernelOp::EnsureHanded { .. }
        | KernelOp::EnsureWayOut { .. }
        | KernelOp::RemoveWayOut { .. }
        | KernelOp::EnsurePublished { .. }
        | KernelOp::EnsureLimits { .. }
        | KernelOp::RemovePublished { .. }
        | KernelOp::RemoveLink { .. }
        | KernelOp::Announce { .. } => "change an entry".to_owned(),
    }
}

/// Carries out operations on entries of one namespace, in order. An absent device is a failure for
/// what would be set and a success for what would be removed.
pub(super) async fn apply(
    connection: &mut Connection,
    ops: &[(usize, &KernelOp)],
    failures: &mut Vec<(usize, NetlinkError)>,
) {
    let mut devices: BTreeMap<&str, Option<u32>> = BTreeMap::new();
    let mut known = Vec::with_capacity(ops.len());
    for (position, op) in ops {
        let Some((_, device)) = target(op) else { continue };
        if !devices.contains_key(device) {
            match link::find(connection, device).await {
                Ok(found) => {
                    devices.insert(device, found.map(|link| link.index));
                }
                Err(error) => {
                    failures.push((*position, error));
                    continue;
                }
            }
        }
        match devices.get(device).copied().flatten() {
            Some(index) => known.extend(request(op, index).map(|r| (*position, *op, r))),
            None if removes(op) => {}
            None => failures.push((*position, NetlinkError::NoLink(device.to_owned()))),
        }
    }
    let mut known = known.into_iter().peekable();
    while known.peek().is_some() {
        let (sent, requests): (Vec<_>, Vec<_>) =
            known.by_ref().take(BATCH_MAX).map(|(p, op, request)| ((p, op), request)).unzip();
        send(connection, &sent, requests, failures).await;
    }
}

async fn send(
    connection: &mut Connection,
    sent: &[(usize, &KernelOp)],
    requests: Vec<Request<RouteNetlinkMessage>>,
    failures: &mut Vec<(usize, NetlinkError)>,
) {
    let doing = || format!("change {} forwarding entries and neighbours", sent.len());
    match connection.batch(doing, requests).await {
        Ok(refusals) => {
            for (place, refusal) in refusals {
                let (position, op) = sent[place];
                let absent = neigh::ABSENT.iter().any(|errno| *errno as i32 == refusal.errno);
                if !(removes(op) && absent) {
                    let doing = describe(op);
                    failures.push((position, NetlinkError::Refused { doing, refusal }));
                }
            }
        }
        // Nobody knows which were carried out: all are reported, under one cause.
        Err(error) => {
            let doing = error.to_string();
            failures.extend(
                sent.iter().map(|(position, _)| {
                    (*position, NetlinkError::Unknown { doing: doing.clone() })
                }),
            );
        }
    }
}

/// What operations on entries of a namespace that cannot be entered come to.
pub(super) fn unreachable(
    ops: &[(usize, &KernelOp)],
    error: &NetlinkError,
) -> Vec<(usize, NetlinkError)> {
    let gone = matches!(error, NetlinkError::NamespaceGone(_) | NetlinkError::NotNamespace(_));
    let failed = ops.iter().filter(|(_, op)| !(gone && removes(op)));
    let doing = error.to_string();
    failed
        .map(|(position, _)| (*position, NetlinkError::Unknown { doing: doing.clone() }))
        .collect()
}
