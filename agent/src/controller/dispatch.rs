//! News of the core and the data path, brought to the drivers and the inventory in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weft_api::NetworkId;
use weft_api::discovery::{Discovery, NodeDiscoveryData};
use weft_api::driver::{Driver, EventType};
use weft_networkdb::{Cause, Change, MemberEvent, TableEvent};

use super::Controller;
use crate::control::Answer;
use crate::core::News;
use crate::overlay_driver::Vanished;

/// Which driver hears of which table, and which keys it was told.
#[derive(Default)]
pub(super) struct Registrations {
    all: Mutex<BTreeMap<(NetworkId, String), Registration>>,
    /// Held while a driver is told: what there is in one go, or one piece of news. News that came
    /// between would be overwritten by what there was before them.
    telling: tokio::sync::Mutex<()>,
}

struct Registration {
    driver: Arc<dyn Driver>,
    keys: BTreeSet<String>,
}

impl std::fmt::Debug for Registrations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registrations")
    }
}

impl Registrations {
    fn with<T>(
        &self,
        work: impl FnOnce(&mut BTreeMap<(NetworkId, String), Registration>) -> T,
    ) -> T {
        work(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lists the tables of a network that a driver registered.
    pub(super) fn tables(&self, network: NetworkId) -> Vec<String> {
        self.with(|all| {
            all.keys().filter(|(id, _)| *id == network).map(|(_, table)| table.clone()).collect()
        })
    }

    pub(super) fn remove(&self, network: NetworkId) {
        self.with(|all| all.retain(|(id, _), _| *id != network));
    }

    pub(super) fn clear(&self) {
        self.with(BTreeMap::clear);
    }

    fn all(&self) -> Vec<(NetworkId, String)> {
        self.with(|all| all.keys().cloned().collect())
    }

    /// Notes what a driver is about to be told; `None` when no driver registered the table.
    fn note(
        &self,
        network: NetworkId,
        table: &str,
        key: &str,
        event: EventType,
    ) -> Option<Arc<dyn Driver>> {
        self.with(|all| {
            let registration = all.get_mut(&(network, table.to_owned()))?;
            match event {
                EventType::Create | EventType::Update => {
                    registration.keys.insert(key.to_owned());
                }
                EventType::Delete => {
                    registration.keys.remove(key);
                }
            }
            Some(registration.driver.clone())
        })
    }
}

impl Controller {
    /// Lets a driver hear of a table: what there is, then what changes.
    pub(super) async fn register_table(
        &self,
        network: NetworkId,
        table: &str,
        driver: Arc<dyn Driver>,
    ) -> Answer<()> {
        self.registrations.with(|all| {
            all.insert((network, table.to_owned()), Registration { driver, keys: BTreeSet::new() })
        });
        self.replay(network, table).await
    }

    /// Tells a driver every entry there is, and the end of those there are no more. News that
    /// were under way repeat some of it afterwards, in their order, so the newest has the last
    /// word.
    async fn replay(&self, network: NetworkId, table: &str) -> Answer<()> {
        let _telling = self.registrations.telling.lock().await;
        let name = table.to_owned();
        let entries: Vec<_> =
            self.node(move |node, _| node.db().walk_counting(network, &name)).await?;
        let current: BTreeSet<String> = entries.iter().map(|entry| entry.key.to_string()).collect();
        let gone: Vec<String> = self.registrations.with(|all| {
            all.get(&(network, table.to_owned()))
                .map(|registration| registration.keys.difference(&current).cloned().collect())
                .unwrap_or_default()
        });
        for key in gone {
            self.tell(EventType::Delete, network, table, &key, &[]).await;
        }
        for entry in entries {
            self.tell(EventType::Create, network, table, &entry.key, &entry.value).await;
        }
        Ok(())
    }

    async fn notify(
        &self,
        event: EventType,
        network: NetworkId,
        table: &str,
        key: &str,
        value: &[u8],
    ) {
        let _telling = self.registrations.telling.lock().await;
        self.tell(event, network, table, key, value).await;
    }

    /// The caller holds `telling`.
    async fn tell(
        &self,
        event: EventType,
        network: NetworkId,
        table: &str,
        key: &str,
        value: &[u8],
    ) {
        if let Some(driver) = self.registrations.note(network, table, key, event) {
            driver.event_notify(event, network, table, key, value).await;
        }
    }
}

/// Carries news to the controller until the agent stops.
#[derive(Debug)]
pub struct Dispatcher {
    controller: Arc<Controller>,
    news: mpsc::Receiver<Vec<News>>,
    vanished: mpsc::Receiver<Vanished>,
}

impl Dispatcher {
    /// Makes the dispatcher.
    pub const fn new(
        controller: Arc<Controller>,
        news: mpsc::Receiver<Vec<News>>,
        vanished: mpsc::Receiver<Vanished>,
    ) -> Self {
        Self { controller, news, vanished }
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                batch = self.news.recv() => {
                    let Some(batch) = batch else { return };
                    for news in batch {
                        self.tell(news).await;
                    }
                }
                Some(vanished) = self.vanished.recv() => {
                    // On a task of its own: it waits for the endpoint's turn.
                    let controller = self.controller.clone();
                    tokio::spawn(async move { controller.sandbox_vanished(vanished).await });
                }
            }
        }
    }

