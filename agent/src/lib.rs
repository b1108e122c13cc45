//! The daemon and command line `weft`, as a library so that tests and benches reach its parts.

pub mod cli;
pub mod client;
pub mod commands;
pub mod config;
pub mod control;
pub mod doctor;
pub mod failure;
pub mod logging;
pub mod seed;
pub mod token;
