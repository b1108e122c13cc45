//! Who belongs to the cluster and who answers: SWIM (foca) and what it lacks around it.
//!
//! foca keeps membership and failure detection. Around it: our own deadlines, stretched by local
//! health (Lifeguard); suspects are told at once and repeatedly, so that a healthy one refutes;
//! `max_transmissions` from the cluster's size; whole member lists over streams; a table that
//! outlives restarts; NodeIds that left stay out.

mod doubt;
pub(crate) mod gone;
pub(crate) mod greeter;
pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod join;
mod news;
mod packet;
pub(crate) mod roster;
mod swim;
pub(crate) mod timers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use foca::{Foca, NoCustomBroadcast, OwnedNotification, Timer};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use weft_api::{Boot, NodeId, Write};

use crate::config::{Limits, Timing};
use crate::membership::doubt::{ASK_PERIOD, Doubts, Ruling};
use crate::membership::gone::Gone;
use crate::membership::health::{Health, Probe};
use crate::membership::identity::{Identity, Record, Standing, contradicts};
use crate::membership::join::JoinMessage;
use crate::membership::news::Known;
use crate::membership::packet::Packet;
use crate::membership::roster::{Change, Roster};
use crate::membership::swim::Outbox;
use crate::membership::timers::Timers;
use crate::output::{Bound, Member, MemberState};
use crate::wire::codec::FocaCodec;

/// How often a suspect is told of a suspicion of ours, so that it refutes it in time.
const BUDDY_PERIOD: Duration = Duration::from_millis(250);

/// What membership wants done.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Output {
    /// A packet of foca's for a member.
    Packet { to: NodeId, bytes: Vec<u8> },
    /// A message for a member, by datagram.
    Tell { to: NodeId, message: JoinMessage },
    /// Durable before the outputs that follow.
    Persist(Write),
    /// A member changed.
    Changed(Change),
    /// Somebody knows a boot of this node's that this node does not.
    RolledBack(Boot),
    /// A bound was met.
    Overflow(Bound),
}

/// The membership protocol and the table it fills.
pub(crate) struct Membership {
    foca: Foca<Identity, FocaCodec, ChaCha8Rng, NoCustomBroadcast>,
    settings: foca::Config,
    timing: Timing,
    members_max: usize,
    roster: Roster,
    timers: Timers,
    health: Health,
    doubts: Doubts,
    /// The incarnation of ours that was last seen suspected.
    suspected: Option<(u32, u16)>,
    buddy_at: Option<Instant>,
    /// Members reminded so far that others suspect them.
    reminded: usize,
    outbox: Outbox,
    outputs: VecDeque<Output>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("identity", self.foca.identity())
            .field("state", &self.foca.iter_membership_state().collect::<Vec<_>>())
            .field("roster", &self.roster)
            .field("timers", &self.timers)
            .field("health", &self.health)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

impl Membership {
    pub(crate) fn new(
        own: Identity,
        seed: [u8; 32],
        limits: &Limits,
        timing: &Timing,
        restored: BTreeMap<NodeId, Member>,
    ) -> Self {
        let packet = limits.datagram_bytes.saturating_sub(crate::wire::envelope::OVERHEAD + 8);
        let settings = swim::settings(timing, packet, restored.len() + 1);
        let rng = ChaCha8Rng::from_seed(seed);
        let roster = Roster::new(&own, restored);
        Self {
            foca: Foca::new(own, settings.clone(), rng, FocaCodec),
            settings,
            timing: timing.clone(),
            members_max: limits.members,
            roster,
            timers: Timers::default(),
            health: Health::default(),
            doubts: Doubts::default(),
            suspected: None,
            buddy_at: None,
            reminded: 0,
            outbox: Outbox::default(),
            outputs: VecDeque::new(),
        }
    }

