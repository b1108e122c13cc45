//! Members are forgotten by those who are left.

use super::cluster::{Cluster, Faults, id};
use super::*;
use crate::claims::{ClaimError, MemberChange, Message, Reach, Standing};

fn forget(victims: &[u8], reach: Reach) -> ClaimBody {
    ClaimBody::Forget { victims: victims.iter().map(|n| id(*n)).collect(), reach }
}

/// Node `n` stops for good, and the others see that.
fn stop(cluster: &mut Cluster, n: u8) {
    cluster.crash(n);
    cluster.declare_to_all(n, MemberChange::Failed);
}

fn is_gone(cluster: &Cluster, observer: u8, n: u8) -> bool {
    cluster.node(observer).world.members[&id(n)] == Standing::Gone
}

#[test]
fn a_stopped_member_is_forgotten_by_all_who_are_left() {
    let mut cluster = Cluster::new(4, 1);
    stop(&mut cluster, 4);
    let claim = cluster.submit(1, forget(&[4], Reach::Everyone));
    cluster.run_for(SECOND);
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Forgotten(vec![id(4)]));
    assert!((1..=3).all(|n| is_gone(&cluster, n, 4)));
    let claims = (1..=3).map(|n| cluster.node(n).claims.as_ref().unwrap());
    assert!(claims.clone().all(|claims| !claims.is_named(id(4))), "nothing is held any more");
}

#[test]
fn an_acceptance_counts_only_with_all_that_was_ceded() {
    let mut cluster = Cluster::new(3, 1);
    stop(&mut cluster, 3);
    cluster.cut_one_way(2, 1);
    let claim = cluster.submit(1, forget(&[3], Reach::Everyone));
    cluster.run_for(MS * 3);
    cluster.heal();
    let said: Vec<Message> = cluster.sent.iter().map(|(_, _, m)| m.clone()).collect();
    let is_ceded = |m: &&Message| matches!(m, Message::Ceded { .. });
    for message in said.iter().filter(|m| matches!(m, Message::Accepted { .. })) {
        cluster.deliver(2, 1, message.clone());
    }
    assert!(cluster.node(1).decided.is_empty(), "accepted, and nothing ceded");
    let parts: Vec<&Message> = said.iter().filter(is_ceded).collect();
    cluster.deliver(2, 1, parts[0].clone());
    cluster.deliver(2, 1, parts[0].clone());
    assert!(cluster.node(1).decided.is_empty(), "half of it ceded, twice");
    cluster.deliver(2, 1, parts[1].clone());
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Forgotten(vec![id(3)]));
}

#[test]
fn parts_of_two_answers_do_not_add_up() {
    let mut cluster = Cluster::new(3, 1);
    stop(&mut cluster, 3);
    cluster.cut_one_way(2, 1);
    let claim = cluster.submit(1, forget(&[3], Reach::Everyone));
    cluster.run_for(MS * 3);
    let ceded = |answer, part| {
        let facts = Vec::new();
        Message::Ceded { claim, answer, part, parts: 2, facts }
    };
    let mut said = cluster.sent.iter().map(|(_, _, message)| message);
    let accepted = said.rfind(|m| matches!(m, Message::Accepted { .. })).unwrap().clone();
    cluster.deliver(2, 1, accepted);
    cluster.deliver(2, 1, ceded(7, 0));
    cluster.deliver(2, 1, ceded(8, 1));
    assert!(cluster.node(1).decided.is_empty());
    cluster.deliver(2, 1, ceded(8, 0));
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Forgotten(vec![id(3)]));
}

#[test]
fn a_failed_member_is_waited_for_unless_it_is_left_out() {
    let mut cluster = Cluster::new(5, 1);
    stop(&mut cluster, 4);
    stop(&mut cluster, 5);
    let claim = cluster.submit(1, forget(&[5], Reach::Everyone));
    cluster.run_for(6 * SECOND);
    let error = ClaimError::Unanswered { members: vec![id(4)] };
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Refused(error));
    assert!((1..=3).all(|n| !is_gone(&cluster, n, 5)));
    let claims = (1..=3).map(|n| cluster.node(n).claims.as_ref().unwrap());
    assert!(claims.clone().all(|claims| !claims.is_named(id(5))), "withdrawn");
    let claim = cluster.submit(1, forget(&[5], Reach::Present));
    cluster.run_for(SECOND);
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Forgotten(vec![id(5)]));
    assert!((1..=3).all(|n| is_gone(&cluster, n, 5) && !is_gone(&cluster, n, 4)));
}

