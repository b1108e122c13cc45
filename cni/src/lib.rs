//! libcni in Rust: both sides of the [Container Network Interface].
//!
//! For runtimes, [`libcni`] reads configurations, runs chains of plugins and remembers what
//! they did, in a cache that containerd, CRI-O and podman can read and whose entries it reads.
//! Above it, `ocicni` (feature of that name) attaches pods to whatever networks a directory
//! configures. For plugins, [`skel`] is the frame and [`invoke`] calls other plugins. [`types`]
//! has the results of every version of the specification, 0.1.0 to 1.1.0, and converts between
//! them.
//!
//! Behaviour follows the Go library v1.2.3; where that is known to lose data, this one does
//! not (each place says so). Everything that runs a plugin comes in two forms: asynchronous,
//! and under `blocking` without any runtime.
//!
//! The crate knows nothing of the rest of this repository.
//!
//! [Container Network Interface]: https://www.cni.dev/docs/spec/

mod error;
pub mod invoke;
pub mod libcni;
#[cfg(feature = "ocicni")]
pub mod ocicni;
pub mod skel;
pub mod types;
pub mod validate;
pub mod version;

pub use error::{Error, ErrorCheckNotSupp, NoConfigsFound, NotFound};
