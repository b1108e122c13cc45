//! The listening side: accepts, asks who it is, serves, stops.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::control::access::{self, BindError, Owner, Peer, SocketFile};
use crate::control::{ControlApi, routes};

/// Bounds of the control server.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Connections at a time; further ones wait to be accepted.
    pub connections: usize,
    /// How long a request's head, and then its body, may take to arrive.
    pub read: Duration,
    /// How long an operation may take.
    pub operation: Duration,
    /// How long a stopping server waits for answers under way.
    pub drain: Duration,
}

impl Default for ServerLimits {
    /// 1 MiB, 256 connections, 10 s to read, 120 s to work, 5 s to stop.
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            connections: 256,
            read: Duration::from_secs(10),
            operation: Duration::from_secs(120),
            drain: Duration::from_secs(5),
        }
    }
}

/// What every handler has at hand.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) api: Arc<dyn ControlApi>,
    pub(crate) limits: ServerLimits,
    pub(crate) stop: CancellationToken,
}

/// The control socket, bound and not yet served.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    file: SocketFile,
    owner: Owner,
    limits: ServerLimits,
}

impl Server {
    /// Makes the socket (mode 0660), in place of one left by an agent that is gone.
    ///
    /// # Errors
    /// [`BindError`] when an agent answers there, when something else stands there, or when the
    /// operating system refuses. Nothing is changed then.
    pub fn bind(path: &Path, limits: ServerLimits) -> Result<Self, BindError> {
        let (listener, owner) = access::bind(path)?;
        Ok(Self { listener, file: SocketFile::new(path), owner, limits })
    }

    /// Serves until `stop`, then lets the answers under way finish and removes the socket.
    pub async fn run(self, api: Arc<dyn ControlApi>, stop: CancellationToken) {
        info!(socket = %self.file.path().display(), "control socket open");
        let context = Context { api, limits: self.limits, stop: stop.clone() };
        let open = routes::open(context);
        let connections = Arc::new(Semaphore::new(self.limits.connections));
        let mut serving = JoinSet::new();
        loop {
            let permit = tokio::select! {
                () = stop.cancelled() => break,
                permit = Arc::clone(&connections).acquire_owned() => permit,
            };
            let stream = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
                Some(_) = serving.join_next() => continue,
            };
            match stream {
                Ok((stream, _)) => {
                    let router = router_for(&stream, self.owner, &open);
                    let serve = serve(stream, router, self.limits, stop.clone());
                    serving.spawn(async move {
                        let _permit = permit;
                        serve.await;
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: give others time to close some.
                    warn!(%error, "control connection not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.listener);
        drop(self.file);
        let drained = async { while serving.join_next().await.is_some() {} };
        if tokio::time::timeout(self.limits.drain, drained).await.is_err() {
            warn!("control answers under way were cut off");
        }
    }
}

/// Chooses what the peer gets to see.
fn router_for(stream: &UnixStream, owner: Owner, open: &Router) -> Router {
    match stream.peer_cred() {
        Ok(credentials) => {
            let peer = Peer::of(&credentials);
            if access::may_speak(&peer, owner) {
                return open.clone();
            }
            warn!(uid = peer.uid, gid = peer.gid, "control connection refused");
        }
        Err(error) => warn!(%error, "control connection of an unknown user refused"),
    }
    routes::closed()
}

async fn serve(stream: UnixStream, router: Router, limits: ServerLimits, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "control connection broke off");
    }
}
