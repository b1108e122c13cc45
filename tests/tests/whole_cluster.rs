//! Claims about a whole cluster of whole nodes: tables, addresses and kernels together.

use std::time::Duration;

use weft_api::NetworkId;
use weft_networkdb::Reach;
use weft_tests::nodes::schedule::Knobs;
use weft_tests::nodes::sweep::sweep;
use weft_tests::nodes::{Crash, Nodes};

/// Seeds that every run of the tests goes through.
const SEEDS: u64 = 1200;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A quiet cluster with one network that all know.
fn with_network(seed: u64, hosts: usize) -> (Nodes, NetworkId) {
    let mut nodes = Nodes::formed(seed, hosts);
    nodes.create(0, "red", None);
    nodes.quiet(seconds(10));
    let network = nodes.network_named(hosts - 1, "red").expect("quiet: all know it");
    (nodes, network)
}

/// The same, with one endpoint on each host.
fn with_endpoints(seed: u64, hosts: usize) -> (Nodes, NetworkId) {
    let (mut nodes, network) = with_network(seed, hosts);
    for host in 0..hosts {
        nodes.attach(host, network);
    }
    nodes.quiet(seconds(10));
    for host in 0..hosts {
        assert_eq!(nodes.endpoints(host).len(), 1, "host {host}");
    }
    (nodes, network)
}

#[test]
fn every_endpoint_is_programmed_on_every_other_host() {
    for hosts in [2, 3, 7] {
        let (nodes, network) = with_endpoints(1, hosts);
        for host in 0..hosts {
            assert_eq!(nodes.peers_programmed(host, network), hosts - 1);
        }
    }
}

#[test]
fn two_creates_of_one_name_at_once_make_one_network() {
    let mut nodes = Nodes::formed(2, 3);
    nodes.create(0, "red", None);
    nodes.create(1, "red", None);
    nodes.create(2, "red", None);
    nodes.quiet(seconds(20));
    assert_eq!(nodes.node(2).db().definitions().count(), 1);
}

#[test]
fn a_pool_is_usable_to_its_last_address_from_any_host() {
    let (mut nodes, network) = with_network(3, 3);
    // A /28: sixteen less network, broadcast and gateway.
    for turn in 0..6 {
        for host in 0..3 {
            nodes.attach(host, network);
        }
        nodes.run(seconds(2 + turn % 2));
    }
    nodes.quiet(seconds(30));
    let bound: usize = (0..3).map(|host| nodes.endpoints(host).len()).sum();
    assert_eq!(bound, 13);
}

#[test]
fn an_agent_that_is_down_stops_no_traffic() {
    let (mut nodes, network) = with_endpoints(4, 4);
    nodes.crash(3, Crash::Now);
    nodes.run(seconds(60));
    for host in 0..3 {
        assert_eq!(nodes.peers_programmed(host, network), 3, "those of the dead agent, too");
    }
    assert_eq!(nodes.peers_programmed(3, network), 3, "its kernel keeps what it has");
    nodes.restart(3);
    nodes.quiet(seconds(30));
    assert_eq!(nodes.endpoints(3).len(), 1);
}

#[test]
fn endpoints_that_went_while_an_agent_was_down_go_from_its_kernel_after_its_start() {
    let (mut nodes, network) = with_endpoints(5, 4);
    nodes.crash(3, Crash::Now);
    nodes.run(seconds(10));
    let (endpoint, _) = nodes.endpoints(0)[0];
    nodes.detach(0, endpoint);
    nodes.run(seconds(5));
    assert_eq!(nodes.peers_programmed(3, network), 3);
    nodes.restart(3);
    nodes.quiet(seconds(30));
    assert_eq!(nodes.peers_programmed(3, network), 2);
}

#[test]
fn an_attach_cut_off_between_commit_and_send_is_finished_or_undone() {
    for (seed, how) in [(6, Crash::BeforeCommit), (7, Crash::AfterCommit)] {
        let (mut nodes, network) = with_endpoints(seed, 3);
        nodes.crash(2, how);
        nodes.attach(2, network);
        nodes.run(seconds(1));
        assert!(nodes.is_down(2), "the attach wrote, so the crash came");
        nodes.restart(2);
        nodes.quiet(seconds(60));
    }
}

/// A story in which host 2 of three does something that is durable, in several steps.
struct Story {
    name: &'static str,
    tell: fn(&mut Nodes, NetworkId),
}

