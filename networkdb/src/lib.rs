//! The gossip-replicated table store: a state machine without sockets, clocks, files or tasks.
//!
//! The loop law, for whoever drives it: call one `handle_*` (or any other method that takes
//! `now`), drain [`NetworkDb::poll_output`] to `None`, then sleep until
//! [`NetworkDb::poll_timeout`]. Every [`Output::Persist`] of one drain is committed in one
//! fsynced transaction before any other output of that drain is carried out.
//!
//! Two kinds of state spread between members: **facts**, which all hold and keep on disk (network
//! definitions, address ranges, who left), and **entries** of tables, which belong to the node that
//! wrote them and are held by the nodes attached to their network. What must be unique in the
//! cluster is made by a claim that every member has to accept ([`NetworkDb::define`]). What members
//! promise each other, and every message, is in `docs/PROTOCOL.md`.
//!
//! A sole member attaches to a network, writes an entry and reads it back:
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::time::Instant;
//! use weft_api::{Boot, ClusterId, NetworkId, NodeId};
//! use weft_networkdb::{Config, Key, KeyRing, Limits, NetworkDb, Output, Timing};
//!
//! let now = Instant::now();
//! let config = Config {
//!     cluster: ClusterId::from_bytes([1; 16]),
//!     node: NodeId::from_bytes([2; 16]),
//!     boot: Boot { counter: 1, nonce: 77 },
//!     name: "one".to_owned(),
//!     advertise: "192.0.2.1:7950".parse()?,
//!     keys: KeyRing::new(1, Key::from_bytes([3; 32])),
//!     seed: [4; 32],
//!     joins: BTreeMap::new(),
//!     limits: Limits::default(),
//!     timing: Timing::default(),
//! };
//! let mut db = NetworkDb::new(config, Vec::new(), now)?;
//! let network = NetworkId::from_bytes([5; 16]);
//! db.attach(network, now)?;
//! db.create_entry(network, "names", "www", b"10.1.0.2".to_vec(), now)?;
//!
//! let (mut writes, mut rest) = (Vec::new(), Vec::new());
//! while let Some(output) = db.poll_output() {
//!     match output {
//!         Output::Persist(write) => writes.push(write),
//!         other => rest.push(other),
//!     }
//! }
//! // Here `writes` are committed; then `rest` is carried out.
//! assert!(!writes.is_empty());
//! let entry = db.entry(network, "names", "www").expect("it was just written");
//! assert_eq!(&*entry.value, b"10.1.0.2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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

pub use claims::{ClaimBody, ClaimError, ClaimId, Origin, Outcome, Reach};
pub use config::{Config, Limits, Timing};
pub use db::{KeyRole, KeyStatus, NetworkDb, RetireError};
pub use facts::{FactError, FactKind, Join, JoinError, Joined};
pub use keys::{Fingerprint, Key, KeyRing};
pub use output::{
    Bound, Counters, JoinRefusal, Member, MemberEvent, MemberState, Outdated, Output, Reason,
    RestoreError, RolledBackBy, StreamId, StreamInput,
};
pub use table::{Cause, Change, Entry, TableError, TableEvent};
pub use watch::{WatchFilter, WatchId};
