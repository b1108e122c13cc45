//! Streams between agents: Noise (`NNpsk0`, the cluster key) over TCP, and frames inside.
//!
//! ```text
//! hello   "WEFT" | version u8 | cluster id 16 | key id u8 | Noise message 1 (48)
//! reply   0 u8 | Noise message 2 (48)          or one byte that says why not
//! then    length u16 | Noise message           (at most 65,535 bytes each)
//! frame   length u32 | bytes                   (inside, over as many messages as it takes)
//! ```
//! A refusal is one byte, shorter than any hello, so a stranger gains nothing by asking.
//!
//! The key id of a hello says which key to try first. It is a guess where its sender has the key of
//! a token, which does not tell the id, so the other keys of the ring are tried, too.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use snow::{Builder, HandshakeState, StatelessTransportState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use weft_api::ClusterId;
use weft_networkdb::{Fingerprint, Key, KeyRing};

/// The layout above.
pub const VERSION: u8 = 1;
/// The longest frame either side accepts, in bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one write may wait for a peer that does not read.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

const MAGIC: &[u8; 4] = b"WEFT";
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
const PREAMBLE_BYTES: usize = 4 + 1 + 16 + 1;
const HANDSHAKE_BYTES: usize = 48;
const MESSAGE_BYTES_MAX: usize = 65_535;
const TAG_BYTES: usize = 16;

const OK: u8 = 0;
const FOREIGN_CLUSTER: u8 = 1;
const OTHER_VERSION: u8 = 2;
const UNKNOWN_KEY: u8 = 3;

/// Why there is no stream. Nothing of either node's state was touched.
#[derive(Debug, thiserror::Error)]
pub enum NoiseError {
    /// TCP failed, or the peer closed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The peer took too long.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The other side does not speak this protocol.
    #[error("the other side is not a Weft agent")]
    NotWeft,
    /// The other side belongs to another cluster.
    #[error("the other side belongs to another cluster")]
    ForeignCluster,
    /// The other side speaks another version.
    #[error("the other side speaks another protocol version")]
    OtherVersion,
    /// No key is known to both.
    #[error("the other side does not accept our key")]
    WrongKey,
    /// A frame longer than [`FRAME_BYTES_MAX`] was announced or asked for.
    #[error("frame of {0} bytes is over the limit")]
    FrameTooLong(usize),
    /// A message that does not decrypt.
    #[error("a message was damaged or forged")]
    Damaged,
}

/// What both ends must share.
#[derive(Clone)]
pub struct Secrets {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its keys; the first is the one to speak with.
    pub keys: KeyRing,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({:?}, {} keys)", self.cluster, self.keys.iter().count())
    }
}

impl Secrets {
    fn preamble(&self, key_id: u8) -> [u8; PREAMBLE_BYTES] {
        let mut bytes = [0; PREAMBLE_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4] = VERSION;
        bytes[5..21].copy_from_slice(self.cluster.as_bytes());
        bytes[21] = key_id;
        bytes
    }

    /// The keys to try on what names this id, that of the id first.
    fn candidates(&self, key_id: u8) -> impl Iterator<Item = &Key> {
        let (named, others): (Vec<_>, Vec<_>) = self.keys.iter().partition(|(id, _)| *id == key_id);
        named.into_iter().chain(others).map(|(_, key)| key)
    }
}

/// Shakes hands as the one who called, with one key of the ring.
///
/// # Errors
/// See [`NoiseError`]; the connection is closed.
pub async fn connect(
    tcp: TcpStream,
    secrets: &Secrets,
    key: (u8, &Key),
) -> Result<(Reader, Writer), NoiseError> {
    within(HANDSHAKE_TIMEOUT, initiate(tcp, secrets, key)).await
}

