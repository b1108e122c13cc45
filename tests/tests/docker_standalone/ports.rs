//! Published ports, through the engine's own bridge and through Weft's way out.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::run_in;
use weft_tests::testbed::{Container, PATIENCE, Shared};

const WAIT: Duration = Duration::from_millis(500);

/// Answers on a port of a container with the port's number, for as long as the test runs. (The
/// image has no server for UDP. What counts is whose namespace the socket is in.)
fn serve(container: &Container, port: u16) {
    let sandbox = container.sandbox();
    let bound = run_in(sandbox.namespace(), || {
        let tcp = TcpListener::bind(("::", port)).expect("a port that is free");
        (tcp, UdpSocket::bind(("::", port)).expect("a port that is free"))
    });
    let (tcp, udp) = bound.expect("the namespace");
    thread::spawn(move || {
        for stream in tcp.incoming() {
            // Who connected to see whether anybody listens is gone by now.
            let _ = stream.and_then(|mut stream| stream.write_all(port.to_string().as_bytes()));
        }
    });
    thread::spawn(move || {
        let mut question = [0; 16];
        while let Ok((_, from)) = udp.recv_from(&mut question) {
            let _ = udp.send_to(port.to_string().as_bytes(), from);
        }
    });
}

fn ask_tcp(to: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn ask_udp(to: SocketAddr) -> std::io::Result<String> {
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.connect(to)?;
    socket.send(b"?")?;
    let mut answer = [0; 16];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

type Ask = fn(SocketAddr) -> std::io::Result<String>;

/// Asks from a host until the port of the container answers that is meant.
fn answers(from: &Namespace, ask: Ask, to: (IpAddr, u16), port: u16) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = run_in(from, || ask(to.into())).expect("the namespace");
        match answer {
            Ok(text) if text == port.to_string() => return,
            answer => assert!(Instant::now() < deadline, "{to:?} for {port}: {answer:?}"),
        }
    }
}

fn is_silent(from: &Namespace, ask: Ask, to: (IpAddr, u16)) {
    let answer = run_in(from, || ask(to.into())).expect("the namespace");
    assert!(!matches!(&answer, Ok(text) if !text.is_empty()), "{to:?} answers: {answer:?}");
}

/// Publishes ports in each way and asks for them from another host; `first` is the first of the
/// host's ports.
async fn ports_are_published(network: &str, more: &[&str], first: u16) {
    let docker = Shared::docker().await;
    let engine = &docker.engines[0];
    let host = &docker.testbed.hosts[0];
    let from = &docker.testbed.hosts[1].namespace;
    let [address, other] = [host.address(), IpAddr::from([127, 0, 0, 1])];
    engine.create_network(network, more);
    let last = first + 2;
    let ranges = format!("{first}-{last}:8000-8002");
    let udp = format!("{first}:53/udp");
    let bound = format!("{address}:{}:81", first + 3);
    let hidden = format!("{other}:{}:82", first + 4);
    let publish = ["-p", &ranges, "-p", &udp, "-p", &bound, "-p", &hidden];
    let container = engine.run(&[&["--network", network], &publish[..]].concat());
    for port in [8000, 8001, 8002, 53, 81, 82] {
        serve(&container, port);
    }
    for number in 0..=2 {
        answers(from, ask_tcp, (address, first + number), 8000 + number);
    }
    answers(from, ask_udp, (address, first), 53);
    answers(from, ask_tcp, (address, first + 3), 81);
    answers(&host.namespace, ask_tcp, (address, first + 3), 81);
    is_silent(from, ask_tcp, (address, first + 4));
    is_silent(from, ask_udp, (address, first + 1));
    // A way out is there too.
    container.sandbox().reaches(&[docker.testbed.hosts[2].address()]).await;
    container.remove();
    is_silent(from, ask_tcp, (address, first));
    // The ports are free again.
    let again = engine.run(&[&["--network", network], &publish[..]].concat());
    serve(&again, 8000);
    answers(from, ask_tcp, (address, first), 8000);
    again.remove();
    engine.remove_network(network);
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_published_through_the_engines_own_bridge() {
    ports_are_published("by-engine", &[], 18_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_published_through_wefts_way_out() {
    ports_are_published("by-weft", &["--opt", "gateway=weft"], 18_100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wefts_way_out_publishes_in_both_families_and_on_an_address_of_either() {
    let docker = Shared::docker().await;
    let (engine, host) = (&docker.engines[0], &docker.testbed.hosts[0]);
    let from = &docker.testbed.hosts[1].namespace;
    let [v4, v6] = host.addresses();
    engine.create_network("both", &["--ipv6", "--opt", "gateway=weft"]);
    let bound = format!("[{v6}]:18301:81");
    let publish = ["-p", "18300:80", "-p", "18300:53/udp", "-p", &bound];
    let container = engine.run(&[&["--network", "both"], &publish[..]].concat());
    for port in [80, 53, 81] {
        serve(&container, port);
    }
    for address in [v4, v6] {
        answers(from, ask_tcp, (address, 18_300), 80);
        answers(from, ask_udp, (address, 18_300), 53);
    }
    answers(from, ask_tcp, (v6, 18_301), 81);
    is_silent(from, ask_tcp, (v4, 18_301));
    container.remove();
    for address in [v4, v6] {
        is_silent(from, ask_tcp, (address, 18_300));
    }
    engine.remove_network("both");
}

/// An engine does not read what a remote driver tells of ports: it shows none of `gateway=weft`.
#[tokio::test(flavor = "multi_thread")]
async fn the_engine_shows_the_ports_it_publishes_itself() {
    let docker = Shared::docker().await;
    let engine = &docker.engines[0];
    engine.create_network("shown", &[]);
    let container = engine.run(&["--network", "shown", "-p", "18200:80"]);
    let shown = engine.docker(&["port", &container.id]).stdout;
    assert!(shown.contains("80/tcp -> 0.0.0.0:18200"), "{shown}");
    container.remove();
    engine.remove_network("shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_wefts_way_out_a_container_has_no_leg_on_the_engines_bridge() {
    let docker = Shared::docker().await;
    let engine = &docker.engines[0];
    engine.create_network("one-leg", &["--opt", "gateway=weft"]);
    let container = engine.run(&["--network", "one-leg"]);
    let links = container.sandbox().links().await;
    assert_eq!(links.len(), 2, "lo and eth0: {links:?}");
    assert!(container.exec(&["ip", "route"]).contains("default via"));
    container.sandbox().reaches(&[docker.testbed.hosts[1].address()]).await;
    container.remove();
    engine.remove_network("one-leg");
}
