//! `weft pod`.

mod add;
mod attachment;
mod check;
mod configuration;
mod del;
mod gc;
mod ls;
mod refusal;
mod status;
mod verdict;

use cni::libcni::CniConfig;

use crate::cli::{PodCacheArgs, PodCommand, PodPluginArgs};
use crate::failure::Failure;

/// Runs plugins of CNI on namespaces.
pub(crate) async fn exec(command: PodCommand) -> Result<(), Failure> {
    match command {
        PodCommand::Add(args) => add::exec(args).await,
        PodCommand::Del(args) => del::exec(args).await,
        PodCommand::Check(args) => check::exec(args).await,
        PodCommand::Status(args) => status::exec(args).await,
        PodCommand::Gc(args) => gc::exec(args).await,
        PodCommand::Ls(args) => ls::exec(&args),
    }
}

/// Makes what runs plugins.
fn runtime(plugins: &PodPluginArgs, cache: &PodCacheArgs) -> CniConfig {
    let path = plugins.bin_dir.iter().flat_map(|path| path.0.iter().cloned()).collect();
    CniConfig::with_cache_dir(path, &cache.cache_dir, None)
}

/// What is said while plugins take their time.
fn waiting(network: &str) -> String {
    format!("waiting for the plugins of `{network}`")
}
