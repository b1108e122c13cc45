//! The overlay driver: events in, kernel operations out.
//!
//! [`Planner`] is pure: every call leaves operations, drained with [`Planner::poll_output`] to
//! `None` and carried out in order, on Linux by the feature `netlink` or in tests by
//! [`fake_kernel`]. What the kernel then holds is read back as [`observed::Observed`], and
//! [`Planner::reconcile`] answers with the operations that repair what drifted.

mod contest;
mod endpoint;
mod error;
pub mod fake_kernel;
pub mod mtu;
pub mod names;
#[cfg(feature = "netlink")]
pub mod netlink;
mod network;
mod notify;
pub mod observed;
pub mod op;
mod peer_db;
mod planner;
mod reconcile;
mod record;
mod segment;

pub use endpoint::{Addresses, DefaultRoute, Sandbox};
pub use error::{PlanError, Refusal};
pub use peer_db::{Claimant, Conflict, Subject};
pub use planner::{Counters, Event, Host, Planner};
pub use reconcile::{Drift, Kind, Knowledge, Repair};
pub use record::{PEER_TABLE, PeerRecord, RECORD_BYTES_MAX, RecordError, decode_table_entry};

/// A network has at most this many peers on other nodes.
pub const PEERS_MAX: usize = 1 << 17;
