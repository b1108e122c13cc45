//! `weft lab`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::lab::DEFAULT_NAME;

/// A multi-host testbed in network namespaces of this one machine.
///
/// It starts real agents, each on a host of its own made of a namespace, and needs no other
/// program. It changes nothing of this host but the namespaces it makes. It needs root.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft lab run                                   # build, measure, remove
  weft lab run --nodes 4 --networks 3 --ipv6 --json
  weft lab up; weft lab down                     # look around in between")]
pub struct LabArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: LabCommand,
}

/// The commands of `weft lab`.
#[expect(missing_docs, reason = "a variant's words are those of its arguments")]
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    Run(LabRunArgs),
    Up(LabUpArgs),
    Down(LabDownArgs),
}

/// How large a testbed is.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct LabShape {
    /// Hosts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=64))]
    pub nodes: u32,
    /// Overlay networks
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub networks: u32,
    /// Endpoints on each host in each network
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub endpoints: u32,
    /// Give the networks IPv6, too
    #[arg(long)]
    pub ipv6: bool,
    /// Let the hosts reach each other by IPv6
    #[arg(long)]
    pub underlay_ipv6: bool,
    /// Start this program as the agents, rather than the one that runs
    #[arg(long, value_name = "PROGRAM", value_hint = clap::ValueHint::ExecutablePath)]
    pub weft_bin: Option<PathBuf>,
}

/// Builds a testbed, measures it, prints the result, and removes it, also on Ctrl-C.
///
/// Every pair of endpoints of a network has to answer to ping, full-size packets included, no pair
/// across networks may, and all addresses have to be unique; the same again after one agent was
/// killed and restarted. The exit code is 0 only when all of it held.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft lab run
  weft lab run --nodes 4 --networks 3 --endpoints 2 --ipv6
  weft lab run --json | jq .first_ping_ms")]
pub struct LabRunArgs {
    /// How large it is.
    #[command(flatten)]
    pub shape: LabShape,
    /// Name of the testbed; another one for each that runs at the same time
    #[arg(long, value_name = "NAME", default_value_t = format!("{DEFAULT_NAME}-{}", std::process::id()), hide_default_value = true)]
    pub name: String,
    /// Print one JSON object, for programs
    #[arg(long)]
    pub json: bool,
}

/// Builds a testbed, leaves it standing, and says how to look around.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weft lab up --nodes 2\n  weft lab down")]
pub struct LabUpArgs {
    /// How large it is.
    #[command(flatten)]
    pub shape: LabShape,
    /// Name to remove it by
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAME)]
    pub name: String,
}

/// Removes the testbed that `weft lab up` left standing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weft lab down")]
pub struct LabDownArgs {
    /// The name it was given
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAME)]
    pub name: String,
}
