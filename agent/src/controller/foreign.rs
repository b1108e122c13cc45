//! What is a third party's: networks and endpoints at a network driver's plugin, pools and
//! addresses of an IPAM driver's.
//!
//! Each is in the [`Ledger`] before the plugin is asked for more, and until the plugin has
//! answered that it took it back. What has no user any more is owed; what a plugin that is away is
//! owed it gets when it comes back.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use weft_api::control::ControlError;
use weft_api::discovery::{Discovery, NodeDiscoveryData};
use weft_api::driver::Driver;
use weft_api::error::Error;
use weft_api::{EndpointId, Kind, NetworkId};
use weft_networkdb::MemberState;

use super::Controller;
use crate::control::Answer;

mod ledger;
mod pools;
mod replay;
mod sandbox;

use ledger::{ForeignEndpoint, ForeignNetwork, HeldAddress, Key, Ledger, Record, Until};
pub(super) use pools::CHOICE;
pub(super) use sandbox::plugin_options;

/// First pause before a plugin that was away is tried again; doubles.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The ledger, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    ledger: Mutex<Ledger>,
    owing: Notify,
    /// IPAM plugins of an earlier start that were not used since.
    unheard: Mutex<BTreeSet<String>>,
}

impl Foreign {
    /// Holds the ledger for a few instructions; never across an await.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets what is owed be looked for.
    pub(super) fn wake(&self) {
        self.owing.notify_one();
    }

    /// Takes up what an earlier start kept.
    pub(super) fn restore(&self, records: &[(Vec<u8>, Vec<u8>)]) -> Result<(), serde_json::Error> {
        self.ledger().restore(records)
    }

    /// Notes which IPAM plugins earlier starts had something of.
    pub(super) fn expect(&self, ipams: BTreeSet<String>) {
        *self.unheard() = ipams;
    }

    fn unheard(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owes_replay(&self, ipam: &str) -> bool {
        self.unheard().contains(ipam)
    }

    fn owed_replays(&self) -> Vec<String> {
        self.unheard().iter().cloned().collect()
    }

    fn replayed(&self, ipam: &str) {
        self.unheard().remove(ipam);
    }

    /// Tells whether an endpoint has an address of a plugin.
    fn holds(&self, id: EndpointId, held: &HeldAddress) -> bool {
        self.ledger().endpoint(id).is_some_and(|endpoint| endpoint.held.contains(held))
    }

    /// Tells whether a plugin serves the endpoint's network.
    pub(super) fn drives(&self, id: EndpointId) -> bool {
        self.ledger().endpoint(id).is_some_and(|endpoint| endpoint.driver.is_some())
    }

    /// Tells whether a plugin may know the network on this node.
    pub(super) fn may_know(&self, id: NetworkId) -> bool {
        self.ledger().network(id).is_some()
    }

    /// Tells whether a plugin knows the network on this node.
    pub(super) fn knows(&self, id: NetworkId) -> bool {
        self.ledger().network(id).is_some_and(|network| network.made)
    }
}

/// Whether a plugin has answered, whatever it said; otherwise it is asked again.
fn answered(error: &Error) -> bool {
    !matches!(error.kind, Kind::Unavailable | Kind::NotFound)
}

/// Puts the registry's words into those of the control API.
pub(super) fn no_driver(error: &Error, controller: &Controller) -> ControlError {
    let told = ControlError::new(super::kind_of(error.kind), error.to_string());
    match error.kind {
        Kind::NotFound => told.with_hint(format!(
            "this node has: {}; a plugin is looked for again at each call",
            [controller.registry.network_types(), controller.registry.ipam_names()]
                .concat()
                .join(", ")
        )),
        Kind::Unavailable | Kind::Forbidden => {
            told.with_hint("look whether the plugin runs, and at its log")
        }
        Kind::InvalidParameter | Kind::NotImplemented | Kind::Internal => told,
    }
}

impl Controller {
    async fn foreign_put(&self, record: Record) -> Answer<()> {
        let write = record.to_write();
        self.foreign.ledger().put(record);
        self.core(move |core, _| core.persist([write])).await
    }

    async fn foreign_remove(&self, key: Key) {
        self.foreign.ledger().remove(key);
        if self.core(move |core, _| core.persist([key.removal()])).await.is_err() {
            tracing::debug!(?key, "the agent stops; a plugin will be told once more");
        }
    }

