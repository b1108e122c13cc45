use super::cluster::{Cluster, Faults, id};
use super::*;
use crate::claims::conflict::same_shape;
use crate::claims::message::Verdict;
use crate::claims::{ClaimError, MemberChange, Message};

#[test]
fn a_sole_member_defines_at_once() {
    let mut cluster = Cluster::new(1, 1);
    let claim = cluster.submit(1, asked(1, "blue", "10.1.0.0/16"));
    assert_eq!(got(&cluster, 1, claim), network(1));
    assert!(has(&cluster, 1, network(1)));
}

#[test]
fn a_create_takes_one_round_trip() {
    let mut cluster = Cluster::new(3, 1);
    let claim = cluster.submit(1, asked(1, "blue", "10.1.0.0/16"));
    assert!(cluster.node(1).decided.is_empty(), "two members have not accepted yet");
    cluster.run_for(2 * MS);
    assert_eq!(got(&cluster, 1, claim), network(1));
}

#[test]
fn two_creates_of_one_name_submitted_in_one_drain_give_one_network() {
    let mut cluster = Cluster::new(1, 1);
    let (first, second) = cluster.submit_two(1, by_name(1, "blue"), by_name(2, "blue"));
    cluster.run_for(SECOND);
    assert_eq!(got(&cluster, 1, first), network(1));
    assert_eq!(got(&cluster, 1, second), network(1));
}

#[test]
fn two_simultaneous_creates_of_one_name_give_one_network() {
    for seed in 0..50 {
        let mut cluster = Cluster::new(3, seed);
        cluster.faults.jitter_ms = 5;
        let first = cluster.submit(1, by_name(1, "blue"));
        let second = cluster.submit(2, by_name(2, "blue"));
        cluster.run_for(SECOND);
        let winner = got(&cluster, 1, first);
        assert_eq!(got(&cluster, 2, second), winner, "seed {seed}");
        assert!((1..=3).all(|n| has(&cluster, n, winner)), "seed {seed}");
    }
}

#[test]
fn of_two_raced_overlapping_pools_one_is_in_force_and_the_other_names_it() {
    for seed in 0..50 {
        let mut cluster = Cluster::new(3, seed);
        cluster.faults.jitter_ms = 5;
        let first = cluster.submit(1, asked(1, "blue", "10.1.0.0/16"));
        let second = cluster.submit(2, asked(2, "red", "10.1.2.0/24"));
        cluster.run_for(6 * SECOND);
        let ends = [outcome(&cluster, 1, first).clone(), outcome(&cluster, 2, second).clone()];
        let pool = |text: &str| text.parse().unwrap();
        let (wide, narrow) = (pool("10.1.0.0/16"), pool("10.1.2.0/24"));
        let refused = |pool, other_pool, other: &str| {
            let other = other.to_owned();
            Outcome::Refused(ClaimError::PoolOverlap { pool, other_pool, other })
        };
        let one_won = match &ends {
            [Outcome::Defined(blue), lost] => {
                blue.name == "blue" && *lost == refused(narrow, wide, "blue")
            }
            [lost, Outcome::Defined(red)] => {
                red.name == "red" && *lost == refused(wide, narrow, "red")
            }
            _ => false,
        };
        assert!(one_won, "seed {seed}: {ends:?}");
    }
}

#[test]
fn ipv6_and_ipv4_pools_and_those_of_other_ipam_drivers_never_overlap() {
    let mut cluster = Cluster::new(2, 1);
    given(&mut cluster, 1, asked(1, "four", "0.0.0.0/0"));
    given(&mut cluster, 1, asked(2, "six", "::/0"));
    let mut theirs = definition(3, "theirs", "10.0.0.0/8");
    theirs.ipam = "third-party".to_owned();
    let theirs = ClaimBody::Define { definition: theirs, origins: vec![] };
    assert_eq!(given(&mut cluster, 2, theirs), network(3));
}

#[test]
fn create_by_name_is_get_or_create_whatever_pool_was_chosen_by_default() {
    let mut cluster = Cluster::new(3, 1);
    let first = given(&mut cluster, 1, asked(1, "blue", "10.1.0.0/16"));
    assert_eq!(given(&mut cluster, 2, by_name(2, "blue")), first);
    assert_eq!(given(&mut cluster, 3, asked(3, "blue", "10.1.0.0/16")), first);
}

#[test]
fn another_shape_of_one_name_is_refused_with_the_name_taken() {
    let mut cluster = Cluster::new(2, 1);
    given(&mut cluster, 1, by_name(1, "blue"));
    let mut internal = definition(3, "blue", "10.128.9.0/24");
    internal.internal = true;
    let internal = ClaimBody::Define { definition: internal, origins: vec![Origin::Default] };
    for body in [asked(2, "blue", "10.9.0.0/16"), internal] {
        let claim = cluster.submit(2, body);
        cluster.run_for(SECOND);
        let taken = ClaimError::NameTaken { name: "blue".to_owned(), id: network(1) };
        assert_eq!(outcome(&cluster, 2, claim), &Outcome::Refused(taken));
    }
}

