//! The drivers this agent knows, built in or remote.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use weft_api::Kind;
use weft_api::driver::{
    Capability, Driver, DriverCallback, DriverError, NETWORK_PLUGIN_ENDPOINT_TYPE, Plugin,
    PluginGetter, Scope,
};
use weft_api::error::Error;
use weft_api::ipam::{
    Capability as IpamCapability, Ipam, IpamError, PLUGIN_ENDPOINT_TYPE, Registerer,
};

use crate::plugins::{Plugins, RemoteDriver, RemoteIpam};

/// A registered network driver.
#[derive(Clone)]
pub struct NetworkDriver {
    /// The driver.
    pub driver: Arc<dyn Driver>,
    /// What it said at registration.
    pub capability: Capability,
}

impl std::fmt::Debug for NetworkDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NetworkDriver({}, {:?})", self.driver.network_type(), self.capability)
    }
}

/// A registered IPAM driver.
#[derive(Clone)]
pub struct IpamDriver {
    /// The driver.
    pub driver: Arc<dyn Ipam>,
    /// What it requires.
    pub capability: IpamCapability,
}

/// Network and IPAM drivers by name. One that is not registered is looked for among the plugins,
/// each time anew until there is one.
#[derive(Default)]
pub struct Registry {
    networks: RwLock<BTreeMap<String, NetworkDriver>>,
    ipams: RwLock<BTreeMap<String, IpamDriver>>,
    plugins: Option<Plugins>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({:?})", self.network_types())
    }
}

impl Registry {
    /// Makes a registry that finds drivers among `plugins`, too.
    pub fn with_plugins(plugins: Plugins) -> Self {
        Self { plugins: Some(plugins), ..Self::default() }
    }

    /// Returns the driver of a network type, which may be a plugin that nobody asked for yet.
    ///
    /// # Errors
    /// Not found when there is none, or what the plugin of that name answered.
    pub async fn network(&self, name: &str) -> Result<NetworkDriver, Error> {
        if let Some(driver) = self.registered_network(name) {
            return Ok(driver);
        }
        let plugin = self.plugin("network", name, NETWORK_PLUGIN_ENDPOINT_TYPE).await?;
        let (driver, capability) =
            RemoteDriver::connect(plugin).await.map_err(|error| Error::new(error.kind(), error))?;
        // Somebody else may have asked at the same time; whichever came first is as good.
        drop(self.register_driver(name, Arc::new(driver), capability));
        self.registered_network(name).ok_or_else(|| Error::internal("a driver was not registered"))
    }

    /// Returns an IPAM driver, which may be a plugin that nobody asked for yet.
    ///
    /// # Errors
    /// Not found when there is none, or what the plugin of that name answered.
    pub async fn ipam(&self, name: &str) -> Result<IpamDriver, Error> {
        if let Some(driver) = read(&self.ipams).get(name).cloned() {
            return Ok(driver);
        }
        let plugin = self.plugin("IPAM", name, PLUGIN_ENDPOINT_TYPE).await?;
        let (driver, capability) = RemoteIpam::connect(plugin).await;
        // As above.
        drop(self.register_ipam_driver_with_capabilities(name, Arc::new(driver), capability));
        let registered = read(&self.ipams).get(name).cloned();
        registered.ok_or_else(|| Error::internal("a driver was not registered"))
    }

    async fn plugin(
        &self,
        what: &str,
        name: &str,
        endpoint_type: &str,
    ) -> Result<Arc<dyn Plugin>, Error> {
        let absent = |error: &Error| {
            Error::not_found(format!("{what} driver `{name}` is not on this node: {error}"))
        };
        match &self.plugins {
            None => Err(absent(&Error::not_found("it has no plugins"))),
            Some(plugins) => plugins
                .get(name, endpoint_type)
                .await
                .map_err(|error| if error.kind == Kind::NotFound { absent(&error) } else { error }),
        }
    }

    /// Returns the driver of a network type, where it is registered.
    pub fn registered_network(&self, name: &str) -> Option<NetworkDriver> {
        read(&self.networks).get(name).cloned()
    }

    /// Lists the network types.
    pub fn network_types(&self) -> Vec<String> {
        read(&self.networks).keys().cloned().collect()
    }

    /// Lists the IPAM drivers.
    pub fn ipam_names(&self) -> Vec<String> {
        read(&self.ipams).keys().cloned().collect()
    }
}

impl DriverCallback for Registry {
    fn plugin_getter(&self) -> Option<&dyn PluginGetter> {
        self.plugins.as_ref().map(|plugins| plugins as &dyn PluginGetter)
    }

    fn register_driver(
        &self,
        name: &str,
        driver: Arc<dyn Driver>,
        capability: Capability,
    ) -> Result<(), DriverError> {
        let mut networks = write(&self.networks);
        if networks.contains_key(name) {
            return Err(DriverError::ActiveRegistration(name.to_owned()));
        }
        networks.insert(name.to_owned(), NetworkDriver { driver, capability });
        Ok(())
    }
}

impl Registerer for Registry {
    fn register_ipam_driver(&self, name: &str, driver: Arc<dyn Ipam>) -> Result<(), IpamError> {
        self.register_ipam_driver_with_capabilities(name, driver, IpamCapability::default())
    }

    fn register_ipam_driver_with_capabilities(
        &self,
        name: &str,
        driver: Arc<dyn Ipam>,
        capability: IpamCapability,
    ) -> Result<(), IpamError> {
        let mut ipams = write(&self.ipams);
        if ipams.contains_key(name) {
            return Err(IpamError::Other(weft_api::error::Error::forbidden(format!(
                "ipam driver already registered with name {name:?}"
            ))));
        }
        ipams.insert(name.to_owned(), IpamDriver { driver, capability });
        Ok(())
    }
}

/// Whether a driver's networks take part in the cluster's tables.
pub const fn is_global(capability: Capability) -> bool {
    matches!(capability.data_scope, Scope::Global)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}
