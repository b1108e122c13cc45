//! Claims about a whole cluster of databases, in virtual time.

use std::time::Duration;

use weft_api::{NetworkId, NodeId};
use weft_networkdb::{JoinRefusal, MemberEvent, MemberState, Outcome, Output, Reach, RolledBackBy};
use weft_tests::cluster::Cluster;

const NET: NetworkId = NetworkId::from_bytes([1; 16]);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn state(cluster: &Cluster, host: usize, of: usize) -> MemberState {
    let node = cluster.node(of);
    cluster.db(host).member(node).expect("a member").state
}

/// How often a host saw a member fail.
fn failures(cluster: &Cluster, host: usize) -> usize {
    let failed = |output: &Output| matches!(output, Output::Member(MemberEvent::Failed(_)));
    cluster.outputs(host).iter().filter(|(_, output)| failed(output)).count()
}

fn everyone_alive(cluster: &Cluster) -> bool {
    let hosts: Vec<usize> = cluster.running().collect();
    hosts.iter().all(|host| cluster.alive(*host).len() == hosts.len())
}

#[test]
fn all_members_know_all_after_joining_through_one() {
    for n in [2, 3, 10, 25] {
        let cluster = Cluster::formed(1, n);
        assert!(cluster.elapsed() < seconds(5), "{n} hosts took {:?}", cluster.elapsed());
        for host in 1..n {
            assert!(cluster.outputs(host).iter().any(|(_, o)| *o == Output::Joined));
        }
    }
}

#[test]
fn a_sole_member_is_ready_at_once() {
    let mut cluster = Cluster::new(2);
    let host = cluster.add();
    cluster.run(Duration::ZERO);
    assert!(cluster.db(host).is_ready());
}

#[test]
fn a_joiner_is_not_ready_before_it_has_joined() {
    let mut cluster = Cluster::new(2);
    cluster.add();
    let joiner = cluster.add();
    cluster.network.split(&[0], &[1]);
    cluster.join(joiner, &[0]);
    cluster.run(seconds(1));
    assert!(!cluster.db(joiner).is_ready());
}

#[test]
fn a_join_without_an_answer_says_so_and_succeeds_later() {
    let mut cluster = Cluster::new(3);
    cluster.add();
    let joiner = cluster.add();
    cluster.network.split(&[0], &[1]);
    cluster.join(joiner, &[0]);
    cluster.until(seconds(5), "the join fails", |c| {
        c.outputs(joiner).iter().any(|(_, output)| {
            matches!(output, Output::JoinFailed { reason: JoinRefusal::Unreachable(_) })
        })
    });
    cluster.network.heal();
    cluster.until(seconds(15), "the join succeeds", everyone_alive);
}

#[test]
fn a_killed_member_is_found_failed_by_all() {
    for (n, patience) in [(2, 12), (3, 12), (10, 12), (25, 12)] {
        let mut cluster = Cluster::formed(4, n);
        cluster.crash(n - 1);
        let took = cluster.until(seconds(patience), "all see the failure", |c| {
            c.running().all(|host| state(c, host, n - 1) == MemberState::Failed)
        });
        assert!(took > seconds(2), "{n} hosts: too hasty, {took:?}");
        let alone = cluster.running().all(|host| failures(&cluster, host) == 1);
        assert!(alone, "only the killed one failed");
    }
}

#[test]
fn nobody_is_declared_failed_under_heavy_loss() {
    for seed in 0..5 {
        let mut cluster = Cluster::formed(seed, 5);
        cluster.network.loss = 0.3;
        cluster.network.jitter = millis(20);
        cluster.run(seconds(120));
        let total: usize = cluster.running().map(|host| failures(&cluster, host)).sum();
        assert_eq!(total, 0, "seed {seed}");
    }
}

#[test]
fn a_cluster_forms_under_loss_duplicates_and_reordering() {
    let mut cluster = Cluster::new(6);
    cluster.network.loss = 0.2;
    cluster.network.duplicate = 0.2;
    cluster.network.jitter = millis(50);
    cluster.form(8);
    let duplicates: u64 = cluster.running().map(|host| cluster.db(host).counters().replayed).sum();
    assert!(duplicates > 0, "the knob shows effect");
}

