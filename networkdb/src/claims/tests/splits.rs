use super::cluster::{Cluster, id};
use super::*;
use crate::claims::MemberChange;
use crate::claims::definition_fact::{DefinitionJoin, Definitions, DeletedJoin, encode};
use crate::facts::{FactKind, Join, Joined};

/// Halves {1, 2} and {3, 4} that declared each other failed.
fn split() -> Cluster {
    let mut cluster = Cluster::new(4, 1);
    cluster.cut(&[1, 2], &[3, 4]);
    for (a, b) in [(1, 3), (1, 4), (2, 3), (2, 4)] {
        cluster.declare(a, b, MemberChange::Failed);
        cluster.declare(b, a, MemberChange::Failed);
    }
    cluster
}

fn merge(cluster: &mut Cluster) {
    cluster.heal();
    for n in 1..=4 {
        cluster.declare_to_all(n, MemberChange::Up);
    }
    cluster.run_for(SECOND);
}

#[test]
fn halves_of_a_split_both_succeed_and_the_merge_freezes_the_higher_stamp_everywhere() {
    let mut cluster = split();
    let left = given(&mut cluster, 1, asked(1, "blue", "10.1.0.0/16"));
    let right = given(&mut cluster, 3, asked(2, "blue", "10.2.0.0/16"));
    let pool = given(&mut cluster, 4, asked(3, "red", "10.1.0.0/24"));
    merge(&mut cluster);
    for n in 1..=4 {
        let known = &cluster.node(n).world.definitions;
        assert_eq!(known.by_name("blue").unwrap().id, left, "node {n}");
        assert!(!known.is_frozen(left), "node {n}");
        assert!(known.is_frozen(right) && known.get(right).is_some(), "node {n}");
        assert!(known.is_frozen(pool), "node {n}");
        assert_eq!(known.frozen_by(pool).unwrap().id, left);
    }
}

#[test]
fn of_two_networks_that_came_to_one_vni_one_is_frozen() {
    let mut cluster = split();
    let left = given(&mut cluster, 1, asked(1, "blue", "10.1.0.0/16"));
    let mut twice = definition(2, "red", "10.2.0.0/16");
    twice.subnets[0].vni = definition(1, "blue", "10.1.0.0/16").subnets[0].vni;
    let body = ClaimBody::Define { definition: twice, origins: vec![Origin::Asked] };
    let right = given(&mut cluster, 3, body);
    merge(&mut cluster);
    for n in 1..=4 {
        let known = &cluster.node(n).world.definitions;
        assert!(!known.is_frozen(left) && known.is_frozen(right), "node {n}");
    }
}

#[test]
fn a_tombstone_keeps_the_vnis_of_whoever_knew_them() {
    let [one, two] = [1, 2].map(|n| definition(n, "blue", "10.1.0.0/16").subnets[0].vni.get());
    let value = |vnis: &[u32]| {
        let vnis = vnis.iter().flat_map(|vni| vni.to_be_bytes());
        [1].into_iter().chain(vnis).collect::<Vec<u8>>()
    };
    let (a, b, both) = (value(&[one]), value(&[two]), value(&[one, two]));
    assert_eq!(DeletedJoin.join(Some(&a), &b), Ok(Joined::Changed(both.clone())));
    assert_eq!(DeletedJoin.join(Some(&b), &a), Ok(Joined::Changed(both.clone())));
    assert_eq!(DeletedJoin.join(Some(&both), &a), Ok(Joined::Unchanged));
    for malformed in [&[1, 0][..], &[2], &[1, 0, 0, 0, 0]] {
        assert!(DeletedJoin.join(None, malformed).is_err(), "{malformed:?}");
    }
    // Who deletes without knowing what it was is told by whoever knows.
    let mut known = Definitions::default();
    let blue = definition(1, "blue", "10.1.0.0/16");
    known.on_fact(FactKind::DEFINITION, blue.id.as_bytes(), &encode(&blue));
    known.on_fact(FactKind::DELETED, blue.id.as_bytes(), &[1]);
    assert_eq!(known.tombstone(blue.id), a);
    assert_eq!(known.vnis().collect::<Vec<_>>(), [blue.subnets[0].vni]);
}

