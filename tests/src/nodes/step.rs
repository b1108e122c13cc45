//! One event after the other.

use std::time::{Duration, Instant};

use weft_agent::node::Output;
use weft_api::{NetworkId, Write};
use weft_networkdb::{FactKind, Member, MemberEvent, MemberState, RolledBackBy};
use weft_overlay::Knowledge;

use super::crash::{Doom, RECONCILE, REST};
use super::host::Host;
use super::invariant::{Invariant, ensure};
use super::ledger::{Commit, Why};
use super::mutation::Mutation;
use super::{Event, Nodes};

/// After facts are in step the tables follow; strays may go then. As the controller has it.
const TABLES_SETTLE: Duration = Duration::from_secs(10);
/// Rounds of one drain: an answer leads to a call, which leads to an answer.
const ROUNDS_MAX: usize = 1000;
/// Outputs of one drain.
const OUTPUTS_MAX: usize = 20_000;
/// Events that wait at once, a host: what is on the way to it.
const IN_FLIGHT_MAX: usize = 2000;

impl Event {
    fn host(&self) -> usize {
        match self {
            Self::Datagram { to, .. } | Self::Stream { to, .. } => *to,
            Self::Wake { host }
            | Self::Reconcile { host, .. }
            | Self::TablesSettled { host, .. }
            | Self::Flap { host, .. } => *host,
        }
    }
}

impl Nodes {
    pub(super) fn schedule(&mut self, at: Instant, event: Event) {
        self.serial += 1;
        self.events.insert((at.max(self.now), self.serial), event);
        let waits = self.events.len();
        self.ledger.tally.in_flight_max = self.ledger.tally.in_flight_max.max(waits as u64);
        self.hold(ensure(
            waits <= IN_FLIGHT_MAX * self.hosts.len(),
            Invariant::QueuesBounded,
            || format!("{waits} events wait at once"),
        ));
    }

    /// Carries out the next event, if there is one up to `end`.
    pub(super) fn step(&mut self, end: Instant) -> bool {
        let Some(entry) = self.events.first_entry() else { return false };
        if entry.key().0 > end {
            return false;
        }
        let ((at, _), event) = entry.remove_entry();
        self.now = at;
        self.ledger.tally.events += 1;
        if let Some(event) = self.put_off(event) {
            self.handle(event);
        }
        true
    }

    /// A host that has stalled does nothing; what comes waits for it, in its order.
    fn put_off(&mut self, event: Event) -> Option<Event> {
        let host = event.host();
        let Some(until) = self.hosts[host].stalled else { return Some(event) };
        if until <= self.now {
            self.hosts[host].stalled = None;
            return Some(event);
        }
        if let Event::Flap { .. } = event {
            return Some(event);
        }
        if let Event::Wake { .. } = event {
            if self.hosts[host].wake != Some(self.now) {
                return None;
            }
            self.hosts[host].wake = Some(until);
        }
        self.ledger.tally.stalled += 1;
        self.schedule(until, event);
        None
    }

    fn handle(&mut self, event: Event) {
        let (at, local) = (self.now, self.local(event.host()));
        match event {
            Event::Datagram { to, from, bytes } => {
                if self.planted.is(Mutation::Floods) {
                    for _ in 0..2 {
                        let bytes = bytes.clone();
                        let after = at + Duration::from_millis(1);
                        self.schedule(after, Event::Datagram { to, from, bytes });
                    }
                }
                if let Some(process) = self.hosts[to].process.as_mut() {
                    process.node.handle_datagram(from, &bytes, local);
                    self.drain(to);
                }
            }
            Event::Stream { to, life, input } => {
                let host = &mut self.hosts[to];
                if let Some(process) = host.process.as_mut().filter(|_| host.life == life) {
                    process.node.handle_stream(input, local);
                    self.drain(to);
                }
            }
            Event::Wake { host } => {
                if self.hosts[host].wake == Some(at) {
                    self.hosts[host].wake = None;
                    if let Some(process) = self.hosts[host].process.as_mut() {
                        process.node.handle_timeout(local);
                        self.drain(host);
                    }
                }
            }
            Event::Reconcile { host, life } => {
                if self.hosts[host].process.is_some() && self.hosts[host].life == life {
                    self.reconcile(host);
                    self.schedule(at + RECONCILE, Event::Reconcile { host, life });
                }
            }
            Event::TablesSettled { host, life } => {
                let there = &mut self.hosts[host];
                if let Some(process) = there.process.as_mut().filter(|_| there.life == life) {
                    process.knowledge = Knowledge::Complete;
                    self.release_strays(host);
                    self.drain(host);
                }
            }
            Event::Flap { host, left } => self.flap_again(host, left),
        }
    }