#[test]
fn two_halves_find_back_after_a_split() {
    let mut cluster = Cluster::formed(7, 6);
    cluster.network.split(&[0, 1, 2], &[3, 4, 5]);
    cluster.until(seconds(30), "each half holds the other failed", |c| {
        c.running().all(|host| c.alive(host).len() == 3)
    });
    cluster.run(seconds(120));
    cluster.network.heal();
    let took = cluster.until(seconds(12), "all hold all alive", everyone_alive);
    assert!(took <= seconds(12), "{took:?}");
    cluster.run(seconds(30));
    assert!(everyone_alive(&cluster), "and it stays so");
}

#[test]
fn a_one_way_cut_ends_without_an_operator() {
    let mut cluster = Cluster::formed(8, 4);
    cluster.network.cut(0, 1);
    cluster.run(seconds(30));
    cluster.network.heal();
    cluster.until(seconds(15), "all hold all alive", everyone_alive);
}

/// It comes under a new renewal then, and must not stop asking after the others for that.
#[test]
fn who_hears_of_its_own_death_is_back_by_itself() {
    for seed in 0..20 {
        let mut cluster = Cluster::formed(seed, 2);
        cluster.network.cut(1, 0);
        cluster.until(seconds(30), "one is dead for the other", |c| failures(c, 0) == 1);
        cluster.run(millis(100 * seed));
        cluster.contact = None;
        cluster.network.heal();
        cluster.until(seconds(15), "all hold all alive", everyone_alive);
        // Without one they met by a stream, and all at once.
        let took = cluster.contact.map_or(Duration::ZERO, |contact| cluster.now() - contact);
        assert!(took < seconds(2), "seed {seed}: {took:?} from the first contact");
    }
}

#[test]
fn a_restarted_member_keeps_its_id_and_has_a_new_boot() {
    let mut cluster = Cluster::formed(9, 5);
    let node = cluster.node(2);
    let before = cluster.db(0).member(node).unwrap().boot;
    cluster.restart(2);
    let took = cluster.until(seconds(5), "all know the new boot", |c| {
        c.running().all(|host| c.db(host).member(node).unwrap().boot.counter == before.counter + 1)
    });
    assert!(took < seconds(2), "{took:?}");
    cluster.until(seconds(5), "it is ready", |c| c.db(2).is_ready());
    cluster.run(seconds(20));
    assert!(everyone_alive(&cluster));
    assert_eq!(cluster.running().map(|host| failures(&cluster, host)).sum::<usize>(), 0);
}

#[test]
fn all_members_restarted_at_once_find_each_other() {
    let mut cluster = Cluster::formed(10, 5);
    for host in 0..5 {
        cluster.crash(host);
    }
    cluster.run(seconds(5));
    for host in 0..5 {
        cluster.start(host);
    }
    cluster.until(seconds(12), "all alive and ready", |c| {
        everyone_alive(c) && c.running().all(|host| c.db(host).is_ready())
    });
}

#[test]
fn a_suspicion_ends_although_whoever_had_it_left() {
    for seed in 0..12 {
        let mut cluster = Cluster::formed(seed, 3);
        cluster.network.split(&[2], &[0, 1]);
        cluster.until(seconds(10), "somebody suspects it", |c| {
            (0..2).any(|host| state(c, host, 2) == MemberState::Suspect)
        });
        // Long enough for the other to hear of it, and not for the suspicion to end.
        cluster.run(Duration::from_millis(1500));
        cluster.act(1, |db, now| db.leave(now));
        cluster.run(Duration::from_millis(500));
        cluster.crash(1);
        cluster.network.heal();
        cluster.until(seconds(20), "it is alive for the one that is left", |c| {
            state(c, 0, 2) == MemberState::Alive && state(c, 2, 0) == MemberState::Alive
        });
    }
}

