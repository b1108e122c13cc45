//! What is on the wire of a host, as an onlooker records it.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::run_in;

/// Longer than any packet, also one that the kernel cuts later.
const PACKET_MAX: usize = 70_000;
const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Which protocol carried a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A segment of a stream, and where in it.
    Tcp(u32),
    /// A datagram.
    Udp,
}

/// What one packet carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overheard {
    /// By which protocol.
    pub carrier: Carrier,
    /// Who sent it.
    pub from: SocketAddr,
    /// Whom to.
    pub to: SocketAddr,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// A recording under way.
#[derive(Debug)]
pub struct Tap {
    ends: Arc<AtomicBool>,
    work: JoinHandle<Vec<Overheard>>,
}

impl Tap {
    /// Records what leaves and enters a namespace, on all of its links.
    ///
    /// # Panics
    /// Without the right to.
    pub fn on(namespace: &Namespace) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let open = || socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
        let socket = run_in(namespace, open).expect("the namespace").expect("a packet socket");
        // So that the end is seen, also when nothing comes.
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(50))
            .expect("an option");
        let ends = Arc::new(AtomicBool::new(false));
        let work = std::thread::spawn({
            let ends = ends.clone();
            move || record(&socket, &ends)
        });
        Self { ends, work }
    }

    /// Ends, and returns what was overheard.
    ///
    /// # Panics
    /// When the recording failed.
    pub fn end(self) -> Vec<Overheard> {
        self.ends.store(true, Ordering::Relaxed);
        self.work.join().expect("the recording")
    }
}

fn record(socket: &OwnedFd, ends: &AtomicBool) -> Vec<Overheard> {
    let mut buffer = vec![0; PACKET_MAX];
    let mut all = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => all.extend(read(&buffer[..length])),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
            Err(error) => panic!("the packet socket: {error}"),
        }
    }
    all
}

/// Reads a frame; `None` when it carries no bytes by UDP or TCP over IPv4.
fn read(frame: &[u8]) -> Option<Overheard> {
    let packet = frame.get(ETHERNET..).filter(|_| frame[12..14] == IPV4)?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let segment = packet.get(header..total)?;
    let address = |at: usize| packet.get(at..at + 4)?.first_chunk().map(|b| Ipv4Addr::from(*b));
    let port = |at: usize| segment.get(at..at + 2)?.first_chunk().map(|b| u16::from_be_bytes(*b));
    let from = SocketAddr::new(address(12)?.into(), port(0)?);
    let to = SocketAddr::new(address(16)?.into(), port(2)?);
    let (carrier, begin) = match *packet.get(9)? {
        UDP => (Carrier::Udp, 8),
        TCP => {
            let at = segment.get(4..8)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))?;
            (Carrier::Tcp(at), usize::from(segment.get(12)? >> 4) * 4)
        }
        _ => return None,
    };
    let payload = segment.get(begin..).filter(|payload| !payload.is_empty())?.to_vec();
    Some(Overheard { carrier, from, to, payload })
}

/// What one end sent in each of its streams to another, in order and without repeats.
pub fn streams(overheard: &[Overheard], to: SocketAddr) -> Vec<Vec<u8>> {
    let mut senders: Vec<SocketAddr> = Vec::new();
    for packet in overheard.iter().filter(|packet| packet.to == to) {
        if packet.carrier != Carrier::Udp && !senders.contains(&packet.from) {
            senders.push(packet.from);
        }
    }
    senders.into_iter().map(|from| stream(overheard, from, to)).collect()
}

fn stream(overheard: &[Overheard], from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut next = None;
    let mut bytes = Vec::new();
    for packet in overheard.iter().filter(|packet| packet.from == from && packet.to == to) {
        let Carrier::Tcp(at) = packet.carrier else { continue };
        if next.is_none_or(|next| next == at) {
            bytes.extend_from_slice(&packet.payload);
            next = Some(at.wrapping_add(u32::try_from(packet.payload.len()).expect("a packet")));
        }
    }
    bytes
}
