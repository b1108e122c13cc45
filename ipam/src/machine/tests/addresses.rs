//! What one node gives out.

use std::time::Duration;

use super::cluster::{Cluster, address, definition, endpoint, space_of};
use crate::Error;
use crate::request::{Purpose, Request, Want};
use crate::space::Space;

fn alone(pool: &str) -> (Cluster, Space) {
    let mut cluster = Cluster::new(1, 1);
    let space = cluster.define(&definition(1, 0, pool));
    (cluster, space)
}

fn request(space: Space, want: Want, e: u64) -> Request {
    Request { space, want, within: None, purpose: Purpose::Endpoint(endpoint(e)) }
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

#[test]
fn network_and_broadcast_addresses_are_never_handed_out() {
    for (pool, first, count) in [
        ("10.0.0.0/29", "10.0.0.1", 6),
        ("10.0.0.0/31", "10.0.0.0", 2),
        ("10.0.0.0/32", "10.0.0.0", 1),
        ("fd00::/126", "fd00::1", 3),
        ("fd00::/127", "fd00::", 2),
    ] {
        let (mut cluster, space) = alone(pool);
        let all: Vec<_> = (0..count).map(|e| address(&cluster.any(0, space, e))).collect();
        assert_eq!(all[0], ip(first), "{pool}");
        let refused = cluster.any(0, space, count);
        assert!(matches!(refused, Err(Error::NoAvailableIps(_))), "{pool}: {refused:?}");
    }
    let (mut cluster, space) = alone("10.0.0.0/29");
    for taboo in ["10.0.0.0", "10.0.0.7"] {
        assert_eq!(cluster.exact(0, space, taboo, 1), Err(Error::IpAlreadyAllocated));
    }
    assert_eq!(cluster.exact(0, space, "10.0.0.8", 1), Err(Error::IpOutOfRange));
    assert_eq!(cluster.exact(0, space, "fd00::1", 1), Err(Error::IpOutOfRange));
}

#[test]
fn a_slash_16_is_filled_to_its_last_usable_address() {
    let (mut cluster, space) = alone("10.1.0.0/16");
    for e in 0..65_534 {
        cluster.any(0, space, e).unwrap();
    }
    let refused = cluster.any(0, space, 70_000);
    assert!(matches!(refused, Err(Error::NoAvailableIps(_))), "{refused:?}");
    assert_eq!(cluster.bound(space), 65_534);
}

#[test]
fn serial_goes_on_after_the_last_and_wraps() {
    let (mut cluster, space) = alone("10.0.0.0/29");
    let serial = |cluster: &mut Cluster, e| {
        address(&cluster.ask(0, request(space, Want::Serial, e))).to_string()
    };
    assert_eq!(serial(&mut cluster, 1), "10.0.0.1");
    assert_eq!(serial(&mut cluster, 2), "10.0.0.2");
    cluster.release(0, space, ip("10.0.0.1"), 1);
    cluster.run(Duration::from_secs(61));
    assert_eq!(serial(&mut cluster, 3), "10.0.0.3");
    cluster.kill(0);
    cluster.start(0);
    for (e, next) in [(4, "10.0.0.4"), (5, "10.0.0.5"), (6, "10.0.0.6"), (7, "10.0.0.1")] {
        assert_eq!(serial(&mut cluster, e), next);
    }
}

#[test]
fn first_available_is_the_first_that_is_free() {
    let (mut cluster, space) = alone("10.0.0.0/24");
    for e in 1..=3 {
        cluster.any(0, space, e).unwrap();
    }
    cluster.release(0, space, ip("10.0.0.2"), 2);
    cluster.run(Duration::from_secs(61));
    assert_eq!(address(&cluster.any(0, space, 4)), ip("10.0.0.2"));
}

#[test]
fn a_sub_pool_bounds_dynamic_requests_and_not_explicit_ones() {
    let (mut cluster, space) = alone("10.0.0.0/24");
    let within = Some("10.0.0.16/30".parse().unwrap());
    for (e, expected) in [(1, "10.0.0.16"), (2, "10.0.0.17"), (3, "10.0.0.18"), (4, "10.0.0.19")] {
        let answer = cluster.ask(0, Request { within, ..request(space, Want::Serial, e) });
        assert_eq!(address(&answer), ip(expected));
    }
    let full = cluster.ask(0, Request { within, ..request(space, Want::First, 5) });
    assert!(matches!(full, Err(Error::NoAvailableIps(_))), "{full:?}");
    let explicit = Request { within, ..request(space, Want::Exact(ip("10.0.0.200")), 6) };
    assert_eq!(address(&cluster.ask(0, explicit)), ip("10.0.0.200"));
    let outside = Some("10.0.1.0/24".parse().unwrap());
    let refused = cluster.ask(0, Request { within: outside, ..request(space, Want::First, 7) });
    assert_eq!(refused, Err(Error::InvalidSubPool));
}

#[test]
fn the_same_endpoint_gets_the_same_address() {
    let (mut cluster, space) = alone("10.0.0.0/24");
    let first = cluster.any(0, space, 1);
    assert_eq!(cluster.any(0, space, 1), first);
    assert_eq!(cluster.exact(0, space, "10.0.0.1", 1), first);
    assert_eq!(cluster.exact(0, space, "10.0.0.1", 2), Err(Error::IpAlreadyAllocated));
    cluster.kill(0);
    cluster.start(0);
    assert_eq!(cluster.any(0, space, 1), first);
}

#[test]
fn a_released_address_rests_and_a_boot_begins_its_rest_anew() {
    let (mut cluster, space) = alone("10.0.0.0/30");
    let address = address(&cluster.any(0, space, 1));
    cluster.release(0, space, address, 1);
    cluster.run(Duration::from_secs(59));
    let early = cluster.exact(0, space, "10.0.0.1", 2);
    assert_eq!(early, Err(Error::Resting(Duration::from_secs(1))));
    cluster.kill(0);
    cluster.start(0);
    cluster.run(Duration::from_secs(59));
    assert!(matches!(cluster.exact(0, space, "10.0.0.1", 2), Err(Error::Resting(_))));
    cluster.run(Duration::from_secs(2));
    cluster.exact(0, space, "10.0.0.1", 2).unwrap();
}

#[test]
fn release_of_what_is_not_bound_to_the_asker_does_nothing() {
    let (mut cluster, space) = alone("10.0.0.0/24");
    let first = cluster.any(0, space, 1);
    cluster.release(0, space, address(&first), 2);
    cluster.release(0, space, ip("10.0.0.9"), 1);
    cluster.release(0, space, ip("192.168.0.9"), 1);
    assert_eq!(cluster.any(0, space, 1), first);
}

#[test]
fn gateway_and_auxiliary_addresses_are_taken_at_birth_on_every_node() {
    let mut cluster = Cluster::new(2, 1);
    let mut network = definition(1, 0, "10.0.0.0/28");
    network.subnets[0].gateway = Some(ip("10.0.0.1"));
    network.subnets[0].auxiliary.insert("dns".into(), ip("10.0.0.3"));
    let space = cluster.define(&network);
    assert_eq!(address(&cluster.any(0, space, 1)), ip("10.0.0.2"));
    assert_eq!(address(&cluster.any(0, space, 2)), ip("10.0.0.4"));
    for node in [0, 1] {
        for taken in ["10.0.0.1", "10.0.0.3"] {
            let refused = cluster.exact(node, space, taken, 9);
            assert_eq!(refused, Err(Error::IpAlreadyAllocated), "node {node}: {taken}");
        }
        for (want, purpose) in [
            (Want::First, Purpose::Gateway),
            (Want::Exact(ip("10.0.0.1")), Purpose::Gateway),
            (Want::Exact(ip("10.0.0.3")), Purpose::Auxiliary("dns".into())),
        ] {
            let granted = cluster.ask(node, Request { space, want, within: None, purpose });
            assert!(granted.is_ok(), "node {node}: {want:?}: {granted:?}");
        }
        let want = Want::Exact(ip("10.0.0.9"));
        let second = Request { space, want, within: None, purpose: Purpose::Gateway };
        assert_eq!(cluster.ask(node, second), Err(Error::IpAlreadyAllocated));
    }
}

#[test]
fn nothing_is_allocated_before_ready_and_waiting_ends_with_a_clear_error() {
    let mut cluster = Cluster::new(2, 1);
    let space = cluster.define(&definition(1, 0, "10.0.0.0/24"));
    cluster.kill(0);
    cluster.boot(0);
    let before = cluster.now;
    assert_eq!(cluster.any(0, space, 1), Err(Error::NotReady));
    assert_eq!(cluster.now - before, Duration::from_secs(10));
    let ticket = cluster.submit(0, request(space, Want::First, 2));
    cluster.act(0, |ipam, now| ipam.on_ready(now));
    assert_eq!(address(&cluster.answer(ticket)), ip("10.0.0.1"));
}

#[test]
fn an_unknown_pool_is_waited_for_and_then_refused() {
    let mut cluster = Cluster::new(1, 1);
    let space = space_of(&definition(9, 0, "10.0.0.0/24"));
    assert_eq!(cluster.any(0, space, 1), Err(Error::BadPool));
    let ticket = cluster.submit(0, request(space, Want::First, 2));
    cluster.define(&definition(9, 0, "10.0.0.0/24"));
    cluster.answer(ticket).unwrap();
}

#[test]
fn requests_beyond_the_bound_are_refused_and_counted() {
    let mut cluster = Cluster::new(1, 1);
    let space = space_of(&definition(9, 0, "10.0.0.0/24"));
    let tickets: Vec<_> =
        (0..4097).map(|e| cluster.submit(0, request(space, Want::First, e))).collect();
    assert_eq!(cluster.answer(tickets[4096]), Err(Error::Busy));
    assert_eq!(cluster.nodes[0].ipam.as_ref().unwrap().counters().busy, 1);
}

#[test]
fn malformed_messages_and_facts_change_nothing_and_are_counted() {
    let mut cluster = Cluster::new(2, 1);
    let space = cluster.define(&definition(1, 0, "10.0.0.0/24"));
    let owners = cluster.owners(1, space);
    for bytes in [&[][..], &[0xff; 9], &[0, 1, 1, 2, 9, 9, 0, 1]] {
        let node = super::cluster::id(0);
        cluster.act(1, |ipam, now| ipam.handle_message(node, bytes, now));
    }
    let subject = space.subject();
    cluster.act(1, |ipam, now| {
        ipam.handle_fact(crate::FactKind::Ranges, &subject, &[7], now);
        ipam.handle_fact(crate::FactKind::Allocation, &subject, &[7], now);
    });
    assert_eq!(cluster.nodes[1].ipam.as_ref().unwrap().counters().malformed, 5);
    assert_eq!(cluster.owners(1, space), owners);
}

#[test]
fn an_ipv6_pool_is_no_slower_for_its_size() {
    let (mut cluster, space) = alone("fd00::/64");
    for e in 0..1000 {
        cluster.any(0, space, e).unwrap();
    }
    let last = cluster.exact(0, space, "fd00::ffff:ffff:ffff:ffff", 5000);
    assert_eq!(address(&last), ip("fd00::ffff:ffff:ffff:ffff"));
    assert_eq!(cluster.exact(0, space, "fd00::", 5001), Err(Error::IpAlreadyAllocated));
}

#[test]
fn an_address_is_handed_on_to_another_endpoint_without_a_rest() {
    let (mut cluster, space) = alone("10.0.0.0/29");
    let given = address(&cluster.exact(0, space, "10.0.0.3", 1));
    address(&cluster.exact(0, space, "10.0.0.4", 2));
    let mut rebind = |from, to| cluster.rebind(0, space, given, from, to);
    assert!(!rebind(3, 4), "it is another's");
    assert!(!rebind(1, 2), "that one has an address of the space");
    assert!(rebind(1, 5));
    assert!(!rebind(1, 6), "it is handed on already");
    cluster.kill(0);
    cluster.start(0);
    assert_eq!(cluster.exact(0, space, "10.0.0.3", 1), Err(Error::IpAlreadyAllocated));
    assert_eq!(address(&cluster.exact(0, space, "10.0.0.3", 5)), given);
}
