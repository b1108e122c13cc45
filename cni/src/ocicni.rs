//! The pod layer: attaches pods to the networks that a directory configures.
//!
//! This is ocicni, the layer between a runtime of pods and [`libcni`](crate::libcni). It follows
//! a directory of configurations, elects the default network, names interfaces, and does one
//! thing at a time for each pod.
//!
//! ```no_run
//! use cni::ocicni::{CniPlugin, NetAttachment, PodNetwork, init_cni};
//!
//! # async fn example() -> Result<(), cni::Error> {
//! // The directory may be empty, or not there at all: a provider that comes later is noticed.
//! let plugin = init_cni("/etc/cni/net.d", vec!["/opt/cni/bin".into()]).await?;
//! plugin.status().await?;
//!
//! // A pod on the default network, by `eth0`.
//! plugin.set_up_pod("/run/netns/6f1c2a", "default", "web-0", "6f1c2a").await?;
//! let status =
//!     plugin.get_container_network_status("/run/netns/6f1c2a", "default", "web-0", "6f1c2a");
//! println!("{}", status.await?.ip);
//! plugin.tear_down_pod("/run/netns/6f1c2a", "default", "web-0", "6f1c2a").await?;
//!
//! // A pod on two networks, one of them by a name of its own.
//! let mut pod = PodNetwork::new("/run/netns/8d20bb", "default", "db-0", "8d20bb");
//! let storage = NetAttachment { name: "storage".into(), if_name: "san0".into() };
//! pod.networks = vec![NetAttachment::to("blue"), storage];
//! for made in plugin.set_up_pod_networks(&pod).await? {
//!     println!("{}: {:?}", made.attachment.if_name, made.result.to_current()?.ips);
//! }
//! plugin.gc(&[pod]).await?;
//! plugin.shutdown().await
//! # }
//! ```
//!
//! [`blocking`] is the same without a runtime.
//!
//! # What holds
//! - A pod is attached to all its networks or to none: after a failure, and also where the call
//!   is dropped half-way, what was done is undone in reverse order.
//! - Teardown goes by the cache: it works by the configuration a pod was set up with, be that
//!   changed or gone, and does not need the network namespace. One network that fails does not
//!   keep the others.
//! - Garbage collection runs alone. It spares what valid pods say and what the cache remembers
//!   of them.
//! - Addresses are read, and the loopback interface is brought up, by netlink inside the pod's
//!   namespace. No program but the plugins is run.

mod arguments;
mod block_on;
pub mod blocking;
mod engine;
mod locks;
mod networks;
mod options;
mod pod;
mod sandbox;
mod set_up;
mod status;
mod tear_down;
mod watch;

use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

pub use options::{Options, PLUGIN_TIME_MAX, Watch};
pub use pod::{
    Bandwidth, ContainerNetworkStatus, IpRange, NetAttachment, NetResult, PodNetwork, PortMapping,
    RuntimeConfig,
};

use crate::error::Error;
use crate::invoke::{BoxFuture, Exec, RawExec};
use engine::Engine;
use watch::{DirectoryWatch, Woken};

/// The first interface in a pod.
pub const DEFAULT_INTERFACE_NAME: &str = "eth0";

/// The name of the plugin towards its runtime.
pub const CNI_PLUGIN_NAME: &str = "cni";

/// Where configurations are unless said otherwise.
pub const DEFAULT_NET_DIR: &str = "/etc/cni/net.d";

/// Where plugins are unless said otherwise.
pub const DEFAULT_CNI_DIR: &str = "/opt/cni/bin";

/// Where a vendor's plugins may be, beside the directories that are searched: a root and the
/// plugin's type in place of the two `%s`. [`vendor_cni_dir`] fills it in.
pub const VENDOR_CNI_DIR_TEMPLATE: &str = "%s/opt/%s/bin";

/// The directory [`VENDOR_CNI_DIR_TEMPLATE`] means.
///
/// ```
/// use cni::ocicni::vendor_cni_dir;
///
/// let dir = vendor_cni_dir("".as_ref(), "romana");
/// assert_eq!(dir, std::path::Path::new("/opt/romana/bin"));
/// ```
#[must_use]
pub fn vendor_cni_dir(prefix: &Path, plugin: &str) -> PathBuf {
    let filled = VENDOR_CNI_DIR_TEMPLATE.replacen("%s", &prefix.to_string_lossy(), 1);
    PathBuf::from(filled.replacen("%s", plugin, 1))
}

