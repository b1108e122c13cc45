//! Carries kernel operations out, and reads back what the kernel holds.
//!
//! One file per object of the kernel, one function per verb; each verb's doc names the `ip`,
//! `bridge` or `nft` command that does the same. No such program is ever started.
//!
//! A [`Connection`] belongs to one network namespace for good: its socket is opened by a thread
//! that entered it. It has one request under way at a time, so dumps never collide.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the packet libraries' enums are non-exhaustive, and most of it is not ours"
)]

pub mod address;
pub mod announce;
pub mod bridge;
pub mod connection;
pub mod endpoint;
pub mod error;
pub mod executor;
pub mod fdb;
pub mod link;
pub mod namespace;
pub mod neigh;
pub mod nft;
mod observe;
mod ports;
pub mod qdisc;
pub mod route;
pub mod rule;
pub mod sandbox;
pub mod sysctl;
pub mod uplink;
pub mod veth;
pub mod vxlan;
pub mod way_out;

pub use connection::Connection;
pub use error::NetlinkError;
pub use executor::Executor;
pub use namespace::Namespace;