#[test]
fn shape_is_what_was_asked_for_and_not_what_was_chosen() {
    let one = definition(1, "blue", "10.1.0.0/16");
    let mut dual = one.clone();
    dual.subnets.push(definition(1, "blue", "fd00::/64").subnets.remove(0));
    let mut other_vni = one.clone();
    other_vni.subnets[0].vni = Vni::new(7).unwrap();
    let mut ranged = one.clone();
    ranged.subnets[0].range = Some("10.1.1.0/24".parse().unwrap());
    assert!(same_shape(&one, &[], &other_vni));
    assert!(!same_shape(&one, &[], &ranged));
    assert!(same_shape(&one, &[Origin::Default], &ranged));
    assert!(!same_shape(&one, &[Origin::Default], &dual), "IPv6 makes it another network");
    assert!(!same_shape(&dual, &[Origin::Default; 2], &one));
    let mut elsewhere = dual.clone();
    elsewhere.subnets[1].pool = "fd01::/64".parse().unwrap();
    assert!(same_shape(&dual, &[Origin::Asked, Origin::Default], &elsewhere));
    assert!(!same_shape(&dual, &[Origin::Default, Origin::Asked], &elsewhere));
    for change in [
        |d: &mut Definition| d.driver = "x".to_owned(),
        |d: &mut Definition| d.ipam = "x".to_owned(),
        |d: &mut Definition| d.mtu = Some(1400),
        |d: &mut Definition| d.internal = true,
        |d: &mut Definition| drop(d.options.insert("a".to_owned(), "b".to_owned())),
    ] {
        let mut changed = one.clone();
        change(&mut changed);
        assert!(!same_shape(&one, &[Origin::Default], &changed), "{changed:?}");
    }
}

#[test]
fn a_refused_claim_is_withdrawn_and_tried_again_after_a_random_pause() {
    let mut cluster = Cluster::new(3, 3);
    cluster.submit(1, by_name(1, "blue"));
    let second = cluster.submit(2, by_name(2, "blue"));
    cluster.run_for(SECOND);
    let withdrawn = cluster.sent.iter().position(|(from, _, message)| {
        *from == id(2)
            && *message == Message::Settled { claim: second, verdict: Verdict::Withdrawn }
    });
    assert!(withdrawn.is_some(), "the loser withdraws what it proposed");
    assert!(!cluster.node(2).disk.keys().any(|key| key[0] == b'o'), "also on disk");
    assert_eq!(got(&cluster, 2, second), network(1));
    let mut proposed: Vec<u64> = Vec::new();
    for (from, _, message) in &cluster.sent {
        if let (true, Message::Propose { claim, .. }) = (*from == id(1), message) {
            proposed.push(claim.number);
        }
    }
    proposed.dedup();
    assert!(proposed.len() > 1, "the winner was refused once, and tried under a new number");
}

#[test]
fn lost_duplicated_and_reordered_messages_only_cost_time() {
    for seed in 0..30 {
        let mut cluster = Cluster::new(4, seed);
        cluster.faults = Faults { loss: 30, duplicate: 30, jitter_ms: 40 };
        let first = cluster.submit(1, by_name(1, "blue"));
        let second = cluster.submit(2, by_name(2, "red"));
        cluster.run_for(5 * SECOND);
        assert_eq!(got(&cluster, 1, first), network(1), "seed {seed}");
        assert_eq!(got(&cluster, 2, second), network(2), "seed {seed}");
    }
}

#[test]
fn a_claim_that_is_not_answered_is_withdrawn_and_names_who_did_not_answer() {
    let mut cluster = Cluster::new(3, 1);
    cluster.crash(3);
    let claim = cluster.submit(1, by_name(1, "blue"));
    cluster.run_for(5 * SECOND);
    let error = ClaimError::Unanswered { members: vec![id(3)] };
    assert_eq!(outcome(&cluster, 1, claim), &Outcome::Refused(error));
    assert!(!has(&cluster, 2, network(1)));
    cluster.declare_to_all(3, MemberChange::Failed);
    assert_eq!(given(&mut cluster, 2, by_name(2, "blue")), network(2), "nothing is left of it");
}

#[test]
fn a_claim_ends_as_soon_as_whoever_is_missing_is_declared_failed() {
    let mut cluster = Cluster::new(3, 1);
    cluster.crash(3);
    let claim = cluster.submit(1, by_name(1, "blue"));
    cluster.run_for(SECOND);
    cluster.declare(2, 3, MemberChange::Failed);
    cluster.declare(1, 3, MemberChange::Failed);
    cluster.run_for(2 * SECOND);
    assert_eq!(got(&cluster, 1, claim), network(1));
}