    /// Waits for the turn of an endpoint or of pools; a network's is its own lock.
    async fn foreign_turn(&self, key: Key) -> tokio::sync::OwnedMutexGuard<()> {
        match key {
            Key::Endpoint(id) => self.locks.lock(format!("foreign/endpoint/{id}")).await,
            Key::Pools(id) => self.locks.lock(format!("foreign/pools/{id}")).await,
            Key::Network(id) => self.lock_network(id).await,
        }
    }

    /// Gives back what plugins are owed, now and whenever something is, until `stop`.
    pub async fn settle_with_plugins(&self, stop: CancellationToken) {
        tokio::select! {
            () = self.replay_to_plugins() => {}
            () = stop.cancelled() => return,
        }
        let mut pause = RETRY_MIN;
        loop {
            let mut owes = false;
            let keys = self.foreign.ledger().keys();
            for key in keys {
                let settled = tokio::select! {
                    settled = self.settle(key) => settled,
                    () = stop.cancelled() => return,
                };
                owes |= !settled;
            }
            let wait = async {
                if owes {
                    tokio::time::sleep(pause).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = wait => pause = (pause * 2).min(RETRY_MAX),
                () = self.foreign.owing.notified() => pause = RETRY_MIN,
                () = stop.cancelled() => return,
            }
        }
    }

    /// Gives a record's things back if nothing uses them; false when the plugin was away.
    async fn settle(&self, key: Key) -> bool {
        let _turn = self.foreign_turn(key).await;
        match key {
            Key::Endpoint(id) => self.settle_endpoint_in_turn(id).await,
            Key::Network(id) => self.settle_network_in_turn(id).await,
            Key::Pools(id) => self.settle_pools_in_turn(id).await,
        }
    }

    /// Gives back an endpoint that was removed from the inventory.
    pub(super) async fn settle_endpoint(&self, id: EndpointId) {
        if !self.settle(Key::Endpoint(id)).await {
            self.foreign.wake();
        }
    }

    /// Like [`Controller::settle_endpoint`]; the caller has the endpoint's foreign turn.
    pub(super) async fn settle_endpoint_in_turn(&self, id: EndpointId) -> bool {
        if self.inventory().get(id).is_some() {
            return true;
        }
        let Some(mut record) = self.foreign.ledger().endpoint(id) else { return true };
        if let Err(error) = self.give_back_endpoint(&mut record).await {
            tracing::warn!(endpoint = %id, %error, "a plugin is away; it is told later");
            // What it took back already is not given back twice.
            drop(self.foreign_put(Record::Endpoint(record)).await);
            return false;
        }
        self.foreign_remove(Key::Endpoint(id)).await;
        true
    }

    /// Fails only when a plugin was away.
    async fn give_back_endpoint(&self, record: &mut ForeignEndpoint) -> Result<(), Error> {
        if record.driver.is_some() {
            self.leave_foreign(record).await?;
        }
        if let Some(name) = &record.driver {
            let driver = self.registry.network(name).await?.driver;
            if let Err(error) = driver.delete_endpoint(record.network, record.id).await {
                told(Error::new(error.kind(), error), "endpoint was not deleted")?;
            }
            record.driver = None;
        }
        let Some(name) = &record.ipam else { return Ok(()) };
        let ipam = self.registry.ipam(name).await?.driver;
        while let Some(HeldAddress { pool_id, address }) = record.held.last() {
            // An answer that was lost may have released it, and another may have it by now.
            let is_anothers = self.foreign.ledger().endpoints().any(|other| {
                other.id != record.id
                    && other.held.iter().any(|held| Some(held) == record.held.last())
            });
            if !is_anothers && let Err(error) = ipam.release_address(pool_id, *address).await {
                told(Error::new(error.kind(), error), "address was not released")?;
            }
            record.held.pop();
        }
        Ok(())
    }

    /// Notes that a plugin is about to know a network. The caller holds the network's lock.
    pub(super) async fn foreign_network_begins(&self, id: NetworkId, driver: &str) -> Answer<()> {
        let record = ForeignNetwork { id, driver: driver.to_owned(), made: false };
        self.foreign_put(Record::Network(record)).await
    }

    /// Notes that a plugin knows a network. The caller holds the network's lock.
    pub(super) async fn foreign_network_made(&self, id: NetworkId, driver: &str) -> Answer<()> {
        let record = ForeignNetwork { id, driver: driver.to_owned(), made: true };
        self.foreign_put(Record::Network(record)).await
    }

    /// Tells a driver which nodes there are; later ones it hears of as they come.
    pub(super) async fn introduce_nodes(&self, driver: Arc<dyn Driver>) -> Answer<()> {
        let nodes: Vec<NodeDiscoveryData> = self
            .node(|node, _| {
                let own = node.id();
                node.db()
                    .members()
                    .filter(|member| member.state == MemberState::Alive)
                    .map(|member| NodeDiscoveryData {
                        address: member.addr.ip().to_string(),
                        bind_address: member.addr.ip().to_string(),
                        is_self: member.id == own,
                    })
                    .collect()
            })
            .await?;
        // A plugin that is slow must not keep its first endpoint waiting.
        tokio::spawn(async move {
            for node in nodes {
                if let Err(error) = driver.discover_new(&Discovery::Node(node)).await {
                    tracing::debug!(driver = driver.network_type(), %error, "discovery refused");
                    return;
                }
            }
        });
        Ok(())
    }

    /// Takes a network that nothing here uses from its plugin. The caller holds its lock.
    pub(super) async fn settle_network_in_turn(&self, id: NetworkId) -> bool {
        let is_used = self.inventory().in_use(id)
            || self.foreign.ledger().endpoints().any(|endpoint| endpoint.network == id);
        if is_used {
            // Its last endpoint settles it.
            return self.inventory().in_use(id);
        }
        let Some(record) = self.foreign.ledger().network(id) else { return true };
        self.inventory().mark_deleted(id);
        let deleted = async {
            let driver = self.registry.network(&record.driver).await?.driver;
            match driver.delete_network(id).await {
                Ok(()) => Ok(()),
                Err(error) => told(Error::new(error.kind(), error), "network was not deleted"),
            }
        };
        if let Err(error) = deleted.await {
            tracing::warn!(network = %id, %error, "a plugin is away; it is told later");
            self.foreign.wake();
            return false;
        }
        self.foreign_remove(Key::Network(id)).await;
        true
    }

    /// Gives back pools whose network does not exist. The caller has the pools' foreign turn.
    pub(super) async fn settle_pools_in_turn(&self, id: NetworkId) -> bool {
        let Some(mut record) = self.foreign.ledger().pools(id) else { return true };
        let known = self
            .core(move |core, _| core.node().is_some_and(|n| n.db().definition(id).is_some()))
            .await;
        match (known, record.until) {
            // The agent stops.
            (Err(_), _) => return true,
            (Ok(true), Until::Deleted) => return true,
            (Ok(true), Until::Settled) => {
                self.foreign_remove(Key::Pools(id)).await;
                return true;
            }
            (Ok(false), Until::Settled | Until::Deleted) => {}
        }
        if let Err(error) = self.give_back_pools(&mut record).await {
            tracing::warn!(network = %id, %error, "an IPAM plugin is away; it is told later");
            drop(self.foreign_put(Record::Pools(record)).await);
            self.foreign.wake();
            return false;
        }
        self.foreign_remove(Key::Pools(id)).await;
        true
    }

    async fn give_back_pools(&self, record: &mut ledger::ForeignPools) -> Result<(), Error> {
        let ipam = self.registry.ipam(&record.ipam).await?.driver;
        while let Some(pool) = record.pools.last_mut() {
            while let Some(address) = pool.addresses.last() {
                if let Err(error) = ipam.release_address(&pool.id, *address).await {
                    told(Error::new(error.kind(), error), "address was not released")?;
                }
                pool.addresses.pop();
            }
            if let Err(error) = ipam.release_pool(&pool.id).await {
                told(Error::new(error.kind(), error), "pool was not released")?;
            }
            record.pools.pop();
        }
        Ok(())
    }
}

/// A refusal is an answer: the plugin knows nothing of it, or will not; to repeat is of no use.
fn told(error: Error, what: &str) -> Result<(), Error> {
    if answered(&error) {
        tracing::warn!(%error, "{what}");
        return Ok(());
    }
    Err(error)
}
