use proptest::prelude::*;

use super::cluster::{Cluster, Faults};
use super::*;
use crate::claims::{MemberChange, Reason};

#[derive(Debug, Clone, Copy)]
enum Step {
    Define { node: u8, name: u8, pool: u8 },
    ByName { node: u8, name: u8 },
    Delete { node: u8, pick: u8 },
    Crash { node: u8, after_fsync: u8 },
    Wait { ms: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..=4u8, 0..3u8, 0..4u8)
            .prop_map(|(node, name, pool)| Step::Define { node, name, pool }),
        3 => (1..=4u8, 0..3u8).prop_map(|(node, name)| Step::ByName { node, name }),
        2 => (1..=4u8, any::<u8>()).prop_map(|(node, pick)| Step::Delete { node, pick }),
        1 => (1..=4u8, 0..2u8).prop_map(|(node, after_fsync)| Step::Crash { node, after_fsync }),
        4 => (0..400u32).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// One node at a time may be down; it is declared failed, and comes back.
fn revive(cluster: &mut Cluster) {
    if let Some(down) = (1..=4).find(|n| !cluster.is_up(*n)) {
        cluster.declare_to_all(down, MemberChange::Failed);
        cluster.run_for(50 * MS);
        cluster.start(down);
        cluster.declare_to_all(down, MemberChange::Up);
    }
}

fn take(cluster: &mut Cluster, step: Step, serial: u8) {
    match step {
        Step::Define { node, name, pool } if cluster.is_up(node) => {
            let pool =
                ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16"][usize::from(pool)];
            cluster.submit(node, asked(serial, &format!("n{name}"), pool));
        }
        Step::ByName { node, name } if cluster.is_up(node) => {
            cluster.submit(node, by_name(serial, &format!("n{name}")));
        }
        Step::Delete { node, pick } if cluster.is_up(node) => {
            let known: Vec<NetworkId> =
                cluster.node(node).world.definitions.iter().map(|d| d.id).collect();
            if !known.is_empty() {
                let network = known[usize::from(pick) % known.len()];
                cluster.submit(node, ClaimBody::Delete(network));
            }
        }
        Step::Crash { node, after_fsync } => {
            cluster.no_more_crashes();
            revive(cluster);
            if after_fsync > 0 {
                cluster.crash_after_next_fsync(node);
            } else {
                cluster.crash(node);
            }
        }
        Step::Wait { ms } => cluster.run_for(MS * ms),
        Step::Define { .. } | Step::ByName { .. } | Step::Delete { .. } => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// The cluster looks for two networks that exclude each other after each event.
    #[test]
    fn without_a_split_no_two_networks_in_force_exclude_each_other(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..40),
        loss in 0..30u64,
        duplicate in 0..30u64,
        jitter_ms in 0..60u64,
    ) {
        let mut cluster = Cluster::new(4, seed);
        cluster.faults = Faults { loss, duplicate, jitter_ms };
        for (serial, step) in (1..).zip(steps) {
            take(&mut cluster, step, serial);
        }
        cluster.no_more_crashes();
        revive(&mut cluster);
        cluster.faults = Faults::default();
        cluster.run_for(90 * SECOND);
        let ids = |n: u8| -> Vec<NetworkId> {
            cluster.node(n).world.definitions.iter().map(|d| d.id).collect()
        };
        for n in 1..=4 {
            let node = cluster.node(n);
            let open: Vec<_> = node.disk.keys().filter(|key| key[0] != b'm').collect();
            prop_assert!(open.is_empty(), "node {} still holds {:?}", n, open);
            prop_assert!(node.barred.is_empty());
            prop_assert_eq!(ids(n), ids(1));
        }
    }
}

#[test]
fn every_claim_is_decided_once_and_in_its_time() {
    for seed in 0..40 {
        let mut cluster = Cluster::new(3, seed);
        cluster.faults = Faults { loss: 20, duplicate: 20, jitter_ms: 20 };
        let claims: Vec<(u8, ClaimId)> = (1..=12u8)
            .map(|serial| {
                let node = 1 + serial % 3;
                (node, cluster.submit(node, by_name(serial, &format!("n{}", serial % 2))))
            })
            .collect();
        cluster.run_for(5 * SECOND);
        for (node, claim) in claims {
            assert!(cluster.node(node).decided.contains_key(&claim), "seed {seed} {claim}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_messages() {
    let run = || {
        let mut cluster = Cluster::new(4, 9);
        cluster.faults = Faults { loss: 20, duplicate: 20, jitter_ms: 20 };
        for serial in 1..=8 {
            cluster.submit(1 + serial % 4, by_name(serial, "blue"));
        }
        cluster.run_for(6 * SECOND);
        cluster.sent
    };
    assert_eq!(run(), run());
}

#[test]
fn each_reason_to_wake_is_given_and_its_timeout_passes() {
    let mut seen = std::collections::BTreeSet::new();
    let mut cluster = Cluster::new(3, 5);
    cluster.cut(&[1], &[3]);
    cluster.submit(1, by_name(1, "blue"));
    cluster.submit(3, by_name(3, "blue"));
    for _ in 0..7000 {
        let due = |n: u8| cluster.node(n).claims.as_ref().and_then(|c| c.poll_timeout());
        seen.extend((1..=3).filter_map(due).map(|(_, reason)| reason));
        cluster.run_for(MS);
    }
    let all = [Reason::Deadline, Reason::Retransmit, Reason::Retry, Reason::Inquire];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
    assert!((1..=3).all(|n| cluster.node(n).decided.len() == usize::from(n != 2)));
}
