//! `weft init`, `token`, `join`, `leave`, `forget`, `members`, `status`, `doctor`, `ipam`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ipnetwork::IpNetwork;

use crate::cli::value::cidr;
use crate::cli::{Connection, Output};
use crate::seed::Seed;

/// Makes a cluster: its id, its key, and this node as its first member.
///
/// The pools decide what networks without an explicit subnet get, on every node, for as long as
/// the cluster lives. What is not given here comes from the agent's configuration. The id of the
/// cluster goes to standard output.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft init
  weft init --default4 172.20.0.0/14 --default4-prefix 24
  weft init --default6 fd12:3456:789a::/48")]
pub struct InitArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// Pool that IPv4 subnets are cut from [default: 10.128.0.0/9]
    #[arg(long, value_parser = cidr, value_name = "CIDR")]
    pub default4: Option<IpNetwork>,
    /// Prefix length each is cut to [default: 20]
    #[arg(long, value_name = "BITS")]
    pub default4_prefix: Option<u8>,
    /// Pool that IPv6 subnets are cut from [default: a random /48 of fd00::/8]
    #[arg(long, value_parser = cidr, value_name = "CIDR")]
    pub default6: Option<IpNetwork>,
    /// Prefix length each is cut to [default: 64]
    #[arg(long, value_name = "BITS")]
    pub default6_prefix: Option<u8>,
    /// First VXLAN network identifier [default: 8388608]
    #[arg(long, value_name = "VNI")]
    pub vni_first: Option<u32>,
    /// Last VXLAN network identifier [default: 16777215]
    #[arg(long, value_name = "VNI")]
    pub vni_last: Option<u32>,
}

/// Prints the token that others join with.
///
/// The token is a secret: whoever has it can join and read everything. `-o` writes it into a file
/// that only its owner can read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft token -o token
  weft token | ssh node-b weft join 192.0.2.1")]
pub struct TokenArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// Write it into this file (mode 0600); - is standard output
    #[arg(short = 'o', long = "output", value_name = "FILE", conflicts_with = "json")]
    pub file: Option<PathBuf>,
}

/// Joins the cluster of the members named.
///
/// One of them has to answer; several are tried in turn. The token comes from a file or from
/// standard input, never from the command line, which other users of this host can read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft join --token-file token 192.0.2.1
  weft join 192.0.2.1:7950 [2001:db8::2]:7950 < token
  WEFT_TOKEN_FILE=/run/secrets/weft weft join node-a")]
pub struct JoinArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// File that holds the token; - or nothing reads standard input
    #[arg(long, env = "WEFT_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Members to ask: addresses or host names
    #[arg(required = true, value_name = "ADDR[:PORT]")]
    pub seeds: Vec<Seed>,
}

/// Leaves the cluster for good.
///
/// The node hands the addresses it owns to the other members, tells them that it is gone, and drops
/// its own state of the cluster. It can join again, as a new node. To stop the agent and come back
/// later, just stop it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft leave
  weft leave --force          # removes this node's endpoints first")]
pub struct LeaveArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// Remove this node's endpoints first, and leave though no other member answers
    #[arg(long)]
    pub force: bool,
}

/// Forgets nodes that are stopped for good.
///
/// Say this of a node only when neither it nor its containers will ever run again under its old
/// state: its host is gone, or its disk is. This node becomes its heir and may hand out the
/// addresses that it owned, its endpoints leave all tables, and networks that only it used can be
/// removed. Every other member has to agree, also those that are away; `--force` goes on without
/// these. A node that is forgotten and starts all the same is told, and joins again as a new one
/// without its endpoints.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft forget node-c
  weft forget node-c node-d --force       # others are away too, or half of the members are named
  weft forget 3f9a1c --json")]
pub struct ForgetArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// Go on without members that are away, and also where half of the members are named
    #[arg(long)]
    pub force: bool,
    /// Members to forget: names, ids, or prefixes of ids
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,
}

/// Lists the members of the cluster as this node sees them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft members
  weft members --json | jq -r '.[] | select(.state == \"failed\").name'")]
pub struct MembersArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Shows how this node is: its cluster, members, networks, and what was dropped or repaired.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft status
  weft status --json | jq .state          # none, joining, syncing, ready or leaving")]
pub struct StatusArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Looks for what could be wrong: kernel features, rights, ports, MTU, clock, peers.
///
/// Each finding that is not well comes with a hint. The exit code is 1 when something will not
/// work, and 0 when there are warnings at most.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft doctor
  weft doctor --json | jq '.checks[] | select(.status != \"ok\")'")]
pub struct DoctorArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Shows the address pools and who holds how much of them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weft ipam ls")]
pub struct IpamArgs {
    /// What to show.
    #[command(subcommand)]
    pub command: IpamCommand,
}

/// The commands of `weft ipam`.
#[expect(missing_docs, reason = "a variant's words are those of its arguments")]
#[derive(Debug, Subcommand)]
pub enum IpamCommand {
    Ls(IpamLsArgs),
}

/// Lists the pools.
///
/// FREE HERE is what this node can hand out without asking another. A released address rests, for a
/// minute unless configured otherwise, before it is used again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft ipam ls
  weft ipam ls --json | jq '.[] | {pool, free}'")]
pub struct IpamLsArgs {
    /// How to reach the agent.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}