/// Shakes hands as the one who was called.
///
/// # Errors
/// See [`NoiseError`]; a stranger was answered with one byte.
pub async fn accept(tcp: TcpStream, secrets: &Secrets) -> Result<(Reader, Writer), NoiseError> {
    within(HANDSHAKE_TIMEOUT, respond(tcp, secrets)).await
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, NoiseError>>,
) -> Result<T, NoiseError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(NoiseError::Timeout(limit)))
}

async fn initiate(
    mut tcp: TcpStream,
    secrets: &Secrets,
    (key_id, key): (u8, &Key),
) -> Result<(Reader, Writer), NoiseError> {
    tcp.set_nodelay(true)?;
    let preamble = secrets.preamble(key_id);
    let mut noise = handshake(&preamble, key, Builder::build_initiator)?;
    let mut hello = [0; PREAMBLE_BYTES + HANDSHAKE_BYTES];
    hello[..PREAMBLE_BYTES].copy_from_slice(&preamble);
    noise.write_message(&[], &mut hello[PREAMBLE_BYTES..]).map_err(|_| NoiseError::Damaged)?;
    tcp.write_all(&hello).await?;
    match tcp.read_u8().await? {
        OK => {}
        FOREIGN_CLUSTER => return Err(NoiseError::ForeignCluster),
        OTHER_VERSION => return Err(NoiseError::OtherVersion),
        UNKNOWN_KEY => return Err(NoiseError::WrongKey),
        4.. => return Err(NoiseError::NotWeft),
    }
    let mut reply = [0; HANDSHAKE_BYTES];
    tcp.read_exact(&mut reply).await?;
    noise.read_message(&reply, &mut []).map_err(|_| NoiseError::WrongKey)?;
    channel(tcp, noise, key)
}

async fn respond(mut tcp: TcpStream, secrets: &Secrets) -> Result<(Reader, Writer), NoiseError> {
    tcp.set_nodelay(true)?;
    let mut hello = [0; PREAMBLE_BYTES + HANDSHAKE_BYTES];
    tcp.read_exact(&mut hello).await?;
    let (preamble, message) = hello.split_at(PREAMBLE_BYTES);
    let (refusal, error) = if &preamble[..4] != MAGIC {
        return Err(NoiseError::NotWeft);
    } else if preamble[4] != VERSION {
        (OTHER_VERSION, NoiseError::OtherVersion)
    } else if preamble[5..21] != *secrets.cluster.as_bytes() {
        (FOREIGN_CLUSTER, NoiseError::ForeignCluster)
    } else if let Some((mut noise, key)) = opened(secrets, preamble, message) {
        let mut reply = [OK; 1 + HANDSHAKE_BYTES];
        noise.write_message(&[], &mut reply[1..]).map_err(|_| NoiseError::Damaged)?;
        tcp.write_all(&reply).await?;
        return channel(tcp, noise, key);
    } else {
        (UNKNOWN_KEY, NoiseError::WrongKey)
    };
    tcp.write_u8(refusal).await?;
    Err(error)
}

/// Finds the key that a hello was made with.
fn opened<'k>(
    secrets: &'k Secrets,
    preamble: &'k [u8],
    message: &[u8],
) -> Option<(HandshakeState, &'k Key)> {
    secrets.candidates(preamble[21]).find_map(|key| {
        let mut noise = handshake(preamble, key, Builder::build_responder).ok()?;
        noise.read_message(message, &mut []).ok()?;
        Some((noise, key))
    })
}

fn handshake<'k>(
    preamble: &'k [u8],
    key: &'k Key,
    build: impl FnOnce(Builder<'k>) -> Result<HandshakeState, snow::Error>,
) -> Result<HandshakeState, NoiseError> {
    let pattern = PATTERN.parse().expect("the pattern is one snow knows");
    Builder::new(pattern)
        .prologue(preamble)
        .and_then(|builder| builder.psk(0, key.as_bytes()))
        .and_then(build)
        .map_err(|_| NoiseError::WrongKey)
}

