//! Simulator, namespace testbed and end-to-end suites.

pub mod callers;
pub mod cluster;
pub mod fuzz;
pub mod junk;
pub mod nodes;
pub mod targets;
pub mod testbed;
pub mod third_party;
pub mod transcript;
