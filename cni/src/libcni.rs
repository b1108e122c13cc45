//! The runtime's side: configurations, chains of plugins, and the cache of what they did.
//!
//! ```no_run
//! use cni::libcni::{Cni, CniConfig, RuntimeConf, load_conf_list};
//!
//! # async fn example() -> Result<(), cni::Error> {
//! let list = load_conf_list("/etc/cni/net.d".as_ref(), "pods")?;
//! let cni = CniConfig::new(vec!["/opt/cni/bin".into()], None);
//! let mut pod = RuntimeConf::new("6f1c2a", "/run/netns/6f1c2a", "eth0");
//! pod.capability_args.insert(
//!     "portMappings".to_owned(),
//!     serde_json::json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]),
//! );
//!
//! let result = cni.add_network_list(&list, &pod).await?;
//! for ip in result.to_current()?.ips {
//!     println!("{}", ip.address);
//! }
//! cni.check_network_list(&list, &pod).await?;
//! cni.del_network_list(&list, &pod).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`blocking`] is the same without a runtime.
//!
//! # The cache
//! After an ADD `<cache>/results/<network>-<container>-<interface>` holds the configuration,
//! the arguments and the result, in the form Go's libcni writes and reads. It is written to a
//! file beside it, fsynced and renamed: after a power loss there is the old entry or the new
//! one, never an empty one. Names that would lead out of the directory are refused.
//! Reading and writing it blocks the thread, shortly.
//!
//! # What the caller owes
//! Calls for one container do not overlap, and none overlaps
//! [`gc_network_list`](Cni::gc_network_list). A failed ADD leaves what the plugins before the
//! failing one made: call DEL, or use [`CniConfig::add_or_rollback`].

mod base64;
pub mod blocking;
mod cache;
mod chain;
mod cni;
mod conf;
mod conf_list;
mod gc;
mod go_json;
mod runtime;

pub use cni::{BadCache, Cni, CniConfig, StaleConfig};
pub use conf::{
    NetworkConfig, conf_files, conf_from_bytes, conf_from_file, inject_conf, load_conf,
};
pub use conf_list::{
    NetworkConfigList, PluginSources, conf_list_from_bytes, conf_list_from_conf,
    conf_list_from_file, conf_list_from_file_with, load_conf_list, load_conf_list_with,
};
pub use runtime::{GcArgs, NetworkAttachment, RuntimeConf};

pub use crate::error::{Error, ErrorCheckNotSupp, NoConfigsFound, NotFound};

/// Where the cache is unless said otherwise.
pub const CACHE_DIR: &str = "/var/lib/cni";

/// The kind of cache entry this library writes and reads.
pub const CNI_CACHE_V1: &str = "cniCacheV1";
