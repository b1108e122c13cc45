//! The seam between this library and the processes it starts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use super::{Args, CniArgs};
use crate::error::Error;
use crate::types::CniResult;
use crate::version::{CURRENT, PluginInfo, decode_conf_version};

/// A future on the heap, so that [`Exec`] and [`Cni`](crate::libcni::Cni) can be `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One run of a plugin.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The plugin's file.
    pub path: &'a Path,
    /// What it reads: the configuration.
    pub stdin: &'a [u8],
    /// Its whole environment.
    pub env: &'a [(OsString, OsString)],
}

/// Runs plugins. Tests and runtimes with their own way of starting processes bring theirs;
/// `RawExec` (feature `tokio`) is the usual one.
pub trait Exec: Send + Sync {
    /// Runs a plugin and gives its standard output. Dropping the future ends the plugin.
    ///
    /// # Errors
    /// The plugin's own error, or why it could not run.
    fn exec_plugin<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Vec<u8>, Error>>;

    /// Finds a plugin's file.
    ///
    /// # Errors
    /// As [`find_in_path`](super::find_in_path), which it is unless overridden.
    fn find_in_path(&self, plugin: &str, paths: &[PathBuf]) -> Result<PathBuf, Error> {
        super::find_in_path(plugin, paths)
    }

    /// Decodes an answer to VERSION.
    ///
    /// # Errors
    /// As [`PluginInfo::decode`], which it is unless overridden.
    fn decode(&self, bytes: &[u8]) -> Result<PluginInfo, Error> {
        PluginInfo::decode(bytes)
    }
}

/// The usual exec: `RawExec`, or without the feature `tokio` one that blocks its thread.
#[must_use]
pub fn default_exec() -> Arc<dyn Exec> {
    #[cfg(feature = "tokio")]
    return Arc::new(super::RawExec::default());
    #[cfg(not(feature = "tokio"))]
    Arc::new(super::blocking::Adapter(super::blocking::RawExec::default()))
}

/// Runs a plugin that answers with a result.
///
/// A result that states no version is of the configuration's.
///
/// # Errors
/// What [`Exec::exec_plugin`] says, or [`CniResult::from_plugin`].
pub async fn exec_plugin_with_result(
    path: &Path,
    net_conf: &[u8],
    args: &CniArgs,
    exec: &dyn Exec,
) -> Result<CniResult, Error> {
    let env = args.as_env();
    let stdout = exec.exec_plugin(Call { path, stdin: net_conf, env: &env }).await?;
    CniResult::from_plugin(&decode_conf_version(net_conf)?, &stdout)
}

/// Runs a plugin whose output does not matter.
///
/// # Errors
/// What [`Exec::exec_plugin`] says.
pub async fn exec_plugin_without_result(
    path: &Path,
    net_conf: &[u8],
    args: &CniArgs,
    exec: &dyn Exec,
) -> Result<(), Error> {
    let env = args.as_env();
    exec.exec_plugin(Call { path, stdin: net_conf, env: &env }).await.map(|_| ())
}

/// Asks a plugin which versions it supports. One too old to know the question speaks 0.1.0.
///
/// # Errors
/// What [`Exec::exec_plugin`] or [`Exec::decode`] says.
pub async fn get_version_info(path: &Path, exec: &dyn Exec) -> Result<PluginInfo, Error> {
    // Very old plugins demand these three before they look at the command.
    let args = CniArgs::Call(Args {
        command: "VERSION".to_owned(),
        netns: "dummy".to_owned(),
        if_name: "dummy".to_owned(),
        path: "dummy".to_owned(),
        ..Args::default()
    });
    let stdin = format!(r#"{{"cniVersion":"{CURRENT}"}}"#);
    let env = args.as_env();
    match exec.exec_plugin(Call { path, stdin: stdin.as_bytes(), env: &env }).await {
        Ok(stdout) => exec.decode(&stdout),
        Err(error) if error.to_string() == "unknown CNI_COMMAND: VERSION" => {
            Ok(PluginInfo::supports(["0.1.0"]))
        }
        Err(error) => Err(error),
    }
}
