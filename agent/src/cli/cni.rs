//! `weft cni`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::value::cni_name;
use crate::cli::{Connection, Output};

/// Puts Weft where runtimes of containers look for it (CNI: containerd, CRI-O, podman, nerdctl).
///
/// The plugin `weft-cni` is this same program under that name. What runs where is in docs/CNI.md.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weft cni install")]
pub struct CniArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CniCommand,
}

/// The commands of `weft cni`.
#[expect(missing_docs, reason = "a variant's words are those of its arguments")]
#[derive(Debug, Subcommand)]
pub enum CniCommand {
    Install(CniInstallArgs),
}

/// Installs the plugin and a configuration of a network.
///
/// The program is copied under the name `weft-cni`, and the configuration is written as
/// `10-weft.conflist`, each in one step. A configuration that names the plugin already is kept as
/// it is. A file of somebody else's is refused, and then nothing is written. Where the plugin
/// `portmap` is found, the network publishes ports with it. A socket that is not the usual one is
/// written into the configuration, for the plugin to call.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft cni install
  weft cni install --network pods --conf-dir /etc/cni/net.d
  weft cni install --bin-dir /opt/cni/bin --force --json")]
pub struct CniInstallArgs {
    /// Which agent the plugin is to call.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// Directory for the plugin, may be repeated [default: /opt/cni/bin, and /usr/lib/cni if there]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub bin_dir: Vec<PathBuf>,
    /// Directory for the configuration
    #[arg(long, default_value = "/etc/cni/net.d", value_name = "DIR")]
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub conf_dir: PathBuf,
    /// Network that containers are attached to; made at the first of them
    #[arg(long, default_value = "weft", value_parser = cni_name, value_name = "NAME")]
    pub network: String,
    /// Overwrite files of somebody else's, and the configuration
    #[arg(long)]
    pub force: bool,
}
