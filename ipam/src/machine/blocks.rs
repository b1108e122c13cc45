//! VNIs and default pools for new networks.

use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;

use super::asks::{Span, Target};
use super::requests::{Attempt, Job, Wait};
use super::{Ipam, Phase};
use crate::error::{Error, Shortage};
use crate::interval::{IntervalSet, complement, width};
use crate::message::Urgency;
use crate::pool::{Cause, Pool};
use crate::request::{Block, BlockWant, Fate, Granted, Ticket};
use crate::space::Space;

/// Fewer free VNIs than this, and more are asked for.
const VNIS_LOW: u128 = 256;
/// Fewer free default pools than this, and more are asked for.
const BLOCKS_LOW: u128 = 4;
/// How long a top-up that nobody could grant waits before it is asked for again.
const TOP_UP_PAUSE: Duration = Duration::from_secs(30);
/// The most intervals one ask names; where a host has more routes, the widest gaps are asked for.
pub(super) const ASK_RANGES_MAX: usize = 64;

impl Ipam {
    /// Takes a block for a new network, none that overlaps `avoid` or a network in force; answered
    /// by [`crate::Output::Done`]. Default routes in `avoid` mean nothing.
    pub fn take_block(
        &mut self,
        ticket: Ticket,
        want: BlockWant,
        avoid: &[IpNetwork],
        now: Instant,
    ) {
        let avoid = avoid.iter().copied().filter(|prefix| prefix.prefix() > 0).collect();
        self.submit(ticket, Job::Block { want, avoid }, now);
        self.top_up(now);
    }

    /// Gives a block back that this node took.
    pub fn return_block(&mut self, block: Block, fate: Fate, now: Instant) {
        let spaces: Vec<Space> = self.pools.keys().copied().collect();
        for space in spaces {
            let Some((low, high)) = place(space, block) else { continue };
            let Some(pool) = self.pools.get_mut(&space) else { continue };
            if low != high || !pool.is_spent(low) || pool.owner(low) != Some(self.node) {
                continue;
            }
            match (fate, space) {
                (Fate::Deleted | Fate::Refused, Space::Vni) => {}
                (Fate::Unused | Fate::Refused, _) => pool.unspend(low, high, &mut self.out),
                (Fate::Deleted, Space::Blocks(_) | Space::Subnet { .. }) => {
                    pool.unspend(low, high, &mut self.out);
                    self.start_rest(space, low, high, Cause::Released, now);
                }
            }
        }
    }

    /// Default pools that are taken and that no network in force uses: after a start, those
    /// without a pending claim are to be returned.
    pub fn pending_blocks(&self) -> Vec<Block> {
        let mut pending = Vec::new();
        for pool in self.pools.values() {
            if let Space::Blocks(blocks) = pool.space {
                let taken = pool.pending().into_iter().filter_map(|at| blocks.block(at));
                pending.extend(taken.map(Block::Pool));
            }
        }
        pending
    }

    pub(super) fn attempt_block(
        &mut self,
        want: BlockWant,
        avoid: &[IpNetwork],
        now: Instant,
    ) -> Attempt {
        let spaces: Vec<Space> = self.pools.keys().copied().filter(|s| want.is_of(*s)).collect();
        let mut wait = Wait::Hold(Error::NoMoreBlocks(Shortage::default()));
        for space in spaces {
            let Some(pool) = self.pools.get(&space).filter(|p| !p.marks.is_empty()) else {
                continue;
            };
            if let BlockWant::ExactVni(vni) = want {
                return self.attempt_vni(space, u128::from(vni.get()), now);
            }
            let ranges = open(pool, avoid);
            let free = ranges.iter().find_map(|&(low, high)| pool.first_free(low, high));
            if let Some(at) = free {
                return Attempt::Done(self.take(space, at));
            }
            if ranges.is_empty() {
                let error = Error::NoMoreBlocks(Shortage::default());
                return Attempt::Done(Err(error));
            }
            wait = Wait::Ask(Target { space, span: Span::Ranges(ranges) });
        }
        Attempt::Wait(wait)
    }

