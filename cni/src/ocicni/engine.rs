//! What both forms of the pod layer share: the networks, the plugins, the locks.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Mutex, OwnedRwLockReadGuard};

use super::locks::{PodGuard, PodLocks};
use super::networks::{Networks, load_networks};
use super::options::{Options, Watch};
use super::pod::{NetAttachment, PodNetwork};
use super::vendor_cni_dir;
use crate::error::Error;
use crate::invoke::Exec;
use crate::libcni::{CniConfig, NetworkConfigList, StaleConfig};

/// How plugins are found and run.
#[derive(Clone)]
pub(super) struct Plugins {
    bin_dirs: Vec<PathBuf>,
    vendor_prefix: PathBuf,
    cache_dir: PathBuf,
    exec: Arc<dyn Exec>,
}

impl Plugins {
    /// The library for one network: its plugins may be in directories of their vendors.
    pub(super) fn of(&self, list: &NetworkConfigList) -> CniConfig {
        let mut path = self.bin_dirs.clone();
        for conf in &list.plugins {
            let plugin = &conf.network.plugin_type;
            let is_name = !plugin.contains('/') && !matches!(plugin.as_str(), "" | "." | "..");
            let vendor = vendor_cni_dir(&self.vendor_prefix, plugin);
            if is_name && !path.contains(&vendor) {
                path.push(vendor);
            }
        }
        CniConfig::with_cache_dir(path, &self.cache_dir, Some(self.exec.clone()))
            .collect_with(StaleConfig::Cached)
    }

    /// The library for what needs no plugin: the cache.
    pub(super) fn cache(&self) -> CniConfig {
        self.of(&NetworkConfigList::default())
    }
}

/// The state of the pod layer.
pub(super) struct Engine {
    conf_dir: PathBuf,
    pub(super) plugins: Plugins,
    pub(super) more_args: Vec<(String, String)>,
    pub(super) watch: Watch,
    default_network: Option<String>,
    networks: RwLock<Arc<Networks>>,
    /// Held while the directory is read, so that an older reading never replaces a newer one.
    reading: Mutex<()>,
    /// Held for writing by garbage collection and shutdown, for reading by all that is done for
    /// a pod.
    pub(super) work: Arc<tokio::sync::RwLock<()>>,
    pods: PodLocks,
    is_shut_down: AtomicBool,
}

/// The right to work on a pod while nothing is collected, until dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _pod: PodGuard,
    _work: OwnedRwLockReadGuard<()>,
}

impl Engine {
    pub(super) fn new(options: Options, exec: Arc<dyn Exec>) -> Self {
        Self {
            conf_dir: options.conf_dir,
            plugins: Plugins {
                bin_dirs: options.bin_dirs,
                vendor_prefix: options.vendor_prefix,
                cache_dir: options.cache_dir,
                exec,
            },
            more_args: options.args,
            watch: options.watch,
            default_network: options.default_network,
            networks: RwLock::default(),
            reading: Mutex::default(),
            work: Arc::default(),
            pods: PodLocks::default(),
            is_shut_down: AtomicBool::new(false),
        }
    }

    /// The directories that say what networks there are.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let mut directories = self.plugins.bin_dirs.clone();
        directories.insert(0, self.conf_dir.clone());
        directories
    }

    /// Reads the directory of configurations anew.
    pub(super) async fn reload(&self) -> Result<(), Error> {
        let _reading = self.reading.lock().await;
        let networks = load_networks(&self.conf_dir, &self.plugins).await?;
        let before = self.networks();
        let (old, new) = (self.elect(&before), self.elect(&networks));
        if old != new {
            tracing::info!(from = old, to = new, "default network");
        }
        *self.networks.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(networks);
        Ok(())
    }

    pub(super) fn networks(&self) -> Arc<Networks> {
        self.networks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The network that is the default: the one that was chosen once there is one of its name,
    /// or the first where none was.
    fn elect<'a>(&'a self, networks: &'a Networks) -> Option<&'a str> {
        match &self.default_network {
            Some(name) => networks.get(name).map(|_| name.as_str()),
            None => networks.first(),
        }
    }

    /// The name of the default network, be there one of that name or not.
    pub(super) fn default_name(&self) -> Option<String> {
        let elected = || self.networks().first().map(str::to_owned);
        self.default_network.clone().or_else(elected)
    }

    pub(super) fn default_list(&self) -> Result<Arc<NetworkConfigList>, Error> {
        let networks = self.networks();
        let list = self.elect(&networks).and_then(|name| networks.get(name)).cloned();
        list.ok_or_else(|| Error::NoDefaultNetwork {
            dir: self.conf_dir.clone(),
            skipped: networks.skipped.clone(),
        })
    }

    /// A network by name, looked for on disk where it is not known: it may have come this
    /// moment.
    pub(super) async fn network(&self, name: &str) -> Result<Arc<NetworkConfigList>, Error> {
        if let Some(list) = self.networks().get(name) {
            return Ok(list.clone());
        }
        self.reload().await?;
        self.networks().get(name).cloned().ok_or_else(|| Error::UnknownNetwork(name.to_owned()))
    }

    /// The networks a pod asks for, or the default one.
    pub(super) async fn wanted(&self, pod: &PodNetwork) -> Result<Vec<NetAttachment>, Error> {
        if !pod.networks.is_empty() {
            return super::arguments::name_interfaces(&pod.networks);
        }
        if self.default_list().is_err() {
            self.reload().await?;
        }
        let list = self.default_list()?;
        super::arguments::name_interfaces(&[NetAttachment::to(&list.name)])
    }

    /// Waits for the right to work on a pod.
    pub(super) async fn turn(&self, pod: &PodNetwork) -> Result<Turn, Error> {
        let work = self.work.clone().read_owned().await;
        let turn = Turn { _pod: self.pods.lock(pod).await, _work: work };
        self.demand_open()?;
        Ok(turn)
    }

    pub(super) fn demand_open(&self) -> Result<(), Error> {
        if self.is_shut_down.load(Ordering::Acquire) { Err(Error::ShutDown) } else { Ok(()) }
    }

    /// Refuses new work from now on, and waits for the end of what is being done.
    pub(super) async fn close(&self) {
        self.is_shut_down.store(true, Ordering::Release);
        drop(self.work.write().await);
    }
}