const STORIES: [Story; 6] = [
    Story { name: "attach", tell: |nodes, network| nodes.attach(2, network) },
    Story { name: "create", tell: |nodes, _| nodes.create(2, "blue", None) },
    Story {
        name: "detach and delete",
        tell: |nodes, network| {
            for host in 0..3 {
                for (endpoint, _) in nodes.endpoints(host) {
                    nodes.detach(host, endpoint);
                }
            }
            nodes.run(seconds(1));
            if nodes.runs(2) {
                nodes.delete(2, network);
            }
        },
    },
    Story { name: "accept", tell: |nodes, _| nodes.create(0, "green", None) },
    Story {
        name: "give away",
        tell: |nodes, network| {
            for _ in 0..5 {
                nodes.attach(0, network);
                nodes.run(Duration::from_millis(300));
            }
        },
    },
    Story { name: "leave", tell: |nodes, _| nodes.leave(2) },
];

/// Tells a story with host 2 ending in one of its commits; returns how many it makes whole.
fn story_with_crash(story: &Story, after: u32, how: Option<Crash>) -> u64 {
    let (mut nodes, network) = with_endpoints(20, 3);
    let before = nodes.commits(2);
    if let Some(how) = how {
        nodes.crash_at(2, after, how);
    }
    (story.tell)(&mut nodes, network);
    nodes.run(seconds(5));
    let commits = nodes.commits(2) - before;
    nodes.mend();
    nodes.quiet(seconds(60));
    commits
}

#[test]
fn a_crash_at_any_durable_step_of_anything_is_survived() {
    for story in &STORIES {
        let commits = u32::try_from(story_with_crash(story, 0, None)).expect("a few");
        assert!(commits > 0, "{} is durable", story.name);
        let ways = [Crash::BeforeCommit, Crash::Torn, Crash::AfterCommit, Crash::AfterSome(1)];
        for after in 0..commits {
            for how in ways {
                let upto = story_with_crash(story, after, Some(how));
                assert!(upto > u64::from(after), "{}: {how:?} in commit {after}", story.name);
            }
        }
    }
}

#[test]
fn a_commit_lost_before_anybody_was_told_is_no_rollback() {
    let (mut nodes, network) = with_endpoints(8, 3);
    nodes.attach(2, network);
    // What was attached is pushed 2 ms later; until then nobody else knows.
    nodes.crash(2, Crash::LosingUntold);
    assert!(nodes.tally().commits_lost > 0, "the knob shows effect");
    nodes.restart(2);
    nodes.quiet(seconds(60));
}

#[test]
fn all_agents_restarted_at_once_find_everything_again() {
    let (mut nodes, network) = with_endpoints(9, 5);
    for host in 0..5 {
        nodes.crash(host, Crash::Now);
    }
    nodes.run(seconds(5));
    for host in 0..5 {
        nodes.restart(host);
    }
    nodes.quiet(seconds(30));
    for host in 0..5 {
        assert_eq!(nodes.peers_programmed(host, network), 4);
    }
}

#[test]
fn halves_that_create_one_name_freeze_one_of_the_two_everywhere() {
    let mut nodes = Nodes::formed(10, 6);
    nodes.split(&[0, 1, 2], &[3, 4, 5]);
    nodes.run(seconds(20));
    nodes.create(0, "red", None);
    nodes.create(5, "red", None);
    nodes.run(seconds(10));
    assert!(nodes.network_named(1, "red").is_some());
    assert_ne!(nodes.network_named(1, "red"), nodes.network_named(4, "red"));
    nodes.heal();
    nodes.quiet(seconds(60));
    assert_eq!(nodes.node(2).db().definitions().count(), 2);
    assert_eq!(nodes.network_named(1, "red"), nodes.network_named(4, "red"));
}

#[test]
fn both_halves_attach_during_a_split_and_share_no_address() {
    let (mut nodes, network) = with_endpoints(11, 6);
    nodes.split(&[0, 1, 2], &[3, 4, 5]);
    nodes.run(seconds(20));
    for host in 0..6 {
        nodes.attach(host, network);
    }
    nodes.run(seconds(15));
    nodes.heal();
    nodes.quiet(seconds(60));
    let bound: usize = (0..6).map(|host| nodes.endpoints(host).len()).sum();
    assert_eq!(nodes.peers_programmed(0, network), bound - nodes.endpoints(0).len());
}

#[test]
fn a_one_way_cut_heals_without_an_operator() {
    let (mut nodes, network) = with_endpoints(12, 4);
    nodes.cut(0, 3);
    nodes.attach(0, network);
    nodes.run(seconds(30));
    nodes.heal();
    nodes.quiet(seconds(60));
}

#[test]
fn a_node_that_leaves_takes_its_endpoints_and_leaves_its_ranges() {
    let (mut nodes, network) = with_endpoints(13, 4);
    nodes.leave(0);
    nodes.run(seconds(15));
    assert!(!nodes.runs(0), "the founder left");
    nodes.quiet(seconds(30));
    assert_eq!(nodes.peers_programmed(1, network), 2);
    nodes.join(0, &[2]);
    nodes.quiet(seconds(30));
    nodes.attach(0, network);
    nodes.quiet(seconds(30));
    assert_eq!(nodes.endpoints(0).len(), 1);
}

