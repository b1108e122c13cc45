//! Cluster-wide allocation of addresses, pool blocks and VNIs, without a coordinator.
//!
//! Each address of a space ([`Space`]) has one owner at a time, and only the owner gives it out or
//! gives it away. [`Ipam`] is a pure state machine: one `handle_*`, `on_*` or request, drain
//! [`Ipam::poll_output`] to `None`, sleep until [`Ipam::poll_timeout`].
//!
//! Durability law: [`Output::Persist`] and [`Output::Fact`] come before the outputs that rest on
//! them. The shell puts each fact into the replicated facts during the drain, commits all writes of
//! the drain (those of the facts included) in one transaction, and only then carries out
//! [`Output::Message`], [`Output::Done`] and the rest.

mod allocation;
mod codec;
mod error;
mod interval;
mod machine;
mod message;
mod output;
mod pool;
mod ranges;
mod record;
mod request;
mod space;

pub use allocation::join_allocations;
pub use error::{Error, RestoreError, Shortage};
pub use machine::{Config, Counters, Holding, Ipam, Local};
pub use output::{Alarm, FactKind, Output, Reason};
pub use ranges::{JoinError, join_ranges};
pub use request::{Block, BlockWant, Fate, Granted, Purpose, Request, Ticket, Want};
pub use space::{BlockPool, ClusterPools, Space};