    async fn tell(&self, news: News) {
        match news {
            News::Table(event) => self.table(event).await,
            News::Defined(_) => self.controller.defined.notify_waiters(),
            News::Deleted(network) => self.deleted(network),
            News::Member(event) => self.member(event),
            News::Ready => self.controller.became_ready().await,
            News::Ended => self.controller.membership_ended().await,
            News::Missed => self.start_over().await,
        }
    }

    /// A failed owner's entries are hidden from reads only: its data path stays, since an agent
    /// that is down does not stop traffic.
    async fn table(&self, event: TableEvent) {
        match event.cause {
            Cause::Hidden | Cause::Returned => return,
            Cause::Written | Cause::Left | Cause::Superseded | Cause::Detached => {}
        }
        let kind = match event.change {
            Change::Create => EventType::Create,
            Change::Update => EventType::Update,
            Change::Delete => EventType::Delete,
        };
        self.controller.notify(kind, event.network, &event.table, &event.key, &event.value).await;
    }

    fn deleted(&self, network: NetworkId) {
        let here = self.controller.inventory().of(network).count();
        if here > 0 {
            tracing::warn!(
                %network,
                endpoints = here,
                "network was deleted elsewhere; its endpoints here run on"
            );
        }
        self.controller.registrations.remove(network);
        self.controller.foreign.wake();
        self.controller.engines.notify_one();
    }

    /// Every driver hears of nodes, as discovery has it.
    fn member(&self, event: MemberEvent) {
        let address = match event {
            MemberEvent::Up(member) => member.addr.ip().to_string(),
            MemberEvent::Left(_)
            | MemberEvent::Forgotten(_)
            | MemberEvent::Failed(_)
            | MemberEvent::Renamed(_) => return,
        };
        for name in self.controller.registry.network_types() {
            let Some(driver) = self.controller.registry.registered_network(&name) else {
                continue;
            };
            let news = Discovery::Node(NodeDiscoveryData {
                bind_address: address.clone(),
                address: address.clone(),
                is_self: false,
            });
            let tell = async move {
                if let Err(error) = driver.driver.discover_new(&news).await {
                    tracing::debug!(driver = name, %error, "driver refused discovery");
                }
            };
            // A plugin that is slow must not keep news from the others.
            tokio::spawn(tell);
        }
    }

    async fn start_over(&self) {
        tracing::warn!("news were missed; telling the drivers everything anew");
        for (network, table) in self.controller.registrations.all() {
            if let Err(error) = self.controller.replay(network, &table).await {
                tracing::warn!(%network, table, %error, "table was not replayed");
            }
        }
        self.controller.became_ready().await;
    }
}