fn channel(
    tcp: TcpStream,
    noise: HandshakeState,
    key: &Key,
) -> Result<(Reader, Writer), NoiseError> {
    let noise = Arc::new(noise.into_stateless_transport_mode().map_err(|_| NoiseError::Damaged)?);
    let (reader, writer) = tcp.into_split();
    Ok((
        Reader { tcp: reader, noise: noise.clone(), nonce: 0, plain: Vec::new() },
        Writer { tcp: writer, noise, nonce: 0, buffer: Vec::new(), key: key.fingerprint() },
    ))
}

/// The receiving half.
#[derive(Debug)]
pub struct Reader {
    tcp: OwnedReadHalf,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    /// Decrypted and not yet part of a frame that was returned.
    plain: Vec<u8>,
}

impl Reader {
    /// Waits for the next frame; `None` when the peer closed between two.
    ///
    /// Memory grows with what has arrived, not with what a length promises.
    ///
    /// # Errors
    /// See [`NoiseError`]; the stream is of no more use.
    pub async fn read_frame(&mut self) -> Result<Option<Vec<u8>>, NoiseError> {
        loop {
            if let Some((length, rest)) = self.plain.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if length > FRAME_BYTES_MAX {
                    return Err(NoiseError::FrameTooLong(length));
                }
                if rest.len() >= length {
                    let frame = rest[..length].to_vec();
                    self.plain.drain(..4 + length);
                    return Ok(Some(frame));
                }
            }
            if !self.read_message().await? {
                return if self.plain.is_empty() { Ok(None) } else { Err(NoiseError::Damaged) };
            }
        }
    }

    /// Reads one Noise message; false at a clean end.
    async fn read_message(&mut self) -> Result<bool, NoiseError> {
        let length = match self.tcp.read_u16().await {
            Ok(length) => usize::from(length),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut sealed = vec![0; length];
        self.tcp.read_exact(&mut sealed).await?;
        let start = self.plain.len();
        self.plain.resize(start + length.saturating_sub(TAG_BYTES), 0);
        let written = self
            .noise
            .read_message(self.nonce, &sealed, &mut self.plain[start..])
            .map_err(|_| NoiseError::Damaged)?;
        self.nonce += 1;
        self.plain.truncate(start + written);
        Ok(true)
    }
}

/// The sending half.
#[derive(Debug)]
pub struct Writer {
    tcp: OwnedWriteHalf,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    buffer: Vec<u8>,
    key: Fingerprint,
}

impl Writer {
    /// Returns the name of the key that the stream was made with.
    pub const fn key(&self) -> Fingerprint {
        self.key
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// See [`NoiseError`]; the stream is of no more use, except after
    /// [`NoiseError::FrameTooLong`].
    pub async fn write_frame(&mut self, frame: &[u8]) -> Result<(), NoiseError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(NoiseError::FrameTooLong(frame.len()));
        }
        let length = u32::try_from(frame.len()).expect("a frame is at most 1 MiB");
        let mut plain = Vec::with_capacity(4 + frame.len());
        plain.extend_from_slice(&length.to_be_bytes());
        plain.extend_from_slice(frame);
        self.buffer.clear();
        for chunk in plain.chunks(MESSAGE_BYTES_MAX - TAG_BYTES) {
            let sealed = chunk.len() + TAG_BYTES;
            let prefix = u16::try_from(sealed).expect("a message is at most 65,535 bytes");
            self.buffer.extend_from_slice(&prefix.to_be_bytes());
            let start = self.buffer.len();
            self.buffer.resize(start + sealed, 0);
            self.noise
                .write_message(self.nonce, chunk, &mut self.buffer[start..])
                .map_err(|_| NoiseError::Damaged)?;
            self.nonce += 1;
        }
        tokio::time::timeout(WRITE_TIMEOUT, self.tcp.write_all(&self.buffer))
            .await
            .map_err(|_| NoiseError::Timeout(WRITE_TIMEOUT))??;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
