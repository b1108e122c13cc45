//! Answering those who ask.

use std::collections::BTreeSet;
use std::time::Instant;

use weft_api::NodeId;

use super::blocks::{ASK_RANGES_MAX, low_water};
use super::{Ipam, Phase, SPANS_MAX};
use crate::interval::{IntervalMap, width};
use crate::message::{AskWant, Message, Refusal, TransferId, Urgency};
use crate::pool::Pool;
use crate::ranges::encode_marks;
use crate::record::{Donation, Key};
use crate::space::Space;

/// How many grants to one asker are remembered, to answer repeated asks alike. An asker has one ask
/// a target under way, and older ids than these are answered no more.
const DONATIONS_MAX: usize = 64;
/// How many askers are remembered.
const ASKERS_MAX: usize = 1024;
/// How many owners an ask is passed on by at most.
const PASSES_MAX: usize = 16;
/// The least a first grant tries to give.
const FIRST_GRANT_MIN: u128 = 4;

impl Ipam {
    pub(super) fn on_ask(
        &mut self,
        from: NodeId,
        id: TransferId,
        subject: &[u8],
        want: AskWant,
        tried: &[NodeId],
        now: Instant,
    ) {
        let Some(space) = Space::from_subject(subject) else {
            self.counters.malformed += 1;
            return;
        };
        if let Some(known) = self.donations.get(&from) {
            if let Some(Donation { subject, delta }) = known.get(&id).cloned() {
                self.send(from, &Message::Grant { id, subject, delta });
                return;
            }
            let full = known.len() >= DONATIONS_MAX;
            if full && known.first_key_value().is_some_and(|(&oldest, _)| id < oldest) {
                return;
            }
        }
        // What it asks for in another life it may have.
        if self.leaves_since(from, id) {
            return;
        }
        self.leavers.remove(&from);
        match self.choose(space, &want, now) {
            Ok(piece) => self.grant(from, id, space, piece),
            Err((refusal, at)) => {
                let delta = self.whereabouts(space, at);
                let passed = self.pass_on(from, id, space, want, tried);
                let subject = subject.to_vec();
                self.send(from, &Message::Refuse { id, subject, refusal, delta, passed });
            }
        }
    }

    /// Passes an ask for any of some intervals on to the next owner, so that the asker, who is
    /// told, gets its answer half a round trip later instead of a whole one. Returns who that is.
    fn pass_on(
        &mut self,
        asker: NodeId,
        id: TransferId,
        space: Space,
        want: AskWant,
        tried: &[NodeId],
    ) -> Option<NodeId> {
        let AskWant::Block { ranges, urgency: Urgency::Waiting, .. } = &want else { return None };
        if tried.len() >= PASSES_MAX {
            return None;
        }
        let tried: Vec<NodeId> = tried.iter().copied().chain([self.node]).collect();
        let gone: BTreeSet<NodeId> = tried.iter().copied().chain([asker]).collect();
        let to = self.best_donor(space, ranges, &gone)?;
        let subject = space.subject();
        self.send(to, &Message::Pass { asker, id, subject, want, tried });
        Some(to)
    }

    /// What to give, or why nothing.
    fn choose(
        &mut self,
        space: Space,
        want: &AskWant,
        now: Instant,
    ) -> Result<(u128, u128), (Refusal, Option<u128>)> {
        if self.phase != Phase::Ready {
            return Err((Refusal::NotReady, None));
        }
        let Some(pool) = self.pools.get(&space) else { return Err((Refusal::NotOwner, None)) };
        match want {
            &AskWant::Exact(at) if pool.owner(at) != Some(self.node) => {
                Err((Refusal::NotOwner, Some(at)))
            }
            &AskWant::Exact(at) if pool.is_free(at) => Ok((at, at)),
            &AskWant::Exact(at) => Err(match pool.resting(at) {
                Some(rest) if pool.endpoint(at).is_none() => {
                    let left = rest.until.saturating_duration_since(now).as_millis();
                    (Refusal::Resting(u64::try_from(left).unwrap_or(u64::MAX)), None)
                }
                Some(_) | None => (Refusal::InUse, None),
            }),
            AskWant::Block { ranges, need, last, urgency } => {
                let ranges = ranges.iter().copied().take(ASK_RANGES_MAX);
                let ranges: Vec<_> = ranges.filter(|(low, high)| low <= high).collect();
                self.piece_for(space, &ranges, u128::from(*need), *last, *urgency)
                    .ok_or((Refusal::None, None))
            }
        }
    }

    /// Gives, durably, and answers.
    fn grant(&mut self, to: NodeId, id: TransferId, space: Space, piece: (u128, u128)) {
        let Some(pool) = self.pools.get_mut(&space) else { return };
        let delta = encode_marks(&pool.give(&[piece], to, &mut self.out));
        let donation = Donation { subject: space.subject(), delta };
        self.out.push_back(Key::Donation(to, id).put(&donation));
        let Donation { subject, delta } = donation.clone();
        let known = self.donations.entry(to).or_default();
        known.insert(id, donation);
        if known.len() > DONATIONS_MAX
            && let Some((oldest, _)) = known.pop_first()
        {
            self.out.push_back(Key::Donation(to, oldest).remove());
        }
        self.forget_askers(to);
        self.send(to, &Message::Grant { id, subject, delta });
    }

    fn forget_askers(&mut self, but: NodeId) {
        while self.donations.len() > ASKERS_MAX {
            let mut gone = self.donations.keys().filter(|n| **n != but && !self.alive.contains(n));
            let mut any = self.donations.keys().filter(|n| **n != but);
            let Some(node) = gone.next().or_else(|| any.next()).copied() else { return };
            let records = self.donations.remove(&node).unwrap_or_default();
            let keys = records.into_keys().map(|id| Key::Donation(node, id).remove());
            self.out.extend(keys);
        }
    }

    /// The piece a node that asks would get: out of the largest hole, a first one in proportion to
    /// the members, then twice the last, never more than half of the hole, down to the last one.
    pub(super) fn piece_for(
        &mut self,
        space: Space,
        ranges: &[(u128, u128)],
        need: u128,
        last: u128,
        urgency: Urgency,
    ) -> Option<(u128, u128)> {
        let pool = self.pools.get(&space)?;
        if pool.marks.len() > SPANS_MAX {
            self.counters.fragmented += 1;
            return None;
        }
        let (low, high) = largest_hole(pool, ranges)?;
        let free = pool.free_total();
        let members = self.alive.len() as u128 + 1;
        let size = match last {
            0 => FIRST_GRANT_MIN.max(free / (members + 1)),
            last => last.saturating_mul(2),
        };
        let mut size = size.max(need).min(width(low, high).div_ceil(2));
        if urgency == Urgency::TopUp {
            size = size.min(free.saturating_sub(low_water(space).saturating_mul(2)));
        }
        // The upper end, so that serial and first-available order stay undisturbed.
        (size > 0).then(|| (high - (size - 1), high))
    }

    /// Who owns what was asked of this node by mistake.
    pub(super) fn whereabouts(&self, space: Space, at: Option<u128>) -> Option<Vec<u8>> {
        let at = at?;
        let mark = self.pools.get(&space)?.marks.get(at)?;
        let mut delta = IntervalMap::default();
        delta.set(at, at, *mark);
        Some(encode_marks(&delta))
    }
}

fn largest_hole(pool: &Pool, ranges: &[(u128, u128)]) -> Option<(u128, u128)> {
    let holes = ranges.iter().flat_map(|&(low, high)| pool.free_in(low, high));
    // Of equal ones the last, far from where this node allocates.
    holes.max_by_key(|&(low, high)| width(low, high))
}
