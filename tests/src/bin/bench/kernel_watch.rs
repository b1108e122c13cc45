//! Hears from the kernel itself when a forwarding or neighbour entry is in it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;
use tokio::sync::mpsc;
use weft_api::Mac;
use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::run_in;

/// RTMGRP_NEIGH of rtnetlink(7).
const NEIGHBOURS: u32 = 4;
const RTM_NEWNEIGH: u16 = 28;
const NDA_LLADDR: u16 = 2;
const AF_BRIDGE: u8 = 7;
/// Octets of `nlmsghdr` and of `ndmsg`.
const HEADER: usize = 16;
const NDMSG: usize = 12;
/// Octets the kernel may hold for us: all of 10,000 peers at once.
const RECEIVE_BUFFER: usize = 64 << 20;
const LOOK_EVERY_MS: i64 = 50;

/// Which of its tables an entry is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A VXLAN or bridge forwarding entry.
    Forwarding,
    /// A neighbour (ARP, ND).
    Neighbour,
}

/// An entry that is in the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) at: Instant,
    pub(crate) kind: Kind,
    pub(crate) mac: Mac,
}

/// Listens until dropped.
#[derive(Debug)]
pub(crate) struct KernelWatch {
    entries: mpsc::UnboundedReceiver<Entry>,
    stop: Arc<AtomicBool>,
}

impl Drop for KernelWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl KernelWatch {
    pub(crate) fn open(namespace: &Namespace) -> anyhow::Result<Self> {
        let socket = run_in(namespace, || {
            socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::NetlinkRoute,
            )
        })??;
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, LOOK_EVERY_MS * 1000))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, NEIGHBOURS))?;
        let (sender, entries) = mpsc::unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        std::thread::spawn(move || listen(&socket, &stopped, &sender));
        Ok(Self { entries, stop })
    }

    /// Waits for the next entry.
    pub(crate) async fn next(&mut self, limit: Duration) -> anyhow::Result<Entry> {
        let entry = tokio::time::timeout(limit, self.entries.recv()).await?;
        entry.ok_or_else(|| anyhow::anyhow!("the kernel lost notifications"))
    }

    /// Waits until both entries of a peer are there; returns when the later one was.
    pub(crate) async fn both_of(&mut self, mac: Mac, limit: Duration) -> anyhow::Result<Instant> {
        let (mut forwarding, mut neighbour) = (None, None);
        loop {
            if let Some((forwarding, neighbour)) = forwarding.zip(neighbour) {
                return Ok(Instant::max(forwarding, neighbour));
            }
            let Entry { at, kind, mac: of } = self.next(limit).await?;
            match kind {
                _ if of != mac => {}
                Kind::Forwarding => forwarding = forwarding.or(Some(at)),
                Kind::Neighbour => neighbour = neighbour.or(Some(at)),
            }
        }
    }

    /// Forgets what came until now.
    pub(crate) fn skip(&mut self) {
        while self.entries.try_recv().is_ok() {}
    }
}

/// Ends when told to, or when the kernel had more than it could hold for us.
fn listen(socket: &OwnedFd, stop: &AtomicBool, sender: &mpsc::UnboundedSender<Entry>) {
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        let length = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            Err(error) => {
                eprintln!("bench: {}", io::Error::from(error));
                return;
            }
        };
        let at = Instant::now();
        for (kind, mac) in entries(&buffer[..length]) {
            // The bench is done when nobody listens.
            let _ = sender.send(Entry { at, kind, mac });
        }
    }
}

/// Reads RTM_NEWNEIGH messages out of a datagram.
fn entries(mut bytes: &[u8]) -> Vec<(Kind, Mac)> {
    let mut found = Vec::new();
    while let Some((length, kind)) = u32_at(bytes, 0).zip(u16_at(bytes, 4)) {
        let length = length as usize;
        let Some(message) = bytes.get(..length).filter(|_| length >= HEADER) else { break };
        if kind == RTM_NEWNEIGH
            && let Some(family) = message.get(HEADER)
            && let Some(mac) = message.get(HEADER + NDMSG..).and_then(link_address)
        {
            let kind = if *family == AF_BRIDGE { Kind::Forwarding } else { Kind::Neighbour };
            found.push((kind, mac));
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn link_address(mut attributes: &[u8]) -> Option<Mac> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let attribute = attributes.get(..length).filter(|_| length >= 4)?;
        if u16_at(attributes, 2)? == NDA_LLADDR {
            return Some(Mac::from_bytes(attribute.get(4..10)?.try_into().ok()?));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
