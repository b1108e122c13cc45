//! Claims about the cluster's key: rotated, retired and stolen, in virtual time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weft_api::{ClusterId, NetworkId};
use weft_networkdb::{
    ClaimError, ClaimId, Config, JoinRefusal, Key, KeyRing, KeyRole, Limits, NetworkDb, Outcome,
    Outdated, Output, Reach, RetireError, RolledBackBy, Timing,
};
use weft_tests::cluster::{Cluster, Commit, Crash};

const NET: NetworkId = NetworkId::from_bytes([1; 16]);
const TABLE: &str = "peers";
/// What the simulator's clusters are founded with.
const FOUNDERS: Key = Key::from_bytes([7; 32]);
const BOTH: [Commit; 2] = [Commit::Kept, Commit::Lost];

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn attached(seed: u64, n: usize) -> Cluster {
    let mut cluster = Cluster::formed(seed, n);
    for host in 0..n {
        cluster.act(host, |db, now| db.attach(NET, now)).expect("a host attaches");
    }
    cluster.until(seconds(10), "all know who is attached", |c| {
        (0..n).all(|host| c.db(host).attached(NET).len() == n)
    });
    cluster
}

fn key(n: u8) -> Key {
    Key::from_bytes([n; 32])
}

fn rotate(cluster: &mut Cluster, host: usize, n: u8, reach: Reach) -> ClaimId {
    cluster.act(host, |db, now| db.rotate_key(key(n), reach, now))
}

fn outcome(cluster: &Cluster, host: usize, claim: ClaimId) -> Option<Outcome> {
    cluster.outputs(host).iter().find_map(|(_, output)| {
        if let Output::Claim { id, outcome, .. } = output {
            return (*id == claim).then(|| outcome.clone());
        }
        None
    })
}

fn decided(cluster: &mut Cluster, host: usize, claim: ClaimId) -> Outcome {
    cluster.until(seconds(12), "the rotation is decided", |c| outcome(c, host, claim).is_some());
    outcome(cluster, host, claim).expect("it was waited for")
}

/// Rotates, and waits until all that run seal with the new key.
fn rotated(cluster: &mut Cluster, host: usize, n: u8, reach: Reach) {
    let claim = rotate(cluster, host, n, reach);
    assert_eq!(decided(cluster, host, claim), Outcome::Rotated(key(n).fingerprint()));
    cluster.until(seconds(20), "all seal with it", |c| {
        c.running().all(|host| c.db(host).key_ring().primary().1 == &key(n))
    });
}

fn create(cluster: &mut Cluster, host: usize, name: &str) {
    let value = name.as_bytes().to_vec();
    cluster.act(host, |db, now| db.create_entry(NET, TABLE, name, value, now)).expect("a new key");
}

fn everywhere(cluster: &Cluster, name: &str) -> bool {
    cluster.running().all(|host| cluster.db(host).entry(NET, TABLE, name).is_some())
}

/// All that run have one ring, nothing is pending, and everybody has said so.
fn agree(cluster: &Cluster) -> bool {
    let first = cluster.running().next().expect("one runs");
    let ring = cluster.db(first).keys();
    let settled = ring.iter().all(|key| key.role != KeyRole::Pending && key.missing.is_empty());
    settled
        && cluster.running().all(|host| {
            let db = cluster.db(host);
            db.keys() == ring && db.key_ring() == cluster.db(first).key_ring()
        })
}

fn all_alive(cluster: &Cluster, n: usize) -> bool {
    cluster.running().all(|host| cluster.alive(host).len() == n)
}

fn heard(cluster: &Cluster, host: usize, wanted: &Output) -> bool {
    cluster.outputs(host).iter().any(|(_, output)| output == wanted)
}

