use super::cluster::{Cluster, id};
use super::*;
use crate::claims::{ClaimError, MemberChange};

fn in_use(n: u8, on: &[u8]) -> Outcome {
    let nodes = on.iter().map(|n| id(*n)).collect();
    Outcome::Refused(ClaimError::InUse { network: network(n), nodes })
}

#[test]
fn a_delete_frees_name_and_pool_for_all_and_the_id_never_returns() {
    let mut cluster = Cluster::new(3, 1);
    let blue = given(&mut cluster, 1, asked(1, "blue", "10.1.0.0/16"));
    let claim = cluster.submit(2, ClaimBody::Delete(blue));
    cluster.run_for(2 * MS);
    assert_eq!(outcome(&cluster, 2, claim), &Outcome::Deleted(blue));
    // At once, on a node that may not know of the delete yet.
    let again = cluster.submit(2, asked(2, "blue", "10.1.0.0/16"));
    cluster.run_for(SECOND);
    assert_eq!(got(&cluster, 2, again), network(2));
    let reused = cluster.submit(3, asked(1, "old", "10.7.0.0/16"));
    cluster.run_for(SECOND);
    assert_eq!(outcome(&cluster, 3, reused), &Outcome::Refused(ClaimError::IdUsed(blue)));
    assert!((1..=3).all(|n| cluster.node(n).barred.is_empty()));
}

#[test]
fn a_network_that_is_not_there_cannot_be_deleted() {
    let mut cluster = Cluster::new(2, 1);
    let claim = cluster.submit(1, ClaimBody::Delete(network(9)));
    let absent = Outcome::Refused(ClaimError::NoSuchNetwork(network(9)));
    assert_eq!(outcome(&cluster, 1, claim), &absent);
}

#[test]
fn two_simultaneous_deletes_both_end_well() {
    for seed in 0..30 {
        let mut cluster = Cluster::new(3, seed);
        cluster.faults.jitter_ms = 5;
        let blue = given(&mut cluster, 1, by_name(1, "blue"));
        let first = cluster.submit(1, ClaimBody::Delete(blue));
        let second = cluster.submit(2, ClaimBody::Delete(blue));
        cluster.run_for(SECOND);
        assert_eq!(outcome(&cluster, 1, first), &Outcome::Deleted(blue), "seed {seed}");
        assert_eq!(outcome(&cluster, 2, second), &Outcome::Deleted(blue), "seed {seed}");
    }
}

#[test]
fn a_delete_is_refused_while_a_node_is_attached() {
    let mut cluster = Cluster::new(3, 1);
    let blue = given(&mut cluster, 1, by_name(1, "blue"));
    assert!(cluster.attach(3, blue));
    cluster.run_for(SECOND);
    let claim = cluster.submit(1, ClaimBody::Delete(blue));
    cluster.run_for(SECOND);
    assert_eq!(outcome(&cluster, 1, claim), &in_use(1, &[3]));
    assert!(cluster.attach(2, blue), "a withdrawn delete bars nothing");
    cluster.run_for(SECOND);
    cluster.detach(3, blue);
    cluster.detach(2, blue);
    let claim = cluster.submit(1, ClaimBody::Delete(blue));
    cluster.run_for(SECOND);
    assert_eq!(outcome(&cluster, 1, claim), &Outcome::Deleted(blue));
}

#[test]
fn a_delete_is_refused_for_the_attachment_of_a_failed_node() {
    let mut cluster = Cluster::new(3, 1);
    let blue = given(&mut cluster, 1, by_name(1, "blue"));
    assert!(cluster.attach(3, blue));
    cluster.run_for(SECOND);
    cluster.crash(3);
    cluster.declare_to_all(3, MemberChange::Failed);
    let claim = cluster.submit(1, ClaimBody::Delete(blue));
    cluster.run_for(SECOND);
    assert_eq!(outcome(&cluster, 1, claim), &in_use(1, &[3]));
}

#[test]
fn a_node_that_fails_while_it_is_asked_still_keeps_its_network() {
    // Only node 2 knows of the attachment; it accepts while node 3 is alive to speak for itself.
    let mut cluster = Cluster::new(3, 1);
    let blue = given(&mut cluster, 1, by_name(1, "blue"));
    cluster.crash(3);
    cluster.node_mut(2).world.attached.entry(blue).or_default().insert(id(3));
    let claim = cluster.submit(1, ClaimBody::Delete(blue));
    cluster.run_for(100 * MS);
    assert!(cluster.node(2).barred.contains(&blue), "accepted");
    cluster.declare(1, 3, MemberChange::Failed);
    cluster.run_for(100 * MS);
    assert!(!cluster.node(1).decided.contains_key(&claim), "node 2 holds node 3 alive");
    cluster.declare(2, 3, MemberChange::Failed);
    cluster.run_for(3 * SECOND);
    assert_eq!(outcome(&cluster, 1, claim), &in_use(1, &[3]));
    assert!(cluster.node(2).barred.is_empty());
}

#[test]
fn of_a_delete_and_an_attach_that_race_one_wins() {
    let mut won = [0, 0];
    for seed in 0..200 {
        let mut cluster = Cluster::new(3, seed);
        cluster.faults.jitter_ms = 10;
        let blue = given(&mut cluster, 1, by_name(1, "blue"));
        let claim = cluster.submit(1, ClaimBody::Delete(blue));
        let pause = cluster.random(25);
        cluster.run_for(MS * u32::try_from(pause).unwrap());
        let attached = cluster.attach(3, blue);
        cluster.run_for(6 * SECOND);
        let expected = if attached { in_use(1, &[3]) } else { Outcome::Deleted(blue) };
        assert_eq!(outcome(&cluster, 1, claim), &expected, "seed {seed}");
        won[usize::from(attached)] += 1;
    }
    assert!(won.iter().all(|times| *times > 20), "the race is run both ways: {won:?}");
}

#[test]
fn a_bar_survives_a_restart_of_the_acceptor() {
    let mut cluster = Cluster::new(3, 1);
    let blue = given(&mut cluster, 1, by_name(1, "blue"));
    cluster.cut_one_way(1, 3);
    cluster.submit(1, ClaimBody::Delete(blue));
    cluster.run_for(SECOND);
    cluster.crash(2);
    cluster.start(2);
    assert!(!cluster.attach(2, blue));
    assert!(cluster.attach(3, blue), "node 3 was never asked");
    cluster.heal();
    cluster.run_for(6 * SECOND);
    assert!(cluster.attach(2, blue), "and the delete came to nothing");
}
