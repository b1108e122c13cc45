//! Which definitions exclude each other, and which are one network asked for twice.

use ipnetwork::IpNetwork;
use weft_api::{Definition, Subnet, Vni};

use super::message::{ClaimBody, Origin};
use crate::wire::codec;

/// The IPAM driver whose pools are the cluster-wide address space; a third party's driver
/// guards its own.
const GLOBAL_IPAM: &str = "weft";

const MAX_NAME: usize = 128;
/// Nodes that one claim forgets, at most.
pub(super) const MAX_VICTIMS: usize = 256;
const MAX_SUBNETS: usize = 64;
const MAX_ENCODED: usize = 16 * 1024;

/// What two definitions cannot share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clash {
    Id,
    Name,
    Pool {
        mine: IpNetwork,
        other: IpNetwork,
    },
    /// No two are handed out alike. A disk that was rolled back, or a claim that was refused and
    /// came into force late, can bring one twice, and then packets of two networks would mix.
    Vni(Vni),
}

/// Finds what keeps `mine` and `other` from being in force together.
pub(super) fn clash(mine: &Definition, other: &Definition) -> Option<Clash> {
    if mine.id == other.id {
        return Some(Clash::Id);
    }
    if mine.name == other.name {
        return Some(Clash::Name);
    }
    let pairs = || mine.subnets.iter().flat_map(|a| other.subnets.iter().map(move |b| (a, b)));
    let by_vni = pairs().find(|(a, b)| a.vni == b.vni).map(|(a, _)| Clash::Vni(a.vni));
    if mine.ipam != GLOBAL_IPAM || other.ipam != GLOBAL_IPAM {
        return by_vni;
    }
    let by_pool = pairs()
        .find(|(a, b)| overlap(a.pool, b.pool))
        .map(|(a, b)| Clash::Pool { mine: a.pool, other: b.pool });
    by_pool.or(by_vni)
}

/// Tells whether at most one of two claims may succeed.
pub(super) fn rivals(a: &ClaimBody, b: &ClaimBody) -> bool {
    match (a, b) {
        (ClaimBody::Define { definition: a, .. }, ClaimBody::Define { definition: b, .. }) => {
            clash(a, b).is_some()
        }
        (ClaimBody::Delete(a), ClaimBody::Delete(b)) => a == b,
        (ClaimBody::Forget { victims: a, .. }, ClaimBody::Forget { victims: b, .. }) => {
            a.iter().any(|victim| b.contains(victim))
        }
        // There is one ring.
        (ClaimBody::Rotate { .. }, ClaimBody::Rotate { .. }) => true,
        (ClaimBody::Define { .. }, _)
        | (ClaimBody::Delete(_), _)
        | (ClaimBody::Forget { .. }, _)
        | (ClaimBody::Rotate { .. }, _) => false,
    }
}

/// Tells whether whoever asked for `mine` is served by `other`, which has its name: what was
/// asked for is the same, and what was left to Weft does not count.
pub(super) fn same_shape(mine: &Definition, origins: &[Origin], other: &Definition) -> bool {
    let asked = |index: usize| match origins.get(index) {
        None | Some(Origin::Asked) => true,
        Some(Origin::Default) => false,
    };
    let subnets = mine.subnets.iter().enumerate();
    let asked_for = |v6: bool| -> (usize, usize) {
        let of_family = subnets.clone().filter(|(_, subnet)| subnet.pool.is_ipv6() == v6);
        (of_family.clone().count(), of_family.filter(|(index, _)| asked(*index)).count())
    };
    let fits = |v6: bool| {
        let (all, asked) = asked_for(v6);
        let have = other.subnets.iter().filter(|subnet| subnet.pool.is_ipv6() == v6).count();
        if asked == all { have == all } else { have >= all }
    };
    mine.driver == other.driver
        && mine.ipam == other.ipam
        && mine.options == other.options
        && mine.mtu == other.mtu
        && mine.internal == other.internal
        && subnets
            .clone()
            .all(|(index, a)| !asked(index) || other.subnets.iter().any(|b| same_subnet(a, b)))
        && fits(false)
        && fits(true)
}

/// Finds the bound that a claim breaks.
pub(super) fn broken_bound(body: &ClaimBody) -> Option<&'static str> {
    match body {
        ClaimBody::Define { definition, origins } if origins.len() <= definition.subnets.len() => {
            broken_by(definition)
        }
        ClaimBody::Define { .. } => Some("it says of no more than its subnets who chose them"),
        ClaimBody::Delete(_) | ClaimBody::Rotate { .. } => None,
        ClaimBody::Forget { victims, .. } if !(1..=MAX_VICTIMS).contains(&victims.len()) => {
            Some("it names 1 to 256 nodes")
        }
        ClaimBody::Forget { victims, .. } => victims
            .windows(2)
            .any(|pair| pair[0] >= pair[1])
            .then_some("it names each node once, in order"),
    }
}

fn broken_by(definition: &Definition) -> Option<&'static str> {
    if definition.name.is_empty() || definition.name.len() > MAX_NAME {
        return Some("its name has 1 to 128 bytes");
    }
    if definition.subnets.is_empty() || definition.subnets.len() > MAX_SUBNETS {
        return Some("it has 1 to 64 subnets");
    }
    if definition.subnets.iter().any(|subnet| subnet.pool.network() != subnet.pool.ip()) {
        return Some("its pools have no host bits");
    }
    if overlap_within(&definition.subnets) {
        return Some("its own pools do not overlap");
    }
    if codec::encode(definition).map_or(true, |bytes| bytes.len() > MAX_ENCODED) {
        return Some("it fits 16 KiB");
    }
    None
}

fn overlap_within(subnets: &[Subnet]) -> bool {
    subnets
        .iter()
        .enumerate()
        .any(|(index, a)| subnets[index + 1..].iter().any(|b| overlap(a.pool, b.pool)))
}

/// The VNI is Weft's to choose, so it makes no difference.
fn same_subnet(a: &Subnet, b: &Subnet) -> bool {
    a.pool == b.pool && a.gateway == b.gateway && a.range == b.range && a.auxiliary == b.auxiliary
}

fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}
