//! The overlay driver: events in, kernel operations out.

mod endpoint;
mod error;
pub mod mtu;
pub mod names;
#[cfg(feature = "netlink")]
pub mod netlink;
pub mod observed;
pub mod op;
mod peer_db;
mod planner;
mod reconcile;
mod record;

pub use endpoint::{Addresses, DefaultRoute, Sandbox};
pub use error::{PlanError, Refusal};
pub use peer_db::{Claimant, Conflict, Subject};
pub use planner::{Counters, Event, Host, Planner};
pub use reconcile::{Drift, Kind, Knowledge, Repair};
pub use record::{PEER_TABLE, PeerRecord, RECORD_BYTES_MAX, RecordError};

/// A network has at most this many peers on other nodes.
pub const PEERS_MAX: usize = 1 << 17;
