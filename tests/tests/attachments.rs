//! Attachments of CNI containers, through the agents' sockets.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use weft_agent::client::{Called, Client, ClientError};
use weft_api::control::{
    AttachmentAdd, AttachmentAddresses, AttachmentGc, AttachmentKey, AttachmentRef,
    AttachmentResource, Bandwidth, ControlError, ErrorKind, IpamPool, ListFilter, NetworkCreate,
};
use weft_overlay::netlink::namespace::run_in;
use weft_overlay::netlink::{Connection, Namespace, link};
use weft_overlay::op::Rates;
use weft_tests::testbed::{Host, Kernel, Sandbox, Testbed, addresses, eventually, with_subnets};

const POOL: &str = "10.64.0.0/24";
const LIST: &str = "pods";
const PORT: u16 = 5001;

fn blue() -> NetworkCreate {
    with_subnets("blue", &[POOL])
}

fn key(container: &str) -> AttachmentKey {
    AttachmentKey { container_id: container.to_owned(), ifname: "eth0".to_owned() }
}

fn add(container: &str, sandbox: &Sandbox) -> AttachmentAdd {
    AttachmentAdd {
        network: blue(),
        key: key(container),
        configuration: LIST.to_owned(),
        netns: sandbox.text().to_owned(),
        addresses: AttachmentAddresses::default(),
        mac: None,
        bandwidth: None,
    }
}

fn wanting(address: &str, add: AttachmentAdd) -> AttachmentAdd {
    let wanted = vec![address.parse().expect("an address")];
    let addresses = AttachmentAddresses::Network { wanted, ranges: Vec::new() };
    AttachmentAdd { addresses, ..add }
}

fn given(address: &str, add: AttachmentAdd) -> AttachmentAdd {
    let addresses = vec![address.parse().expect("an address")];
    AttachmentAdd { addresses: AttachmentAddresses::Given { addresses }, ..add }
}

/// An attachment to `blue`, of whatever configuration.
fn of_blue(container: &str) -> AttachmentRef {
    let (network, configuration) = ("blue".to_owned(), String::new());
    AttachmentRef { network, configuration, key: key(container) }
}

async fn added(host: &Host, request: &AttachmentAdd) -> AttachmentResource {
    let added = host.client.add_attachment(request).await;
    added.unwrap_or_else(|error| panic!("{} on {}: {error}", request.key.container_id, host.name))
}

async fn gone(host: &Host, container: &str) {
    let deleted = host.client.delete_attachment(&of_blue(container)).await;
    deleted.unwrap_or_else(|error| panic!("{container} on {}: {error}", host.name));
}

