//! Networks that outlive their last container for a moment. Runtimes end one container and start
//! the next; to take a network down between the two, and leave it in the cluster, takes far longer
//! than either.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_api::NetworkId;

use super::Controller;

/// How long a network stays after the end of a container.
const LINGERS: Duration = Duration::from_secs(2);

/// Networks that linger, each with when it may go.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    until: Mutex<BTreeMap<NetworkId, Instant>>,
    changed: Notify,
}

impl Lingering {
    fn until(&self) -> MutexGuard<'_, BTreeMap<NetworkId, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, network: NetworkId, now: Instant) {
        self.until().insert(network, now + LINGERS);
        self.changed.notify_one();
    }

    fn next(&self) -> Option<Instant> {
        self.until().values().min().copied()
    }

    fn take_due(&self, now: Instant) -> Vec<NetworkId> {
        let mut until = self.until();
        let due = until.iter().filter(|(_, at)| **at <= now).map(|(network, _)| *network);
        let due: Vec<_> = due.collect();
        until.retain(|_, at| *at > now);
        due
    }

    /// Forgets all, and returns them.
    pub(super) fn take_all(&self) -> Vec<NetworkId> {
        std::mem::take(&mut *self.until()).into_keys().collect()
    }
}

impl Controller {
    /// Keeps a network for a moment beyond the end of a container that is about to end.
    pub(super) async fn keep_network(&self, network: NetworkId) {
        self.overlay.keep(network).await;
        self.linger(network);
    }

    /// Ends this node's part in a network some time after its last container.
    pub(super) fn linger(&self, network: NetworkId) {
        self.lingering.put(network, Instant::now());
    }

    /// Lets networks go whose time has come, until `stop`. What lingers then is a leftover that
    /// the next start removes.
    pub(crate) async fn let_networks_go(&self, stop: CancellationToken) {
        loop {
            let next = self.lingering.next();
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.lingering.changed.notified() => {}
                () = due => {}
            }
            for network in self.lingering.take_due(Instant::now()) {
                self.let_network_go(network).await;
            }
        }
    }

    async fn let_network_go(&self, network: NetworkId) {
        let _turn = self.lock_network(network).await;
        self.overlay.let_go(network).await;
        let definition = self.definition_of(network).await.unwrap_or_default();
        self.stop_using_with(network, definition.as_ref()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_lingers_from_the_end_of_its_last_container() {
        let lingering = Lingering::default();
        let (one, other) = (NetworkId::from_bytes([1; 16]), NetworkId::from_bytes([2; 16]));
        let start = Instant::now();
        lingering.put(one, start);
        lingering.put(other, start);
        lingering.put(one, start + LINGERS / 2);
        assert_eq!(lingering.next(), Some(start + LINGERS));
        assert_eq!(lingering.take_due(start + LINGERS), [other]);
        assert_eq!(lingering.take_due(start + LINGERS), []);
        assert_eq!(lingering.take_due(start + LINGERS * 2), [one]);
        assert_eq!(lingering.next(), None);
    }
}
