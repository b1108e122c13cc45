//! Streams: hellos and welcomes, and what travels after them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt;
use weft_api::NodeId;

use crate::db::leave::Leave;
use crate::db::{Joining, NetworkDb};
use crate::membership::greeter::Target;
use crate::membership::identity::{Identity, Record, Standing, contradicts};
use crate::membership::join::JoinMessage;
use crate::output::{Bound, JoinRefusal, MemberState, Output, RolledBackBy, StreamId, StreamInput};
use crate::sync::Carrier;
use crate::wire::codec;
use crate::wire::streams::Phase;
use crate::wire::{Message, VERSION};

impl NetworkDb {
    /// Takes what happened to a stream.
    pub fn handle_stream(&mut self, input: StreamInput, now: Instant) {
        if self.leave == Leave::Done {
            return;
        }
        match input {
            StreamInput::Accepted { stream, from: _ } => {
                let most = self.config.limits.incoming_streams;
                if !self.streams.accept(stream, most, now) {
                    self.outputs.push_back(Output::Overflow(Bound::IncomingStreams));
                    self.outputs.push_back(Output::CloseStream { stream });
                }
            }
            StreamInput::Connected { stream } => self.on_connected(stream, now),
            StreamInput::Frame { stream, bytes } => self.on_frame(stream, &bytes, now),
            StreamInput::Closed { stream } => {
                self.on_broken(stream, "the stream was closed", now);
            }
            StreamInput::Failed { stream, reason } => {
                self.counters.streams_failed += 1;
                self.on_broken(stream, &reason, now);
            }
            StreamInput::KeyRefused { stream } => self.on_key_refused(stream, now),
        }
        self.dial(now);
        self.settle(now);
    }

    /// Opens streams to all targets that are due.
    pub(super) fn dial(&mut self, now: Instant) {
        for target in self.greeter.due(now) {
            let to = match target {
                Target::Seed(addr) => Some(addr),
                Target::Node(node) => self.greetable(node),
                Target::Forgotten(node) => self.address_of_forgotten(node),
            };
            match to {
                Some(_) if !self.tells(target) => self.put_off(target, now),
                Some(to) => {
                    let stream = self.streams.open(target, now);
                    self.outputs.push_back(Output::OpenStream { stream, to });
                }
                None => self.greeter.drop_target(target),
            }
        }
    }

    fn greetable(&self, node: NodeId) -> Option<SocketAddr> {
        let roster = self.membership.roster();
        let member = roster.get(node).filter(|_| !roster.is_gone(node))?;
        Some(member.addr)
    }

    fn on_connected(&mut self, stream: StreamId, now: Instant) {
        if let Some(Phase::Opening(target)) = self.streams.phase(stream) {
            self.streams.set(stream, Phase::Greeting(target), now);
            if let Target::Forgotten(node) = target {
                return self.tell_forgotten(stream, node);
            }
            let mut members = self.membership.list();
            if let Target::Node(node) = target {
                members.extend(self.membership.unheard_record(node));
            }
            let identity = self.membership.identity().clone();
            let hello = JoinMessage::Hello { cluster: self.config.cluster, identity, members };
            self.put_frame(stream, &Message::Join(hello));
        }
    }

    fn on_frame(&mut self, stream: StreamId, bytes: &[u8], now: Instant) {
        let Some(phase) = self.streams.phase(stream) else { return };
        if bytes.len() > self.config.limits.frame_bytes {
            self.counters.too_large += 1;
            return self.drop_stream(stream, "a frame above the bound", now);
        }
        let Some((&version, body)) = bytes.split_first() else {
            self.counters.undecodable += 1;
            return self.drop_stream(stream, "an empty frame", now);
        };
        if version != VERSION {
            self.counters.other_version += 1;
            if phase == Phase::Awaiting {
                let refusal = JoinRefusal::Version { theirs: VERSION, ours: version };
                self.put_frame(stream, &Message::Join(JoinMessage::Refused(refusal)));
            }
            return self.drop_stream(stream, "another protocol version", now);
        }
        let Ok(message) = codec::decode::<Message>(body) else {
            self.counters.undecodable += 1;
            return self.drop_stream(stream, "an undecodable frame", now);
        };
        self.counters.frames_in += 1;
        self.streams.touch(stream, now);
        self.on_message(stream, phase, message, now);
    }

