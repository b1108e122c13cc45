//! The reference plugins, as Debian packages them, run by our library: their results chained,
//! their traffic real.
//!
//! Each test has a host of its own, a network namespace that the plugins take for the machine's:
//! their bridges and rules are made there and go with it. Needs root, iptables, iproute2 and the
//! package `containernetworking-plugins`.

mod bench;
mod chain;
mod pod_layer;
#[path = "../ocicni/sandbox.rs"]
mod sandbox;
mod traffic;
