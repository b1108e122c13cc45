//! Makes a driver of 2015 a driver of today.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::discovery::{Discover, Discovery};
use crate::driver::legacy::{LegacyDriver, LegacyEndpoint, LegacyInterface, LegacyJoin};
use crate::driver::{
    Driver, DriverError, EventType, InterfaceInfo, IpamData, JoinInfo, NetworkInfo, Options,
};
use crate::error::Error;
use crate::id::{EndpointId, NetworkId};

/// Serves a [`LegacyDriver`] as a [`Driver`].
///
/// What the current form has no place for is remembered here for as long as the endpoint is:
/// further interfaces, and the paths set at `join`. It is not durable; the driver is asked again
/// after a restart as any other is.
pub struct LegacyAdapter<D> {
    driver: D,
    endpoints: Mutex<BTreeMap<(NetworkId, EndpointId), Known>>,
}

#[derive(Default)]
struct Known {
    interfaces: Vec<LegacyInterface>,
    joined: Option<LegacyJoin>,
}

impl<D: LegacyDriver> LegacyAdapter<D> {
    /// Wraps `driver`.
    pub const fn new(driver: D) -> Self {
        Self { driver, endpoints: Mutex::new(BTreeMap::new()) }
    }

    /// Returns the driver.
    pub const fn driver(&self) -> &D {
        &self.driver
    }

    /// Returns all interfaces of an endpoint, the first one being the current form's.
    pub fn interfaces(&self, nid: NetworkId, eid: EndpointId) -> Vec<LegacyInterface> {
        self.known().get(&(nid, eid)).map(|known| known.interfaces.clone()).unwrap_or_default()
    }

    /// Returns what the driver said at the last `join`, `None` outside of a sandbox.
    pub fn joined(&self, nid: NetworkId, eid: EndpointId) -> Option<LegacyJoin> {
        self.known().get(&(nid, eid)).and_then(|known| known.joined.clone())
    }

    /// Returns what the driver has to tell about an endpoint, under the name a caller of 2015
    /// knows.
    ///
    /// # Errors
    /// The driver's.
    pub async fn driver_info(
        &self,
        nid: NetworkId,
        eid: EndpointId,
    ) -> Result<Options, DriverError> {
        self.driver.endpoint_oper_info(nid, eid).await
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(NetworkId, EndpointId), Known>> {
        // Each change is one insertion or removal, so a panic elsewhere leaves the map whole.
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<D: LegacyDriver> Discover for LegacyAdapter<D> {
    async fn discover_new(&self, _: &Discovery) -> Result<(), DriverError> {
        Ok(())
    }

    async fn discover_delete(&self, _: &Discovery) -> Result<(), DriverError> {
        Ok(())
    }
}

#[async_trait]
impl<D: LegacyDriver> Driver for LegacyAdapter<D> {
    async fn network_allocate(
        &self,
        _: NetworkId,
        _: &BTreeMap<String, String>,
        _: &[IpamData],
        _: &[IpamData],
    ) -> Result<BTreeMap<String, String>, DriverError> {
        Err(DriverError::NotImplemented)
    }

    async fn network_free(&self, _: NetworkId) -> Result<(), DriverError> {
        Err(DriverError::NotImplemented)
    }

    async fn create_network(
        &self,
        nid: NetworkId,
        options: &Options,
        _: &mut dyn NetworkInfo,
        _: &[IpamData],
        _: &[IpamData],
    ) -> Result<(), DriverError> {
        self.driver.create_network(nid, options).await
    }

    async fn delete_network(&self, nid: NetworkId) -> Result<(), DriverError> {
        if self.known().keys().any(|(network, _)| *network == nid) {
            let id = nid.to_string();
            return Err(DriverError::ActiveEndpoints { name: id.clone(), id });
        }
        self.driver.delete_network(nid).await
    }

    async fn create_endpoint(
        &self,
        nid: NetworkId,
        eid: EndpointId,
        interface: &mut dyn InterfaceInfo,
        options: &Options,
    ) -> Result<(), DriverError> {
        let mut endpoint = LegacyEndpoint::of(interface);
        self.driver.create_endpoint(nid, eid, &mut endpoint, options).await?;
        if let Err(refusal) = endpoint.settle(interface) {
            return Err(match self.driver.delete_endpoint(nid, eid).await {
                Ok(()) => refusal.into(),
                Err(error) => Error::new(
                    refusal.kind,
                    format_args!("{refusal}; and the driver keeps the endpoint: {error}"),
                )
                .into(),
            });
        }
        let interfaces = endpoint.into_interfaces();
        self.known().insert((nid, eid), Known { interfaces, joined: None });
        Ok(())
    }

    async fn delete_endpoint(&self, nid: NetworkId, eid: EndpointId) -> Result<(), DriverError> {
        self.driver.delete_endpoint(nid, eid).await?;
        self.known().remove(&(nid, eid));
        Ok(())
    }

    async fn endpoint_oper_info(
        &self,
        nid: NetworkId,
        eid: EndpointId,
    ) -> Result<Options, DriverError> {
        self.driver_info(nid, eid).await
    }

    async fn join(
        &self,
        nid: NetworkId,
        eid: EndpointId,
        sandbox_key: &str,
        info: &mut dyn JoinInfo,
        options: &Options,
    ) -> Result<(), DriverError> {
        let mut join = LegacyJoin::new(&self.interfaces(nid, eid));
        self.driver.join(nid, eid, sandbox_key, &mut join, options).await?;
        if let Err(refusal) = join.settle(info) {
            return Err(match self.driver.leave(nid, eid).await {
                Ok(()) => refusal.into(),
                Err(error) => Error::new(
                    refusal.kind,
                    format_args!("{refusal}; and the driver keeps the sandbox: {error}"),
                )
                .into(),
            });
        }
        self.known().entry((nid, eid)).or_default().joined = Some(join);
        Ok(())
    }

    async fn leave(&self, nid: NetworkId, eid: EndpointId) -> Result<(), DriverError> {
        self.driver.leave(nid, eid).await?;
        if let Some(known) = self.known().get_mut(&(nid, eid)) {
            known.joined = None;
        }
        Ok(())
    }

    async fn program_external_connectivity(
        &self,
        _: NetworkId,
        _: EndpointId,
        _: &Options,
    ) -> Result<(), DriverError> {
        Err(DriverError::NotImplemented)
    }

    async fn revoke_external_connectivity(
        &self,
        _: NetworkId,
        _: EndpointId,
    ) -> Result<(), DriverError> {
        Err(DriverError::NotImplemented)
    }

    async fn event_notify(&self, _: EventType, _: NetworkId, _: &str, _: &str, _: &[u8]) {}

    fn decode_table_entry(&self, _: &str, _: &str, _: &[u8]) -> (String, BTreeMap<String, String>) {
        (String::new(), BTreeMap::new())
    }

    fn network_type(&self) -> &str {
        self.driver.network_type()
    }

    fn is_built_in(&self) -> bool {
        false
    }
}
