//! Taking up durable state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::releases::Release;
use super::{Config, Counters, Ipam, Phase};
use crate::allocation::Allocation;
use crate::codec;
use crate::error::RestoreError;
use crate::output::FactKind;
use crate::pool::Pool;
use crate::ranges::Ranges;
use crate::record::{Bound, Cursor, Donation, Key, parse_at};
use crate::space::Space;

impl Ipam {
    /// Takes up the durable state: the facts of both kinds, and the records of `Space::Ipam`.
    ///
    /// # Errors
    /// When a record or a fact does not decode; nothing is taken up then.
    pub fn new(
        config: Config,
        facts: impl IntoIterator<Item = (FactKind, Vec<u8>, Vec<u8>)>,
        restored: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        now: Instant,
    ) -> Result<Self, RestoreError> {
        let mut ipam = Self {
            node: config.node,
            config,
            phase: Phase::Starting,
            pools: BTreeMap::new(),
            definitions: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            inherited: BTreeSet::new(),
            alive: BTreeSet::new(),
            said_farewell: BTreeSet::new(),
            leavers: BTreeMap::new(),
            boot: 0,
            serial: 0,
            stamp: 0,
            waiting: BTreeMap::new(),
            arrivals: 0,
            asks: BTreeMap::new(),
            donations: BTreeMap::new(),
            transfers: BTreeMap::new(),
            unacknowledged: BTreeSet::new(),
            releases: BTreeMap::new(),
            rests: VecDeque::new(),
            counters: Counters::default(),
            out: VecDeque::new(),
        };
        for (kind, subject, bytes) in facts {
            ipam.restore_fact(kind, &subject, &bytes)
                .ok_or_else(|| RestoreError::Fact { subject: hex(&subject) })?;
        }
        for (key, value) in restored {
            ipam.restore_record(&key, &value, now)
                .ok_or_else(|| RestoreError::Record { key: hex(&key) })?;
        }
        ipam.drop_forgotten();
        ipam.repeat_donations();
        let until = now + ipam.config.rest;
        for pool in ipam.pools.values_mut() {
            let rests = pool.restored(until);
            ipam.rests.extend(rests.into_iter().map(|(l, h)| (until, pool.space, l, h)));
        }
        ipam.boot += 1;
        ipam.out.push_back(Key::Boot.put(&ipam.boot));
        Ok(ipam)
    }

    fn restore_fact(&mut self, kind: FactKind, subject: &[u8], bytes: &[u8]) -> Option<()> {
        match kind {
            FactKind::Ranges => {
                let space = Space::from_subject(subject)?;
                match Ranges::decode(bytes).ok()? {
                    Ranges::Marked(marks) => {
                        if let Some(pool) = self.pool_mut(space) {
                            pool.marks = marks;
                        }
                    }
                    Ranges::Dropped => {
                        if let Space::Subnet { network, .. } = space {
                            self.forgotten.insert(network);
                        }
                    }
                }
            }
            FactKind::Allocation => {
                let (space, at) = parse_at(subject)?;
                match Allocation::decode(bytes).ok()? {
                    Allocation::Dropped => {}
                    live @ Allocation::Live { .. } => {
                        if let Some(pool) = self.pool_mut(space) {
                            pool.restore_allocation(at, live);
                        }
                    }
                }
            }
        }
        Some(())
    }

    fn restore_record(&mut self, key: &[u8], value: &[u8], now: Instant) -> Option<()> {
        match Key::parse(key)? {
            Key::Boot => self.boot = codec::decode(value)?,
            Key::Endpoint(space, at) => {
                let bound: Bound = codec::decode(value)?;
                self.stamp = self.stamp.max(bound.stamp);
                self.restored_pool(space).restore_endpoint(at, bound);
            }
            Key::Settled(space, low) => {
                let high = codec::decode(value)?;
                self.restored_pool(space).restore_settled(low, high);
            }
            Key::Spent(space, low) => {
                let high = codec::decode(value)?;
                self.restored_pool(space).restore_spent(low, high);
            }
            Key::Donation(node, id) => {
                let donation: Donation = codec::decode(value)?;
                self.donations.entry(node).or_default().insert(id, donation);
            }
            Key::Inherited(node) => {
                codec::decode::<()>(value)?;
                self.inherited.insert(node);
            }
            Key::Release(space, at) => {
                let generation = codec::decode(value)?;
                let release = Release { generation, next: now, tries: 0 };
                self.releases.insert((space, at), release);
            }
            Key::Cursor(space) => {
                let cursor: Cursor = codec::decode(value)?;
                self.stamp = self.stamp.max(cursor.stamp);
                self.restored_pool(space).restore_cursor(cursor);
            }
        }
        Some(())
    }

    /// The pool of a record: also of a deleted network, until [`Self::drop_forgotten`].
    fn restored_pool(&mut self, space: Space) -> &mut Pool {
        let node = self.node;
        self.pools.entry(space).or_insert_with(|| Pool::new(space, node))
    }

    /// Removes what records were left of deleted networks by a crash in between.
    fn drop_forgotten(&mut self) {
        let forgotten: Vec<Space> =
            self.pools.keys().copied().filter(|space| self.is_forgotten(*space)).collect();
        for space in forgotten {
            if let Some(pool) = self.pools.remove(&space) {
                pool.erase(&mut self.out);
            }
        }
        let releases: Vec<_> =
            self.releases.keys().copied().filter(|at| self.is_forgotten(at.0)).collect();
        for (space, at) in releases {
            self.releases.remove(&(space, at));
            self.out.push_back(Key::Release(space, at).remove());
        }
    }

    /// Joins what was granted once more: should the fact have been lost while the grant's record
    /// was not, what is given away stays given away.
    fn repeat_donations(&mut self) {
        let donations: Vec<_> =
            self.donations.values().flat_map(BTreeMap::values).cloned().collect();
        for donation in donations {
            let Some(space) = Space::from_subject(&donation.subject) else { continue };
            let Ok(Ranges::Marked(delta)) = Ranges::decode(&donation.delta) else { continue };
            if let Some(pool) = self.pools.get_mut(&space)
                && !pool.join(&delta, &mut self.out).is_empty()
            {
                self.out.push_back(pool.fact(&delta));
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
