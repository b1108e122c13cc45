//! The overlay driver: events in, kernel operations out.
pub mod observed;
pub mod op;