#[test]
fn a_suspicion_ends_although_its_holder_hears_of_its_own_death_meanwhile() {
    for seed in 0..12 {
        let mut cluster = Cluster::formed(seed, 2);
        cluster.add();
        cluster.network.split(&[0], &[1, 2]);
        cluster
            .until(seconds(60), "it is taken for dead", |c| state(c, 0, 1) == MemberState::Failed);
        // A newcomer that the other does not know, and that is gone at once.
        cluster.join(2, &[1]);
        cluster.run(Duration::from_millis(200));
        cluster.crash(2);
        let lost = cluster.node(2);
        let at_1 = |c: &Cluster| c.db(1).member(lost).map(|member| member.state);
        cluster.until(seconds(60), "it is suspected", |c| at_1(c) == Some(MemberState::Suspect));
        cluster.network.heal();
        cluster.until(seconds(60), "it is failed", |c| at_1(c) == Some(MemberState::Failed));
        assert_eq!(state(&cluster, 0, 1), MemberState::Alive);
    }
}

#[test]
fn a_joiner_is_known_to_all_before_it_speaks_to_them() {
    for seed in 0..5 {
        let mut cluster = Cluster::formed(seed, 24);
        let joiner = cluster.add();
        cluster.join(joiner, &[3]);
        cluster.until(seconds(5), "all alive and ready", |c| {
            everyone_alive(c) && c.running().all(|host| c.db(host).is_ready())
        });
        cluster.run(seconds(5));
        // Whoever did not know it would have said hello, with its member list.
        let frames = cluster.db(joiner).counters().frames_in;
        assert!(frames <= 6, "{frames} frames (seed {seed})");
    }
}

#[test]
fn a_member_that_left_stays_out() {
    let mut cluster = Cluster::formed(11, 4);
    cluster.act(3, |db, now| db.leave(now));
    cluster.until(seconds(4), "it has left", |c| {
        c.outputs(3).iter().any(|(_, output)| *output == Output::LeftCluster)
    });
    cluster.crash(3);
    cluster.until(seconds(5), "all know", |c| {
        c.running().all(|host| state(c, host, 3) == MemberState::Left)
    });
    let node = cluster.node(3);
    cluster.host_mut(3).disk = Default::default();
    cluster.start(3);
    cluster.join(3, &[0]);
    cluster.until(seconds(5), "it is refused", |c| {
        c.outputs(3)
            .iter()
            .any(|(_, output)| *output == Output::JoinFailed { reason: JoinRefusal::Left(node) })
    });
    cluster.run(seconds(20));
    for host in 0..3 {
        assert_eq!(state(&cluster, host, 3), MemberState::Left);
    }
}

#[test]
fn a_node_that_starts_after_its_leave_says_so() {
    let mut cluster = Cluster::formed(17, 3);
    cluster.act(2, |db, now| db.leave(now));
    cluster.run(seconds(4));
    cluster.crash(2);
    let left = |c: &Cluster| {
        c.outputs(2).iter().filter(|(_, output)| *output == Output::LeftCluster).count()
    };
    assert_eq!(left(&cluster), 1);
    cluster.start(2);
    cluster.run(seconds(1));
    assert_eq!(left(&cluster), 2);
}

