//! Claims about entries, facts and networks in a whole cluster, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_api::{Definition, NetworkId, Stamp, Subnet, Vni};
use weft_networkdb::{ClaimError, ClaimId, Origin, Outcome, Output, Reason, RolledBackBy};
use weft_tests::cluster::Cluster;

const NET: NetworkId = NetworkId::from_bytes([1; 16]);
const TABLE: &str = "peers";

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A cluster whose hosts are all attached to `NET`, and know it of each other.
fn attached(seed: u64, n: usize) -> Cluster {
    let mut cluster = Cluster::formed(seed, n);
    attach_all(&mut cluster, n);
    cluster
}

fn attach_all(cluster: &mut Cluster, n: usize) {
    for host in 0..n {
        cluster.act(host, |db, now| db.attach(NET, now)).expect("a host attaches");
    }
    cluster.until(seconds(10), "all know who is attached", |c| {
        (0..n).all(|host| c.db(host).attached(NET).len() == n)
    });
}

fn create(cluster: &mut Cluster, host: usize, key: &str) {
    let value = key.as_bytes().to_vec();
    cluster.act(host, |db, now| db.create_entry(NET, TABLE, key, value, now)).expect("a new key");
}

fn has(cluster: &Cluster, host: usize, key: &str) -> bool {
    cluster.db(host).entry(NET, TABLE, key).is_some()
}

fn everywhere(cluster: &Cluster, key: &str) -> bool {
    cluster.running().all(|host| has(cluster, host, key))
}

fn nowhere(cluster: &Cluster, key: &str) -> bool {
    !cluster.running().any(|host| has(cluster, host, key))
}

/// What a host's tables show, all of it.
fn contents(cluster: &Cluster, host: usize) -> Vec<(String, Vec<u8>)> {
    let entries = cluster.db(host).walk(NET, TABLE);
    entries.map(|entry| (entry.key.to_string(), entry.value.to_vec())).collect()
}

#[test]
fn an_entry_reaches_all_attached_members_and_no_other() {
    let mut cluster = Cluster::formed(1, 6);
    for host in 0..5 {
        cluster.act(host, |db, now| db.attach(NET, now)).unwrap();
    }
    cluster.run(seconds(2));
    create(&mut cluster, 3, "a");
    cluster.until(seconds(1), "all attached have it", |c| (0..5).all(|host| has(c, host, "a")));
    assert!(!has(&cluster, 5, "a"));
    cluster.act(3, |db, now| db.delete_entry(NET, TABLE, "a", now)).unwrap();
    cluster.until(seconds(1), "it is gone", |c| nowhere(c, "a"));
}

#[test]
fn a_write_is_visible_on_25_members_within_100_ms() {
    let mut cluster = attached(2, 25);
    let mut worst = Duration::ZERO;
    for round in 0..40 {
        let key = format!("key-{round}");
        create(&mut cluster, round % 25, &key);
        worst = worst.max(cluster.until(seconds(2), "visible", |c| everywhere(c, &key)));
        cluster.run(millis(77));
    }
    assert!(worst <= millis(100), "{worst:?}");
}

#[test]
fn a_thousand_entries_written_at_once_are_visible_within_a_second() {
    let mut cluster = attached(3, 5);
    for n in 0..1000 {
        create(&mut cluster, 2, &format!("key-{n}"));
    }
    let took = cluster.until(seconds(5), "all visible", |c| {
        c.running().all(|host| c.db(host).walk(NET, TABLE).count() == 1000)
    });
    assert!(took <= seconds(1), "{took:?}");
}

#[test]
fn entries_reach_all_in_spite_of_loss() {
    for seed in 0..20 {
        let mut cluster = attached(seed, 8);
        cluster.network.loss = 0.3;
        cluster.network.duplicate = 0.1;
        cluster.network.jitter = millis(30);
        for n in 0..50 {
            create(&mut cluster, n % 8, &format!("key-{n}"));
            cluster.run(millis(20));
        }
        for n in 0..50 {
            if n % 3 == 0 {
                let key = format!("key-{n}");
                cluster.act(n % 8, |db, now| db.delete_entry(NET, TABLE, &key, now)).unwrap();
            }
        }
        cluster.until(seconds(20), "all agree", |c| {
            let first = contents(c, 0);
            first.len() == 33 && c.running().all(|host| contents(c, host) == first)
        });
    }
}

