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
//!
//! The first node of a cluster founds it and gives an endpoint an address:
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::time::Instant;
//! use weft_api::{Definition, EndpointId, NetworkId, NodeId, Stamp, Subnet, Vni};
//! use weft_ipam::{Config, Granted, Ipam, Output, Purpose, Request, Space, Ticket, Want};
//!
//! let (node, now) = (NodeId::from_bytes([1; 16]), Instant::now());
//! let mut ipam = Ipam::new(Config::new(node, [7; 32]), [], [], now)?;
//! ipam.on_ready(now);
//!
//! let pool = "10.1.0.0/24".parse()?;
//! let network = NetworkId::from_bytes([2; 16]);
//! let subnet = Subnet {
//!     pool,
//!     gateway: Some("10.1.0.1".parse()?),
//!     range: None,
//!     auxiliary: BTreeMap::new(),
//!     vni: Vni::new(8_388_608)?,
//! };
//! let definition = Definition {
//!     id: network,
//!     name: "blue".into(),
//!     driver: "overlay".into(),
//!     ipam: "weft".into(),
//!     subnets: vec![subnet],
//!     options: BTreeMap::new(),
//!     mtu: None,
//!     internal: false,
//!     stamp: Stamp { lamport: 1, node },
//! };
//! ipam.on_definition(&definition, now);
//!
//! let purpose = Purpose::Endpoint(EndpointId::from_bytes([3; 16]));
//! let space = Space::Subnet { network, pool };
//! let request = Request { space, want: Want::Serial, within: None, purpose };
//! ipam.request(Ticket(1), request, now);
//! let mut done = None;
//! while let Some(output) = ipam.poll_output() {
//!     if let Output::Done { result, .. } = output {
//!         done = Some(result);
//!     }
//! }
//! assert_eq!(done, Some(Ok(Granted::Address("10.1.0.2/24".parse()?))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
pub use ranges::{JoinError, Span, join_ranges, read_ranges};
pub use request::{Block, BlockWant, Fate, Granted, Purpose, Request, Ticket, Want};
pub use space::{BlockPool, ClusterPools, Space};
