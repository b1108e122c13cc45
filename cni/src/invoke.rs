//! Running plugins: the [`Exec`] that does it, the environment they get, finding them, and
//! delegation from one plugin to another.
//!
//! Everything is written once, asynchronous over [`Exec`]. Over a [`blocking::Exec`] the same
//! code runs without a runtime, for then every future is ready at the first poll.

mod args;
pub mod blocking;
mod delegate;
mod exec;
mod find;
mod outcome;
#[cfg(feature = "tokio")]
mod raw_exec;

pub use args::{Args, CniArgs, Environment};
pub use delegate::{delegate_add, delegate_check, delegate_del, delegate_gc, delegate_status};
pub use exec::{
    BoxFuture, Call, Exec, default_exec, exec_plugin_with_result, exec_plugin_without_result,
    get_version_info,
};
pub use find::find_in_path;
pub use outcome::StderrSink;
#[cfg(feature = "tokio")]
pub use raw_exec::RawExec;
