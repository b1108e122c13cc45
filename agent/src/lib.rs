//! The daemon and command line `weft`, as a library so that tests and benches reach its parts.

pub mod cli;
pub mod client;
pub mod config;
pub mod control;
pub mod failure;
pub mod lab;
pub mod seed;
pub mod token;