#[test]
fn a_delete_thaws_the_other_network_of_the_name() {
    let mut cluster = split();
    let left = given(&mut cluster, 1, asked(1, "blue", "10.1.0.0/16"));
    let right = given(&mut cluster, 3, asked(2, "blue", "10.2.0.0/16"));
    merge(&mut cluster);
    let claim = cluster.submit(4, ClaimBody::Delete(left));
    cluster.run_for(SECOND);
    assert_eq!(outcome(&cluster, 4, claim), &Outcome::Deleted(left));
    for n in 1..=4 {
        let known = &cluster.node(n).world.definitions;
        assert_eq!(known.by_name("blue").unwrap().id, right);
        assert!(!known.is_frozen(right));
    }
}

#[test]
fn a_claim_cut_off_in_the_middle_is_not_finished_against_the_other_half() {
    // Node 1 has asked all; then the split, in which the other half defines the name.
    let mut cluster = Cluster::new(4, 1);
    cluster.cut(&[1, 2], &[3, 4]);
    let claim = cluster.submit(1, by_name(1, "blue"));
    cluster.run_for(100 * MS);
    for (a, b) in [(3, 1), (3, 2), (4, 1), (4, 2)] {
        cluster.declare(a, b, MemberChange::Failed);
    }
    let right = given(&mut cluster, 3, by_name(3, "blue"));
    merge(&mut cluster);
    assert_eq!(got(&cluster, 1, claim), right);
    assert!((1..=4).all(|n| !cluster.node(n).world.definitions.is_frozen(right)));
}

#[test]
fn a_tombstone_is_permanent_in_whatever_order_it_comes() {
    let gone = definition(1, "blue", "10.1.0.0/16");
    let subject = gone.id.as_bytes();
    for order in
        [[FactKind::DELETED, FactKind::DEFINITION], [FactKind::DEFINITION, FactKind::DELETED]]
    {
        let mut known = Definitions::default();
        for kind in order {
            let value = if kind == FactKind::DELETED { vec![1] } else { encode(&gone) };
            known.on_fact(kind, subject, &value);
        }
        assert!(known.is_deleted(gone.id) && known.is_defined(gone.id));
        assert!(known.get(gone.id).is_none() && known.iter().next().is_none());
    }
}

#[test]
fn definitions_join_alike_in_any_order() {
    let one = encode(&definition(1, "blue", "10.1.0.0/16"));
    let mut later = definition(1, "blue", "10.1.0.0/16");
    later.stamp = Stamp { lamport: 3, node: id(1) };
    let two = encode(&later);
    let three = encode(&definition(1, "red", "10.1.0.0/16"));
    let join = |current: &[u8], incoming: &[u8]| match DefinitionJoin.join(Some(current), incoming)
    {
        Ok(Joined::Changed(bytes)) => bytes,
        Ok(Joined::Unchanged) => current.to_vec(),
        Err(error) => panic!("{error}"),
    };
    for (a, b) in [(&one, &two), (&one, &three), (&two, &three)] {
        assert_eq!(join(a, b), join(b, a));
        assert_eq!(join(a, a), *a);
        for c in [&one, &two, &three] {
            assert_eq!(join(&join(a, b), c), join(a, &join(b, c)));
        }
    }
    assert_eq!(DefinitionJoin.join(None, &one), Ok(Joined::Changed(one)));
}

#[test]
fn malformed_facts_are_errors_and_a_definition_under_anothers_id_is_none() {
    let blue = encode(&definition(1, "blue", "10.1.0.0/16"));
    assert!(DefinitionJoin.join(None, b"nonsense").is_err());
    assert!(DefinitionJoin.join(Some(&blue), &blue[..9]).is_err());
    assert!(DeletedJoin.join(None, b"").is_err());
    assert_eq!(DeletedJoin.join(None, &[1]), Ok(Joined::Changed(vec![1])));
    assert_eq!(DeletedJoin.join(Some(&[1]), &[1]), Ok(Joined::Unchanged));
    let mut known = Definitions::default();
    known.on_fact(FactKind::DEFINITION, &[9; 16], &blue);
    known.on_fact(FactKind::DEFINITION, &[9; 3], &blue);
    assert_eq!(known.iter().count(), 0);
}
