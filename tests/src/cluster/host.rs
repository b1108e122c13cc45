//! One host: a disk, and a process that may run.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use weft_api::{Boot, ClusterId, NodeId};
use weft_networkdb::{Config, Key, KeyRing, Limits, NetworkDb, Output, Timing};

use super::Disk;

/// When a host dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// So many commits go well before.
    pub after: u32,
    /// What becomes of the one it dies at.
    pub commit: Commit,
}

/// What becomes of the commit that a host dies at. In either case nothing that rests on it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// It is on disk.
    Kept,
    /// It is not.
    Lost,
}

/// What stalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StallKind {
    /// The process: its deadlines pass, and what is sent to it waits in its socket.
    Process,
    /// What it sends and what is sent to it, as in Lifeguard's paper: its deadlines come in time.
    Links,
}

/// A host that stands still for a while.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stall {
    pub(super) kind: StallKind,
    pub(super) until: Instant,
}

/// A host of the simulated cluster.
pub struct Host {
    pub(super) index: usize,
    pub(super) node: NodeId,
    pub(super) addr: SocketAddr,
    /// What it keeps over restarts.
    pub disk: Disk,
    /// How often it was started; part of the disk, too, in a real agent.
    pub boots: u64,
    pub(super) life: u64,
    pub(super) accepted: u64,
    pub(super) wake: Option<Instant>,
    pub(super) stall: Option<Stall>,
    /// Bytes of datagrams that wait for the end of the stall.
    pub(super) waiting_bytes: usize,
    /// When its way out has sent all that it was given.
    pub(super) free_at: Option<Instant>,
    pub(super) db: Option<NetworkDb>,
    pub(super) seen: Vec<(Duration, Output)>,
    /// The key of the token that it joins with; without one it is made with the founder's.
    pub token: Option<Key>,
    /// It dies at one of its next commits.
    pub crash: Option<Crash>,
    /// Every datagram sent, and the host it is for, when wanted.
    pub trace: Option<Vec<(usize, Vec<u8>)>>,
}

/// Where the host of an index is reached.
fn addr_of(index: usize) -> SocketAddr {
    let number = u16::try_from(index).expect("fewer hosts than addresses");
    let [high, low] = number.to_be_bytes();
    SocketAddr::from(([10, 0, high, low], 7950))
}

/// The index of the host that an address belongs to.
pub(super) fn index_of(addr: SocketAddr) -> Option<usize> {
    let IpAddr::V4(ip) = addr.ip() else { return None };
    let [_, _, high, low] = ip.octets();
    let index = usize::from(u16::from_be_bytes([high, low]));
    (addr == addr_of(index)).then_some(index)
}

impl Host {
    pub(super) fn new(index: usize, node: NodeId) -> Self {
        Self {
            index,
            node,
            addr: addr_of(index),
            disk: Disk::default(),
            boots: 0,
            life: 0,
            accepted: 0,
            wake: None,
            stall: None,
            waiting_bytes: 0,
            free_at: None,
            db: None,
            seen: Vec::new(),
            token: None,
            crash: None,
            trace: None,
        }
    }

    pub(super) fn boot(
        &mut self,
        cluster: ClusterId,
        nonce: u64,
        seed: [u8; 32],
        limits: &Limits,
        timing: &Timing,
    ) -> Config {
        self.boots += 1;
        self.life += 1;
        self.wake = None;
        self.stall = None;
        self.waiting_bytes = 0;
        Config {
            cluster,
            node: self.node,
            boot: Boot { counter: self.boots, nonce },
            name: format!("host-{}", self.index),
            advertise: self.addr,
            keys: match &self.token {
                Some(key) => KeyRing::of_token(1, key.clone()),
                None => KeyRing::new(1, Key::from_bytes([7; 32])),
            },
            seed,
            joins: BTreeMap::new(),
            limits: limits.clone(),
            timing: timing.clone(),
        }
    }

    /// Returns where it is reached.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes another id, as a cloned disk has it.
    pub fn impersonate(&mut self, node: NodeId) {
        self.node = node;
    }
}