/// What [`CniPlugin`] calls return.
type Answer<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// What a runtime of pods calls. The five calls of ocicni as it was in 2017 take a pod on the
/// default network in four words; the others take all that can be said of one.
pub trait CniPlugin: Send + Sync {
    /// The plugin's name, [`CNI_PLUGIN_NAME`].
    fn name(&self) -> &'static str {
        CNI_PLUGIN_NAME
    }

    /// Attaches a pod to the default network: see [`CniPlugin::set_up_pod_networks`].
    ///
    /// # Errors
    /// As there.
    fn set_up_pod<'a>(
        &'a self,
        netns_path: &'a str,
        namespace: &'a str,
        name: &'a str,
        container_id: &'a str,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let pod = PodNetwork::new(netns_path, namespace, name, container_id);
            self.set_up_pod_networks(&pod).await.map(drop)
        })
    }

    /// Detaches a pod from all it is attached to: see [`CniPlugin::tear_down_pod_networks`].
    ///
    /// # Errors
    /// As there.
    fn tear_down_pod<'a>(
        &'a self,
        netns_path: &'a str,
        namespace: &'a str,
        name: &'a str,
        container_id: &'a str,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let pod = PodNetwork::new(netns_path, namespace, name, container_id);
            self.tear_down_pod_networks(&pod).await
        })
    }

    /// Reads the addresses of a pod's [`DEFAULT_INTERFACE_NAME`] from the kernel.
    ///
    /// # Errors
    /// [`Error::Namespace`], [`Error::NoInterface`], [`Error::NoAddress`].
    fn get_container_network_status<'a>(
        &'a self,
        netns_path: &'a str,
        namespace: &'a str,
        name: &'a str,
        container_id: &'a str,
    ) -> Answer<'a, ContainerNetworkStatus>;

    /// Tells whether pods can be attached to the default network: there is one, and its plugins
    /// are ready. Takes no lock, and runs nothing before version 1.1.0.
    ///
    /// # Errors
    /// [`Error::NoDefaultNetwork`], or what a plugin says, with code 50 or 51.
    fn status(&self) -> Answer<'_, ()>;

    /// The default network: the one chosen, be it configured or not, or the one elected.
    fn get_default_network_name(&self) -> Option<String>;

    /// Attaches a pod to its networks in order, or to the default one, and gives what the
    /// plugins answered. All or nothing is done, also where the call is dropped.
    ///
    /// # Errors
    /// [`Error::NoDefaultNetwork`], [`Error::UnknownNetwork`], [`Error::DuplicateInterface`],
    /// [`Error::PodArgument`], [`Error::Namespace`] and [`Error::InterfaceExists`] before
    /// anything is done; [`Error::SetUpPod`] when it was undone.
    fn set_up_pod_networks<'a>(&'a self, pod: &'a PodNetwork) -> Answer<'a, Vec<NetResult>>;

    /// Detaches a pod, in reverse order, from the networks it names, or else from those the
    /// cache remembers, or else from the default one.
    ///
    /// # Errors
    /// [`Error::TearDownPod`] with all that failed; the others are detached. Without networks
    /// and cache also [`Error::NoDefaultNetwork`].
    fn tear_down_pod_networks<'a>(&'a self, pod: &'a PodNetwork) -> Answer<'a, ()>;

    /// Has the plugins check every network of a pod, and gives what they answered when it was
    /// set up. Where the cache has lost that, what the kernel has stands for it.
    ///
    /// # Errors
    /// What a plugin says, [`Error::Loopback`], [`Error::Namespace`], [`Error::NoInterface`].
    fn get_pod_network_status<'a>(&'a self, pod: &'a PodNetwork) -> Answer<'a, Vec<NetResult>>;

    /// Removes, on every configured network, what is attached of other pods than these.
    /// Nothing else is done for pods meanwhile.
    ///
    /// # Errors
    /// [`Error::Gc`] with all that failed; the rest was done.
    fn gc<'a>(&'a self, valid_pods: &'a [PodNetwork]) -> Answer<'a, ()>;

    /// Reads the directory of configurations now.
    ///
    /// # Errors
    /// [`Error::ReadDir`].
    fn reload(&self) -> Answer<'_, ()>;

    /// Ends the watch, refuses new work and waits for the end of what is being done.
    ///
    /// # Errors
    /// None at present.
    fn shutdown(&self) -> Answer<'_, ()>;
}

/// The thread that follows the directories; it ends when this is dropped.
struct Follower {
    _stop: UnixStream,
    _cancel: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

/// [`CniPlugin`] over plugins in directories.
pub struct Ocicni {
    engine: Arc<Engine>,
    follower: Mutex<Option<Follower>>,
}

impl fmt::Debug for Ocicni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ocicni")
            .field("directories", &self.engine.directories())
            .field("default_network", &self.engine.default_name())
            .finish_non_exhaustive()
    }
}

