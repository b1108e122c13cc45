//! The calls a runtime makes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::CACHE_DIR;
use super::cache::Cache;
use super::conf::NetworkConfig;
use super::conf_list::NetworkConfigList;
use super::runtime::{GcArgs, NetworkAttachment, RuntimeConf};
use crate::error::Error;
use crate::invoke::{BoxFuture, Exec, default_exec};
use crate::types::CniResult;
use crate::version::PluginInfo;

/// What [`Cni`] calls return.
type Answer<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// What to do with a cache entry that cannot be used, on DEL of a single configuration. DEL of
/// a list removes it in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadCache {
    /// Fail, as libcni 1.2.3.
    #[default]
    Fail,
    /// Remove it and go on without a previous result, as libcni after 1.3.0.
    Remove,
}

/// Which configuration deletes a stale attachment during garbage collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StaleConfig {
    /// The one given to the call, as libcni.
    #[default]
    Given,
    /// The one the attachment was made with, or the given one where the cache has none.
    Cached,
}

/// The calls a runtime makes (libcni's interface `CNI`).
pub trait Cni: Send + Sync {
    /// Calls ADD of every plugin in order, each with the result of the one before, and caches
    /// the last result.
    ///
    /// # Errors
    /// The first failure; plugins before it have done their work, and only DEL undoes it.
    fn add_network_list<'a>(
        &'a self,
        list: &'a NetworkConfigList,
        rt: &'a RuntimeConf,
    ) -> Answer<'a, CniResult>;

    /// Calls CHECK of every plugin in order, with the cached result; not at all if the list
    /// disables it.
    ///
    /// # Errors
    /// [`Error::CheckNotSupported`] before 0.4.0, [`Error::GetCachedResult`], or the first
    /// failure.
    fn check_network_list<'a>(
        &'a self,
        list: &'a NetworkConfigList,
        rt: &'a RuntimeConf,
    ) -> Answer<'a, ()>;

    /// Calls DEL of every plugin in reverse order, with the cached result, and forgets the
    /// attachment. Without a usable cache entry the plugins are called without result.
    ///
    /// # Errors
    /// The first failure; plugins before it in the list were not called, and the entry stays
    /// for the next try.
    fn del_network_list<'a>(
        &'a self,
        list: &'a NetworkConfigList,
        rt: &'a RuntimeConf,
    ) -> Answer<'a, ()>;

    /// The cached result, in the list's version.
    ///
    /// # Errors
    /// If an entry is there and cannot be used.
    fn get_network_list_cached_result(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<Option<CniResult>, Error>;

    /// The cached configuration, and `rt` with the cached arguments.
    ///
    /// # Errors
    /// If an entry is there and cannot be used.
    fn get_network_list_cached_config(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<Option<(Vec<u8>, RuntimeConf)>, Error>;

    /// Calls ADD of one plugin and caches its result.
    ///
    /// # Errors
    /// Its failure, or that of writing the cache.
    fn add_network<'a>(
        &'a self,
        conf: &'a NetworkConfig,
        rt: &'a RuntimeConf,
    ) -> Answer<'a, CniResult>;

    /// Calls CHECK of one plugin with the cached result.
    ///
    /// # Errors
    /// As [`Cni::check_network_list`].
    fn check_network<'a>(&'a self, conf: &'a NetworkConfig, rt: &'a RuntimeConf) -> Answer<'a, ()>;

    /// Calls DEL of one plugin with the cached result, and forgets the attachment.
    ///
    /// # Errors
    /// Its failure, or that of reading the cache unless [`BadCache::Remove`] is set.
    fn del_network<'a>(&'a self, conf: &'a NetworkConfig, rt: &'a RuntimeConf) -> Answer<'a, ()>;

    /// As [`Cni::get_network_list_cached_result`].
    ///
    /// # Errors
    /// As there.
    fn get_network_cached_result(
        &self,
        conf: &NetworkConfig,
        rt: &RuntimeConf,
    ) -> Result<Option<CniResult>, Error>;

    /// As [`Cni::get_network_list_cached_config`].
    ///
    /// # Errors
    /// As there.
    fn get_network_cached_config(
        &self,
        conf: &NetworkConfig,
        rt: &RuntimeConf,
    ) -> Result<Option<(Vec<u8>, RuntimeConf)>, Error>;

    /// Checks that every plugin is there and speaks the list's version; gives the capabilities
    /// that are enabled, sorted.
    ///
    /// # Errors
    /// [`Error::Validation`] with all that is wrong.
    fn validate_network_list<'a>(&'a self, list: &'a NetworkConfigList) -> Answer<'a, Vec<String>>;

    /// As [`Cni::validate_network_list`], for one plugin.
    ///
    /// # Errors
    /// What is wrong.
    fn validate_network<'a>(&'a self, conf: &'a NetworkConfig) -> Answer<'a, Vec<String>>;

    /// Calls DEL for every cached attachment to the network that `args` does not list, and
    /// from 1.1.0 on GC of every plugin. Without `args` nothing counts as stale: plugins are
    /// called without a list.
    ///
    /// # Errors
    /// [`Error::Gc`] with all that failed; the rest was done.
    fn gc_network_list<'a>(
        &'a self,
        list: &'a NetworkConfigList,
        args: Option<&'a GcArgs>,
    ) -> Answer<'a, ()>;

    /// Calls STATUS of every plugin in order; before 1.1.0 none.
    ///
    /// # Errors
    /// The first failure, bare, so that code 50 or 51 is seen.
    fn get_status_network_list<'a>(&'a self, list: &'a NetworkConfigList) -> Answer<'a, ()>;

    /// The cached attachments of a container, or of all. What cannot be read is passed over.
    ///
    /// # Errors
    /// [`Error::CacheIo`] if the cache is there and cannot be listed.
    fn get_cached_attachments(
        &self,
        container_id: Option<&str>,
    ) -> Result<Vec<NetworkAttachment>, Error>;

    /// The versions a plugin supports.
    ///
    /// # Errors
    /// If it is not found or does not answer.
    fn get_version_info<'a>(&'a self, plugin_type: &'a str) -> Answer<'a, PluginInfo>;
}

