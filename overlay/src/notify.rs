//! An event of the peer table, checked and taken over.

use std::collections::VecDeque;
use std::net::IpAddr;

use weft_api::EndpointId;

use crate::PEERS_MAX;
use crate::endpoint::{family_v4, family_v6};
use crate::error::Refusal;
use crate::network::Network;
use crate::op::KernelOp;
use crate::peer_db::Peer;
use crate::planner::{Event, Host};
use crate::record::PeerRecord;

/// Whom an event was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// An endpoint of another node, as far as this node knows.
    Peer,
    /// This node's VTEP: an endpoint of its own, or one that is no more.
    Own,
}

/// Takes one event over. A refused one leaves the peer's older record in force.
pub(crate) fn apply(
    network: &mut Network,
    host: &Host,
    event: Event,
    key: &str,
    value: &[u8],
    ops: &mut VecDeque<KernelOp>,
) -> Result<Heard, Refusal> {
    let endpoint: EndpointId = key.parse().map_err(|_| Refusal::BadKey(key.to_owned()))?;
    let (heard, peer) = match event {
        Event::Create | Event::Update => {
            let record = PeerRecord::decode(value).map_err(|e| Refusal::Malformed(endpoint, e))?;
            if record.vtep == host.vtep {
                (Heard::Own, None)
            } else {
                (Heard::Peer, Some(check(network, host, endpoint, &record)?))
            }
        }
        Event::Delete => (Heard::Peer, None),
    };
    let is_new = peer.is_some() && !network.peers.contains(endpoint);
    if is_new && network.peers.len() >= PEERS_MAX {
        return Err(Refusal::Full(network.id));
    }
    let built = network.is_built();
    let (peers, programmer) = network.programming();
    peers.set_peer(endpoint, peer, |change| {
        if built {
            ops.push_back(programmer.op(change));
        }
    });
    Ok(heard)
}

fn check(
    network: &Network,
    host: &Host,
    endpoint: EndpointId,
    record: &PeerRecord,
) -> Result<Peer, Refusal> {
    let PeerRecord { mac, vtep, stamp, replaces, .. } = *record;
    if !is_reachable(vtep, host.vtep) {
        return Err(Refusal::BadVtep { endpoint, vtep });
    }
    if !network.admits(mac) {
        return Err(Refusal::BadMac { endpoint, mac });
    }
    let (v4, v6) = (record.v4.and_then(family_v4), record.v6.and_then(family_v6));
    let place = |ip: IpAddr| match network.place(ip) {
        Ok((segment, _)) => Ok(segment),
        Err(_) => Err(Refusal::AddressOutside { endpoint, address: ip }),
    };
    let segment = match (v4, v6) {
        (Some(v4), Some(v6)) => {
            let (a, b) = (place(v4.into())?, place(v6.into())?);
            if a != b {
                return Err(Refusal::TwoSegments(endpoint));
            }
            a
        }
        (Some(v4), None) => place(v4.into())?,
        (None, Some(v6)) => place(v6.into())?,
        (None, None) => {
            return Err(Refusal::Malformed(endpoint, crate::record::RecordError::NoAddress));
        }
    };
    Ok(Peer { segment, v4, v6, mac, vtep, stamp, replaces })
}

/// A tunnel has one family at both ends, and leads to one other host.
fn is_reachable(vtep: IpAddr, own: IpAddr) -> bool {
    let broadcast = match vtep {
        IpAddr::V4(vtep) => vtep.is_broadcast(),
        IpAddr::V6(vtep) => vtep.to_ipv4_mapped().is_some(),
    };
    vtep.is_ipv4() == own.is_ipv4()
        && !broadcast
        && !vtep.is_unspecified()
        && !vtep.is_multicast()
        && (!vtep.is_loopback() || own.is_loopback())
}