    /// This node, as others shall see it now.
    pub(crate) fn identity(&self) -> &Identity {
        self.foca.identity()
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The member list as it goes over streams: all but those gone, this node not included.
    pub(crate) fn list(&self) -> Vec<Record> {
        self.foca
            .iter_membership_state()
            .filter(|member| !self.roster.is_gone(member.id().node))
            .map(Record::from)
            .collect()
    }

    /// Members known from disk, or from somebody's disk, that were not heard since the start: the
    /// member list does not have them.
    pub(crate) fn silent(&self) -> Vec<Identity> {
        let heard: BTreeSet<NodeId> =
            self.foca.iter_membership_state().map(|member| member.id().node).collect();
        let is_silent =
            |member: &&Member| member.state == MemberState::Failed && !heard.contains(&member.id);
        self.roster.iter().filter(is_silent).map(identity_of).collect()
    }

    /// Looks for members that somebody else knows and does not hear.
    pub(crate) fn look_for(&mut self, silent: Vec<Identity>) {
        for identity in silent {
            if self.roster.get(identity.node).is_some() {
                continue;
            }
            if self.roster.len() >= self.members_max {
                return self.outputs.push_back(Output::Overflow(Bound::Members));
            }
            if let Some(change) = self.roster.adopt(identity) {
                self.changed(change);
            }
        }
    }

    /// Members that were forgotten, where they were last.
    pub(crate) fn former(&self) -> Vec<Identity> {
        let is_former = |member: &&Member| {
            member.state == MemberState::Forgotten && !member.addr.ip().is_unspecified()
        };
        self.roster.iter().filter(is_former).map(identity_of).collect()
    }

    /// Takes note of where members were that are forgotten, or will be known to be.
    pub(crate) fn note_former(&mut self, former: Vec<Identity>) {
        for identity in former {
            for change in self.roster.note_former(identity, self.members_max) {
                self.changed(change);
            }
        }
    }

    /// The line of a member that was not heard since the start, as the disk has it: whoever is
    /// greeted sees that it is known.
    pub(crate) fn unheard_record(&self, node: NodeId) -> Option<Record> {
        let member = self.roster.get(node).filter(|_| self.record(node).is_none())?;
        Some(Record { identity: identity_of(member), incarnation: 0, standing: Standing::Alive })
    }

    /// What is known of one member.
    pub(crate) fn record(&self, node: NodeId) -> Option<Record> {
        self.foca.iter_membership_state().find(|m| m.id().node == node).map(Record::from)
    }

    /// Takes a packet of foca's from an authenticated member. Err: it does not decode, or speaks
    /// for another than its sender.
    pub(crate) fn handle_packet(
        &mut self,
        from: NodeId,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), packet::PacketError> {
        let mut packet = Packet::read(bytes)?;
        if packet.header.src.node != from {
            return Err(packet::PacketError::OtherSender);
        }
        if self.roster.is_gone(from) {
            return Ok(());
        }
        let before = packet.updates.len();
        packet.updates.retain(|update| self.admit(update));
        let filtered;
        let bytes = if packet.updates.len() == before {
            bytes
        } else {
            filtered = packet.write()?;
            &filtered
        };
        // Errors left here are packets that foca itself has no use for.
        let _ = self.foca.handle_data(bytes, &mut self.outbox);
        self.after(now);
        Ok(())
    }

    /// Takes lines of a member list from an authenticated member.
    pub(crate) fn handle_records(&mut self, from: NodeId, records: Vec<Record>, now: Instant) {
        self.doubts.on_records(from, &records);
        let admitted: Vec<Record> =
            records.into_iter().filter(|record| self.admit(record)).collect();
        let known = Known::new(self.foca.iter_membership_state());
        let mut useful = Vec::new();
        for record in admitted.into_iter().filter(|record| known.is_news(record)) {
            // Of this node itself foca has no line.
            if known.is_false_death(&record) {
                // Whoever holds it dead cannot take that back; it must come under a new renewal.
                let to = record.identity.node;
                let message = JoinMessage::Members(vec![record]);
                self.outputs.push_back(Output::Tell { to, message });
                continue;
            }
            useful.push(foca::Member::from(record));
        }
        let any = !useful.is_empty();
        let _ = self.foca.apply_many(useful.into_iter(), true, &mut self.outbox);
        self.after(now);
        if any {
            self.refresh();
        }
    }

    /// A refutation of what others say of us.
    pub(crate) fn own_record(&self) -> Record {
        // foca stamps its present incarnation on each packet; here only the identity counts.
        Record { identity: self.identity().clone(), incarnation: 0, standing: Standing::Alive }
    }

    /// Tells a member that we are here, in foca's own way.
    pub(crate) fn announce(&mut self, node: NodeId, now: Instant) {
        if let Some(record) = self.record(node) {
            let _ = self.foca.announce(record.identity, &mut self.outbox);
            self.after(now);
        }
    }

    /// A member known from disk only could not be reached.
    pub(crate) fn set_unreachable(&mut self, node: NodeId) -> Option<Change> {
        self.roster.set_unreachable(node)
    }

    /// The member left or was forgotten: for good.
    pub(crate) fn on_gone(&mut self, node: NodeId, gone: Gone, now: Instant) {
        if node == self.identity().node {
            return;
        }
        for change in self.roster.set_gone(node, gone) {
            self.changed(change);
        }
        if let Some(record) = self.record(node) {
            let down = Record { standing: Standing::Down, ..record };
            let down = foca::Member::from(down);
            let _ = self.foca.apply_many(std::iter::once(down), true, &mut self.outbox);
            self.after(now);
        }
    }

    /// Tells the others that this node goes for good.
    pub(crate) fn leave(&mut self, now: Instant) {
        let _ = self.foca.leave_cluster(&mut self.outbox);
        self.after(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let patience = self.timing.probe_rtt;
        let mut late = false;
        for (at, timer) in self.timers.due(now) {
            if now.saturating_duration_since(at) > patience {
                late = true;
                // We slept; what we failed to hear meanwhile may wait in the socket.
                let waits = matches!(
                    timer,
                    Timer::ProbeRandomMember(_) | Timer::ChangeSuspectToDown { .. }
                );
                if waits {
                    self.timers.schedule(now + patience, timer);
                    continue;
                }
            }
            if let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = &timer {
                let (suspect, incarnation) = (member_id.clone(), *incarnation);
                if self.is_dead(&suspect, incarnation, now) {
                    let _ = self.foca.handle_timer(timer, &mut self.outbox);
                    self.bring_down(suspect, incarnation);
                    self.after(now);
                } else {
                    self.timers.schedule(now + ASK_PERIOD, timer);
                }
                continue;
            }
            let probe = matches!(timer, Timer::ProbeRandomMember(_));
            let _ = self.foca.handle_timer(timer, &mut self.outbox);
            if probe {
                self.note_probe();
            }
            self.after(now);
            if probe {
                self.refresh();
                self.remind_suspect();
            }
        }
        if late {
            self.health.worsen();
        }
        if self.buddy_at.is_some_and(|at| at <= now) {
            self.tell_suspects(now);
        }
    }

    /// The time of a probe is over, and foca has said what came of it.
    fn note_probe(&mut self) {
        if self.outbox.probe_failed() {
            self.health.note_probe(Probe::Missed);
        } else {
            self.health.note_probe(Probe::Answered);
            self.health.mend();
        }
    }

    /// Returns how many of the last 64 probes there were, and how many nobody answered in time.
    pub(crate) fn probes(&self) -> (u32, u32) {
        self.health.probes()
    }

    /// Declares a suspect dead whom foca has not: it takes no timer any more that it set before
    /// this node last took a new renewal, and none that this node set. Such a suspicion would never
    /// end.
    fn bring_down(&mut self, suspect: Identity, incarnation: u16) {
        if self.is_suspect(&suspect, incarnation) {
            let down = foca::Member::new(suspect, incarnation, foca::State::Down);
            let _ = self.foca.apply_many(std::iter::once(down), true, &mut self.outbox);
        }
    }

    fn is_suspect(&self, node: &Identity, incarnation: u16) -> bool {
        self.foca.iter_members().any(|member| {
            member.id() == node
                && member.incarnation() == incarnation
                && member.state() == foca::State::Suspect
        })
    }

    /// Tells whether a suspicion whose time is over may end: with a death, or because it was
    /// refuted meanwhile.
    fn is_dead(&mut self, suspect: &Identity, incarnation: u16, now: Instant) -> bool {
        if !self.is_suspect(suspect, incarnation) {
            self.doubts.drop_suspect(suspect.node);
            return true;
        }
        let others: Vec<NodeId> = self
            .foca
            .iter_members()
            .filter(|member| member.state() == foca::State::Alive)
            .map(|member| member.id().node)
            .collect();
        let time = self.settings.suspect_to_down_after;
        match self.doubts.rule(suspect.node, &others, time, now) {
            Ruling::Dead => true,
            Ruling::Ask(asked) => {
                let message = |to| Output::Tell { to, message: JoinMessage::WhoIs(suspect.node) };
                self.outputs.extend(asked.into_iter().map(message));
                false
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.timers.next(), self.buddy_at].into_iter().flatten().min()
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Tells whether a record may go to foca; takes note of what it says about ourselves.
    fn admit(&mut self, record: &Record) -> bool {
        let id = &record.identity;
        let own = self.foca.identity();
        if id.node == own.node {
            if contradicts(id.boot, own.boot) {
                self.outputs.push_back(Output::RolledBack(id.boot));
            }
            if id != own {
                return false;
            }
            let suspicion = record.suspicion();
            if record.standing == Standing::Suspect && self.suspected != Some(suspicion) {
                self.suspected = Some(suspicion);
                self.health.worsen();
            }
            return true;
        }
        if self.roster.is_gone(id.node) {
            return false;
        }
        if self.roster.get(id.node).is_none() && self.roster.len() >= self.members_max {
            self.outputs.push_back(Output::Overflow(Bound::Members));
            return false;
        }
        true
    }

    /// Turns what foca wants into outputs and deadlines.
    fn after(&mut self, now: Instant) {
        let mut failed = false;
        while let Some(notification) = self.outbox.notifications.pop_front() {
            match notification {
                OwnedNotification::MemberUp(id) => self.note(id, Standing::Alive),
                OwnedNotification::MemberDown(id) => self.note(id, Standing::Down),
                OwnedNotification::Rename(..)
                | OwnedNotification::Active
                | OwnedNotification::Idle => self.refresh(),
                OwnedNotification::Rejoin(_) => {
                    // A new renewal makes foca stop its probes until it hears something new of a
                    // member. Those that it has are there still.
                    let none = std::iter::empty();
                    let _ = self.foca.apply_many(none, false, &mut self.outbox);
                    self.refresh();
                }
                OwnedNotification::ProbeFailed(..) => failed = true,
                OwnedNotification::Defunct
                | OwnedNotification::DataReceived(_)
                | OwnedNotification::DataSent(_) => {}
            }
        }
        // Stretched by the score from before this probe: one dead peer is not our trouble.
        while let Some((after, timer)) = self.outbox.timers.pop_front() {
            let after = match &timer {
                Timer::ProbeRandomMember(_)
                | Timer::SendIndirectProbe { .. }
                | Timer::ChangeSuspectToDown { .. } => self.health.stretch(after),
                Timer::PeriodicAnnounce(_)
                | Timer::PeriodicAnnounceDown(_)
                | Timer::PeriodicGossip(_)
                | Timer::RemoveDown(_) => after,
            };
            self.timers.schedule(now + after, timer);
        }
        if failed {
            self.health.worsen();
            self.buddy_at = Some(now);
        }
        while let Some((to, bytes)) = self.outbox.packets.pop_front() {
            self.outputs.push_back(Output::Packet { to, bytes });
        }
    }

    /// Tells those whom we suspect, so that they answer for themselves.
    fn tell_suspects(&mut self, now: Instant) {
        let waiting: Vec<Identity> = self.timers.suspects().cloned().collect();
        let suspects: Vec<Record> = self
            .foca
            .iter_members()
            .filter(|m| m.state() == foca::State::Suspect && waiting.contains(m.id()))
            .map(Record::from)
            .collect();
        self.buddy_at = (!suspects.is_empty()).then(|| now + BUDDY_PERIOD);
        for record in suspects {
            let to = record.identity.node;
            let message = JoinMessage::Members(vec![record]);
            self.outputs.push_back(Output::Tell { to, message });
        }
    }

    /// Tells one whom only others suspect, each in its turn: whoever did may be gone for good, and
    /// then nobody else would tell it. One that does not answer fails a probe of this node's too.
    fn remind_suspect(&mut self) {
        let waiting: Vec<&Identity> = self.timers.suspects().collect();
        let suspects: Vec<Record> = self
            .foca
            .iter_members()
            .filter(|m| m.state() == foca::State::Suspect && !waiting.contains(&m.id()))
            .map(Record::from)
            .collect();
        let turn = self.reminded.checked_rem(suspects.len());
        if let Some(record) = turn.and_then(|turn| suspects.into_iter().nth(turn)) {
            self.reminded = self.reminded.wrapping_add(1);
            let to = record.identity.node;
            let message = JoinMessage::Members(vec![record]);
            self.outputs.push_back(Output::Tell { to, message });
        }
    }

    /// Brings one line of the table up to date: with many members, all of them would take long.
    fn note(&mut self, identity: Identity, standing: Standing) {
        for change in self.roster.set(&Record { identity, incarnation: 0, standing }) {
            self.changed(change);
        }
        self.adapt();
    }

    /// Brings the table in line with foca's state.
    fn refresh(&mut self) {
        let own = self.foca.identity().clone();
        let mut changes = self.roster.set_own(&own);
        for member in self.foca.iter_membership_state() {
            if !self.roster.agrees(member) {
                changes.extend(self.roster.set(&Record::from(member)));
            }
        }
        for change in changes {
            self.changed(change);
        }
        self.adapt();
    }

    /// How often updates are sent and how long a suspicion lasts follows the number of members.
    fn adapt(&mut self) {
        let wanted = swim::max_transmissions(self.foca.num_members() + 1);
        if wanted != self.settings.max_transmissions {
            self.settings.max_transmissions = wanted;
            self.settings.suspect_to_down_after =
                swim::suspicion(&self.timing, self.foca.num_members() + 1);
            let _ = self.foca.set_config(self.settings.clone());
        }
    }

    fn changed(&mut self, change: Change) {
        if let Some(write) = self.roster.write(change.node()) {
            self.outputs.push_back(Output::Persist(write));
        }
        self.outputs.push_back(Output::Changed(change));
    }

    /// Members that answer, this node not among them.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &Member> {
        let own = self.identity().node;
        self.roster.iter().filter(move |member| {
            member.id != own && matches!(member.state, MemberState::Alive | MemberState::Suspect)
        })
    }
}

/// A member as its line had it last.
fn identity_of(member: &Member) -> Identity {
    let Member { id, boot, name, addr, .. } = member.clone();
    Identity { node: id, boot, renewal: 0, addr, name }
}
