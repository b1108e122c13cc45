use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Model = BTreeMap<u128, Mark>;

fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

fn states() -> impl Strategy<Value = Ranges> {
    let span = (0u128..30, 0u128..10, 1u64..5, 1u8..4);
    let marked = prop::collection::vec(span, 0..10).prop_map(|spans| {
        let mut marks = IntervalMap::default();
        for (low, more, version, owner) in spans {
            marks.set(low, low + more, Mark { version, owner: node(owner) });
        }
        Ranges::Marked(marks)
    });
    prop_oneof![12 => marked, 1 => Just(Ranges::Dropped)]
}

fn joined(a: &[u8], b: &[u8]) -> Vec<u8> {
    join_ranges(Some(a), b).unwrap().unwrap_or_else(|| a.to_vec())
}

fn model(bytes: &[u8]) -> Option<Model> {
    match Ranges::decode(bytes).unwrap() {
        Ranges::Dropped => None,
        Ranges::Marked(marks) => {
            Some(marks.iter().flat_map(|(l, h, m)| (l..=h).map(|at| (at, *m))).collect())
        }
    }
}

proptest! {
    #[test]
    fn joins_commute_associate_and_repeat_without_effect(
        a in states(), b in states(), c in states(),
    ) {
        let (a, b, c) = (a.encode(), b.encode(), c.encode());
        prop_assert_eq!(joined(&a, &b), joined(&b, &a));
        prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
        prop_assert_eq!(join_ranges(Some(&a), &a).unwrap(), None);
        let ab = joined(&a, &b);
        prop_assert_eq!(join_ranges(Some(&ab), &b).unwrap(), None);
    }

    #[test]
    fn a_join_is_the_pointwise_maximum(a in states(), b in states()) {
        let (a, b) = (a.encode(), b.encode());
        let expected = model(&a).zip(model(&b)).map(|(mut a, b)| {
            for (at, mark) in b {
                a.entry(at).and_modify(|m| *m = mark.max(*m)).or_insert(mark);
            }
            a
        });
        prop_assert_eq!(model(&joined(&a, &b)), expected);
    }

    #[test]
    fn equal_states_have_equal_bytes(a in states(), cut in 0u128..40) {
        let Ranges::Marked(marks) = &a else { return Ok(()) };
        let (mut low, mut high) = (IntervalMap::default(), IntervalMap::default());
        for (l, h, m) in marks.iter() {
            for at in l..=h {
                if at < cut { low.set(at, at, *m) } else { high.set(at, at, *m) }
            }
        }
        let halves = (Ranges::Marked(low).encode(), Ranges::Marked(high).encode());
        prop_assert_eq!(joined(&halves.1, &halves.0), a.encode());
        prop_assert_eq!(Ranges::decode(&a.encode()).unwrap(), a);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = join_ranges(None, &bytes);
        let _ = join_ranges(Some(&bytes), &bytes);
    }
}

#[test]
fn an_interval_past_the_greatest_integer_is_refused() {
    let span = |gap, more| WireSpan { gap, more, version: 1, owner: 0 };
    for spans in [
        vec![span(u128::MAX, 1)],
        vec![span(0, u128::MAX), span(0, 0)],
        vec![WireSpan { owner: 1, ..span(0, 0) }],
    ] {
        let bytes = codec::encode(&Wire::Marked { owners: vec![node(1)], spans });
        assert_eq!(join_ranges(None, &bytes), Err(JoinError("ranges")));
    }
}

#[test]
fn golden_bytes_of_ranges() {
    let mut marks = IntervalMap::default();
    marks.set(0, 255, Mark { version: 1, owner: node(1) });
    marks.set(128, 191, Mark { version: 2, owner: node(2) });
    let mut bytes = vec![0, 2];
    bytes.extend([1; 16]);
    bytes.extend([2; 16]);
    bytes.extend([3, 0, 127, 1, 0, 0, 63, 2, 1, 0, 63, 1, 0]);
    assert_eq!(encode_marks(&marks), bytes);
    assert_eq!(Ranges::Dropped.encode(), [1]);
}

#[test]
fn an_onlooker_reads_who_owns_what() {
    let mut marks = IntervalMap::default();
    marks.set(0, 3, Mark { version: 1, owner: node(1) });
    marks.set(4, 9, Mark { version: 2, owner: node(2) });
    let spans = read_ranges(&encode_marks(&marks)).unwrap().unwrap();
    let one = Span { first: 0, last: 3, version: 1, owner: node(1) };
    let other = Span { first: 4, last: 9, version: 2, owner: node(2) };
    assert_eq!(spans, [one, other]);
    assert_eq!(read_ranges(&Ranges::Dropped.encode()), Ok(None));
    assert!(read_ranges(&[7]).is_err());
}
