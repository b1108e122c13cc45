use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::facts::{Join, Joined};

const REST: Duration = Duration::from_secs(2);

fn key(n: u8) -> Key {
    Key::from_bytes([n; 32])
}

fn named(n: u8) -> NamedKey {
    NamedKey { id: n, key: key(n) }
}

#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
fn now() -> Instant {
    Instant::now()
}

fn keyring() -> Keyring {
    Keyring::new(&KeyRing::new(1, key(1)), &[], None, REST, now()).unwrap()
}

fn outputs(keyring: &mut Keyring) -> Vec<Output> {
    std::iter::from_fn(|| keyring.poll_output()).collect()
}

fn fact(rotation: u64, n: u8, base: u8) -> Vec<u8> {
    RingState::rotated((rotation, key(n).fingerprint()), key(base).fingerprint()).encode()
}

fn ids(ring: &KeyRing) -> Vec<u8> {
    ring.iter().map(|(id, _)| id).collect()
}

#[test]
fn a_fingerprint_is_the_same_for_ever_and_no_part_of_its_key() {
    assert_eq!(key(7).fingerprint().to_string(), "35d10fc3498cf530");
    assert_ne!(key(7).fingerprint(), key(8).fingerprint());
    let shown = format!("{:?} {:?} {:?}", key(0xab), named(0xab), KeyRing::new(1, key(0xab)));
    assert!(!shown.contains("abab") && !shown.contains("171, 171"), "{shown}");
}

#[test]
fn a_key_to_come_opens_and_does_not_seal_until_it_is_in_force() {
    let mut keyring = keyring();
    keyring.hear(vec![named(2)]);
    assert_eq!(ids(keyring.ring()), [1], "heard of is not held");
    keyring.keep(key(2).fingerprint());
    assert_eq!(ids(keyring.ring()), [1, 2]);
    let put = outputs(&mut keyring);
    assert!(
        matches!(&put[..], [Output::Persist(a), Output::Persist(b), Output::Changed(_)]
        if a.value.is_some() && b.value.is_some()),
        "{put:?}"
    );
    keyring.on_state(&fact(1, 2, 1), now());
    keyring.release(key(2).fingerprint());
    assert_eq!(ids(keyring.ring()), [2, 1]);
    let (rotation, key) = (1, key(2).fingerprint());
    assert!(outputs(&mut keyring).contains(&Output::Switched { rotation, key }));
}

#[test]
fn a_key_that_was_withdrawn_opens_nothing_and_leaves_the_disk() {
    let mut keyring = keyring();
    keyring.hear(vec![named(2)]);
    keyring.keep(key(2).fingerprint());
    let _ = outputs(&mut keyring);
    keyring.release(key(2).fingerprint());
    assert_eq!(ids(keyring.ring()), [1]);
    let writes = outputs(&mut keyring);
    let removed = writes.iter().filter(|o| matches!(o, Output::Persist(w) if w.value.is_none()));
    assert_eq!(removed.count(), 2, "as if nothing had been: {writes:?}");
}

#[test]
fn the_third_rotation_retires_the_first_key() {
    let mut keyring = keyring();
    for n in 2..5 {
        keyring.hear(vec![named(n)]);
        keyring.keep(key(n).fingerprint());
        assert!(keyring.ring().iter().count() <= KeyRing::MAX);
        keyring.on_state(&fact(u64::from(n) - 1, n, n - 1), now());
        keyring.release(key(n).fingerprint());
        assert_eq!(ids(keyring.ring()), [n, n - 1]);
    }
    keyring.hear(vec![named(1)]);
    assert_eq!(ids(keyring.ring()), [4, 3], "what is retired does not come back");
}

#[test]
fn a_restart_finds_what_was_held() {
    let mut keyring = keyring();
    keyring.hear(vec![named(2)]);
    keyring.keep(key(2).fingerprint());
    keyring.on_state(&fact(1, 2, 1), now());
    keyring.release(key(2).fingerprint());
    keyring.hear(vec![named(3)]);
    keyring.keep(key(3).fingerprint());
    let mut disk = std::collections::BTreeMap::new();
    for output in outputs(&mut keyring) {
        if let Output::Persist(write) = output {
            match write.value {
                Some(value) => disk.insert(write.key, value),
                None => disk.remove(&write.key),
            };
        }
    }
    let lines: Vec<_> =
        disk.into_iter().map(|(key, value)| (weft_api::Space::Keys, key, value)).collect();
    // The caller knows the key that sealed last, or an older one.
    for known in [1, 2] {
        let ring = KeyRing::new(known, key(known));
        let state = fact(1, 2, 1);
        let mut again = Keyring::new(&ring, &lines, Some(&state), REST, now()).unwrap();
        assert_eq!(ids(again.ring()), [2, 1]);
        again.keep(key(3).fingerprint());
        assert_eq!(ids(again.ring()), [2, 1, 3]);
        assert_eq!(again.ring(), keyring.ring());
        again.release(key(3).fingerprint());
        let removed = |o: &Output| matches!(o, Output::Persist(w) if w.value.is_none());
        assert_eq!(outputs(&mut again).iter().filter(|o| removed(o)).count(), 1);
    }
    let damaged = [(weft_api::Space::Keys, vec![1; 8], vec![9])];
    assert!(Keyring::new(&KeyRing::new(1, key(1)), &damaged, None, REST, now()).is_err());
}

