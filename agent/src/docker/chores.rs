//! What is done between calls: pools and addresses that nobody came to use go back, endpoints that
//! a crashed engine forgot end, and networks that no engine has any more are deleted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
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

/// Networks that are tried to be deleted at the same time.
const DELETIONS_AT_ONCE: usize = 16;

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
    /// When a call was about it, so that another one is to come.
    Called,
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

    /// A call is about an endpoint: its time begins anew.
    fn called(&mut self, id: EndpointId) {
        self.apart.insert(id, Apart { since: Instant::now(), begun: Begun::Called });
    }

    /// Whether no sandbox is to be expected for an endpoint in none.
    fn is_past_joining(&self, endpoint: &Endpoint) -> bool {
        let Some(apart) = self.apart.get(&endpoint.id) else { return endpoint.stale };
        match apart.begun {
            Begun::Earlier => true,
            Begun::Now => endpoint.stale || apart.since.elapsed() >= JOINING,
            Begun::Called => apart.since.elapsed() >= JOINING,
        }
    }
}

impl Plugin {
    /// Takes up what an earlier start kept.
    ///
    /// # Errors
    /// A record does not decode, or the agent is stopping.
    pub async fn restore(&self) -> Answer<()> {
        let records = self.controller.kept(PREFIX).await?;
        let restored = self.books().restore(&records);
        restored.and_then(|()| self.granted().restore(&records)).map_err(|error| {
            weft_api::control::ControlError::internal(format!(
                "a record of the Docker plugin does not decode: {error}"
            ))
        })?;
        self.seen().update(&self.controller.engine_endpoints_apart(), Begun::Earlier);
        Ok(())
    }

    /// Runs until `stop`. A member that does not answer holds up only what it is asked for.
    pub async fn run_chores(self: Arc<Self>, stop: CancellationToken) {
        tokio::join!(self.run_own(&stop), self.run_shared(&stop));
    }

    /// What this node does by itself.
    async fn run_own(&self, stop: &CancellationToken) {
        loop {
            let due = self.due_here().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.chores.notified() => {}
                () = self.controller.engines_changed() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    /// What other members are asked for.
    async fn run_shared(&self, stop: &CancellationToken) {
        let mut attempts = Attempts::new();
        loop {
            let pools = self.expire_pools().await;
            let pools = pools.map(|left| Instant::now() + Duration::from_secs(left.max(1)));
            let networks = self.delete_unused(&mut attempts).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.shared_chores.notified() => {}
                () = sleep_until(pools.into_iter().chain(networks).min()) => {}
            }
        }
    }

    /// Does what is due here and tells when more is.
    async fn due_here(&self) -> Option<Instant> {
        let now = Instant::now();
        let seconds = |left: u64| now + Duration::from_secs(left.max(1));
        let claims = match self.controller.expire_claims(self.unused_s_max, LINGERING_S_MAX).await {
            Ok(left) => left.map(seconds),
            Err(error) => {
                tracing::warn!(%error, "unused addresses were not given back");
                Some(now + RETRY_MAX)
            }
        };
        let endpoints = self.end_forgotten().await;
        claims.into_iter().chain(endpoints).min()
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

    /// An endpoint is about to be made, joined or taken out.
    pub(super) fn endpoint_called(&self, engine_endpoint: &str) {
        if let Some(endpoint) = self.controller.engine_endpoint(engine_endpoint) {
            self.seen().called(endpoint.id);
        }
    }

    /// An endpoint is in a sandbox.
    pub(super) fn endpoint_joined(&self, id: EndpointId) {
        self.seen().apart.remove(&id);
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
            } else if let Err(error) = self.end_apart(&endpoint, Self::is_forgotten).await {
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
        match holder.filter(|holder| self.is_past_joining(holder)) {
            Some(holder) => self.end_apart(holder, Self::is_past_joining).await,
            None => Ok(()),
        }
    }

    fn is_forgotten(&self, endpoint: &Endpoint) -> bool {
        self.seen().forgotten_at(endpoint.id).is_some_and(|due| due <= Instant::now())
    }

    fn is_past_joining(&self, endpoint: &Endpoint) -> bool {
        self.seen().is_past_joining(endpoint)
    }

    /// Ends an endpoint in no sandbox, unless a call of the engine about it came meanwhile.
    async fn end_apart(
        &self,
        endpoint: &Endpoint,
        still: impl Fn(&Self, &Endpoint) -> bool + Send + Sync,
    ) -> Answer<()> {
        let Some(engine) = &endpoint.engine else { return Ok(()) };
        let is_left = |endpoint: &Endpoint| {
            let left = still(self, endpoint);
            if left {
                tracing::info!(endpoint = %endpoint.id, "the engine forgot it; it ends");
            }
            left
        };
        self.controller.end_endpoint_apart(&engine.engine_endpoint, is_left).await
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
        let now = Instant::now();
        let due = retiring.into_iter().filter_map(|(network, insist)| {
            let (count, due) = attempts.get(&network).copied().unwrap_or((0, now));
            (due <= now).then_some((network, insist, count))
        });
        let due: Vec<_> = due.collect();
        let tried = futures_util::stream::iter(due)
            .map(async |(network, insist, count)| {
                (network, count, self.is_deleted(network, insist, count).await)
            })
            .buffer_unordered(DELETIONS_AT_ONCE)
            .collect::<Vec<_>>();
        for (network, count, done) in tried.await {
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

impl Plugin {
    /// Tries to delete a network; `true` when that is done with.
    async fn is_deleted(&self, network: NetworkId, insist: Insist, attempts: u32) -> bool {
        match self.controller.retire_network(network).await {
            Ok(deleted) => deleted || gives_up(insist, attempts),
            // Without a cluster there is no network either.
            Err(error) if error.kind == ErrorKind::NotFound => true,
            // A member that does not answer says nothing of use: asked again until it does.
            Err(error) => {
                tracing::debug!(%network, %error, "network not deleted yet");
                false
            }
        }
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
