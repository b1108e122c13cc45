use super::cluster::{Cluster, id};
use super::*;
use crate::claims::message::{Refusal, Subject, Verdict};
use crate::claims::{ClaimError, MemberChange, Message};

fn claim(n: u8, number: u64) -> ClaimId {
    ClaimId { node: id(n), number }
}

fn propose(cluster: &mut Cluster, claim: ClaimId, body: ClaimBody) {
    let from = claim.node.as_bytes()[0];
    cluster.deliver(from, 2, Message::Propose { claim, round: 0, body });
}

/// What node 2 said last.
fn answer(cluster: &Cluster) -> &Message {
    let (from, _, message) = cluster.sent.last().expect("something was said");
    assert_eq!(*from, id(2));
    message
}

#[test]
fn an_inquiry_brings_a_fact_that_did_not_come_by_itself() {
    let mut cluster = Cluster::new(2, 1);
    let open = cluster.submit(1, by_name(1, "blue"));
    cluster.run_for(MS);
    cluster.cut(&[1], &[2]);
    cluster.run_for(MS);
    assert!(has(&cluster, 1, network(1)) && !has(&cluster, 2, network(1)));
    let subject = Subject::Definition(network(1));
    cluster.deliver(2, 1, Message::Inquire { claim: open, subject });
    let settled = cluster.sent.last().unwrap().2.clone();
    assert_eq!(settled, Message::Settled { claim: open, verdict: Verdict::InForce });
    cluster.deliver(1, 2, settled);
    assert!(has(&cluster, 2, network(1)));
}

#[test]
fn of_two_rivals_a_joiner_heard_of_it_vouches_for_neither() {
    let mut cluster = Cluster::new(3, 1);
    let (one, three) = (claim(1, 0), claim(3, 0));
    let claims = vec![(one, by_name(1, "blue")), (three, by_name(3, "blue"))];
    cluster.deliver(1, 2, Message::Pending { claims });
    propose(&mut cluster, one, by_name(1, "blue"));
    let refusal = Refusal::Pending { claim: three, body: by_name(3, "blue") };
    assert_eq!(*answer(&cluster), Message::Refused { claim: one, refusal });
    cluster.deliver(3, 2, Message::Settled { claim: three, verdict: Verdict::Withdrawn });
    propose(&mut cluster, one, by_name(1, "blue"));
    assert!(matches!(answer(&cluster), Message::Accepted { claim, .. } if *claim == one));
}

#[test]
fn a_claimants_newer_claim_takes_the_place_of_its_older_one() {
    let mut cluster = Cluster::new(3, 1);
    propose(&mut cluster, claim(1, 4), by_name(1, "blue"));
    // The withdrawal of the former was lost.
    propose(&mut cluster, claim(1, 5), by_name(1, "blue"));
    assert!(matches!(answer(&cluster), Message::Accepted { claim, .. } if claim.number == 5));
    let said = cluster.sent.len();
    propose(&mut cluster, claim(1, 4), by_name(1, "blue"));
    assert_eq!(cluster.sent.len(), said, "a late copy of the former says nothing");
    cluster.deliver(1, 2, Message::Settled { claim: claim(1, 5), verdict: Verdict::Withdrawn });
    assert_eq!(cluster.node(2).disk.len(), 0);
}

#[test]
fn a_refusal_by_a_network_known_to_be_deleted_is_only_late() {
    let mut cluster = Cluster::new(3, 1);
    let blue = given(&mut cluster, 1, asked(1, "blue", "10.1.0.0/16"));
    let deleted = cluster.submit(2, ClaimBody::Delete(blue));
    cluster.run_for(MS);
    cluster.cut_one_way(2, 3);
    cluster.run_for(MS);
    assert_eq!(outcome(&cluster, 2, deleted), &Outcome::Deleted(blue));
    cluster.heal();
    assert!(has(&cluster, 3, blue));
    let again = cluster.submit(2, asked(2, "blue", "10.1.0.0/16"));
    cluster.run_for(SECOND);
    assert_eq!(got(&cluster, 2, again), network(2));
}

#[test]
fn a_network_of_the_name_is_joined_though_the_pool_chosen_overlaps_yet_another() {
    let mut cluster = Cluster::new(2, 1);
    given(&mut cluster, 1, asked(1, "red", "10.128.0.0/16"));
    given(&mut cluster, 1, asked(2, "blue", "10.2.0.0/16"));
    assert_eq!(given(&mut cluster, 2, by_name(3, "blue")), network(2));
}

#[test]
fn an_attachment_that_turns_up_while_others_accept_stops_the_delete() {
    let mut cluster = Cluster::new(3, 1);
    let blue = given(&mut cluster, 1, by_name(1, "blue"));
    cluster.crash(3);
    cluster.declare_to_all(3, MemberChange::Failed);
    let delete = cluster.submit(1, ClaimBody::Delete(blue));
    cluster.run_for(MS);
    // The log of node 3, brought by anti-entropy.
    cluster.node_mut(1).world.attached.entry(blue).or_default().insert(id(3));
    cluster.run_for(SECOND);
    let error = ClaimError::InUse { network: blue, nodes: vec![id(3)] };
    assert_eq!(outcome(&cluster, 1, delete), &Outcome::Refused(error));
    assert!(cluster.node(2).barred.is_empty());
}
