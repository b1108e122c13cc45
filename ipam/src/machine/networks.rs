//! Birth and death of clusters and networks.

use std::time::Instant;

use weft_api::{Definition, NetworkId, NodeId};

use super::inherit::LEAP;
use super::{Ipam, Phase};
use crate::allocation::{Allocation, Kind};
use crate::error::Error;
use crate::interval::{IntervalMap, IntervalSet};
use crate::message::Urgency;
use crate::output::{FactKind, Output};
use crate::pool::Cause;
use crate::ranges::{Mark, Ranges};
use crate::record::{Key, allocation_subject};
use crate::space::{ClusterPools, Space};

/// How many live members get a part of a network at its birth.
const GIFTS: usize = 2;

impl Ipam {
    /// Makes this node, the first of its cluster, the owner of all VNIs and default pools.
    /// Nothing happens where they have owners.
    pub fn found_cluster(&mut self, pools: &ClusterPools, now: Instant) {
        let (low, high) = (u128::from(*pools.vnis.start()), u128::from(*pools.vnis.end()));
        self.found(Space::Vni, (low, high), 1);
        for blocks in [pools.default4, pools.default6].into_iter().filter(|b| b.is_valid()) {
            let space = Space::Blocks(blocks);
            self.found(space, space.bounds(), 1);
        }
        self.retry_held(now);
    }

    /// Hears of a network in force, however learnt; at start, of all. Its creator founds the
    /// subnets' ranges once ready, takes gateway and auxiliary addresses, and donates to two
    /// live members at once.
    pub fn on_definition(&mut self, definition: &Definition, now: Instant) {
        if self.forgotten.contains(&definition.id) {
            return;
        }
        self.definitions.insert(definition.id, definition.clone());
        for pool in self.pools.values_mut() {
            for (low, high) in overlapped(pool.space, definition) {
                pool.block_more(low, high);
                // A VNI once in force is spent, whoever took it and whoever owns it since.
                if pool.space == Space::Vni
                    && !pool.is_spent(low)
                    && !pool.ours(low, low).is_empty()
                {
                    pool.spend(low, &mut self.out);
                }
            }
        }
        match self.phase {
            Phase::Ready => {
                self.found_network(definition, now);
                self.top_up(now);
            }
            // Its create was under way when the leave began; nobody else would found it.
            Phase::Leaving { .. } => {
                self.found_network(definition, now);
                for subnet in &definition.subnets {
                    self.hand_over(
                        Space::Subnet { network: definition.id, pool: subnet.pool },
                        now,
                    );
                }
            }
            Phase::Starting | Phase::Unready { .. } | Phase::Left | Phase::Stopped => {}
        }
    }

    /// Hears of a deleted network; at start, of all. Drops its ranges, and frees the default
    /// pools that it used after their rest. Its VNIs are never used again.
    pub fn forget_network(&mut self, network: NetworkId, now: Instant) {
        self.forgotten.insert(network);
        let spaces: Vec<Space> = self.pools.keys().copied().filter(|s| of(*s, network)).collect();
        for space in spaces {
            self.drop_allocations(space);
            self.drop_fact(FactKind::Ranges, space.subject());
            self.drop_space(space, now);
        }
        let Some(definition) = self.definitions.remove(&network) else { return };
        let shared: Vec<Space> = self.pools.keys().copied().collect();
        for space in shared {
            let freed = overlapped(space, &definition);
            if freed.is_empty() {
                continue;
            }
            let blocked = self.blocked_of(space);
            if let Some(pool) = self.pools.get_mut(&space) {
                pool.block(blocked);
            }
            self.free_blocks(space, &freed, now);
        }
    }

    /// Founds the networks that this node made, or one whose heir it is, and no ranges are known
    /// of.
    pub(super) fn found_pending(&mut self, now: Instant) {
        let mine: Vec<Definition> =
            self.definitions.values().filter(|d| self.speaks_for(d.stamp.node)).cloned().collect();
        for definition in mine {
            self.found_network(&definition, now);
        }
    }

    fn found_network(&mut self, definition: &Definition, now: Instant) {
        if !self.speaks_for(definition.stamp.node) {
            return;
        }
        for subnet in &definition.subnets {
            let space = Space::Subnet { network: definition.id, pool: subnet.pool };
            let (low, high) = space.bounds();
            let is_maker = definition.stamp.node == self.node;
            // An heir that hears late of what others hold there is told from their owner by far.
            let version = if is_maker { 1 } else { 1 + LEAP };
            if !self.found(space, (low, high), version) {
                // Of a network that another made parts are known before it is itself.
                self.take_over(space, now);
                continue;
            }
            for (at, kind) in self.aside_of(space) {
                self.hold(space, at, kind);
            }
            if !is_maker {
                self.start_rest(space, low, high, Cause::Released, now);
                continue;
            }
            let dynamic = subnet.range.and_then(|range| space.sub_pool(range));
            self.give_at_birth(space, dynamic.unwrap_or(space.usable()), now);
            self.retry_space(space, now);
        }
    }

