//! The contracts of Weft: ids, drivers, IPAM, discovery, control messages, errors.
//!
//! Nothing here acts. The crates that do (`networkdb`, `ipam`, `overlay`, `agent`) speak to each
//! other in these types, and in no others.

pub mod cidr;
pub mod control;
pub mod definition;
pub mod discovery;
pub mod driver;
pub mod error;
pub mod id;
pub mod ipam;
pub mod store;

pub use definition::{Definition, Stamp, Subnet};
pub use error::{Error, Kind};
pub use id::{Boot, ClusterId, EndpointId, Mac, NetworkId, NodeId, ParseIdError, Vni};
pub use store::{Space, Write};
