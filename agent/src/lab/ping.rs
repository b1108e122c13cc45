//! Pings from inside other network namespaces, many at a time, without a `ping` program.
//!
//! A raw socket belongs to the namespace it was opened in, whoever uses it later. So each source
//! opens its sockets there once, and one task a source sends and listens from here: no thread
//! waits for an answer.

mod packet;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout};
use weft_overlay::netlink::namespace::run_in;
use weft_overlay::netlink::{Namespace, NetlinkError};

use packet::{Echo, Family};

/// Octets asked of the kernel for what has arrived and is not read yet.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Octets of an echo request where the size does not matter, IP header included.
const SMALL: usize = 84;
/// Time that room in a socket's buffer is waited for.
const SEND_MAX: Duration = Duration::from_millis(10);
/// Octets of the largest packet that can be asked for or read.
const PACKET_MAX: usize = 65_535;

/// Why a source could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Namespace(#[from] NetlinkError),
    /// The kernel gave no raw socket.
    #[error("open a raw ICMP socket in `{namespace}`: {error}")]
    Socket {
        /// The namespace.
        namespace: String,
        /// What the kernel said.
        error: io::Error,
    },
}

/// The families a source can ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4 alone.
    V4,
    /// Both.
    Both,
}

/// One address to ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Who should answer.
    pub to: IpAddr,
    /// Octets of the packet with its IP header; `None` is the usual 84. An IPv4 packet has "don't
    /// fragment" set, so one larger than the path takes is not answered.
    pub size: Option<usize>,
}

impl Probe {
    /// A ping of the usual size.
    pub const fn small(to: IpAddr) -> Self {
        Self { to, size: None }
    }

    /// A ping that fills a packet of `mtu` octets.
    pub const fn full(to: IpAddr, mtu: u32) -> Self {
        Self { to, size: Some(mtu as usize) }
    }
}

/// How often and how long to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time between two echo requests to one address.
    pub every: Duration,
    /// Time after which what has not answered will not.
    pub give_up: Duration,
}

/// The first answer to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// When it arrived.
    pub at: Instant,
    /// Time since the request it answers.
    pub round_trip: Duration,
}

/// What a steady stream of pings met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stream {
    /// Requests sent.
    pub sent: u64,
    /// Requests answered.
    pub answered: u64,
    /// The longest time without an answer.
    pub longest_gap: Duration,
}

/// A place to ping from.
#[derive(Debug)]
pub struct Source {
    v4: UdpSocket,
    v6: Option<UdpSocket>,
    identifier: u16,
    start: Instant,
}

impl Source {
    /// Opens sockets in `namespace`. Needs a tokio runtime, and root. Answers go to the source
    /// whose `identifier` asked, so sources in one namespace need different ones.
    ///
    /// # Errors
    /// When the namespace cannot be entered or the kernel gives no socket.
    pub fn open(
        namespace: &Namespace,
        families: Families,
        identifier: u16,
    ) -> Result<Self, PingError> {
        let failed =
            |error| PingError::Socket { namespace: namespace.path().display().to_string(), error };
        let (v4, v6) = run_in(namespace, || {
            let v6 = match families {
                Families::V4 => None,
                Families::Both => Some(open_v6()?),
            };
            Ok((open_v4()?, v6))
        })?
        .map_err(failed)?;
        Ok(Self {
            v4: UdpSocket::from_std(v4).map_err(failed)?,
            v6: v6.map(UdpSocket::from_std).transpose().map_err(failed)?,
            identifier,
            start: Instant::now(),
        })
    }

    /// Pings each address until it answers or the time is up; the answers are in the order of the
    /// probes. One round at a time a source.
    pub async fn round(&self, probes: &[Probe], pace: Pace) -> Vec<Option<Answer>> {
        let begin = Instant::now();
        let deadline = begin + pace.give_up;
        let mut answers = vec![None; probes.len()];
        let mut missing = probes.len();
        let mut next = begin;
        while missing > 0 {
            let now = Instant::now();
            if now >= deadline {
                break;
            }
            if now >= next {
                for (index, probe) in probes.iter().enumerate() {
                    if answers[index].is_none() {
                        self.send(*probe, index as u32).await;
                    }
                }
                next = now + pace.every;
            }
            let arrived = self.arrived(next.min(deadline)).await;
            let at = Instant::now();
            for echo in arrived {
                // An echo of an earlier round, or of a forger, names no open probe of this one.
                let sent = self.start + echo.sent;
                let open = answers.get_mut(echo.index as usize);
                if let Some(open @ None) = open.filter(|_| sent >= begin && sent <= at) {
                    *open = Some(Answer { at, round_trip: at - sent });
                    missing -= 1;
                }
            }
        }
        answers
    }