    /// Takes all outputs, commits the writes among them, then carries out the rest; until there
    /// is nothing more to do now.
    pub(super) fn drain(&mut self, host: usize) {
        for round in 0.. {
            self.hold(ensure(round <= ROUNDS_MAX, Invariant::QueuesBounded, || {
                format!("host {host} does not come to rest")
            }));
            let Some(process) = self.hosts[host].process.as_mut() else { return };
            let mut writes = std::mem::take(&mut process.writes);
            let mut effects = Vec::new();
            while let Some(output) = process.node.poll_output() {
                if let Output::Persist(write) = output {
                    writes.push(write);
                } else {
                    effects.push(output);
                }
            }
            if writes.is_empty() && effects.is_empty() {
                break;
            }
            self.hold(ensure(effects.len() <= OUTPUTS_MAX, Invariant::QueuesBounded, || {
                format!("host {host} puts out {} things at once", effects.len())
            }));
            if effects.contains(&Output::Joined) {
                writes.push(Host::joined_mark());
            }
            let Some(told) = self.commit(host, writes) else {
                return self.kill(host);
            };
            // What ends a membership comes last, as the agent has it.
            let (ends, rest): (Vec<_>, Vec<_>) = effects.into_iter().partition(ends_membership);
            for effect in rest.into_iter().chain(ends).take(told.unwrap_or(usize::MAX)) {
                if self.hosts[host].process.is_some() {
                    self.carry_out(host, effect);
                }
            }
            if told.is_some() && self.hosts[host].process.is_some() {
                return self.kill(host);
            }
        }
        self.program(host);
        self.plan_wake(host);
    }

    /// Commits. None: the agent ends before it tells anybody anything; a number: it ends after it
    /// has told so much.
    fn commit(&mut self, host: usize, writes: Vec<Write>) -> Option<Option<usize>> {
        if writes.is_empty() {
            return Some(None);
        }
        self.hosts[host].commits += 1;
        let doom = self.hosts[host].next_doom();
        let tally = &mut self.ledger.tally;
        match doom {
            Some(Doom::BeforeCommit) => {
                tally.commits_unwritten += 1;
                return None;
            }
            // The store finds half a commit and does not take it up.
            Some(Doom::Torn) => {
                tally.commits_torn += 1;
                return None;
            }
            Some(Doom::AfterCommit) => tally.commits_untold += 1,
            Some(Doom::AfterSome(_)) => tally.commits_half_told += 1,
            None => {}
        }
        for write in writes {
            self.write(host, write, Why::Written);
        }
        match doom {
            Some(Doom::AfterSome(told)) => Some(Some(told)),
            Some(_) => None,
            None => Some(None),
        }
    }

    pub(super) fn write(&mut self, host: usize, write: Write, why: Why) {
        let at = self.elapsed();
        let node = self.hosts[host].id();
        let mutated = self.planted.mutation.filter(|_| why == Why::Written);
        let write = match mutated {
            None => Some(write),
            Some(_) => {
                let of_space = self.hosts[host].disk.of(write.space);
                let old = of_space.filter(|(key, _)| *key == write.key).map(|(_, v)| v.to_vec());
                let old = old.last();
                self.planted.write((host, node), write, old.as_deref())
            }
        };
        let Some(write) = write else { return };
        self.trace.add(host, at, &write.key);
        self.trace.add(host, at, write.value.as_deref().unwrap_or_default());
        let undo = self.hosts[host].disk.exchange(write.clone());
        let rest = REST.mul_f64(1.0 - 2.0 * f64::from(self.drift_ppm) / 1e6);
        let node = node.filter(|_| !self.hosts[host].is_stale);
        let commit = Commit { host, node, write: &write, undo: &undo, why, at, rest };
        let held = self.ledger.commit(&commit);
        self.hold(held);
        if let Some(forgotten) = forgotten_by(&write).filter(|_| why == Why::Written) {
            self.forgotten(forgotten);
        }
        self.hosts[host].untold.push(undo);
    }

    fn plan_wake(&mut self, host: usize) {
        let clock = self.hosts[host].clock;
        let due = self.hosts[host].process.as_ref().and_then(|process| process.node.poll_timeout());
        if let Some(at) = due.map(|at| clock.when(self.start, at).max(self.now))
            && self.hosts[host].wake.is_none_or(|planned| at < planned)
        {
            self.hosts[host].wake = Some(at);
            self.schedule(at, Event::Wake { host });
        }
    }

