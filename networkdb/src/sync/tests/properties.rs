//! The laws of the merge, and convergence after any schedule.

use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;
use weft_api::NodeId;

use super::cluster::{Cluster, NET, epoch, id};
use crate::facts::FactKind;
use crate::sync::message::Rest;
use crate::sync::{Limits, Message, Output};
use crate::table::log::{Extent, Verdict};
use crate::table::record::{EntryKey, Record};
use crate::table::shelf::{Counted, Shelf};

/// What an owner wrote: for each seq a key and whether it lives.
type Script = Vec<(u8, bool)>;

fn records(script: &Script) -> Vec<Record> {
    let write = |(index, (key, live)): (usize, &(u8, bool))| {
        let seq = index as u64 + 1;
        let value = live.then(|| Arc::from(seq.to_be_bytes().as_slice()));
        Record { seq, stamp: seq, at: EntryKey::new("t", &key.to_string()), value }
    };
    script.iter().enumerate().map(write).collect()
}

type State = (u64, Vec<(NodeId, Extent)>, Vec<(EntryKey, Option<Counted>)>);

fn state(shelf: &Shelf) -> State {
    assert_eq!(shelf.hash(), shelf.recomputed_hash());
    let counted = shelf.keys().map(|at| (at.clone(), shelf.counted(at))).collect();
    (shelf.hash(), shelf.extents(), counted)
}

fn merged(deliveries: &[(usize, Record)], now: Instant) -> Shelf {
    let mut shelf = Shelf::new(NET);
    for (owner, record) in deliveries {
        let (verdict, _) = shelf.merge(id(*owner), record.clone(), &Limits::default(), now);
        assert!(matches!(verdict, Verdict::New | Verdict::Stale));
    }
    shelf
}

/// Brings `to` up to `from` by deltas, as anti-entropy does.
fn sync(from: &Shelf, to: &mut Shelf, piece: usize, now: Instant) {
    for (owner, log) in from.logs() {
        let extent = to.extent(owner);
        for delta in log.deltas(owner, &extent, piece) {
            let applied = to.apply(id(9), &delta, &Limits::default(), now);
            assert_eq!((applied.overflow, applied.conflict), (None, None));
        }
    }
}

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    let script = proptest::collection::vec((0u8..6, any::<bool>()), 1..25);
    proptest::collection::vec(script, 1..4)
}

fn all(scripts: &[Script]) -> Vec<(usize, Record)> {
    let owned = |(owner, script)| records(script).into_iter().map(move |record| (owner, record));
    scripts.iter().enumerate().flat_map(owned).collect()
}