#[test]
fn a_hundred_rotations_over_a_live_cluster_lose_nothing() {
    let mut cluster = attached(1, 5);
    cluster.network.loss = 0.1;
    cluster.network.duplicate = 0.05;
    cluster.network.jitter = millis(20);
    let lost = |cluster: &Cluster, host: usize| {
        let n = cluster.db(host).counters();
        [n.bad_auth, n.undecodable, n.streams_failed, n.dropped, n.joins_refused]
    };
    let before: Vec<_> = (0..5).map(|host| lost(&cluster, host)).collect();
    let mut written = 0;
    for n in 0..100_u8 {
        let host = usize::from(n) % 5;
        // A node that has not heard of the last rotation would be told that another was quicker.
        cluster.until(seconds(5), "it knows the last one", |c| {
            c.db(host).keys()[0].rotation == u64::from(n)
        });
        let claim = rotate(&mut cluster, host, n + 100, Reach::Everyone);
        while outcome(&cluster, host, claim).is_none() {
            create(&mut cluster, written % 5, &format!("entry-{written}"));
            written += 1;
            cluster.run(millis(50));
        }
        let new = key(n + 100).fingerprint();
        assert_eq!(outcome(&cluster, host, claim), Some(Outcome::Rotated(new)), "rotation {n}");
    }
    assert!(written > 1000, "{written}");
    cluster.until(seconds(20), "all entries are everywhere", |c| {
        c.running().all(|host| c.db(host).walk(NET, TABLE).count() == written)
    });
    cluster.until(seconds(20), "all agree", agree);
    for (host, before) in before.into_iter().enumerate() {
        assert_eq!(lost(&cluster, host), before, "host {host}");
        assert!(cluster.db(host).counters().datagrams_in > 10_000);
        assert_eq!(cluster.db(host).keys()[0].rotation, 100);
        assert_eq!(cluster.db(host).key_ring().iter().count(), 2);
    }
    assert_eq!(cluster.refused, 0, "handshakes refused because of their key");
}

#[test]
fn a_crash_at_any_durable_step_leaves_one_ring_and_the_next_rotation_goes_through() {
    let mut won = 0;
    for (who, after) in [0, 1].into_iter().flat_map(|who| (0..6).map(move |after| (who, after))) {
        for commit in BOTH {
            let mut cluster = attached(u64::from(after), 3);
            // Something to begin with, so that there are keys of all roles.
            rotated(&mut cluster, 2, 20, Reach::Everyone);
            cluster.run(seconds(3));
            cluster.host_mut(who).crash = Some(Crash { after, commit });
            rotate(&mut cluster, 0, 21, Reach::Everyone);
            cluster.run(seconds(2));
            let crashed = !cluster.running().any(|host| host == who);
            if crashed {
                cluster.start(who);
            }
            cluster.host_mut(who).crash = None;
            cluster.until(seconds(60), "all agree", |c| agree(c) && all_alive(c, 3));
            won += usize::from(cluster.db(2).keys()[0].rotation == 2);
            rotated(&mut cluster, 1, 22, Reach::Everyone);
            create(&mut cluster, who, "after");
            cluster.until(seconds(20), "entries spread", |c| everywhere(c, "after"));
            cluster.until(seconds(20), "all agree", agree);
        }
    }
    assert!((1..24).contains(&won), "some rotations came through and some were withdrawn: {won}");
}

#[test]
fn a_member_that_is_down_is_waited_for_and_brought_up_when_forced() {
    let mut cluster = attached(3, 4);
    let away = cluster.node(3);
    cluster.crash(3);
    cluster.run(seconds(20));
    let claim = rotate(&mut cluster, 0, 20, Reach::Everyone);
    let refused = Outcome::Refused(ClaimError::Unanswered { members: vec![away] });
    assert_eq!(decided(&mut cluster, 0, claim), refused);
    cluster.run(seconds(1));
    for host in 0..3 {
        let ring: Vec<Key> =
            cluster.db(host).key_ring().iter().map(|(_, key)| key.clone()).collect();
        assert_eq!(ring, [FOUNDERS], "withdrawn everywhere");
    }
    rotated(&mut cluster, 0, 21, Reach::Present);
    create(&mut cluster, 1, "while-away");
    cluster.run(seconds(2));
    assert_eq!(cluster.db(1).keys()[0].missing, [away]);
    let old = FOUNDERS.fingerprint();
    let cut_off = Err(RetireError::Unconfirmed(vec![away]));
    let retired = cluster.act(1, |db, now| db.retire_key(old, Reach::Everyone, now));
    assert_eq!(retired, cut_off);
    cluster.start(3);
    cluster.until(seconds(30), "it is back with the new key", |c| all_alive(c, 4) && agree(c));
    cluster.until(seconds(20), "it has what it missed", |c| everywhere(c, "while-away"));
    assert_eq!(cluster.node(3), away);
    let retired = cluster.act(1, |db, now| db.retire_key(old, Reach::Everyone, now));
    assert_eq!(retired, Ok(()));
}

