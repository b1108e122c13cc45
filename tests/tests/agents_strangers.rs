//! Somebody on the underlay who has no key: what it records is unreadable and worth nothing later,
//! and what it sends changes nothing.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use weft_api::control::{ListFilter, MemberState, NetworkCreate};
use weft_overlay::netlink::namespace::run_in;
use weft_tests::junk::{Junk, Kind};
use weft_tests::testbed::tap::{Carrier, Tap, streams};
use weft_tests::testbed::{GOSSIP_PORT, Host, Testbed, addresses, eventually, knows};

/// A name that is found if it is anywhere in clear.
const NAME: &str = "a-name-in-clear";

/// What a host knows, as text.
async fn state(host: &Host) -> String {
    let networks = host.client.networks(&ListFilter::default()).await.expect("networks");
    let endpoints = host.client.endpoints(None, &ListFilter::default()).await.expect("endpoints");
    let members = host.client.members().await.expect("members");
    let members: Vec<_> = members.iter().map(|member| (member.id, member.state)).collect();
    format!("{networks:?} {endpoints:?} {members:?}")
}

async fn counter(host: &Host, name: &str) -> u64 {
    let status = host.client.status().await.expect("status");
    status.counters.get(name).copied().unwrap_or_default()
}

fn gossip(host: &Host) -> SocketAddr {
    SocketAddr::new(host.address(), GOSSIP_PORT)
}

/// A socket of the stranger.
fn socket(host: &Host) -> UdpSocket {
    let bind = || UdpSocket::bind((IpAddr::from([0, 0, 0, 0]), 0));
    run_in(&host.namespace, bind).expect("the namespace").expect("a socket")
}

/// Says again what was recorded of a stream; returns when the other end has closed.
fn repeat(host: &Host, to: SocketAddr, recorded: &[u8]) {
    let dial = || TcpStream::connect(to);
    let mut stream = run_in(&host.namespace, dial).expect("the namespace").expect("a stream");
    stream.set_read_timeout(Some(weft_tests::testbed::PATIENCE)).expect("an option");
    // It may close before it has all of it.
    let _ = stream.write_all(recorded);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_is_unreadable_and_worth_nothing_later() {
    let mut testbed = Testbed::cluster(2).await;
    let tap = Tap::on(&testbed.hosts[0].namespace);
    let joiner = testbed.add_host().await;
    testbed.hosts[joiner].start(&[]);
    testbed.hosts[joiner].answers().await;
    testbed.join(joiner).await;
    testbed.settled().await;
    testbed.hosts[0].client.create_network(&NetworkCreate::named(NAME)).await.expect(NAME);
    for host in &testbed.hosts {
        knows(&host.client, NAME).await;
    }
    let (here, one) = testbed.attach(0, NAME, "one").await;
    let (there, two) = testbed.attach(joiner, NAME, "two").await;
    here.reaches(&addresses(&two)).await;
    there.reaches(&addresses(&one)).await;
    let overheard = tap.end();

    let target = gossip(&testbed.hosts[0]);
    let is_gossip = |address: SocketAddr| address.port() == GOSSIP_PORT;
    let gossip: Vec<_> =
        overheard.iter().filter(|packet| is_gossip(packet.from) || is_gossip(packet.to)).collect();
    let datagrams: Vec<_> = gossip
        .iter()
        .filter(|packet| packet.carrier == Carrier::Udp && packet.to == target)
        .collect();
    let streams = streams(&overheard, target);
    assert!(datagrams.len() > 5, "{} datagrams", datagrams.len());
    let lengths: Vec<usize> = streams.iter().map(Vec::len).collect();
    assert!(lengths.iter().any(|length| *length > 100), "the joiner's, at least: {lengths:?}");
    for packet in &gossip {
        let is_name = |window: &[u8]| window == NAME.as_bytes();
        assert!(!packet.payload.windows(NAME.len()).any(is_name), "{packet:?}");
    }

    let stranger = testbed.add_host().await;
    let victim = &testbed.hosts[0];
    let before = state(victim).await;
    let replayed = counter(victim, "gossip_replayed").await;
    let socket = socket(&testbed.hosts[stranger]);
    for packet in &datagrams {
        socket.send_to(&packet.payload, target).expect("it leaves");
    }
    for stream in &streams {
        tokio::task::block_in_place(|| repeat(&testbed.hosts[stranger], target, stream));
    }
    eventually("repeats are counted", async || {
        (counter(victim, "gossip_replayed").await > replayed).then_some(())
    })
    .await;
    testbed.settled().await;
    assert_eq!(state(victim).await, before);
    // A start later they are worth as little.
    testbed.hosts[0].stop();
    testbed.hosts[0].start(&[]);
    testbed.hosts[0].answers().await;
    testbed.settled().await;
    for packet in &datagrams {
        socket.send_to(&packet.payload, target).expect("it leaves");
    }
    for stream in &streams {
        tokio::task::block_in_place(|| repeat(&testbed.hosts[stranger], target, stream));
    }
    testbed.settled().await;
    assert_eq!(state(&testbed.hosts[0]).await, before);
    here.reaches(&addresses(&two)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_stranger_that_say_nothing_keep_no_member_out() {
    const SILENT: usize = 200;
    let mut testbed = Testbed::cluster(1).await;
    let stranger = testbed.add_host().await;
    let to = gossip(&testbed.hosts[0]);
    let dial = || -> Vec<TcpStream> {
        (0..SILENT).map(|_| TcpStream::connect(to).expect("it listens")).collect()
    };
    let namespace = &testbed.hosts[stranger].namespace;
    let silent = tokio::task::block_in_place(|| run_in(namespace, dial)).expect("the namespace");
    let joiner = testbed.add_host().await;
    testbed.hosts[joiner].start(&[]);
    testbed.hosts[joiner].answers().await;
    testbed.join(joiner).await;
    drop(silent);
    let members = testbed.hosts[0].client.members().await.expect("members");
    assert_eq!(members.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_changes_nothing_and_holds_up_no_call() {
    const FLOOD: Duration = Duration::from_secs(2);
    let mut testbed = Testbed::cluster(2).await;
    testbed.hosts[0].client.create_network(&NetworkCreate::named("blue")).await.expect("blue");
    let (here, one) = testbed.attach(0, "blue", "one").await;
    let (there, two) = testbed.attach(1, "blue", "two").await;
    here.reaches(&addresses(&two)).await;
    let stranger = testbed.add_host().await;
    let victim = &testbed.hosts[0];
    let before = state(victim).await;
    let cluster = victim.client.status().await.expect("status").cluster.expect("a cluster");
    for kind in [Kind::Noise, Kind::Forged(cluster)] {
        let (socket, to) = (socket(&testbed.hosts[stranger]), gossip(victim));
        let flood = tokio::task::spawn_blocking(move || Junk::new(kind).flood(&socket, to, FLOOD));
        while !flood.is_finished() {
            victim.client.status().await.expect("it answers");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(flood.await.expect("the flood").expect("it leaves") > 1000);
    }
    for name in ["gossip_other_version", "gossip_bad_auth", "datagrams_held"] {
        assert!(counter(victim, name).await > 0, "{name}");
    }
    // Who was not heard in all that noise is heard again.
    eventually("all are alive", async || {
        let mut all = Vec::new();
        for host in &testbed.hosts[..2] {
            all.extend(host.client.members().await.ok()?);
        }
        all.iter().all(|member| member.state == MemberState::Alive).then_some(())
    })
    .await;
    assert_eq!(state(victim).await, before);
    here.reaches(&addresses(&two)).await;
    there.reaches(&addresses(&one)).await;
}
