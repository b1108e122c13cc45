//! Taking over what belonged to members that are forgotten.
//!
//! Only the present owner writes a mark, and the forgotten never write again; their heir does it in
//! their place. It is the one who claimed that they be forgotten, and it knew by then all that they
//! had given away to anybody who was asked. Somebody who was not (the claim was forced) may hold a
//! later mark of theirs; the heir's is so far ahead that it is told from any that an owner writes.

use std::time::Instant;

use weft_api::{NodeId, Vni};

use super::{Ipam, Phase};
use crate::interval::{IntervalMap, IntervalSet, complement};
use crate::pool::{Cause, Pool};
use crate::ranges::{Change, Mark};
use crate::record::Key;
use crate::space::Space;

/// How far an heir's version is beyond that of the owner who is gone.
pub(super) const LEAP: u64 = 1 << 16;

impl Ipam {
    /// Makes this node the heir of forgotten members: what they own is its own from now on, also
    /// what is only learnt later, and rests whole. Networks that they made and did not found yet
    /// are its to found. `taken` are the VNIs of all networks that ever were in force: a VNI is
    /// never used twice. To be called in the drain that makes them forgotten.
    pub fn inherit(&mut self, forgotten: &[NodeId], taken: &[Vni], now: Instant) {
        match self.phase {
            Phase::Starting | Phase::Ready | Phase::Unready { .. } | Phase::Leaving { .. } => {}
            Phase::Left | Phase::Stopped => return,
        }
        for &node in forgotten.iter().filter(|node| **node != self.node) {
            if self.inherited.insert(node) {
                self.out.push_back(Key::Inherited(node).put(&()));
            }
        }
        let spaces: Vec<Space> = self.pools.keys().copied().collect();
        for &space in &spaces {
            self.take_over(space, now);
        }
        self.spend_vnis(taken);
        let is_leaving = matches!(self.phase, Phase::Leaving { .. });
        if self.phase == Phase::Ready || is_leaving {
            self.found_pending(now);
        }
        if is_leaving {
            let spaces: Vec<Space> = self.pools.keys().copied().collect();
            for space in spaces {
                self.hand_over(space, now);
            }
        }
        for space in spaces {
            self.retry_space(space, now);
            self.drive_releases_of(space, now);
        }
        self.top_up(now);
    }

    /// Tells whether this node has heard who owns the cluster's VNIs and default pools, and may own
    /// anything itself. One that has not forgets nobody: whoever is away may be the only one that
    /// knows. Of one whose disk was rolled back nobody takes what it says of ranges.
    pub fn knows_owners(&self) -> bool {
        if matches!(self.phase, Phase::Left | Phase::Stopped) {
            return false;
        }
        let known = |pool: &Pool| !pool.marks.is_empty();
        let shared = |space: &Space| matches!(space, Space::Blocks(_));
        self.pools.get(&Space::Vni).is_some_and(known)
            && self.pools.iter().any(|(space, pool)| shared(space) && known(pool))
    }

    /// Whether this node is the heir of another.
    pub(super) fn speaks_for(&self, node: NodeId) -> bool {
        node == self.node || self.inherited.contains(&node)
    }

    /// Takes over what belongs to those whose heir this node is. Whether it has rested only they
    /// knew, so all of it rests.
    pub(super) fn take_over(&mut self, space: Space, now: Instant) {
        // What such a node takes nobody has.
        if matches!(self.phase, Phase::Left | Phase::Stopped) {
            return;
        }
        let (node, inherited) = (self.node, &self.inherited);
        let Some(pool) = self.pools.get_mut(&space) else { return };
        let (first, last) = space.bounds();
        let mut delta = IntervalMap::default();
        for (low, high, mark) in pool.marks.within(first, last) {
            if inherited.contains(&mark.owner) {
                let version = mark.version.saturating_add(LEAP);
                delta.set(low, high, Mark { version, owner: node });
            }
        }
        for (low, high) in self.unheard_of(space) {
            delta.set(low, high, Mark { version: 1 + LEAP, owner: node });
        }
        if delta.is_empty() {
            return;
        }
        let Some(pool) = self.pools.get_mut(&space) else { return };
        pool.join(&delta, &mut self.out);
        self.out.push_back(pool.fact(&delta));
        let pieces: Vec<_> = delta.iter().map(|(low, high, _)| (low, high)).collect();
        for &(low, high) in &pieces {
            self.start_rest(space, low, high, Cause::Released, now);
        }
        // What the maker set aside may have been lost with it.
        for (at, kind) in self.aside_of(space) {
            let is_taken = pieces.iter().any(|piece| (piece.0..=piece.1).contains(&at));
            let is_known = |pool: &Pool| pool.allocation(at).is_some();
            if is_taken && !self.pools.get(&space).is_some_and(is_known) {
                self.hold(space, at, kind);
            }
        }
        if space == Space::Vni {
            let in_force = self.definitions.values().flat_map(|definition| &definition.subnets);
            let vnis: Vec<Vni> = in_force.map(|subnet| subnet.vni).collect();
            self.spend_vnis(&vnis);
        }
    }

    /// The parts of a subnet that nobody is known to own, although some are owned, where its maker
    /// is forgotten: who owns them would know, so the maker did, and its fact of all was lost with
    /// it.
    fn unheard_of(&self, space: Space) -> Vec<(u128, u128)> {
        let Space::Subnet { network, .. } = space else { return Vec::new() };
        let maker = self.definitions.get(&network).map(|definition| definition.stamp.node);
        let Some(pool) = self.pools.get(&space).filter(|pool| !pool.marks.is_empty()) else {
            return Vec::new();
        };
        if !maker.is_some_and(|maker| self.inherited.contains(&maker)) {
            return Vec::new();
        }
        let (first, last) = space.bounds();
        let mut known = IntervalSet::default();
        for (low, high, _) in pool.marks.within(first, last) {
            known.set(low, high, ());
        }
        complement(first, last, &known)
    }

    /// VNIs of networks are spent, whoever took them.
    fn spend_vnis(&mut self, vnis: &[Vni]) {
        let Some(pool) = self.pools.get_mut(&Space::Vni) else { return };
        for at in vnis.iter().map(|vni| u128::from(vni.get())) {
            if !pool.is_spent(at) && !pool.ours(at, at).is_empty() {
                pool.spend(at, &mut self.out);
            }
        }
    }
}

/// Whether an heir took something over from an owner that was away when the heir was made: no owner
/// goes so far at once.
pub(super) fn is_taken_over(change: &Change) -> bool {
    let before = change.before.map_or(0, |mark| mark.version);
    change.after.version.saturating_sub(before) > LEAP / 2
}
