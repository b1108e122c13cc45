//! One schedule beside each rule that it would break.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::cluster::{Cluster, Crash, address, definition, endpoint, id};
use crate::Error;
use crate::message::{AskWant, Message, TransferId};
use crate::request::{Purpose, Request, Want};
use crate::space::Space;

const SECOND: Duration = Duration::from_secs(1);

/// Two nodes; all of the pool is the first's but what it gave the second at birth.
fn pair(pool: &str) -> (Cluster, Space) {
    let mut cluster = Cluster::new(2, 1);
    let space = cluster.define(&definition(1, 0, pool));
    (cluster, space)
}

/// Two nodes; the second was away at the network's birth and owns nothing.
fn poor_second(pool: &str) -> (Cluster, Space) {
    let mut cluster = Cluster::new(2, 1);
    cluster.kill(1);
    let space = cluster.define(&definition(1, 0, pool));
    cluster.start(1);
    (cluster, space)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn two_nodes_exhaust_one_pool_to_its_last_usable_address() {
    for pool in ["10.0.0.0/24", "10.0.0.0/28", "10.0.0.0/31", "fd00::/120"] {
        let (mut cluster, space) = poor_second(pool);
        let (low, high) = space.usable();
        let usable = u64::try_from(high - low + 1).unwrap();
        for e in 0..usable {
            let node = usize::from(e % 3 != 0);
            cluster.any(node, space, e).unwrap();
        }
        for node in [0, 1] {
            let refused = cluster.any(node, space, 1000);
            assert!(matches!(refused, Err(Error::NoAvailableIps(_))), "{pool}: {refused:?}");
        }
        cluster.assert_partition(space);
    }
}

#[test]
fn first_grant_is_in_proportion_and_later_ones_double() {
    let (mut cluster, space) = poor_second("10.0.0.0/24");
    let mut grants = Vec::new();
    let mut owned = 0;
    for e in 0..120 {
        cluster.any(1, space, e).unwrap();
        let now = cluster.owners(1, space)[&id(1)];
        if now != owned {
            grants.push(now - owned);
            owned = now;
        }
    }
    assert_eq!(grants, [84, 85]);
}

#[test]
fn a_donor_that_crashed_between_fsync_and_answer_loses_no_space() {
    let (mut cluster, space) = poor_second("10.0.0.0/24");
    cluster.no_push = true;
    let request = request(space, Want::First, 1);
    let ticket = cluster.submit(1, request);
    cluster.nodes[0].crash = Some(Crash::AfterCommit);
    cluster.run(Duration::from_millis(5));
    assert!(!cluster.is_live(0));
    cluster.lose_wire();
    assert!(matches!(cluster.answer(ticket), Err(Error::NoAvailableIps(_))));
    // The asker learns of its range from the facts alone, and may use it after a rest.
    cluster.start(0);
    cluster.run(SECOND * 62);
    cluster.kill(0);
    cluster.any(1, space, 1).unwrap();
    cluster.start(0);
    cluster.assert_partition(space);
}

#[test]
fn a_donor_that_crashed_before_fsync_has_given_nothing() {
    let (mut cluster, space) = poor_second("10.0.0.0/24");
    let ticket = cluster.submit(1, request(space, Want::First, 1));
    cluster.nodes[0].crash = Some(Crash::BeforeCommit);
    cluster.run(Duration::from_millis(5));
    assert!(cluster.answer(ticket).is_err());
    cluster.start(0);
    assert_eq!(cluster.owners(0, space).len(), 1);
    cluster.any(1, space, 1).unwrap();
    cluster.assert_partition(space);
}

#[test]
fn a_receiver_that_crashed_before_fsync_gets_the_same_grant_or_learns_it() {
    let (mut cluster, space) = poor_second("10.0.0.0/24");
    cluster.no_push = true;
    cluster.submit(1, request(space, Want::First, 1));
    cluster.run(Duration::from_millis(4));
    cluster.kill(1);
    cluster.lose_wire();
    cluster.start(1);
    cluster.run(SECOND * 61);
    assert_eq!(cluster.owners(0, space), cluster.owners(1, space));
    cluster.any(1, space, 1).unwrap();
    cluster.assert_partition(space);
}

#[test]
fn a_repeated_ask_is_answered_alike_also_after_a_restart() {
    let (mut cluster, space) = poor_second("10.0.0.0/24");
    let ask = |cluster: &mut Cluster, serial| {
        let id = TransferId { boot: 77, serial };
        let ranges = vec![space.usable()];
        let urgency = crate::message::Urgency::Waiting;
        let want = AskWant::Block { ranges, need: 1, last: 0, urgency };
        let message = Message::Ask { id, subject: space.subject(), want };
        let bytes = crate::codec::encode(&message);
        cluster.act(0, |ipam, now| ipam.handle_message(super::cluster::id(1), &bytes, now));
        cluster.owners(0, space)
    };
    let once = ask(&mut cluster, 1);
    assert_eq!(ask(&mut cluster, 1), once);
    cluster.kill(0);
    cluster.start(0);
    assert_eq!(ask(&mut cluster, 1), once);
    let twice = ask(&mut cluster, 2);
    assert_ne!(twice, once);
    // Memory is bounded: what is older than all that is remembered is not answered again.
    for serial in 3..100 {
        ask(&mut cluster, serial);
    }
    let records = cluster.nodes[0].disk.records.keys().filter(|key| key[0] == 5).count();
    assert!(records <= 64, "{records}");
    let before = cluster.owners(0, space);
    assert_eq!(ask(&mut cluster, 1), before);
}

#[test]
fn a_late_grant_frees_no_address_that_rests_since() {
    let (mut cluster, space) = poor_second("10.0.0.0/30");
    let taken = address(&cluster.exact(1, space, "10.0.0.2", 1));
    let marks = cluster.nodes[1].ipam.as_ref().unwrap().pools[&space].marks.clone();
    cluster.release(1, space, taken, 1);
    let message = Message::Grant {
        id: TransferId { boot: 1, serial: 1 },
        subject: space.subject(),
        delta: crate::ranges::encode_marks(&marks),
    };
    let bytes = crate::codec::encode(&message);
    cluster.act(1, |ipam, now| ipam.handle_message(id(0), &bytes, now));
    assert!(matches!(cluster.exact(1, space, "10.0.0.2", 2), Err(Error::Resting(_))));
}

#[test]
fn a_resting_address_is_not_donated() {
    let (mut cluster, space) = poor_second("10.0.0.0/30");
    let first = address(&cluster.any(0, space, 1));
    let second = address(&cluster.any(0, space, 2));
    cluster.release(0, space, first, 1);
    let refused = cluster.any(1, space, 3);
    assert!(matches!(refused, Err(Error::NoAvailableIps(_))), "{refused:?}");
    let resting = cluster.exact(1, space, &first.to_string(), 3);
    assert!(matches!(resting, Err(Error::Resting(_))), "{resting:?}");
    assert_eq!(cluster.exact(1, space, &second.to_string(), 3), Err(Error::IpAlreadyAllocated));
    cluster.run(SECOND * 61);
    assert_eq!(address(&cluster.any(1, space, 3)), first);
}

#[test]
fn an_explicit_address_of_another_comes_alone() {
    let (mut cluster, space) = poor_second("10.0.0.0/24");
    assert_eq!(address(&cluster.exact(1, space, "10.0.0.77", 1)), ip("10.0.0.77"));
    assert_eq!(cluster.owners(1, space)[&id(1)], 1);
    assert_eq!(cluster.exact(0, space, "10.0.0.77", 2), Err(Error::IpAlreadyAllocated));
}

#[test]
fn an_ask_that_reaches_a_former_owner_is_sent_on() {
    let mut cluster = Cluster::new(3, 1);
    cluster.kill(1);
    cluster.kill(2);
    let space = cluster.define(&definition(1, 0, "10.0.0.0/24"));
    cluster.start(1);
    cluster.start(2);
    cluster.no_push = true;
    cluster.exact(1, space, "10.0.0.9", 1).unwrap();
    cluster.release(1, space, ip("10.0.0.9"), 1);
    cluster.lose_wire();
    let answer = cluster.exact(2, space, "10.0.0.9", 2);
    assert!(matches!(answer, Err(Error::Resting(_))), "{answer:?}");
}

#[test]
fn owners_that_are_away_are_named_and_those_alive_are_not() {
    let mut cluster = Cluster::new(3, 1);
    let space = cluster.define(&definition(1, 0, "10.0.0.0/28"));
    cluster.kill(2);
    let mut e = 0;
    let shortage = loop {
        e += 1;
        match cluster.any(1, space, e) {
            Ok(_) => {}
            Err(Error::NoAvailableIps(shortage)) => break shortage,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(shortage.away, [id(2)]);
    let text = Error::NoAvailableIps(shortage).to_string();
    let start = "no available addresses on this pool; owners of other parts of it are away: 0303";
    assert!(text.starts_with(start), "{text}");
    let away = cluster.nodes[0].ipam.as_ref().unwrap().pools[&space].marks.clone();
    let away = away.iter().find(|(_, _, mark)| mark.owner == id(2)).unwrap().0;
    let theirs = space.show(away);
    let refused = cluster.exact(1, space, &theirs, 99);
    assert_eq!(refused, Err(Error::OwnerAway { address: theirs, owner: id(2) }));
}

#[test]
fn a_silent_owner_is_passed_over() {
    let mut cluster = Cluster::new(3, 1);
    cluster.kill(2);
    let space = cluster.define(&definition(1, 0, "10.0.0.0/28"));
    cluster.start(2);
    // All but the second's part is out of reach, though nobody has noticed.
    cluster.halves = Some([0].into());
    let before = cluster.now;
    cluster.any(2, space, 1).unwrap();
    assert!(cluster.now - before < SECOND * 3);
}

#[test]
fn a_leaver_hands_over_all_and_what_was_in_use_rests_whole() {
    let (mut cluster, space) = pair("10.0.0.0/28");
    let used = address(&cluster.any(0, space, 1));
    cluster.release(0, space, used, 1);
    cluster.act(0, |ipam, now| ipam.leave(now));
    cluster.run(SECOND);
    assert_eq!(cluster.leave_done[&0], []);
    cluster.remove(0);
    assert_eq!(cluster.owners(1, space), [(id(1), 16)].into());
    let rests = cluster.exact(1, space, &used.to_string(), 2);
    assert!(matches!(rests, Err(Error::Resting(_))), "{rests:?}");
    // What the leaver knew as rested is of use at once.
    for e in 10..23 {
        cluster.any(1, space, e).unwrap();
    }
    cluster.run(SECOND * 61);
    cluster.exact(1, space, &used.to_string(), 2).unwrap();
    assert_eq!(cluster.any(0, space, 50), Err(Error::Leaving));
}

#[test]
fn a_leave_waits_for_every_live_member_and_not_for_ever() {
    let mut cluster = Cluster::new(3, 1);
    let space = cluster.define(&definition(1, 0, "10.0.0.0/24"));
    cluster.loss = 1000;
    cluster.act(0, |ipam, now| ipam.leave(now));
    cluster.run(SECOND * 5);
    assert_eq!(cluster.leave_done.get(&0), None);
    cluster.loss = 0;
    cluster.run(SECOND);
    assert_eq!(cluster.leave_done[&0], []);
    cluster.remove(0);
    assert!(!cluster.owners(1, space).contains_key(&id(0)));
    assert_eq!(cluster.owners(1, space), cluster.owners(2, space));

    cluster.loss = 1000;
    cluster.no_push = true;
    cluster.act(1, |ipam, now| ipam.leave(now));
    cluster.run(SECOND * 11);
    assert_eq!(cluster.leave_done[&1], [id(2)]);
}

#[test]
fn a_leaver_keeps_what_an_endpoint_still_holds() {
    let (mut cluster, space) = pair("10.0.0.0/28");
    let used = address(&cluster.any(0, space, 1));
    cluster.act(0, |ipam, now| ipam.leave(now));
    cluster.run(SECOND);
    cluster.remove(0);
    assert_eq!(cluster.owners(1, space)[&id(0)], 1);
    let refused = cluster.exact(1, space, &used.to_string(), 2);
    assert!(matches!(refused, Err(Error::OwnerAway { .. })), "{refused:?}");
}

#[test]
fn the_last_member_leaves_at_once() {
    let mut cluster = Cluster::new(1, 1);
    cluster.define(&definition(1, 0, "10.0.0.0/24"));
    cluster.act(0, |ipam, now| ipam.leave(now));
    assert_eq!(cluster.leave_done[&0], []);
}

#[test]
fn a_leave_before_ready_waits_for_ready() {
    let (mut cluster, space) = pair("10.0.0.0/28");
    cluster.kill(0);
    cluster.boot(0);
    cluster.members_changed();
    cluster.act(0, |ipam, now| ipam.leave(now));
    cluster.run(SECOND);
    assert_eq!(cluster.leave_done.get(&0), None);
    cluster.act(0, |ipam, now| ipam.on_ready(now));
    cluster.run(SECOND);
    assert_eq!(cluster.leave_done[&0], []);
    assert_eq!(cluster.owners(1, space), [(id(1), 16)].into());
}

#[test]
fn a_release_reaches_the_owner_of_the_range_though_messages_and_askers_die() {
    let (mut cluster, space) = pair("10.0.0.0/28");
    let gateway = |want| Request { space, want, within: None, purpose: Purpose::Gateway };
    let first = address(&cluster.ask(0, gateway(Want::First)));
    cluster.run(SECOND * 2);
    cluster.kill(0);
    cluster.act(1, |ipam, now| ipam.release(space, first, &Purpose::Gateway, now));
    cluster.kill(1);
    cluster.start(0);
    cluster.start(1);
    cluster.run(SECOND * 5);
    let rests = cluster.ask(0, gateway(Want::Exact(first)));
    assert!(matches!(rests, Err(Error::Resting(_))), "{rests:?}");
    cluster.run(SECOND * 61);
    let open = cluster.nodes[1].disk.records.keys().filter(|key| key[0] == 6).count();
    assert_eq!(open, 0);
    // The second generation outlives a late copy of the first one's release.
    cluster.ask(0, gateway(Want::Exact(first))).unwrap();
    let at = space.offset(first).unwrap();
    let late = Message::Release { subject: space.subject(), at, generation: 1 };
    let late = crate::codec::encode(&late);
    cluster.act(0, |ipam, now| ipam.handle_message(id(1), &late, now));
    assert_eq!(cluster.exact(0, space, &first.to_string(), 9), Err(Error::IpAlreadyAllocated));
}

#[test]
fn an_allocation_without_endpoint_survives_its_owners_leave() {
    let (mut cluster, space) = pair("10.0.0.0/28");
    let purpose = Purpose::Swarm;
    let want = Want::Serial;
    let request = Request { space, want, within: None, purpose: purpose.clone() };
    let taken = address(&cluster.ask(0, request.clone()));
    cluster.act(0, |ipam, now| ipam.leave(now));
    cluster.run(SECOND);
    cluster.remove(0);
    cluster.run(SECOND * 61);
    assert_eq!(cluster.exact(1, space, &taken.to_string(), 1), Err(Error::IpAlreadyAllocated));
    let replay = Request { want: Want::Exact(taken), ..request };
    assert_eq!(address(&cluster.ask(1, replay)), taken);
    cluster.act(1, |ipam, now| ipam.release(space, taken, &purpose, now));
    cluster.run(SECOND * 61);
    cluster.exact(1, space, &taken.to_string(), 1).unwrap();
}

#[test]
fn a_rolled_back_disk_stops_its_node() {
    let (mut cluster, space) = poor_second("10.0.0.0/24");
    cluster.act(0, |ipam, now| ipam.found_cluster(&super::cluster::pools(), now));
    cluster.run(SECOND);
    let may_inherit = |cluster: &Cluster| cluster.nodes[0].ipam.as_ref().unwrap().knows_owners();
    assert!(may_inherit(&cluster));
    let old = cluster.nodes[0].disk.clone();
    cluster.exact(1, space, "10.0.0.200", 1).unwrap();
    cluster.run(SECOND);
    cluster.kill(0);
    cluster.nodes[0].disk = old;
    cluster.start(0);
    assert_eq!(cluster.alarms.len(), 1, "{:?}", cluster.alarms);
    assert_eq!(cluster.any(0, space, 2), Err(Error::RolledBack));
    assert!(!may_inherit(&cluster));
    assert_eq!(cluster.exact(1, space, "10.0.0.200", 1).map(|_| ()), Ok(()));
}

#[test]
fn one_version_with_two_owners_is_an_alarm() {
    let mut cluster = Cluster::new(3, 1);
    let space = cluster.define(&definition(1, 0, "10.0.0.0/24"));
    let forged = |owner| {
        let mut marks = crate::interval::IntervalMap::default();
        marks.set(0, 0, crate::ranges::Mark { version: 9, owner });
        crate::ranges::encode_marks(&marks)
    };
    let (one, other) = (forged(id(4)), forged(id(5)));
    for bytes in [one, other] {
        let subject = space.subject();
        let kind = crate::FactKind::Ranges;
        cluster.act(1, |ipam, now| ipam.handle_fact(kind, &subject, &bytes, now));
    }
    assert_eq!(cluster.alarms.len(), 1, "{:?}", cluster.alarms);
}

#[test]
fn every_reason_to_wake_is_served() {
    use crate::output::Reason;
    let mut seen = BTreeSet::new();
    let mut cluster = Cluster::new(3, 1);
    let space = cluster.define(&definition(1, 0, "10.0.0.0/28"));
    let gateway = Request { space, want: Want::First, within: None, purpose: Purpose::Gateway };
    let first = address(&cluster.ask(0, gateway));
    let used = address(&cluster.any(0, space, 7));
    cluster.run(SECOND * 2);
    cluster.loss = 1000;
    cluster.act(0, |ipam, now| ipam.found_cluster(&super::cluster::pools(), now));
    cluster.act(1, |ipam, now| ipam.release(space, first, &Purpose::Gateway, now));
    cluster.release(0, space, used, 7);
    let unknown = super::cluster::space_of(&definition(9, 0, "10.0.0.0/28"));
    cluster.submit(1, request(unknown, Want::First, 1));
    cluster.act(2, |ipam, now| ipam.leave(now));
    for _ in 0..2000 {
        let ipams = cluster.nodes.iter().filter_map(|node| node.ipam.as_ref());
        seen.extend(ipams.filter_map(|ipam| ipam.poll_timeout()).map(|timeout| timeout.1));
        cluster.step();
    }
    let all = [
        Reason::Deadline,
        Reason::Ask,
        Reason::Rest,
        Reason::TopUp,
        Reason::Transfer,
        Reason::Release,
        Reason::Leave,
    ];
    assert_eq!(seen, all.into());
}

fn request(space: Space, want: Want, e: u64) -> Request {
    Request { space, want, within: None, purpose: Purpose::Endpoint(endpoint(e)) }
}
