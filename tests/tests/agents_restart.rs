//! Agents that die, stop and come back, under traffic.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use weft_agent::control::HeldByEngine;
use weft_agent::store::Store;
use weft_api::control::{AttachRequest, EndpointState, MemberState, NetworkCreate};
use weft_api::{EndpointId, NodeId, Space, Write};
use weft_overlay::netlink::namespace::run_in;
use weft_tests::testbed::{
    Host, Kernel, Sandbox, Testbed, addresses, eventually, eventually_within, knows,
};

/// Time in which traffic runs undisturbed beside what a test does.
const A_WHILE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy)]
enum End {
    Kill,
    Stop,
}

/// Ends one agent and starts it again while both directions are pinged; the other one too.
async fn traffic_outlives(end: End) {
    let mut testbed = Testbed::cluster(2).await;
    let network = NetworkCreate { ipv6: true, ..NetworkCreate::named("blue") };
    testbed.hosts[0].client.create_network(&network).await.expect("blue");
    let (here, one) = testbed.attach(0, "blue", "one").await;
    let (there, two) = testbed.attach(1, "blue", "two").await;
    let (one, two) = (addresses(&one), addresses(&two));
    here.reaches(&two).await;
    there.reaches(&one).await;
    for host in 0..2 {
        let before = testbed.hosts[host].kernel().await;
        let eth0 = [here.link("eth0").await.index, there.link("eth0").await.index];
        let pings = [here.stream_to(two[0]), there.stream_to(one[1])];
        match end {
            End::Kill => testbed.hosts[host].kill(),
            End::Stop => testbed.hosts[host].stop(),
        }
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(testbed.hosts[host].kernel().await, before, "the kernel is left as it is");
        testbed.hosts[host].finds("agent", "no agent runs here").await;
        testbed.hosts[host].start(&[]);
        testbed.hosts[host].answers().await;
        testbed.settled().await;
        tokio::time::sleep(A_WHILE).await;
        for ping in pings {
            ping.lost_nothing().await;
        }
        assert_eq!(testbed.hosts[host].kernel().await, before, "all is adopted, none made anew");
        assert_eq!([here.link("eth0").await.index, there.link("eth0").await.index], eth0);
        let name = if host == 0 { "one" } else { "two" };
        let found = testbed.hosts[host].client.endpoint(None, name).await.expect("endpoint");
        assert_eq!(found.state, EndpointState::Joined);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_and_restart_lose_no_packet_and_make_nothing_anew() {
    traffic_outlives(End::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_and_start_lose_no_packet_and_make_nothing_anew() {
    traffic_outlives(End::Stop).await;
}

/// Waits until a host's kernel is as wanted.
async fn kernel_becomes(
    testbed: &Testbed,
    host: usize,
    what: &str,
    as_wanted: impl Fn(&Kernel) -> bool,
) {
    eventually(what, async || as_wanted(&testbed.hosts[host].kernel().await).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_comes_back_to_a_changed_world() {
    let mut testbed = Testbed::cluster(3).await;
    for name in ["blue", "gone"] {
        testbed.hosts[0].client.create_network(&NetworkCreate::named(name)).await.expect(name);
    }
    let (near, _) = testbed.attach(2, "blue", "near").await;
    let (_peer, peer) = testbed.attach(0, "blue", "peer").await;
    let (_stay, stay) = testbed.attach(1, "blue", "stay").await;
    near.reaches(&addresses(&peer)).await;
    near.reaches(&addresses(&stay)).await;
    knows(&testbed.hosts[2].client, "gone").await;
    let (vanishing, _) = testbed.attach(2, "blue", "vanishing").await;
    testbed.hosts[2].kill();
    // While it is down: a peer goes, a sandbox of its own goes, one comes, a network goes.
    testbed.hosts[0].detach("peer").await;
    vanishing.vanish();
    let (_late, late) = testbed.attach(0, "blue", "late").await;
    eventually("the killed one is declared failed", async || {
        let members = testbed.hosts[0].client.members().await.ok()?;
        let member = members.into_iter().find(|member| member.name == "h3")?;
        (member.state == MemberState::Failed).then_some(())
    })
    .await;
    near.reaches(&addresses(&stay)).await;
    testbed.hosts[0].client.delete_network("gone", HeldByEngine::Refuse).await.expect("delete");
    testbed.hosts[2].start(&[]);
    testbed.hosts[2].answers().await;
    testbed.settled().await;
    near.reaches(&addresses(&stay)).await;
    near.reaches(&addresses(&late)).await;
    let client = &testbed.hosts[2].client;
    eventually("the deleted network is not known any more", async || {
        client.network("gone", weft_agent::control::Detail::Plain).await.is_err().then_some(())
    })
    .await;
    let stale = client.endpoint(None, "vanishing").await.expect("endpoint");
    assert_eq!(stale.state, EndpointState::Stale);
    let mac = peer.mac.expect("a MAC");
    kernel_becomes(&testbed, 2, "the gone peer's entries go", |kernel| {
        let mut vxlans = kernel.observed.namespaces.values().flat_map(|ns| ns.vxlans.values());
        vxlans.all(|vxlan| vxlan.fdb.iter().all(|entry| entry.mac != mac))
    })
    .await;
    testbed.hosts[2].detach("vanishing").await;
}

/// What a sandbox remembers of an address, for people.
fn remembered(sandbox: &Sandbox, address: IpAddr) -> String {
    let address = address.to_string();
    let show = || Command::new("ip").args(["neighbour", "show", &address]).output();
    let shown = run_in(sandbox.namespace(), show).expect("the namespace").expect("ip");
    String::from_utf8_lossy(&shown.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mac_that_changed_while_the_agent_was_away_is_announced_when_it_is_back() {
    // An address rests before another endpoint gets it, a minute by default.
    let mut testbed = Testbed::configured(2, "rest_seconds = 1\n").await;
    let network = NetworkCreate { ipv6: true, ..NetworkCreate::named("blue") };
    testbed.hosts[0].client.create_network(&network).await.expect("blue");
    let (near, _) = testbed.attach(0, "blue", "near").await;
    let (_before, peer) = testbed.attach(1, "blue", "before").await;
    near.reaches(&addresses(&peer)).await;
    testbed.hosts[0].kill();
    testbed.hosts[1].detach("before").await;
    let after = testbed.sandbox("blue-after");
    let mac = "02:42:00:00:00:99";
    let request = AttachRequest {
        network: "blue".to_owned(),
        name: Some("after".to_owned()),
        addresses: addresses(&peer),
        mac: Some(mac.parse().expect("a MAC")),
        netns: after.text().to_owned(),
        ifname: None,
        options: Default::default(),
    };
    eventually("the same addresses are free again", async || {
        testbed.hosts[1].client.attach(&request).await.ok()
    })
    .await;
    testbed.hosts[0].start(&[]);
    testbed.hosts[0].answers().await;
    for address in addresses(&peer) {
        assert!(!remembered(&near, address).is_empty(), "or nothing is shown");
        eventually(&format!("{address} is announced with its new MAC"), async || {
            remembered(&near, address).contains(mac).then_some(())
        })
        .await;
    }
    near.reaches(&addresses(&peer)).await;
}

/// What a crash between two commits leaves: the inventory has the endpoint no more, the tables do.
fn lose_endpoint(data_dir: &Path, id: EndpointId) {
    let store = Store::open(&data_dir.join("weft.redb")).expect("the state file");
    let records = store.load(Space::Controller).expect("records");
    let keys = records.into_iter().map(|(key, _)| key).filter(|key| key.ends_with(id.as_bytes()));
    let removals: Vec<Write> =
        keys.map(|key| Write { space: Space::Controller, key, value: None }).collect();
    assert_eq!(removals.len(), 1, "the endpoint has one record");
    store.commit(&removals).expect("a commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_of_an_endpoint_goes_and_its_name_is_free_at_once() {
    let mut testbed = Testbed::cluster(2).await;
    testbed.hosts[0].client.create_network(&NetworkCreate::named("blue")).await.expect("blue");
    let (near, _) = testbed.attach(0, "blue", "near").await;
    knows(&testbed.hosts[1].client, "blue").await;
    let (lost, left) = testbed.attach(1, "blue", "web").await;
    near.reaches(&addresses(&left)).await;
    testbed.hosts[1].stop();
    lose_endpoint(&testbed.hosts[1].data_dir(), left.id);
    lost.vanish();
    testbed.hosts[1].start(&[]);
    testbed.hosts[1].answers().await;

    let sandbox = testbed.sandbox("blue-web-again");
    let again = testbed.hosts[1].attach("blue", "web", &sandbox).await;
    near.reaches(&addresses(&again)).await;
    let peers = async || {
        let client = &testbed.hosts[0].client;
        let entries = client.entries("blue", weft_overlay::PEER_TABLE).await.ok()?;
        Some(entries.into_iter().map(|entry| entry.key).collect::<Vec<String>>())
    };
    // Not before the tables are in step with the other's.
    eventually_within(Duration::from_secs(40), "what was left is gone everywhere", async || {
        (!peers().await?.contains(&left.id.to_string())).then_some(())
    })
    .await;
    assert!(peers().await.expect("entries").contains(&again.id.to_string()));
    near.reaches(&addresses(&again)).await;
    testbed.hosts[1].detach("web").await;
    testbed.hosts[0].detach("near").await;
    testbed.hosts[0].client.delete_network("blue", HeldByEngine::Refuse).await.expect("delete");
    testbed.ends_clean().await;
}

/// Where a node is not who its disk says: it joins as another one, and says why.
async fn is_another_than(host: &Host, old: NodeId) {
    eventually_within(Duration::from_secs(60), "it joins as another node", async || {
        let status = host.client.status().await.ok()?;
        (status.node? != old && status.members.alive > 1).then_some(())
    })
    .await;
    host.finds("alarm", "was rolled back or cloned").await;
}

async fn node_of(host: &Host) -> Option<NodeId> {
    host.client.status().await.ok()?.node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_an_older_disk_is_told_and_joins_as_another() {
    let mut testbed = Testbed::cluster(2).await;
    testbed.hosts[0].client.create_network(&NetworkCreate::named("blue")).await.expect("blue");
    let (near, _) = testbed.attach(0, "blue", "near").await;
    knows(&testbed.hosts[1].client, "blue").await;
    let old = node_of(&testbed.hosts[1]).await.expect("a node");
    testbed.hosts[1].stop();
    let file = testbed.hosts[1].data_dir().join("weft.redb");
    let older = std::fs::read(&file).expect("the state file");
    testbed.hosts[1].start(&[]);
    testbed.hosts[1].answers().await;
    testbed.settled().await;
    let (_later, later) = testbed.attach(1, "blue", "later").await;
    near.reaches(&addresses(&later)).await;
    testbed.hosts[1].stop();
    std::fs::write(&file, older).expect("a file");
    testbed.hosts[1].start(&[]);
    testbed.hosts[1].answers().await;
    is_another_than(&testbed.hosts[1], old).await;
    let (_anew, anew) = testbed.attach(1, "blue", "anew").await;
    near.reaches(&addresses(&anew)).await;
    testbed.hosts[1].detach("anew").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_disk_and_its_copy_one_joins_as_another_node() {
    let mut testbed = Testbed::cluster(2).await;
    let copy = testbed.add_host().await;
    let old = node_of(&testbed.hosts[1]).await.expect("a node");
    testbed.hosts[1].stop();
    let state = |host: &Host| host.data_dir().join("weft.redb");
    std::fs::create_dir_all(testbed.hosts[copy].data_dir()).expect("a directory");
    std::fs::copy(state(&testbed.hosts[1]), state(&testbed.hosts[copy])).expect("a copy");
    for host in [1, copy] {
        testbed.hosts[host].start(&[]);
        testbed.hosts[host].answers().await;
    }
    let changed = eventually_within(Duration::from_secs(60), "they are two", async || {
        let nodes = [node_of(&testbed.hosts[1]).await?, node_of(&testbed.hosts[copy]).await?];
        (nodes[0] != nodes[1]).then_some(if nodes[0] == old { copy } else { 1 })
    })
    .await;
    is_another_than(&testbed.hosts[changed], old).await;
    eventually("all three are alive", async || {
        let status = testbed.hosts[0].client.status().await.ok()?;
        (status.members.alive == 3).then_some(())
    })
    .await;
}