/// Follows the configurations in `conf_dir`, or [`DEFAULT_NET_DIR`] if that is empty, with
/// plugins in `bin_dirs`, or [`DEFAULT_CNI_DIR`] if there are none.
///
/// # Errors
/// As [`Ocicni::new`].
pub async fn init_cni(
    conf_dir: impl Into<PathBuf>,
    bin_dirs: Vec<PathBuf>,
) -> Result<Ocicni, Error> {
    Ocicni::new(Options::new(conf_dir, bin_dirs), None).await
}

impl Ocicni {
    /// Reads the configurations, and follows them from then on. Plugins are run by `exec`, or
    /// else by [`RawExec`], each for [`PLUGIN_TIME_MAX`] at most.
    ///
    /// # Errors
    /// [`Error::ReadDir`] and [`Error::Watch`]; an empty or missing directory is none.
    pub async fn new(options: Options, exec: Option<Arc<dyn Exec>>) -> Result<Self, Error> {
        let bounded = || -> Arc<dyn Exec> {
            Arc::new(RawExec { timeout: Some(PLUGIN_TIME_MAX), ..RawExec::default() })
        };
        let watch = options.watch;
        let engine = Arc::new(Engine::new(options, exec.unwrap_or_else(bounded)));
        // What comes while the directory is first read is noticed, for the watch comes before.
        let follower = match watch {
            Watch::On => Some(follow(engine.clone()).map_err(Error::Watch)?),
            Watch::Off => None,
        };
        engine.reload().await?;
        Ok(Self { engine, follower: Mutex::new(follower) })
    }

    async fn close(&self) {
        let follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Follower { _stop, _cancel, ended }) = follower {
            drop((_stop, _cancel));
            // An error says that the thread is gone, which is what is waited for.
            let _gone = ended.await;
        }
        self.engine.close().await;
    }
}

/// Starts the thread that reads the configurations whenever the directories change.
fn follow(engine: Arc<Engine>) -> std::io::Result<Follower> {
    let (stop, stopped) = UnixStream::pair()?;
    let (cancel, mut cancelled) = oneshot::channel::<()>();
    let (ending, ended) = oneshot::channel::<()>();
    let mut watch = DirectoryWatch::new(engine.directories(), stopped)?;
    // One of its own where there is one at all: the caller's may end earlier, or stand still.
    let runtime = match Handle::try_current() {
        Ok(_) => Some(Builder::new_current_thread().enable_all().build()?),
        Err(_) => None,
    };
    thread::Builder::new().name("cni-watch".to_owned()).spawn(move || {
        let _ending = ending;
        while watch.wait() == Woken::Changed {
            let reading = async {
                tokio::select! {
                    biased;
                    _ = &mut cancelled => None,
                    read = engine.reload() => Some(read),
                }
            };
            let read = match &runtime {
                Some(runtime) => runtime.block_on(reading),
                None => block_on::block_on(reading),
            };
            match read {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::warn!(%error, "networks stay as they were"),
            }
        }
    })?;
    Ok(Follower { _stop: stop, _cancel: cancel, ended })
}

impl CniPlugin for Ocicni {
    fn get_container_network_status<'a>(
        &'a self,
        netns_path: &'a str,
        namespace: &'a str,
        name: &'a str,
        container_id: &'a str,
    ) -> Answer<'a, ContainerNetworkStatus> {
        Box::pin(async move {
            let pod = PodNetwork::new(netns_path, namespace, name, container_id);
            self.engine.addresses(&pod).await
        })
    }

    fn status(&self) -> Answer<'_, ()> {
        Box::pin(self.engine.status())
    }

    fn get_default_network_name(&self) -> Option<String> {
        self.engine.default_name()
    }

    fn set_up_pod_networks<'a>(&'a self, pod: &'a PodNetwork) -> Answer<'a, Vec<NetResult>> {
        Box::pin(self.engine.set_up(pod))
    }

    fn tear_down_pod_networks<'a>(&'a self, pod: &'a PodNetwork) -> Answer<'a, ()> {
        Box::pin(self.engine.tear_down(pod))
    }

    fn get_pod_network_status<'a>(&'a self, pod: &'a PodNetwork) -> Answer<'a, Vec<NetResult>> {
        Box::pin(self.engine.pod_status(pod))
    }

    fn gc<'a>(&'a self, valid_pods: &'a [PodNetwork]) -> Answer<'a, ()> {
        Box::pin(self.engine.collect(valid_pods))
    }

    fn reload(&self) -> Answer<'_, ()> {
        Box::pin(self.engine.reload())
    }

    fn shutdown(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.close().await;
            Ok(())
        })
    }
}