    /// Pings one address steadily until `stop` is done, then waits at most `grace` for the last
    /// answers.
    pub async fn stream(
        &self,
        to: IpAddr,
        every: Duration,
        grace: Duration,
        stop: impl Future<Output = ()>,
    ) -> Stream {
        let mut seen = Stream::default();
        let begin = Instant::now();
        let (mut last_answer, mut next) = (begin, begin);
        let mut end = None;
        tokio::pin!(stop);
        loop {
            let now = Instant::now();
            if end.is_some_and(|end| now >= end || seen.answered == seen.sent) {
                break;
            }
            if end.is_none() && now >= next {
                self.send(Probe::small(to), seen.sent as u32).await;
                seen.sent += 1;
                next += every;
            }
            let wake = end.unwrap_or(next);
            let arrived = tokio::select! {
                arrived = self.arrived(wake) => arrived,
                () = &mut stop, if end.is_none() => {
                    end = Some(Instant::now() + grace);
                    Vec::new()
                }
            };
            let fresh =
                arrived.iter().filter(|echo| self.start + echo.sent >= begin).count() as u64;
            if fresh > 0 {
                let now = Instant::now();
                seen.answered += fresh;
                seen.longest_gap = seen.longest_gap.max(now - last_answer);
                last_answer = now;
            }
        }
        if seen.answered < seen.sent {
            seen.longest_gap = seen.longest_gap.max(Instant::now() - last_answer - grace);
        }
        seen
    }

    /// Sends an echo request. What the kernel has against it (no route yet, no buffer) is the same
    /// as a lost packet: the next one may do better.
    async fn send(&self, probe: Probe, index: u32) {
        let size = probe.size.unwrap_or(SMALL).min(PACKET_MAX);
        let echo = Echo { index, sent: self.start.elapsed() };
        let (socket, packet) = match (probe.to, &self.v6) {
            (IpAddr::V4(to), _) => (&self.v4, packet::request_v4(to, size, self.identifier, echo)),
            (IpAddr::V6(_), Some(v6)) => (v6, packet::request_v6(size, self.identifier, echo)),
            (IpAddr::V6(_), None) => return,
        };
        let sending = socket.send_to(&packet, SocketAddr::new(probe.to, 0));
        let _ = timeout(SEND_MAX, sending).await;
    }

    /// Waits for echo replies to this source until `wake`; returns as soon as there are any.
    async fn arrived(&self, wake: Instant) -> Vec<Echo> {
        let v6 = async {
            match &self.v6 {
                Some(socket) => read(socket, Family::V6, self.identifier).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            echoes = read(&self.v4, Family::V4, self.identifier) => echoes,
            echoes = v6 => echoes,
            () = sleep_until(wake) => Vec::new(),
        }
    }
}

fn open_v4() -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    // Our own header is the portable way to "don't fragment".
    socket.set_header_included_v4(true)?;
    ready(socket, Ipv4Addr::UNSPECIFIED.into())
}

fn open_v6() -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    ready(socket, Ipv6Addr::UNSPECIFIED.into())
}

/// Makes a raw socket one that tokio waits on. Its type for datagrams does not care which protocol
/// they are of.
fn ready(socket: Socket, any: IpAddr) -> io::Result<std::net::UdpSocket> {
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&SocketAddr::new(any, 0).into())?;
    Ok(socket.into())
}

/// Waits until the socket has something and reads all of it.
async fn read(socket: &UdpSocket, family: Family, identifier: u16) -> Vec<Echo> {
    let mut echoes = Vec::new();
    if socket.readable().await.is_err() {
        return echoes;
    }
    let mut buffer = vec![0; PACKET_MAX];
    loop {
        match socket.try_recv(&mut buffer) {
            Ok(length) => echoes.extend(packet::reply(family, &buffer[..length], identifier)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return echoes,
            // An ICMP error about an earlier packet; reading it cleared it.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
