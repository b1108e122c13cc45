//! Real agents and what goes wrong around them: traffic flows where it must, `weft doctor` says
//! what happened, and nothing is left. docs/TESTING.md has the table.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use weft_api::control::{CheckStatus, EndpointState, MemberState, NetworkCreate};
use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::{run_in, unpin};
use weft_tests::callers;
use weft_tests::testbed::{
    Clock, Cut, Host, Sandbox, SmallDisk, Testbed, Underlay, addresses, eventually, knows,
};
use weft_tests::transcript::Caller;

/// Time in which traffic runs undisturbed beside what a test does.
const A_WHILE: Duration = Duration::from_millis(500);
/// Ten years, in seconds.
const TEN_YEARS: i64 = 10 * 366 * 86_400;

fn dual_stack(name: &str) -> NetworkCreate {
    NetworkCreate { ipv6: true, ..NetworkCreate::named(name) }
}

/// An endpoint, and where it is.
struct Place {
    sandbox: Sandbox,
    addresses: Vec<IpAddr>,
}

/// Makes the network `blue`, of both families, with an endpoint on each host that reaches all
/// others: `e0` on the first, and so on.
async fn blue_everywhere(testbed: &Testbed) -> Vec<Place> {
    testbed.hosts[0].client.create_network(&dual_stack("blue")).await.expect("blue");
    let mut places = Vec::new();
    for host in 0..testbed.hosts.len() {
        knows(&testbed.hosts[host].client, "blue").await;
        let (sandbox, endpoint) = testbed.attach(host, "blue", &format!("e{host}")).await;
        places.push(Place { sandbox, addresses: addresses(&endpoint) });
    }
    all_reach_all(&places).await;
    places
}

async fn all_reach_all(places: &[Place]) {
    for from in places {
        for to in places {
            from.sandbox.reaches(&to.addresses).await;
        }
    }
}