    fn carry_out(&mut self, host: usize, output: Output) {
        match output {
            Output::Persist(write) => self.write(host, write, Why::Written),
            Output::Datagram { to, bytes } => self.send_datagram(host, to, bytes),
            Output::OpenStream { stream, to } => self.open_stream(host, stream, to),
            Output::StreamFrame { stream, bytes } => self.send_frame(host, stream, bytes),
            Output::CloseStream { stream } => self.close_stream(host, stream),
            Output::Table(event) => self.table_event(host, &event),
            Output::Claim { id, outcome, asked } => {
                self.hosts[host].untold.clear();
                self.claim_is_known(host, &outcome);
                self.claim_ended(host, id, outcome, asked);
            }
            Output::Granted { ticket, result } => {
                self.hosts[host].untold.clear();
                self.granted(host, ticket, result);
            }
            Output::Defined(definition) => {
                self.stays_deleted(host, definition.id);
                let held = self.ledger.define(&definition);
                self.hold(held);
            }
            Output::Deleted(network) => {
                self.ledger.tally.deletes += 1;
                self.process_mut(host).deleted.insert(network);
                self.note_on(host, format!("hears that {} is deleted", network.short()));
            }
            Output::JoinFailed(refusal) => {
                self.note_on(host, format!("is not let in: {refusal}"));
                if !self.hosts[host].is_joined() {
                    self.end_membership(host);
                }
            }
            Output::HandedOver(unacknowledged) => {
                self.note_on(host, format!("handed over, {} owe", unacknowledged.len()));
                // One that is away may have given it something and told nobody yet.
                let is_away = |member: &Member| member.state == MemberState::Failed;
                let any_away = self.node(host).db().members().any(is_away);
                self.ledger.allowance.ranges_left |= !unacknowledged.is_empty() || any_away;
                let now = self.local(host);
                self.process_mut(host).node.with_db(now, |db| db.leave(now));
            }
            Output::Left => {
                self.note_on(host, "left");
                self.ledger.tally.left += 1;
                self.end_membership(host);
            }
            Output::Ready => {
                // On a disk of before it knew anybody it is ready without having asked anybody.
                let knows_others = self.node(host).db().members().count() > 1;
                self.hosts[host].is_stale &= !knows_others;
                self.publish_routes(host);
                let life = self.hosts[host].life;
                let at = self.now + TABLES_SETTLE;
                self.schedule(at, Event::TablesSettled { host, life });
            }
            Output::RolledBack(by) => self.rolled_back(host, by),
            Output::Member(MemberEvent::Up(member)) => self.stays_gone(host, member.id),
            Output::Member(MemberEvent::Failed(_)) => self.parted(),
            Output::Alarm(alarm) if self.may_alarm(host, &alarm) => self.note_on(host, alarm),
            Output::Alarm(alarm) => {
                self.break_off(Invariant::NoFault, format!("host {host} alarms: {alarm}"));
            }
            Output::Overflow(bound) => {
                self.break_off(Invariant::QueuesBounded, format!("host {host}: {bound}"));
            }
            Output::Joined => {
                self.ledger.tally.joined += 1;
                self.note_on(host, "is let in");
            }
            Output::Member(MemberEvent::Left(node) | MemberEvent::Forgotten(node)) => {
                self.process_mut(host).gone.insert(node);
            }
            Output::Watch { .. } | Output::Keys(_) | Output::Member(MemberEvent::Renamed(_)) => {}
        }
    }

    fn rolled_back(&mut self, host: usize, by: RolledBackBy) {
        match by {
            RolledBackBy::Forgotten => {
                self.note_on(host, "hears that it is forgotten");
                self.ledger.tally.returned += 1;
            }
            RolledBackBy::Boot(_) | RolledBackBy::Record => {
                self.note_on(host, format!("hears that it was rolled back: {by:?}"));
                self.hold(ensure(self.ledger.allowance.disks_lost, Invariant::NoFault, || {
                    format!("host {host} was told that it was rolled back, and was not: {by:?}")
                }));
                self.ledger.tally.rolled_back += 1;
            }
        }
        self.end_membership(host);
    }

    /// An owner that is forgotten and has not heard of it, or whose disk was touched, is told that
    /// others have what was its. By force also what another was given is taken over.
    fn may_alarm(&self, host: usize, alarm: &str) -> bool {
        let ledger = &self.ledger;
        let is_forgotten = ledger.forgotten.contains(&self.node(host).id());
        let is_taken_over = ledger.allowance.forced && alarm.contains("was taken over by");
        is_forgotten || is_taken_over || ledger.allowance.disks_lost
    }

    fn stays_deleted(&mut self, host: usize, network: NetworkId) {
        let back = self.process(host).deleted.contains(&network);
        self.hold(ensure(!back, Invariant::NothingResurrects, || {
            format!("{} is back on host {host} after its delete", network.short())
        }));
    }

    fn stays_gone(&mut self, host: usize, node: weft_api::NodeId) {
        let is_gone = self.process(host).gone.contains(&node);
        self.hold(ensure(!is_gone, Invariant::NothingResurrects, || {
            format!("host {host} holds {} alive, which is gone for good", node.short())
        }));
    }
}

/// The node that a write says is forgotten.
fn forgotten_by(write: &Write) -> Option<weft_api::NodeId> {
    let (kind, subject) = write.key.split_first()?;
    let is_forgotten = write.space == weft_api::Space::Facts && *kind == FactKind::FORGOTTEN.0;
    let id = <[u8; 16]>::try_from(subject).ok().filter(|_| is_forgotten)?;
    Some(weft_api::NodeId::from_bytes(id))
}

const fn ends_membership(effect: &Output) -> bool {
    matches!(effect, Output::JoinFailed(_) | Output::Left | Output::RolledBack(_))
}