/// Ends host 3 for good, waits until the others see it, and has it forgotten by one of them.
fn forget_3(nodes: &mut Nodes, heir: usize) {
    nodes.crash(3, Crash::Now);
    nodes.until(seconds(30), "host 3 is seen as failed", |nodes| {
        (0..3).all(|host| nodes.failed_in(host) == 1)
    });
    nodes.forget(heir, &[3], Reach::Everyone);
    nodes.until(seconds(10), "host 3 is forgotten", |nodes| {
        (0..3).all(|host| nodes.failed_in(host) == 0)
    });
    assert_eq!(nodes.tally().forgotten, 1);
}

/// Host 3 starts all the same, and is told.
fn return_of_3(nodes: &mut Nodes) {
    nodes.restart(3);
    nodes.until(seconds(30), "host 3 is told", |nodes| !nodes.runs(3));
}

#[test]
fn the_share_of_a_forgotten_host_is_its_heirs_to_the_last_address() {
    let (mut nodes, network) = with_endpoints(16, 4);
    forget_3(&mut nodes, 0);
    nodes.run(seconds(10));
    assert_eq!(nodes.peers_programmed(0, network), 2, "its endpoint is no peer any more");
    for _ in 0..6 {
        for host in 0..3 {
            nodes.attach(host, network);
        }
        nodes.run(seconds(25));
    }
    let bound: usize = (0..3).map(|host| nodes.endpoints(host).len()).sum();
    assert_eq!(bound, 13, "a /28 less network, broadcast and gateway");
    return_of_3(&mut nodes);
    nodes.quiet(seconds(30));
}

#[test]
fn a_network_that_only_a_forgotten_host_used_can_be_deleted() {
    let (mut nodes, network) = with_network(17, 4);
    nodes.attach(3, network);
    nodes.quiet(seconds(10));
    nodes.delete(0, network);
    nodes.run(seconds(20));
    assert!(!nodes.node(1).db().is_deleted(network), "host 3 uses it");
    forget_3(&mut nodes, 1);
    nodes.delete(0, network);
    nodes.run(seconds(20));
    assert!(nodes.node(1).db().is_deleted(network));
    return_of_3(&mut nodes);
    nodes.quiet(seconds(30));
}

#[test]
fn a_forgotten_host_that_returns_hears_it_and_joins_as_a_new_one() {
    let (mut nodes, network) = with_endpoints(18, 4);
    let old = nodes.node(3).id();
    forget_3(&mut nodes, 2);
    return_of_3(&mut nodes);
    nodes.join(3, &[1]);
    nodes.quiet(seconds(30));
    assert_ne!(nodes.node(3).id(), old);
    nodes.attach(3, network);
    nodes.quiet(seconds(30));
    assert_eq!(nodes.peers_programmed(0, network), 3);
}

#[test]
fn a_network_in_use_is_not_deleted_and_a_free_one_leaves_nothing() {
    let (mut nodes, network) = with_endpoints(14, 3);
    let (endpoint, _) = nodes.endpoints(0)[0];
    nodes.detach(0, endpoint);
    nodes.quiet(seconds(10));
    nodes.delete(0, network);
    nodes.quiet(seconds(20));
    assert!(nodes.network_named(0, "red").is_some(), "hosts 1 and 2 use it");
    for host in 1..3 {
        let (endpoint, _) = nodes.endpoints(host)[0];
        nodes.detach(host, endpoint);
    }
    nodes.quiet(seconds(10));
    nodes.delete(0, network);
    nodes.quiet(seconds(20));
    assert_eq!(nodes.network_named(2, "red"), None);
    assert!(nodes.node(2).db().is_deleted(network));
}

#[test]
fn a_kernel_entry_that_somebody_removed_is_seen_and_repaired() {
    let (mut nodes, network) = with_endpoints(15, 3);
    nodes.damage_kernel(1, network);
    let discord = nodes.discord().expect("the check sees it");
    assert!(discord.what.contains("host 1"), "{discord}");
    nodes.quiet(seconds(10));
}

#[test]
fn random_schedules_hold_every_invariant() {
    let sum = sweep(0..SEEDS, &Knobs::default(), 2, |_, _| ());
    let failures: Vec<String> = sum.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{} failed:\n{}", sum.failed, failures.join("\n\n"));
    assert!(sum.tally.endpoints > SEEDS, "schedules do something");
    assert_eq!(sum.hosts.1, 25, "some are large");
    for (name, count) in sum.tally.rows() {
        assert!(count > 0, "{name} never happens");
    }
}

