//! Whoever claimed that members be forgotten takes over what they own.

use std::time::Duration;

use weft_api::Vni;

use super::cluster::{Cluster, Crash, address, definition, id, pools};
use crate::Error;
use crate::request::{Block, BlockWant, Granted};
use crate::space::Space;

const SECOND: Duration = Duration::from_secs(1);

/// What networkdb does until a forget is in force: the victims are down, and all who are left have
/// told the heir what they know.
fn forget(cluster: &mut Cluster, heir: usize, victims: &[usize]) {
    for &victim in victims {
        cluster.bury(victim);
    }
    for other in cluster.live() {
        cluster.sync(heir, other);
    }
    inherit(cluster, heir, victims);
}

fn inherit(cluster: &mut Cluster, heir: usize, victims: &[usize]) {
    let victims: Vec<_> = victims.iter().map(|victim| id(*victim)).collect();
    cluster.act(heir, |ipam, now| ipam.inherit(&victims, &[], now));
}

/// Three nodes, each of which owns a part.
fn three(pool: &str) -> (Cluster, Space) {
    let mut cluster = Cluster::new(3, 1);
    let space = cluster.define(&definition(1, 0, pool));
    (cluster, space)
}

#[test]
fn an_heir_has_all_that_the_forgotten_owned_and_it_rests_whole() {
    let (mut cluster, space) = three("10.0.0.0/28");
    let used = address(&cluster.any(0, space, 1));
    forget(&mut cluster, 1, &[0]);
    let rests = cluster.exact(1, space, &used.to_string(), 2);
    assert!(matches!(rests, Err(Error::Resting(_))), "{rests:?}");
    cluster.run(SECOND * 61);
    cluster.assert_partition(space);
    assert!(!cluster.owners(2, space).contains_key(&id(0)));
    for e in 0..14 {
        cluster
            .any(1 + usize::from(e % 2 == 0), space, 10 + e)
            .unwrap_or_else(|error| panic!("{e}: {error}"));
    }
}

#[test]
fn what_the_forgotten_gave_away_stays_with_whoever_has_it() {
    let (mut cluster, space) = three("10.0.0.0/24");
    cluster.no_push = true;
    // The grant is durable at its receiver, and nobody else has heard of it.
    cluster.exact(2, space, "10.0.0.3", 1).unwrap();
    forget(&mut cluster, 1, &[0]);
    cluster.assert_partition(space);
    let refused = cluster.exact(1, space, "10.0.0.3", 2);
    assert_eq!(refused, Err(Error::IpAlreadyAllocated));
}

#[test]
fn an_heir_that_crashes_in_the_drain_has_all_or_nothing() {
    for (how, owners) in [(Crash::BeforeCommit, 3), (Crash::AfterCommit, 2)] {
        let (mut cluster, space) = three("10.0.0.0/28");
        cluster.kill(0);
        cluster.remove(0);
        cluster.nodes[1].crash = Some(how);
        inherit(&mut cluster, 1, &[0]);
        assert!(!cluster.is_live(1), "{how:?}");
        cluster.start(1);
        assert_eq!(cluster.owners(1, space).len(), owners, "{how:?}");
    }
}

#[test]
fn what_is_learnt_later_is_the_heirs_too_also_after_a_restart() {
    let (mut cluster, space) = three("10.0.0.0/28");
    cluster.halves = Some([2].into());
    cluster.members_changed();
    forget(&mut cluster, 1, &[0]);
    cluster.kill(1);
    cluster.start(1);
    // A network that only the one who was away knows of.
    let late = super::cluster::space_of(&definition(2, 0, "10.0.1.0/28"));
    let mut marks = crate::interval::IntervalMap::default();
    let (low, high) = late.bounds();
    marks.set(low, high, crate::ranges::Mark { version: 4, owner: id(0) });
    let bytes = crate::ranges::encode_marks(&marks);
    let kind = crate::FactKind::Ranges;
    cluster.act(1, |ipam, now| ipam.handle_fact(kind, &late.subject(), &bytes, now));
    assert_eq!(cluster.owners(1, late), [(id(1), 16)].into());
    assert!(!cluster.owners(1, space).contains_key(&id(0)));
}

#[test]
fn a_network_that_the_forgotten_made_and_never_founded_is_founded_by_the_heir() {
    let mut cluster = Cluster::new(3, 1);
    forget(&mut cluster, 1, &[0]);
    let space = cluster.define(&definition(1, 0, "10.0.0.0/28"));
    // Whether its maker had given anything out nobody knows.
    cluster.run(SECOND * 61);
    cluster.any(2, space, 1).unwrap();
    cluster.assert_partition(space);
}