    fn on_message(&mut self, stream: StreamId, phase: Phase, message: Message, now: Instant) {
        match (phase, message) {
            (Phase::Awaiting, Message::Join(JoinMessage::Hello { cluster, identity, members })) => {
                let verdict = if cluster == self.config.cluster {
                    self.judge(&identity, &members)
                } else {
                    self.counters.foreign_cluster += 1;
                    Err(JoinRefusal::ForeignCluster)
                };
                match verdict {
                    Ok(()) => self.welcome(stream, identity, members, now),
                    Err(refusal) => {
                        self.counters.joins_refused += 1;
                        self.put_frame(stream, &Message::Join(JoinMessage::Refused(refusal)));
                        let _ = self.streams.remove(stream);
                        self.outputs.push_back(Output::CloseStream { stream });
                    }
                }
            }
            (Phase::Awaiting, Message::Join(JoinMessage::Forgotten { by, node, members })) => {
                self.hear_of_own_end(stream, by, node, &members, now);
                self.drop_stream(stream, "the other side says who is forgotten", now);
            }
            (Phase::Greeting(Target::Forgotten(node)), Message::Join(JoinMessage::Refused(_))) => {
                // Another node lives there now.
                self.greeter.drop_target(Target::Forgotten(node));
                let _ = self.streams.remove(stream);
                self.outputs.push_back(Output::CloseStream { stream });
            }
            (
                Phase::Greeting(target @ (Target::Node(_) | Target::Seed(_))),
                Message::Join(JoinMessage::Welcome { identity, members }),
            ) => self.on_welcome(stream, target, identity, members, now),
            (Phase::Greeting(_), Message::Keys(message)) => {
                self.on_keys_message(None, message, now)
            }
            (Phase::Greeting(target), Message::Join(JoinMessage::Refused(refusal))) => {
                self.on_refused(stream, target, refusal, now);
            }
            (Phase::Up(node), message) => self.dispatch(node, message, now),
            (Phase::Opening(_) | Phase::Greeting(_) | Phase::Awaiting, _) => {
                self.counters.undecodable += 1;
                self.drop_stream(stream, "no greeting", now);
            }
        }
    }

    /// Decides whether whoever says hello may be a member.
    fn judge(&mut self, identity: &Identity, members: &[Record]) -> Result<(), JoinRefusal> {
        let node = identity.node;
        if node == self.config.node {
            let own = self.config.boot;
            if contradicts(identity.boot, own) {
                self.roll_back(RolledBackBy::Boot(identity.boot));
            }
            if identity.boot != own {
                return Err(JoinRefusal::RolledBack(own));
            }
            return Err(JoinRefusal::Unreachable("the seed is this node itself".to_owned()));
        }
        let Some(member) = self.membership.roster().get(node) else {
            let knows_us = members.iter().any(|record| record.identity.node == self.config.node);
            if knows_us && self.never_met_anybody() {
                return Err(self.met_before(identity));
            }
            if let Some(reason) = self.is_shut().filter(|_| !knows_us) {
                return Err(JoinRefusal::Unreachable(reason.to_owned()));
            }
            let known = self.membership.roster().len();
            if known >= self.config.limits.members {
                return Err(JoinRefusal::Full(known as u64));
            }
            return Ok(());
        };
        match member.state {
            MemberState::Left => return Err(JoinRefusal::Left(node)),
            MemberState::Forgotten => return Err(JoinRefusal::Forgotten(node)),
            MemberState::Alive | MemberState::Suspect | MemberState::Failed => {}
        }
        let known = member.boot;
        if identity.boot != known && contradicts(known, identity.boot) {
            return Err(JoinRefusal::RolledBack(known));
        }
        Ok(())
    }

    /// A member that let nobody in yet, and did not ask to be let in.
    fn never_met_anybody(&self) -> bool {
        !self.asked_to_join && self.membership.roster().len() == 1
    }

    /// Somebody knows this node, which knows nobody: its disk is of before it let the first one in.
    fn met_before(&mut self, by: &Identity) -> JoinRefusal {
        self.told_by = Some(by.addr);
        self.roll_back(RolledBackBy::Record);
        JoinRefusal::Unreachable("the disk of the seed was rolled back".to_owned())
    }

