//! What is done between calls: pools and addresses that nobody came to use go back, and networks
//! that no engine has any more are deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_api::NetworkId;

use super::Plugin;
use super::books::{Insist, PREFIX};
use super::reservations::now_s;
use crate::control::{Answer, ErrorKind};

/// How long a pool or an address may wait for its network or endpoint, in seconds. An engine takes
/// far less; what waits longer belongs to a call that broke off.
const UNUSED_S_MAX: u64 = 300;
/// First pause between two attempts to delete a network; doubles.
const RETRY: Duration = Duration::from_millis(250);
/// Longest pause between two of them.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Attempts to delete a network that others may still use: they delete it then.
const BRIEF_ATTEMPTS: u32 = 6;

/// A network to be deleted: attempts so far, and when the next one is due.
type Attempts = BTreeMap<NetworkId, (u32, Instant)>;

impl Plugin {
    /// Takes up what an earlier start kept.
    ///
    /// # Errors
    /// A record does not decode, or the agent is stopping.
    pub async fn restore(&self) -> Answer<()> {
        let records = self.controller.kept(PREFIX).await?;
        self.books().restore(&records).map_err(|error| {
            weft_api::control::ControlError::internal(format!(
                "a record of the Docker plugin does not decode: {error}"
            ))
        })
    }

    /// Runs until `stop`.
    pub async fn run_chores(self: Arc<Self>, stop: CancellationToken) {
        let mut attempts = Attempts::new();
        loop {
            let due = self.due(&mut attempts).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.chores.notified() => {}
                () = self.controller.claim_made() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    /// Does what is due and tells when more is.
    async fn due(&self, attempts: &mut Attempts) -> Option<Instant> {
        let now = Instant::now();
        let seconds = |left: u64| now + Duration::from_secs(left.max(1));
        let claims = match self.controller.expire_claims(UNUSED_S_MAX).await {
            Ok(left) => left.map(seconds),
            Err(error) => {
                tracing::warn!(%error, "unused addresses were not given back");
                Some(now + RETRY_MAX)
            }
        };
        let pools = self.expire_pools().await.map(seconds);
        let networks = self.delete_unused(attempts).await;
        [claims, pools, networks].into_iter().flatten().min()
    }

    /// Returns how many seconds the next one has left.
    async fn expire_pools(&self) -> Option<u64> {
        let now = now_s();
        let mut next: Option<u64> = None;
        let mut over = Vec::new();
        for reservation in self.books().reservations().filter(|r| !r.swarm) {
            let left = (reservation.since_s + UNUSED_S_MAX).saturating_sub(now);
            if left == 0 {
                over.push(reservation.pool);
            } else {
                next = Some(next.map_or(left, |next| next.min(left)));
            }
        }
        for pool in over {
            let _turn = self.pools.lock().await;
            tracing::info!(%pool, "no network took it; it is given back");
            if let Err(error) = self.give_up_pool(pool).await {
                tracing::warn!(%error, %pool, "unused pool was not given back");
                next = Some(RETRY_MAX.as_secs());
            }
        }
        next
    }

    async fn delete_unused(&self, attempts: &mut Attempts) -> Option<Instant> {
        let retiring = self.books().retiring();
        attempts.retain(|network, _| retiring.contains_key(network));
        for (network, insist) in retiring {
            let (count, due) = attempts.get(&network).copied().unwrap_or((0, Instant::now()));
            if due > Instant::now() {
                continue;
            }
            let done = match self.controller.retire_network(network).await {
                Ok(deleted) => deleted || gives_up(insist, count),
                // Without a cluster there is no network either.
                Err(error) if error.kind == ErrorKind::NotFound => true,
                Err(error) => {
                    tracing::debug!(%network, %error, "network not deleted yet");
                    gives_up(insist, count)
                }
            };
            if done {
                let write = self.books().retired(network);
                attempts.remove(&network);
                if let Err(error) = self.controller.keep([write]).await {
                    tracing::warn!(%error, "the end of a network was not kept");
                }
            } else {
                let pause = (RETRY * 2u32.pow(count.min(10))).min(RETRY_MAX);
                attempts.insert(network, (count + 1, Instant::now() + pause));
            }
        }
        attempts.values().map(|(_, due)| *due).min()
    }
}

const fn gives_up(insist: Insist, attempts: u32) -> bool {
    match insist {
        Insist::Briefly => attempts >= BRIEF_ATTEMPTS,
        Insist::Always => false,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
