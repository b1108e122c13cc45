//! `weft attach`, `weft detach` and `weft endpoint`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use weft_api::Mac;

use crate::cli::value::{KeyValue, ifname, key_value, name};
use crate::cli::{Connection, Output};

/// Puts a network namespace on a network: `endpoint create` and `endpoint join` in one step.
///
/// A veth appears in the namespace with name, MAC, MTU, addresses and default routes, up, and `lo`
/// with it. When any of it fails, nothing of it stays. The id of the endpoint goes to standard
/// output.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft attach blue --netns /run/netns/web
  weft attach blue --pid 4711 --name web --ip 10.128.0.7
  weft attach blue --netns /run/netns/web --ifname eth1 --mac 02:42:0a:80:00:07
  ENDPOINT=$(weft attach blue --netns /run/netns/web); weft detach \"$ENDPOINT\"")]
pub struct AttachArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// The network
    #[arg(value_parser = name)]
    pub network: String,
    /// Which namespace.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    /// What the endpoint is to be.
    #[command(flatten)]
    pub address: AddressArgs,
}

/// Which namespace, and what the interface is called there.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// Network namespace, by path or by its name in `ip netns`
    #[arg(long, value_name = "NETNS", required_unless_present = "pid", conflicts_with = "pid")]
    pub netns: Option<PathBuf>,
    /// Network namespace, by a process in it
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// Name of the interface; eth0, or the next that is free
    #[arg(long, value_parser = ifname)]
    pub ifname: Option<String>,
}

/// What an endpoint is to be.
#[derive(Debug, Args)]
pub struct AddressArgs {
    /// Address, one of each family at most; taken or refused, never replaced
    #[arg(long = "ip", value_name = "ADDR")]
    pub addresses: Vec<IpAddr>,
    /// MAC address; derived from the IP address by default
    #[arg(long)]
    pub mac: Option<Mac>,
    /// Name of the endpoint, unique in its network
    #[arg(long, value_parser = name)]
    pub name: Option<String>,
    /// Option of the network driver, may be repeated
    #[arg(short = 'o', long = "opt", value_parser = key_value, value_name = "KEY=VALUE")]
    pub options: Vec<KeyValue>,
}

/// Takes endpoints off their network: `endpoint leave` and `endpoint rm` in one step.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft detach web
  weft detach blue/web 3f9c")]
pub struct DetachArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// The endpoints: id, prefix of one, name, or NETWORK/NAME
    #[arg(required = true, value_parser = name, value_name = "ENDPOINT")]
    pub endpoints: Vec<String>,
}

/// The life of an endpoint, one step at a time.
///
/// `create` takes the addresses, `join` puts the endpoint into a namespace, `leave` takes it out
/// and keeps the addresses, `rm` gives them back. An endpoint whose namespace vanished has left and
/// is shown as stale. Wherever a command takes an endpoint, it takes its id, a prefix of it, its
/// name, or NETWORK/NAME.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft endpoint create blue --name web
  weft endpoint join web --netns /run/netns/web
  weft endpoint leave web
  weft endpoint rm web")]
pub struct EndpointArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: EndpointCommand,
}

/// The commands of `weft endpoint`.
#[expect(missing_docs, reason = "a variant's words are those of its arguments")]
#[derive(Debug, Subcommand)]
pub enum EndpointCommand {
    Ls(EndpointLsArgs),
    Inspect(EndpointInspectArgs),
    Create(EndpointCreateArgs),
    Join(EndpointJoinArgs),
    Leave(EndpointLeaveArgs),
    Rm(EndpointRmArgs),
}

/// Lists the endpoints of this node.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft endpoint ls
  weft endpoint ls blue --json")]
pub struct EndpointLsArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// Only those of this network
    #[arg(value_parser = name)]
    pub network: Option<String>,
}

/// Shows one endpoint of this node.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weft endpoint inspect web\n  weft endpoint inspect blue/web --json"
)]
pub struct EndpointInspectArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// The endpoint
    #[arg(value_parser = name)]
    pub endpoint: String,
}

/// Makes an endpoint, in no namespace yet. Its id goes to standard output.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft endpoint create blue
  weft endpoint create blue --name web --ip 10.128.0.7")]
pub struct EndpointCreateArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// The network
    #[arg(value_parser = name)]
    pub network: String,
    /// What the endpoint is to be.
    #[command(flatten)]
    pub address: AddressArgs,
}

/// Puts an endpoint into a network namespace.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft endpoint join web --netns /run/netns/web
  weft endpoint join web --pid 4711 --ifname eth1")]
pub struct EndpointJoinArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// The endpoint
    #[arg(value_parser = name)]
    pub endpoint: String,
    /// Which namespace.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

/// Takes an endpoint out of its namespace. It keeps its addresses; the next join gets the same.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weft endpoint leave web")]
pub struct EndpointLeaveArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// The endpoint
    #[arg(value_parser = name)]
    pub endpoint: String,
}

/// Removes an endpoint and gives its addresses back. One that is in a namespace refuses.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weft endpoint rm web")]
pub struct EndpointRmArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// The endpoint
    #[arg(value_parser = name)]
    pub endpoint: String,
}
