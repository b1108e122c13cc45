//! What lies between the hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use weft_networkdb::{Key, KeyRing, StreamId};

/// The knobs of the network.
#[derive(Debug, Clone)]
pub struct Network {
    /// Part of the datagrams that are lost, in 0..=1.
    pub loss: f64,
    /// Part of the datagrams that arrive twice, in 0..=1.
    pub duplicate: f64,
    /// One-way delay, at least.
    pub delay: Duration,
    /// And at most this much more, each packet for itself: so packets overtake each other.
    pub jitter: Duration,
    /// What distance adds to the delay between two hosts.
    pub wide_area: Option<WideArea>,
    /// Bytes per second that leave a host, headers included; none: as many as it likes.
    pub rate: Option<u64>,
    /// Directed pairs of hosts that packets do not pass between.
    cuts: BTreeSet<(usize, usize)>,
    /// Those that the last heal mended.
    mended: BTreeSet<(usize, usize)>,
}

/// Regions, and the round trips between them. Host n is in region n modulo their number.
#[derive(Debug, Clone)]
pub struct WideArea {
    /// Milliseconds there and back, by region and region.
    pub round_trips_ms: Vec<Vec<u32>>,
}

impl WideArea {
    fn one_way(&self, from: usize, to: usize) -> Duration {
        let regions = self.round_trips_ms.len();
        Duration::from_micros(u64::from(self.round_trips_ms[from % regions][to % regions]) * 500)
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicate: 0.0,
            delay: Duration::from_micros(200),
            jitter: Duration::from_micros(100),
            wide_area: None,
            rate: None,
            cuts: BTreeSet::new(),
            mended: BTreeSet::new(),
        }
    }
}

impl Network {
    /// Cuts one direction.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    /// Cuts all that passes between two groups, both ways.
    pub fn split(&mut self, one: &[usize], other: &[usize]) {
        for a in one {
            for b in other {
                self.cut(*a, *b);
                self.cut(*b, *a);
            }
        }
    }

    /// Mends all cuts.
    pub fn heal(&mut self) {
        self.mended = std::mem::take(&mut self.cuts);
    }

    /// Tells whether packets pass again between two hosts since the last heal.
    pub(crate) fn is_mended(&self, from: usize, to: usize) -> bool {
        self.mended.contains(&(from, to))
    }

    /// Tells whether packets pass.
    pub fn passes(&self, from: usize, to: usize) -> bool {
        !self.cuts.contains(&(from, to))
    }

    /// What the distance between two hosts takes, one way.
    pub(crate) fn distance(&self, from: usize, to: usize) -> Duration {
        self.wide_area.as_ref().map(|area| area.one_way(from, to)).unwrap_or_default()
    }

    /// How long so many bytes occupy a host's way out.
    pub(crate) fn transmission(&self, bytes: usize) -> Duration {
        let nanos = |rate: u64| (bytes as u64).saturating_mul(1_000_000_000) / rate.max(1);
        Duration::from_nanos(self.rate.map_or(0, nanos))
    }

    pub(crate) fn latency(&self, rng: &mut ChaCha8Rng) -> Duration {
        let jitter = u64::try_from(self.jitter.as_nanos()).unwrap_or(u64::MAX);
        self.delay + Duration::from_nanos(rng.random_range(0..=jitter))
    }

    /// The delays after which the copies of a datagram arrive: none, one or two.
    pub(crate) fn copies(&self, rng: &mut ChaCha8Rng) -> Vec<Duration> {
        if rng.random_bool(self.loss) {
            return Vec::new();
        }
        let copies = if rng.random_bool(self.duplicate) { 2 } else { 1 };
        (0..copies).map(|_| self.latency(rng)).collect()
    }

    /// Delay of a frame: a lost segment is sent again.
    pub(crate) fn stream_latency(&self, rng: &mut ChaCha8Rng) -> Duration {
        let mut latency = self.latency(rng);
        for _ in 0..20 {
            if !rng.random_bool(self.loss) {
                break;
            }
            latency += Duration::from_millis(200);
        }
        latency
    }
}

/// The other end of a stream, and when the last frame to it arrives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) host: usize,
    pub(crate) stream: StreamId,
    pub(crate) last: Instant,
}

/// Which stream of one host is which of another.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    ends: BTreeMap<(usize, StreamId), Peer>,
    /// What each stream was made with, where that matters.
    keys: BTreeMap<(usize, StreamId), Key>,
}

impl Connections {
    pub(crate) fn connect(&mut self, a: (usize, StreamId), b: (usize, StreamId), now: Instant) {
        self.ends.insert(a, Peer { host: b.0, stream: b.1, last: now });
        self.ends.insert(b, Peer { host: a.0, stream: a.1, last: now });
    }

    /// Takes note of the key that a stream was made with.
    pub(crate) fn made_with(&mut self, a: (usize, StreamId), b: (usize, StreamId), key: Key) {
        self.keys.insert(b, key.clone());
        self.keys.insert(a, key);
    }

    pub(crate) fn peer(&mut self, end: (usize, StreamId)) -> Option<&mut Peer> {
        self.ends.get_mut(&end)
    }

    /// Ends a stream; returns the other end.
    pub(crate) fn close(&mut self, end: (usize, StreamId)) -> Option<Peer> {
        let peer = self.ends.remove(&end)?;
        self.ends.remove(&(peer.host, peer.stream));
        self.keys.remove(&end);
        self.keys.remove(&(peer.host, peer.stream));
        Some(peer)
    }

    /// How many streams of a host were made with a key.
    pub(crate) fn made_with_key(&self, host: usize, key: &Key) -> usize {
        self.keys.iter().filter(|((there, _), made)| *there == host && *made == key).count()
    }

    /// The streams of a host that were made with a key that is not in its ring.
    pub(crate) fn made_without(&self, host: usize, ring: &KeyRing) -> Vec<StreamId> {
        let known = |key: &Key| ring.to_call_with().any(|(_, other)| other == key);
        let own = self.keys.iter().filter(|((there, _), _)| *there == host);
        own.filter(|(_, key)| !known(key)).map(|((_, stream), _)| *stream).collect()
    }

    /// Ends all streams of a host; returns the other ends.
    pub(crate) fn drop_host(&mut self, host: usize) -> Vec<(usize, StreamId)> {
        let own: Vec<_> = self.ends.keys().filter(|end| end.0 == host).copied().collect();
        own.into_iter()
            .filter_map(|end| self.close(end))
            .map(|peer| (peer.host, peer.stream))
            .collect()
    }
}
