//! A unix socket whose connections are served: bounded, and stopped in good order.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::rt::{Read, Write};
use hyper::service::HttpService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::access::{self, BindError, Owner, SocketFile};

/// Bounds of a listening socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Connections at a time; further ones wait to be accepted.
    pub(crate) connections: usize,
    /// How long a stopping server waits for answers under way.
    pub(crate) drain: Duration,
}

/// A socket, bound and not yet served.
#[derive(Debug)]
pub(crate) struct Listening {
    listener: UnixListener,
    file: SocketFile,
    owner: Owner,
}

impl Listening {
    /// Makes the socket (mode 0660), in place of one left by an agent that is gone.
    ///
    /// # Errors
    /// [`BindError`]; nothing is changed then.
    pub(crate) fn bind(path: &Path) -> Result<Self, BindError> {
        let (listener, owner) = access::bind(path)?;
        Ok(Self { listener, file: SocketFile::new(path), owner })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Whom it belongs to.
    pub(crate) const fn owner(&self) -> Owner {
        self.owner
    }

    /// Serves each connection with the future that `serve` makes of it, until `stop`; then lets
    /// those under way finish and removes the socket. `serve` may turn one away.
    pub(crate) async fn run<F>(
        self,
        bounds: Bounds,
        stop: CancellationToken,
        serve: impl Fn(UnixStream) -> Option<F>,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let connections = Arc::new(Semaphore::new(bounds.connections));
        let mut serving = JoinSet::new();
        loop {
            let permit = tokio::select! {
                () = stop.cancelled() => break,
                permit = Arc::clone(&connections).acquire_owned() => permit,
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
                Some(_) = serving.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) => {
                    if let Some(served) = serve(stream) {
                        serving.spawn(async move {
                            let _permit = permit;
                            served.await;
                        });
                    }
                }
                Err(error) => {
                    let socket = self.path().display();
                    // Out of file descriptors, most likely: give others time to close some.
                    tracing::warn!(%socket, %error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        let socket = self.file.path().display().to_string();
        drop(self.listener);
        drop(self.file);
        let drained = async { while serving.join_next().await.is_some() {} };
        if tokio::time::timeout(bounds.drain, drained).await.is_err() {
            tracing::warn!(socket, "answers under way were cut off");
        }
    }
}

/// Drives a connection to its end, or to that of the answer under way at `stop`.
pub(crate) async fn drive<I, B, S>(
    connection: hyper::server::conn::http1::Connection<I, S>,
    stop: CancellationToken,
) where
    I: Read + Write + Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection broke off");
    }
}