#[test]
fn a_restarted_member_has_its_entries_and_gets_those_of_others() {
    let mut cluster = attached(4, 4);
    create(&mut cluster, 1, "mine");
    create(&mut cluster, 2, "theirs");
    cluster.until(seconds(2), "spread", |c| everywhere(c, "mine") && everywhere(c, "theirs"));
    cluster.restart(1);
    assert!(has(&cluster, 1, "mine"), "from its disk, at once");
    cluster.until(seconds(5), "it has all again", |c| everywhere(c, "theirs"));
    cluster.until(seconds(5), "it is ready", |c| c.db(1).is_ready());
    assert!(everywhere(&cluster, "mine"));
    cluster.act(1, |db, now| db.delete_entry(NET, TABLE, "mine", now)).unwrap();
    cluster.until(seconds(2), "deleted", |c| nowhere(c, "mine"));
}

#[test]
fn a_failed_members_entries_are_hidden_and_back_with_it() {
    let mut cluster = attached(5, 4);
    create(&mut cluster, 3, "a");
    cluster.until(seconds(2), "spread", |c| everywhere(c, "a"));
    cluster.crash(3);
    cluster.until(seconds(30), "hidden", |c| nowhere(c, "a"));
    cluster.start(3);
    cluster.until(seconds(12), "back", |c| everywhere(c, "a"));
}

#[test]
fn a_member_that_left_takes_its_entries_with_it() {
    let mut cluster = attached(6, 4);
    create(&mut cluster, 3, "a");
    cluster.until(seconds(2), "spread", |c| everywhere(c, "a"));
    cluster.act(3, |db, now| db.leave(now));
    cluster.run(seconds(4));
    cluster.crash(3);
    cluster.until(seconds(5), "gone", |c| nowhere(c, "a"));
    assert_eq!(cluster.db(0).attached(NET).len(), 3);
}

#[test]
fn both_halves_write_during_a_split_and_agree_after_it() {
    let mut cluster = attached(7, 6);
    create(&mut cluster, 0, "old");
    cluster.until(seconds(2), "spread", |c| everywhere(c, "old"));
    cluster.network.split(&[0, 1, 2], &[3, 4, 5]);
    cluster.run(seconds(30));
    create(&mut cluster, 1, "left");
    create(&mut cluster, 4, "right");
    cluster.act(0, |db, now| db.delete_entry(NET, TABLE, "old", now)).unwrap();
    cluster.run(seconds(30));
    assert!(!has(&cluster, 4, "left"), "the split shows effect");
    cluster.network.heal();
    let took = cluster.until(seconds(20), "all agree", |c| {
        everywhere(c, "left") && everywhere(c, "right") && nowhere(c, "old")
    });
    assert!(took <= seconds(12), "{took:?}");
}

#[test]
fn a_member_away_through_deletes_does_not_bring_them_back() {
    let mut cluster = Cluster::new(8);
    cluster.timing.sync.keep_tombstones = seconds(5);
    cluster.form(3);
    attach_all(&mut cluster, 3);
    create(&mut cluster, 0, "a");
    cluster.until(seconds(2), "spread", |c| everywhere(c, "a"));
    cluster.network.split(&[2], &[0, 1]);
    cluster.act(0, |db, now| db.delete_entry(NET, TABLE, "a", now)).unwrap();
    cluster.run(seconds(60));
    cluster.network.heal();
    cluster.until(seconds(20), "gone", |c| nowhere(c, "a"));
    cluster.run(seconds(20));
    assert!(nowhere(&cluster, "a"));
}

#[test]
fn a_disk_that_lost_records_of_its_own_is_detected() {
    let mut cluster = attached(9, 3);
    let old = cluster.host(2).disk.clone();
    create(&mut cluster, 2, "a");
    cluster.until(seconds(2), "spread", |c| everywhere(c, "a"));
    cluster.crash(2);
    // The image is older than the write; the boot counter went on.
    cluster.host_mut(2).disk = old;
    cluster.start(2);
    cluster.until(seconds(5), "it stops", |c| {
        c.outputs(2).iter().any(|(_, output)| {
            matches!(output, Output::RolledBack { reason: RolledBackBy::Record })
        })
    });
}

