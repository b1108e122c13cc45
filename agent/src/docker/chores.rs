//! What is done between calls: pools and addresses that nobody came to use go back, endpoints that
//! a crashed engine forgot end, and networks that no engine has any more are deleted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use ipnetwork::IpNetwork;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_api::{EndpointId, NetworkId};

use super::Plugin;
use super::books::{Insist, PREFIX};
use crate::control::{Answer, ErrorKind};
use crate::controller::engine::{LINGERING_S_MAX, now_s};
use crate::controller::inventory::Endpoint;

/// How long after its start an engine has to end what an earlier run of it left.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// First pause between two attempts to delete a network; doubles.
const RETRY: Duration = Duration::from_millis(250);
/// Longest pause between two of them.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Attempts to delete a network that others may still use: they delete it then.
const BRIEF_ATTEMPTS: u32 = 6;

/// How long an endpoint without a sandbox may have one to come, when its address is asked for
/// again. An engine takes some milliseconds.
const JOINING: Duration = Duration::from_secs(10);

/// Networks to be deleted: attempts so far, and when the next one is due.
type Attempts = BTreeMap<NetworkId, (u32, Instant)>;

/// What is known of the engine from its calls.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When it was last seen to start.
    started: Option<Instant>,
    /// Its last call.
    heard: Option<Instant>,
    /// Endpoints in no sandbox.
    apart: BTreeMap<EndpointId, Apart>,
}

/// Since when an endpoint is in no sandbox.
#[derive(Debug, Clone, Copy)]
struct Apart {
    since: Instant,
    begun: Begun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// Before this start of the agent.
    Earlier,
    /// While it ran.
    Now,
}

impl Seen {
    fn update(&mut self, endpoints: &[Endpoint], begun: Begun) {
        self.apart.retain(|id, _| endpoints.iter().any(|endpoint| endpoint.id == *id));
        for endpoint in endpoints {
            let apart = Apart { since: Instant::now(), begun };
            self.apart.entry(endpoint.id).or_insert(apart);
        }
    }

    /// When an endpoint in no sandbox is taken for forgotten; `None` while the engine has not been
    /// there since to end it.
    fn forgotten_at(&self, id: EndpointId) -> Option<Instant> {
        let since = self.apart.get(&id)?.since;
        let patience = since + FORGOTTEN;
        let started = self.started.filter(|started| *started >= since);
        let heard = self.heard.filter(|heard| *heard >= patience);
        started.map(|started| started + FORGOTTEN).or(heard.map(|_| patience))
    }

    /// Whether no sandbox is to be expected for it any more.
    fn is_past_joining(&self, id: EndpointId) -> bool {
        self.apart
            .get(&id)
            .is_some_and(|apart| apart.begun == Begun::Earlier || apart.since.elapsed() >= JOINING)
    }
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
        })?;
        self.seen().update(&self.controller.engine_endpoints_apart(), Begun::Earlier);
        Ok(())
    }

    /// Runs until `stop`.
    pub async fn run_chores(self: Arc<Self>, stop: CancellationToken) {
        let mut attempts = Attempts::new();
        loop {
            let due = self.due(&mut attempts).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.chores.notified() => {}
                () = self.controller.engines_changed() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    /// Does what is due and tells when more is.
    async fn due(&self, attempts: &mut Attempts) -> Option<Instant> {
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
        let endpoints = self.end_forgotten().await;
        let networks = self.delete_unused(attempts).await;
        [claims, pools, endpoints, networks].into_iter().flatten().min()
    }

    /// An engine starts: what an earlier run of it left behind is its to end, or ours.
    pub(super) fn engine_started(&self) {
        self.seen().started = Some(Instant::now());
        self.chores.notify_one();
    }

    /// An engine calls.
    pub(super) fn engine_heard(&self) {
        self.seen().heard = Some(Instant::now());
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends endpoints in no sandbox that the engine did not end though it was there to: it ends
    /// what it remembers at its start, and in its life an endpoint is apart for milliseconds. It
    /// forgets those whose end it could not tell, as while the agent is down.
    async fn end_forgotten(&self) -> Option<Instant> {
        let endpoints = self.controller.engine_endpoints_apart();
        self.seen().update(&endpoints, Begun::Now);
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        for endpoint in endpoints {
            let Some(due) = self.seen().forgotten_at(endpoint.id) else { continue };
            if due > now {
                next = Some(next.map_or(due, |next| next.min(due)));
            } else if let Err(error) = self.end_apart(&endpoint).await {
                tracing::warn!(endpoint = %endpoint.id, %error, "endpoint was not ended");
                next = Some(now + RETRY_MAX);
            }
        }
        next
    }

    /// Ends the endpoint that has an address if the engine forgot it, which shows when it names the
    /// address for another one.
    pub(super) async fn end_forgotten_at(&self, network: NetworkId, address: IpAddr) -> Answer<()> {
        let apart = self.controller.engine_endpoints_apart();
        let has = |one: Option<IpNetwork>| one.is_some_and(|one| one.ip() == address);
        let holder = apart.iter().find(|endpoint| {
            endpoint.network == network && (has(endpoint.address) || has(endpoint.address_ipv6))
        });
        match holder.filter(|holder| holder.stale || self.seen().is_past_joining(holder.id)) {
            Some(holder) => self.end_apart(holder).await,
            None => Ok(()),
        }
    }

    async fn end_apart(&self, endpoint: &Endpoint) -> Answer<()> {
        let Some(engine) = &endpoint.engine else { return Ok(()) };
        tracing::info!(endpoint = %endpoint.id, "the engine forgot it; it ends");
        self.controller.end_engine_endpoint(&engine.engine_endpoint).await
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
                // A member that does not answer says nothing of use: asked again until it does.
                Err(error) => {
                    tracing::debug!(%network, %error, "network not deleted yet");
                    false
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
