//! Third parties' plugins: network and IPAM drivers that speak Docker's plugin protocol.
//!
//! A plugin is looked for by name when it is first asked for (`discovery`), and again at each
//! call, so that one that moved is found and one that is gone is said to be. Calls are POSTs of
//! JSON (`client`); [`RemoteDriver`] and [`RemoteIpam`] put the contracts into them.

mod client;
mod discovery;
mod location;
mod remote_driver;
mod remote_ipam;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weft_api::driver::{Plugin, PluginGetter, PluginHandler};
use weft_api::error::Error;
use weft_api::plugin::{ACTIVATE, Manifest};

use client::Call;
pub use discovery::Directories;
pub use remote_driver::RemoteDriver;
pub use remote_ipam::RemoteIpam;

/// How long a plugin is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For one answer. A call that took longer is not repeated: the plugin may be at it still.
    pub answer: Duration,
    /// In which a plugin that cannot be reached is tried again; the protocol's own bound is 30 s.
    pub reach: Duration,
    /// First pause between two tries; doubles.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            reach: Duration::from_secs(10),
            pause: Duration::from_millis(100),
        }
    }
}

/// The plugins of this host.
pub struct Plugins {
    places: Arc<Places>,
    activated: Mutex<BTreeSet<String>>,
    handlers: Mutex<Vec<(String, PluginHandler)>>,
}

/// Where plugins are, and how they are waited for.
#[derive(Debug, Default)]
struct Places {
    directories: Directories,
    /// Sockets of this agent itself: it would wait for its own answer.
    own: Vec<PathBuf>,
    patience: Patience,
}

impl fmt::Debug for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plugins({:?})", self.places)
    }
}

impl Plugins {
    /// Looks in `directories`, and never takes one of the sockets `own` for a plugin.
    pub fn new(directories: Directories, own: Vec<PathBuf>, patience: Patience) -> Self {
        Self {
            places: Arc::new(Places { directories, own, patience }),
            activated: Mutex::default(),
            handlers: Mutex::default(),
        }
    }

    /// Returns where it looks.
    pub fn directories(&self) -> &Directories {
        &self.places.directories
    }

    async fn activate(&self, name: &str) -> Result<(Arc<dyn Plugin>, Manifest), Error> {
        // One that is not there is not waited for: the name may be mistyped.
        self.places.directories.locate(name, &self.places.own).await?;
        let plugin = RemotePlugin { name: name.to_owned(), places: self.places.clone() };
        let answer = plugin.post(ACTIVATE, &Value::Null).await?;
        let manifest: Manifest = serde_json::from_value(answer).map_err(|error| {
            Error::unavailable(format!("plugin `{name}` answered no manifest: {error}"))
        })?;
        Ok((Arc::new(plugin), manifest))
    }

    /// Tells those who asked of a plugin that was not there before.
    fn announce(&self, name: &str, plugin: &Arc<dyn Plugin>, manifest: &Manifest) {
        let is_new =
            self.activated.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        if !is_new {
            return;
        }
        tracing::info!(plugin = name, implements = ?manifest.implements, "plugin activated");
        let handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        for (endpoint_type, handler) in handlers.iter() {
            if manifest.implements.contains(endpoint_type) {
                handler(name, plugin.clone());
            }
        }
    }
}

#[async_trait]
impl PluginGetter for Plugins {
    async fn get(&self, name: &str, endpoint_type: &str) -> Result<Arc<dyn Plugin>, Error> {
        let (plugin, manifest) = self.activate(name).await?;
        if !manifest.implements.iter().any(|implemented| implemented == endpoint_type) {
            return Err(Error::not_found(format!(
                "plugin `{name}` is no {endpoint_type}: it implements {}",
                if manifest.implements.is_empty() {
                    "nothing".to_owned()
                } else {
                    manifest.implements.join(", ")
                }
            )));
        }
        self.announce(name, &plugin, &manifest);
        Ok(plugin)
    }

    async fn all(&self, endpoint_type: &str) -> Result<Vec<Arc<dyn Plugin>>, Error> {
        let mut found = Vec::new();
        for name in self.places.directories.names().await? {
            match self.get(&name, endpoint_type).await {
                Ok(plugin) => found.push(plugin),
                Err(error) => tracing::debug!(plugin = name, %error, "plugin passed over"),
            }
        }
        Ok(found)
    }

    fn handle(&self, endpoint_type: &str, handler: PluginHandler) {
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        handlers.push((endpoint_type.to_owned(), handler));
    }
}

/// A plugin by name; where it is, is looked up at each call.
#[derive(Debug)]
struct RemotePlugin {
    name: String,
    places: Arc<Places>,
}

impl RemotePlugin {
    async fn post(&self, path: &str, arguments: &Value) -> Result<Value, Error> {
        Call { plugin: &self.name, path, arguments, places: &self.places }.make().await
    }
}

#[async_trait]
impl Plugin for RemotePlugin {
    fn name(&self) -> &str {
        &self.name
    }

    async fn call(&self, method: &str, arguments: &Value) -> Result<Value, Error> {
        self.post(&format!("/{method}"), arguments).await
    }
}

/// Calls with the protocol's own types.
async fn ask<T: DeserializeOwned>(
    plugin: &dyn Plugin,
    method: &str,
    request: &impl Serialize,
) -> Result<T, Error> {
    let name = plugin.name();
    let arguments = serde_json::to_value(request)
        .map_err(|error| Error::internal(format!("request to plugin `{name}`: {error}")))?;
    let answer = plugin.call(method, &arguments).await?;
    serde_json::from_value(answer).map_err(|error| {
        Error::unavailable(format!("plugin `{name}` gave no answer to {method}: {error}"))
    })
}
