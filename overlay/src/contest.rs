//! Who has an address or a MAC that several endpoints claim.
//!
//! Rule: the lowest (allocation stamp, endpoint) counts, unless another claim, made later, names
//! its stamp as the one it replaces. Whether an owner lives plays no part. So the winner is a
//! function of the set of records, and nodes with the same records agree.

use std::collections::btree_map::Entry;
use std::net::IpAddr;

use weft_api::{EndpointId, NetworkId, Stamp};

use crate::peer_db::{Claimant, Conflict, Subject};

/// Where the claiming endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// Joined on this node: its bridge port serves it, and no entry is programmed.
    Here,
    /// On another node.
    Peer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim<T> {
    pub(crate) stamp: Stamp,
    pub(crate) endpoint: EndpointId,
    pub(crate) origin: Origin,
    pub(crate) vtep: IpAddr,
    pub(crate) replaces: Option<Stamp>,
    pub(crate) target: T,
}

impl<T> Claim<T> {
    fn rank(&self) -> (Stamp, EndpointId, Origin) {
        (self.stamp, self.endpoint, self.origin)
    }

    fn claimant(&self) -> Claimant {
        Claimant { stamp: self.stamp, endpoint: self.endpoint, vtep: self.vtep }
    }
}

/// All claims to one thing. Nearly always there is one, and then nothing is allocated.
#[derive(Debug)]
pub(crate) struct Contest<T> {
    winner: Claim<T>,
    others: Vec<Claim<T>>,
}

impl<T> Contest<T> {
    /// The winner, where an entry of the kernel must point at another node.
    pub(crate) fn remote(&self) -> Option<&Claim<T>> {
        match self.winner.origin {
            Origin::Peer => Some(&self.winner),
            Origin::Here => None,
        }
    }

    /// The claim that counts.
    pub(crate) fn winner(&self) -> &Claim<T> {
        &self.winner
    }

    pub(crate) fn enter<K: Ord>(entry: Entry<'_, K, Self>, claim: Claim<T>) {
        match entry {
            Entry::Vacant(place) => {
                place.insert(Self { winner: claim, others: Vec::new() });
            }
            Entry::Occupied(place) => {
                let contest = place.into_mut();
                contest.others.push(claim);
                contest.elect();
            }
        }
    }

    pub(crate) fn withdraw<K: Ord>(
        entry: Entry<'_, K, Self>,
        endpoint: EndpointId,
        origin: Origin,
    ) {
        let Entry::Occupied(mut place) = entry else { return };
        let contest = place.get_mut();
        let is_it = |claim: &Claim<T>| claim.endpoint == endpoint && claim.origin == origin;
        if !is_it(&contest.winner) {
            contest.others.retain(|claim| !is_it(claim));
        } else if let Some(next) = contest.others.pop() {
            contest.winner = next;
        } else {
            place.remove();
            return;
        }
        contest.elect();
    }

    pub(crate) fn conflict(&self, network: NetworkId, subject: Subject) -> Option<Conflict> {
        if self.others.is_empty() {
            return None;
        }
        let mut losers: Vec<Claimant> = self.others.iter().map(Claim::claimant).collect();
        losers.sort_unstable();
        Some(Conflict { network, subject, winner: self.winner.claimant(), losers })
    }

    /// Puts the claim that counts in the winner's place. There always is one: the latest claim
    /// cannot be replaced, since only a later one could.
    fn elect(&mut self) {
        let replaced: Vec<(Stamp, Stamp)> =
            self.claims().filter_map(|c| c.replaces.map(|old| (old, c.stamp))).collect();
        let stands =
            |claim: &Claim<T>| !replaced.iter().any(|r| r.0 == claim.stamp && r.1 > claim.stamp);
        let best = self.claims().filter(|c| stands(c)).min_by_key(|c| c.rank()).map(Claim::rank);
        let at = self.others.iter().position(|c| Some(c.rank()) == best);
        if let Some(other) = at.and_then(|at| self.others.get_mut(at)) {
            std::mem::swap(&mut self.winner, other);
        }
    }

    fn claims(&self) -> impl Iterator<Item = &Claim<T>> {
        std::iter::once(&self.winner).chain(&self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use weft_api::NodeId;

    fn claim(lamport: u64, endpoint: u8, replaces: Option<u64>) -> Claim<()> {
        let stamp = |lamport| Stamp { lamport, node: NodeId::default() };
        Claim {
            stamp: stamp(lamport),
            endpoint: EndpointId::from_bytes([endpoint; 16]),
            origin: Origin::Peer,
            vtep: "192.0.2.1".parse().unwrap(),
            replaces: replaces.map(stamp),
            target: (),
        }
    }

    /// The lamport times of the winners when the claims come in this order, and go in this order.
    fn winners(claims: &[Claim<()>]) -> Vec<u64> {
        let mut map = BTreeMap::new();
        let mut seen = Vec::new();
        for claim in claims {
            Contest::enter(map.entry(()), *claim);
            seen.push(map[&()].winner.stamp.lamport);
        }
        for claim in claims {
            Contest::withdraw(map.entry(()), claim.endpoint, claim.origin);
            seen.extend(map.get(&()).map(|c| c.winner.stamp.lamport));
        }
        seen
    }

    #[test]
    fn the_lowest_stamp_counts_in_whatever_order_claims_come() {
        let (a, b, c) = (claim(1, 1, None), claim(2, 2, None), claim(3, 3, None));
        assert_eq!(winners(&[c, b, a]), [3, 2, 1, 1, 1]);
        assert_eq!(winners(&[a, b, c]), [1, 1, 1, 2, 3]);
    }

    #[test]
    fn a_replaced_claim_gives_way_while_its_successor_is_there() {
        let (old, new) = (claim(1, 1, None), claim(5, 2, Some(1)));
        assert_eq!(winners(&[old, new]), [1, 5, 5]);
        assert_eq!(winners(&[new, old]), [5, 5, 1]);
    }

    #[test]
    fn an_earlier_claim_cannot_replace_a_later_one_so_no_circle_closes() {
        let (a, b) = (claim(1, 1, Some(5)), claim(5, 2, Some(1)));
        assert_eq!(winners(&[a, b]), [1, 5, 5]);
        let alone = claim(4, 4, Some(4));
        assert_eq!(winners(&[alone]), [4]);
    }

    #[test]
    fn one_stamp_twice_is_decided_by_the_endpoint() {
        let (a, b) = (claim(1, 9, None), claim(1, 2, None));
        let mut map = BTreeMap::new();
        Contest::enter(map.entry(()), a);
        Contest::enter(map.entry(()), b);
        assert_eq!(map[&()].winner.endpoint, b.endpoint);
    }
}