#[test]
fn half_of_the_members_are_forgotten_by_force_only() {
    let mut cluster = Cluster::new(4, 1);
    stop(&mut cluster, 3);
    stop(&mut cluster, 4);
    let claim = cluster.submit(1, forget(&[3, 4], Reach::Everyone));
    let error = ClaimError::Half { named: 2, members: 4 };
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Refused(error));
    let claim = cluster.submit(1, forget(&[4, 3, 4], Reach::Present));
    cluster.run_for(SECOND);
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Forgotten(vec![id(3), id(4)]));
    assert!((1..=2).all(|n| is_gone(&cluster, n, 3) && is_gone(&cluster, n, 4)));
}

#[test]
fn who_answers_any_acceptor_is_not_forgotten() {
    let mut cluster = Cluster::new(4, 1);
    cluster.declare(1, 4, MemberChange::Failed);
    cluster.declare(2, 4, MemberChange::Failed);
    for reach in [Reach::Everyone, Reach::Present] {
        let claim = cluster.submit(1, forget(&[4], reach));
        cluster.run_for(SECOND);
        let error = ClaimError::Answers { nodes: vec![id(4)] };
        assert_eq!(*outcome(&cluster, 1, claim), Outcome::Refused(error));
    }
    assert!((1..=3).all(|n| !is_gone(&cluster, n, 4)));
    assert!(!cluster.node(2).claims.as_ref().unwrap().is_named(id(4)), "withdrawn");
}

#[test]
fn a_victim_that_comes_back_in_time_is_not_forgotten() {
    let mut cluster = Cluster::new(4, 1);
    stop(&mut cluster, 4);
    cluster.cut_one_way(3, 1);
    let claim = cluster.submit(1, forget(&[4], Reach::Everyone));
    cluster.run_for(SECOND);
    assert!(cluster.node(2).claims.as_ref().unwrap().is_named(id(4)));
    cluster.declare(1, 4, MemberChange::Up);
    cluster.run_for(SECOND);
    let error = ClaimError::Answers { nodes: vec![id(4)] };
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Refused(error));
    assert!(!cluster.node(2).claims.as_ref().unwrap().is_named(id(4)));
}

#[test]
fn what_cannot_be_forgotten_is_told_at_once() {
    let mut cluster = Cluster::new(3, 1);
    cluster.declare_to_all(3, MemberChange::Left);
    let refused = |cluster: &mut Cluster, victims: &[u8]| {
        let claim = cluster.submit(1, forget(victims, Reach::Present));
        outcome(cluster, 1, claim).clone()
    };
    let all = |nodes: &[u8]| nodes.iter().map(|n| id(*n)).collect::<Vec<_>>();
    for (victims, error) in [
        (&[1][..], ClaimError::Answers { nodes: all(&[1]) }),
        (&[2], ClaimError::Answers { nodes: all(&[2]) }),
        (&[3], ClaimError::AlreadyGone { nodes: all(&[3]) }),
        (&[9], ClaimError::NoSuchMember(id(9))),
        (&[], ClaimError::Named { named: 0, bound: 256 }),
    ] {
        assert_eq!(refused(&mut cluster, victims), Outcome::Refused(error));
    }
}

#[test]
fn two_claims_on_one_victim_do_not_both_make_an_heir() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(4, seed);
        cluster.faults = Faults { loss: 20, duplicate: 20, jitter_ms: 20 };
        stop(&mut cluster, 4);
        let one = cluster.submit(1, forget(&[4], Reach::Everyone));
        let two = cluster.submit(2, forget(&[4], Reach::Everyone));
        cluster.run_for(12 * SECOND);
        let heirs = [(1, one), (2, two)]
            .into_iter()
            .filter(|(n, claim)| *outcome(&cluster, *n, *claim) == Outcome::Forgotten(vec![id(4)]));
        assert!(heirs.count() <= 1, "seed {seed}");
        let gone = (1..=3).filter(|n| is_gone(&cluster, *n, 4)).count();
        assert!(gone == 0 || gone == 3, "seed {seed}");
    }
}

#[test]
fn an_acceptor_keeps_its_promise_over_a_restart_and_a_claimant_withdraws() {
    let mut cluster = Cluster::new(4, 1);
    stop(&mut cluster, 4);
    cluster.cut(&[1], &[3]);
    cluster.submit(1, forget(&[4], Reach::Everyone));
    cluster.run_for(MS * 50);
    cluster.crash(2);
    cluster.start(2);
    assert!(cluster.node(2).claims.as_ref().unwrap().is_named(id(4)));
    cluster.crash(1);
    cluster.start(1);
    cluster.heal();
    cluster.run_for(6 * SECOND);
    assert!((1..=3).all(|n| !cluster.node(n).claims.as_ref().unwrap().is_named(id(4))));
    assert!((1..=3).all(|n| !is_gone(&cluster, n, 4)));
}

