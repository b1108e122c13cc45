//! A cluster of foca as it comes, with its configuration for local networks, for comparison.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use bincode::config::{Configuration, Limit};
use bytes::{Buf, BufMut};
use foca::{Config, Foca, Header, Member, NoCustomBroadcast, Notification, Runtime, Timer};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::stalls::{SLOW, next};
use super::world::{NODES, chance, millis, seconds};
use crate::cluster::{Network, StallKind};

/// A member; its generation grows when it finds itself declared down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Id {
    host: u16,
    generation: u32,
}

impl foca::Identity for Id {
    type Addr = u16;

    fn renew(&self) -> Option<Self> {
        Some(Self { generation: self.generation + 1, ..*self })
    }

    fn addr(&self) -> u16 {
        self.host
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.generation > adversary.generation
    }
}

const CODEC: Configuration<bincode::config::LittleEndian, bincode::config::Varint, Limit<1400>> =
    bincode::config::standard().with_limit::<1400>();

struct Codec;

#[derive(Debug)]
struct Unfit;

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("does not fit")
    }
}

impl std::error::Error for Unfit {}

impl Codec {
    fn put(value: &impl Serialize, mut buf: impl BufMut) -> Result<(), Unfit> {
        let bytes = bincode::serde::encode_to_vec(value, CODEC).map_err(|_| Unfit)?;
        if bytes.len() > buf.remaining_mut() {
            return Err(Unfit);
        }
        buf.put_slice(&bytes);
        Ok(())
    }

    fn take<T: serde::de::DeserializeOwned>(mut buf: impl Buf) -> Result<T, Unfit> {
        let read = bincode::serde::decode_from_slice(buf.chunk(), CODEC);
        let (value, used) = read.map_err(|_| Unfit)?;
        buf.advance(used);
        Ok(value)
    }
}

impl foca::Codec<Id> for Codec {
    type Error = Unfit;

    fn encode_header(&mut self, header: &Header<Id>, buf: impl BufMut) -> Result<(), Unfit> {
        Self::put(header, buf)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<Header<Id>, Unfit> {
        Self::take(buf)
    }

    fn encode_member(&mut self, member: &Member<Id>, buf: impl BufMut) -> Result<(), Unfit> {
        Self::put(member, buf)
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<Member<Id>, Unfit> {
        Self::take(buf)
    }
}

/// What one call wants done.
#[derive(Default)]
struct Wants {
    packets: Vec<(u16, Vec<u8>)>,
    timers: Vec<(Duration, Timer<Id>)>,
    downs: Vec<u16>,
}

impl Runtime<Id> for Wants {
    fn notify(&mut self, notification: Notification<'_, Id>) {
        if let Notification::MemberDown(id) = notification {
            self.downs.push(id.host);
        }
    }

    fn send_to(&mut self, to: Id, data: &[u8]) {
        self.packets.push((to.host, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Id>, after: Duration) {
        self.timers.push((after, event));
    }
}

enum Event {
    Packet(Vec<u8>),
    Timer(Timer<Id>),
}

/// Hosts, what is under way to them, and the time.
struct World {
    now: Instant,
    events: BTreeMap<(Instant, u64), (usize, Event)>,
    serial: u64,
    hosts: Vec<Foca<Id, Codec, ChaCha8Rng, NoCustomBroadcast>>,
    network: Network,
    rng: ChaCha8Rng,
    kind: StallKind,
    stalled_until: Instant,
    downs: Vec<usize>,
}

impl World {
    fn new(seed: u64) -> Self {
        let now = crate::cluster::Cluster::new(seed).now();
        let config = Config::new_lan(NonZeroU32::new(NODES as u32).expect("some"));
        let mut rng = chance(seed);
        let hosts = (0..NODES).map(|host| {
            let id = Id { host: u16::try_from(host).expect("few"), generation: 0 };
            let rng = ChaCha8Rng::from_rng(&mut rng);
            Foca::new(id, config.clone(), rng, Codec)
        });
        Self {
            now,
            events: BTreeMap::new(),
            serial: 0,
            hosts: hosts.collect(),
            network: Network::default(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            kind: StallKind::Process,
            stalled_until: now,
            downs: Vec::new(),
        }
    }

    fn schedule(&mut self, at: Instant, host: usize, event: Event) {
        self.serial += 1;
        self.events.insert((at, self.serial), (host, event));
    }

    fn act(
        &mut self,
        host: usize,
        call: impl FnOnce(&mut Foca<Id, Codec, ChaCha8Rng, NoCustomBroadcast>, &mut Wants),
    ) {
        let mut wants = Wants::default();
        call(&mut self.hosts[host], &mut wants);
        let now = self.now;
        let leaves = if host == SLOW { now.max(self.stalled_until) } else { now };
        for (to, bytes) in wants.packets {
            for delay in self.network.copies(&mut self.rng) {
                self.schedule(leaves + delay, usize::from(to), Event::Packet(bytes.clone()));
            }
        }
        for (after, timer) in wants.timers {
            self.schedule(now + after, host, Event::Timer(timer));
        }
        self.downs.extend(wants.downs.into_iter().map(usize::from));
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), (host, event)) = entry.remove_entry();
            self.now = at;
            let runs = self.kind == StallKind::Links && matches!(event, Event::Timer(_));
            if host == SLOW && at < self.stalled_until && !runs {
                self.schedule(self.stalled_until, host, event);
                continue;
            }
            // Errors are packets and timers that it has no use for.
            self.act(host, |foca, wants| match event {
                Event::Packet(bytes) => drop(foca.handle_data(&bytes, wants)),
                Event::Timer(timer) => drop(foca.handle_timer(timer, wants)),
            });
        }
        self.now = end;
    }
}

/// Runs it with stalls; returns each member that was declared down, once for each observer.
pub(super) fn deaths(seed: u64, span: Duration) -> Vec<usize> {
    let mut world = World::new(seed);
    for host in 1..NODES {
        let first = *world.hosts[0].identity();
        world.act(host, |foca, wants| drop(foca.announce(first, wants)));
        world.run(millis(10));
    }
    world.run(seconds(60));
    assert!(world.hosts.iter().all(|foca| foca.num_members() == NODES - 1), "it formed");
    world.downs.clear();
    let mut rng = chance(seed);
    let end = world.now + span;
    while world.now < end {
        let (kind, stall, run) = next(&mut rng);
        world.kind = kind;
        world.stalled_until = world.now + stall;
        world.run(stall + run);
    }
    world.run(seconds(30));
    world.downs
}
