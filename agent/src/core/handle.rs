//! How the rest of the agent reaches the core.

use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::{Call, Core};

/// The core is gone: the agent is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent is stopping")]
pub struct Stopped;

/// Reaches the core; cheap to clone.
#[derive(Debug, Clone)]
pub struct CoreHandle {
    calls: mpsc::Sender<Call>,
}

impl CoreHandle {
    pub(super) const fn new(calls: mpsc::Sender<Call>) -> Self {
        Self { calls }
    }

    /// Runs `work` on the core's state and returns its result once everything it wrote is on disk.
    ///
    /// # Errors
    /// [`Stopped`]; whether the work was done is then not known.
    pub async fn call<T, F>(&self, work: F) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: FnOnce(&mut Core, Instant) -> T + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let call: Call = Box::new(move |core, now| {
            let result = work(core, now);
            // A caller that went away has nobody to answer to.
            core.deferred.push(Box::new(move || drop(sender.send(result))));
        });
        self.calls.send(call).await.map_err(|_| Stopped)?;
        receiver.await.map_err(|_| Stopped)
    }

    /// Like [`CoreHandle::call`] for work whose answer comes later through a channel.
    ///
    /// # Errors
    /// [`Stopped`]; also when the core dropped the answer because the node left its cluster.
    pub async fn call_later<T, F>(&self, work: F) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: FnOnce(&mut Core, oneshot::Sender<T>, Instant) + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let call: Call = Box::new(move |core, now| work(core, sender, now));
        self.calls.send(call).await.map_err(|_| Stopped)?;
        receiver.await.map_err(|_| Stopped)
    }
}