#[test]
fn an_acceptor_that_crashes_before_it_cedes_is_asked_again() {
    let mut cluster = Cluster::new(3, 1);
    stop(&mut cluster, 3);
    cluster.crash_after_next_fsync(2);
    let claim = cluster.submit(1, forget(&[3], Reach::Everyone));
    cluster.run_for(SECOND);
    assert!(!cluster.is_up(2) && cluster.node(1).decided.is_empty());
    cluster.start(2);
    cluster.run_for(SECOND);
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Forgotten(vec![id(3)]));
}

#[test]
fn a_forgotten_claimants_definition_completes_behind_all_others() {
    let mut cluster = Cluster::new(4, 1);
    cluster.cut(&[4], &[3]);
    cluster.submit(4, by_name(1, "blue"));
    cluster.run_for(MS * 50);
    cluster.heal();
    stop(&mut cluster, 4);
    cluster.submit(1, forget(&[4], Reach::Everyone));
    cluster.run_for(SECOND);
    let late = |n: u8| {
        cluster.node(n).world.definitions.by_name("blue").map(|definition| definition.stamp)
    };
    assert!((1..=3).all(|n| late(n).is_some()));
    let claim = cluster.submit(1, by_name(2, "red"));
    cluster.run_for(SECOND);
    let Outcome::Defined(red) = outcome(&cluster, 1, claim) else { panic!("not defined") };
    let blue = cluster.node(1).world.definitions.by_name("blue").unwrap();
    assert!(red.stamp < blue.stamp, "an ordinary one is ahead, also a later one");
}

#[test]
fn a_forgotten_claimants_delete_spares_a_network_in_use() {
    for in_use in [Some(2), None] {
        let mut cluster = Cluster::new(4, 1);
        cluster.submit(1, by_name(1, "blue"));
        cluster.run_for(SECOND);
        cluster.cut(&[4], &[3]);
        cluster.submit(4, ClaimBody::Delete(network(1)));
        cluster.run_for(MS * 50);
        stop(&mut cluster, 4);
        if let Some(n) = in_use {
            // As one that joined since and was never asked.
            let world = &mut cluster.node_mut(n).world;
            world.attached.entry(network(1)).or_default().insert(id(n));
            let world = &mut cluster.node_mut(1).world;
            world.attached.entry(network(1)).or_default().insert(id(n));
        }
        cluster.submit(1, forget(&[4], Reach::Everyone));
        cluster.run_for(SECOND);
        assert_eq!(has(&cluster, 1, network(1)), in_use.is_some());
        assert!(!cluster.node(2).claims.as_ref().unwrap().is_barred(network(1)));
    }
}

#[test]
fn a_failed_claimant_that_is_to_be_forgotten_is_not_in_the_way() {
    let mut cluster = Cluster::new(5, 1);
    stop(&mut cluster, 5);
    cluster.cut(&[4], &[3]);
    cluster.submit(4, forget(&[5], Reach::Everyone));
    cluster.run_for(MS * 50);
    stop(&mut cluster, 4);
    let claim = cluster.submit(1, forget(&[4, 5], Reach::Everyone));
    cluster.run_for(SECOND);
    assert_eq!(*outcome(&cluster, 1, claim), Outcome::Forgotten(vec![id(4), id(5)]));
}

#[test]
fn a_forget_that_lost_its_claimant_ends_with_it_although_its_victim_is_back() {
    let mut cluster = Cluster::new(4, 1);
    stop(&mut cluster, 4);
    cluster.cut(&[1], &[3]);
    cluster.submit(1, forget(&[4], Reach::Everyone));
    cluster.run_for(MS * 50);
    stop(&mut cluster, 1);
    cluster.start(4);
    cluster.declare_to_all(4, MemberChange::Up);
    cluster.declare(4, 1, MemberChange::Failed);
    let is_named = |cluster: &Cluster| cluster.node(2).claims.as_ref().unwrap().is_named(id(4));
    assert!(is_named(&cluster), "its claimant may have all it needs");
    // Until all have agreed, none of its ranges is taken either.
    cluster.cut(&[2], &[3]);
    let claim = cluster.submit(2, forget(&[1], Reach::Everyone));
    for _ in 0..60 {
        cluster.run_for(MS * 100);
        assert!(is_named(&cluster));
    }
    let error = ClaimError::Unanswered { members: vec![id(3)] };
    assert_eq!(*outcome(&cluster, 2, claim), Outcome::Refused(error));
    cluster.heal();
    let claim = cluster.submit(2, forget(&[1], Reach::Everyone));
    cluster.run_for(SECOND);
    assert_eq!(*outcome(&cluster, 2, claim), Outcome::Forgotten(vec![id(1)]));
    assert!(!is_named(&cluster));
    assert!((2..=4).all(|n| is_gone(&cluster, n, 1) && !is_gone(&cluster, n, 4)));
}
