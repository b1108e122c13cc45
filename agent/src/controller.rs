//! The controller: networks, endpoints and sandboxes of this node, behind the control API.
//!
//! It holds plain data ([`inventory`]), asks the core for what is replicated and durable, and the
//! drivers of the [`Registry`] for the rest. Operations on one network or one sandbox take turns
//! (keyed locks); operations on different ones do not wait for each other. Each runs on a task of
//! its own, so a client that goes away leaves nothing half-made.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use weft_api::control::ControlError;
use weft_api::driver::{Driver, DriverError};
use weft_api::ipam::IpamError;
use weft_api::{Definition, Kind, NetworkId};

use crate::control::{Answer, ErrorKind, NetworkRef, resolve};
use crate::core::{Core, CoreHandle, Stopped};
use crate::node::Node;
use crate::overlay_driver::OverlayDriver;
use crate::registry::Registry;

mod api;
mod attachments;
mod cluster;
mod diagnosis;
mod dispatch;
mod endpoints;
pub(crate) mod engine;
mod foreign;
mod forget;
pub mod inventory;
mod keys;
mod lingering;
mod networks;
mod orphans;
mod restore;
mod sandboxes;
mod tables;

pub use api::Api;
pub use dispatch::Dispatcher;
pub use restore::RestoreOutcome;

use inventory::Inventory;

/// What the controller is told when it is made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's label.
    pub name: String,
    /// Where others reach it.
    pub advertise: SocketAddr,
    /// Pools a cluster is founded with.
    pub pools: weft_ipam::ClusterPools,
    /// UDP port of the tunnels.
    pub vxlan_port: u16,
    /// MTU of the interface that holds the advertised address, in bytes.
    pub uplink_mtu: u32,
    /// Where durable state lives.
    pub data_dir: std::path::PathBuf,
    /// Where runtime files live.
    pub run_dir: std::path::PathBuf,
    /// The control socket.
    pub socket: std::path::PathBuf,
    /// The plugin of a Docker Engine, if it is served.
    pub docker: Option<crate::config::Docker>,
}

/// The controller; shared by the control API, the dispatcher and the start-up.
#[derive(Debug)]
pub struct Controller {
    settings: Settings,
    core: CoreHandle,
    registry: Arc<Registry>,
    overlay: OverlayDriver,
    inventory: Mutex<Inventory>,
    locks: KeyedLocks,
    registrations: dispatch::Registrations,
    leaving: Leaving,
    orphans: Mutex<orphans::Orphans>,
    foreign: foreign::Foreign,
    lingering: lingering::Lingering,
    /// Wakes whoever waits for a network to be defined.
    defined: Notify,
    /// Wakes whoever cleans up behind engines.
    engines: Notify,
    started: Instant,
    pulse: crate::pulse::Pulse,
}

impl Controller {
    /// Makes the controller. Nothing is restored yet; see [`Controller::restore`].
    pub fn new(
        settings: Settings,
        core: CoreHandle,
        registry: Arc<Registry>,
        overlay: OverlayDriver,
        now: Instant,
    ) -> Self {
        Self {
            settings,
            core,
            registry,
            overlay,
            inventory: Mutex::default(),
            locks: KeyedLocks::default(),
            registrations: dispatch::Registrations::default(),
            leaving: Leaving::default(),
            orphans: Mutex::default(),
            foreign: foreign::Foreign::default(),
            lingering: lingering::Lingering::default(),
            defined: Notify::new(),
            engines: Notify::new(),
            started: now,
            pulse: crate::pulse::Pulse::default(),
        }
    }

