//! One event after the other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weft_agent::node::Output;
use weft_api::Write;
use weft_networkdb::{RolledBackBy, StreamId, StreamInput};
use weft_overlay::Knowledge;

use super::crash::{Doom, RECONCILE};
use super::host::Host;
use super::{Event, Nodes};

/// What an unanswered connection attempt takes.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// What an unacknowledged stream takes to break.
const BREAK_PATIENCE: Duration = Duration::from_secs(2);
/// After facts are in step the tables follow; strays may go then. As the controller has it.
const TABLES_SETTLE: Duration = Duration::from_secs(10);
/// Rounds of one drain: an answer leads to a call, which leads to an answer.
const ROUNDS_MAX: usize = 1000;

impl Nodes {
    pub(super) fn schedule(&mut self, at: Instant, event: Event) {
        self.serial += 1;
        self.events.insert((at.max(self.now), self.serial), event);
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
        match event {
            Event::Datagram { to, from, bytes } => {
                if let Some(process) = self.hosts[to].process.as_mut() {
                    process.node.handle_datagram(from, &bytes, at);
                    self.drain(to);
                }
            }
            Event::Stream { to, life, input } => {
                let host = &mut self.hosts[to];
                if let Some(process) = host.process.as_mut().filter(|_| host.life == life) {
                    process.node.handle_stream(input, at);
                    self.drain(to);
                }
            }
            Event::Wake { host } => {
                if self.hosts[host].wake == Some(at) {
                    self.hosts[host].wake = None;
                    if let Some(process) = self.hosts[host].process.as_mut() {
                        process.node.handle_timeout(at);
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
                let host = &mut self.hosts[host];
                if let Some(process) = host.process.as_mut().filter(|_| host.life == life) {
                    process.knowledge = Knowledge::Complete;
                }
            }
        }
        true
    }

    /// Takes all outputs, commits the writes among them, then carries out the rest; until there
    /// is nothing more to do now.
    pub(super) fn drain(&mut self, host: usize) {
        for round in 0.. {
            if round > ROUNDS_MAX {
                self.fail(&format!("host {host} does not come to rest"));
            }
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
            if effects.contains(&Output::Joined) {
                writes.push(Host::joined_mark());
            }
            if !self.commit(host, writes) {
                return self.kill(host);
            }
            for effect in effects {
                if self.hosts[host].process.is_some() {
                    self.carry_out(host, effect);
                }
            }
        }
        self.program(host);
        self.plan_wake(host);
    }

    /// Commits; false when the agent ends here.
    fn commit(&mut self, host: usize, writes: Vec<Write>) -> bool {
        let doom = if writes.is_empty() { None } else { self.hosts[host].doom };
        if doom == Some(Doom::BeforeCommit) {
            return false;
        }
        for write in writes {
            self.write(host, write);
        }
        doom.is_none()
    }

    pub(super) fn write(&mut self, host: usize, write: Write) {
        let at = self.elapsed();
        self.trace.add(host, at, &write.key);
        self.trace.add(host, at, write.value.as_deref().unwrap_or_default());
        let undo = self.hosts[host].disk.exchange(write.clone());
        if let Err(what) = self.ledger.commit(&write, &undo) {
            self.fail(&what);
        }
        self.hosts[host].untold.push(undo);
    }

    fn plan_wake(&mut self, host: usize) {
        let due = self.hosts[host].process.as_ref().and_then(|process| process.node.poll_timeout());
        if let Some(at) = due.map(|at| at.max(self.now))
            && self.hosts[host].wake.is_none_or(|planned| at < planned)
        {
            self.hosts[host].wake = Some(at);
            self.schedule(at, Event::Wake { host });
        }
    }

    fn carry_out(&mut self, host: usize, output: Output) {
        match output {
            Output::Persist(write) => self.write(host, write),
            Output::Datagram { to, bytes } => self.send_datagram(host, to, bytes),
            Output::OpenStream { stream, to } => self.open_stream(host, stream, to),
            Output::StreamFrame { stream, bytes } => self.send_frame(host, stream, bytes),
            Output::CloseStream { stream } => self.close_stream(host, stream),
            Output::Table(event) => self.table_event(host, &event),
            Output::Claim { id, outcome } => {
                self.hosts[host].untold.clear();
                self.claim_ended(host, id, outcome);
            }
            Output::Granted { ticket, result } => {
                self.hosts[host].untold.clear();
                self.granted(host, ticket, result);
            }
            Output::Defined(definition) => {
                if let Err(what) = self.ledger.define(&definition) {
                    self.fail(&what);
                }
            }
            Output::Deleted(network) => {
                self.ledger.tally.deletes += 1;
                self.note(format!("host {host} hears that {} is deleted", network.short()));
            }
            Output::JoinFailed(refusal) => {
                self.note(format!("host {host} is not let in: {refusal}"));
                if !self.hosts[host].is_joined() {
                    self.end_membership(host);
                }
            }
            Output::HandedOver(unacknowledged) => {
                self.note(format!("host {host} handed over, {} owe", unacknowledged.len()));
                self.left_orderly &= unacknowledged.is_empty();
                let now = self.now;
                self.process_mut(host).node.with_db(now, |db| db.leave(now));
            }
            Output::Left => {
                self.note(format!("host {host} left"));
                self.ledger.tally.left += 1;
                self.end_membership(host);
            }
            Output::Ready => {
                self.publish_routes(host);
                let life = self.hosts[host].life;
                let at = self.now + TABLES_SETTLE;
                self.schedule(at, Event::TablesSettled { host, life });
            }
            Output::RolledBack(RolledBackBy::Forgotten) => {
                self.note(format!("host {host} hears that it is forgotten"));
                self.end_membership(host);
            }
            Output::RolledBack(by) => self.fail(&format!("host {host} was rolled back: {by:?}")),
            Output::Alarm(alarm) => self.fail(&format!("host {host} alarms: {alarm}")),
            Output::Overflow(bound) => self.fail(&format!("host {host} overflows: {bound}")),
            Output::Watch { .. } | Output::Member(_) | Output::Joined | Output::Keys(_) => {}
        }
    }

    fn host_at(&self, addr: SocketAddr) -> Option<usize> {
        self.hosts.iter().position(|host| host.addr == addr)
    }

    fn send_datagram(&mut self, host: usize, to: SocketAddr, bytes: Vec<u8>) {
        let at = self.elapsed();
        self.trace.add(host, at, &bytes);
        self.hosts[host].untold.clear();
        let Some(to) = self.host_at(to) else { return };
        if !self.network.passes(host, to) {
            self.ledger.tally.cut += 1;
            return;
        }
        let from = self.hosts[host].addr;
        let copies = self.network.copies(&mut self.rng);
        match copies.len() {
            0 => self.ledger.tally.lost += 1,
            1 => {}
            _ => self.ledger.tally.duplicated += 1,
        }
        for delay in copies {
            let bytes = bytes.clone();
            let at = self.now + delay;
            let last = &mut self.hosts[to].arrivals;
            let before = last.entry(host).or_insert(at);
            if at < *before {
                self.ledger.tally.overtaken += 1;
            }
            *before = at.max(*before);
            self.schedule(at, Event::Datagram { to, from, bytes });
        }
    }

    pub(super) fn tell(&mut self, host: usize, after: Duration, input: StreamInput) {
        let life = self.hosts[host].life;
        self.schedule(self.now + after, Event::Stream { to: host, life, input });
    }

    fn open_stream(&mut self, host: usize, stream: StreamId, to: SocketAddr) {
        self.hosts[host].untold.clear();
        let failed = |reason: &str| StreamInput::Failed { stream, reason: reason.to_owned() };
        let peer = self
            .host_at(to)
            .filter(|peer| self.network.passes(host, *peer) && self.network.passes(*peer, host));
        let Some(peer) = peer else {
            return self.tell(host, CONNECT_PATIENCE, failed("timed out"));
        };
        let latency = self.network.stream_latency(&mut self.rng);
        if self.hosts[peer].process.is_none() {
            return self.tell(host, latency, failed("connection refused"));
        }
        self.hosts[peer].accepted += 1;
        let accepted = StreamId::accepted(self.hosts[peer].accepted);
        self.connections.connect((host, stream), (peer, accepted), self.now + latency);
        let from = self.hosts[host].addr;
        self.tell(peer, latency, StreamInput::Accepted { stream: accepted, from });
        self.tell(host, latency * 2, StreamInput::Connected { stream });
    }

    fn send_frame(&mut self, host: usize, stream: StreamId, bytes: Vec<u8>) {
        let (now, at) = (self.now, self.elapsed());
        self.trace.add(host, at, &bytes);
        self.hosts[host].untold.clear();
        let latency = self.network.stream_latency(&mut self.rng);
        let Some(peer) = self.connections.peer((host, stream)) else { return };
        if !self.network.passes(host, peer.host) || !self.network.passes(peer.host, host) {
            let peer = *peer;
            let _ = self.connections.close((host, stream));
            self.tell(host, BREAK_PATIENCE, StreamInput::Closed { stream });
            let stream = peer.stream;
            return self.tell(peer.host, BREAK_PATIENCE, StreamInput::Closed { stream });
        }
        peer.last = (now + latency).max(peer.last + Duration::from_nanos(1));
        let peer = *peer;
        let input = StreamInput::Frame { stream: peer.stream, bytes };
        self.tell(peer.host, peer.last - now, input);
    }

    fn close_stream(&mut self, host: usize, stream: StreamId) {
        if let Some(peer) = self.connections.close((host, stream)) {
            let after = peer.last.saturating_duration_since(self.now) + Duration::from_micros(1);
            self.tell(peer.host, after, StreamInput::Closed { stream: peer.stream });
        }
    }
}
