//! The one error type of the crate.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::types::{Code, PluginError};
use crate::version::ErrorIncompatible;

/// The tail of the message CHECK gives for configurations older than 0.4.0, as libcni's
/// `ErrorCheckNotSupp`: a type of its own, because callers look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("does not support the CHECK command")]
pub struct ErrorCheckNotSupp;

/// A directory holds no network configuration at all (libcni's `NoConfigsFoundError`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no net configurations found in {dir}")]
pub struct NoConfigsFound {
    /// The directory that was read.
    pub dir: PathBuf,
}

/// A directory holds configurations, but none of this name (libcni's `NotFoundError`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no net configuration with name {name:?} in {dir}")]
pub struct NotFound {
    /// The directory that was read.
    pub dir: PathBuf,
    /// The network name that was looked for.
    pub name: String,
}

/// Why an operation of this crate failed.
///
/// Texts follow libcni 1.2.3 where its users are known to compare them; what comes from a JSON
/// parser is worded by ours. A text holds the texts of its causes, so there is no `source`
/// to print after it: [`Error::plugin_error`] and [`Error::code`] look through the layers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration file cannot be read. The caller's path or the host is at fault.
    #[error("error reading {path}: {cause}")]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A configuration directory cannot be listed.
    #[error("error listing {path}: {cause}")]
    ReadDir {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A plugin configuration is not JSON, or a known member has the wrong type.
    #[error("error parsing configuration: {0}")]
    ParseConf(serde_json::Error),
    /// A plugin configuration names no plugin.
    #[error("error parsing configuration: missing 'type'")]
    MissingType,
    /// A configuration list is not JSON.
    #[error("error parsing configuration list: {0}")]
    ParseConfList(serde_json::Error),
    /// A configuration list breaks a rule of the specification.
    #[error("error parsing configuration list: {0}")]
    InvalidConfList(String),
    /// One plugin of a list is malformed.
    #[error("error parsing configuration list: failed to parse plugin config {index}: {cause}")]
    ParsePluginConf {
        /// The plugin's place in the list, from 0.
        index: usize,
        /// What is wrong with it.
        cause: Box<Error>,
    },
    /// See [`NoConfigsFound`].
    #[error(transparent)]
    NoConfigsFound(NoConfigsFound),
    /// See [`NotFound`].
    #[error(transparent)]
    NotFound(NotFound),
    /// [`inject_conf`](crate::libcni::inject_conf) was given bytes that are no JSON object.
    #[error("unmarshal existing network bytes: {0}")]
    InjectBytes(serde_json::Error),
    /// A member to inject has an empty name.
    #[error("keys cannot be empty")]
    InjectEmptyKey,
    /// A member to inject has no value.
    #[error("key '{0}' value must not be nil")]
    InjectNull(String),

    /// A version is not up to three numbers.
    #[error("invalid version {version:?}: {reason}")]
    InvalidVersion {
        /// The text that was to be a version.
        version: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The version of a configuration cannot be read.
    #[error("decoding version from network config: {0}")]
    DecodeConfVersion(serde_json::Error),
    /// A plugin's answer to VERSION is not JSON of the right shape.
    #[error("decoding version info: {0}")]
    DecodeVersionInfo(serde_json::Error),
    /// A plugin's answer to VERSION lacks a member.
    #[error("decoding version info: missing field {0}")]
    VersionInfoField(&'static str),
    /// See [`ErrorIncompatible`].
    #[error(transparent)]
    Incompatible(ErrorIncompatible),
    /// Validation found a plugin that does not speak the configuration's version.
    #[error("plugin {plugin} does not support config version {version:?}")]
    UnsupportedConfVersion {
        /// The plugin's type.
        plugin: String,
        /// The version asked of it.
        version: String,
    },

    /// A result is of a version this library does not know.
    #[error("unsupported CNI result version {0:?}")]
    UnsupportedResultVersion(String),
    /// There is no way from one result version to the other.
    #[error("no converter for CNI result version {from} to {to}")]
    NoConverter {
        /// The version of the result at hand.
        from: String,
        /// The version asked for.
        to: String,
    },
    /// A result was decoded as one family of versions and says it is of another.
    #[error("result type supports {supported:?} but unmarshalled CNIVersion is {version:?}")]
    ResultFamily {
        /// The versions of the family.
        supported: &'static [&'static str],
        /// What the result says.
        version: String,
    },
    /// Results before 0.3.0 need an address, and this one has none.
    #[error("cannot convert: no valid IP addresses")]
    NoIpAddresses,
    /// A result is not JSON of the right shape.
    #[error("failed to unmarshal raw result: {0}")]
    ParseResult(serde_json::Error),
    /// `prevResult` of a configuration is no result of the configuration's version.
    #[error("could not parse prevResult: {0}")]
    PrevResult(Box<Error>),
    /// A result cannot be written.
    #[error("failed to write result: {0}")]
    WriteResult(io::Error),

    /// No plugin name was given.
    #[error("no plugin name provided")]
    NoPluginName,
    /// A plugin name with a directory separator.
    #[error("invalid plugin name: {0}")]
    InvalidPluginName(String),
    /// No directory to search for plugins was given.
    #[error("no paths provided")]
    NoPaths,
    /// No directory of the path has the plugin.
    #[error("failed to find plugin {plugin:?} in path [{}]", paths.join(" "))]
    PluginNotFound {
        /// The plugin's type.
        plugin: String,
        /// The directories that were searched, in order.
        paths: Vec<String>,
    },
    /// The plugin ran and answered with an error object.
    #[error(transparent)]
    Plugin(PluginError),
    /// The plugin failed and said nothing at all.
    #[error("netplugin failed with no error message: {0}")]
    Silent(ExitStatus),
    /// The plugin failed and wrote to its standard error only.
    #[error("netplugin failed: {stderr:?}")]
    Stderr {
        /// What it wrote.
        stderr: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The plugin failed and its standard output is no error object.
    #[error("netplugin failed but error parsing its diagnostic message {stdout:?}: {cause}")]
    Diagnostic {
        /// What it wrote.
        stdout: String,
        /// Why that is no error object.
        cause: serde_json::Error,
    },
    /// The plugin was killed because it did not end in time; what it did so far stands.
    #[error("netplugin failed with no error message: {path} killed after {after:?}")]
    TimedOut {
        /// The plugin's file.
        path: PathBuf,
        /// The limit it exceeded.
        after: Duration,
    },
    /// The plugin could not be started, or its pipes broke.
    #[error("cannot execute {path}: {cause}")]
    Execute {
        /// The plugin's file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// CNI_ARGS is no list of `key=value` pairs.
    #[error("ARGS: invalid pair {0:?}")]
    ArgsPair(String),
    /// CNI_ARGS has keys nobody knows, and `IgnoreUnknown` is not set.
    #[error("ARGS: unknown args {0:?}")]
    UnknownArgs(Vec<String>),
    /// A value of CNI_ARGS does not fit its key.
    #[error("ARGS: error parsing value of pair {pair:?}: {reason}")]
    ArgsValue {
        /// The pair.
        pair: String,
        /// What is wrong with its value.
        reason: String,
    },

    /// The container id, network name or interface name breaks the specification's rules.
    #[error(transparent)]
    Invalid(PluginError),
    /// CHECK was asked for a configuration older than 0.4.0. Nothing ran.
    #[error("configuration version {version:?} {cause}")]
    CheckNotSupported {
        /// The configuration's version.
        version: String,
        /// The text callers look for.
        cause: ErrorCheckNotSupp,
    },
    /// The cache needs all three names to tell attachments apart.
    #[error(
        "cache file path requires network name ({network:?}), container ID ({container_id:?}), \
         and interface name ({if_name:?})"
    )]
    CacheKey {
        /// The network name as given.
        network: String,
        /// The container id as given.
        container_id: String,
        /// The interface name as given.
        if_name: String,
    },
    /// A name would lead out of the cache directory.
    #[error("cache file path cannot hold {0:?}")]
    CacheKeyCharacters(String),
    /// The cache could not be written or listed.
    #[error("cache {path}: {cause}")]
    CacheIo {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A cache entry could not be encoded.
    #[error("encoding cache entry: {0}")]
    CacheEncode(serde_json::Error),
    /// The plugins succeeded but the cache was not written: the attachment exists and is not
    /// remembered.
    #[error("failed to set network {network:?} cached result: {cause}")]
    SetCachedResult {
        /// The network's name.
        network: String,
        /// Why.
        cause: Box<Error>,
    },
    /// The cached result cannot be used. No plugin ran.
    #[error("failed to get network {network:?} cached result: {cause}")]
    GetCachedResult {
        /// The network's name.
        network: String,
        /// Why.
        cause: Box<Error>,
    },
    /// The cached result does not convert to the configuration's version.
    #[error("failed to convert cached result to config version {version:?}: {cause}")]
    ConvertCached {
        /// The configuration's version.
        version: String,
        /// Why.
        cause: Box<Error>,
    },
    /// The cache entry is not JSON of the right shape.
    #[error("failed to unmarshal cached network {network:?} config: {cause}")]
    UnmarshalCached {
        /// The network's name.
        network: String,
        /// Why.
        cause: serde_json::Error,
    },
    /// The cache entry is of a kind this library does not know.
    #[error("read cached network {network:?} config has wrong kind: {kind}")]
    CacheKind {
        /// The network's name.
        network: String,
        /// The kind it claims.
        kind: String,
    },
    /// A configuration list without plugins was to be run.
    #[error("no plugins in list")]
    NoPlugins,
    /// One plugin of a chain failed; plugins after it did not run.
    #[error("plugin {plugin} failed ({verb}): {cause}")]
    InChain {
        /// The plugin, described.
        plugin: String,
        /// `add` or `delete`.
        verb: &'static str,
        /// Why.
        cause: Box<Error>,
    },
    /// ADD failed and so did the DEL that was to undo it: something may be left behind.
    #[error("{cause}; undoing it failed too: {undo}")]
    Rollback {
        /// Why ADD failed.
        cause: Box<Error>,
        /// Why DEL failed.
        undo: Box<Error>,
    },
    /// Validation failed for some plugins.
    #[error("[{}]", joined(.0, " "))]
    Validation(Vec<Error>),
    /// Garbage collection went through everything and failed for some of it.
    #[error("{}", joined(.0, "\n"))]
    Gc(Vec<Error>),
    /// Garbage collection could not delete one attachment.
    #[error("failed to delete stale attachment {container_id} {if_name}: {cause}")]
    GcDelete {
        /// The container of the attachment.
        container_id: String,
        /// The interface of the attachment.
        if_name: String,
        /// Why.
        cause: Box<Error>,
    },
    /// Garbage collection failed in one plugin.
    #[error("failed to GC plugin {plugin}: {cause}")]
    GcPlugin {
        /// The plugin's type.
        plugin: String,
        /// Why.
        cause: Box<Error>,
    },

    /// The pod layer has no network to put a pod on. The provider's, who has not written a
    /// configuration yet, or one that cannot be used.
    #[error(
        "no CNI configuration file in {dir}. Has your network provider started?{}",
        listed(skipped)
    )]
    NoDefaultNetwork {
        /// The directory of configurations.
        dir: PathBuf,
        /// The files in it that cannot be used, each with the reason.
        skipped: Vec<String>,
    },
    /// A pod asks for a network nobody configured. Nothing ran.
    #[error("network {0:?} is not configured")]
    UnknownNetwork(String),
    /// A pod asks for one interface name twice. Nothing ran.
    #[error("interface {0:?} is asked for twice")]
    DuplicateInterface(String),
    /// The pod has an interface of that name already. Nothing ran.
    #[error("interface {if_name:?} exists already in {netns}")]
    InterfaceExists {
        /// The interface.
        if_name: String,
        /// The pod's network namespace.
        netns: PathBuf,
    },
    /// The pod has no interface of that name.
    #[error("no interface {if_name:?} in {netns}")]
    NoInterface {
        /// The interface.
        if_name: String,
        /// The pod's network namespace.
        netns: PathBuf,
    },
    /// The interface is there and has no address others could reach.
    #[error("interface {if_name:?} in {netns} has no address")]
    NoAddress {
        /// The interface.
        if_name: String,
        /// The pod's network namespace.
        netns: PathBuf,
    },
    /// The pod's loopback interface is not as it was left.
    #[error("loopback interface in {netns}: {reason}")]
    Loopback {
        /// The pod's network namespace.
        netns: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The pod's network namespace cannot be entered or looked at.
    #[error("network namespace {netns}: {cause}")]
    Namespace {
        /// The pod's network namespace.
        netns: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// What is asked for a pod cannot be passed to plugins. Nothing ran.
    #[error("{what} {value:?} cannot be used")]
    PodArgument {
        /// What it is.
        what: &'static str,
        /// As it was given.
        value: String,
    },
    /// A network of a pod could not be attached, and the networks before it were detached again.
    #[error("failed to set up pod network {network:?}: {cause}{}", undone(undo))]
    SetUpPod {
        /// The network.
        network: String,
        /// Why.
        cause: Box<Error>,
        /// What could not be undone; of these something may be left.
        undo: Vec<Error>,
    },
    /// Some networks of a pod could not be detached; the others were.
    #[error("failed to tear down pod networks: {}", joined(.0, "; "))]
    TearDownPod(Vec<Error>),
    /// The directories cannot be watched.
    #[error("cannot watch for configurations: {0}")]
    Watch(io::Error),
    /// The pod layer was shut down.
    #[error("the pod layer is shut down")]
    ShutDown,
}

impl Error {
    /// The error object at the bottom of this error, if a plugin (or a rule of the
    /// specification that has a code) is the cause.
    #[must_use]
    pub fn plugin_error(&self) -> Option<&PluginError> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "only these variants wrap another")]
        match self {
            Error::Plugin(error) | Error::Invalid(error) => Some(error),
            Error::PrevResult(cause)
            | Error::InChain { cause, .. }
            | Error::Rollback { cause, .. }
            | Error::GcDelete { cause, .. }
            | Error::GcPlugin { cause, .. }
            | Error::SetCachedResult { cause, .. }
            | Error::GetCachedResult { cause, .. }
            | Error::ConvertCached { cause, .. }
            | Error::SetUpPod { cause, .. }
            | Error::ParsePluginConf { cause, .. } => cause.plugin_error(),
            Error::Validation(errors) | Error::Gc(errors) | Error::TearDownPod(errors) => {
                errors.iter().find_map(Error::plugin_error)
            }
            _ => None,
        }
    }

    /// Whether ADD was refused before any plugin ran, so that there is nothing to undo.
    pub(crate) fn is_before_plugins(&self) -> bool {
        if let Error::InChain { cause, .. } = self {
            return cause.is_before_plugins();
        }
        matches!(self, Error::Invalid(_) | Error::NoPlugins)
    }

    /// The specification's code of [`Error::plugin_error`].
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.plugin_error().map(|error| error.code)
    }
}

fn listed(skipped: &[String]) -> String {
    if skipped.is_empty() { String::new() } else { format!(" Not usable: {}", skipped.join("; ")) }
}

fn undone(undo: &[Error]) -> String {
    if undo.is_empty() {
        String::new()
    } else {
        format!("; undoing it failed too: {}", joined(undo, "; "))
    }
}

fn joined(errors: &[Error], separator: &str) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}
