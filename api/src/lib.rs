//! The contracts of Weft: ids, drivers, IPAM, discovery, control messages, errors.
//!
//! Nothing here acts. The crates that do (`networkdb`, `ipam`, `overlay`, `agent`) speak to each
//! other in these types, and in no others:
//!
//! - [`id`] and [`definition`]: what things are called, and what a network is;
//! - [`driver`] and [`ipam`]: libnetwork's contracts for network and IPAM drivers;
//! - [`control`]: what goes over the agent's control socket; [`plugin`]: Docker's plugin protocol;
//! - [`store`]: a durable write as data; [`error`]: kinds of errors that all contracts share.
//!
//! A driver that wants to hear of a table registers it while it creates a network. Only drivers
//! whose data scope is global do:
//!
//! ```
//! use weft_api::NetworkId;
//! use weft_api::driver::{NetworkInfo, NetworkRegistration, ObjectType, Scope};
//!
//! let network: NetworkId = "1356c2ad2989e0d745e94f183a7cf136".parse()?;
//! assert_eq!(network.to_string(), "1356c2ad2989e0d745e94f183a7cf136");
//!
//! let mut registration = NetworkRegistration::new(Scope::Global);
//! registration.table_event_register("overlay_peer_table", ObjectType::Endpoint)?;
//! assert!(registration.tables().contains_key("overlay_peer_table"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod cidr;
pub mod control;
pub mod definition;
pub mod discovery;
pub mod driver;
pub mod error;
pub mod id;
pub mod ipam;
pub mod plugin;
pub mod store;

pub use definition::{Definition, Stamp, Subnet};
pub use error::{Error, Kind};
pub use id::{Boot, ClusterId, EndpointId, Mac, NetworkId, NodeId, ParseIdError, Vni};
pub use store::{Space, Write};
