//! Claims about a whole cluster of whole nodes: tables, addresses and kernels together.

use std::process::Command;
use std::time::Duration;

use weft_api::NetworkId;
use weft_networkdb::Reach;
use weft_tests::nodes::schedule::{Faults, Knobs, Report, run};
use weft_tests::nodes::{Crash, Nodes};

/// Seeds that every run of the tests goes through.
const SEEDS: u64 = 600;

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
    assert!(discord.contains("host 1"), "{discord}");
    nodes.quiet(seconds(10));
}

#[test]
fn random_schedules_hold_every_invariant() {
    let next = std::sync::atomic::AtomicU64::new(0);
    let work = || {
        let (mut endpoints, mut forgotten) = (0, 0);
        loop {
            let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if seed >= SEEDS {
                return (endpoints, forgotten);
            }
            let tally = run(seed, &Knobs::default()).tally;
            endpoints += tally.endpoints;
            forgotten += tally.forgotten;
        }
    };
    let counts = std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.map(|worker| worker.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
    });
    let endpoints: u64 = counts.iter().map(|(endpoints, _)| endpoints).sum();
    assert!(endpoints > SEEDS, "schedules do something");
    // Too seldom for the few seeds that show the effect of the other knobs.
    let forgotten: u64 = counts.iter().map(|(_, forgotten)| forgotten).sum();
    assert!(forgotten > 0, "somebody is forgotten");
}

const CALM: Knobs = Knobs {
    actions: 40,
    loss: 0.0,
    duplicate: 0.0,
    jitter: Duration::ZERO,
    crashes: Faults::Never,
    splits: Faults::Never,
    leaves: Faults::Never,
    forgets: Faults::Never,
};

/// What a count comes to over a few seeds.
fn sum(knobs: Knobs, count: impl Fn(Report) -> u64) -> u64 {
    (0..6).map(|seed| count(run(seed, &knobs))).sum()
}

#[test]
fn each_knob_shows_effect_and_none_without_it() {
    let jitter = Duration::from_millis(40);
    assert!(sum(CALM, |r| r.tally.endpoints) > 10 && sum(CALM, |r| r.tally.networks) > 5);
    type Count = fn(Report) -> u64;
    let mortal = Knobs { crashes: Faults::Sometimes, ..CALM };
    assert_eq!(sum(mortal, |r| r.tally.forgotten), 0, "nobody is forgotten by itself");
    let rows: [(&str, Knobs, Count); 6] = [
        ("loss", Knobs { loss: 0.3, ..CALM }, |r| r.tally.lost),
        ("duplicate", Knobs { duplicate: 0.2, ..CALM }, |r| r.tally.duplicated),
        ("jitter", Knobs { jitter, ..CALM }, |r| r.tally.overtaken),
        ("crashes", Knobs { crashes: Faults::Sometimes, ..CALM }, |r| r.tally.crashes),
        ("splits", Knobs { splits: Faults::Sometimes, ..CALM }, |r| r.tally.cut),
        ("leaves", Knobs { leaves: Faults::Sometimes, ..CALM }, |r| r.tally.left),
    ];
    for (name, knobs, count) in rows {
        assert!(sum(knobs, count) > 0, "{name} shows no effect");
        if name != "jitter" {
            assert_eq!(sum(CALM, count), 0, "{name} happens by itself");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_two_processes() {
    let replay = |seed: &str| {
        let mut sim = Command::new(env!("CARGO_BIN_EXE_sim"));
        let output = sim.args(["--seed", seed]).output().expect("the simulator starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let (one, again, other) = (replay("3"), replay("3"), replay("4"));
    assert_eq!(one, again);
    let trace = |line: &str| line.split("trace ").nth(1).map(|rest| rest[..16].to_owned());
    assert!(trace(&one).is_some() && trace(&one) != trace(&other));
}

#[test]
fn a_wrong_call_of_the_simulator_says_how_it_is_called() {
    let sim = Command::new(env!("CARGO_BIN_EXE_sim")).arg("--sed").output();
    let output = sim.expect("the simulator starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--seeds A..B"));
}