#[test]
fn messages_of_any_size_reach_the_same_part_on_another_member() {
    let mut cluster = Cluster::formed(10, 2);
    let to = cluster.node(1);
    for size in [10, 2000, 300_000] {
        cluster.act(0, |db, now| db.send(to, 1, vec![7; size], now));
    }
    cluster.run(seconds(2));
    let mut sizes: Vec<usize> = cluster
        .outputs(1)
        .iter()
        .filter_map(|(_, output)| {
            let Output::App { channel: 1, bytes, .. } = output else { return None };
            Some(bytes.len())
        })
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [10, 2000, 300_000]);
}

fn network(byte: u8, name: &str, pool: &str) -> Definition {
    Definition {
        id: NetworkId::from_bytes([byte; 16]),
        name: name.to_owned(),
        driver: "overlay".to_owned(),
        ipam: "weft".to_owned(),
        subnets: vec![Subnet {
            pool: pool.parse().expect("a pool"),
            gateway: None,
            range: None,
            auxiliary: BTreeMap::new(),
            vni: Vni::new(8_388_608 + u32::from(byte)).expect("a VNI"),
        }],
        options: BTreeMap::new(),
        mtu: None,
        internal: false,
        stamp: Stamp::default(),
    }
}

fn define(cluster: &mut Cluster, host: usize, definition: Definition) -> ClaimId {
    cluster.act(host, |db, now| db.define(definition, vec![Origin::Asked], now))
}

fn outcome(cluster: &Cluster, host: usize, claim: ClaimId) -> Option<Outcome> {
    cluster.outputs(host).iter().find_map(|(_, output)| {
        let Output::Claim { id, outcome, .. } = output else { return None };
        (*id == claim).then(|| outcome.clone())
    })
}

fn decided(cluster: &mut Cluster, host: usize, claim: ClaimId) -> Outcome {
    cluster.until(seconds(10), "decided", |c| outcome(c, host, claim).is_some());
    outcome(cluster, host, claim).expect("decided")
}

#[test]
fn a_network_defined_on_one_member_is_in_force_on_all() {
    let mut cluster = Cluster::formed(11, 5);
    let claim = define(&mut cluster, 2, network(1, "blue", "10.1.0.0/24"));
    assert!(matches!(decided(&mut cluster, 2, claim), Outcome::Defined(_)));
    let took = cluster.until(seconds(2), "in force everywhere", |c| {
        c.running().all(|host| c.db(host).definition_by_name("blue").is_some())
    });
    assert!(took <= millis(100), "{took:?}");
    let joiner = cluster.add();
    cluster.join(joiner, &[1]);
    cluster.until(seconds(5), "a joiner has it", |c| {
        c.db(joiner).definition_by_name("blue").is_some()
    });
}

#[test]
fn a_network_outlives_its_maker_although_all_that_told_of_it_was_lost() {
    for seed in 0..10 {
        let mut cluster = Cluster::formed(seed, 4);
        let claims = [2, 3].map(|host| {
            let byte = u8::try_from(host).expect("small");
            let pool = format!("10.{host}.0.0/24");
            let claim = define(&mut cluster, host, network(byte, &format!("of-{host}"), &pool));
            (host, claim)
        });
        // The proposals are under way; of the answers to the acceptances nothing arrives.
        for (host, _) in claims {
            cluster.network.cut(host, 0);
            cluster.network.cut(host, 1);
        }
        for (host, claim) in claims {
            assert!(matches!(decided(&mut cluster, host, claim), Outcome::Defined(_)));
        }
        assert!((0..2).all(|host| cluster.db(host).definitions().count() == 0));
        cluster.network.heal();
        for (host, _) in claims {
            cluster.act(host, |db, now| db.leave(now));
        }
        cluster.until(seconds(2), "both have left", |c| {
            claims.iter().all(|(host, _)| {
                c.outputs(*host).iter().any(|(_, output)| *output == Output::LeftCluster)
            })
        });
        for (host, _) in claims {
            cluster.crash(host);
        }
        cluster.run(seconds(3));
        for host in 0..2 {
            let names: Vec<_> = cluster.db(host).definitions().map(|d| d.name.clone()).collect();
            assert_eq!(names.len(), 2, "{names:?} (seed {seed})");
        }
    }
}

