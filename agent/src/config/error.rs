//! What can be wrong with a configuration.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::config::AdvertiseError;
use crate::failure::Failure;
use crate::seed::ParseSeedError;

/// What is wrong with the configuration. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file `{}` cannot be read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file says something that cannot be understood.
    #[error("line {line} of the configuration file `{}`: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A variable of the environment cannot be understood.
    #[error("the environment variable {variable} is `{value}`, and should be {expected}")]
    Env {
        /// The variable.
        variable: String,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Both ways to get a cluster at once.
    #[error("`init` and `join` are both set, and a node can do only one of them")]
    InitAndJoin,
    /// A join that cannot be let in.
    #[error("`join` is set, and `token_file` is not")]
    JoinWithoutToken,
    /// A member's address that is none.
    #[error("in `join`: {0}")]
    Seed(ParseSeedError),
    /// A port of zero.
    #[error("`{0}` is 0, which is no port others could reach")]
    ZeroPort(&'static str),
    /// Two protocols on one port.
    #[error("`port` and `vxlan_port` are both {0}, and both are UDP")]
    SamePort(u16),
    /// A socket path that the kernel does not take.
    #[error("the control socket's path `{}` is longer than {max} bytes", .path.display())]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// The longest there can be.
        max: usize,
    },
    /// A name that is none.
    #[error(
        "the node name `{name}` is not 1 to {max} letters, digits, dots, hyphens and underscores"
    )]
    Name {
        /// The name.
        name: String,
        /// The longest there can be, in bytes.
        max: usize,
    },
    /// An address that others cannot reach.
    #[error("`advertise` is {0}, which other nodes cannot reach")]
    Advertise(IpAddr),
    /// No address was given, and none could be chosen.
    #[error(transparent)]
    NoAdvertise(#[from] AdvertiseError),
    /// The host could not be asked.
    #[error("{what} cannot be found out: {source}")]
    Host {
        /// What was asked.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// An empty list of directories.
    #[error("`plugin_dirs` names no directory")]
    NoPluginDirectory,
    /// A pool that cannot serve.
    #[error("`{key}` is {value}, and {reason}")]
    Pool {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why it cannot be.
        reason: &'static str,
    },
}

impl ConfigError {
    /// Says what to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "name another with --config",
            Self::File { .. } => "the example dist/weft.toml lists every key with its default",
            Self::Env { .. } => "change it, or unset it to take the file's value or the default",
            Self::InitAndJoin => "`init` belongs to the first node, `join` to all others",
            Self::JoinWithoutToken => {
                "write the token with `weft token -o FILE` on a member, and name the file here"
            }
            Self::Seed(_) => "give addresses of members that run",
            Self::ZeroPort(_) | Self::SamePort(_) => "leave it out for the default, 7950 or 4789",
            Self::SocketPath { .. } => "choose a shorter one with --socket",
            Self::Name { .. } => "give one with --name",
            Self::Advertise(_) => "give the address of the interface that leads to the other nodes",
            Self::NoAdvertise(_) => {
                "give the address that the other nodes reach this one at with --advertise"
            }
            Self::NoPluginDirectory => {
                "name the directory of sockets, then those of .spec and .json files"
            }
            Self::Host { .. } => "give --name and --advertise",
            Self::Pool { .. } => "the example dist/weft.toml lists the pools with their defaults",
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string()).with_hint(error.hint())
    }
}
