//! The overlay driver: events in, kernel operations out.
//!
//! [`Planner`] is pure: every call leaves operations, drained with [`Planner::poll_output`] to
//! `None` and carried out in order, on Linux by the feature `netlink` or in tests by
//! [`fake_kernel`]. What the kernel then holds is read back as [`observed::Observed`], and
//! [`Planner::reconcile`] answers with the operations that repair what drifted.
//!
//! A network becomes known, an endpoint of it joins a container's namespace, and out come the
//! operations that build it, in order:
//!
//! ```
//! use std::collections::BTreeMap;
//! use weft_api::{Definition, EndpointId, Mac, NetworkId, NodeId, Stamp, Subnet, Vni};
//! use weft_overlay::op::KernelOp;
//! use weft_overlay::{Addresses, DefaultRoute, Host, Planner, Sandbox};
//!
//! let node = NodeId::from_bytes([1; 16]);
//! let vtep = "192.0.2.1".parse()?;
//! let mut planner = Planner::new(Host { node, vtep, vxlan_port: 4789, uplink_mtu: 1500 });
//!
//! let (network, endpoint) = (NetworkId::from_bytes([2; 16]), EndpointId::from_bytes([3; 16]));
//! let stamp = Stamp { lamport: 1, node };
//! planner.create_network(&Definition {
//!     id: network,
//!     name: "blue".into(),
//!     driver: "overlay".into(),
//!     ipam: "weft".into(),
//!     subnets: vec![Subnet {
//!         pool: "10.1.0.0/24".parse()?,
//!         gateway: Some("10.1.0.1".parse()?),
//!         range: None,
//!         auxiliary: BTreeMap::new(),
//!         vni: Vni::new(8_388_608)?,
//!     }],
//!     options: BTreeMap::new(),
//!     mtu: None,
//!     internal: true,
//!     stamp,
//! })?;
//! planner.create_endpoint(network, endpoint, Addresses {
//!     v4: Some("10.1.0.2/24".parse()?),
//!     v6: None,
//!     mac: "02:42:0a:01:00:02".parse::<Mac>()?,
//!     stamp,
//!     replaces: None,
//! })?;
//! assert_eq!(planner.poll_output(), None, "nothing is built before somebody joins");
//!
//! // What comes back is the record that the other nodes need.
//! let _record = planner.join(network, endpoint, Sandbox {
//!     path: "/run/netns/web".into(),
//!     ifname: "eth0".into(),
//!     routes: Vec::new(),
//!     default_route: DefaultRoute::Gateway,
//! })?;
//! let first = planner.poll_output();
//! assert!(matches!(first, Some(KernelOp::EnsureNamespace { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod contest;
mod endpoint;
mod error;
pub mod fake_kernel;
mod gone;
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
pub mod publish;
mod reconcile;
mod record;
mod segment;

pub use endpoint::{Addresses, DefaultRoute, FarEnd, Sandbox};
pub use error::{PlanError, Refusal};
pub use op::HandOver;
pub use peer_db::{Claimant, Conflict, Subject};
pub use planner::{Counters, Event, Host, Planner};
pub use reconcile::{Drift, Kind, Knowledge, Repair};
pub use record::{PEER_TABLE, PeerRecord, RECORD_BYTES_MAX, RecordError, decode_table_entry};

/// A network has at most this many peers on other nodes.
pub const PEERS_MAX: usize = 1 << 17;