    /// Why no new node is let in. Whoever lets one in must be a member, and stay one until the
    /// others know of it: else the new node is alone for ever.
    pub(super) fn is_shut(&self) -> Option<&'static str> {
        if self.join != Joining::Idle {
            return Some("the seed is itself about to join");
        }
        let leaves = self.shut || self.leave != Leave::None;
        leaves.then_some("the seed is about to leave the cluster")
    }

    fn welcome(
        &mut self,
        stream: StreamId,
        identity: Identity,
        mut members: Vec<Record>,
        now: Instant,
    ) {
        let node = identity.node;
        let joins = members.is_empty() && self.membership.roster().get(node).is_none();
        members.push(Record { identity, incarnation: 0, standing: Standing::Alive });
        self.membership.handle_records(node, members, now);
        // Before anything that is sealed with a key that the opener lacks.
        self.tell_ring(stream);
        let welcome = JoinMessage::Welcome {
            identity: self.membership.identity().clone(),
            members: self.membership.list(),
        };
        self.put_frame(stream, &Message::Join(welcome));
        self.stream_is_up(stream, node, now);
        self.tell_silent(node, now);
        self.settle(now);
        if joins {
            self.introduce(node, now);
        }
        for message in self.claims.pending_for_joiner() {
            self.post(node, &Message::Claims(message), Carrier::Stream, now);
        }
    }

    /// Tells all of a new node before it speaks to them: each that does not know it would say
    /// hello to it, and get its whole member list.
    fn introduce(&mut self, node: NodeId, now: Instant) {
        let Some(record) = self.membership.record(node) else { return };
        let alive = self.membership.alive().map(|member| member.id);
        let others: Vec<NodeId> = alive.filter(|other| *other != node).collect();
        let message = Message::Join(JoinMessage::Members(vec![record]));
        self.post_all(&others, &message, Carrier::Datagram, now);
    }

    fn on_welcome(
        &mut self,
        stream: StreamId,
        target: Target,
        identity: Identity,
        mut members: Vec<Record>,
        now: Instant,
    ) {
        let node = identity.node;
        // Only to who spoke first to it does one that never met anybody say hello.
        if self.never_met_anybody() {
            let _ = self.met_before(&identity);
            return self.drop_stream(stream, "this node's disk was rolled back", now);
        }
        let told = self.membership.identity().clone();
        let was_lost = self.greeter.failed_before(Target::Node(node));
        match target {
            // Another node lives there now; the one we looked for is lost, for the time being.
            Target::Node(wanted) if wanted != node => self.on_unreachable(target, now),
            Target::Node(_) | Target::Seed(_) | Target::Forgotten(_) => {
                self.greeter.drop_target(target);
            }
        }
        self.greeter.drop_target(Target::Node(node));
        if was_lost {
            self.greeter.hurry(now);
        }
        members.push(Record { identity, incarnation: 0, standing: Standing::Alive });
        self.membership.handle_records(node, members, now);
        self.settle(now);
        if *self.membership.identity() != told {
            let own = vec![self.membership.own_record()];
            self.put_frame(stream, &Message::Join(JoinMessage::Members(own)));
        }
        self.tell_ring(stream);
        self.stream_is_up(stream, node, now);
        self.tell_silent(node, now);
        if self.join != Joining::Idle {
            self.join = Joining::Idle;
            self.outputs.push_back(Output::Joined);
            self.drop_seeds();
        }
    }

    fn on_refused(&mut self, stream: StreamId, target: Target, refusal: JoinRefusal, now: Instant) {
        self.counters.joins_refused += 1;
        let _ = self.streams.remove(stream);
        self.outputs.push_back(Output::CloseStream { stream });
        match refusal {
            JoinRefusal::RolledBack(boot) => self.roll_back(RolledBackBy::Boot(boot)),
            JoinRefusal::Unreachable(reason) => return self.on_lost(target, &reason, now),
            JoinRefusal::Forgotten(_) if self.join == Joining::Idle => {
                self.told_by = match target {
                    Target::Seed(addr) => Some(addr),
                    Target::Node(node) | Target::Forgotten(node) => self.greetable(node),
                };
                self.roll_back(RolledBackBy::Forgotten);
            }
            JoinRefusal::Left(_)
            | JoinRefusal::Forgotten(_)
            | JoinRefusal::ForeignCluster
            | JoinRefusal::Version { .. }
            | JoinRefusal::WrongKey
            | JoinRefusal::Full(_) => {}
        }
        if self.join == Joining::Idle {
            // A member that does not let us in any more is asked again: an operator may put it
            // right, and the caller hears of each refusal that is for good.
            if matches!(refusal, JoinRefusal::Left(_)) {
                self.outputs.push_back(Output::JoinFailed { reason: refusal });
            }
            return self.on_unreachable(target, now);
        }
        self.join = Joining::Idle;
        self.outputs.push_back(Output::JoinFailed { reason: refusal });
        self.drop_seeds();
    }

    pub(super) fn drop_seeds(&mut self) {
        let seeds: Vec<SocketAddr> = self.greeter.seeds().map(|(addr, _)| addr).collect();
        for seed in seeds {
            self.greeter.drop_target(Target::Seed(seed));
        }
    }

    /// A stream ended; what it was to reach is tried again later.
    pub(super) fn on_broken(&mut self, stream: StreamId, reason: &str, now: Instant) {
        match self.streams.remove(stream) {
            Some(Phase::Opening(target) | Phase::Greeting(target)) => {
                self.on_lost(target, reason, now);
            }
            Some(Phase::Awaiting | Phase::Up(_)) | None => {}
        }
    }

    fn drop_stream(&mut self, stream: StreamId, reason: &str, now: Instant) {
        self.outputs.push_back(Output::CloseStream { stream });
        self.on_broken(stream, reason, now);
    }

    fn on_lost(&mut self, target: Target, reason: &str, now: Instant) {
        self.on_unreachable(target, now);
        let all_failed = self.greeter.seeds().all(|(_, failures)| failures > 0);
        if self.join == Joining::Trying && all_failed {
            self.join = Joining::Reported;
            let reason = if self.wrong_key {
                JoinRefusal::WrongKey
            } else {
                JoinRefusal::Unreachable(reason.to_owned())
            };
            self.outputs.push_back(Output::JoinFailed { reason });
        }
    }

    fn on_unreachable(&mut self, target: Target, now: Instant) {
        self.put_off(target, now);
        match target {
            Target::Node(node) => {
                let lost = self.streams.take_queue(node).len();
                self.counters.dropped += lost as u64;
                if let Some(change) = self.membership.set_unreachable(node) {
                    self.on_member(change, now);
                } else if self.membership.alive().any(|member| member.id == node) {
                    // Only its messages were to go this way; it is tried again with the next one.
                    self.greeter.drop_target(target);
                }
            }
            Target::Seed(_) if self.join == Joining::Idle => self.greeter.drop_target(target),
            Target::Seed(_) | Target::Forgotten(_) => {}
        }
    }

    fn put_off(&mut self, target: Target, now: Instant) {
        let longest = self.config.timing.greet_longest.as_millis();
        let jitter = self.rng.random_range(0..=u64::try_from(longest).unwrap_or(u64::MAX));
        self.greeter.failed(target, Duration::from_millis(jitter), now);
    }

    /// A joiner must not depend on the one that let it in: that one may know all the others from
    /// its disk alone, and be gone before it hears them.
    fn tell_silent(&mut self, node: NodeId, now: Instant) {
        let mut silent = self.membership.silent();
        silent.retain(|identity| identity.node != node);
        if !silent.is_empty() {
            let message = Message::Join(JoinMessage::Silent(silent));
            self.post(node, &message, Carrier::Stream, now);
        }
        let former = self.membership.former();
        if !former.is_empty() {
            self.post(node, &Message::Join(JoinMessage::Former(former)), Carrier::Stream, now);
        }
    }

    fn stream_is_up(&mut self, stream: StreamId, node: NodeId, now: Instant) {
        self.streams.set(stream, Phase::Up(node), now);
        for frame in self.streams.take_queue(node) {
            self.counters.frames_out += 1;
            self.counters.frame_bytes_out += frame.len() as u64;
            self.outputs.push_back(Output::StreamFrame { stream, bytes: frame });
        }
    }

    pub(super) fn put_frame(&mut self, stream: StreamId, message: &Message) {
        match codec::encode(message) {
            Ok(body) if body.len() < self.config.limits.frame_bytes => {
                let bytes = Message::frame(&body);
                self.counters.frames_out += 1;
                self.counters.frame_bytes_out += bytes.len() as u64;
                self.outputs.push_back(Output::StreamFrame { stream, bytes });
            }
            Ok(_) | Err(_) => self.outputs.push_back(Output::Overflow(Bound::Frame)),
        }
    }

    /// Sends by the peer's stream, or lets the message wait for one to open.
    pub(super) fn stream_to(&mut self, node: NodeId, body: &[u8], now: Instant) {
        let bytes = Message::frame(body);
        if let Some(stream) = self.streams.usable(node, now) {
            self.streams.touch(stream, now);
            self.counters.frames_out += 1;
            self.counters.frame_bytes_out += bytes.len() as u64;
            self.outputs.push_back(Output::StreamFrame { stream, bytes });
        } else if self.streams.enqueue(node, bytes) {
            self.greeter.want(Target::Node(node), now);
            self.dial(now);
        } else {
            self.counters.dropped += 1;
            self.outputs.push_back(Output::Overflow(Bound::StreamQueue));
        }
    }

    /// Closes streams that nobody uses, and gives up those that do not get anywhere.
    pub(super) fn close_idle(&mut self, now: Instant) {
        for stream in self.streams.due(now) {
            self.drop_stream(stream, "no answer", now);
        }
    }
}
