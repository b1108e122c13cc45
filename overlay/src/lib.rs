//! The overlay driver: events in, kernel operations out.
#[cfg(feature = "netlink")]
pub mod netlink;
pub mod observed;
pub mod op;
