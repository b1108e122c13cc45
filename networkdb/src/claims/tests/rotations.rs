//! The key is rotated once every member that must has it.

use super::cluster::{Cluster, Faults, id};
use super::*;
use crate::claims::{ClaimError, MemberChange, Message, Reach};
use crate::keys::Fingerprint;

fn key(n: u8) -> Fingerprint {
    Fingerprint::from_bytes([n; 8])
}

fn rotate(n: u8, reach: Reach) -> ClaimBody {
    ClaimBody::Rotate { key: key(n), rotation: 1, base: key(0), reach }
}

fn rotated(cluster: &Cluster, n: u8) -> Option<Fingerprint> {
    cluster.node(n).world.rotated
}

#[test]
fn a_key_that_all_have_is_in_force_with_all() {
    let mut cluster = Cluster::new(5, 1);
    let claim = cluster.submit(1, rotate(9, Reach::Everyone));
    cluster.run_for(SECOND);
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Rotated(key(9)));
    assert!((1..=5).all(|n| rotated(&cluster, n) == Some(key(9))));
    assert!((1..=5).all(|n| cluster.node(n).world.kept.is_empty()), "no claim needs it any more");
}

#[test]
fn a_sole_member_rotates_at_once() {
    let mut cluster = Cluster::new(1, 1);
    let claim = cluster.submit(1, rotate(9, Reach::Everyone));
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Rotated(key(9)));
}

#[test]
fn who_has_not_got_the_key_does_not_accept_and_is_asked_again() {
    let mut cluster = Cluster::new(3, 1);
    cluster.node_mut(3).world.lacks_key.insert(key(9));
    let claim = cluster.submit(1, rotate(9, Reach::Everyone));
    cluster.run_for(SECOND);
    assert!(cluster.node(1).decided.is_empty(), "3 lacks it");
    assert!((1..=3).all(|n| rotated(&cluster, n).is_none()));
    cluster.node_mut(3).world.lacks_key.clear();
    cluster.run_for(SECOND);
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Rotated(key(9)));
}

#[test]
fn a_failed_member_must_accept_too_unless_it_is_forced() {
    let mut cluster = Cluster::new(3, 1);
    cluster.crash(3);
    cluster.declare_to_all(3, MemberChange::Failed);
    let claim = cluster.submit(1, rotate(8, Reach::Everyone));
    cluster.run_for(SECOND * 6);
    let unanswered = ClaimError::Unanswered { members: vec![id(3)] };
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Refused(unanswered));
    assert!((1..=2).all(|n| cluster.node(n).world.kept.is_empty()), "withdrawn everywhere");
    let claim = cluster.submit(1, rotate(9, Reach::Present));
    cluster.run_for(SECOND);
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Rotated(key(9)));
}

#[test]
fn of_two_rotations_at_once_one_is_in_force_and_the_other_is_refused_by_name() {
    for seed in 0..50 {
        let mut cluster = Cluster::new(4, seed);
        cluster.faults = Faults { loss: 20, duplicate: 10, jitter_ms: 30 };
        let claims =
            [(1, 8), (2, 9)].map(|(n, key)| (n, cluster.submit(n, rotate(key, Reach::Everyone))));
        cluster.run_for(SECOND * 12);
        let outcomes: Vec<&Outcome> =
            claims.iter().map(|(n, claim)| outcome(&cluster, *n, *claim)).collect();
        let won = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Rotated(_))).count();
        assert_eq!(won, 1, "seed {seed}: {outcomes:?}");
        let lost = outcomes.iter().find(|outcome| matches!(outcome, Outcome::Refused(_))).unwrap();
        assert_eq!(**lost, Outcome::Refused(ClaimError::Rotated), "seed {seed}");
        let keys: Vec<_> = (1..=4).map(|n| rotated(&cluster, n)).collect();
        assert!(keys.iter().all(|key| key.is_some() && *key == keys[0]), "seed {seed}: {keys:?}");
        assert!((1..=4).all(|n| cluster.node(n).world.kept.is_empty()), "seed {seed}");
    }
}

#[test]
fn two_rotations_of_one_node_are_told_apart() {
    let mut cluster = Cluster::new(2, 1);
    let (first, second) =
        cluster.submit_two(1, rotate(8, Reach::Everyone), rotate(9, Reach::Everyone));
    cluster.run_for(SECOND);
    assert_eq!(*outcome(&cluster, 1, first), Outcome::Rotated(key(8)));
    assert_eq!(*outcome(&cluster, 1, second), Outcome::Refused(ClaimError::Rotating));
}

