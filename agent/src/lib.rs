//! The daemon and command line `weft`, as a library so that tests and benches reach its parts.

pub mod control;
pub mod lab;