    fn attempt_vni(&mut self, space: Space, vni: u128, now: Instant) -> Attempt {
        let Some(pool) = self.pools.get(&space) else {
            return Attempt::Done(Err(Error::BadPool));
        };
        let target = Target { space, span: Span::Exact(vni) };
        match pool.owner(vni) {
            // Ready means that the facts are whole: what nobody owns is not the cluster's.
            None => Attempt::Done(Err(Error::IpOutOfRange)),
            Some(owner) if owner != self.node => Attempt::Wait(Wait::Ask(target)),
            Some(_) if pool.is_free(vni) => Attempt::Done(self.take(space, vni)),
            Some(_) => Attempt::Done(Err(match pool.resting(vni) {
                Some(rest) if self.expects(&target, rest) => {
                    return Attempt::Wait(Wait::Ask(target));
                }
                Some(rest) => Error::Resting(rest.until.saturating_duration_since(now)),
                None => Error::IpAlreadyAllocated,
            })),
        }
    }

    fn take(&mut self, space: Space, at: u128) -> Result<Granted, Error> {
        let block = match space {
            Space::Vni => {
                u32::try_from(at).ok().and_then(|vni| weft_api::Vni::new(vni).ok()).map(Block::Vni)
            }
            Space::Blocks(blocks) => blocks.block(at).map(Block::Pool),
            Space::Subnet { .. } => None,
        };
        let block = block.ok_or(Error::NoIpReturned)?;
        if let Some(pool) = self.pools.get_mut(&space) {
            pool.spend(at, &mut self.out);
        }
        Ok(Granted::Block(block))
    }

    /// Asks for more where VNIs or default pools are low. A joiner has none, so it asks at once.
    pub(super) fn top_up(&mut self, now: Instant) {
        if self.phase != Phase::Ready {
            return;
        }
        let low: Vec<Target> = self
            .pools
            .values()
            .filter(|pool| pool.top_up_after.is_none() && is_low(pool))
            .map(|pool| {
                let span = Span::Ranges(vec![pool.space.bounds()]);
                Target { space: pool.space, span }
            })
            .collect();
        for target in low {
            if self.has_donor(&target) {
                self.ask(target, Urgency::TopUp, now);
            }
        }
    }

    pub(super) fn top_up_again(&mut self, now: Instant) {
        for pool in self.pools.values_mut() {
            if pool.top_up_after.is_some_and(|after| after <= now) {
                pool.top_up_after = None;
            }
        }
        self.top_up(now);
    }

    pub(super) fn pause_top_up(&mut self, space: Space, now: Instant) {
        if let Some(pool) = self.pools.get_mut(&space) {
            pool.top_up_after = Some(now + TOP_UP_PAUSE);
        }
    }
}

/// Below this a node asks for more of a space; it keeps twice as much when it gives a top-up.
pub(super) fn low_water(space: Space) -> u128 {
    match space {
        Space::Subnet { .. } => 0,
        Space::Vni => VNIS_LOW,
        Space::Blocks(_) => BLOCKS_LOW,
    }
}

fn is_low(pool: &Pool) -> bool {
    pool.free_total() < low_water(pool.space)
}

/// The parts of a space that nothing in `avoid` overlaps, the widest at most.
fn open(pool: &Pool, avoid: &[IpNetwork]) -> Vec<(u128, u128)> {
    let (low, high) = pool.space.bounds();
    let Space::Blocks(blocks) = pool.space else { return vec![(low, high)] };
    let mut closed = IntervalSet::default();
    for (l, h) in avoid.iter().filter_map(|prefix| blocks.overlapped(*prefix)) {
        closed.set(l, h, ());
    }
    let mut ranges = complement(low, high, &closed);
    if ranges.len() > ASK_RANGES_MAX {
        ranges.sort_by_key(|&(l, h)| std::cmp::Reverse(width(l, h)));
        ranges.truncate(ASK_RANGES_MAX);
        ranges.sort_unstable();
    }
    ranges
}

fn place(space: Space, block: Block) -> Option<(u128, u128)> {
    match (space, block) {
        (Space::Vni, Block::Vni(vni)) => Some((u128::from(vni.get()), u128::from(vni.get()))),
        (Space::Blocks(blocks), Block::Pool(pool)) => blocks.overlapped(pool),
        (Space::Vni, Block::Pool(_))
        | (Space::Blocks(_), Block::Vni(_))
        | (Space::Subnet { .. }, _) => None,
    }
}

impl BlockWant {
    pub(super) fn is_of(self, space: Space) -> bool {
        match (self, space) {
            (Self::Vni | Self::ExactVni(_), Space::Vni) => true,
            (Self::Default4, Space::Blocks(blocks)) => blocks.pool.is_ipv4(),
            (Self::Default6, Space::Blocks(blocks)) => blocks.pool.is_ipv6(),
            (_, Space::Subnet { .. } | Space::Vni) => false,
            (Self::Vni | Self::ExactVni(_), Space::Blocks(_)) => false,
        }
    }
}
