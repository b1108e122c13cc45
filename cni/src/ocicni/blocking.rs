//! The pod layer without an asynchronous runtime.
//!
//! ```no_run
//! use cni::ocicni::blocking::{CniPlugin, init_cni};
//!
//! let plugin = init_cni("", Vec::new())?;
//! plugin.set_up_pod("/run/netns/6f1c2a", "default", "web-0", "6f1c2a")?;
//! # Ok::<(), cni::Error>(())
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use super::block_on::block_on;
use super::{
    CniPlugin as _, ContainerNetworkStatus, NetResult, Options, PLUGIN_TIME_MAX, PodNetwork,
};
use crate::error::Error;
use crate::invoke::blocking::{Adapter, Exec, RawExec};

/// What a runtime of pods calls; each as in [`super::CniPlugin`], errors included.
pub trait CniPlugin: Send + Sync {
    /// See [`super::CniPlugin::name`].
    fn name(&self) -> &'static str {
        super::CNI_PLUGIN_NAME
    }

    /// See [`super::CniPlugin::set_up_pod`].
    fn set_up_pod(
        &self,
        netns_path: &str,
        namespace: &str,
        name: &str,
        container_id: &str,
    ) -> Result<(), Error> {
        let pod = PodNetwork::new(netns_path, namespace, name, container_id);
        self.set_up_pod_networks(&pod).map(drop)
    }

    /// See [`super::CniPlugin::tear_down_pod`].
    fn tear_down_pod(
        &self,
        netns_path: &str,
        namespace: &str,
        name: &str,
        container_id: &str,
    ) -> Result<(), Error> {
        self.tear_down_pod_networks(&PodNetwork::new(netns_path, namespace, name, container_id))
    }

    /// See [`super::CniPlugin::get_container_network_status`].
    fn get_container_network_status(
        &self,
        netns_path: &str,
        namespace: &str,
        name: &str,
        container_id: &str,
    ) -> Result<ContainerNetworkStatus, Error>;

    /// See [`super::CniPlugin::status`].
    fn status(&self) -> Result<(), Error>;

    /// See [`super::CniPlugin::get_default_network_name`].
    fn get_default_network_name(&self) -> Option<String>;

    /// See [`super::CniPlugin::set_up_pod_networks`].
    fn set_up_pod_networks(&self, pod: &PodNetwork) -> Result<Vec<NetResult>, Error>;

    /// See [`super::CniPlugin::tear_down_pod_networks`].
    fn tear_down_pod_networks(&self, pod: &PodNetwork) -> Result<(), Error>;

    /// See [`super::CniPlugin::get_pod_network_status`].
    fn get_pod_network_status(&self, pod: &PodNetwork) -> Result<Vec<NetResult>, Error>;

    /// See [`super::CniPlugin::gc`].
    fn gc(&self, valid_pods: &[PodNetwork]) -> Result<(), Error>;

    /// See [`super::CniPlugin::reload`].
    fn reload(&self) -> Result<(), Error>;

    /// See [`super::CniPlugin::shutdown`].
    fn shutdown(&self) -> Result<(), Error>;
}

/// [`CniPlugin`] over plugins in directories.
#[derive(Debug)]
pub struct Ocicni {
    inner: super::Ocicni,
}

/// As [`super::init_cni`].
///
/// # Errors
/// As there.
pub fn init_cni(conf_dir: impl Into<PathBuf>, bin_dirs: Vec<PathBuf>) -> Result<Ocicni, Error> {
    Ocicni::new(Options::new(conf_dir, bin_dirs), None)
}

impl Ocicni {
    /// As [`super::Ocicni::new`]; the default exec is [`RawExec`].
    ///
    /// # Errors
    /// As there.
    pub fn new(options: Options, exec: Option<Arc<dyn Exec>>) -> Result<Self, Error> {
        let bounded = || -> Arc<dyn Exec> {
            Arc::new(RawExec { timeout: Some(PLUGIN_TIME_MAX), ..RawExec::default() })
        };
        let exec = Arc::new(Adapter(exec.unwrap_or_else(bounded)));
        Ok(Self { inner: block_on(super::Ocicni::new(options, Some(exec)))? })
    }
}

impl CniPlugin for Ocicni {
    fn get_container_network_status(
        &self,
        netns_path: &str,
        namespace: &str,
        name: &str,
        container_id: &str,
    ) -> Result<ContainerNetworkStatus, Error> {
        let inner = &self.inner;
        block_on(inner.get_container_network_status(netns_path, namespace, name, container_id))
    }

    fn status(&self) -> Result<(), Error> {
        block_on(self.inner.status())
    }

    fn get_default_network_name(&self) -> Option<String> {
        self.inner.get_default_network_name()
    }

    fn set_up_pod_networks(&self, pod: &PodNetwork) -> Result<Vec<NetResult>, Error> {
        block_on(self.inner.set_up_pod_networks(pod))
    }

    fn tear_down_pod_networks(&self, pod: &PodNetwork) -> Result<(), Error> {
        block_on(self.inner.tear_down_pod_networks(pod))
    }

    fn get_pod_network_status(&self, pod: &PodNetwork) -> Result<Vec<NetResult>, Error> {
        block_on(self.inner.get_pod_network_status(pod))
    }

    fn gc(&self, valid_pods: &[PodNetwork]) -> Result<(), Error> {
        block_on(self.inner.gc(valid_pods))
    }

    fn reload(&self) -> Result<(), Error> {
        block_on(self.inner.reload())
    }

    fn shutdown(&self) -> Result<(), Error> {
        block_on(self.inner.shutdown())
    }
}
