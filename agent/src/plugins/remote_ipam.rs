//! An IPAM driver behind a plugin (libnetwork's `ipams/remote`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use ipnetwork::IpNetwork;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weft_api::cidr::parse_cidr;
use weft_api::driver::Plugin;
use weft_api::error::Error;
use weft_api::ipam::{AllocatedPool, Capability, Ipam, IpamError, PoolRequest};
use weft_api::plugin::Empty;
use weft_api::plugin::ipam::{
    AddressSpaces, Capabilities, PATH, ReleaseAddressRequest, ReleasePoolRequest,
    RequestAddressRequest, RequestAddressResponse, RequestPoolRequest, RequestPoolResponse,
};

/// Longest pool id, in bytes: it is kept in the network's definition.
const POOL_ID_BYTES_MAX: usize = 512;

/// An IPAM driver behind a plugin.
pub struct RemoteIpam {
    plugin: Arc<dyn Plugin>,
}

impl fmt::Debug for RemoteIpam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteIpam({})", self.plugin.name())
    }
}

impl RemoteIpam {
    /// Makes the driver and asks what it requires. A plugin that does not say requires nothing:
    /// the question is younger than the protocol.
    pub async fn connect(plugin: Arc<dyn Plugin>) -> (Self, Capability) {
        let driver = Self { plugin };
        let capability = match driver.ask::<Capabilities>("GetCapabilities", &Value::Null).await {
            Ok(capabilities) => Capability {
                requires_mac_address: capabilities.requires_mac_address,
                requires_request_replay: capabilities.requires_request_replay,
            },
            Err(error) => {
                tracing::debug!(plugin = driver.plugin.name(), %error, "no capabilities");
                Capability::default()
            }
        };
        (driver, capability)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        call: &str,
        request: &impl Serialize,
    ) -> Result<T, IpamError> {
        let method = format!("{}{call}", PATH.trim_start_matches('/'));
        Ok(super::ask(&*self.plugin, &method, request).await?)
    }

    /// What the plugin answered cannot be used.
    fn unusable(&self, what: impl fmt::Display) -> IpamError {
        Error::unavailable(format!("plugin `{}` answered {what}", self.plugin.name())).into()
    }

    fn check_pool(
        &self,
        request: &PoolRequest,
        answer: RequestPoolResponse,
    ) -> Result<AllocatedPool, IpamError> {
        let RequestPoolResponse { pool_id, pool: text, data } = answer;
        let pool = parse_cidr(&text).map_err(|error| self.unusable(error))?;
        if pool.ip() != pool.network() {
            return Err(self.unusable(format!("pool `{pool}`, which has host bits set")));
        }
        match request.pool {
            Some(asked) if asked != pool => {
                return Err(self.unusable(format!("pool `{pool}` in place of `{asked}`")));
            }
            None if pool.is_ipv6() != request.v6 => {
                return Err(self.unusable(format!("pool `{pool}` of the wrong family")));
            }
            Some(_) | None => {}
        }
        Ok(AllocatedPool { pool_id, pool, meta: data })
    }

    fn check_address(&self, asked: Option<IpAddr>, text: &str) -> Result<IpNetwork, IpamError> {
        let address = parse_cidr(text).map_err(|error| self.unusable(error))?;
        match asked {
            Some(asked) if asked != address.ip() => {
                Err(self.unusable(format!("address `{}` in place of `{asked}`", address.ip())))
            }
            Some(_) | None => Ok(address),
        }
    }
}

#[async_trait]
impl Ipam for RemoteIpam {
    async fn get_default_address_spaces(&self) -> Result<(String, String), IpamError> {
        let spaces: AddressSpaces = self.ask("GetDefaultAddressSpaces", &Value::Null).await?;
        Ok((spaces.local_default_address_space, spaces.global_default_address_space))
    }

    async fn request_pool(&self, request: PoolRequest) -> Result<AllocatedPool, IpamError> {
        let text = |pool: Option<IpNetwork>| pool.map(|p| p.to_string()).unwrap_or_default();
        let asked = RequestPoolRequest {
            address_space: request.address_space.clone(),
            pool: text(request.pool),
            sub_pool: text(request.sub_pool),
            options: request.options.clone(),
            v6: request.v6,
        };
        let answer: RequestPoolResponse = self.ask("RequestPool", &asked).await?;
        if answer.pool_id.is_empty() || answer.pool_id.len() > POOL_ID_BYTES_MAX {
            return Err(self.unusable(format!(
                "a pool id of {} bytes, not 1 to {POOL_ID_BYTES_MAX}",
                answer.pool_id.len()
            )));
        }
        let pool_id = answer.pool_id.clone();
        let checked = self.check_pool(&request, answer);
        if checked.is_err()
            && let Err(error) = self.release_pool(&pool_id).await
        {
            tracing::warn!(plugin = self.plugin.name(), pool_id, %error, "pool was not released");
        }
        checked
    }

    async fn release_pool(&self, pool_id: &str) -> Result<(), IpamError> {
        let request = ReleasePoolRequest { pool_id: pool_id.to_owned() };
        self.ask::<Empty>("ReleasePool", &request).await.map(drop)
    }

    async fn request_address(
        &self,
        pool_id: &str,
        address: Option<IpAddr>,
        options: &BTreeMap<String, String>,
    ) -> Result<(IpNetwork, BTreeMap<String, String>), IpamError> {
        let request = RequestAddressRequest {
            pool_id: pool_id.to_owned(),
            address: address.map(|address| address.to_string()).unwrap_or_default(),
            options: options.clone(),
        };
        let answer: RequestAddressResponse = self.ask("RequestAddress", &request).await?;
        if answer.address.is_empty() {
            return Err(IpamError::NoIpReturned);
        }
        let checked = self.check_address(address, &answer.address);
        if checked.is_err()
            && let Ok(given) = parse_cidr(&answer.address)
            && let Err(error) = self.release_address(pool_id, given.ip()).await
        {
            tracing::warn!(plugin = self.plugin.name(), %error, "address was not released");
        }
        Ok((checked?, answer.data))
    }

    async fn release_address(&self, pool_id: &str, address: IpAddr) -> Result<(), IpamError> {
        let request =
            ReleaseAddressRequest { pool_id: pool_id.to_owned(), address: address.to_string() };
        self.ask::<Empty>("ReleaseAddress", &request).await.map(drop)
    }

    fn is_built_in(&self) -> bool {
        false
    }
}
