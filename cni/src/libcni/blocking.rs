//! The runtime's side without an asynchronous runtime.
//!
//! ```no_run
//! use cni::libcni::blocking::{Cni, CniConfig};
//! use cni::libcni::{RuntimeConf, load_conf_list};
//!
//! let list = load_conf_list("/etc/cni/net.d".as_ref(), "pods")?;
//! let cni = CniConfig::new(vec!["/opt/cni/bin".into()], None);
//! let result = cni.add_network_list(&list, &RuntimeConf::new("6f1c2a", "/run/netns/x", "eth0"))?;
//! println!("{:?}", result.to_current()?.ips);
//! # Ok::<(), cni::Error>(())
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use super::{Cni as _, GcArgs, NetworkAttachment, NetworkConfig, NetworkConfigList, RuntimeConf};
use crate::error::Error;
use crate::invoke::blocking::{Adapter, Exec, RawExec, now};
use crate::types::CniResult;
use crate::version::PluginInfo;

/// The calls a runtime makes; each as in [`super::Cni`], errors included.
pub trait Cni: Send + Sync {
    /// See [`super::Cni::add_network_list`].
    fn add_network_list(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<CniResult, Error>;

    /// See [`super::Cni::check_network_list`].
    fn check_network_list(&self, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<(), Error>;

    /// See [`super::Cni::del_network_list`].
    fn del_network_list(&self, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<(), Error>;

    /// See [`super::Cni::get_network_list_cached_result`].
    fn get_network_list_cached_result(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<Option<CniResult>, Error>;

    /// See [`super::Cni::get_network_list_cached_config`].
    fn get_network_list_cached_config(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<Option<(Vec<u8>, RuntimeConf)>, Error>;

    /// See [`super::Cni::add_network`].
    fn add_network(&self, conf: &NetworkConfig, rt: &RuntimeConf) -> Result<CniResult, Error>;

    /// See [`super::Cni::check_network`].
    fn check_network(&self, conf: &NetworkConfig, rt: &RuntimeConf) -> Result<(), Error>;

    /// See [`super::Cni::del_network`].
    fn del_network(&self, conf: &NetworkConfig, rt: &RuntimeConf) -> Result<(), Error>;

    /// See [`super::Cni::get_network_cached_result`].
    fn get_network_cached_result(
        &self,
        conf: &NetworkConfig,
        rt: &RuntimeConf,
    ) -> Result<Option<CniResult>, Error>;

    /// See [`super::Cni::get_network_cached_config`].
    fn get_network_cached_config(
        &self,
        conf: &NetworkConfig,
        rt: &RuntimeConf,
    ) -> Result<Option<(Vec<u8>, RuntimeConf)>, Error>;

    /// See [`super::Cni::validate_network_list`].
    fn validate_network_list(&self, list: &NetworkConfigList) -> Result<Vec<String>, Error>;

    /// See [`super::Cni::validate_network`].
    fn validate_network(&self, conf: &NetworkConfig) -> Result<Vec<String>, Error>;

    /// See [`super::Cni::gc_network_list`].
    fn gc_network_list(&self, list: &NetworkConfigList, args: Option<&GcArgs>)
    -> Result<(), Error>;

    /// See [`super::Cni::get_status_network_list`].
    fn get_status_network_list(&self, list: &NetworkConfigList) -> Result<(), Error>;

    /// See [`super::Cni::get_cached_attachments`].
    fn get_cached_attachments(
        &self,
        container_id: Option<&str>,
    ) -> Result<Vec<NetworkAttachment>, Error>;

    /// See [`super::Cni::get_version_info`].
    fn get_version_info(&self, plugin_type: &str) -> Result<PluginInfo, Error>;
}

/// [`Cni`] over plugins in directories and a cache on disk.
#[derive(Clone, Debug)]
pub struct CniConfig {
    // Its exec is an `Adapter`, so that all its futures are ready at once.
    inner: super::CniConfig,
}

impl CniConfig {
    /// As [`super::CniConfig::new`]; the default exec is [`RawExec`].
    #[must_use]
    pub fn new(path: Vec<PathBuf>, exec: Option<Arc<dyn Exec>>) -> Self {
        Self { inner: super::CniConfig::new(path, Some(adapted(exec))) }
    }

    /// As [`super::CniConfig::with_cache_dir`].
    #[must_use]
    pub fn with_cache_dir(
        path: Vec<PathBuf>,
        cache_dir: impl Into<PathBuf>,
        exec: Option<Arc<dyn Exec>>,
    ) -> Self {
        Self { inner: super::CniConfig::with_cache_dir(path, cache_dir, Some(adapted(exec))) }
    }

    /// Sets what DEL of a single configuration does with a bad cache entry.
    #[must_use]
    pub fn on_bad_cache(self, bad_cache: super::BadCache) -> Self {
        Self { inner: self.inner.on_bad_cache(bad_cache) }
    }

    /// Sets which configuration deletes stale attachments.
    #[must_use]
    pub fn collect_with(self, stale_config: super::StaleConfig) -> Self {
        Self { inner: self.inner.collect_with(stale_config) }
    }

    /// See [`super::CniConfig::add_or_rollback`].
    ///
    /// # Errors
    /// As there.
    pub fn add_or_rollback(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<CniResult, Error> {
        now(self.inner.add_or_rollback(list, rt))
    }
}

fn adapted(exec: Option<Arc<dyn Exec>>) -> Arc<dyn crate::invoke::Exec> {
    Arc::new(Adapter(exec.unwrap_or_else(|| Arc::new(RawExec::default()))))
}

impl Cni for CniConfig {
    fn add_network_list(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<CniResult, Error> {
        now(self.inner.add_network_list(list, rt))
    }

    fn check_network_list(&self, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<(), Error> {
        now(self.inner.check_network_list(list, rt))
    }

    fn del_network_list(&self, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<(), Error> {
        now(self.inner.del_network_list(list, rt))
    }

    fn get_network_list_cached_result(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<Option<CniResult>, Error> {
        self.inner.get_network_list_cached_result(list, rt)
    }

    fn get_network_list_cached_config(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<Option<(Vec<u8>, RuntimeConf)>, Error> {
        self.inner.get_network_list_cached_config(list, rt)
    }

    fn add_network(&self, conf: &NetworkConfig, rt: &RuntimeConf) -> Result<CniResult, Error> {
        now(self.inner.add_network(conf, rt))
    }

    fn check_network(&self, conf: &NetworkConfig, rt: &RuntimeConf) -> Result<(), Error> {
        now(self.inner.check_network(conf, rt))
    }

    fn del_network(&self, conf: &NetworkConfig, rt: &RuntimeConf) -> Result<(), Error> {
        now(self.inner.del_network(conf, rt))
    }

    fn get_network_cached_result(
        &self,
        conf: &NetworkConfig,
        rt: &RuntimeConf,
    ) -> Result<Option<CniResult>, Error> {
        self.inner.get_network_cached_result(conf, rt)
    }

    fn get_network_cached_config(
        &self,
        conf: &NetworkConfig,
        rt: &RuntimeConf,
    ) -> Result<Option<(Vec<u8>, RuntimeConf)>, Error> {
        self.inner.get_network_cached_config(conf, rt)
    }

    fn validate_network_list(&self, list: &NetworkConfigList) -> Result<Vec<String>, Error> {
        now(self.inner.validate_network_list(list))
    }

    fn validate_network(&self, conf: &NetworkConfig) -> Result<Vec<String>, Error> {
        now(self.inner.validate_network(conf))
    }

    fn gc_network_list(
        &self,
        list: &NetworkConfigList,
        args: Option<&GcArgs>,
    ) -> Result<(), Error> {
        now(self.inner.gc_network_list(list, args))
    }

    fn get_status_network_list(&self, list: &NetworkConfigList) -> Result<(), Error> {
        now(self.inner.get_status_network_list(list))
    }

    fn get_cached_attachments(
        &self,
        container_id: Option<&str>,
    ) -> Result<Vec<NetworkAttachment>, Error> {
        self.inner.get_cached_attachments(container_id)
    }

    fn get_version_info(&self, plugin_type: &str) -> Result<PluginInfo, Error> {
        now(self.inner.get_version_info(plugin_type))
    }
}