    /// What the definition of a subnet sets aside: its gateway and its auxiliary addresses.
    pub(super) fn aside_of(&self, space: Space) -> Vec<(u128, Kind)> {
        let Space::Subnet { network, pool } = space else { return Vec::new() };
        let definition = self.definitions.get(&network);
        let subnets = definition.into_iter().flat_map(|definition| &definition.subnets);
        let Some(subnet) = subnets.into_iter().find(|subnet| subnet.pool == pool) else {
            return Vec::new();
        };
        let gateway = subnet.gateway.map(|gateway| (gateway, Kind::Gateway));
        let auxiliary = subnet.auxiliary.iter();
        let auxiliary = auxiliary.map(|(name, at)| (*at, Kind::Auxiliary(name.clone())));
        let all = gateway.into_iter().chain(auxiliary);
        all.filter_map(|(address, kind)| Some((space.offset(address)?, kind))).collect()
    }

    /// Gives two live members a first part, so that they need not ask.
    fn give_at_birth(&mut self, space: Space, dynamic: (u128, u128), now: Instant) {
        let stays = |node: &NodeId| !self.leaves(*node);
        let mut members: Vec<_> = self.alive.iter().copied().filter(stays).collect();
        members.sort_by_key(|&node| (self.weight(&space, node), node));
        for to in members.into_iter().take(GIFTS) {
            if let Some(piece) = self.piece_for(space, &[dynamic], 1, 0, Urgency::Waiting) {
                self.transfer(space, &[piece], to, now);
            }
        }
    }

    /// Makes this node the owner of a space that nobody owns any part of.
    fn found(&mut self, space: Space, (low, high): (u128, u128), version: u64) -> bool {
        let owner = self.node;
        let mut out = std::mem::take(&mut self.out);
        let founded = match self.pool_mut(space) {
            Some(pool) if pool.marks.is_empty() => {
                let mut delta = IntervalMap::default();
                delta.set(low, high, Mark { version, owner });
                pool.join(&delta, &mut out);
                out.push_back(pool.fact(&delta));
                pool.settle(low, high, &mut out);
                true
            }
            Some(_) | None => false,
        };
        self.out = out;
        founded
    }

    /// What networks in force use of a shared space.
    pub(super) fn blocked_of(&self, space: Space) -> IntervalSet {
        let mut blocked = IntervalSet::default();
        for definition in self.definitions.values() {
            for (low, high) in overlapped(space, definition) {
                blocked.set(low, high, ());
            }
        }
        blocked
    }

    pub(super) fn drop_fact(&mut self, kind: FactKind, subject: Vec<u8>) {
        let delta = match kind {
            FactKind::Ranges => Ranges::Dropped.encode(),
            FactKind::Allocation => Allocation::Dropped.encode(),
        };
        self.out.push_back(Output::Fact { kind, subject, delta });
    }

    fn drop_allocations(&mut self, space: Space) {
        let Some(pool) = self.pools.get(&space) else { return };
        let held: Vec<u128> = pool.allocated().map(|(at, _)| at).collect();
        for at in held {
            self.drop_fact(FactKind::Allocation, allocation_subject(&space, at));
        }
    }

    /// Drops all that is known of a deleted network's subnet.
    pub(super) fn drop_space(&mut self, space: Space, now: Instant) {
        if let Space::Subnet { network, .. } = space {
            self.forgotten.insert(network);
        }
        if let Some(pool) = self.pools.remove(&space) {
            pool.erase(&mut self.out);
        }
        self.asks.retain(|target, _| target.space != space);
        self.rests.retain(|rest| rest.1 != space);
        let gone: Vec<_> = self.releases.keys().filter(|key| key.0 == space).copied().collect();
        for (space, at) in gone {
            self.releases.remove(&(space, at));
            self.out.push_back(Key::Release(space, at).remove());
        }
        self.fail_waiting(|waiting| waiting.job.is_of(space), &Error::BadPool);
        self.retry_held(now);
    }

    fn free_blocks(&mut self, space: Space, freed: &[(u128, u128)], now: Instant) {
        match space {
            // A VNI that was taken stays taken: a member that was away may still use it.
            Space::Subnet { .. } | Space::Vni => {}
            Space::Blocks(_) => {
                for &(low, high) in freed {
                    if let Some(pool) = self.pools.get_mut(&space) {
                        pool.unspend(low, high, &mut self.out);
                    }
                    self.start_rest(space, low, high, Cause::Released, now);
                }
            }
        }
    }
}

fn of(space: Space, of: NetworkId) -> bool {
    match space {
        Space::Subnet { network, .. } => network == of,
        Space::Vni | Space::Blocks(_) => false,
    }
}

/// What a network uses of a shared space.
fn overlapped(space: Space, definition: &Definition) -> Vec<(u128, u128)> {
    let subnets = definition.subnets.iter();
    match space {
        Space::Subnet { .. } => Vec::new(),
        Space::Vni => subnets.map(|s| u128::from(s.vni.get())).map(|vni| (vni, vni)).collect(),
        Space::Blocks(blocks) => subnets.filter_map(|s| blocks.overlapped(s.pool)).collect(),
    }
}
