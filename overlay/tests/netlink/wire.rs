//! Packets: echo requests by a raw socket, datagrams and streams to an echoing server.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::run_in;

/// How long an answer may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// How long silence has to last to count as "no answer".
const SILENCE: Duration = Duration::from_millis(400);

/// Sends echo requests until one is answered, for at most [`PATIENCE`].
pub(crate) fn pings(from: &Namespace, to: IpAddr) -> bool {
    ping(from, to, 56, PATIENCE).is_ok()
}

/// True when no echo request is answered for [`SILENCE`].
pub(crate) fn is_silent(from: &Namespace, to: IpAddr) -> bool {
    ping(from, to, 56, SILENCE).is_err()
}

/// Sends echo requests with so many octets of payload, each for a quarter of the patience.
pub(crate) fn ping(
    from: &Namespace,
    to: IpAddr,
    payload: usize,
    patience: Duration,
) -> std::io::Result<()> {
    run_in(from, || {
        let (domain, protocol) = match to {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.set_read_timeout(Some(patience / 4))?;
        socket.connect(&SocketAddr::new(to, 0).into())?;
        let end = Instant::now() + patience;
        let mut sequence = 0u16;
        while Instant::now() < end {
            sequence += 1;
            (&socket).write_all(&echo_request(to, sequence, payload))?;
            let mut buffer = [0; 2048];
            // Any answer from there counts; other packets are read past.
            while let Ok(length) = (&socket).read(&mut buffer) {
                if is_reply(to, &buffer[..length]) {
                    return Ok(());
                }
            }
        }
        Err(std::io::ErrorKind::TimedOut.into())
    })
    .unwrap()
}

fn echo_request(to: IpAddr, sequence: u16, payload: usize) -> Vec<u8> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let mut packet = vec![kind, 0, 0, 0, 0x77, 0x65];
    packet.extend(sequence.to_be_bytes());
    packet.resize(8 + payload, 0x5a);
    if to.is_ipv4() {
        // Over IPv6 the kernel writes the sum.
        let sum = checksum(&packet).to_be_bytes();
        packet[2..4].copy_from_slice(&sum);
    }
    packet
}

fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

fn is_reply(to: IpAddr, packet: &[u8]) -> bool {
    match to {
        // A raw IPv4 socket reads the IP header, too.
        IpAddr::V4(_) => packet.get(20) == Some(&0),
        IpAddr::V6(_) => packet.first() == Some(&129),
    }
}

/// Sends one datagram of this size and returns who answered it, as the server saw the sender.
pub(crate) fn udp_round_trip(
    from: &Namespace,
    at: &Namespace,
    to: IpAddr,
    size: usize,
) -> std::io::Result<SocketAddr> {
    let server = run_in(at, || UdpSocket::bind(SocketAddr::new(to, 0))).unwrap()?;
    server.set_read_timeout(Some(PATIENCE))?;
    let target = server.local_addr()?;
    let client = run_in(from, || {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
        UdpSocket::bind(SocketAddr::new(any, 0))
    })
    .unwrap()?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.send_to(&vec![1; size], target)?;
    let mut buffer = vec![0; 65536];
    let (length, seen) = server.recv_from(&mut buffer)?;
    assert_eq!(length, size, "the datagram arrived whole");
    server.send_to(&buffer[..length], seen)?;
    let (length, _) = client.recv_from(&mut buffer)?;
    assert_eq!(length, size, "the answer arrived whole");
    Ok(seen)
}

/// Sends a megabyte over TCP and reads it back.
pub(crate) fn tcp_round_trip(from: &Namespace, at: &Namespace, to: IpAddr) -> std::io::Result<()> {
    const MEGABYTE: usize = 1 << 20;
    let server = run_in(at, || TcpListener::bind(SocketAddr::new(to, 0))).unwrap()?;
    let target = server.local_addr()?;
    let echo = thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = server.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut received = vec![0; MEGABYTE];
        stream.read_exact(&mut received)?;
        stream.write_all(&received)
    });
    let sent = vec![7; MEGABYTE];
    let mut stream = run_in(from, || TcpStream::connect_timeout(&target, PATIENCE)).unwrap()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&sent)?;
    let mut received = vec![0; MEGABYTE];
    stream.read_exact(&mut received)?;
    assert!(received == sent, "the octets came back as they were sent");
    echo.join().unwrap()
}

/// Binds to a port whose last holder has let go of it. A child that another test has forked holds
/// copies of all sockets until it runs its program.
pub(crate) fn bind_soon<T: Send>(
    at: &Namespace,
    bind: impl Fn() -> std::io::Result<T> + Sync,
) -> std::io::Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match run_in(at, &bind).unwrap() {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < end => {
                thread::yield_now();
            }
            bound => return bound,
        }
    }
}

