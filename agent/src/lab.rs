//! A cluster of several hosts on one machine, made of network namespaces.
pub mod ping;
