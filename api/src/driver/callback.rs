//! How drivers become known, what they can do, and how remote plugins are reached.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::driver::{Driver, DriverError};
use crate::error::Error;

/// How far something reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// This node.
    Local,
    /// The cluster.
    Global,
}

impl Scope {
    /// Returns the scope as the plugin protocol writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Global => "global",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Says why a text is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a scope: local or global")]
pub struct ParseScopeError(String);

impl FromStr for Scope {
    type Err = ParseScopeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "local" => Ok(Self::Local),
            "global" => Ok(Self::Global),
            _ => Err(ParseScopeError(text.to_owned())),
        }
    }
}

/// What libnetwork asks of a network driver at registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capability {
    /// Where its networks are known: with [`Scope::Local`] on one node, and its table
    /// registrations are ignored.
    pub data_scope: Scope,
    /// How far its networks connect.
    pub connectivity_scope: Scope,
}

impl Capability {
    /// The same scope for both.
    pub const fn of(scope: Scope) -> Self {
        Self { data_scope: scope, connectivity_scope: scope }
    }
}

/// What a driver reaches of its host.
pub trait DriverCallback: Send + Sync {
    /// Returns the way to remote plugins, `None` where the host has none.
    fn plugin_getter(&self) -> Option<&dyn PluginGetter>;

    /// Makes `driver` the one for networks of type `name`.
    ///
    /// # Errors
    /// [`DriverError::ActiveRegistration`] when `name` has a driver; that one stays.
    fn register_driver(
        &self,
        name: &str,
        driver: Arc<dyn Driver>,
        capability: Capability,
    ) -> Result<(), DriverError>;
}

/// Is called for each plugin that appears.
pub type PluginHandler = Box<dyn Fn(&str, Arc<dyn Plugin>) + Send + Sync>;

/// Finds remote plugins by what they implement (moby's `plugingetter.PluginGetter`).
#[async_trait]
pub trait PluginGetter: Send + Sync {
    /// Returns the plugin `name`, provided that it implements `endpoint_type`
    /// ([`NETWORK_PLUGIN_ENDPOINT_TYPE`](crate::driver::NETWORK_PLUGIN_ENDPOINT_TYPE) or
    /// [`PLUGIN_ENDPOINT_TYPE`](crate::ipam::PLUGIN_ENDPOINT_TYPE)).
    ///
    /// # Errors
    /// Not found when there is none; unavailable when it does not answer.
    async fn get(&self, name: &str, endpoint_type: &str) -> Result<Arc<dyn Plugin>, Error>;

    /// Returns all plugins that implement `endpoint_type`.
    ///
    /// # Errors
    /// Unavailable when the places to look in cannot be read.
    async fn all(&self, endpoint_type: &str) -> Result<Vec<Arc<dyn Plugin>>, Error>;

    /// Calls `handler` for each plugin that implements `endpoint_type` and appears later.
    fn handle(&self, endpoint_type: &str, handler: PluginHandler);
}

/// A plugin behind a socket.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Returns the name it is registered by.
    fn name(&self) -> &str;

    /// Calls `method`, for example `NetworkDriver.Join`.
    ///
    /// # Errors
    /// What the plugin answered, or unavailable when it did not.
    async fn call(
        &self,
        method: &str,
        arguments: &serde_json::Value,
    ) -> Result<serde_json::Value, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_survives_its_text_and_json() {
        for scope in [Scope::Local, Scope::Global] {
            assert_eq!(scope.as_str().parse(), Ok(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.to_string());
        }
        let error = "Local".parse::<Scope>().unwrap_err();
        assert_eq!(error.to_string(), "`Local` is not a scope: local or global");
    }
}
