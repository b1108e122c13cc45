//! The drivers this agent knows, built in or remote.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use weft_api::driver::{Capability, Driver, DriverCallback, DriverError, PluginGetter, Scope};
use weft_api::ipam::{Capability as IpamCapability, Ipam, IpamError, Registerer};

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

/// A registered IPAM driver, and what it requires.
type IpamDriver = (Arc<dyn Ipam>, IpamCapability);

/// Network and IPAM drivers by name.
#[derive(Default)]
pub struct Registry {
    networks: RwLock<BTreeMap<String, NetworkDriver>>,
    ipams: RwLock<BTreeMap<String, IpamDriver>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({:?})", self.network_types())
    }
}

impl Registry {
    /// Returns the driver of a network type.
    pub fn network(&self, name: &str) -> Option<NetworkDriver> {
        read(&self.networks).get(name).cloned()
    }

    /// Returns an IPAM driver.
    pub fn ipam(&self, name: &str) -> Option<Arc<dyn Ipam>> {
        read(&self.ipams).get(name).map(|(driver, _)| driver.clone())
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
        None
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
        ipams.insert(name.to_owned(), (driver, capability));
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
