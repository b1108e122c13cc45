//! What the network between the hosts does to what they send.

use std::net::SocketAddr;
use std::time::Duration;

use weft_networkdb::{StreamId, StreamInput};

use super::diagram::Kind;
use super::{Event, Nodes};

/// What an unanswered connection attempt takes.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// What an unacknowledged stream takes to break.
const BREAK_PATIENCE: Duration = Duration::from_secs(2);
/// What counts as a slow packet.
const SLOW: Duration = Duration::from_millis(5);

impl Nodes {
    /// Tells whether packets pass.
    pub(super) fn passes(&self, from: usize, to: usize) -> bool {
        let off = |host: usize| self.off.contains(&host) && from != to;
        self.network.passes(from, to) && !off(from) && !off(to)
    }

    fn host_at(&self, addr: SocketAddr) -> Option<usize> {
        self.hosts.iter().position(|host| host.addr == addr)
    }

    fn draw(
        &mut self,
        (from, to): (usize, usize),
        what: &'static str,
        bytes: usize,
        fate: &'static str,
    ) {
        let at = self.elapsed();
        self.diagram.add(at, Kind::Packet { from, to, what, bytes, fate });
    }

    pub(super) fn send_datagram(&mut self, host: usize, to: SocketAddr, bytes: Vec<u8>) {
        let at = self.elapsed();
        self.trace.add(host, at, &bytes);
        self.hosts[host].untold.clear();
        let Some(to) = self.host_at(to) else { return };
        let ends = (host, to);
        if !self.passes(host, to) {
            self.ledger.tally.cut += 1;
            return self.draw(ends, "datagram", bytes.len(), "cut");
        }
        let from = self.hosts[host].addr;
        let copies = self.network.copies(&mut self.rng);
        let fate = match copies.len() {
            0 => {
                self.ledger.tally.lost += 1;
                "lost"
            }
            1 => "",
            _ => {
                self.ledger.tally.duplicated += 1;
                ""
            }
        };
        self.draw(ends, "datagram", bytes.len(), fate);
        for delay in copies {
            if delay > SLOW {
                self.ledger.tally.delayed += 1;
            }
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

    pub(super) fn open_stream(&mut self, host: usize, stream: StreamId, to: SocketAddr) {
        self.hosts[host].untold.clear();
        let failed = |reason: &str| StreamInput::Failed { stream, reason: reason.to_owned() };
        let Some(peer) = self.host_at(to) else {
            return self.tell(host, CONNECT_PATIENCE, failed("timed out"));
        };
        if !self.passes(host, peer) || !self.passes(peer, host) {
            self.draw((host, peer), "connection", 0, "cut");
            return self.tell(host, CONNECT_PATIENCE, failed("timed out"));
        }
        let latency = self.network.stream_latency(&mut self.rng);
        if self.hosts[peer].process.is_none() {
            self.draw((host, peer), "connection", 0, "refused");
            return self.tell(host, latency, failed("connection refused"));
        }
        self.draw((host, peer), "connection", 0, "");
        self.hosts[peer].accepted += 1;
        let accepted = StreamId::accepted(self.hosts[peer].accepted);
        self.connections.connect((host, stream), (peer, accepted), self.now + latency);
        let from = self.hosts[host].addr;
        self.tell(peer, latency, StreamInput::Accepted { stream: accepted, from });
        self.tell(host, latency * 2, StreamInput::Connected { stream });
    }

    pub(super) fn send_frame(&mut self, host: usize, stream: StreamId, bytes: Vec<u8>) {
        let (now, at) = (self.now, self.elapsed());
        self.trace.add(host, at, &bytes);
        self.hosts[host].untold.clear();
        let latency = self.network.stream_latency(&mut self.rng);
        let Some(peer) = self.connections.peer((host, stream)).map(|peer| *peer) else { return };
        if !self.passes(host, peer.host) || !self.passes(peer.host, host) {
            self.draw((host, peer.host), "frame", bytes.len(), "cut");
            let _ = self.connections.close((host, stream));
            self.tell(host, BREAK_PATIENCE, StreamInput::Closed { stream });
            let stream = peer.stream;
            return self.tell(peer.host, BREAK_PATIENCE, StreamInput::Closed { stream });
        }
        self.draw((host, peer.host), "frame", bytes.len(), "");
        let arrives = (now + latency).max(peer.last + Duration::from_nanos(1));
        if let Some(peer) = self.connections.peer((host, stream)) {
            peer.last = arrives;
        }
        let input = StreamInput::Frame { stream: peer.stream, bytes };
        self.tell(peer.host, arrives - now, input);
    }

    pub(super) fn close_stream(&mut self, host: usize, stream: StreamId) {
        if let Some(peer) = self.connections.close((host, stream)) {
            let after = peer.last.saturating_duration_since(self.now) + Duration::from_micros(1);
            self.tell(peer.host, after, StreamInput::Closed { stream: peer.stream });
        }
    }
}
