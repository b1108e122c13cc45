use super::cluster::{Cluster, id};
use super::*;
use crate::claims::{ClaimError, MemberChange, Message};

#[test]
fn an_acceptor_that_crashes_between_fsync_and_send_keeps_its_promise() {
    let mut cluster = Cluster::new(3, 1);
    cluster.crash_after_next_fsync(3);
    let claim = cluster.submit(1, by_name(1, "blue"));
    cluster.run_for(10 * MS);
    assert!(!cluster.is_up(3));
    cluster.start(3);
    assert!(cluster.node(3).disk.keys().any(|key| key[0] == b'h'));
    // Its rival meets the promise on node 3's disk, and the claimant's retransmission the answer.
    let rival = cluster.submit(3, by_name(2, "blue"));
    cluster.run_for(SECOND);
    assert_eq!(got(&cluster, 1, claim), network(1));
    assert_eq!(got(&cluster, 3, rival), network(1));
}

#[test]
fn a_claimant_that_restarts_withdraws() {
    let mut cluster = Cluster::new(3, 1);
    cluster.crash_after_next_fsync(3);
    let claim = cluster.submit(1, by_name(1, "blue"));
    cluster.run_for(10 * MS);
    cluster.crash(1);
    cluster.start(3);
    cluster.run_for(SECOND);
    cluster.start(1);
    cluster.declare_to_all(1, MemberChange::Up);
    cluster.run_for(SECOND);
    assert!(!cluster.node(1).decided.contains_key(&claim), "whoever asked is gone");
    assert!((1..=3).all(|n| !has(&cluster, n, network(1))));
    assert_eq!(given(&mut cluster, 2, by_name(2, "blue")), network(2));
}

#[test]
fn a_claim_number_is_not_used_again_after_a_restart() {
    let mut cluster = Cluster::new(2, 1);
    cluster.cut_one_way(1, 2);
    let before = cluster.submit(1, by_name(1, "blue"));
    cluster.crash(1);
    cluster.start(1);
    cluster.heal();
    let after = cluster.submit(1, by_name(2, "blue"));
    assert!(after.number > before.number);
    // A late copy of the old claim's proposal does not pass for the new one.
    let late = Message::Propose { claim: before, round: 0, body: by_name(1, "blue") };
    cluster.deliver(1, 2, late);
    cluster.run_for(SECOND);
    assert_eq!(got(&cluster, 1, after), network(2));
    assert!(!has(&cluster, 2, network(1)));
}

#[test]
fn a_claim_that_is_in_force_on_the_claimants_disk_alone_is_in_force() {
    let mut cluster = Cluster::new(3, 1);
    cluster.submit(1, by_name(1, "blue"));
    cluster.run_for(MS);
    cluster.cut(&[1], &[2, 3]);
    cluster.run_for(MS);
    assert!(has(&cluster, 1, network(1)) && !has(&cluster, 2, network(1)));
    cluster.crash(1);
    cluster.heal();
    cluster.declare_to_all(1, MemberChange::Failed);
    let rival = cluster.submit(2, by_name(2, "blue"));
    cluster.run_for(6 * SECOND);
    let contended = ClaimError::Contended { node: id(1), what: "blue".to_owned() };
    assert_eq!(outcome(&cluster, 2, rival), &Outcome::Refused(contended));
    cluster.start(1);
    cluster.declare_to_all(1, MemberChange::Up);
    assert_eq!(given(&mut cluster, 2, by_name(3, "blue")), network(1));
}

#[test]
fn a_failed_claimants_claim_refuses_others_until_it_returns_or_leaves() {
    for change in [MemberChange::Up, MemberChange::Left] {
        let mut cluster = Cluster::new(4, 1);
        cluster.crash(4);
        cluster.submit(1, asked(1, "blue", "10.1.0.0/16"));
        cluster.run_for(SECOND);
        cluster.crash(1);
        cluster.start(4);
        cluster.declare_to_all(1, MemberChange::Failed);
        let rival = cluster.submit(2, asked(2, "red", "10.1.0.0/24"));
        cluster.run_for(6 * SECOND);
        let contended = ClaimError::Contended { node: id(1), what: "blue".to_owned() };
        assert_eq!(outcome(&cluster, 2, rival), &Outcome::Refused(contended));
        if change == MemberChange::Up {
            cluster.start(1);
        }
        cluster.declare_to_all(1, change);
        let free = given(&mut cluster, 2, asked(3, "red", "10.1.0.0/24"));
        assert_eq!(free, network(3), "{change:?}");
    }
}

