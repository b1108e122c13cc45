//! One plugin calling another, as main plugins call those that hand out addresses.

use std::path::PathBuf;

use super::{CniArgs, Exec, exec_plugin_with_result, exec_plugin_without_result};
use crate::error::Error;
use crate::types::CniResult;

/// Calls ADD of a plugin found in this process' CNI_PATH, with this process' environment but
/// for the command.
///
/// # Errors
/// [`Error::NoPaths`] and [`Error::PluginNotFound`], or what the plugin answers.
pub async fn delegate_add(
    plugin: &str,
    net_conf: &[u8],
    exec: &dyn Exec,
) -> Result<CniResult, Error> {
    let path = exec.find_in_path(plugin, &search_path())?;
    exec_plugin_with_result(&path, net_conf, &command("ADD"), exec).await
}

/// Calls CHECK of a plugin, as [`delegate_add`].
///
/// # Errors
/// As [`delegate_add`].
pub async fn delegate_check(plugin: &str, net_conf: &[u8], exec: &dyn Exec) -> Result<(), Error> {
    without_result(plugin, net_conf, exec, "CHECK").await
}

/// Calls DEL of a plugin, as [`delegate_add`]; also from within an ADD that must be undone.
///
/// # Errors
/// As [`delegate_add`].
pub async fn delegate_del(plugin: &str, net_conf: &[u8], exec: &dyn Exec) -> Result<(), Error> {
    without_result(plugin, net_conf, exec, "DEL").await
}

/// Calls GC of a plugin, as [`delegate_add`].
///
/// # Errors
/// As [`delegate_add`].
pub async fn delegate_gc(plugin: &str, net_conf: &[u8], exec: &dyn Exec) -> Result<(), Error> {
    without_result(plugin, net_conf, exec, "GC").await
}

/// Calls STATUS of a plugin, as [`delegate_add`].
///
/// # Errors
/// As [`delegate_add`].
pub async fn delegate_status(plugin: &str, net_conf: &[u8], exec: &dyn Exec) -> Result<(), Error> {
    without_result(plugin, net_conf, exec, "STATUS").await
}

async fn without_result(
    plugin: &str,
    net_conf: &[u8],
    exec: &dyn Exec,
    verb: &str,
) -> Result<(), Error> {
    let path = exec.find_in_path(plugin, &search_path())?;
    exec_plugin_without_result(&path, net_conf, &command(verb), exec).await
}

fn command(verb: &str) -> CniArgs {
    CniArgs::Delegate { command: verb.to_owned() }
}

fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("CNI_PATH").unwrap_or_default();
    if path.is_empty() {
        return Vec::new();
    }
    std::env::split_paths(&path).collect()
}