#[test]
fn an_owner_that_was_away_loses_what_an_heir_took_and_goes_on() {
    let (mut cluster, space) = three("10.0.0.0/24");
    cluster.no_push = true;
    cluster.exact(2, space, "10.0.0.3", 1).unwrap();
    cluster.halves = Some([2].into());
    cluster.members_changed();
    // By force: the second is not asked, so the heir does not know of its address.
    forget(&mut cluster, 1, &[0]);
    cluster.halves = None;
    cluster.members_changed();
    cluster.sync(1, 2);
    let taken_over = |alarm: &String| alarm.contains("was taken over by");
    assert!(!cluster.alarms.is_empty() && cluster.alarms.iter().all(taken_over));
    let answer = cluster.any(2, space, 2);
    assert!(answer.is_ok(), "it is not stopped: {answer:?}");
    let heir = cluster.nodes[1].ipam.as_ref().unwrap();
    let at = space.offset("10.0.0.3".parse().unwrap()).unwrap();
    assert_eq!(heir.pools[&space].owner(at), Some(id(1)));
    assert_eq!(cluster.owners(1, space), cluster.owners(2, space));
}

#[test]
fn who_has_not_heard_of_owners_says_so() {
    let mut cluster = Cluster::new(2, 1);
    cluster.no_push = true;
    cluster.act(0, |ipam, now| ipam.found_cluster(&pools(), now));
    let knows =
        |cluster: &Cluster, n: usize| cluster.nodes[n].ipam.as_ref().unwrap().knows_owners();
    assert!(knows(&cluster, 0) && !knows(&cluster, 1));
    cluster.sync(0, 1);
    assert!(knows(&cluster, 1));
}

#[test]
fn an_heir_takes_no_vni_that_a_network_ever_had() {
    let mut cluster = Cluster::new(2, 1);
    cluster.act(0, |ipam, now| ipam.found_cluster(&pools(), now));
    cluster.run(SECOND);
    let Ok(Granted::Block(Block::Vni(spent))) = cluster.take(0, BlockWant::Vni, &[]) else {
        panic!("no VNI");
    };
    cluster.kill(0);
    cluster.remove(0);
    cluster.act(1, |ipam, now| ipam.inherit(&[id(0)], &[spent], now));
    cluster.run(SECOND * 61);
    let refused = cluster.take(1, BlockWant::ExactVni(spent), &[]);
    assert_eq!(refused, Err(Error::IpAlreadyAllocated));
    let next = Vni::new(spent.get() + 1).unwrap();
    assert_eq!(
        cluster.take(1, BlockWant::ExactVni(next), &[]),
        Ok(Granted::Block(Block::Vni(next)))
    );
}

#[test]
fn what_nobody_heard_of_in_a_network_of_the_forgotten_is_the_heirs_too() {
    for heard_of_late in [false, true] {
        unheard_of(heard_of_late);
    }
}

fn unheard_of(heard_of_late: bool) {
    let mut cluster = Cluster::new(3, 1);
    cluster.no_push = true;
    cluster.loss = 1000;
    let mut network = definition(1, 0, "10.0.0.0/24");
    network.subnets[0].gateway = Some("10.0.0.1".parse().unwrap());
    let space = if heard_of_late {
        cluster.act(0, |ipam, now| ipam.on_definition(&network, now));
        super::cluster::space_of(&network)
    } else {
        cluster.define(&network)
    };
    // Of all that its maker wrote one gift has come.
    cluster.loss = 0;
    cluster.run(SECOND / 4 * 3);
    let before = cluster.owners(1, space);
    assert!(!before.contains_key(&id(0)) && !before.is_empty(), "{before:?}");
    forget(&mut cluster, 1, &[0]);
    if heard_of_late {
        for node in [1, 2] {
            cluster.act(node, |ipam, now| ipam.on_definition(&network, now));
        }
    }
    cluster.run(SECOND * 61);
    cluster.assert_partition(space);
    for e in 0..100 {
        let given = address(&cluster.any(1 + usize::from(e % 2 == 0), space, e));
        assert_ne!(Some(given), network.subnets[0].gateway);
    }
}

#[test]
fn an_heir_that_founds_and_then_hears_of_what_another_holds_stops_nobody() {
    let mut cluster = Cluster::new(4, 1);
    cluster.no_push = true;
    // The maker and the last one are cut off; it gives to that one, and is lost.
    cluster.halves = Some([0, 3].into());
    cluster.members_changed();
    let network = definition(1, 0, "10.0.0.0/24");
    for node in [0, 3] {
        cluster.act(node, |ipam, now| ipam.on_definition(&network, now));
    }
    let space = super::cluster::space_of(&network);
    cluster.exact(3, space, "10.0.0.200", 1).unwrap();
    cluster.bury(0);
    // By force, since one is away; it hears of the network before it hears who owns what.
    inherit(&mut cluster, 1, &[0]);
    for node in [1, 2] {
        cluster.act(node, |ipam, now| ipam.on_definition(&network, now));
    }
    cluster.halves = None;
    cluster.members_changed();
    cluster.sync(1, 3);
    cluster.run(SECOND * 65);
    let taken_over = |alarm: &String| alarm.contains("was taken over by");
    assert!(cluster.alarms.iter().all(taken_over), "{:?}", cluster.alarms);
    cluster.alarms.clear();
    cluster.assert_partition(space);
    for (node, e) in [(1, 10), (2, 11), (3, 12)] {
        cluster.any(node, space, e).unwrap();
    }
}
