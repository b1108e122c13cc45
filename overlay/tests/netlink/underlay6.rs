//! Hosts that speak IPv6 to each other.

use std::time::Duration;

use crate::bed::{Underlay, three_hosts};
use crate::wire::{ping, pings, tcp_round_trip};

#[tokio::test]
async fn an_ipv6_underlay_carries_both_families() {
    let (bed, endpoints) = three_hosts(Underlay::V6).await;
    for to in &endpoints[1..] {
        assert!(pings(&endpoints[0].sandbox, to.v4));
        assert!(pings(&endpoints[0].sandbox, to.v6));
    }
    let (a, b) = (&endpoints[0], &endpoints[1]);
    let full = bed.hosts[0].mtu() as usize - 28;
    ping(&a.sandbox, b.v4, full, Duration::from_secs(2)).unwrap();
    tcp_round_trip(&a.sandbox, &b.sandbox, b.v6).unwrap();
}