    /// Holds the inventory for a few instructions; never across an await.
    fn inventory(&self) -> MutexGuard<'_, Inventory> {
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn orphans(&self) -> MutexGuard<'_, orphans::Orphans> {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs work on the core.
    async fn core<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core, Instant) -> T + Send + 'static,
    ) -> Answer<T> {
        self.core.call(work).await.map_err(stopped)
    }

    /// Runs work on the node, which must be in a cluster.
    async fn node<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Node, Instant) -> T + Send + 'static,
    ) -> Answer<T> {
        self.core(move |core, now| core.node_mut().map(|node| work(node, now)))
            .await?
            .ok_or_else(no_cluster)
    }

    /// Finds a network by id, prefix or name.
    async fn definition(&self, network: &NetworkRef) -> Answer<Definition> {
        let wanted = network.as_str().to_owned();
        self.node(move |node, _| {
            resolve("network", &wanted, node.db().definitions(), |definition| {
                (definition.id.to_string(), definition.name.clone())
            })
            .cloned()
        })
        .await?
    }

    /// Returns the driver of a network.
    async fn driver_of(&self, definition: &Definition) -> Answer<crate::registry::NetworkDriver> {
        let found = self.registry.network(&definition.driver).await;
        found.map_err(|error| foreign::no_driver(&error, self))
    }

    /// Returns the IPAM driver of a network.
    async fn ipam_of(&self, definition: &Definition) -> Answer<crate::registry::IpamDriver> {
        let found = self.ipam_driver(&definition.ipam).await;
        found.map_err(|error| foreign::no_driver(&error, self))
    }

    /// Returns the driver of a network that may be deleted: then it is the built-in one.
    async fn driver_for(
        &self,
        definition: Option<&Definition>,
    ) -> Answer<crate::registry::NetworkDriver> {
        match definition {
            Some(definition) => self.driver_of(definition).await,
            None => {
                let overlay = crate::overlay_driver::NETWORK_TYPE;
                self.registry.registered_network(overlay).ok_or_else(|| {
                    ControlError::not_found("the built-in network driver is not registered")
                })
            }
        }
    }

    /// Makes sure that this node takes part in a network and its driver knows it. The caller holds
    /// the network's lock.
    async fn use_network(&self, definition: &Definition) -> Answer<Arc<dyn Driver>> {
        let driver = self.driver_of(definition).await?;
        if self.inventory().is_created(definition.id) {
            return Ok(driver.driver);
        }
        let id = definition.id;
        self.node(move |node, now| node.with_db(now, |db| db.attach(id, now)))
            .await?
            .map_err(table_error)?;
        let mut registration =
            weft_api::driver::NetworkRegistration::new(driver.capability.data_scope);
        let (options, v4, v6) = if driver.driver.is_built_in() {
            crate::overlay_driver::options::options_of(definition)
        } else if self.foreign.knows(id) {
            // From an earlier start: plugins keep what they know.
            self.inventory().mark_created(id);
            return Ok(driver.driver);
        } else {
            self.foreign_network_begins(id, &definition.driver).await?;
            foreign::plugin_options(definition)
        };
        let created = driver.driver.create_network(id, &options, &mut registration, &v4, &v6).await;
        if let Err(error) = created {
            self.stop_using(definition).await;
            return Err(driver_error(error));
        }
        self.inventory().mark_created(id);
        if !driver.driver.is_built_in() {
            self.foreign_network_made(id, &definition.driver).await?;
            self.introduce_nodes(driver.driver.clone()).await?;
        }
        for table in registration.tables().keys() {
            self.register_table(id, table, driver.driver.clone()).await?;
        }
        Ok(driver.driver)
    }

    /// Ends this node's part in a network that nothing here uses any more. The caller holds the
    /// network's lock.
    async fn stop_using(&self, definition: &Definition) {
        self.stop_using_with(definition.id, Some(definition)).await;
    }

    /// Like [`Controller::stop_using`], also for a network that was deleted meanwhile.
    async fn stop_using_with(&self, id: NetworkId, definition: Option<&Definition>) {
        if self.inventory().in_use(id) {
            return;
        }
        if self.foreign.may_know(id) {
            self.settle_network_in_turn(id).await;
        } else if self.inventory().mark_deleted(id)
            && let Ok(driver) = self.driver_for(definition).await
            && let Err(error) = driver.driver.delete_network(id).await
        {
            tracing::warn!(network = %id, %error, "driver did not delete the network");
        }
        self.registrations.remove(id);
        let detached = self
            .node(move |node, now| {
                // Entries written by hand keep the attachment until they are deleted.
                if node.db().has_own_entries(id) {
                    return Ok(());
                }
                node.with_db(now, |db| db.detach(id, now))
            })
            .await;
        if let Ok(Err(error)) = detached {
            tracing::debug!(network = %id, %error, "not detached");
        }
    }

    async fn lock_network(&self, id: NetworkId) -> tokio::sync::OwnedMutexGuard<()> {
        self.locks.lock(format!("network/{id}")).await
    }
}