/// Waits until a host holds another one for failed.
async fn holds_failed(host: &Host, name: &str) {
    eventually(&format!("{} declares {name} failed", host.name), async || {
        let members = host.client.members().await.ok()?;
        let member = members.into_iter().find(|member| member.name == name)?;
        (member.state == MemberState::Failed).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_agent_dead_traffic_flows_and_doctor_says_that_none_runs() {
    let mut testbed = Testbed::cluster(3).await;
    let places = blue_everywhere(&testbed).await;
    let pings = [
        places[0].sandbox.stream_to(places[1].addresses[0]),
        places[1].sandbox.stream_to(places[2].addresses[1]),
    ];
    for host in &mut testbed.hosts {
        host.kill();
    }
    for host in &testbed.hosts {
        host.finds("agent", "no agent runs here").await;
    }
    // Nobody was asked for these before.
    places[2].sandbox.reaches(&places[0].addresses).await;
    for host in &mut testbed.hosts {
        host.start(&[]);
    }
    for host in &mut testbed.hosts {
        host.answers().await;
    }
    testbed.settled().await;
    tokio::time::sleep(A_WHILE).await;
    for ping in pings {
        ping.lost_nothing().await;
    }
    testbed.hosts[2].client.create_network(&dual_stack("green")).await.expect("green");
    knows(&testbed.hosts[0].client, "green").await;
    testbed.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_stopped_and_goes_on_stops_no_traffic_and_says_that_it_stood_still() {
    let mut testbed = Testbed::cluster(2).await;
    let places = blue_everywhere(&testbed).await;
    let (_old, old) = testbed.attach(0, "blue", "old").await;
    places[1].sandbox.reaches(&addresses(&old)).await;
    let pings = [
        places[0].sandbox.stream_to(places[1].addresses[0]),
        places[1].sandbox.stream_to(places[0].addresses[1]),
    ];
    testbed.hosts[1].freeze();
    holds_failed(&testbed.hosts[0], "h2").await;
    testbed.hosts[0].finds("peer h2", "does not answer").await;
    // What the one that stands still is asked and told, it hears when it goes on.
    testbed.hosts[1].finds("agent", "did not answer in").await;
    testbed.hosts[0].detach("old").await;
    let (new, endpoint) = testbed.attach(0, "blue", "new").await;
    testbed.hosts[1].thaw();
    testbed.settled().await;
    testbed.hosts[1].finds("clock", "the agent stood still for").await;
    testbed.hosts[0].finds_well("peer h2").await;
    new.reaches(&places[1].addresses).await;
    places[1].sandbox.reaches(&addresses(&endpoint)).await;
    for ping in pings {
        ping.lost_nothing().await;
    }
    testbed.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_cut_off_and_comes_back_has_all_that_changed_and_the_others_its_own() {
    let testbed = Testbed::cluster(3).await;
    let mut places = blue_everywhere(&testbed).await;
    let (beside, near) = testbed.attach(2, "blue", "beside").await;
    let (_going, gone) = testbed.attach(2, "blue", "going").await;
    beside.reaches(&places[2].addresses).await;
    let pings = [
        places[0].sandbox.stream_to(places[1].addresses[0]),
        places[2].sandbox.stream_to(addresses(&near)[0]),
    ];
    testbed.cut(&[Cut::Both(2)]);
    places[0].sandbox.reaches_none_of(&places[2].addresses).await;
    for host in 0..2 {
        testbed.hosts[host].finds("peer h3", "does not answer").await;
    }
    testbed.hosts[2].finds("peers", "0 of 2 answer: this node is cut off").await;
    holds_failed(&testbed.hosts[0], "h3").await;
    // Both sides go on.
    let (sandbox, late) = testbed.attach(0, "blue", "late").await;
    testbed.hosts[0].client.create_network(&dual_stack("green")).await.expect("green");
    testbed.hosts[2].detach("going").await;
    testbed.cut(&[]);
    testbed.settled().await;
    places.push(Place { sandbox, addresses: addresses(&late) });
    all_reach_all(&places).await;
    knows(&testbed.hosts[2].client, "green").await;
    let mac = gone.mac.expect("a MAC");
    eventually("the endpoint that went meanwhile is no peer any more", async || {
        let kernel = testbed.hosts[0].kernel().await;
        let mut vxlans = kernel.observed.namespaces.values().flat_map(|ns| ns.vxlans.values());
        vxlans.all(|vxlan| vxlan.fdb.iter().all(|entry| entry.mac != mac)).then_some(())
    })
    .await;
    for (host, peer) in [(0, "peer h3"), (2, "peers"), (2, "peer h1")] {
        testbed.hosts[host].finds_well(peer).await;
    }
    for ping in pings {
        ping.lost_nothing().await;
    }
    testbed.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_nobody_hears_is_declared_failed_and_keeps_its_traffic() {
    let testbed = Testbed::cluster(3).await;
    let places = blue_everywhere(&testbed).await;
    let pings = [
        places[0].sandbox.stream_to(places[2].addresses[0]),
        places[2].sandbox.stream_to(places[1].addresses[1]),
    ];
    testbed.cut(&[Cut::Mute(2)]);
    for host in 0..2 {
        holds_failed(&testbed.hosts[host], "h3").await;
        testbed.hosts[host].finds("peer h3", "does not answer").await;
    }
    testbed.hosts[2].finds("peers", "0 of 2 answer").await;
    let (sandbox, late) = testbed.attach(1, "blue", "late").await;
    places[0].sandbox.reaches(&addresses(&late)).await;
    testbed.cut(&[]);
    testbed.settled().await;
    for ping in pings {
        ping.lost_nothing().await;
    }
    sandbox.reaches(&places[2].addresses).await;
    // Now packets of endpoints are lost in that direction, too.
    let ping = places[0].sandbox.stream_to(places[1].addresses[0]);
    testbed.cut(&[Cut::From(2)]);
    places[0].sandbox.reaches_none_of(&places[2].addresses).await;
    testbed.hosts[0].finds("peer h3", "does not answer").await;
    testbed.cut(&[]);
    testbed.settled().await;
    all_reach_all(&places).await;
    testbed.hosts[0].finds_well("peer h3").await;
    ping.lost_nothing().await;
    testbed.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_three_packets_in_ten_lost_all_goes_on_and_doctor_says_that_probes_are_missed() {
    let testbed = Testbed::cluster(3).await;
    let mut places = blue_everywhere(&testbed).await;
    testbed.cut(&[Cut::Loss(30)]);
    let ping = places[0].sandbox.stream_to(places[1].addresses[0]);
    for (host, name) in [(0, "one"), (1, "two"), (2, "three")] {
        let client = &testbed.hosts[host].client;
        // A claim that was not answered in time is tried again, as its error says.
        eventually(&format!("network `{name}` is made"), async || {
            client.create_network(&dual_stack(name)).await.ok()
        })
        .await;
        let (sandbox, endpoint) = testbed.attach(host, "blue", name).await;
        places.push(Place { sandbox, addresses: addresses(&endpoint) });
    }
    for host in &testbed.hosts {
        for name in ["one", "two", "three"] {
            knows(&host.client, name).await;
        }
    }
    all_reach_all(&places).await;
    for host in &testbed.hosts {
        host.finds("probes", "probes were answered").await;
    }
    let seen = ping.end().await;
    let share = seen.answered as f64 / seen.sent as f64;
    assert!((0.35..0.65).contains(&share), "half of what goes there and back arrives: {seen:?}");
    testbed.cut(&[]);
    testbed.settled().await;
    testbed.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_disk_is_full_ends_says_why_and_has_kept_what_it_answered() {
    let mut testbed = Testbed::new(Underlay::V4).await;
    for _ in 0..2 {
        testbed.add_host().await;
    }
    let disk = SmallDisk::mount(&testbed.hosts[1].data_dir(), 8);
    testbed.found(&[]).await;
    let places = blue_everywhere(&testbed).await;
    let ping = places[0].sandbox.stream_to(places[1].addresses[0]);
    disk.fill();
    testbed.hosts[1].finds("disk", "has 0 MiB left").await;
    let mut made = Vec::new();
    let client = testbed.hosts[1].client.clone();
    while client.create_network(&dual_stack(&format!("n{}", made.len()))).await.is_ok() {
        made.push(format!("n{}", made.len()));
        assert!(made.len() < 1000, "the disk is full, and that many networks are kept");
    }
    assert_eq!(testbed.hosts[1].ends().await, Some(1));
    testbed.hosts[1].finds("agent", "one ended: state could not be kept").await;
    testbed.hosts[1].finds("agent", "No space left on device").await;
    // It does not begin either, and leaves the data path as it is.
    testbed.hosts[1].start(&[]);
    assert_eq!(testbed.hosts[1].ends().await, Some(1));
    testbed.hosts[1].finds("agent", "No space left on device").await;
    places[1].sandbox.reaches(&places[0].addresses).await;
    disk.empty();
    testbed.hosts[1].start(&[]);
    testbed.hosts[1].answers().await;
    testbed.settled().await;
    for name in &made {
        knows(&testbed.hosts[1].client, name).await;
    }
    testbed.hosts[1].finds_well("agent").await;
    ping.lost_nothing().await;
    testbed.ends_clean().await;
}

/// What a disk does to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// It ends here.
    Cut(usize),
    /// One bit of the byte here is another.
    Flip(usize),
}

impl Damage {
    fn of(self, whole: &[u8]) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        match self {
            Self::Cut(length) => bytes.truncate(length),
            Self::Flip(at) => bytes[at] ^= 0x10,
        }
        bytes
    }
}

/// Cuts, and a bit in each page of which something is used.
fn damages(whole: &[u8]) -> Vec<Damage> {
    let page = 4096;
    let flips = whole.chunks(page).enumerate().filter_map(|(number, bytes)| {
        let used = bytes.iter().rposition(|byte| *byte != 0)?;
        Some(Damage::Flip(number * page + used / 2))
    });
    [Damage::Cut(whole.len() / 2), Damage::Cut(whole.len() - 1)].into_iter().chain(flips).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_cut_short_or_with_a_flipped_bit_is_never_taken_for_what_it_was() {
    let mut testbed = Testbed::cluster(2).await;
    let places = blue_everywhere(&testbed).await;
    let ping = places[0].sandbox.stream_to(places[1].addresses[0]);
    testbed.hosts[1].stop();
    let file = testbed.hosts[1].data_dir().join("weft.redb");
    let mut whole = std::fs::read(&file).expect("the state file");
    let mut refused = 0;
    for damage in damages(&whole) {
        let bytes = damage.of(&whole);
        std::fs::write(&file, &bytes).expect("a file");
        let host = &mut testbed.hosts[1];
        host.start(&[]);
        let code = eventually("it runs or it ends", async || match host.ended() {
            Some(status) => Some(status.code()),
            None => host.client.status().await.ok().map(|_| Some(0)),
        })
        .await;
        if code == Some(0) {
            // What was flipped means nothing: all is there.
            testbed.settled().await;
            let endpoint = testbed.hosts[1].client.endpoint(None, "e1").await.expect("endpoint");
            assert_eq!(endpoint.state, EndpointState::Joined);
            assert_eq!(addresses(&endpoint), places[1].addresses);
            testbed.hosts[1].stop();
            // The next one is a later file: an earlier one would be a disk that was rolled back.
            whole = std::fs::read(&file).expect("the state file");
            continue;
        }
        refused += 1;
        assert_eq!(testbed.hosts[1].ends().await, Some(1));
        let left = std::fs::read(&file).expect("the state file");
        assert!(left == bytes, "what is damaged is left as it is");
        testbed.hosts[1].finds("agent", "weft.redb` is damaged").await;
    }
    assert!(refused >= 3, "only {refused} were refused");
    std::fs::write(&file, &whole).expect("a file");
    testbed.hosts[1].start(&[]);
    testbed.hosts[1].answers().await;
    testbed.settled().await;
    all_reach_all(&places).await;
    ping.lost_nothing().await;
    testbed.ends_clean().await;
}

/// The years that an agent's log lines begin with.
fn years(log: &str) -> Vec<i64> {
    log.lines().filter_map(|line| line.get(..4)?.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_jumps_changes_nothing_while_an_agent_runs_and_when_it_starts() {
    let mut testbed = Testbed::new(Underlay::V4).await;
    for _ in 0..2 {
        testbed.add_host().await;
    }
    let clock = Clock::make(&testbed.path("clock"));
    testbed.hosts[1].set_clock(&clock);
    testbed.found(&[]).await;
    let places = blue_everywhere(&testbed).await;
    let ping = places[0].sandbox.stream_to(places[1].addresses[0]);
    for (number, offset_s) in [TEN_YEARS, -TEN_YEARS, 0].into_iter().enumerate() {
        clock.set(offset_s);
        for (host, name) in [(0, "near"), (1, "far")] {
            let name = format!("{name}{number}");
            testbed.hosts[host].client.create_network(&dual_stack(&name)).await.expect("a network");
            knows(&testbed.hosts[1 - host].client, &name).await;
            let (sandbox, endpoint) = testbed.attach(host, "blue", &name).await;
            places[1 - host].sandbox.reaches(&addresses(&endpoint)).await;
            drop(sandbox);
        }
        let status = testbed.hosts[0].client.status().await.expect("status");
        assert_eq!((status.members.alive, status.members.failed), (2, 0));
        let report = testbed.hosts[1].doctor();
        let check = report.checks.iter().find(|check| check.check == "clock").expect("a check");
        assert_eq!(check.status, CheckStatus::Ok, "{check:?}");
        assert!(check.detail.contains("wall clocks do not matter"), "{check:?}");
        // The next step comes while no agent runs.
        testbed.hosts[1].stop();
        clock.set(-offset_s);
        testbed.hosts[1].start(&[]);
        testbed.hosts[1].answers().await;
        testbed.settled().await;
    }
    ping.lost_nothing().await;
    let years = years(&testbed.hosts[1].log());
    let spread = years.iter().max().zip(years.iter().min()).map(|(last, first)| last - first);
    assert!(spread >= Some(19), "the clock jumped: {spread:?} years in the log");
    testbed.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_engine_asked_for_goes_back_in_its_time_whatever_the_wall_clock_does() {
    let mut testbed = Testbed::new(Underlay::V4).await;
    testbed.add_host().await;
    let clock = Clock::make(&testbed.path("clock"));
    testbed.hosts[0].set_clock(&clock);
    let file = testbed.path("h1/weft.toml");
    let config = |seconds: u32| {
        std::fs::write(&file, format!("docker_unused_seconds = {seconds}\n")).expect("a file");
    };
    config(3600);
    callers::start(&mut testbed, 0, "local");
    testbed.hosts[0].answers().await;
    testbed.hosts[0].client.init(&Default::default()).await.expect("init");
    testbed.settled().await;
    let caller = Caller::new(callers::socket(&testbed, 0));
    let network = callers::engine_id(1);
    let pool = caller.whole_network(&network, "used", "10.84.0.0/24");
    let used = async || {
        let pools = testbed.hosts[0].client.ipam().await.expect("pools");
        let pool = pools.into_iter().find(|pool| pool.network_name.as_deref() == Some("used"));
        pool.expect("the network's pool").used
    };
    caller.address(&pool, "", "02:42:00:00:00:01");
    let claimed = used().await;
    // Each claim is a reason to look for those that have waited too long.
    clock.set(TEN_YEARS);
    caller.address(&pool, "", "02:42:00:00:00:02");
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(used().await, claimed + 1, "none of them has waited for an hour");
    // What waits since a time that is yet to come waits no longer than from now on.
    testbed.hosts[0].stop();
    clock.set(-TEN_YEARS);
    config(1);
    callers::start_again(&mut testbed, 0, "local").await;
    eventually("both go back", async || {
        let pools = testbed.hosts[0].client.ipam().await.ok()?;
        let pool = pools.into_iter().find(|pool| pool.network_name.as_deref() == Some("used"))?;
        (pool.used == claimed - 1).then_some(())
    })
    .await;
    caller.remove_network(&network, &pool, &[]);
    testbed.ends_clean().await;
}

/// Runs a command of iproute2 in a namespace.
fn by_hand(namespace: &Namespace, line: &str) {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words);
    let ran = run_in(namespace, || command.output()).expect("the namespace").expect("it starts");
    assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// Where the only network of a host is pinned, by name and opened.
async fn network_of(host: &Host) -> (String, Namespace) {
    let kernel = host.kernel().await;
    let [name] = &kernel.pins[..] else { panic!("one network: {kernel:?}") };
    let path = host.run_dir().join("netns").join(name);
    (name.clone(), Namespace::open(path).expect("a namespace"))
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_and_links_that_somebody_deletes_are_made_again_and_doctor_says_which() {
    let testbed = Testbed::cluster(2).await;
    let places = blue_everywhere(&testbed).await;
    let host = &testbed.hosts[1];
    host.finds_well("repairs").await;
    let (name, network) = network_of(host).await;
    let before = host.kernel().await;
    let there = &before.observed.namespaces[&name];
    for vxlan in there.vxlans.keys() {
        for entry in &there.vxlans[vxlan].fdb {
            let (mac, vtep) = (entry.mac, entry.vtep);
            by_hand(&network, &format!("bridge fdb del {mac} dev {vxlan} dst {vtep} self"));
        }
        by_hand(&network, &format!("ip neigh flush dev {vxlan} nud permanent"));
    }
    host.finds("repairs", "fdb missing").await;
    host.finds("repairs", "neighbour missing").await;
    all_reach_all(&places).await;
    for vxlan in there.vxlans.keys() {
        by_hand(&network, &format!("ip link del {vxlan}"));
    }
    by_hand(&host.namespace, &format!("ip link del {name}"));
    host.finds("repairs", "vxlan missing").await;
    host.finds("repairs", "wayout wrong").await;
    all_reach_all(&places).await;
    places[1].sandbox.reaches(&testbed.hosts[0].addresses()).await;
    for link in there.bridges.keys().chain(there.ports.keys()) {
        by_hand(&network, &format!("ip link del {link}"));
    }
    host.finds("repairs", "bridge missing").await;
    host.finds("repairs", "port missing").await;
    all_reach_all(&places).await;
    eventually("the kernel is as before", async || {
        (host.kernel().await.observed == before.observed).then_some(())
    })
    .await;
    drop(network);
    testbed.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_that_are_removed_under_an_agent_are_made_again_or_told_of() {
    let testbed = Testbed::cluster(2).await;
    let places = blue_everywhere(&testbed).await;
    let (going, stale) = testbed.attach(1, "blue", "going").await;
    places[0].sandbox.reaches(&addresses(&stale)).await;
    let host = &testbed.hosts[1];
    // That of a container: its endpoint stays until somebody detaches it, and is no peer.
    going.vanish();
    host.finds("endpoint going", "the namespace it was in is gone").await;
    let found = host.client.endpoint(None, "going").await.expect("endpoint");
    assert_eq!(found.state, EndpointState::Stale);
    let mac = stale.mac.expect("a MAC");
    eventually("what is gone is no peer", async || {
        let kernel = testbed.hosts[0].kernel().await;
        let mut vxlans = kernel.observed.namespaces.values().flat_map(|ns| ns.vxlans.values());
        vxlans.all(|vxlan| vxlan.fdb.iter().all(|entry| entry.mac != mac)).then_some(())
    })
    .await;
    host.detach("going").await;
    host.finds_well("endpoint going").await;
    // That of the network, with all that is in it.
    let before = host.kernel().await;
    let [name] = &before.pins[..] else { panic!("one network: {before:?}") };
    unpin(host.run_dir().join("netns").join(name)).expect("a pin to remove");
    host.finds("repairs", "namespace missing").await;
    all_reach_all(&places).await;
    places[1].sandbox.reaches(&testbed.hosts[0].addresses()).await;
    eventually("the kernel is as before", async || {
        let now = host.kernel().await;
        (now.observed == before.observed && now.pins == before.pins).then_some(())
    })
    .await;
    testbed.ends_clean().await;
}