/// Connects to `ask` while a server listens at `serve`; returns who it saw, after a word each way.
pub(crate) fn tcp_seen(
    (from, ask): (&Namespace, SocketAddr),
    (at, serve): (&Namespace, SocketAddr),
) -> std::io::Result<SocketAddr> {
    let server = Socket::from(bind_soon(at, || TcpListener::bind(serve))?);
    server.set_read_timeout(Some(PATIENCE))?;
    let mut client = run_in(from, || TcpStream::connect_timeout(&ask, PATIENCE)).unwrap()?;
    client.set_read_timeout(Some(PATIENCE))?;
    let (mut accepted, seen) = TcpListener::from(server).accept()?;
    accepted.set_read_timeout(Some(PATIENCE))?;
    let mut word = [0; 4];
    client.write_all(b"ping")?;
    accepted.read_exact(&mut word)?;
    accepted.write_all(b"pong")?;
    client.read_exact(&mut word)?;
    assert_eq!(&word, b"pong");
    Ok(seen)
}

/// The same with datagrams; the client takes an answer from whom it asked alone.
pub(crate) fn udp_seen(
    (from, ask): (&Namespace, SocketAddr),
    (at, serve): (&Namespace, SocketAddr),
) -> std::io::Result<SocketAddr> {
    let server = bind_soon(at, || UdpSocket::bind(serve))?;
    server.set_read_timeout(Some(PATIENCE))?;
    let client = run_in(from, || {
        let any: IpAddr = if ask.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
        let client = UdpSocket::bind(SocketAddr::new(any, 0))?;
        client.connect(ask).map(|()| client)
    })
    .unwrap()?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.send(b"ping")?;
    let mut word = [0; 4];
    let (_, seen) = server.recv_from(&mut word)?;
    server.send_to(b"pong", seen)?;
    client.recv(&mut word)?;
    assert_eq!(&word, b"pong");
    Ok(seen)
}

/// True when nobody accepts a connection at an address, for [`SILENCE`].
pub(crate) fn is_closed(from: &Namespace, to: SocketAddr) -> bool {
    run_in(from, || TcpStream::connect_timeout(&to, SILENCE)).unwrap().is_err()
}

/// Sends one IPv4 packet of this whole length with DF set, header and all.
pub(crate) fn send_with_df(from: &Namespace, to: IpAddr, length: usize) -> std::io::Result<()> {
    const DONT_FRAGMENT: u8 = 0x40;
    const ICMP: u8 = 1;
    let IpAddr::V4(destination) = to else { panic!("{to} is not IPv4") };
    let request = echo_request(to, 1, length - 28);
    // The kernel fills in length, sum and source.
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, DONT_FRAGMENT, 0, 64, ICMP, 0, 0, 0, 0, 0, 0];
    packet.extend(destination.octets());
    packet.extend(request);
    run_in(from, || {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        socket.set_header_included_v4(true)?;
        socket.send_to(&packet, &SocketAddr::new(to, 0).into()).map(drop)
    })
    .unwrap()
}

/// The octets that [`shout`] sends.
const SHOUT: &[u8] = b"is anybody there?";

/// Sends one datagram to a broadcast or multicast address.
pub(crate) fn shout(from: &Namespace, to: IpAddr) {
    let socket = run_in(from, || UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    socket.set_broadcast(true).unwrap();
    socket.send_to(SHOUT, SocketAddr::new(to, 9999)).unwrap();
}

/// Reads every frame that arrives in a namespace, whomever it is for.
pub(crate) struct Listener(Socket);

impl Listener {
    pub(crate) fn in_namespace(namespace: &Namespace) -> Self {
        // ETH_P_ALL in network byte order, as the protocol of a packet socket.
        let everything = Protocol::from(i32::from(3u16.to_be()));
        let open = || Socket::new(Domain::PACKET, Type::RAW, Some(everything));
        let socket = run_in(namespace, open).unwrap().unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// How many of the frames seen so far were for this MAC.
    pub(crate) fn frames_to(&self, mac: weft_api::Mac) -> usize {
        self.frames().iter().filter(|frame| frame.starts_with(&mac.octets())).count()
    }

    /// How many of the frames seen so far were shouts.
    pub(crate) fn shouts(&self) -> usize {
        self.frames().iter().filter(|frame| frame.ends_with(SHOUT)).count()
    }

    /// How many of the frames seen so far hold this MAC anywhere.
    pub(crate) fn frames_about(&self, mac: weft_api::Mac) -> usize {
        let octets = mac.octets();
        let about = |frame: &&Vec<u8>| frame.windows(octets.len()).any(|w| w == octets);
        self.frames().iter().filter(about).count()
    }

    fn frames(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut buffer = [0; 2048];
        while let Ok(length) = (&self.0).read(&mut buffer) {
            frames.push(buffer[..length].to_vec());
        }
        frames
    }
}
