//! The network side of an agent: datagrams over UDP, streams over TCP.

pub mod noise;
pub mod streams;
