//! The pod layer, on network namespaces made by the tests, with an exec that answers for the
//! plugins, or with the test plugin as a process.
//!
//! Claims follow the list of what the tests of ocicni check, in our own words, and what its
//! users learnt. Needs root.

mod bench;
mod cached;
mod concurrency;
mod follow;
mod gc;
mod networks;
mod pods;
mod processes;
mod property;
mod rollback;
mod sandbox;
mod status;
