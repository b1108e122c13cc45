//! What is done between calls: pools and addresses that nobody came to use go back, endpoints that
//! a crashed engine forgot end, and networks that no engine has any more are deleted.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_api::{EndpointId, NetworkId};

use super::Plugin;
use super::books::{Insist, PREFIX};
use crate::control::{Answer, ErrorKind};
use crate::controller::engine::now_s;

/// How long an address that was asked for by name stays for whoever names it again, in seconds. A
/// container that is restarted takes a few; whoever wants it on another host waits for it.
const LINGERING_S_MAX: u64 = 30;
/// How long after its start an engine has to end what an earlier run of it left.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// First pause between two attempts to delete a network; doubles.
const RETRY: Duration = Duration::from_millis(250);
/// Longest pause between two of them.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Attempts to delete a network that others may still use: they delete it then.
const BRIEF_ATTEMPTS: u32 = 6;

/// What the chores know from one round to the next.
#[derive(Debug, Default)]
struct Rounds {
    /// Networks to be deleted: attempts so far, and when the next one is due.
    attempts: BTreeMap<NetworkId, (u32, Instant)>,
    /// Endpoints without a sandbox, and since when.
    apart: BTreeMap<EndpointId, Instant>,
}

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
        let mut rounds = Rounds::default();
        loop {
            let due = self.due(&mut rounds).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.chores.notified() => {}
                () = self.controller.engines_changed() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    /// Does what is due and tells when more is.
    async fn due(&self, rounds: &mut Rounds) -> Option<Instant> {
        let now = Instant::now();
        let seconds = |left: u64| now + Duration::from_secs(left.max(1));
        let claims = match self.controller.expire_claims(self.unused_s_max, LINGERING_S_MAX).await {
            Ok(left) => left.map(seconds),
            Err(error) => {
                tracing::warn!(%error, "unused addresses were not given back");
                Some(now + RETRY_MAX)
            }
        };
        let pools = self.expire_pools().await.map(seconds);
        let endpoints = self.end_forgotten(&mut rounds.apart).await;
        let networks = self.delete_unused(&mut rounds.attempts).await;
        [claims, pools, endpoints, networks].into_iter().flatten().min()
    }

    /// An engine starts: what an earlier run of it left behind is its to end, or ours.
    pub(super) fn engine_started(&self) {
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.chores.notify_one();
    }

    /// Ends endpoints whose sandbox was gone when the engine started, and that the engine, which
    /// ends what it remembers at its start, did not end since.
    async fn end_forgotten(&self, apart: &mut BTreeMap<EndpointId, Instant>) -> Option<Instant> {
        let endpoints = self.controller.engine_endpoints_apart();
        apart.retain(|id, _| endpoints.iter().any(|endpoint| endpoint.id == *id));
        let now = Instant::now();
        let started = *self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = None;
        for endpoint in endpoints {
            let since = *apart.entry(endpoint.id).or_insert(now);
            let Some(started) = started.filter(|started| *started >= since) else { continue };
            let due = started + FORGOTTEN;
            if due > now {
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
                continue;
            }
            let Some(engine) = &endpoint.engine else { continue };
            tracing::info!(endpoint = %endpoint.id, "the engine forgot it; it ends");
            if let Err(error) = self.controller.end_engine_endpoint(&engine.engine_endpoint).await {
                tracing::warn!(endpoint = %endpoint.id, %error, "endpoint was not ended");
                next = Some(now + RETRY_MAX);
            }
        }
        next
    }

    /// Returns how many seconds the next one has left.
    async fn expire_pools(&self) -> Option<u64> {
        let now = now_s();
        let mut next: Option<u64> = None;
        let mut over = Vec::new();
        for reservation in self.books().reservations().filter(|r| !r.swarm) {
            let left = (reservation.since_s + self.unused_s_max).saturating_sub(now);
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

    async fn delete_unused(
        &self,
        attempts: &mut BTreeMap<NetworkId, (u32, Instant)>,
    ) -> Option<Instant> {
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
