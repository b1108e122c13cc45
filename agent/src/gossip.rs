//! The network side of an agent: datagrams over UDP, streams over TCP.

mod handshakes;
pub mod noise;
pub mod streams;
