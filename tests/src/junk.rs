//! What somebody without the key can send to the gossip port.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weft_api::ClusterId;

/// Bytes of a datagram, as large as gossip's usually are.
const LENGTH: usize = 300;
/// The version and the kind that an envelope begins with.
const BEGIN: [u8; 2] = [1, 1];

/// How far a datagram looks like a real one.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Not at all.
    Noise,
    /// Its header is one of this cluster; only the seal tells.
    Forged(ClusterId),
}

/// Makes datagrams, from a seed.
#[derive(Debug)]
pub struct Junk {
    kind: Kind,
    rng: ChaCha8Rng,
    bytes: [u8; LENGTH],
}

impl Junk {
    /// Begins anew.
    pub fn new(kind: Kind) -> Self {
        Self { kind, rng: ChaCha8Rng::seed_from_u64(1), bytes: [0; LENGTH] }
    }

    /// The next datagram.
    pub fn datagram(&mut self) -> &[u8] {
        self.rng.fill_bytes(&mut self.bytes);
        match self.kind {
            Kind::Noise => {}
            Kind::Forged(cluster) => {
                self.bytes[..2].copy_from_slice(&BEGIN);
                self.bytes[2..18].copy_from_slice(cluster.as_bytes());
            }
        }
        &self.bytes
    }

    /// Sends as fast as the socket takes it; returns how many left.
    ///
    /// # Errors
    /// When the socket refuses for another reason than that it is full.
    pub fn flood(&mut self, socket: &UdpSocket, to: SocketAddr, time: Duration) -> io::Result<u64> {
        let end = Instant::now() + time;
        let mut sent = 0;
        while Instant::now() < end {
            match socket.send_to(self.datagram(), to) {
                Ok(_) => sent += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }
}