#[test]
fn a_late_proposal_of_a_withdrawn_claim_is_let_go_again() {
    let mut cluster = Cluster::new(3, 1);
    cluster.cut_one_way(1, 3);
    let claim = cluster.submit(1, by_name(1, "blue"));
    cluster.run_for(6 * SECOND);
    assert!(matches!(outcome(&cluster, 1, claim), Outcome::Refused(_)));
    cluster.heal();
    let late = cluster
        .sent
        .iter()
        .find(|(_, to, message)| *to == id(3) && matches!(message, Message::Propose { .. }));
    let late = late.expect("it was lost on the way").2.clone();
    cluster.deliver(1, 3, late);
    assert_eq!(given(&mut cluster, 2, by_name(2, "blue")), network(2));
}

#[test]
fn nobody_speaks_for_anothers_claim() {
    let mut cluster = Cluster::new(3, 1);
    let claim = ClaimId { node: id(1), number: 7 };
    cluster.deliver(2, 3, Message::Propose { claim, round: 0, body: by_name(1, "blue") });
    assert!(cluster.node(3).disk.is_empty());
    let open = cluster.submit(1, by_name(1, "blue"));
    cluster.run_for(MS);
    let verdict = Verdict::Withdrawn;
    cluster.deliver(2, 3, Message::Settled { claim: open, verdict });
    assert!(cluster.node(3).disk.keys().any(|key| key[0] == b'h'), "the promise stands");
}

#[test]
fn a_definition_that_breaks_a_bound_is_refused_by_its_own_node_and_by_others() {
    let mut cluster = Cluster::new(2, 1);
    let no_subnet = Definition { subnets: vec![], ..definition(1, "blue", "10.1.0.0/16") };
    let twice = Definition {
        subnets: [definition(1, "b", "10.1.0.0/16"), definition(1, "b", "10.1.2.0/24")]
            .map(|definition| definition.subnets[0].clone())
            .to_vec(),
        ..definition(1, "blue", "10.1.0.0/16")
    };
    let huge = Definition {
        options: [("a".to_owned(), "b".repeat(20_000))].into(),
        ..definition(1, "blue", "10.1.0.0/16")
    };
    let origins = vec![Origin::Asked; 2];
    let mut cases =
        vec![ClaimBody::Define { definition: definition(1, "blue", "10.1.0.0/16"), origins }];
    for definition in [
        definition(1, "", "10.1.0.0/16"),
        definition(1, &"x".repeat(129), "10.1.0.0/16"),
        definition(1, "blue", "10.1.0.1/16"),
        no_subnet,
        twice,
        huge,
    ] {
        cases.push(ClaimBody::Define { definition, origins: vec![] });
    }
    for body in cases {
        let claim = cluster.submit(1, body.clone());
        let refused = outcome(&cluster, 1, claim);
        assert!(matches!(refused, Outcome::Refused(ClaimError::Invalid { .. })), "{refused:?}");
        let claim = ClaimId { node: id(1), number: 99 };
        cluster.deliver(1, 2, Message::Propose { claim, round: 0, body: body.clone() });
        cluster.deliver(1, 2, Message::Pending { claims: vec![(claim, body)] });
        assert!(cluster.node(2).disk.is_empty());
    }
}

#[test]
fn a_leaving_node_withdraws_and_claims_no_more() {
    let mut cluster = Cluster::new(2, 1);
    cluster.cut_one_way(2, 1);
    let open = cluster.submit(1, by_name(1, "blue"));
    cluster.leave(1);
    let late = cluster.submit(1, by_name(2, "red"));
    for claim in [open, late] {
        assert_eq!(outcome(&cluster, 1, claim), &Outcome::Refused(ClaimError::Leaving));
    }
    cluster.heal();
    cluster.declare(2, 1, MemberChange::Left);
    assert_eq!(given(&mut cluster, 2, by_name(3, "blue")), network(3));
}

#[test]
fn of_two_networks_with_one_vni_the_second_is_refused_by_whoever_knows_the_first() {
    let mut cluster = Cluster::new(3, 1);
    let blue = given(&mut cluster, 1, asked(1, "blue", "10.1.0.0/16"));
    cluster.run_for(SECOND);
    // As from a disk that is older than blue.
    let mut twice = definition(2, "red", "10.2.0.0/16");
    twice.subnets[0].vni = definition(1, "blue", "10.1.0.0/16").subnets[0].vni;
    let vni = twice.subnets[0].vni;
    let body = ClaimBody::Define { definition: twice, origins: vec![Origin::Asked] };
    let claim = cluster.submit(2, body);
    cluster.run_for(SECOND);
    let error = ClaimError::VniTaken { vni, other: "blue".to_owned() };
    assert_eq!(outcome(&cluster, 2, claim), &Outcome::Refused(error));
    assert!((1..=3).all(|n| !cluster.node(n).world.definitions.is_frozen(blue)));
}