proptest! {
    #[test]
    fn any_order_and_any_repeats_of_deliveries_give_the_same_state(
        (scripts, shuffled) in scripts().prop_flat_map(|scripts| {
            let deliveries = all(&scripts);
            let twice: Vec<_> = deliveries.iter().chain(&deliveries).cloned().collect();
            (Just(scripts), Just(twice).prop_shuffle())
        }),
    ) {
        let now = epoch();
        prop_assert_eq!(state(&merged(&all(&scripts), now)), state(&merged(&shuffled, now)));
    }

    #[test]
    fn merging_two_holders_is_commutative_associative_and_idempotent(
        (deliveries, parts) in scripts().prop_flat_map(|scripts| {
            let deliveries = all(&scripts);
            let count = deliveries.len();
            (Just(deliveries), proptest::collection::vec(0usize..3, count))
        }),
        piece in 60usize..400,
    ) {
        let now = epoch();
        let part = |wanted: usize| {
            let some: Vec<_> = deliveries.iter().zip(&parts)
                .filter(|(_, part)| **part == wanted).map(|(d, _)| d.clone()).collect();
            merged(&some, now)
        };
        let join = |order: [usize; 3]| {
            let mut shelf = part(order[0]);
            sync(&part(order[1]), &mut shelf, piece, now);
            sync(&part(order[2]), &mut shelf, piece, now);
            shelf
        };
        let once = join([0, 1, 2]);
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            prop_assert_eq!(state(&join(order)), state(&once));
        }
        let mut right = part(1);
        sync(&part(2), &mut right, piece, now);
        let mut nested = part(0);
        sync(&right, &mut nested, piece, now);
        prop_assert_eq!(state(&nested), state(&once));
        let mut again = join([0, 1, 2]);
        sync(&once, &mut again, piece, now);
        prop_assert_eq!(state(&again), state(&once));
    }

    /// Holders that collect their tombstones at different times, an asker that stopped listening
    /// at some point, and late packets between the pieces: all end where the owner is.
    #[test]
    fn no_collection_and_no_late_packet_resurrects_anything(
        script in proptest::collection::vec((0u8..6, any::<bool>()), 1..40),
        heard in 0usize..40,
        holder_at in 0usize..40,
        collect_at in 0usize..40,
        late in proptest::collection::vec(0usize..40, 0..6),
        piece in 60usize..300,
    ) {
        let now = epoch();
        let limits = Limits::default();
        let log: Vec<_> = records(&script).into_iter().map(|record| (0, record)).collect();
        let upto = |count: usize| merged(&log[..count.min(log.len())], now);
        let mut owner = upto(collect_at);
        owner.collect(None, 0);
        for (index, record) in &log[collect_at.min(log.len())..] {
            let _ = owner.merge(id(*index), record.clone(), &limits, now);
        }
        let mut holder = upto(holder_at);
        sync(&owner, &mut holder, piece, now);
        holder.collect(None, 0);
        let mut asker = upto(heard);
        let extent = asker.extent(id(0));
        let deltas = holder.log(id(0)).map(|log| log.deltas(id(0), &extent, piece));
        let mut late = late.into_iter();
        for delta in deltas.into_iter().flatten() {
            let _ = asker.apply(id(9), &delta, &limits, now);
            if let Some((_, record)) = late.next().and_then(|index| log.get(index)) {
                let _ = asker.merge(id(0), record.clone(), &limits, now);
            }
        }
        prop_assert_eq!(state(&asker), state(&upto(log.len())));
        prop_assert_eq!(state(&holder), state(&upto(log.len())));
    }
}

/// One step of a random schedule.
#[derive(Debug, Clone)]
enum Step {
    Create(usize, u8),
    Update(usize, u8),
    Delete(usize, u8),
    Attach(usize),
    Detach(usize),
    Fact(usize, u8, u8),
    Cut(usize, usize),
    Isolate(usize),
    Heal,
    Restart(usize),
    LoseFlying,
    Run(u64),
}

fn step(nodes: usize) -> impl Strategy<Value = Step> {
    let node = 0..nodes;
    prop_oneof![
        6 => (node.clone(), 0u8..5).prop_map(|(n, k)| Step::Create(n, k)),
        3 => (node.clone(), 0u8..5).prop_map(|(n, k)| Step::Update(n, k)),
        4 => (node.clone(), 0u8..5).prop_map(|(n, k)| Step::Delete(n, k)),
        1 => node.clone().prop_map(Step::Attach),
        1 => node.clone().prop_map(Step::Detach),
        2 => (node.clone(), 0u8..4, 0u8..9).prop_map(|(n, s, v)| Step::Fact(n, s, v)),
        1 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Cut(a, b)),
        1 => node.clone().prop_map(Step::Isolate),
        1 => Just(Step::Heal),
        1 => node.prop_map(Step::Restart),
        1 => Just(Step::LoseFlying),
        5 => (1u64..1_500).prop_map(Step::Run),
    ]
}

