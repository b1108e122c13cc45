//! Allocations of a Swarm leader and their replay by the next one, by schedule.

use std::net::IpAddr;
use std::time::Duration;

use super::cluster::{Answer, Cluster, Crash, address, definition, endpoint, id};
use crate::Error;
use crate::message::{Claim, Message, TransferId};
use crate::request::{Purpose, Request, Ticket, Want};
use crate::space::Space;

const SECOND: Duration = Duration::from_secs(1);

/// Nodes of which only the first was there at the network's birth, and owns all of it.
fn of_the_first(n: usize, pool: &str) -> (Cluster, Space) {
    let mut cluster = Cluster::new(n, 1);
    for i in 1..n {
        cluster.kill(i);
    }
    let space = cluster.define(&definition(1, 0, pool));
    for i in 1..n {
        cluster.start(i);
    }
    (cluster, space)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn request(space: Space, want: Want, purpose: Purpose) -> Request {
    Request { space, want, within: None, purpose }
}

pub(super) fn swarm(space: Space, want: Want) -> Request {
    request(space, want, Purpose::Swarm)
}

fn serial(cluster: &mut Cluster, i: usize, space: Space) -> IpAddr {
    address(&cluster.ask(i, swarm(space, Want::Serial)))
}

pub(super) fn replay(cluster: &mut Cluster, i: usize, space: Space, at: IpAddr) -> Answer {
    cluster.ask(i, swarm(space, Want::Replay(at)))
}

pub(super) fn free(cluster: &mut Cluster, i: usize, space: Space, at: IpAddr) {
    cluster.act(i, |ipam, now| ipam.release(space, at, &Purpose::Swarm, now));
}

/// What a node knows an address to be allocated for.
pub(super) fn known(cluster: &Cluster, i: usize, space: Space, at: IpAddr) -> Option<Purpose> {
    cluster.nodes[i].ipam.as_ref().unwrap().allocation(space, at)
}

fn exact(cluster: &mut Cluster, i: usize, space: Space, at: IpAddr, e: u64) -> Answer {
    cluster.exact(i, space, &at.to_string(), e)
}

#[test]
fn each_request_of_swarm_is_a_new_address_and_order_survives_a_restart() {
    let (mut cluster, space) = of_the_first(2, "10.0.0.0/29");
    assert_eq!(serial(&mut cluster, 0, space), ip("10.0.0.1"));
    assert_eq!(serial(&mut cluster, 0, space), ip("10.0.0.2"));
    free(&mut cluster, 0, space, ip("10.0.0.1"));
    cluster.run(SECOND * 61);
    cluster.kill(0);
    cluster.start(0);
    assert_eq!(serial(&mut cluster, 0, space), ip("10.0.0.3"));
    // An endpoint's address counts as well, and so does what another node was given.
    let purpose = Purpose::Endpoint(endpoint(1));
    let taken = cluster.ask(0, request(space, Want::Serial, purpose));
    assert_eq!(address(&taken), ip("10.0.0.4"));
    let other = cluster.ask(1, swarm(space, Want::Exact(ip("10.0.0.5"))));
    assert_eq!(address(&other), ip("10.0.0.5"));
    cluster.run(SECOND);
    cluster.kill(0);
    cluster.start(0);
    assert_eq!(serial(&mut cluster, 0, space), ip("10.0.0.6"));
    assert_eq!(serial(&mut cluster, 0, space), ip("10.0.0.1"));
}

#[test]
fn a_replay_of_what_swarm_has_succeeds_on_every_node() {
    let (mut cluster, space) = of_the_first(3, "10.0.0.0/24");
    let taken = serial(&mut cluster, 0, space);
    cluster.run(SECOND);
    for i in 0..3 {
        assert_eq!(address(&replay(&mut cluster, i, space, taken)), taken);
    }
    cluster.kill(0);
    assert_eq!(address(&replay(&mut cluster, 2, space, taken)), taken);
    assert_eq!(
        cluster.nodes[2].ipam.as_ref().unwrap().allocations(space),
        [(taken, Purpose::Swarm)]
    );
}

#[test]
fn a_replay_asks_a_live_owner_which_keeps_its_range() {
    let (mut cluster, space) = of_the_first(2, "10.0.0.0/24");
    let owners = cluster.owners(0, space);
    for at in ["10.0.0.9", "10.0.0.10"] {
        assert_eq!(address(&replay(&mut cluster, 1, space, ip(at))), ip(at));
        assert_eq!(known(&cluster, 0, space, ip(at)), Some(Purpose::Swarm));
    }
    assert_eq!(cluster.owners(0, space), owners);
    let refused = cluster.exact(0, space, "10.0.0.9", 1);
    assert_eq!(refused, Err(Error::IpAlreadyAllocated));
}

#[test]
fn an_owner_that_has_it_for_swarm_already_says_so_though_the_fact_is_late() {
    let (mut cluster, space) = of_the_first(2, "10.0.0.0/24");
    cluster.no_push = true;
    let taken = serial(&mut cluster, 0, space);
    cluster.lose_wire();
    assert_eq!(known(&cluster, 1, space, taken), None);
    let before = cluster.now;
    assert_eq!(address(&replay(&mut cluster, 1, space, taken)), taken);
    assert!(cluster.now - before < SECOND / 10);
    // Both wrote the same bytes.
    let facts = |i: usize| cluster.nodes[i].disk.facts.clone();
    assert_eq!(facts(0), facts(1));
}

#[test]
fn a_replay_of_what_is_bound_otherwise_is_refused() {
    let mut cluster = Cluster::new(2, 1);
    let mut network = definition(1, 0, "10.0.0.0/24");
    network.subnets[0].gateway = Some(ip("10.0.0.1"));
    network.subnets[0].auxiliary.insert("dns".into(), ip("10.0.0.3"));
    let space = cluster.define(&network);
    let mine = address(&cluster.any(1, space, 1));
    let theirs = address(&cluster.any(0, space, 2));
    let network = cluster.exact(1, space, "10.0.0.0", 3);
    assert_eq!(network, Err(Error::IpAlreadyAllocated));
    for bound in [mine, theirs, ip("10.0.0.0"), ip("10.0.0.1"), ip("10.0.0.3"), ip("10.0.0.255")] {
        let refused = replay(&mut cluster, 1, space, bound);
        assert_eq!(refused, Err(Error::IpAlreadyAllocated), "{bound}");
    }
    assert_eq!(replay(&mut cluster, 1, space, ip("10.0.1.1")), Err(Error::IpOutOfRange));
}

#[test]
fn what_the_definition_sets_aside_is_not_held_though_its_fact_never_came() {
    let mut cluster = Cluster::new(2, 1);
    let mut network = definition(1, 0, "10.0.0.0/24");
    network.subnets[0].gateway = Some(ip("10.0.0.1"));
    network.subnets[0].auxiliary.insert("dns".into(), ip("10.0.0.3"));
    let space = cluster.define(&network);
    cluster.kill(0);
    let kinds = |kind| move |key: &(crate::FactKind, Vec<u8>), _: &mut Vec<u8>| key.0 != kind;
    cluster.kill(1);
    cluster.nodes[1].disk.facts.retain(kinds(crate::FactKind::Allocation));
    cluster.start(1);
    cluster.act(1, |ipam, now| ipam.on_definition(&network, now));
    for bound in ["10.0.0.1", "10.0.0.3"] {
        let refused = replay(&mut cluster, 1, space, ip(bound));
        assert_eq!(refused, Err(Error::IpAlreadyAllocated), "{bound}");
    }
    replay(&mut cluster, 1, space, ip("10.0.0.2")).unwrap();
}

#[test]
fn a_resting_address_counts_as_free_in_a_replay_alone() {
    let (mut cluster, space) = of_the_first(2, "10.0.0.0/24");
    for i in [0, 1] {
        let taken = serial(&mut cluster, 0, space);
        free(&mut cluster, 0, space, taken);
        cluster.run(SECOND);
        let other = cluster.ask(i, swarm(space, Want::Exact(taken)));
        assert!(matches!(other, Err(Error::Resting(_))), "{other:?}");
        assert_eq!(address(&replay(&mut cluster, i, space, taken)), taken);
        cluster.run(SECOND * 61);
        for j in [0, 1] {
            let refused = exact(&mut cluster, j, space, taken, 9);
            assert_eq!(refused, Err(Error::IpAlreadyAllocated), "replayed by {i}, asked of {j}");
        }
    }
}

/// The leader owns all, allocates an address that nobody hears of, and dies.
fn unheard(cluster: &mut Cluster, space: Space) -> IpAddr {
    cluster.no_push = true;
    let taken = serial(cluster, 0, space);
    cluster.kill(0);
    cluster.lose_wire();
    cluster.no_push = false;
    assert_eq!(known(cluster, 1, space, taken), None);
    taken
}

#[test]
fn an_address_whose_owner_is_away_is_held_and_its_owner_honours_that() {
    let (mut cluster, space) = of_the_first(2, "10.0.0.0/24");
    let taken = unheard(&mut cluster, space);
    // The owner never gave this one out, but the leader's store says so.
    let never = ip("10.0.0.77");
    for at in [taken, never] {
        assert_eq!(address(&replay(&mut cluster, 1, space, at)), at);
        assert_eq!(address(&replay(&mut cluster, 1, space, at)), at);
    }
    cluster.start(0);
    for at in [taken, never] {
        assert_eq!(known(&cluster, 0, space, at), Some(Purpose::Swarm));
        for i in [0, 1] {
            let refused = exact(&mut cluster, i, space, at, 1);
            assert_eq!(refused, Err(Error::IpAlreadyAllocated), "{at} at {i}");
        }
    }
    let all = 254 - 2;
    for e in 0..all {
        let given = address(&cluster.any(usize::from(e % 2 == 0), space, 10 + e));
        assert!(given != taken && given != never, "{given}");
    }
    cluster.assert_partition(space);
}

#[test]
fn a_hold_is_durable_before_it_is_answered() {
    let (mut cluster, space) = of_the_first(2, "10.0.0.0/24");
    let taken = unheard(&mut cluster, space);
    cluster.nodes[1].crash = Some(Crash::BeforeCommit);
    let ticket = cluster.submit(1, swarm(space, Want::Replay(taken)));
    assert!(!cluster.is_live(1) && !cluster.answers.contains_key(&ticket));
    cluster.start(1);
    assert_eq!(known(&cluster, 1, space, taken), None);
    cluster.nodes[1].crash = Some(Crash::AfterCommit);
    cluster.submit(1, swarm(space, Want::Replay(taken)));
    cluster.start(1);
    assert_eq!(known(&cluster, 1, space, taken), Some(Purpose::Swarm));
    cluster.start(0);
    let refused = exact(&mut cluster, 0, space, taken, 1);
    assert_eq!(refused, Err(Error::IpAlreadyAllocated));
}

#[test]
fn what_the_owner_wrote_unheard_ends_no_hold() {
    for rounds in [1, 3] {
        let (mut cluster, space) = of_the_first(2, "10.0.0.0/24");
        cluster.halves = Some([0].into());
        cluster.members_changed();
        let at = ip("10.0.0.5");
        for _ in 0..rounds {
            cluster.ask(0, swarm(space, Want::Exact(at))).unwrap();
            free(&mut cluster, 0, space, at);
            cluster.run(SECOND * 61);
        }
        replay(&mut cluster, 1, space, at).unwrap();
        cluster.halves = None;
        cluster.members_changed();
        cluster.run(SECOND * 62);
        for i in [0, 1] {
            assert_eq!(known(&cluster, i, space, at), Some(Purpose::Swarm), "{rounds} at {i}");
            let refused = exact(&mut cluster, i, space, at, 1);
            assert_eq!(refused, Err(Error::IpAlreadyAllocated));
        }
    }
}

#[test]
fn an_owner_cut_off_keeps_its_endpoint_and_then_the_address_is_swarms() {
    let (mut cluster, space) = of_the_first(2, "10.0.0.0/24");
    cluster.halves = Some([0].into());
    cluster.members_changed();
    let at = ip("10.0.0.5");
    exact(&mut cluster, 0, space, at, 1).unwrap();
    replay(&mut cluster, 1, space, at).unwrap();
    cluster.halves = None;
    cluster.members_changed();
    cluster.run(SECOND * 2);
    let purpose = |cluster: &Cluster| cluster.nodes[0].ipam.as_ref().unwrap().purpose(space, at);
    assert_eq!(purpose(&cluster), Some(Purpose::Endpoint(endpoint(1))));
    assert_eq!(known(&cluster, 0, space, at), Some(Purpose::Swarm));
    exact(&mut cluster, 0, space, at, 1).unwrap();
    replay(&mut cluster, 1, space, at).unwrap();
    cluster.kill(0);
    cluster.start(0);
    assert_eq!(known(&cluster, 0, space, at), Some(Purpose::Swarm));
    cluster.release(0, space, at, 1);
    cluster.run(SECOND * 61);
    assert_eq!(purpose(&cluster), Some(Purpose::Swarm));
    assert_eq!(exact(&mut cluster, 0, space, at, 2), Err(Error::IpAlreadyAllocated));
    free(&mut cluster, 1, space, at);
    cluster.run(SECOND * 62);
    exact(&mut cluster, 0, space, at, 2).unwrap();
}

#[test]
fn a_hold_is_released_by_its_owner_once_that_is_back() {
    let (mut cluster, space) = of_the_first(3, "10.0.0.0/24");
    let taken = unheard(&mut cluster, space);
    replay(&mut cluster, 1, space, taken).unwrap();
    cluster.run(SECOND);
    free(&mut cluster, 1, space, taken);
    cluster.kill(1);
    cluster.start(1);
    cluster.run(SECOND * 90);
    assert_eq!(known(&cluster, 2, space, taken), Some(Purpose::Swarm));
    cluster.start(0);
    cluster.run(SECOND * 40);
    assert_eq!(known(&cluster, 2, space, taken), None);
    let open = cluster.nodes[1].disk.records.keys().filter(|key| key[0] == 6).count();
    assert_eq!(open, 0);
    cluster.run(SECOND * 61);
    exact(&mut cluster, 2, space, taken, 1).unwrap();
}

#[test]
fn a_replay_after_a_release_that_is_under_way_outlives_it() {
    for back in [false, true] {
        let (mut cluster, space) = of_the_first(2, "10.0.0.0/24");
        let taken = serial(&mut cluster, 0, space);
        cluster.run(SECOND);
        cluster.kill(0);
        free(&mut cluster, 1, space, taken);
        if back {
            // The owner lives, and hears of the release late.
            cluster.loss = 1000;
            cluster.start(0);
            cluster.run(SECOND / 2);
            cluster.loss = 0;
        }
        replay(&mut cluster, 1, space, taken).unwrap();
        if !back {
            cluster.start(0);
        }
        cluster.run(SECOND * 120);
        for i in [0, 1] {
            assert_eq!(known(&cluster, i, space, taken), Some(Purpose::Swarm), "{back} at {i}");
        }
    }
}

#[test]
fn a_replay_waits_for_an_owner_that_is_not_ready_or_dies() {
    let (mut cluster, space) = of_the_first(2, "10.0.0.0/24");
    let at = ip("10.0.0.5");
    cluster.kill(0);
    cluster.boot(0);
    cluster.members_changed();
    let ticket = cluster.submit(1, swarm(space, Want::Replay(at)));
    cluster.run(SECOND * 4);
    assert!(!cluster.answers.contains_key(&ticket));
    cluster.act(0, |ipam, now| ipam.on_ready(now));
    cluster.answer(ticket).unwrap();
    assert_eq!(known(&cluster, 0, space, at), Some(Purpose::Swarm));

    let at = ip("10.0.0.6");
    cluster.loss = 1000;
    let ticket = cluster.submit(1, swarm(space, Want::Replay(at)));
    cluster.run(SECOND * 5);
    assert!(!cluster.answers.contains_key(&ticket));
    cluster.kill(0);
    assert!(cluster.answers.remove(&ticket).unwrap().is_ok());

    cluster.start(0);
    let before = cluster.now;
    let refused = replay(&mut cluster, 1, space, ip("10.0.0.7"));
    assert!(matches!(refused, Err(Error::OwnerAway { .. })), "{refused:?}");
    assert_eq!(cluster.now - before, SECOND * 10);
}

#[test]
fn a_late_copy_of_an_ask_allocates_nothing() {
    let (mut cluster, space) = of_the_first(2, "10.0.0.0/24");
    let at = ip("10.0.0.5");
    for claim in [Claim::Exact, Claim::Replay] {
        replay(&mut cluster, 1, space, at).unwrap();
        free(&mut cluster, 1, space, at);
        cluster.run(SECOND * 62);
        assert_eq!(known(&cluster, 0, space, at), None);
        let message = Message::Hold {
            id: TransferId { boot: 1, serial: 1 },
            subject: space.subject(),
            at: space.offset(at).unwrap(),
            kind: crate::allocation::Kind::Swarm,
            claim,
            after: 0,
        };
        let late = crate::codec::encode(&message);
        cluster.act(0, |ipam, now| ipam.handle_message(id(1), &late, now));
        assert_eq!(known(&cluster, 0, space, at), None, "{claim:?}");
    }
    exact(&mut cluster, 0, space, at, 1).unwrap();
}

#[test]
fn the_heir_of_a_range_honours_what_was_held_there() {
    let (mut cluster, space) = of_the_first(3, "10.0.0.0/24");
    let at = unheard(&mut cluster, space);
    replay(&mut cluster, 1, space, at).unwrap();
    cluster.start(0);
    cluster.act(0, |ipam, now| ipam.leave(now));
    cluster.run(SECOND);
    cluster.remove(0);
    cluster.run(SECOND * 62);
    for i in [1, 2] {
        assert_eq!(exact(&mut cluster, i, space, at, 1), Err(Error::IpAlreadyAllocated));
        assert_eq!(address(&replay(&mut cluster, i, space, at)), at);
    }
    free(&mut cluster, 1, space, at);
    cluster.run(SECOND * 62);
    exact(&mut cluster, 2, space, at, 1).unwrap();
}

#[test]
fn two_nodes_that_ask_for_a_gateway_at_once_get_the_same() {
    for late in [0, 1, 2, 3, 4] {
        let (mut cluster, space) = of_the_first(3, "10.0.0.0/24");
        cluster.no_push = true;
        let gateway = || request(space, Want::First, Purpose::Gateway);
        let mut tickets = vec![cluster.submit(1, gateway())];
        cluster.run(Duration::from_millis(late));
        tickets.extend([cluster.submit(2, gateway()), cluster.submit(0, gateway())]);
        for ticket in tickets {
            assert_eq!(address(&cluster.answer(ticket)), ip("10.0.0.1"), "after {late} ms");
        }
    }
}

#[test]
fn a_gateway_without_address_is_the_first_or_none() {
    let (mut cluster, space) = of_the_first(2, "10.0.0.0/24");
    let gateway = |want| request(space, want, Purpose::Gateway);
    assert_eq!(address(&cluster.any(1, space, 1)), ip("10.0.0.171"));
    exact(&mut cluster, 1, space, ip("10.0.0.1"), 2).unwrap();
    for i in [0, 1] {
        let refused = cluster.ask(i, gateway(Want::First));
        assert_eq!(refused, Err(Error::IpAlreadyAllocated));
    }
    // One that is named is the gateway from then on.
    let named = address(&cluster.ask(1, gateway(Want::Exact(ip("10.0.0.9")))));
    cluster.run(SECOND);
    for i in [0, 1] {
        assert_eq!(address(&cluster.ask(i, gateway(Want::First))), named);
    }
}

#[test]
fn one_auxiliary_address_is_shared_by_its_name() {
    let (mut cluster, space) = of_the_first(3, "10.0.0.0/24");
    let at = ip("10.0.0.9");
    let dns = |at| request(space, Want::Exact(at), Purpose::Auxiliary("dns".into()));
    cluster.no_push = true;
    let tickets: Vec<Ticket> = (0..3).map(|i| cluster.submit(i, dns(at))).collect();
    for ticket in tickets {
        assert_eq!(address(&cluster.answer(ticket)), at);
    }
    let ntp = request(space, Want::Exact(at), Purpose::Auxiliary("ntp".into()));
    for i in 0..3 {
        assert_eq!(cluster.ask(i, ntp.clone()), Err(Error::IpAlreadyAllocated));
        assert_eq!(cluster.ask(i, dns(ip("10.0.0.8"))), Err(Error::IpAlreadyAllocated));
    }
}
