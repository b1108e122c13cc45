//! The listening side: accepts, asks who it is, serves, stops.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::control::access::{self, BindError, Owner, Peer};
use crate::control::listening::{Bounds, Listening, drive};
use crate::control::{ControlApi, routes};

/// Bounds of the control server.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Bytes of a request's body, but for that of a garbage collection.
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
    listening: Listening,
    limits: ServerLimits,
}

impl Server {
    /// Makes the socket (mode 0660), in place of one left by an agent that is gone.
    ///
    /// # Errors
    /// [`BindError`] when an agent answers there, when something else stands there, or when the
    /// operating system refuses. Nothing is changed then.
    pub fn bind(path: &Path, limits: ServerLimits) -> Result<Self, BindError> {
        Ok(Self { listening: Listening::bind(path)?, limits })
    }

    /// Serves until `stop`, then lets the answers under way finish and removes the socket. Until
    /// `started` holds true, requests wait; those of CNI runtimes are refused.
    pub async fn run(
        self,
        api: Arc<dyn ControlApi>,
        started: watch::Receiver<bool>,
        stop: CancellationToken,
    ) {
        info!(socket = %self.listening.path().display(), "control socket open");
        let (owner, limits) = (self.listening.owner(), self.limits);
        let open = routes::open(Context { api, limits, stop: stop.clone() }, started);
        let bounds = Bounds { connections: limits.connections, drain: limits.drain };
        let each_stop = stop.clone();
        let each = move |stream| {
            let router = router_for(&stream, owner, &open);
            Some(serve(stream, router, limits, each_stop.clone()))
        };
        self.listening.run(bounds, stop, each).await;
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
    drive(connection, stop).await;
}
