//! The state machine.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use weft_api::{Definition, NetworkId, NodeId};

use crate::error::RestoreError;
use crate::output::{FactKind, Output, Reason};
use crate::request::{Block, BlockWant, Fate, Purpose, Request, Ticket};
use crate::space::{ClusterPools, Space};

/// Who this node is, and its times.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Seeds the choice among equals.
    pub seed: [u8; 32],
    /// How long a released address rests before reuse. Default 60 s.
    pub rest: Duration,
    /// How long a request may wait for others. Default 10 s.
    pub request_timeout: Duration,
    /// How long one owner may take to answer. Default 500 ms.
    pub ask_timeout: Duration,
    /// How long a leave may take. Default 10 s.
    pub leave_timeout: Duration,
}

impl Config {
    /// The defaults for a node.
    pub fn new(node: NodeId, seed: [u8; 32]) -> Self {
        Self {
            node,
            seed,
            rest: Duration::from_secs(60),
            request_timeout: Duration::from_secs(10),
            ask_timeout: Duration::from_millis(500),
            leave_timeout: Duration::from_secs(10),
        }
    }
}

/// One line of `weft ipam ls`: what one node owns of one space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Which space.
    pub space: Space,
    /// Who owns.
    pub owner: NodeId,
    /// How many integers it owns.
    pub owned: u128,
    /// In how many intervals.
    pub intervals: usize,
    /// Allocated on this node; `None` for the holdings of others.
    pub used: Option<u128>,
    /// Free on this node at this time; `None` for the holdings of others.
    pub free: Option<u128>,
    /// Released on this node and resting; `None` for the holdings of others.
    pub resting: Option<u128>,
}

/// Allocation for one node of a cluster.
#[derive(Debug)]
pub struct Ipam {
    config: Config,
}

impl Ipam {
    /// Takes up the durable state: the facts of both kinds, and the records of `Space::Ipam`.
    ///
    /// # Errors
    /// When a record or a fact does not decode; nothing is taken up then.
    pub fn new(
        config: Config,
        facts: impl IntoIterator<Item = (FactKind, Vec<u8>, Vec<u8>)>,
        restored: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        now: Instant,
    ) -> Result<Self, RestoreError> {
        let _ = (facts.into_iter().count(), restored.into_iter().count(), now);
        Ok(Self { config })
    }

    /// Makes this node, the first of its cluster, the owner of all VNIs and default pools.
    /// Nothing happens where they have owners.
    pub fn found_cluster(&mut self, pools: &ClusterPools, now: Instant) {
        let _ = (pools, now);
    }

    /// Hears of a network in force, however learnt; at start, of all. Its creator founds the
    /// subnets' ranges once ready, takes gateway and auxiliary addresses, and donates to two
    /// live members at once.
    pub fn on_definition(&mut self, definition: &Definition, now: Instant) {
        let _ = (definition, now);
    }

    /// Hears of a deleted network: drops its ranges, frees its default pools after their rest.
    pub fn forget_network(&mut self, network: NetworkId, now: Instant) {
        let _ = (network, now);
    }

    /// Asks for an address; answered by [`Output::Done`], at once or after asking others.
    pub fn request(&mut self, ticket: Ticket, request: Request, now: Instant) {
        let _ = (ticket, request, now);
    }

    /// Gives an address back. Of a free address, or one bound to another purpose: nothing.
    pub fn release(&mut self, space: Space, address: IpAddr, purpose: &Purpose, now: Instant) {
        let _ = (space, address, purpose, now);
    }

    /// Takes a block for a new network, none that overlaps `avoid` or a network in force.
    pub fn take_block(
        &mut self,
        ticket: Ticket,
        want: BlockWant,
        avoid: &[IpNetwork],
        now: Instant,
    ) {
        let _ = (ticket, want, avoid, now);
    }

    /// Gives a block back.
    pub fn return_block(&mut self, block: Block, fate: Fate, now: Instant) {
        let _ = (block, fate, now);
    }

    /// Default pools that are taken and that no network in force uses: after a start, those
    /// without a pending claim are to be returned.
    pub fn pending_blocks(&self) -> Vec<Block> {
        Vec::new()
    }

    /// Hears of a changed fact: its full bytes, already durable.
    pub fn handle_fact(&mut self, kind: FactKind, subject: &[u8], bytes: &[u8], now: Instant) {
        let _ = (kind, subject, bytes, now);
    }

    /// Takes a message of another node's machine. Undecodable ones are dropped and counted.
    pub fn handle_message(&mut self, from: NodeId, bytes: &[u8], now: Instant) {
        let _ = (from, bytes, now);
    }

    /// Hears who is alive; this node may be among them or not.
    pub fn on_members(&mut self, alive: &[NodeId], now: Instant) {
        let _ = (alive, now);
    }

    /// Facts are synced with every live member since this start: allocation may begin.
    pub fn on_ready(&mut self, now: Instant) {
        let _ = now;
    }

    /// Hands all ranges to live members; [`Output::LeaveDone`] follows.
    pub fn leave(&mut self, now: Instant) {
        let _ = now;
    }

    /// Who owns how much of what, for people.
    pub fn holdings(&self) -> Vec<Holding> {
        Vec::new()
    }

    /// The next thing to do; drain to `None` after each input.
    pub fn poll_output(&mut self) -> Option<Output> {
        let _ = &self.config;
        None
    }

    /// When to call [`Self::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        None
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }
}
