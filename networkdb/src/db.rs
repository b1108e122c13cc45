//! The database: one machine made of its parts.

use std::net::SocketAddr;
use std::time::Instant;

use weft_api::{NodeId, Space};

use crate::config::Config;
use crate::output::{Counters, Member, Output, Reason, RestoreError, StreamInput};

/// A member's whole database. See the crate's documentation for the loop that drives it.
#[derive(Debug)]
pub struct NetworkDb {
    config: Config,
    counters: Counters,
}

impl NetworkDb {
    /// Makes a database out of what an earlier start persisted (nothing, at the first).
    ///
    /// # Errors
    /// [`RestoreError`] when a record does not decode; nothing is changed then.
    pub fn new(
        config: Config,
        restored: Vec<(Space, Vec<u8>, Vec<u8>)>,
        now: Instant,
    ) -> Result<Self, RestoreError> {
        let _ = (restored, now);
        Ok(Self { config, counters: Counters::default() })
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        let _ = (from, bytes, now, &self.config);
    }

    /// Takes what happened to a stream.
    pub fn handle_stream(&mut self, input: StreamInput, now: Instant) {
        let _ = (input, now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// Returns the next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// Says when to call [`NetworkDb::handle_timeout`] at the latest, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        None
    }

    /// Joins through any of the seeds. Ends with [`Output::Joined`] or [`Output::JoinFailed`].
    pub fn join(&mut self, seeds: &[SocketAddr], now: Instant) {
        let _ = (seeds, now);
    }

    /// Leaves the cluster for good. Ends with [`Output::LeftCluster`].
    pub fn leave(&mut self, now: Instant) {
        let _ = now;
    }

    /// Flushes what is coalesced before a graceful stop. Not a leave.
    pub fn shutdown(&mut self, now: Instant) {
        let _ = now;
    }

    /// Returns all members known, this node included, in the order of their ids.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        std::iter::empty()
    }

    /// Tells whether facts are in step with every live member since this start.
    pub fn is_ready(&self) -> bool {
        false
    }

    /// Sends a message to the same part on another node: best effort, retried by its owner.
    pub fn send(&mut self, to: NodeId, channel: u8, bytes: Vec<u8>, now: Instant) {
        let _ = (to, channel, bytes, now);
    }

    /// Returns the counters of this start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