#[test]
fn a_member_whose_last_key_is_gone_is_told_and_rejoins_by_token() {
    let mut cluster = attached(4, 3);
    let away = cluster.node(2);
    cluster.crash(2);
    cluster.run(seconds(20));
    for n in 20..22 {
        rotated(&mut cluster, 0, n, Reach::Present);
    }
    cluster.start(2);
    cluster.run(seconds(30));
    assert_eq!(cluster.alive(2), [away], "nobody answers it");
    let told =
        |output: &(Duration, Output)| matches!(output.1, Output::Outdated(Outdated::This(_)));
    assert_eq!(cluster.outputs(2).iter().filter(|output| told(output)).count(), 1);
    assert!(heard(&cluster, 0, &Output::Outdated(Outdated::Other(away))));
    // With a token that carries a key that is gone, too, nothing happens.
    cluster.act(2, |db, now| db.readmit(key(99), now));
    cluster.join(2, &[0]);
    let refused = Output::JoinFailed { reason: JoinRefusal::WrongKey };
    cluster.until(seconds(5), "it is told", |c| heard(c, 2, &refused));
    cluster.act(2, |db, now| db.end_join(now));
    assert_eq!(cluster.db(2).key_ring().to_call_with().count(), 1);
    cluster.act(2, |db, now| db.readmit(key(21), now));
    cluster.join(2, &[0]);
    cluster.until(seconds(30), "it is back", |c| all_alive(c, 3) && agree(c));
    assert!(heard(&cluster, 2, &Output::Joined));
    create(&mut cluster, 2, "back");
    cluster.until(seconds(20), "its entries spread", |c| everywhere(c, "back"));
}

#[test]
fn of_two_rotations_at_once_one_wins_and_the_other_is_told() {
    for seed in 0..20 {
        let mut cluster = attached(seed, 4);
        cluster.network.loss = 0.1;
        cluster.network.jitter = millis(10);
        let claims = [(0, 20), (1, 21)]
            .map(|(host, n)| (host, rotate(&mut cluster, host, n, Reach::Everyone)));
        let outcomes = claims.map(|(host, claim)| decided(&mut cluster, host, claim));
        let won = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Rotated(_))).count();
        assert_eq!(won, 1, "seed {seed}: {outcomes:?}");
        let lost = Outcome::Refused(ClaimError::Rotated);
        assert!(outcomes.contains(&lost), "seed {seed}: {outcomes:?}");
        cluster.until(seconds(40), "all agree", agree);
        assert_eq!(cluster.db(2).keys()[0].rotation, 1);
    }
}

#[test]
fn nodes_join_while_the_key_is_rotated_and_by_the_tokens_in_force_alone() {
    let mut cluster = attached(6, 3);
    for n in 20..24 {
        cluster.run(seconds(3));
        let primary = cluster.db(1).key_ring().primary().1.clone();
        let joiner = cluster.add_with_token(primary);
        cluster.join(joiner, &[1]);
        cluster.run(Duration::from_micros(u64::from(n - 20) * 300));
        let claim = rotate(&mut cluster, 0, n, Reach::Everyone);
        assert_eq!(decided(&mut cluster, 0, claim), Outcome::Rotated(key(n).fingerprint()));
        let members = joiner + 1;
        cluster.until(seconds(30), "it is a member", |c| all_alive(c, members) && agree(c));
    }
    for host in cluster.running() {
        assert_eq!(cluster.db(host).counters().bad_auth, 0, "host {host}");
    }
    let accepted = cluster.add_with_token(key(22));
    cluster.join(accepted, &[0]);
    let members = accepted + 1;
    cluster.until(seconds(30), "it is a member", |c| all_alive(c, members) && agree(c));
    let stranger = cluster.add_with_token(key(21));
    cluster.join(stranger, &[0]);
    let refused = Output::JoinFailed { reason: JoinRefusal::WrongKey };
    cluster.until(seconds(5), "it is told", |c| heard(c, stranger, &refused));
    assert_eq!(cluster.db(0).members().count(), members);
}

/// Somebody who has all that host 1 had before the key was rotated, its present boot among it.
struct Thief {
    db: NetworkDb,
    start: Instant,
}

