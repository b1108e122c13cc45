//! One event after the other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weft_api::Write;
use weft_networkdb::{Key, KeyRing, Output, StreamId, StreamInput};

use super::host::{StallKind, index_of};
use super::{Cluster, Commit, Event};

/// What an unanswered connection attempt takes.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// What an unacknowledged stream takes to break.
const BREAK_PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of datagrams that a socket holds for a stalled process: Linux's `rmem_default`.
const SOCKET_BYTES: usize = 212_992;
/// Ethernet, IPv4 and UDP around a datagram.
const DATAGRAM_HEADERS: usize = 14 + 20 + 8;
/// Noise, Ethernet, IPv4 and TCP around a frame, each 1,448 bytes of it.
const SEGMENT: (usize, usize) = (1_448, 16 + 14 + 20 + 32);

impl Cluster {
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
        let Some(event) = self.unless_stalled(event) else { return true };
        match event {
            Event::Datagram { to, from, bytes } => {
                self.note_contact(from, to);
                if let Some(db) = self.hosts[to].db.as_mut() {
                    db.handle_datagram(from, &bytes, at);
                    self.drain(to);
                }
            }
            Event::Stream { to, life, input } => {
                if let StreamInput::Accepted { from, .. } = &input {
                    self.note_contact(*from, to);
                }
                let host = &mut self.hosts[to];
                if let Some(db) = host.db.as_mut().filter(|_| host.life == life) {
                    db.handle_stream(input, at);
                    self.drain(to);
                }
            }
            Event::Wake { host } => {
                if self.hosts[host].wake == Some(at) {
                    self.hosts[host].wake = None;
                    if let Some(db) = self.hosts[host].db.as_mut() {
                        if let Some((_, reason)) = db.poll_timeout().filter(|(due, _)| *due <= at) {
                            self.woken.insert(reason);
                        }
                        db.handle_timeout(at);
                        self.drain(host);
                    }
                }
            }
        }
        true
    }

    fn note_contact(&mut self, from: SocketAddr, to: usize) {
        let mended = || index_of(from).is_some_and(|from| self.network.is_mended(from, to));
        if self.contact.is_none() && mended() {
            self.contact = Some(self.now);
        }
    }

    /// Gives the event back, unless its host is stalled: then it comes when the stall is over, in
    /// the order in which it would have come without.
    fn unless_stalled(&mut self, event: Event) -> Option<Event> {
        let to = match &event {
            Event::Datagram { to, .. } | Event::Stream { to, .. } => *to,
            Event::Wake { host } => *host,
        };
        let host = &mut self.hosts[to];
        let Some(stall) = host.stall else { return Some(event) };
        if stall.until <= self.now {
            host.stall = None;
            host.waiting_bytes = 0;
            return Some(event);
        }
        match &event {
            Event::Datagram { bytes, .. } => {
                if host.waiting_bytes + bytes.len() > SOCKET_BYTES {
                    return None;
                }
                host.waiting_bytes += bytes.len();
            }
            Event::Stream { .. } => {}
            Event::Wake { .. } => match stall.kind {
                StallKind::Links => return Some(event),
                StallKind::Process if host.wake == Some(self.now) => host.wake = Some(stall.until),
                StallKind::Process => return None,
            },
        }
        self.schedule(stall.until, event);
        None
    }

    /// Says how long until a host's way out has sent so many bytes more.
    fn transmit(&mut self, host: usize, bytes: usize) -> Duration {
        let takes = self.network.transmission(bytes);
        let free = [self.hosts[host].free_at, self.hosts[host].stall.map(|stall| stall.until)];
        let begin = free.into_iter().flatten().fold(self.now, Instant::max);
        self.hosts[host].free_at = Some(begin + takes);
        begin + takes - self.now
    }

    /// Takes all outputs, commits the writes among them, then carries out the rest.
    pub(super) fn drain(&mut self, host: usize) {
        let (mut writes, mut rest) = (Vec::new(), Vec::new());
        while let Some(output) = self.hosts[host].db.as_mut().and_then(|db| db.poll_output()) {
            if let Output::Persist(write) = output {
                writes.push(write);
            } else {
                rest.push(output);
            }
        }
        if !writes.is_empty() && self.dies(host, &writes) {
            return self.crash(host);
        }
        writes.into_iter().for_each(|write| self.hosts[host].disk.apply(write));
        for output in rest {
            self.carry_out(host, output);
        }
        let wake = self.hosts[host].db.as_ref().and_then(|db| db.poll_timeout());
        if let Some((at, _)) = wake {
            let at = at.max(self.now);
            if self.hosts[host].wake.is_none_or(|planned| at < planned) {
                self.hosts[host].wake = Some(at);
                self.schedule(at, Event::Wake { host });
            }
        }
    }

    /// Tells whether a host dies at this commit, and carries out what is left of it.
    fn dies(&mut self, host: usize, writes: &[Write]) -> bool {
        let Some(crash) = &mut self.hosts[host].crash else { return false };
        if crash.after > 0 {
            crash.after -= 1;
            return false;
        }
        let commit = crash.commit;
        self.hosts[host].crash = None;
        match commit {
            Commit::Kept => {
                writes.iter().for_each(|write| self.hosts[host].disk.apply(write.clone()));
            }
            Commit::Lost => {}
        }
        true
    }

    fn carry_out(&mut self, host: usize, output: Output) {
        match output {
            Output::Datagram { to, bytes } => self.send_datagram(host, to, bytes),
            Output::OpenStream { stream, to } => self.open_stream(host, stream, to),
            Output::StreamFrame { stream, bytes } => self.send_frame(host, stream, bytes),
            Output::CloseStream { stream } => self.close_stream(host, stream),
            Output::Keys(ring) => self.close_retired(host, &ring),
            Output::Persist(_)
            | Output::Member(_)
            | Output::Table(_)
            | Output::Watch { .. }
            | Output::Fact { .. }
            | Output::App { .. }
            | Output::Claim { .. }
            | Output::Defined(_)
            | Output::Deleted(_)
            | Output::Alarm(_)
            | Output::Joined
            | Output::JoinFailed { .. }
            | Output::LeftCluster
            | Output::Ready
            | Output::RolledBack { .. }
            | Output::Outdated(_)
            | Output::Overflow(_) => {
                let at = self.elapsed();
                self.hosts[host].seen.push((at, output));
            }
        }
    }

    fn host_at(&self, addr: SocketAddr) -> Option<usize> {
        index_of(addr).filter(|index| *index < self.hosts.len())
    }

    fn send_datagram(&mut self, host: usize, to: SocketAddr, bytes: Vec<u8>) {
        assert!(bytes.len() <= self.limits.datagram_bytes, "a datagram above the bound");
        let Some(to) = self.host_at(to) else { return };
        if let Some(trace) = &mut self.hosts[host].trace {
            trace.push((to, bytes.clone()));
        }
        let sent = self.transmit(host, bytes.len() + DATAGRAM_HEADERS);
        if !self.network.passes(host, to) {
            return;
        }
        let from = self.hosts[host].addr;
        let way = sent + self.network.distance(host, to);
        for delay in self.network.copies(&mut self.rng) {
            let bytes = bytes.clone();
            self.schedule(self.now + way + delay, Event::Datagram { to, from, bytes });
        }
    }

    fn tell(&mut self, host: usize, after: Duration, input: StreamInput) {
        let life = self.hosts[host].life;
        self.schedule(self.now + after, Event::Stream { to: host, life, input });
    }

    fn open_stream(&mut self, host: usize, stream: StreamId, to: SocketAddr) {
        let failed = |reason: &str| StreamInput::Failed { stream, reason: reason.to_owned() };
        let peer = self
            .host_at(to)
            .filter(|peer| self.network.passes(host, *peer) && self.network.passes(*peer, host));
        let Some(peer) = peer else {
            return self.tell(host, CONNECT_PATIENCE, failed("timed out"));
        };
        let distance = self.network.distance(host, peer);
        let latency = distance + self.network.stream_latency(&mut self.rng);
        if self.hosts[peer].db.is_none() {
            return self.tell(host, latency, failed("connection refused"));
        }
        let Some(key) = self.common_key(host, peer) else {
            self.refused += 1;
            return self.tell(host, latency * 2, StreamInput::KeyRefused { stream });
        };
        self.hosts[peer].accepted += 1;
        let accepted = StreamId::accepted(self.hosts[peer].accepted);
        self.connections.connect((host, stream), (peer, accepted), self.now + latency);
        self.connections.made_with((host, stream), (peer, accepted), key);
        let from = self.hosts[host].addr;
        // TCP's handshake takes one round trip, Noise's another; the acceptor is through first.
        self.tell(peer, latency * 3, StreamInput::Accepted { stream: accepted, from });
        self.tell(host, latency * 4, StreamInput::Connected { stream });
    }

    /// The first of the caller's keys that the one who is called accepts.
    fn common_key(&mut self, host: usize, peer: usize) -> Option<Key> {
        let ring = self.db(peer).key_ring();
        let common: Vec<bool> =
            self.db(host).key_ring().to_call_with().map(|(_, key)| ring.contains(key)).collect();
        let at = common.iter().position(|common| *common)?;
        self.refused += u64::from(at > 0);
        let key = self.db(host).key_ring().to_call_with().nth(at);
        key.map(|(_, key)| key.clone())
    }

    /// What an agent does when a key is retired: streams that were made with it end.
    fn close_retired(&mut self, host: usize, ring: &KeyRing) {
        for stream in self.connections.made_without(host, ring) {
            self.close_stream(host, stream);
            self.tell(host, Duration::ZERO, StreamInput::Closed { stream });
        }
    }

    fn send_frame(&mut self, host: usize, stream: StreamId, bytes: Vec<u8>) {
        assert!(bytes.len() <= self.limits.frame_bytes, "a frame above the bound");
        let segments = bytes.len().div_ceil(SEGMENT.0);
        let sent = self.transmit(host, bytes.len() + segments * SEGMENT.1);
        let latency = sent + self.network.stream_latency(&mut self.rng);
        let now = self.now;
        let Some(peer) = self.connections.peer((host, stream)) else { return };
        let latency = latency + self.network.distance(host, peer.host);
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
