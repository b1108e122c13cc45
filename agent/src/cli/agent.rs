//! `weft agent`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use weft_api::driver::Scope;

use crate::config::{Layer, LogFormat};

const EXAMPLES: &str = "\
Examples:
  weft agent
  weft agent --advertise 192.0.2.1 --log-format json
  weft agent --join 192.0.2.1 --token-file /etc/weft/token
  weft agent --data-dir /tmp/a/data --run-dir /tmp/a/run     # a second agent on one machine

Every flag is also a key of the configuration file (dist/weft.toml lists them all) and a variable
of the environment: --data-dir is data_dir and WEFT_DATA_DIR. A flag goes over the environment,
the environment over the file.";

/// Runs the agent of this host, in the foreground.
///
/// It needs root. A stop by SIGTERM or SIGINT leaves the cluster as it is and the traffic flowing;
/// only `weft leave` leaves.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AgentArgs {
    /// Configuration file; /etc/weft/weft.toml where there is one
    #[arg(long, env = "WEFT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Durable state [default: /var/lib/weft]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Control socket and pinned namespaces [default: /run/weft]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Control socket [default: weft.sock in the run directory]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Name of the node [default: the host's]
    #[arg(long)]
    pub name: Option<String>,
    /// Address others reach this node at [default: that of the default route]
    #[arg(long, value_name = "ADDR")]
    pub advertise: Option<IpAddr>,
    /// Gossip port, UDP and TCP [default: 7950]
    #[arg(long)]
    pub port: Option<u16>,
    /// VXLAN port, UDP [default: 4789]
    #[arg(long, value_name = "PORT")]
    pub vxlan_port: Option<u16>,
    /// Serve a Docker Engine as its plugin on this socket, such as /run/docker/plugins/weft.sock
    #[arg(long, value_name = "PATH")]
    pub docker_socket: Option<PathBuf>,
    /// Where the engine's networks are known: `global` for an engine in a Swarm [default: local]
    #[arg(long, value_name = "SCOPE")]
    pub docker_scope: Option<Scope>,
    /// How log lines look [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormatArg>,
    /// Which log lines there are: a level, or levels by module [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Make a cluster at start, unless the node is in one
    #[arg(long, conflicts_with = "join")]
    pub init: bool,
    /// Join a cluster at start by this member, unless the node is in one; may be repeated
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub join: Vec<String>,
    /// File that holds the join token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormatArg {
    /// For people
    Text,
    /// For programs, one object a line
    Json,
}

impl AgentArgs {
    /// Returns what the flags set.
    pub fn layer(&self) -> Layer {
        Layer {
            data_dir: self.data_dir.clone(),
            run_dir: self.run_dir.clone(),
            socket: self.socket.clone(),
            name: self.name.clone(),
            advertise: self.advertise,
            port: self.port,
            vxlan_port: self.vxlan_port,
            docker_socket: self.docker_socket.clone(),
            docker_scope: self.docker_scope,
            log_format: self.log_format.map(|format| match format {
                LogFormatArg::Text => LogFormat::Text,
                LogFormatArg::Json => LogFormat::Json,
            }),
            log: self.log.clone(),
            init: self.init.then_some(true),
            join: (!self.join.is_empty()).then(|| self.join.clone()),
            token_file: self.token_file.clone(),
            ..Layer::default()
        }
    }
}