#[test]
fn two_simultaneous_creates_of_one_network_give_one() {
    for seed in 0..10 {
        let mut cluster = Cluster::formed(seed, 4);
        let one = define(&mut cluster, 1, network(1, "blue", "10.1.0.0/24"));
        let two = define(&mut cluster, 2, network(2, "blue", "10.1.0.0/24"));
        let got = |outcome: Outcome| match outcome.clone() {
            Outcome::Defined(definition) | Outcome::Joined(definition) => definition.id,
            Outcome::Deleted(_)
            | Outcome::Forgotten(_)
            | Outcome::Rotated(_)
            | Outcome::Refused(_) => {
                panic!("{outcome:?} (seed {seed})")
            }
        };
        let one = got(decided(&mut cluster, 1, one));
        let two = got(decided(&mut cluster, 2, two));
        assert_eq!(one, two, "seed {seed}");
        cluster.run(seconds(3));
        assert!(cluster.running().all(|host| cluster.db(host).definitions().count() == 1));
    }
}

#[test]
fn a_network_in_use_is_not_deleted_and_a_free_one_is() {
    let mut cluster = Cluster::formed(13, 4);
    let claim = define(&mut cluster, 0, network(1, "blue", "10.1.0.0/24"));
    assert!(matches!(decided(&mut cluster, 0, claim), Outcome::Defined(_)));
    cluster.run(seconds(1));
    cluster.act(3, |db, now| db.attach(NET, now)).unwrap();
    cluster.run(seconds(1));
    let claim = cluster.act(0, |db, now| db.undefine(NET, now));
    let refused = decided(&mut cluster, 0, claim);
    assert!(matches!(refused, Outcome::Refused(ClaimError::InUse { .. })), "{refused:?}");
    cluster.act(3, |db, now| db.detach(NET, now)).unwrap();
    cluster.run(seconds(1));
    let claim = cluster.act(0, |db, now| db.undefine(NET, now));
    assert_eq!(decided(&mut cluster, 0, claim), Outcome::Deleted(NET));
    cluster.until(seconds(2), "deleted everywhere", |c| {
        c.running().all(|host| c.db(host).is_deleted(NET))
    });
    assert!(cluster.act(1, |db, now| db.attach(NET, now)).is_err());
}

#[test]
fn halves_that_define_one_name_freeze_the_higher_after_the_merge() {
    let mut cluster = Cluster::formed(14, 4);
    cluster.network.split(&[0, 1], &[2, 3]);
    cluster.run(seconds(30));
    let one = define(&mut cluster, 0, network(1, "blue", "10.1.0.0/24"));
    let two = define(&mut cluster, 2, network(2, "blue", "10.2.0.0/24"));
    assert!(matches!(decided(&mut cluster, 0, one), Outcome::Defined(_)));
    assert!(matches!(decided(&mut cluster, 2, two), Outcome::Defined(_)));
    cluster.network.heal();
    cluster.until(seconds(20), "both known everywhere", |c| {
        c.running().all(|host| c.db(host).definitions().count() == 2)
    });
    let frozen = |host: usize| {
        [1, 2].map(|byte| cluster.db(host).is_frozen(NetworkId::from_bytes([byte; 16])))
    };
    assert_eq!(frozen(0).iter().filter(|frozen| **frozen).count(), 1);
    assert!(cluster.running().all(|host| frozen(host) == frozen(0)));
}

#[test]
fn each_reason_to_wake_comes_up_and_its_work_is_done() {
    let mut cluster = Cluster::formed(30, 3);
    // A stream that goes idle.
    let to = cluster.node(1);
    cluster.act(0, |db, now| db.send(to, 9, vec![0; 5000], now));
    cluster.run(seconds(70));
    // A claim and a leave that nobody answers, and hellos to the lost.
    cluster.network.split(&[0], &[1, 2]);
    define(&mut cluster, 0, network(1, "red", "10.1.0.0/24"));
    cluster.run(seconds(2));
    cluster.act(1, |db, now| db.leave(now));
    cluster.run(seconds(30));
    for reason in Reason::ALL {
        assert!(cluster.woken.contains(&reason), "{reason:?} never came up");
    }
    for host in cluster.running() {
        let due = cluster.db(host).poll_timeout();
        assert!(due.is_none_or(|(at, _)| at >= cluster.now()), "{due:?} was not served");
    }
}