#[test]
fn a_node_from_an_older_disk_hears_it_and_hands_out_nothing() {
    let (mut nodes, network) = with_endpoints(21, 4);
    let before = nodes.snapshot(3);
    let old = nodes.node(3).id();
    // Restarted since, or with a record more: the others know what the older disk does not.
    nodes.attach(3, network);
    nodes.run(seconds(5));
    nodes.roll_back(3, &before);
    nodes.until(seconds(20), "host 3 hears it", |nodes| !nodes.runs(3));
    assert_eq!(nodes.tally().rolled_back, 1);
    nodes.join(3, &[0]);
    nodes.mend();
    nodes.quiet(seconds(60));
    assert_ne!(nodes.node(3).id(), old);
    assert_eq!(nodes.tally().forgotten, 1, "the old node was forgotten by an operator");
}

#[test]
fn of_a_disk_and_its_copy_one_node_goes_on() {
    let (mut nodes, network) = with_endpoints(22, 3);
    nodes.leave(2);
    nodes.run(seconds(15));
    assert!(!nodes.runs(2));
    nodes.clone_disk(1, 2);
    nodes.run(seconds(20));
    let running: Vec<usize> = nodes.members().collect();
    assert_eq!(running.len(), 2, "{running:?}");
    assert!(nodes.tally().rolled_back > 0);
    nodes.mend();
    nodes.quiet(seconds(60));
    for host in nodes.members().collect::<Vec<_>>() {
        nodes.attach(host, network);
    }
    nodes.quiet(seconds(60));
}

#[test]
fn a_node_whose_disk_is_lost_joins_as_a_new_one() {
    let (mut nodes, network) = with_endpoints(23, 4);
    nodes.lose_disk(3);
    assert!(!nodes.runs(3) && !nodes.is_down(3));
    nodes.run(seconds(20));
    nodes.join(3, &[1]);
    nodes.mend();
    nodes.quiet(seconds(60));
    assert_eq!(nodes.tally().forgotten, 1);
    nodes.attach(3, network);
    nodes.quiet(seconds(60));
    assert_eq!(nodes.peers_programmed(0, network), 3);
}

#[test]
fn a_host_that_stalls_is_held_for_dead_at_most_and_comes_back() {
    let (mut nodes, network) = with_endpoints(24, 5);
    nodes.stall(2, seconds(9));
    nodes.attach(0, network);
    nodes.run(seconds(3));
    assert!(nodes.is_stalled(2));
    nodes.quiet(seconds(60));
    assert!(nodes.tally().stalled > 0);
}

#[test]
fn a_joiner_finds_the_others_though_who_let_it_in_is_gone() {
    let mut nodes = Nodes::new(31, 5);
    nodes.init(0);
    for host in 1..4 {
        nodes.join(host, &[0]);
    }
    nodes.quiet(seconds(30));
    for host in 0..4 {
        nodes.crash(host, Crash::Now);
    }
    // Host 0 knows the others from its disk alone, lets host 4 in, and is gone.
    nodes.restart(0);
    nodes.run(seconds(5));
    nodes.join(4, &[0]);
    nodes.run(seconds(2));
    assert!(nodes.members().any(|host| host == 4), "host 4 is let in");
    nodes.lose_disk(0);
    nodes.run(seconds(5));
    nodes.mend();
    nodes.quiet(seconds(60));
    assert_eq!(nodes.members().collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn nobody_is_let_in_by_who_is_about_to_join_or_to_leave() {
    let mut nodes = Nodes::new(32, 5);
    nodes.init(0);
    nodes.join(1, &[0]);
    nodes.join(2, &[0]);
    nodes.quiet(seconds(30));
    // Host 3 is not let in, since nobody hears it; so it lets nobody in.
    nodes.split(&[0, 1, 2], &[3, 4]);
    nodes.join(3, &[0]);
    nodes.run(Duration::from_millis(500));
    nodes.join(4, &[3]);
    nodes.run(seconds(2));
    assert!(!nodes.runs(4), "host 4 was refused");
    nodes.run(seconds(10));
    nodes.heal();
    // Host 2 hands over to who does not hear it, so its leave takes a while.
    nodes.split(&[0, 1], &[2, 3, 4]);
    nodes.leave(2);
    nodes.run(Duration::from_millis(200));
    assert!(nodes.runs(2));
    nodes.join(4, &[2]);
    nodes.run(seconds(1));
    assert!(!nodes.runs(4), "host 4 was refused");
    nodes.run(seconds(20));
    nodes.heal();
    nodes.join(4, &[1]);
    nodes.mend();
    nodes.quiet(seconds(60));
    assert_eq!(nodes.members().collect::<Vec<_>>(), [0, 1, 4]);
}