#[test]
fn two_halves_that_forget_each_other_stay_apart_until_one_joins_the_other() {
    let mut cluster = Cluster::formed(18, 4);
    cluster.network.split(&[0, 1, 4], &[2, 3]);
    cluster.until(seconds(60), "each half holds the other dead", |c| {
        (0..4).all(|host| state(c, host, (host + 2) % 4) == MemberState::Failed)
            && (0..4).all(|host| state(c, host, 3 - host) == MemberState::Failed)
    });
    // The other half never hears of it, so it does not forget it.
    let newcomer = cluster.add();
    cluster.join(newcomer, &[0]);
    cluster.until(seconds(20), "a new one is in one half", |c| c.db(newcomer).is_ready());
    for (heir, victims) in [(0, [2, 3]), (2, [0, 1])] {
        let victims = victims.map(|victim| cluster.node(victim)).to_vec();
        let claim = cluster.act(heir, |db, now| db.forget(victims, Reach::Present, now));
        let is_forgotten = |output: &Output| {
            let Output::Claim { id, outcome, .. } = output else { return false };
            *id == claim && matches!(outcome, Outcome::Forgotten(_))
        };
        cluster.until(seconds(10), "the other half is forgotten", |c| {
            c.outputs(heir).iter().any(|(_, output)| is_forgotten(output))
        });
    }
    cluster.until(seconds(5), "all know", |c| {
        (0..4).all(|host| {
            [(host + 2) % 4, 3 - host]
                .iter()
                .all(|of| state(c, host, *of) == MemberState::Forgotten)
        })
    });
    cluster.network.heal();
    cluster.run(seconds(120));
    cluster.restart(newcomer);
    cluster.run(seconds(120));
    for host in 0..4 {
        assert_eq!(cluster.alive(host).len(), if host < 2 { 3 } else { 2 }, "host {host}");
        assert_eq!(state(&cluster, host, (host + 2) % 4), MemberState::Forgotten);
        let rolled_back = |output: &Output| matches!(output, Output::RolledBack { .. });
        let told: Vec<_> =
            cluster.outputs(host).iter().filter(|(_, output)| rolled_back(output)).collect();
        assert!(told.is_empty(), "host {host}: {told:?} by {:?}", cluster.db(host).told_by());
    }
    // What `weft leave --force` and `weft join` do: a new node, without a disk.
    for host in [2, 3] {
        let spare = cluster.add();
        let id = cluster.node(spare);
        cluster.crash(spare);
        cluster.crash(host);
        cluster.host_mut(host).disk = Default::default();
        cluster.host_mut(host).impersonate(id);
        cluster.start(host);
        cluster.join(host, &[0]);
    }
    cluster.until(seconds(20), "one cluster", |c| {
        (0..4).all(|host| c.alive(host).len() == 5 && c.db(host).is_ready())
    });
}

#[test]
fn a_forgotten_node_that_knows_no_member_any_more_is_told() {
    for comes_later in [false, true] {
        forgotten_by_a_stranger(comes_later);
    }
}

/// All that the forgotten node knew is gone when it is back; one that came later is there.
fn forgotten_by_a_stranger(comes_later: bool) {
    let mut cluster = Cluster::formed(19, 2);
    cluster.crash(1);
    cluster.until(seconds(60), "it has failed", |c| state(c, 0, 1) == MemberState::Failed);
    let victim = cluster.node(1);
    let forget = |cluster: &mut Cluster| {
        cluster.act(0, |db, now| db.forget(vec![victim], Reach::Present, now));
        cluster.until(seconds(10), "it is forgotten", |c| state(c, 0, 1) == MemberState::Forgotten);
    };
    if comes_later {
        forget(&mut cluster);
    }
    let new = cluster.add();
    cluster.join(new, &[0]);
    cluster.until(seconds(20), "a new one is in", |c| c.db(new).is_ready());
    if !comes_later {
        forget(&mut cluster);
    }
    cluster.until(seconds(10), "all know", |c| state(c, new, 1) == MemberState::Forgotten);
    cluster.act(0, |db, now| db.leave(now));
    cluster.run(seconds(4));
    cluster.crash(0);

    cluster.start(1);
    cluster.until(seconds(60), "it is told", |c| {
        let told = Output::RolledBack { reason: RolledBackBy::Forgotten };
        c.outputs(1).iter().any(|(_, output)| *output == told)
    });
    let own = cluster.node(new);
    assert_eq!(cluster.db(1).told_by(), cluster.db(new).member(own).map(|member| member.addr));
}

#[test]
fn a_dead_member_is_declared_failed_although_another_that_suspected_it_died_too() {
    for seed in 0..12 {
        let mut cluster = Cluster::formed(seed, 3);
        cluster.crash(2);
        cluster.until(seconds(30), "it is suspected", |c| {
            (0..2).all(|host| state(c, host, 2) == MemberState::Suspect)
        });
        cluster.crash(0);
        cluster.until(seconds(120), "both are failed", |c| {
            [0, 2].iter().all(|lost| state(c, 1, *lost) == MemberState::Failed)
        });
    }
}