fn refusal<T: std::fmt::Debug>(called: Called<T>) -> ControlError {
    match called {
        Err(ClientError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn containers(found: &[AttachmentResource]) -> BTreeSet<String> {
    found.iter().map(|one| one.key.container_id.clone()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn gc(configuration: &str, valid: &[&str]) -> AttachmentGc {
    AttachmentGc {
        network: "blue".to_owned(),
        configuration: configuration.to_owned(),
        valid: valid.iter().map(|container| key(container)).collect(),
    }
}

/// Addresses of the pool that this host has bound.
async fn used(client: &Client) -> u64 {
    let pools: Vec<IpamPool> = client.ipam().await.expect("pools");
    pools.into_iter().filter(|pool| pool.pool == POOL).map(|pool| pool.used).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_two_hosts_reach_each_other_and_del_leaves_nothing() {
    let testbed = Testbed::cluster(2).await;
    let [one, two] = [&testbed.hosts[0], &testbed.hosts[1]];
    let (near, far) = (testbed.sandbox("near"), testbed.sandbox("far"));
    let here = added(one, &add("near", &near)).await;
    assert_eq!(here.endpoint.container, Some(key("near")));
    assert_eq!(here.endpoint.name, "near-eth0");
    let there = added(two, &add("far", &far)).await;
    near.reaches(&addresses(&there.endpoint)).await;
    let whole = one.client.attachment(&of_blue("near")).await.expect("near");
    assert_eq!((whole.faults.as_slice(), whole.endpoint.id), (&[][..], here.endpoint.id));
    assert_eq!(containers(&one.client.attachments(None).await.expect("a list")), set(&["near"]));
    let shown = one.weft(&["endpoint", "inspect", "near-eth0"]);
    assert!(shown.stdout.contains("container"), "{}", shown.stdout);

    gone(one, "near").await;
    gone(two, "far").await;
    for (host, sandbox) in [(one, &near), (two, &far)] {
        assert_eq!(sandbox.links().await.len(), 1, "only lo is left");
        assert!(host.client.attachments(Some("blue")).await.expect("a list").is_empty());
        eventually("the host's kernel is clean", async || {
            host.kernel().await.is_clean().then_some(())
        })
        .await;
    }
    let absent = one.client.attachment(&of_blue("near")).await;
    assert_eq!(refusal(absent).kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_absent_can_be_deleted_again_and_again() {
    let mut testbed = Testbed::new(weft_tests::testbed::Underlay::V4).await;
    testbed.add_host().await;
    testbed.hosts[0].start(&[]);
    testbed.hosts[0].answers().await;
    let host = &testbed.hosts[0];
    let sandbox = testbed.sandbox("web");
    gone(host, "web").await;
    let status = host.client.attachment_status(None).await.expect("a status");
    assert!(!status.ready && status.reason.contains("no cluster"), "{status:?}");
    let refused = refusal(host.client.add_attachment(&add("web", &sandbox)).await);
    assert_eq!(refused.kind, ErrorKind::Unavailable);
    host.client.init(&Default::default()).await.expect("init");
    testbed.settled().await;
    gone(host, "web").await;
    let status = host.client.attachment_status(Some("blue")).await.expect("a status");
    assert!(status.ready, "{status:?}");
    added(host, &add("web", &sandbox)).await;
    for _ in 0..2 {
        gone(host, "web").await;
        assert_eq!(host.client.collect_attachments(&gc(LIST, &[])).await.expect("gc").removed, []);
    }
    added(host, &add("web", &sandbox)).await;
    sandbox.vanish();
    gone(host, "web").await;
    assert_eq!(used(&host.client).await, 1, "the gateway's alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attachment_is_made_anew_only_when_its_namespace_or_interface_is_gone() {
    let testbed = Testbed::cluster(1).await;
    let host = &testbed.hosts[0];
    let (first, second) = (testbed.sandbox("first"), testbed.sandbox("second"));
    let before = added(host, &add("web", &first)).await;
    let repeated = refusal(host.client.add_attachment(&add("web", &first)).await);
    assert_eq!(repeated.kind, ErrorKind::Conflict);
    assert!(repeated.error.contains("already"), "{repeated}");
    let nowhere = AttachmentAdd { netns: "/nowhere".to_owned(), ..add("web", &first) };
    let refused = refusal(host.client.add_attachment(&nowhere).await);
    assert_eq!(refused.kind, ErrorKind::InvalidParameter);
    let same = host.client.attachment(&of_blue("web")).await.expect("untouched");
    assert_eq!((same.endpoint.id, same.faults.len()), (before.endpoint.id, 0));

    let moved = added(host, &add("web", &second)).await;
    assert_ne!(moved.endpoint.id, before.endpoint.id);
    assert_eq!(first.links().await.len(), 1, "the old interface is gone");
    let mut inside = Connection::open(second.namespace()).await.expect("netlink");
    link::remove(&mut inside, "eth0").await.expect("it goes");
    let faulty = host.client.attachment(&of_blue("web")).await.expect("still known");
    assert!(faulty.faults.iter().any(|fault| fault.contains("is gone")), "{:?}", faulty.faults);
    let anew = added(host, &add("web", &second)).await;
    assert_ne!(anew.endpoint.id, moved.endpoint.id);
    assert_eq!(host.client.attachments(None).await.expect("a list").len(), 1);
    assert_eq!(used(&host.client).await, 2, "the gateway's and its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_one_sandbox_by_whatever_path_and_only_while_it_is_there() {
    let testbed = Testbed::cluster(1).await;
    let host = &testbed.hosts[0];
    let sandbox = testbed.sandbox("web");
    let first = added(host, &add("web", &sandbox)).await.endpoint.sandbox.expect("joined");
    let links = tempfile::tempdir().expect("a directory");
    let link = links.path().join("netns");
    symlink(sandbox.path().parent().expect("a directory"), &link).expect("a link");
    let by_link = link.join(sandbox.path().file_name().expect("a name"));
    let second = AttachmentAdd {
        key: AttachmentKey { ifname: "eth1".to_owned(), ..key("web") },
        netns: by_link.to_str().expect("a path of ours").to_owned(),
        ..add("web", &sandbox)
    };
    let second = added(host, &second).await.endpoint.sandbox.expect("joined");
    assert_eq!((&second.id, &second.key), (&first.id, &first.key));
    assert!(first.gateway.is_some() && second.gateway.is_none(), "one default route");

    // What is renamed is there all the same, also when a third one comes.
    for change in ["down", "name net0", "up"] {
        let name = if change == "up" { "net0" } else { "eth0" };
        let words = format!("link set {name} {change}");
        let ip = || Command::new("ip").args(words.split(' ')).status();
        assert!(run_in(sandbox.namespace(), ip).expect("the namespace").expect("ip").success());
    }
    let third = AttachmentAdd { key: key("third"), ..add("third", &sandbox) };
    refusal(host.client.add_attachment(&third).await);
    let still = host.client.attachment(&of_blue("web")).await.expect("it is there");
    assert_eq!(still.endpoint.sandbox.map(|sandbox| sandbox.id), Some(first.id.clone()));

    let path = sandbox.path().to_owned();
    sandbox.vanish();
    let again = Sandbox::make(path);
    let anew = added(host, &add("other", &again)).await.endpoint.sandbox.expect("joined");
    assert_eq!(anew.gateway, first.gateway, "what vanished has no default route any more");
    assert_ne!(anew.id, first.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attachment_is_found_by_its_configuration_whatever_network_that_has_now() {
    let testbed = Testbed::cluster(1).await;
    let host = &testbed.hosts[0];
    let sandbox = testbed.sandbox("web");
    let named = |network: &str, configuration: &str| {
        let (network, configuration) = (network.to_owned(), configuration.to_owned());
        AttachmentRef { network, configuration, key: key("web") }
    };
    added(host, &add("web", &sandbox)).await;
    let of_another = named("blue", "another");
    host.client.delete_attachment(&of_another).await.expect("nothing of it is here");
    assert!(host.client.attachment(&of_another).await.is_err());
    let changed = named("green", LIST);
    let found = host.client.attachment(&changed).await.expect("it is there");
    assert_eq!(found.endpoint.network, "blue");
    let moved =
        AttachmentAdd { network: with_subnets("green", &["10.65.0.0/24"]), ..add("web", &sandbox) };
    let refused = refusal(host.client.add_attachment(&moved).await);
    assert_eq!(refused.kind, ErrorKind::Conflict, "it is attached already, elsewhere");
    host.client.delete_attachment(&changed).await.expect("gone");
    assert_eq!(sandbox.links().await.len(), 1, "only lo is left");
    added(host, &moved).await;
    gone(host, "web").await;
    assert_eq!(host.client.attachments(None).await.expect("a list").len(), 1, "not of `blue`");
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_ends_what_its_runtime_does_not_name_and_nothing_else() {
    let testbed = Testbed::cluster(2).await;
    let [host, other] = [&testbed.hosts[0], &testbed.hosts[1]];
    let boxes = ["a", "b", "c", "d", "e"].map(|name| testbed.sandbox(name));
    added(host, &add("a", &boxes[0])).await;
    added(host, &add("b", &boxes[1])).await;
    let elsewhere = AttachmentAdd { configuration: "other".to_owned(), ..add("c", &boxes[2]) };
    added(host, &elsewhere).await;
    added(other, &add("d", &boxes[3])).await;
    host.attach("blue", "person", &boxes[4]).await;
    let unknown = AttachmentGc { network: "green".to_owned(), ..gc("", &[]) };
    assert_eq!(host.client.collect_attachments(&unknown).await.expect("gc").removed, []);

    // The configuration may have another network by now.
    let elsewhere = AttachmentGc { network: "green".to_owned(), ..gc(LIST, &["a", "x"]) };
    let collected = host.client.collect_attachments(&elsewhere).await.expect("gc");

    assert_eq!((collected.removed, collected.failed), (vec![key("b")], Vec::new()));
    assert_eq!(containers(&host.client.attachments(None).await.expect("a")), set(&["a", "c"]));
    assert_eq!(containers(&other.client.attachments(None).await.expect("b")), set(&["d"]));
    let endpoints = host.client.endpoints(None, &ListFilter::default()).await.expect("endpoints");
    assert!(endpoints.iter().any(|one| one.name == "person"), "{endpoints:?}");
    let d = other.client.attachment(&of_blue("d")).await.expect("d");
    boxes[0].reaches(&addresses(&d.endpoint)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_those_asked_for_or_the_attachment_is_refused() {
    let testbed = Testbed::cluster(2).await;
    let [host, other] = [&testbed.hosts[0], &testbed.hosts[1]];
    let boxes = ["a", "b", "c"].map(|name| testbed.sandbox(name));
    let exact = added(host, &wanting("10.64.0.77", add("a", &boxes[0]))).await;
    assert_eq!(addresses(&exact.endpoint), ["10.64.0.77".parse::<IpAddr>().expect("one")]);
    let network = host.client.network("blue", weft_agent::control::Detail::Plain).await;
    weft_tests::testbed::knows(&other.client, "blue").await;
    for taken in
        [given("10.64.0.77/24", add("b", &boxes[1])), wanting("10.64.0.77", add("b", &boxes[1]))]
    {
        for client in [&host.client, &other.client] {
            let refused = refusal(client.add_attachment(&taken).await);
            assert!(refused.error.contains("10.64.0.77"), "{refused}");
        }
    }
    let outside =
        refusal(host.client.add_attachment(&given("10.65.0.7/24", add("b", &boxes[1]))).await);
    assert_eq!(outside.kind, ErrorKind::InvalidParameter);
    assert_eq!(boxes[1].links().await.len(), 1, "nothing half-made");
    let theirs = added(other, &given("10.64.0.99/25", add("b", &boxes[1]))).await;
    assert_eq!(theirs.endpoint.address, "10.64.0.99/24".parse().ok(), "with the subnet's prefix");
    boxes[0].reaches(&addresses(&theirs.endpoint)).await;
    let ranges = vec!["10.64.0.200/30".parse().expect("a range")];
    let addresses_of = AttachmentAddresses::Network { wanted: Vec::new(), ranges };
    let ranged = AttachmentAdd { addresses: addresses_of, ..add("c", &boxes[2]) };
    let within = added(host, &ranged).await.endpoint.address.expect("IPv4").ip();
    let range: ipnetwork::IpNetwork = "10.64.0.200/30".parse().expect("a range");
    assert!(range.contains(within), "{within}");

    // A container that is restarted has its address at once; whoever else asks waits.
    for _ in 0..3 {
        gone(other, "b").await;
        added(other, &given("10.64.0.99/24", add("b", &boxes[1]))).await;
    }
    let shape = NetworkCreate { mtu: Some(1300), ..blue() };
    let differs = AttachmentAdd { network: shape, ..add("x", &boxes[2]) };
    let differs =
        AttachmentAdd { key: AttachmentKey { ifname: "eth1".to_owned(), ..key("x") }, ..differs };
    let refused = refusal(host.client.add_attachment(&differs).await);
    assert_eq!(refused.kind, ErrorKind::Conflict, "{refused}");
    assert!(network.is_ok_and(|network| network.mtu.is_none()));
}

/// Adds and deletes one container again and again; returns how long each ADD and each DEL took.
async fn in_turn(host: &Host, sandbox: &Sandbox) -> [Vec<Duration>; 2] {
    let request = add("web", sandbox);
    let (mut adds, mut dels) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        let begun = Instant::now();
        added(host, &request).await;
        adds.push(begun.elapsed());
        let begun = Instant::now();
        gone(host, "web").await;
        dels.push(begun.elapsed());
    }
    [adds, dels]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_outlives_its_last_container_for_a_moment() {
    let testbed = Testbed::cluster(1).await;
    let host = &testbed.hosts[0];
    let sandbox = testbed.sandbox("web");
    for (what, mut took) in ["ADD", "DEL"].iter().zip(in_turn(host, &sandbox).await) {
        took.sort_unstable();
        eprintln!("{what} of one after the other: median {:?}, last {:?}", took[20], took[39]);
    }
    let before = host.kernel().await;
    assert_eq!(before.pins.len(), 1, "the network stands");
    added(host, &add("web", &sandbox)).await;
    assert_eq!(host.kernel().await.links, before.links, "its way out is the one there was");
    gone(host, "web").await;
    eventually("the host's kernel is clean", async || host.kernel().await.is_clean().then_some(()))
        .await;
    added(host, &add("web", &sandbox)).await;
    gone(host, "web").await;
    let removed = host.weft(&["network", "rm", "blue"]);
    assert_eq!(removed.code, 0, "nothing waits for it: {}", removed.stderr);
    assert!(host.kernel().await.is_clean());
    assert_eq!(host.client.status().await.expect("status").counters["kernel_operations_failed"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_del_that_comes_during_the_add_ends_it_after() {
    let testbed = Testbed::cluster(1).await;
    let host = &testbed.hosts[0];
    let sandbox = testbed.sandbox("web");
    // One that goes away before its answer leaves the attachment to DEL.
    for round in 0..20_u64 {
        let (client, request) = (host.client.clone(), add("web", &sandbox));
        let adding = tokio::spawn(async move { client.add_attachment(&request).await });
        tokio::time::sleep(Duration::from_micros(round * 500)).await;
        if round % 2 == 0 {
            adding.abort();
            // Its connection is closed when the task is gone.
            assert!(adding.await.is_err() || round > 0);
        }
        gone(host, "web").await;
        eventually("the attachment is gone for good", async || {
            // A request that the agent had not read when DEL came may still be carried out.
            gone(host, "web").await;
            host.client.attachments(None).await.ok()?.is_empty().then_some(())
        })
        .await;
    }
    assert_eq!(sandbox.links().await.len(), 1, "only lo is left");
    assert_eq!(used(&host.client).await, 1, "the gateway's alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn attachments_outlive_the_agent_and_those_of_gone_containers_can_be_deleted() {
    let mut testbed = Testbed::cluster(2).await;
    let boxes = ["stays", "goes", "far"].map(|name| testbed.sandbox(name));
    let [stays, goes, far] = boxes;
    added(&testbed.hosts[0], &add("stays", &stays)).await;
    added(&testbed.hosts[0], &add("goes", &goes)).await;
    let there = added(&testbed.hosts[1], &add("far", &far)).await;
    stays.reaches(&addresses(&there.endpoint)).await;
    let stream = stays.stream_to(addresses(&there.endpoint)[0]);
    testbed.hosts[0].kill();
    goes.vanish();
    // Long enough for pings that no agent sees.
    tokio::time::sleep(Duration::from_millis(300)).await;
    testbed.hosts[0].start(&[]);
    testbed.hosts[0].answers().await;
    let host = &testbed.hosts[0];
    let found = host.client.attachments(Some("blue")).await.expect("a list");
    assert_eq!(containers(&found), set(&["stays", "goes"]));
    let whole = host.client.attachment(&of_blue("stays")).await.expect("stays");
    assert_eq!(whole.faults, Vec::<String>::new());
    let lost = host.client.attachment(&of_blue("goes")).await.expect("goes");
    assert_eq!(lost.faults, ["its namespace is gone"]);
    let repeated = refusal(host.client.add_attachment(&add("stays", &stays)).await);
    assert_eq!(repeated.kind, ErrorKind::Conflict);
    stream.lost_nothing().await;
    gone(host, "goes").await;
    gone(host, "stays").await;
    assert!(host.client.attachments(None).await.expect("a list").is_empty());
    eventually("the host's kernel is clean", async || host.kernel().await.is_clean().then_some(()))
        .await;
}

/// Sends for a second from one sandbox to an address of another; returns the bits a second that
/// arrived.
async fn throughput(from: &Sandbox, to: &Sandbox, address: IpAddr) -> f64 {
    let (listener, stream) = (
        run_in(to.namespace(), || TcpListener::bind((address, PORT))).expect("the namespace"),
        SocketAddr::new(address, PORT),
    );
    let listener = listener.expect("a port");
    let stream = run_in(from.namespace(), || TcpStream::connect(stream)).expect("the namespace");
    let mut stream = stream.expect("a connection");
    let (mut accepted, _) = listener.accept().expect("the connection");
    let sending = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(1) && stream.write_all(&[0; 8192]).is_ok() {}
    });
    let received = tokio::task::spawn_blocking(move || {
        let (begun, mut bytes, mut buffer) = (Instant::now(), 0_usize, vec![0; 1 << 16]);
        while let Ok(count @ 1..) = accepted.read(&mut buffer) {
            bytes += count;
        }
        8.0 * bytes as f64 / begun.elapsed().as_secs_f64()
    });
    sending.await.expect("it was sent");
    received.await.expect("it was received")
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_passes_at_the_rate_that_was_asked_for_and_others_are_not_slower() {
    const RATE: u64 = 20_000_000;
    let testbed = Testbed::cluster(2).await;
    let [host, other] = [&testbed.hosts[0], &testbed.hosts[1]];
    let boxes = ["slow", "free", "far"].map(|name| testbed.sandbox(name));
    let [slow, free, far] = &boxes;
    let rates = Bandwidth { ingress_rate: RATE, egress_rate: RATE, ..Bandwidth::default() };
    let limited = AttachmentAdd { bandwidth: Some(rates), ..add("slow", slow) };
    let limited = added(host, &limited).await;
    let unlimited = added(host, &add("free", free)).await;
    let far_end = added(other, &add("far", far)).await;
    let of = |one: &AttachmentResource| addresses(&one.endpoint)[0];
    slow.reaches(&[of(&unlimited), of(&far_end)]).await;
    let wanted = RATE as f64;
    let near_it = |what: &str, seen: f64| {
        eprintln!("{what}: {:.1} Mbit/s", seen / 1e6);
        assert!((0.3 * wanted..1.7 * wanted).contains(&seen), "{what}: {seen}");
    };
    near_it("to the limited one", throughput(free, slow, of(&limited)).await);
    near_it("from the limited one", throughput(slow, free, of(&unlimited)).await);
    near_it("from the limited one, over the tunnel", throughput(slow, far, of(&far_end)).await);
    let between = throughput(free, far, of(&far_end)).await;
    assert!(between > 5.0 * wanted, "the others: {between}");

    // What somebody removes by hand comes back.
    let kernel = host.kernel().await;
    let shapers = |kernel: &Kernel| -> Vec<String> {
        kernel.observed.namespaces.values().flat_map(|there| there.shapers.clone()).collect()
    };
    let [shaper] = &shapers(&kernel)[..] else { panic!("one shaper: {kernel:?}") };
    let mut rates = kernel.observed.namespaces.values().flat_map(|there| there.rates.values());
    let both = Some(RATE / 8);
    assert_eq!(rates.next(), Some(&Rates { ingress: both, egress: both }), "as it is read back");
    let network = host.run_dir().join("netns").join(&kernel.pins[0]);
    let network = Namespace::open(network).expect("the network's namespace");
    let mut connection = Connection::open(&network).await.expect("netlink");
    link::remove(&mut connection, shaper).await.expect("it goes");
    drop(connection);
    eventually("the limits are repaired", async || {
        let status = host.client.status().await.ok()?;
        status.counters.get("repaired_limits_missing").filter(|count| **count == 1).map(drop)
    })
    .await;
    near_it("from the limited one, repaired", throughput(slow, free, of(&unlimited)).await);
    let namespaces = host.kernel().await.observed.namespaces;
    let port = namespaces.values().flat_map(|there| there.rates.keys()).next().expect("a port");
    let filter = ["filter", "del", "dev", port, "ingress"];
    let removed = run_in(&network, || Command::new("tc").args(filter).status());
    assert!(removed.expect("the namespace").expect("tc runs").success());
    eventually("what leads to the limit is repaired", async || {
        let status = host.client.status().await.ok()?;
        status.counters.get("repaired_limits_missing").filter(|count| **count == 2).map(drop)
    })
    .await;
    near_it("from the limited one, led again", throughput(slow, free, of(&unlimited)).await);
    gone(host, "slow").await;
    assert!(shapers(&host.kernel().await).is_empty());
}

/// Adds containers at once and returns how long each took.
async fn add_all(host: &Host, boxes: &[Sandbox]) -> Vec<u128> {
    let mut tasks = JoinSet::new();
    for (number, sandbox) in boxes.iter().enumerate() {
        let (client, request) = (host.client.clone(), add(&format!("c{number}"), sandbox));
        tasks.spawn(async move {
            let begun = Instant::now();
            client.add_attachment(&request).await.map(|_| begun.elapsed().as_micros())
        });
    }
    let took = tasks.join_all().await.into_iter().collect::<Called<Vec<_>>>();
    took.expect("all are attached")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_have_an_address_each_and_leave_none_behind() {
    let testbed = Testbed::cluster(1).await;
    let host = &testbed.hosts[0];
    let boxes: Vec<Sandbox> =
        (0..200).map(|number| testbed.sandbox(&format!("c{number}"))).collect();
    let mut took = add_all(host, &boxes).await;
    took.sort_unstable();
    eprintln!("ADD of 200 at once: median {} us, last {} us", took[100], took[199]);
    let found = host.client.attachments(Some("blue")).await.expect("a list");
    let distinct: BTreeSet<IpAddr> =
        found.iter().flat_map(|one| addresses(&one.endpoint)).collect();
    assert_eq!((found.len(), distinct.len()), (200, 200));

    let mut tasks = JoinSet::new();
    for number in 0..200 {
        let client = host.client.clone();
        let of = of_blue(&format!("c{number}"));
        tasks.spawn(async move { client.delete_attachment(&of).await });
    }
    let deleted = tasks.join_all().await.into_iter().collect::<Called<Vec<()>>>();
    deleted.expect("all are gone");
    assert!(host.client.attachments(None).await.expect("a list").is_empty());
    assert_eq!(used(&host.client).await, 1, "the gateway's alone");
    eventually("the host's kernel is clean", async || host.kernel().await.is_clean().then_some(()))
        .await;
}