fn take(cluster: &mut Cluster, step: Step) {
    let now = cluster.now;
    let key = |key: u8| key.to_string();
    let sync = |cluster: &mut Cluster, node: usize, call: &dyn Fn(&mut crate::sync::Sync)| {
        call(&mut cluster.nodes[node].sync);
        cluster.tick(node);
    };
    // Calls may be refused: the schedule does not know what is live.
    match step {
        Step::Create(n, k) => sync(cluster, n, &|sync| {
            let _ = sync.create_entry(NET, "t", &key(k), vec![k], now);
        }),
        Step::Update(n, k) => sync(cluster, n, &|sync| {
            let _ = sync.update_entry(NET, "t", &key(k), vec![k, 1], now);
        }),
        Step::Delete(n, k) => sync(cluster, n, &|sync| {
            let _ = sync.delete_entry(NET, "t", &key(k), now);
        }),
        Step::Attach(n) => sync(cluster, n, &|sync| {
            let _ = sync.attach(NET, now);
        }),
        Step::Detach(n) => sync(cluster, n, &|sync| {
            let _ = sync.detach(NET, now);
        }),
        Step::Fact(n, s, v) => cluster.put(n, FactKind::RANGES, &[s], &[v]),
        Step::Cut(a, b) => cluster.cut(a, b),
        Step::Isolate(n) => cluster.isolate(n),
        Step::Heal => cluster.heal(),
        Step::Restart(n) => cluster.restart(n),
        Step::LoseFlying => cluster.lose_flying(),
        Step::Run(millis) => cluster.run(millis),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn after_any_schedule_a_healed_cluster_is_equal(
        steps in proptest::collection::vec(step(4), 1..60),
        seed in any::<u64>(),
        loss in 0u64..60,
        collecting in any::<bool>(),
    ) {
        let configure =
            if collecting { super::faults::eager_collection } else { super::cluster::config };
        let mut cluster = Cluster::with(4, configure);
        cluster.seed(seed);
        (0..4).for_each(|index| cluster.attach(index));
        cluster.loss = loss;
        for step in steps {
            take(&mut cluster, step);
        }
        cluster.heal();
        cluster.loss = 0;
        cluster.run(6_000);
        cluster.assert_equal();
        let told: Vec<_> = cluster.nodes.iter().flat_map(|node| &node.others).collect();
        let bad = |output: &&&Output| matches!(output, Output::Alarm(_) | Output::OwnRecordUnknown);
        prop_assert!(told.iter().find(bad).is_none());
    }

    #[test]
    fn after_any_loss_one_exchange_makes_two_nodes_equal(
        steps in proptest::collection::vec(step(2), 1..60),
        seed in any::<u64>(),
    ) {
        let mut cluster = Cluster::of(2);
        cluster.seed(seed);
        (0..2).for_each(|index| cluster.attach(index));
        cluster.loss = 50;
        for step in steps {
            take(&mut cluster, step);
        }
        (0..2).for_each(|index| take(&mut cluster, Step::Attach(index)));
        cluster.heal();
        cluster.loss = 0;
        cluster.lose_flying();
        for index in 0..2 {
            cluster.nodes[index].sync.flush(cluster.now);
            cluster.tick(index);
        }
        cluster.lose_flying();
        cluster.check(0, 1);
        // Attachments, then what they allow, then what was superseded by it: within one second.
        cluster.run(1_400);
        cluster.assert_equal();
    }
}

#[test]
fn an_answer_that_was_cut_short_is_asked_for_again() {
    let mut cluster = Cluster::with(3, |index| {
        let mut config = super::cluster::config(index);
        config.limits.answer_bytes = 2_000;
        config.limits.stream_bytes = 500;
        config
    });
    (0..2).for_each(|index| cluster.attach(index));
    for owner in 0..2 {
        (0..60).for_each(|key| cluster.create(owner, &format!("{owner} {key}"), "0123456789"));
    }
    cluster.run(3_000);
    cluster.attach(2);
    cluster.run(50);
    assert_eq!(cluster.walk(2).len(), 120);
}

#[test]
fn an_answer_that_brings_nothing_is_not_asked_for_again() {
    let mut cluster = Cluster::attached(2);
    let sent = cluster.nodes[0].sent;
    let empty = Message::Deltas { network: NET, deltas: vec![], rest: Rest::More };
    cluster.deliver(1, 0, empty);
    assert_eq!(cluster.nodes[0].sent, sent);
}
