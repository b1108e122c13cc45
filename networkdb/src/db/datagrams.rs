//! Datagrams: authenticated, decoded and handed on; and what leaves in them.

use std::net::SocketAddr;
use std::time::Instant;

use rand::Rng;
use weft_api::NodeId;

use crate::db::leave::Leave;
use crate::db::{NetworkDb, parts};
use crate::membership::greeter::Target;
use crate::membership::identity::Standing;
use crate::membership::join::JoinMessage;
use crate::output::{Bound, Output};
use crate::sync::Carrier;
use crate::wire::Message;
use crate::wire::codec;
use crate::wire::envelope::{self, End, EnvelopeError, Header, OVERHEAD};
use crate::wire::replay::Window;

/// What is kept of the datagrams to and from one peer.
#[derive(Debug, Default)]
pub(super) struct Channel {
    window: Window,
    sent: u64,
}

impl NetworkDb {
    /// Takes a datagram. One that is not authentic, not for this boot, or not new changes nothing
    /// but a counter.
    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        if self.leave == Leave::Done {
            return;
        }
        if let Some((sender, messages)) = self.open(from, bytes, now) {
            self.counters.datagrams_in += 1;
            for message in messages {
                self.dispatch(sender, message, now);
            }
            self.dial(now);
            self.settle(now);
        }
    }

    fn open(
        &mut self,
        from: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) -> Option<(NodeId, Vec<Message>)> {
        if bytes.len() > self.config.limits.datagram_bytes {
            self.counters.too_large += 1;
            return None;
        }
        let header = match Header::read(bytes) {
            Ok(header) => header,
            Err(error) => return self.refuse(error),
        };
        if header.cluster != self.config.cluster {
            self.counters.foreign_cluster += 1;
            return None;
        }
        let own = End { node: self.config.node, boot: self.config.boot };
        let plaintext = match envelope::open(self.keyring.ring(), &header, own, bytes) {
            Ok(plaintext) => plaintext,
            Err(error) => return self.refuse(error),
        };
        if !self.knows(header.sender, from, now) {
            self.counters.stale_boot += 1;
            self.dial(now);
            return None;
        }
        let sender = header.sender.node;
        let channel = self.channels.entry(sender).or_default();
        if !channel.window.take(header.sender.boot, header.counter) {
            self.counters.replayed += 1;
            return None;
        }
        let mut messages = Vec::new();
        let mut rest = plaintext.as_slice();
        while !rest.is_empty() {
            let Ok((message, used)) = codec::decode_prefix(rest) else {
                self.counters.undecodable += 1;
                return None;
            };
            if matches!(message, Message::Keys(_)) {
                // Secrets travel where a recorded packet stays closed to whoever has the key later.
                self.counters.undecodable += 1;
                return None;
            }
            messages.push(message);
            rest = rest.get(used..).unwrap_or_default();
        }
        Some((sender, messages))
    }

    fn refuse<T>(&mut self, error: EnvelopeError) -> Option<T> {
        match error {
            EnvelopeError::Malformed => self.counters.undecodable += 1,
            EnvelopeError::OtherVersion => self.counters.other_version += 1,
            EnvelopeError::BadAuth => self.counters.bad_auth += 1,
        }
        None
    }

    /// Tells whether an authentic sender speaks in the boot that we know. Of another boot, or not
    /// known at all, it must say hello first; we say ours.
    fn knows(&mut self, sender: End, from: SocketAddr, now: Instant) -> bool {
        if sender.node == self.config.node {
            return false;
        }
        match self.membership.roster().get(sender.node) {
            Some(member) if member.boot == sender.boot => true,
            Some(member) => {
                if sender.boot > member.boot && !self.membership.roster().is_gone(sender.node) {
                    self.greeter.want(Target::Node(sender.node), now);
                }
                false
            }
            None => {
                self.greeter.want(Target::Seed(from), now);
                false
            }
        }
    }

    /// Hands a message of an authenticated member to its part.
    pub(super) fn dispatch(&mut self, from: NodeId, message: Message, now: Instant) {
        let leaving = message == Message::Join(JoinMessage::Leaving);
        if self.membership.roster().is_gone(from) && !leaving {
            return;
        }
        if self.refuses(from, &message) {
            self.counters.from_named += 1;
            return;
        }
        match message {
            Message::Membership(bytes) => {
                if self.membership.handle_packet(from, &bytes, now).is_err() {
                    self.counters.undecodable += 1;
                }
            }
            Message::Join(message) => self.on_join_message(from, message, now),
            Message::Sync(message) => self.sync.handle_message(from, message, now),
            Message::Claims(message) => {
                let message = self.take_ceded(message, now);
                let Self { claims, membership, sync, definitions, in_use, keyring, .. } = self;
                let view = parts::PartsView { membership, sync, definitions, in_use, keyring };
                claims.handle_message(from, message, &view, now);
            }
            Message::Keys(message) => self.on_keys_message(Some(from), message, now),
            Message::App { channel, bytes } => {
                self.outputs.push_back(Output::App { from, channel, bytes });
            }
        }
    }

    fn on_join_message(&mut self, from: NodeId, message: JoinMessage, now: Instant) {
        match message {
            JoinMessage::Members(records) => {
                let own = self.config.node;
                let doubted =
                    records.iter().any(|r| r.identity.node == own && r.standing != Standing::Alive);
                self.membership.handle_records(from, records, now);
                if doubted {
                    self.membership.announce(from, now);
                }
            }
            JoinMessage::WhoIs(node) => {
                let record = if node == self.config.node {
                    Some(self.membership.own_record())
                } else {
                    self.membership.record(node)
                };
                if let Some(record) = record {
                    let message = Message::Join(JoinMessage::Members(vec![record]));
                    self.post(from, &message, Carrier::Datagram, now);
                }
            }
            JoinMessage::Leaving => self.on_leaving(from, now),
            JoinMessage::LeaveNoted => self.on_leave_noted(from, now),
            JoinMessage::Silent(members) => self.membership.look_for(members),
            JoinMessage::Former(members) => self.membership.note_former(members),
            // They belong to the beginning of a stream.
            JoinMessage::Hello { .. }
            | JoinMessage::Welcome { .. }
            | JoinMessage::Refused(_)
            | JoinMessage::Forgotten { .. } => {
                self.counters.undecodable += 1;
            }
        }
    }

    /// Sends a message to the same part on another node: best effort, retried by its owner.
    pub fn send(&mut self, to: NodeId, channel: u8, bytes: Vec<u8>, now: Instant) {
        self.post(to, &Message::App { channel, bytes }, Carrier::Datagram, now);
        self.dial(now);
        self.settle(now);
    }

    pub(super) fn post(&mut self, to: NodeId, message: &Message, by: Carrier, now: Instant) {
        self.post_all(&[to], message, by, now);
    }

    /// Encodes a message once, for all its receivers.
    pub(super) fn post_all(
        &mut self,
        to: &[NodeId],
        message: &Message,
        carrier: Carrier,
        now: Instant,
    ) {
        let limits = &self.config.limits;
        let Ok(bytes) = codec::encode(message) else {
            self.outputs.push_back(Output::Overflow(Bound::Frame));
            return;
        };
        if bytes.len() >= limits.frame_bytes {
            self.outputs.push_back(Output::Overflow(Bound::Frame));
            return;
        }
        let fits = bytes.len() + OVERHEAD <= limits.datagram_bytes;
        for node in to {
            if self.membership.roster().get(*node).is_none() || *node == self.config.node {
                self.counters.dropped += 1;
            } else if fits && carrier == Carrier::Datagram {
                self.outbox.push(*node, bytes.clone());
            } else {
                self.stream_to(*node, &bytes, now);
            }
        }
    }

    /// Seals what waits for one peer; false when nothing waits for anybody.
    pub(super) fn seal_next(&mut self) -> bool {
        let room = self.config.limits.datagram_bytes.saturating_sub(OVERHEAD);
        let Some((node, plaintexts)) = self.outbox.take(room) else { return false };
        let Some(member) = self.membership.roster().get(node) else { return true };
        let (to, receiver) = (member.addr, End { node, boot: member.boot });
        for plaintext in plaintexts {
            let channel = self.channels.entry(node).or_default();
            let mut nonce = [0; 24];
            self.rng.fill_bytes(&mut nonce);
            let header = Header {
                cluster: self.config.cluster,
                sender: End { node: self.config.node, boot: self.config.boot },
                key_id: 0,
                counter: channel.sent,
                nonce,
            };
            channel.sent += 1;
            let bytes = envelope::seal(self.keyring.ring(), header, receiver, &plaintext);
            self.counters.datagrams_out += 1;
            self.counters.datagram_bytes_out += bytes.len() as u64;
            self.outputs.push_back(Output::Datagram { to, bytes });
        }
        true
    }
}