impl Thief {
    fn of(cluster: &mut Cluster) -> Self {
        cluster.host_mut(1).trace = Some(Vec::new());
        cluster.run(seconds(2));
        let trace = cluster.host_mut(1).trace.take().unwrap_or_default();
        let cluster_id: [u8; 16] = trace[0].1[2..18].try_into().expect("a datagram's header");
        let node = cluster.node(1);
        let member = cluster.db(0).member(node).expect("a member").clone();
        let config = Config {
            cluster: ClusterId::from_bytes(cluster_id),
            node,
            boot: member.boot,
            name: member.name,
            advertise: member.addr,
            keys: KeyRing::new(1, FOUNDERS),
            seed: [3; 32],
            joins: BTreeMap::new(),
            limits: Limits::default(),
            timing: Timing::default(),
        };
        let disk = cluster.host(1).disk.records();
        let db = NetworkDb::new(config, disk, cluster.now()).expect("a disk in order");
        Self { db, start: cluster.now() }
    }

    /// A datagram that nobody has seen: its counter is above all that host 1 sent.
    fn datagram(&mut self, to: &Cluster) -> Vec<u8> {
        let victim = to.node(0);
        let mut last = None;
        for _ in 0..5000 {
            self.db.send(victim, 9, b"stolen".to_vec(), self.start);
            while let Some(output) = self.db.poll_output() {
                if let Output::Datagram { to: addr, bytes } = output
                    && addr == to.host(0).addr()
                {
                    last = Some(bytes);
                }
            }
        }
        last.expect("one was sent")
    }
}

#[test]
fn a_captured_key_is_worth_nothing_once_it_is_removed() {
    let mut cluster = attached(7, 3);
    let mut thief = Thief::of(&mut cluster);
    let from = cluster.host(1).addr();
    let taken = |cluster: &Cluster| {
        let stolen = |output: &Output| matches!(output, Output::App { channel: 9, .. });
        cluster.outputs(0).iter().filter(|(_, output)| stolen(output)).count()
    };
    let bytes = thief.datagram(&cluster);
    cluster.act(0, |db, now| db.handle_datagram(from, &bytes, now));
    assert_eq!(taken(&cluster), 1, "the key is worth something before");
    rotated(&mut cluster, 2, 20, Reach::Everyone);
    cluster.until(seconds(10), "all have said so", agree);
    let old = FOUNDERS.fingerprint();
    let primary = key(20).fingerprint();
    let keep = cluster.act(0, |db, now| db.retire_key(primary, Reach::Everyone, now));
    assert_eq!(keep, Err(RetireError::Primary(primary)));
    let retired = cluster.act(2, |db, now| db.retire_key(old, Reach::Everyone, now));
    assert_eq!(retired, Ok(()));
    let again = cluster.act(2, |db, now| db.retire_key(old, Reach::Everyone, now));
    assert_eq!(again, Err(RetireError::Unknown(old)));
    cluster.until(seconds(5), "it is retired everywhere", |c| {
        c.running().all(|host| c.db(host).key_ring().iter().count() == 1)
    });
    let bytes = thief.datagram(&cluster);
    let (before, counted) = (cluster.state(0), cluster.db(0).counters().bad_auth);
    cluster.act(0, |db, now| db.handle_datagram(from, &bytes, now));
    assert_eq!(cluster.state(0), before);
    assert_eq!(cluster.db(0).counters().bad_auth, counted + 1);
    assert_eq!(taken(&cluster), 1);
    let stranger = cluster.add();
    cluster.join(stranger, &[0, 1, 2]);
    cluster.run(seconds(20));
    assert!(heard(&cluster, stranger, &Output::JoinFailed { reason: JoinRefusal::WrongKey }));
    assert!(cluster.refused > 0);
    for host in 0..3 {
        assert_eq!(cluster.db(host).members().count(), 3, "nobody heard of it");
    }
    assert_eq!(cluster.db(stranger).members().count(), 1, "nor it of anybody");
}

#[test]
fn no_stream_made_with_a_retired_key_stands() {
    let mut cluster = attached(8, 2);
    let to = cluster.node(1);
    cluster.act(0, |db, now| db.send(to, 9, vec![0; 5000], now));
    cluster.run(seconds(1));
    rotated(&mut cluster, 0, 20, Reach::Everyone);
    cluster.until(seconds(10), "all have said so", agree);
    assert!(cluster.streams_made_with(0, &FOUNDERS) > 0, "they are read on");
    let old = FOUNDERS.fingerprint();
    cluster
        .act(0, |db, now| db.retire_key(old, Reach::Everyone, now))
        .expect("all have the new one");
    cluster.run(millis(10));
    // What stands now was made with the new key.
    assert_eq!(cluster.streams_made_with(0, &FOUNDERS), 0);
    let sent = cluster.outputs(1).len();
    cluster.act(0, |db, now| db.send(to, 9, vec![1; 5000], now));
    cluster.run(seconds(1));
    let app = |output: &Output| matches!(output, Output::App { channel: 9, .. });
    assert!(cluster.outputs(1)[sent..].iter().any(|(_, output)| app(output)));
}

