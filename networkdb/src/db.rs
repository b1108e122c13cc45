//! The database: one machine made of membership, wire, tables and facts, and claims.

mod counting;
mod datagrams;
mod forget;
mod keys;
mod leave;
mod networks;
mod parts;
mod streams;
mod tables;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weft_api::{NetworkId, NodeId, Space, Write};

pub use keys::{KeyRole, KeyStatus, RetireError};

use crate::claims::{Claims, DefinitionJoin, Definitions, DeletedJoin};
use crate::config::Config;
use crate::db::datagrams::Channel;
use crate::db::leave::Leave;
use crate::facts::{FactKind, Join};
use crate::keys::{Keyring, RING_SUBJECT, RingJoin, UseJoin};
use crate::membership::Membership;
use crate::membership::gone::Gone;
use crate::membership::greeter::{Greeter, Target};
use crate::membership::identity::{Identity, NAME_MAX};
use crate::membership::roster::Roster;
use crate::output::{Counters, JoinRefusal, Member, Output, Reason, RestoreError};
use crate::sync::{self, Sync, SyncConfig};
use crate::wire::outbox::Outbox;
use crate::wire::streams::Streams;

/// A member's whole database. The crate's front page has the loop that drives it, and an example.
pub struct NetworkDb {
    config: Config,
    membership: Membership,
    greeter: Greeter,
    /// In this life.
    asked_to_join: bool,
    /// Who told this node that it is forgotten.
    told_by: Option<SocketAddr>,
    streams: Streams,
    channels: BTreeMap<NodeId, Channel>,
    outbox: Outbox,
    sync: Sync,
    claims: Claims,
    keyring: Keyring,
    /// It was told that a member accepts none of the ring's keys.
    outdated: bool,
    /// A seed of the join under way accepts none of them.
    wrong_key: bool,
    definitions: Definitions,
    /// Networks in which this node has endpoints.
    in_use: BTreeSet<NetworkId>,
    join: Joining,
    leave: Leave,
    /// No new node is let in.
    shut: bool,
    ready: Readiness,
    rolled_back: bool,
    rng: ChaCha8Rng,
    writes: VecDeque<Write>,
    outputs: VecDeque<Output>,
    counters: Counters,
}

/// Where a join stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joining {
    /// None was asked for, or it is over.
    Idle,
    /// Seeds are being tried.
    Trying,
    /// All seeds failed once, and the caller knows; they are tried on.
    Reported,
}

/// Whether allocation and donation may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    /// Not looked at since this start.
    Unknown(Instant),
    Waiting,
    Ready,
}

impl std::fmt::Debug for NetworkDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkDb")
            .field("config", &self.config)
            .field("membership", &self.membership)
            .field("greeter", &self.greeter)
            .field("streams", &self.streams)
            .field("channels", &self.channels)
            .field("claims", &self.claims)
            .field("keyring", &self.keyring)
            .field("definitions", &self.definitions)
            .field("leave", &self.leave)
            .field("ready", &self.ready)
            .field("writes", &self.writes)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

/// Seeds the parts apart from each other.
fn seeds(seed: [u8; 32]) -> [[u8; 32]; 4] {
    let mut rng = ChaCha8Rng::from_seed(seed);
    std::array::from_fn(|_| {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        seed
    })
}