#[test]
fn a_joiner_amid_a_claim_refuses_its_rivals_too() {
    // Node 1 claims; node 2 accepts, node 3 does not hear. Node 4 joins through node 2.
    let mut cluster = Cluster::new(3, 1);
    cluster.cut(&[1], &[3]);
    let claim = cluster.submit(1, by_name(1, "blue"));
    cluster.run_for(100 * MS);
    cluster.join(4, 2);
    cluster.run_for(10 * MS);
    assert!(cluster.node(4).disk.keys().any(|key| key[0] == b'h'));
    let rival = cluster.submit(4, by_name(4, "blue"));
    cluster.run_for(100 * MS);
    assert!(!cluster.node(4).decided.contains_key(&rival));
    cluster.heal();
    cluster.declare(1, 4, MemberChange::Up);
    cluster.run_for(3 * SECOND);
    assert_eq!(got(&cluster, 1, claim), network(1), "the joiner vouches for it once asked");
    assert_eq!(got(&cluster, 4, rival), network(1));
}

#[test]
fn an_acceptance_names_members_the_claimant_does_not_know_and_waits_for_them() {
    // Node 4 joined through node 2 and has a network of the name in force with it; node 1 has
    // heard of neither.
    let mut cluster = Cluster::new(2, 1);
    cluster.join(4, 2);
    cluster.run_for(100 * MS);
    cluster.node_mut(1).world.members.remove(&id(4));
    cluster.cut(&[4], &[1]);
    let claim = cluster.submit(1, by_name(1, "blue"));
    cluster.run_for(SECOND);
    assert!(!cluster.node(1).decided.contains_key(&claim), "node 4 has not accepted");
    let asked = |(from, to, message): &(_, _, Message)| {
        *from == id(1) && *to == id(4) && matches!(message, Message::Propose { .. })
    };
    assert!(cluster.sent.iter().any(asked));
    cluster.heal();
    cluster.declare(1, 4, MemberChange::Up);
    cluster.run_for(3 * SECOND);
    assert_eq!(got(&cluster, 1, claim), network(1));
    assert!(has(&cluster, 4, network(1)));
}

#[test]
fn a_returned_member_amid_a_claim_must_accept_it_too() {
    let mut cluster = Cluster::new(3, 1);
    cluster.crash(3);
    cluster.declare_to_all(3, MemberChange::Failed);
    cluster.cut(&[1], &[2]);
    let claim = cluster.submit(1, by_name(1, "blue"));
    cluster.run_for(100 * MS);
    cluster.start(3);
    cluster.declare_to_all(3, MemberChange::Up);
    cluster.run_for(100 * MS);
    assert!(cluster.node(3).disk.keys().any(|key| key[0] == b'h'), "it accepted");
    cluster.heal();
    cluster.run_for(SECOND);
    assert_eq!(got(&cluster, 1, claim), network(1));
}

#[test]
fn claims_held_are_bounded_and_the_next_is_refused() {
    let mut cluster = Cluster::new(2, 1);
    for number in 0..1025 {
        let claim = ClaimId { node: id(1), number };
        let mut body = by_name(1, &format!("n{number}"));
        if let ClaimBody::Define { definition, .. } = &mut body {
            definition.ipam = "third-party".to_owned();
            definition.id = NetworkId::from_bytes(u128::from(number).to_be_bytes());
            definition.subnets[0].vni = Vni::new(1 + u32::try_from(number).unwrap()).unwrap();
        }
        cluster.deliver(1, 2, Message::Propose { claim, round: 0, body });
    }
    assert_eq!(cluster.node(2).disk.len(), 1024);
}