/// [`Cni`] over plugins in directories and a cache on disk.
#[derive(Clone)]
pub struct CniConfig {
    path: Vec<PathBuf>,
    exec: Arc<dyn Exec>,
    cache_dir: Option<PathBuf>,
    bad_cache: BadCache,
    stale_config: StaleConfig,
}

impl fmt::Debug for CniConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CniConfig")
            .field("path", &self.path)
            .field("cache_dir", &self.cache_dir)
            .field("bad_cache", &self.bad_cache)
            .field("stale_config", &self.stale_config)
            .finish_non_exhaustive()
    }
}

impl CniConfig {
    /// Looks for plugins in `path`, in order, and runs them by `exec` or else by the
    /// [default](default_exec). The cache is in [`CACHE_DIR`] unless the
    /// [`RuntimeConf`] says otherwise.
    #[must_use]
    pub fn new(path: Vec<PathBuf>, exec: Option<Arc<dyn Exec>>) -> Self {
        Self {
            path,
            exec: exec.unwrap_or_else(default_exec),
            cache_dir: None,
            bad_cache: BadCache::default(),
            stale_config: StaleConfig::default(),
        }
    }

    /// As [`CniConfig::new`], with the cache in `cache_dir` whatever the [`RuntimeConf`] says.
    #[must_use]
    pub fn with_cache_dir(
        path: Vec<PathBuf>,
        cache_dir: impl Into<PathBuf>,
        exec: Option<Arc<dyn Exec>>,
    ) -> Self {
        Self { cache_dir: Some(cache_dir.into()), ..Self::new(path, exec) }
    }

    /// Sets what DEL of a single configuration does with a bad cache entry.
    #[must_use]
    pub fn on_bad_cache(self, bad_cache: BadCache) -> Self {
        Self { bad_cache, ..self }
    }

    /// Sets which configuration deletes stale attachments.
    #[must_use]
    pub fn collect_with(self, stale_config: StaleConfig) -> Self {
        Self { stale_config, ..self }
    }

    /// The directories searched for plugins.
    #[must_use]
    pub fn path(&self) -> &[PathBuf] {
        &self.path
    }

