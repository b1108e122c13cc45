//! The command line: every command, flag and word of help. What a command does is in `commands`.

mod agent;
mod cluster;
mod cni;
mod endpoint;
mod key;
mod lab;
mod network;
mod pod;
mod table;
mod value;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub use agent::AgentArgs;
pub use cluster::{
    DoctorArgs, ForgetArgs, InitArgs, IpamArgs, IpamCommand, IpamLsArgs, JoinArgs, LeaveArgs,
    MembersArgs, StatusArgs, TokenArgs,
};
pub use cni::{CniArgs, CniCommand, CniInstallArgs};
pub use endpoint::{
    AddressArgs, AttachArgs, DetachArgs, EndpointArgs, EndpointCommand, EndpointCreateArgs,
    EndpointInspectArgs, EndpointJoinArgs, EndpointLeaveArgs, EndpointLsArgs, EndpointRmArgs,
    SandboxArgs,
};
pub use key::{KeyArgs, KeyCommand, KeyLsArgs, KeyRmArgs, KeyRotateArgs};
pub use lab::{LabArgs, LabCommand, LabDownArgs, LabRunArgs, LabShape, LabUpArgs};
pub use network::{
    NetworkArgs, NetworkCommand, NetworkCreateArgs, NetworkInspectArgs, NetworkLsArgs,
    NetworkRmArgs,
};
pub use pod::{
    Capabilities, CniPairs, PodAddArgs, PodArgs, PodCacheArgs, PodCheckArgs, PodCommand,
    PodDelArgs, PodGcArgs, PodLsArgs, PodNetworkArgs, PodPluginArgs, PodStatusArgs, PodTargetArgs,
    PodValueArgs, SearchPath,
};
pub use table::{
    TableArgs, TableCommand, TableDeleteArgs, TableGetArgs, TableLsArgs, TableWatchArgs,
    TableWriteArgs,
};
pub use value::KeyValue;

const EXAMPLES: &str = "\
Examples:
  One host to begin with:
    weft agent &
    weft init
    weft network create blue
    weft attach blue --netns /run/netns/web

  Another host joins it:
    weft token -o token                          # on the first host; copy the file over
    weft join --token-file token 192.0.2.1       # on the second

  Look around:
    weft members; weft network ls; weft endpoint ls; weft doctor

Exit codes: 0 done, 1 it could not be done, 2 wrong usage or configuration.";

/// One flat, isolated layer-2 network for containers on many hosts.
///
/// An agent runs on every host. The agents find each other by gossip, share small tables, and turn
/// what they hear into VXLAN devices, forwarding and neighbour entries of their own kernel. There
/// is no central store and no manager. All commands but `agent`, `lab`, `pod`, `cni` and
/// `completions` speak to the agent of this host over its control socket.
#[derive(Debug, Parser)]
#[command(name = "weft", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[expect(missing_docs, reason = "a variant's words are those of its arguments")]
#[derive(Debug, Subcommand)]
pub enum Command {
    Agent(AgentArgs),
    Init(InitArgs),
    Token(TokenArgs),
    Join(JoinArgs),
    Leave(LeaveArgs),
    Forget(ForgetArgs),
    Key(KeyArgs),
    Members(MembersArgs),
    Status(StatusArgs),
    Doctor(DoctorArgs),
    Network(NetworkArgs),
    Attach(AttachArgs),
    Detach(DetachArgs),
    Endpoint(EndpointArgs),
    Ipam(IpamArgs),
    Table(TableArgs),
    Lab(LabArgs),
    Pod(PodArgs),
    Cni(CniArgs),
    Completions(CompletionsArgs),
}

/// Prints a script that completes commands and flags.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft completions bash > /etc/bash_completion.d/weft
  weft completions zsh > \"${fpath[1]}/_weft\"
  weft completions fish > ~/.config/fish/completions/weft.fish")]
pub struct CompletionsArgs {
    /// The shell to write for
    pub shell: Shell,
}

/// The control socket, unless another is named.
pub const DEFAULT_SOCKET: &str = "/run/weft/weft.sock";

/// How to reach the agent.
#[derive(Debug, Args)]
pub struct Connection {
    /// Control socket of the agent
    #[arg(long, env = "WEFT_SOCKET", default_value = DEFAULT_SOCKET, value_name = "PATH")]
    pub socket: PathBuf,
}

/// How to print.
#[derive(Debug, Args)]
pub struct Output {
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests;
