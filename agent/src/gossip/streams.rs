//! One task a stream: dials or accepts, shakes hands, carries frames both ways.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use weft_networkdb::{Fingerprint, StreamId, StreamInput};

use super::handshakes::Handshakes;
use super::noise::{self, NoiseError, Reader, Secrets, Writer};

/// Frames that may wait for a slow peer before its stream is given up; networkdb bounds the bytes
/// before that and repairs what is lost.
const FRAMES_QUEUED_MAX: usize = 1024;
/// How long a connection attempt may take.
const DIAL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// All streams of the agent.
#[derive(Debug)]
pub struct Streams {
    secrets: SharedSecrets,
    events: Events,
    writers: BTreeMap<StreamId, mpsc::Sender<Vec<u8>>>,
    tasks: JoinSet<(Life, StreamId)>,
}

/// Which node of this agent a stream belongs to, counted from the agent's start. Each node numbers
/// its streams from the beginning, and streams end later than their node does.
pub type Life = u64;

/// Where one node's stream inputs go.
#[derive(Debug, Clone)]
struct Events {
    life: Life,
    sender: mpsc::Sender<(Life, StreamInput)>,
}

impl Events {
    /// Returns whether anybody is left to hear it; nobody is when the agent stops.
    async fn send(&self, input: StreamInput) -> bool {
        self.sender.send((self.life, input)).await.is_ok()
    }
}

/// The secrets streams are made with; absent until the node is in a cluster.
#[derive(Debug, Clone, Default)]
pub struct SharedSecrets(Arc<watch::Sender<Option<Secrets>>>);

impl SharedSecrets {
    /// Sets or clears them. Streams that stand stay, but for those that were made with a key of
    /// this cluster that is not in the ring any more.
    pub fn set(&self, secrets: Option<Secrets>) {
        self.0.send_replace(secrets);
    }

    fn get(&self) -> Option<Secrets> {
        self.0.borrow().clone()
    }

    /// Returns when a key is in the ring no more.
    async fn retired(&self, key: Fingerprint) {
        let mut changes = self.0.subscribe();
        let gone = |secrets: &Option<Secrets>| {
            // Without secrets the node has left: its streams end by themselves.
            secrets.as_ref().is_some_and(|secrets| {
                secrets.keys.to_call_with().all(|(_, known)| known.fingerprint() != key)
            })
        };
        // This is a sender of the channel, so it does not end.
        let _ = changes.wait_for(gone).await;
    }
}

/// A stream a peer opened, after its handshake.
#[derive(Debug)]
pub struct Incoming {
    /// Where it comes from.
    pub from: SocketAddr,
    reader: Reader,
    writer: Writer,
}

impl Streams {
    /// Makes the set; what happens to streams goes to `events`.
    pub fn new(secrets: SharedSecrets, sender: mpsc::Sender<(Life, StreamInput)>) -> Self {
        let events = Events { life: 0, sender };
        Self { secrets, events, writers: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Closes all streams after what is queued was sent; those opened from now on are another
    /// node's.
    pub fn begin_life(&mut self) {
        self.writers.clear();
        self.events.life += 1;
    }

    /// Returns whose streams these are now; inputs of other lives are to be ignored.
    pub const fn life(&self) -> Life {
        self.events.life
    }

    /// Dials. Ends in `Connected` or `Failed`.
    pub fn open(&mut self, stream: StreamId, to: SocketAddr) {
        let (sender, frames) = mpsc::channel(FRAMES_QUEUED_MAX);
        self.writers.insert(stream, sender);
        let (shared, events) = (self.secrets.clone(), self.events.clone());
        self.tasks.spawn(async move {
            match dial(to, shared.get()).await {
                Ok((reader, writer)) => {
                    if events.send(StreamInput::Connected { stream }).await {
                        carry(stream, (reader, writer), frames, &events, &shared).await;
                    }
                }
                Err(NoiseError::WrongKey) => {
                    tracing::debug!(%to, "none of our keys is accepted");
                    events.send(StreamInput::KeyRefused { stream }).await;
                }
                Err(error) => {
                    let reason = format!("`{to}`: {error}");
                    events.send(StreamInput::Failed { stream, reason }).await;
                }
            }
            (events.life, stream)
        });
    }

    /// Takes a stream that a peer opened.
    pub fn accept(&mut self, stream: StreamId, incoming: Incoming) {
        let (sender, frames) = mpsc::channel(FRAMES_QUEUED_MAX);
        self.writers.insert(stream, sender);
        let (shared, events) = (self.secrets.clone(), self.events.clone());
        self.tasks.spawn(async move {
            let ends = (incoming.reader, incoming.writer);
            carry(stream, ends, frames, &events, &shared).await;
            (events.life, stream)
        });
    }

    /// Queues a frame. A stream whose queue is full is given up: the peer does not read.
    pub fn send(&mut self, stream: StreamId, frame: Vec<u8>) {
        if let Some(writer) = self.writers.get(&stream)
            && writer.try_send(frame).is_err()
        {
            self.writers.remove(&stream);
        }
    }

    /// Closes a stream after what is queued was sent.
    pub fn close(&mut self, stream: StreamId) {
        self.writers.remove(&stream);
    }

    /// Drops what is left of streams that ended.
    pub fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Ok((life, stream)) = ended
                && life == self.events.life
            {
                self.writers.remove(&stream);
            }
        }
    }