    /// As [`Cni::add_network_list`], and on failure calls DEL of the whole list, so that
    /// nothing is left of plugins that had succeeded.
    ///
    /// # Errors
    /// What ADD said; [`Error::Rollback`] if DEL failed too and something may be left.
    pub async fn add_or_rollback(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<CniResult, Error> {
        let cause = match self.add_list(list, rt).await {
            Ok(result) => return Ok(result),
            // Nothing ran, and DEL would only fail for the same reason.
            Err(error) if error.is_before_plugins() => return Err(error),
            Err(error) => error,
        };
        match self.del_list(list, rt).await {
            Ok(()) => Err(cause),
            Err(undo) => Err(Error::Rollback { cause: Box::new(cause), undo: Box::new(undo) }),
        }
    }

    pub(super) fn exec(&self) -> &dyn Exec {
        &*self.exec
    }

    pub(super) fn bad_cache(&self) -> BadCache {
        self.bad_cache
    }

    pub(super) fn stale_config(&self) -> StaleConfig {
        self.stale_config
    }

    pub(super) fn find(&self, plugin: &str) -> Result<PathBuf, Error> {
        self.exec.find_in_path(plugin, &self.path)
    }

    pub(super) fn cache(&self, rt: Option<&RuntimeConf>) -> Cache {
        let own = self.cache_dir.as_ref();
        let dir = own.or_else(|| rt.and_then(RuntimeConf::own_cache_dir));
        Cache::new(dir.map_or(Path::new(CACHE_DIR), PathBuf::as_path))
    }
}

impl Cni for CniConfig {
    fn add_network_list<'a>(
        &'a self,
        list: &'a NetworkConfigList,
        rt: &'a RuntimeConf,
    ) -> Answer<'a, CniResult> {
        Box::pin(self.add_list(list, rt))
    }

    fn check_network_list<'a>(
        &'a self,
        list: &'a NetworkConfigList,
        rt: &'a RuntimeConf,
    ) -> Answer<'a, ()> {
        Box::pin(self.check_list(list, rt))
    }

    fn del_network_list<'a>(
        &'a self,
        list: &'a NetworkConfigList,
        rt: &'a RuntimeConf,
    ) -> Answer<'a, ()> {
        Box::pin(self.del_list(list, rt))
    }

    fn get_network_list_cached_result(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<Option<CniResult>, Error> {
        self.cache(Some(rt)).result(&list.name, &list.cni_version, rt)
    }

    fn get_network_list_cached_config(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
    ) -> Result<Option<(Vec<u8>, RuntimeConf)>, Error> {
        self.cache(Some(rt)).config(&list.name, rt)
    }

    fn add_network<'a>(
        &'a self,
        conf: &'a NetworkConfig,
        rt: &'a RuntimeConf,
    ) -> Answer<'a, CniResult> {
        Box::pin(self.add_single(conf, rt))
    }

    fn check_network<'a>(&'a self, conf: &'a NetworkConfig, rt: &'a RuntimeConf) -> Answer<'a, ()> {
        Box::pin(self.check_single(conf, rt))
    }

    fn del_network<'a>(&'a self, conf: &'a NetworkConfig, rt: &'a RuntimeConf) -> Answer<'a, ()> {
        Box::pin(self.del_single(conf, rt))
    }

    fn get_network_cached_result(
        &self,
        conf: &NetworkConfig,
        rt: &RuntimeConf,
    ) -> Result<Option<CniResult>, Error> {
        self.cache(Some(rt)).result(&conf.network.name, &conf.network.cni_version, rt)
    }

    fn get_network_cached_config(
        &self,
        conf: &NetworkConfig,
        rt: &RuntimeConf,
    ) -> Result<Option<(Vec<u8>, RuntimeConf)>, Error> {
        self.cache(Some(rt)).config(&conf.network.name, rt)
    }

    fn validate_network_list<'a>(&'a self, list: &'a NetworkConfigList) -> Answer<'a, Vec<String>> {
        Box::pin(self.validate_list(list))
    }

    fn validate_network<'a>(&'a self, conf: &'a NetworkConfig) -> Answer<'a, Vec<String>> {
        Box::pin(self.validate_single(conf))
    }

    fn gc_network_list<'a>(
        &'a self,
        list: &'a NetworkConfigList,
        args: Option<&'a GcArgs>,
    ) -> Answer<'a, ()> {
        Box::pin(self.gc_list(list, args))
    }

    fn get_status_network_list<'a>(&'a self, list: &'a NetworkConfigList) -> Answer<'a, ()> {
        Box::pin(self.status_list(list))
    }

    fn get_cached_attachments(
        &self,
        container_id: Option<&str>,
    ) -> Result<Vec<NetworkAttachment>, Error> {
        self.cache(None).attachments(container_id)
    }

    fn get_version_info<'a>(&'a self, plugin_type: &'a str) -> Answer<'a, PluginInfo> {
        Box::pin(self.version_info(plugin_type))
    }
}