#[test]
fn a_token_opens_whatever_its_key_can_until_a_member_tells_the_ring() {
    let ring = KeyRing::of_token(1, key(9));
    assert_eq!(ring.candidates(0x55).count(), 1);
    let mut joiner = Keyring::new(&ring, &[], None, REST, now()).unwrap();
    joiner.hear(vec![NamedKey { id: 0x55, key: key(9) }, named(8)]);
    joiner.on_state(&fact(4, 9, 8), now());
    assert_eq!(ids(joiner.ring()), [0x55, 8]);
    assert_eq!(joiner.ring().candidates(1).count(), 0);
    let (rotation, key) = (4, key(9).fingerprint());
    assert!(outputs(&mut joiner).contains(&Output::Switched { rotation, key }));
}

#[test]
fn a_lent_key_calls_and_opens_nothing() {
    let mut keyring = keyring();
    keyring.lend(Some(key(5)));
    let called: Vec<&Key> = keyring.ring().to_call_with().map(|(_, key)| key).collect();
    assert_eq!(called, [&key(1), &key(5)]);
    assert_eq!(keyring.ring().candidates(1).count(), 1);
    assert!(!keyring.ring().contains(&key(5)));
    keyring.lend(None);
    assert_eq!(keyring.ring().to_call_with().count(), 1);
}

#[test]
fn a_new_key_goes_by_an_id_that_no_other_has() {
    let mut keyring = keyring();
    for n in 2..5 {
        let new = keyring.name(key(n));
        assert!(new.id > 1 && !ids(keyring.ring()).contains(&new.id));
        keyring.propose(new.clone());
        keyring.keep(new.key.fingerprint());
    }
}

#[test]
fn what_is_heard_is_bounded() {
    let mut keyring = keyring();
    for n in 10..200 {
        keyring.hear(vec![named(n)]);
    }
    assert!(!keyring.knows(key(10).fingerprint()) && keyring.knows(key(199).fingerprint()));
}

fn states() -> impl Strategy<Value = RingState> {
    let keys = prop::collection::btree_map(0_u64..6, 0_u8..6, 1..=2);
    (0_u64..4, keys).prop_filter_map("a sound state", |(floor, keys)| {
        let keys =
            keys.into_iter().map(|(rotation, n)| (rotation, Fingerprint::from_bytes([n; 8])));
        let state = RingState::of(floor, keys.collect());
        RingState::decode(&state.encode()).ok()
    })
}

fn joined(current: &[u8], incoming: &[u8]) -> Vec<u8> {
    match RingJoin.join(Some(current), incoming).unwrap() {
        Joined::Unchanged => current.to_vec(),
        Joined::Changed(bytes) => bytes,
    }
}

proptest! {
    #[test]
    fn rings_join_in_any_order(a in states(), b in states(), c in states()) {
        let (a, b, c) = (a.encode(), b.encode(), c.encode());
        prop_assert_eq!(joined(&a, &b), joined(&b, &a));
        prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
        prop_assert_eq!(joined(&a, &a), a.clone());
        let ab = joined(&a, &b);
        prop_assert_eq!(joined(&ab, &b), ab.clone());
        let latest = |bytes: &[u8]| RingState::decode(bytes).unwrap().primary();
        prop_assert!(latest(&ab) >= latest(&a) && latest(&ab) >= latest(&b));
    }

    #[test]
    fn no_ring_takes_all_rotations_there_are(first in 0..1000_u64, ahead in 1..=u64::MAX / 2) {
        let ring = |rotation| RingState::of(0, vec![(rotation, key(1).fingerprint())]).encode();
        let joined = RingJoin.join(Some(&ring(first)), &ring(first + ahead));
        prop_assert_eq!(joined.is_ok(), ahead <= 1 << 16);
        // One that never rotated has no fact.
        prop_assert_eq!(RingJoin.join(None, &ring(ahead)).is_ok(), ahead <= 1 << 16);
    }

    #[test]
    fn any_bytes_are_a_ring_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = RingJoin.join(None, &bytes);
        let _ = UseJoin.join(None, &bytes);
    }

    /// What one node goes through: at most three keys open, and one always seals.
    #[test]
    fn a_keyring_is_never_empty_and_never_large(
        steps in prop::collection::vec((0_u8..4, 2_u8..8), 1..60),
    ) {
        let mut keyring = keyring();
        let mut kept = None;
        for (step, n) in steps {
            let (rotation, primary) = keyring.state().primary();
            match (step, kept) {
                (0, None) => {
                    keyring.hear(vec![named(n)]);
                    if !keyring.state().contains(key(n).fingerprint()) {
                        keyring.keep(key(n).fingerprint());
                        kept = Some(n);
                    }
                }
                (1, Some(n)) => {
                    let state = RingState::rotated((rotation + 1, key(n).fingerprint()), primary);
                    let joined = keyring.state().join(&state).encode();
                    keyring.on_state(&joined, now());
                    keyring.release(key(n).fingerprint());
                    prop_assert_eq!(keyring.ring().primary().1, &key(n));
                    kept = None;
                }
                (2, Some(n)) => {
                    keyring.release(key(n).fingerprint());
                    kept = None;
                }
                (3, _) => {
                    let state = keyring.state().without_others().encode();
                    keyring.on_state(&state, now());
                    prop_assert_eq!(keyring.ring().iter().count(), 1 + usize::from(kept.is_some()));
                }
                _ => {}
            }
            prop_assert!((1..=KeyRing::MAX).contains(&keyring.ring().iter().count()));
            let (_, primary) = keyring.state().primary();
            prop_assert_eq!(keyring.ring().primary().1.fingerprint(), primary);
        }
    }
}