/// Whether a leave is under way: no endpoint is made meanwhile that it would not find.
#[derive(Debug, Default)]
struct Leaving(AtomicBool);

impl Leaving {
    /// Starts a leave, unless one is under way; it ends with what is returned.
    fn start(&self) -> Option<LeaveUnderWay<'_>> {
        (!self.0.swap(true, Ordering::AcqRel)).then_some(LeaveUnderWay(self))
    }

    fn is_under_way(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Ends the leave, however it went.
struct LeaveUnderWay<'l>(&'l Leaving);

impl Drop for LeaveUnderWay<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}

/// One async lock a key, for as long as somebody holds or awaits it.
#[derive(Debug, Default)]
struct KeyedLocks(Mutex<BTreeMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl KeyedLocks {
    async fn lock(&self, key: String) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            match locks.get(&key).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::default();
                    locks.insert(key, Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}

fn stopped(_: Stopped) -> ControlError {
    ControlError::unavailable("the agent is stopping")
}

fn no_cluster() -> ControlError {
    ControlError::unavailable("this node is in no cluster")
        .with_hint("`weft init` makes one, `weft join ADDR` joins one")
}

fn driver_error(error: DriverError) -> ControlError {
    ControlError::new(kind_of(error.kind()), error.to_string())
}

fn ipam_error(error: IpamError) -> ControlError {
    let hint = match &error {
        IpamError::NoAvailableIps => Some("detach endpoints, or use a network with a larger pool"),
        IpamError::IpAlreadyAllocated => Some("`weft endpoint ls` on each node shows who has it"),
        IpamError::IpOutOfRange => Some("take an address inside the network's subnet"),
        IpamError::PoolOverlap => Some("`weft network ls` shows the pools in use"),
        IpamError::InvalidAddressSpace
        | IpamError::InvalidPool
        | IpamError::InvalidSubPool
        | IpamError::NoIpReturned
        | IpamError::BadPool
        | IpamError::NoMoreSubnets
        | IpamError::Other(_) => None,
    };
    let control = ControlError::new(kind_of(error.kind()), error.to_string());
    match hint {
        Some(hint) => control.with_hint(hint),
        None => control,
    }
}

const fn kind_of(kind: Kind) -> ErrorKind {
    match kind {
        Kind::Forbidden => ErrorKind::Forbidden,
        Kind::NotFound => ErrorKind::NotFound,
        Kind::NotImplemented => ErrorKind::NotImplemented,
        Kind::InvalidParameter => ErrorKind::InvalidParameter,
        Kind::Unavailable => ErrorKind::Unavailable,
        Kind::Internal => ErrorKind::Internal,
    }
}

fn table_error(error: weft_networkdb::TableError) -> ControlError {
    use weft_networkdb::TableError as T;
    let kind = match &error {
        T::NotAttached(_) | T::NotOwner { .. } | T::RolledBack(_) | T::Deleted(_) => {
            ErrorKind::Forbidden
        }
        T::Exists { .. } => ErrorKind::Conflict,
        T::Absent { .. } => ErrorKind::NotFound,
        T::TooLarge { .. } | T::Reserved(_) => ErrorKind::InvalidParameter,
    };
    let hint = match &error {
        T::NotAttached(_) => "attach an endpoint or create an entry here first",
        T::NotOwner { .. } => {
            "delete it on the node that owns it; `weft table get --json` names it"
        }
        T::RolledBack(_) => "the node joins again by itself as a new one; try again then",
        T::Deleted(_) => "`weft network ls` shows the networks there are",
        T::Exists { .. } => "`weft table update` rewrites it",
        T::Absent { .. } => {
            "`weft table ls` shows the keys there are; `weft table create` makes one"
        }
        T::TooLarge { .. } => "keep large values elsewhere, and their place in the table",
        T::Reserved(_) => "write to a table of another name",
    };
    ControlError::new(kind, error.to_string()).with_hint(hint)
}