#[test]
fn a_claimant_that_crashes_withdraws_and_the_next_rotation_goes_through() {
    let mut cluster = Cluster::new(3, 1);
    cluster.cut_one_way(3, 1);
    cluster.submit(1, rotate(8, Reach::Everyone));
    cluster.run_for(MS * 50);
    assert!(cluster.node(2).world.kept.contains(&key(8)));
    cluster.crash(1);
    cluster.heal();
    cluster.run_for(SECOND);
    cluster.start(1);
    cluster.declare_to_all(1, MemberChange::Up);
    cluster.run_for(SECOND);
    assert!((1..=3).all(|n| cluster.node(n).world.kept.is_empty()), "withdrawn everywhere");
    let claim = cluster.submit(2, rotate(9, Reach::Everyone));
    cluster.run_for(SECOND);
    assert_eq!(*outcome(&cluster, 2, claim), Outcome::Rotated(key(9)));
}

#[test]
fn a_claimant_that_crashes_once_it_is_in_force_has_told_its_disk() {
    let mut cluster = Cluster::new(2, 1);
    let claim = cluster.submit(1, rotate(9, Reach::Everyone));
    assert!(!cluster.node(1).decided.contains_key(&claim));
    cluster.crash_after_next_fsync(1);
    cluster.run_for(SECOND);
    assert!(!cluster.is_up(1));
    assert_eq!(rotated(&cluster, 2), None);
    assert!(cluster.node(2).world.kept.contains(&key(9)), "2 goes on to open it");
    cluster.node_mut(1).world.rotated = Some(key(9));
    cluster.start(1);
    cluster.declare(2, 1, MemberChange::Up);
    cluster.run_for(SECOND);
    assert_eq!(rotated(&cluster, 2), Some(key(9)));
    assert!(cluster.node(2).world.kept.is_empty());
}

#[test]
fn an_acceptor_that_crashes_after_its_promise_keeps_the_key() {
    let mut cluster = Cluster::new(3, 1);
    cluster.crash_after_next_fsync(3);
    let claim = cluster.submit(1, rotate(9, Reach::Everyone));
    cluster.run_for(MS * 100);
    assert!(!cluster.is_up(3));
    cluster.start(3);
    assert!(cluster.node(3).world.kept.contains(&key(9)), "taken up from disk");
    cluster.run_for(SECOND);
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Rotated(key(9)));
    assert!((1..=3).all(|n| rotated(&cluster, n) == Some(key(9))));
}

#[test]
fn a_joiner_holds_the_key_of_a_rotation_under_way() {
    let mut cluster = Cluster::new(3, 1);
    cluster.cut_one_way(3, 1);
    let claim = cluster.submit(1, rotate(9, Reach::Everyone));
    cluster.run_for(MS * 50);
    cluster.join(4, 2);
    assert!(cluster.node(4).world.kept.contains(&key(9)));
    cluster.heal();
    cluster.run_for(SECOND * 2);
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Rotated(key(9)));
    assert_eq!(rotated(&cluster, 4), Some(key(9)));
    assert!(cluster.node(4).world.kept.is_empty());
}

#[test]
fn a_rotation_of_a_forgotten_claimant_ends() {
    let mut cluster = Cluster::new(3, 1);
    cluster.cut_one_way(3, 1);
    cluster.submit(1, rotate(8, Reach::Everyone));
    cluster.run_for(MS * 50);
    cluster.crash(1);
    cluster.declare_to_all(1, MemberChange::Failed);
    let claim = cluster.submit(2, rotate(9, Reach::Present));
    cluster.run_for(SECOND * 6);
    let contended = matches!(
        outcome(&cluster, 2, claim),
        Outcome::Refused(ClaimError::Contended { node, .. }) if *node == id(1)
    );
    assert!(contended, "a failed claimant's claim goes on refusing others");
    cluster.declare_to_all(1, MemberChange::Forgotten);
    let claim = cluster.submit(2, rotate(9, Reach::Everyone));
    cluster.run_for(SECOND);
    assert_eq!(*outcome(&cluster, 2, claim), Outcome::Rotated(key(9)));
    assert!(cluster.sent.iter().all(|(_, _, message)| !matches!(message, Message::Ceded { .. })));
}