impl NetworkDb {
    /// Makes a database out of what an earlier start persisted (nothing, at the first).
    ///
    /// Alone it is a cluster of one; [`NetworkDb::join`] makes it a member of another's.
    ///
    /// # Errors
    /// [`RestoreError`] when a record does not decode. The caller's disk is at fault.
    pub fn new(
        mut config: Config,
        restored: Vec<(Space, Vec<u8>, Vec<u8>)>,
        now: Instant,
    ) -> Result<Self, RestoreError> {
        let [membership_seed, sync_seed, claims_seed, own_seed] = seeds(config.seed);
        let identity = own_identity(&config);
        let members = Roster::restore(&restored)?;
        let sync = Sync::new(
            SyncConfig {
                node: config.node,
                seed: sync_seed,
                limits: config.limits.sync.clone(),
                timing: config.timing.sync.clone(),
                joins: joins(&mut config),
            },
            &restored,
            now,
        )?;
        let claims = Claims::new(
            config.node,
            claims_seed,
            crate::claims::Timing { timeout: config.timing.claim_timeout, ..Default::default() },
            restored
                .iter()
                .filter(|(space, ..)| *space == Space::Claims)
                .map(|(_, key, value)| (key.as_slice(), value.as_slice())),
            now,
        )
        .map_err(|error| RestoreError::Claims(error.to_string()))?;
        let (limits, timing) = (&config.limits, &config.timing);
        let ring_fact = sync.fact(FactKind::KEYS, RING_SUBJECT);
        let keyring = Keyring::new(&config.keys, &restored, ring_fact, timing.key_rest, now)?;
        let mut db = Self {
            membership: Membership::new(identity, membership_seed, limits, timing, members),
            greeter: Greeter::new(timing.greet_first, timing.greet_longest),
            asked_to_join: false,
            told_by: None,
            streams: Streams::new(
                timing.stream_patience,
                timing.stream_idle,
                limits.stream_queue_bytes,
            ),
            channels: BTreeMap::new(),
            outbox: Outbox::default(),
            sync,
            claims,
            keyring,
            outdated: false,
            wrong_key: false,
            definitions: Definitions::default(),
            in_use: BTreeSet::new(),
            join: Joining::Idle,
            leave: Leave::None,
            shut: false,
            ready: Readiness::Unknown(now),
            rolled_back: false,
            rng: ChaCha8Rng::from_seed(own_seed),
            writes: VecDeque::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            config,
        };
        db.start(now);
        Ok(db)
    }

    /// Tells the parts what was restored, and wants every known member greeted.
    fn start(&mut self, now: Instant) {
        let own = self.config.node;
        self.writes.extend(self.membership.roster().write(own));
        let kinds = [FactKind::DEFINITION, FactKind::DELETED];
        for kind in kinds {
            for (subject, value) in self.sync.facts(kind) {
                let _ = self.definitions.on_fact(kind, subject, value);
            }
        }
        for kind in [FactKind::LEFT, FactKind::FORGOTTEN] {
            let subjects: Vec<Vec<u8>> =
                self.sync.facts(kind).map(|(subject, _)| subject.to_vec()).collect();
            for subject in subjects {
                self.on_gone_fact(kind, &subject, now);
            }
        }
        let members: Vec<Member> = self.membership.roster().iter().cloned().collect();
        for member in members.iter().filter(|member| member.id != own) {
            if let Some(gone) = Gone::of(member.state) {
                self.sync.on_member(member.id, parts::gone_change(gone), now);
                if gone == Gone::Forgotten {
                    self.greeter.want(Target::Forgotten(member.id), now);
                }
            } else {
                self.sync.on_member(member.id, sync::MemberChange::Failed, now);
                self.greeter.want(Target::Node(member.id), now);
            }
        }
        self.settle(now);
        self.start_keys(now);
    }

    /// Joins through any of the seeds. Ends with [`Output::Joined`] or [`Output::JoinFailed`];
    /// seeds that cannot be reached are tried on even after that was told.
    pub fn join(&mut self, seeds: &[SocketAddr], now: Instant) {
        if seeds.is_empty() {
            let reason = JoinRefusal::Unreachable("no seed was given".to_owned());
            self.outputs.push_back(Output::JoinFailed { reason });
            return;
        }
        self.join = Joining::Trying;
        self.asked_to_join = true;
        self.wrong_key = false;
        for seed in seeds {
            self.greeter.want(Target::Seed(*seed), now);
        }
        self.dial(now);
        self.settle(now);
    }

    /// Gives up a join of a member: it goes on with the members that it knows.
    pub fn end_join(&mut self, now: Instant) {
        self.join = Joining::Idle;
        self.keyring.lend(None);
        self.drop_seeds();
        self.settle(now);
    }

