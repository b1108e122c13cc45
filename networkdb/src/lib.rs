//! The gossip-replicated table store: a state machine without sockets, clocks, files or tasks.
//!
//! The loop law, for whoever drives it: call one `handle_*` (or any other method that takes
//! `now`), drain [`NetworkDb::poll_output`] to `None`, then sleep until
//! [`NetworkDb::poll_timeout`]. Every [`Output::Persist`] of one drain is committed in one
//! fsynced transaction before any other output of that drain is carried out.

mod claims;
mod config;
mod db;
pub mod facts;
mod keys;
mod membership;
mod output;
pub mod sync;
pub mod table;
pub mod watch;
mod wire;

pub use claims::{ClaimBody, ClaimError, ClaimId, Origin, Outcome};
pub use config::{Config, Limits, Timing};
pub use db::NetworkDb;
pub use facts::{FactError, FactKind, Join, JoinError, Joined};
pub use keys::{Key, KeyRing};
pub use output::{
    Bound, Counters, JoinRefusal, Member, MemberEvent, MemberState, Output, Reason, RestoreError,
    RolledBackBy, StreamId, StreamInput,
};
pub use table::{Cause, Change, Entry, TableError, TableEvent};
pub use watch::{WatchFilter, WatchId};