#[test]
fn halves_that_rotate_apart_find_back_with_one_ring() {
    let mut cluster = attached(9, 4);
    cluster.network.split(&[0, 1], &[2, 3]);
    cluster.run(seconds(30));
    let one = rotate(&mut cluster, 0, 20, Reach::Present);
    let two = rotate(&mut cluster, 2, 21, Reach::Present);
    assert!(matches!(decided(&mut cluster, 0, one), Outcome::Rotated(_)));
    assert!(matches!(decided(&mut cluster, 2, two), Outcome::Rotated(_)));
    create(&mut cluster, 0, "one");
    create(&mut cluster, 2, "two");
    cluster.network.heal();
    cluster.until(seconds(60), "one ring", |c| all_alive(c, 4) && agree(c));
    cluster.until(seconds(20), "one table", |c| everywhere(c, "one") && everywhere(c, "two"));
    let ring: Vec<Key> = cluster.db(1).key_ring().iter().map(|(_, key)| key.clone()).collect();
    assert!(ring.len() == 2 && ring.contains(&key(20)) && ring.contains(&key(21)));
    rotated(&mut cluster, 3, 22, Reach::Everyone);
}

#[test]
fn a_disk_from_before_a_rotation_is_known_as_one_or_reaches_nobody() {
    let mut cluster = attached(10, 3);
    let disk = cluster.host(2).disk.clone();
    let count = cluster.host(2).boots;
    cluster.restart(2);
    cluster.run(seconds(10));
    rotated(&mut cluster, 0, 20, Reach::Everyone);
    cluster.until(seconds(10), "all have said so", agree);
    let restore = |cluster: &mut Cluster| {
        cluster.crash(2);
        cluster.host_mut(2).disk = disk.clone();
        cluster.host_mut(2).boots = count;
        cluster.start(2);
        cluster.run(seconds(20));
    };
    // Its key is still accepted: it hears what it hears without a rotation.
    restore(&mut cluster);
    let rolled_back =
        |output: &Output| matches!(output, Output::RolledBack { reason: RolledBackBy::Boot(_) });
    assert!(cluster.outputs(2).iter().any(|(_, output)| rolled_back(output)));
    let old = FOUNDERS.fingerprint();
    let retired = cluster.act(0, |db, now| db.retire_key(old, Reach::Present, now));
    assert_eq!(retired, Ok(()));
    cluster.run(seconds(5));
    let boots = |cluster: &Cluster| -> Vec<_> {
        cluster.db(0).members().map(|member| (member.id, member.boot)).collect()
    };
    let before = boots(&cluster);
    restore(&mut cluster);
    assert!(cluster.outputs(2).iter().any(|(_, output)| matches!(output, Output::Outdated(_))));
    assert_eq!(boots(&cluster), before);
}

#[test]
fn keys_travel_on_streams_and_in_no_fact() {
    let mut cluster = attached(11, 3);
    for host in 0..3 {
        cluster.host_mut(host).trace = Some(Vec::new());
    }
    let marked = Key::from_bytes(*b"a key that is easy to recognise.");
    let claim = cluster.act(0, |db, now| db.rotate_key(marked.clone(), Reach::Everyone, now));
    assert_eq!(decided(&mut cluster, 0, claim), Outcome::Rotated(marked.fingerprint()));
    cluster.until(seconds(10), "all agree", agree);
    let holds = |bytes: &[u8]| bytes.windows(32).any(|part| part == marked.as_bytes());
    for host in 0..3 {
        let records = cluster.host(host).disk.records();
        let where_it_is: Vec<_> =
            records.iter().filter(|(_, _, value)| holds(value)).map(|(space, ..)| *space).collect();
        assert_eq!(where_it_is, [weft_api::Space::Keys], "host {host}");
        let state = format!("{:?} {:?}", cluster.db(host), cluster.outputs(host));
        assert!(!state.contains("easy to recognise") && !state.contains("97, 32, 107"), "{state}");
    }
}