    /// Does what is due, reason by reason.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = self.timeouts().into_iter().filter(|(at, _)| at.is_some_and(|at| at <= now));
        for (_, reason) in due.collect::<Vec<_>>() {
            match reason {
                Reason::Start => self.ready = Readiness::Waiting,
                Reason::Membership => self.membership.handle_timeout(now),
                Reason::Sync => self.sync.handle_timeout(now),
                Reason::Claims => {
                    let Self { claims, membership, sync, definitions, in_use, keyring, .. } = self;
                    let view = parts::PartsView { membership, sync, definitions, in_use, keyring };
                    claims.handle_timeout(&view, now);
                }
                Reason::Join => self.dial(now),
                Reason::Streams => self.close_idle(now),
                Reason::Leave => self.drive_leave(now),
            }
        }
        self.dial(now);
        self.settle(now);
    }

    /// Says when to call [`NetworkDb::handle_timeout`] at the latest, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        if self.leave == Leave::Done {
            return None;
        }
        self.timeouts().into_iter().filter_map(|(at, reason)| Some((at?, reason))).min()
    }

    fn timeouts(&self) -> [(Option<Instant>, Reason); 7] {
        let start = match self.ready {
            Readiness::Unknown(at) => Some(at),
            Readiness::Waiting | Readiness::Ready => None,
        };
        [
            (start, Reason::Start),
            (self.membership.poll_timeout(), Reason::Membership),
            (self.sync.poll_timeout().map(|(at, _)| at), Reason::Sync),
            (self.claims.poll_timeout().map(|(at, _)| at), Reason::Claims),
            (self.greeter.poll_timeout(), Reason::Join),
            (self.streams.poll_timeout(), Reason::Streams),
            (self.leave.poll_timeout(), Reason::Leave),
        ]
    }

    /// Returns the next thing to do, until there is none. Writes come first.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(write) = self.writes.pop_front() {
                return Some(Output::Persist(write));
            }
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if !self.seal_next() {
                return None;
            }
        }
    }

    /// Returns all members known, this node included, in the order of their ids.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.membership.roster().iter()
    }

    /// Returns one member.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.membership.roster().get(node)
    }

    /// Tells whether facts were in step with every live member once since this start.
    pub fn is_ready(&self) -> bool {
        self.ready == Readiness::Ready
    }

    /// Returns the counters of this start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns how many of this start's last 64 probes of members there were, and how many of
    /// them nobody answered in time. A lonely node probes nobody, and misses nothing.
    pub fn probes(&self) -> (u32, u32) {
        self.membership.probes()
    }

    /// Returns the counters of tables and facts.
    pub fn sync_counters(&self) -> &sync::Counters {
        self.sync.counters()
    }

    /// Flushes what waits to be coalesced, before a graceful stop. Not a leave: this node's
    /// entries stay, and the others find out by themselves that it stopped.
    pub fn shutdown(&mut self, now: Instant) {
        self.sync.flush(now);
        self.settle(now);
        let streams: Vec<_> = self.streams.ids().collect();
        for stream in streams {
            let _ = self.streams.remove(stream);
            self.outputs.push_back(Output::CloseStream { stream });
        }
    }
}

fn own_identity(config: &Config) -> Identity {
    let mut name = config.name.clone();
    while name.len() > NAME_MAX {
        name.pop();
    }
    Identity { node: config.node, boot: config.boot, renewal: 0, addr: config.advertise, name }
}

/// The caller's joins, and those of this crate's own facts.
fn joins(config: &mut Config) -> BTreeMap<FactKind, Box<dyn Join>> {
    let mut joins = std::mem::take(&mut config.joins);
    joins.insert(FactKind::DEFINITION, Box::new(DefinitionJoin));
    joins.insert(FactKind::DELETED, Box::new(DeletedJoin));
    // These two are sets to which a subject is added once.
    joins.insert(FactKind::LEFT, Box::new(DeletedJoin));
    joins.insert(FactKind::FORGOTTEN, Box::new(DeletedJoin));
    joins.insert(FactKind::KEYS, Box::new(RingJoin));
    joins.insert(FactKind::KEY_USE, Box::new(UseJoin));
    joins
}
