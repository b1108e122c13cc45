//! The data of the specification: configurations, results of every version, error objects.
//!
//! A result comes in three shapes over the versions ([`v020`], [`v040`], [`v100`]);
//! [`CniResult`] holds any of them and converts.
//!
//! ```
//! use cni::types::CniResult;
//!
//! let old = br#"{"cniVersion":"0.2.0","ip4":{"ip":"10.1.0.5/16","gateway":"10.1.0.1"}}"#;
//! let new = CniResult::from_slice(old)?.to_version("1.0.0")?;
//! assert_eq!(
//!     serde_json::to_string(&new).expect("plain data"),
//!     r#"{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.5/16","gateway":"10.1.0.1"}]}"#,
//! );
//! # Ok::<(), cni::Error>(())
//! ```

mod address;
mod args;
mod fold;
mod net_conf;
mod plugin_error;
mod result;
mod route;
pub mod v020;
pub mod v040;
pub mod v100;

pub use address::parse_cidr;
pub use args::{ArgFields, CommonArgs, Recognised, load_args, parse_bool};
pub use net_conf::{Dns, GcAttachment, Ipam, NetConf};
pub use plugin_error::{Code, PluginError};
pub use result::CniResult;
pub use route::Route;

pub(crate) use fold::fold_keys;
