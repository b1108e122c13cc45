//! How the pod layer is set up.

use std::path::PathBuf;
use std::time::Duration;

use super::arguments::parse_args;
use super::{DEFAULT_CNI_DIR, DEFAULT_NET_DIR};
use crate::libcni::CACHE_DIR;

/// How long one run of a plugin may take, unless the exec is the caller's: a plugin that hangs
/// must not keep configurations from being noticed for ever.
pub const PLUGIN_TIME_MAX: Duration = Duration::from_secs(120);

/// Whether changes of the directories are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// At once.
    #[default]
    On,
    /// Only when a network is asked for that is not known, or by
    /// [`reload`](super::CniPlugin::reload).
    Off,
}

/// How the pod layer is set up; every value has the default that its setter names.
///
/// ```
/// use cni::ocicni::{Options, Watch};
///
/// let options = Options::new("/etc/cni/net.d", vec!["/opt/cni/bin".into()])
///     .default_network("blue")
///     .cache_dir("/run/pods/cni")
///     .watch(Watch::Off);
/// # drop(options);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) conf_dir: PathBuf,
    pub(super) bin_dirs: Vec<PathBuf>,
    pub(super) vendor_prefix: PathBuf,
    pub(super) cache_dir: PathBuf,
    pub(super) default_network: Option<String>,
    pub(super) args: Vec<(String, String)>,
    pub(super) watch: Watch,
}

impl Options {
    /// Configurations in `conf_dir`, or [`DEFAULT_NET_DIR`] if that is empty; plugins in
    /// `bin_dirs`, or [`DEFAULT_CNI_DIR`] if there are none.
    #[must_use]
    pub fn new(conf_dir: impl Into<PathBuf>, bin_dirs: Vec<PathBuf>) -> Self {
        let conf_dir = conf_dir.into();
        let is_unsaid = conf_dir.as_os_str().is_empty();
        Self {
            conf_dir: if is_unsaid { DEFAULT_NET_DIR.into() } else { conf_dir },
            bin_dirs: if bin_dirs.is_empty() { vec![DEFAULT_CNI_DIR.into()] } else { bin_dirs },
            vendor_prefix: PathBuf::new(),
            cache_dir: CACHE_DIR.into(),
            default_network: None,
            args: parse_args(&std::env::var("CNI_ARGS").unwrap_or_default()),
            watch: Watch::default(),
        }
    }

    /// The network of pods that name none, whether or not it is configured yet. Without this it
    /// is the first by the names of the files, elected anew whenever they change.
    #[must_use]
    pub fn default_network(self, name: impl Into<String>) -> Self {
        Self { default_network: Some(name.into()), ..self }
    }

    /// Where attachments are remembered; [`CACHE_DIR`].
    #[must_use]
    pub fn cache_dir(self, dir: impl Into<PathBuf>) -> Self {
        Self { cache_dir: dir.into(), ..self }
    }

    /// The root below which vendors' directories of plugins are, see
    /// [`vendor_cni_dir`](super::vendor_cni_dir); `/`.
    #[must_use]
    pub fn vendor_prefix(self, dir: impl Into<PathBuf>) -> Self {
        Self { vendor_prefix: dir.into(), ..self }
    }

    /// Arguments for plugins, after those that tell of the pod; the pairs in CNI_ARGS of this
    /// process' environment.
    #[must_use]
    pub fn args(self, args: Vec<(String, String)>) -> Self {
        Self { args, ..self }
    }

    /// Whether changes are noticed; [`Watch::On`].
    #[must_use]
    pub fn watch(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }
}
