//! `weft network`.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use ipnetwork::IpNetwork;

use crate::cli::value::{KeyValue, cidr, key_value, name};
use crate::cli::{Connection, Output};

/// Makes, lists and removes networks.
///
/// A network made on any node can be used on every node, by name. Wherever a command takes a
/// network, it takes its name, its id, or a prefix of its id.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft network create blue
  weft network ls
  weft network inspect blue --verbose
  weft network rm blue")]
pub struct NetworkArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: NetworkCommand,
}

/// The commands of `weft network`.
#[expect(missing_docs, reason = "a variant's words are those of its arguments")]
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    Create(NetworkCreateArgs),
    Ls(NetworkLsArgs),
    Inspect(NetworkInspectArgs),
    Rm(NetworkRmArgs),
}

/// Makes a network. Its id goes to standard output.
///
/// Every live member has to agree that name and pools are free. A network of that name that was
/// asked for in the same way is not an error: the command then prints its id.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft network create blue
  weft network create green --ipv6 --internal
  weft network create red --subnet 10.9.0.0/16 --gateway 10.9.0.1 --ip-range 10.9.128.0/17
  weft network create both --subnet 10.8.0.0/24 --subnet fd00:8::/64 --mtu 1400")]
pub struct NetworkCreateArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// Name, unique in the cluster
    #[arg(value_parser = name)]
    pub name: String,
    /// Subnet, may be repeated; without any, one is cut from the cluster's default pool
    #[arg(long, value_parser = cidr, value_name = "CIDR")]
    pub subnet: Vec<IpNetwork>,
    /// Gateway of the subnet it lies in; the first address by default
    #[arg(long, value_name = "ADDR")]
    pub gateway: Vec<IpAddr>,
    /// Part of a subnet that addresses are handed out from
    #[arg(long, value_parser = cidr, value_name = "CIDR")]
    pub ip_range: Vec<IpNetwork>,
    /// Add an IPv6 subnet from the cluster's default pool
    #[arg(long)]
    pub ipv6: bool,
    /// MTU of the endpoints; by default each host's uplink less the encapsulation
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(68..=65535))]
    pub mtu: Option<u32>,
    /// No way out: endpoints reach each other and nothing else
    #[arg(long)]
    pub internal: bool,
    /// Option of the network driver, may be repeated
    #[arg(short = 'o', long = "opt", value_parser = key_value, value_name = "KEY=VALUE")]
    pub options: Vec<KeyValue>,
    /// Network driver: the built-in one, or a Docker plugin of this name
    #[arg(long, default_value = "overlay")]
    pub driver: String,
    /// IPAM driver: the built-in one, or a Docker plugin of this name
    #[arg(long, default_value = "weft", value_name = "DRIVER")]
    pub ipam_driver: String,
    /// Option of the IPAM driver, may be repeated
    #[arg(long = "ipam-opt", value_parser = key_value, value_name = "KEY=VALUE")]
    pub ipam_options: Vec<KeyValue>,
}

/// Lists the networks of the cluster.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft network ls
  weft network ls --name blue --json | jq -r '.[].id'")]
pub struct NetworkLsArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// Only the network of this name
    #[arg(long)]
    pub name: Option<String>,
}

/// Shows one network: subnets, options, and the endpoints of this node.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft network inspect blue
  weft network inspect blue --verbose     # the nodes and endpoints of the whole cluster, too")]
pub struct NetworkInspectArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// The network
    #[arg(value_parser = name)]
    pub network: String,
    /// Show the nodes that take part and the endpoints of all of them
    #[arg(long)]
    pub verbose: bool,
}

/// Removes a network from the whole cluster.
///
/// A network with endpoints, on any node, refuses. Its subnet is free afterwards, its VNI is never
/// used again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weft network rm blue\n  weft network rm blue green")]
pub struct NetworkRmArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// End what this host's Docker Engine has of it too; for an engine that forgot the network
    #[arg(long)]
    pub force: bool,
    /// The networks
    #[arg(required = true, value_parser = name, value_name = "NETWORK")]
    pub networks: Vec<String>,
}