    /// Closes all streams and waits until what was queued is sent, at most `limit`.
    pub async fn shutdown(mut self, limit: std::time::Duration) {
        self.writers.clear();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // What did not get out in time is repaired by anti-entropy after the next start.
        let _ = tokio::time::timeout(limit, all).await;
    }
}

/// Accepts callers until the channel closes.
pub async fn listen(
    listener: TcpListener,
    secrets: SharedSecrets,
    accepted: mpsc::Sender<Incoming>,
) {
    let places = Handshakes::new();
    let mut handshakes = JoinSet::new();
    loop {
        let slot = places.slot().await;
        let (tcp, from) = tokio::select! {
            caller = listener.accept() => match caller {
                Ok(caller) => caller,
                Err(error) => {
                    // Out of descriptors, or a caller that went away: the next one may do better.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = accepted.closed() => return,
        };
        while handshakes.try_join_next().is_some() {}
        let Some(turn) = places.turn(slot, from.ip()) else {
            tracing::debug!(%from, "caller refused: too many of its address shake hands");
            continue;
        };
        let (secrets, accepted) = (secrets.get(), accepted.clone());
        handshakes.spawn(async move {
            let _turn = turn;
            let Some(secrets) = secrets else { return };
            match noise::accept(tcp, &secrets).await {
                Ok((reader, writer)) => {
                    // The agent is stopping if nobody takes it.
                    let _ = accepted.send(Incoming { from, reader, writer }).await;
                }
                Err(error) => tracing::debug!(%from, %error, "caller refused"),
            }
        });
    }
}

async fn dial(to: SocketAddr, secrets: Option<Secrets>) -> Result<(Reader, Writer), NoiseError> {
    let secrets = secrets.ok_or(NoiseError::WrongKey)?;
    // Where keys were rotated while either side was away, an older one may be what both have.
    for key in secrets.keys.to_call_with() {
        let tcp = tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect(to))
            .await
            .map_err(|_| NoiseError::Timeout(DIAL_TIMEOUT))??;
        match noise::connect(tcp, &secrets, key).await {
            Err(NoiseError::WrongKey) => {}
            made => return made,
        }
    }
    Err(NoiseError::WrongKey)
}

/// Carries frames until either side closes or fails, or the stream's key is retired; then reports
/// the end once.
async fn carry(
    stream: StreamId,
    (mut reader, mut writer): (Reader, Writer),
    mut frames: mpsc::Receiver<Vec<u8>>,
    events: &Events,
    secrets: &SharedSecrets,
) {
    let key = writer.key();
    let receive = async {
        loop {
            match reader.read_frame().await {
                Ok(Some(bytes)) => {
                    if !events.send(StreamInput::Frame { stream, bytes }).await {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%stream, %error, "stream broke");
                    return;
                }
            }
        }
    };
    let send = async {
        while let Some(frame) = frames.recv().await {
            if let Err(error) = writer.write_frame(&frame).await {
                tracing::debug!(%stream, %error, "stream broke");
                return;
            }
        }
    };
    tokio::select! {
        () = receive => {}
        () = send => {}
        () = secrets.retired(key) => tracing::debug!(%stream, %key, "its key is retired"),
    }
    events.send(StreamInput::Closed { stream }).await;
}