#[test]
fn a_cloned_disk_is_detected() {
    let mut cluster = Cluster::formed(12, 3);
    let (disk, node, boots) =
        (cluster.host(2).disk.clone(), cluster.node(2), cluster.host(2).boots);
    let clone = cluster.add();
    cluster.crash(clone);
    {
        let host = cluster.host_mut(clone);
        host.impersonate(node);
        host.disk = disk;
        // Restored from an image taken before this boot: it counts the same number again.
        host.boots = boots - 1;
    }
    cluster.start(clone);
    cluster.until(seconds(5), "the clone stops", |c| {
        c.outputs(clone).iter().any(|(_, output)| {
            matches!(output, Output::RolledBack { reason: RolledBackBy::Boot(_) })
        })
    });
}

#[test]
fn a_disk_rolled_back_below_its_boot_is_detected() {
    let mut cluster = Cluster::formed(13, 3);
    let old = cluster.host(2).disk.clone();
    cluster.restart(2);
    cluster.until(seconds(5), "it is back", everyone_alive);
    cluster.restart(2);
    cluster.until(seconds(5), "it is back", everyone_alive);
    cluster.crash(2);
    cluster.host_mut(2).disk = old;
    cluster.host_mut(2).boots = 0;
    cluster.start(2);
    cluster.until(seconds(5), "it stops", |c| {
        c.outputs(2).iter().any(|(_, output)| matches!(output, Output::RolledBack { .. }))
    });
}

#[test]
fn a_founder_on_a_disk_of_before_it_knew_anybody_is_told_at_the_first_contact() {
    for seed in 0..10 {
        let mut cluster = Cluster::formed(seed, 1);
        let old = cluster.host(0).disk.clone();
        let other = cluster.add();
        cluster.join(other, &[0]);
        cluster.until(seconds(5), "it is let in", everyone_alive);
        cluster.crash(0);
        if seed % 2 == 1 {
            cluster.until(seconds(60), "it has failed", |c| state(c, 1, 0) == MemberState::Failed);
        }
        let before = cluster.outputs(0).len();
        if seed % 3 == 1 {
            cluster.restart(other);
        }
        cluster.host_mut(0).disk = old;
        cluster.start(0);
        let told = Output::RolledBack { reason: RolledBackBy::Record };
        cluster.until(seconds(10), "it is told", |c| {
            c.outputs(0).iter().any(|(_, output)| *output == told)
        });
        let mut since = cluster.outputs(0)[before..].iter();
        let met = since.any(|(_, output)| matches!(output, Output::Member(_)));
        assert!(!met, "it took somebody for a new member (seed {seed})");
    }
}

#[test]
fn an_idle_agent_among_25_sends_little() {
    let mut cluster = Cluster::formed(14, 25);
    for host in 0..25 {
        cluster.act(host, |db, now| db.attach(NET, now)).unwrap();
    }
    cluster.run(seconds(40));
    let sent = |c: &Cluster| -> Vec<u64> {
        let counters = (0..25).map(|host| c.db(host).counters().clone());
        counters.map(|n| n.datagram_bytes_out + n.frame_bytes_out).collect()
    };
    let before = sent(&cluster);
    cluster.run(seconds(60));
    for (host, (before, after)) in before.iter().zip(sent(&cluster)).enumerate() {
        let rate = (after - before) / 60;
        assert!(rate <= 2000, "host {host} sends {rate} B/s");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let trace = || {
        let mut cluster = Cluster::new(15);
        cluster.network.loss = 0.1;
        cluster.form(4);
        cluster.host_mut(1).trace = Some(Vec::new());
        cluster.run(seconds(20));
        cluster.host(1).trace.clone().unwrap()
    };
    let first = trace();
    assert!(!first.is_empty());
    assert_eq!(first, trace());
}

#[test]
fn a_down_of_an_older_boot_is_ignored() {
    let mut cluster = Cluster::formed(16, 4);
    // The others declare the old boot failed while the new one is on its way back.
    cluster.network.split(&[3], &[0, 1]);
    cluster.restart(3);
    cluster.run(seconds(20));
    cluster.network.heal();
    cluster.until(seconds(15), "all hold all alive", everyone_alive);
    let node: NodeId = cluster.node(3);
    for host in 0..3 {
        assert_eq!(cluster.db(host).member(node).unwrap().boot.counter, 2);
    }
    cluster.run(seconds(20));
    assert!(everyone_alive(&cluster));
}
