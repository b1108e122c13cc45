//! What the agent is told: flag over environment over file over default.
//!
//! [`Config::load`] reads all of it, checks all of it, and binds nothing; an agent that gets past
//! it was configured in a way that makes sense.

mod advertise;
mod error;
mod host;
mod layer;
mod pools;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_api::driver::Scope;

use crate::plugins::Directories;
use crate::seed::{DEFAULT_PORT, Seed};

pub use advertise::{AdvertiseError, choose_advertise};
pub use error::ConfigError;
pub use host::{Host, SystemHost};
pub use layer::Layer;
pub use pools::Pools;

/// Where the configuration is looked for when `--config` names nothing.
pub const DEFAULT_FILE: &str = "/etc/weft/weft.toml";
/// Longest path a unix socket can have, in bytes (`sun_path` less its final zero).
const SOCKET_PATH_MAX: usize = 107;
/// Longest name of a node, in bytes.
const NAME_MAX: usize = 64;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs, one object a line.
    Json,
}

/// What the agent does about its cluster at start. All of it is idempotent: a node that is in a
/// cluster already does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartUp {
    /// Wait for `weft init` or `weft join`.
    Wait,
    /// Make a cluster.
    Init,
    /// Join one.
    Join {
        /// Members to ask, any of them; none where an engine in a Swarm tells who is there.
        seeds: Vec<Seed>,
        /// The file that holds the token.
        token_file: PathBuf,
    },
}

/// The plugin of a Docker Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    /// Its socket, where the engine looks for it.
    pub socket: PathBuf,
    /// Where the engine's networks are known.
    pub scope: Scope,
    /// What the engine calls the plugin, as its user has to.
    pub name: String,
    /// How long a pool or an address may wait for its network or endpoint.
    pub unused: Duration,
}

/// Everything the agent is told, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Durable state.
    pub data_dir: PathBuf,
    /// What ends with the machine's uptime: sockets, pinned namespaces.
    pub run_dir: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// The node's name.
    pub name: String,
    /// The underlay address other members and VTEPs reach this node at.
    pub advertise: IpAddr,
    /// Gossip port, UDP and TCP.
    pub port: u16,
    /// VXLAN port, UDP.
    pub vxlan_port: u16,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines there are, in the syntax of `tracing`'s `EnvFilter`.
    pub log: String,
    /// What to do at start.
    pub start_up: StartUp,
    /// Where third parties' plugins are looked for.
    pub plugins: Directories,
    /// The Docker plugin, where it is served.
    pub docker: Option<Docker>,
    /// What a cluster made here hands out.
    pub pools: Pools,
    /// How long a released address rests before reuse.
    pub rest: Duration,
}

impl Config {
    /// Reads the file (`flags.config`, else the default one where it exists), lays environment
    /// and flags over it, fills in the rest from the host, and checks the whole.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key, and where it came from, that is to be changed.
    pub fn load(
        file: Option<&Path>,
        flags: Layer,
        env: impl Fn(&str) -> Option<OsString>,
        host: &dyn Host,
    ) -> Result<Self, ConfigError> {
        let from_file = match file {
            Some(path) => read_file(path)?,
            None => match read_file(Path::new(DEFAULT_FILE)) {
                Err(ConfigError::Read { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    Layer::default()
                }
                read => read?,
            },
        };
        Self::resolve(flags.over(Layer::from_env(env)?).over(from_file), host)
    }

    /// Fills in what no layer says, and checks the whole.
    fn resolve(layer: Layer, host: &dyn Host) -> Result<Self, ConfigError> {
        let start_up = start_up(&layer)?;
        let pools = Pools::checked(&layer)?;
        let current = host.current_dir();
        let absolute = |path: PathBuf| current.join(path);
        let docker = layer.docker_socket.map(|path| Docker {
            name: layer.docker_name.unwrap_or_else(|| name_by_socket(&path)),
            socket: absolute(path),
            scope: layer.docker_scope.unwrap_or(Scope::Local),
            unused: Duration::from_secs(layer.docker_unused_seconds.unwrap_or(300)),
        });
        let run_dir = absolute(layer.run_dir.unwrap_or_else(|| "/run/weft".into()));
        let socket = layer.socket.map_or_else(|| run_dir.join("weft.sock"), absolute);
        for path in docker.iter().map(|docker| &docker.socket).chain([&socket]) {
            if path.as_os_str().len() > SOCKET_PATH_MAX {
                let path = path.clone();
                return Err(ConfigError::SocketPath { path, max: SOCKET_PATH_MAX });
            }
        }
        let port = checked_port("port", layer.port, DEFAULT_PORT)?;
        let vxlan_port = checked_port("vxlan_port", layer.vxlan_port, 4789)?;
        if port == vxlan_port {
            return Err(ConfigError::SamePort(port));
        }
        let name = match layer.name {
            Some(name) => checked_name(name)?,
            None => checked_name(host.name()?)?,
        };
        let plugins = match layer.plugin_dirs {
            None => Directories::default(),
            Some(directories) => {
                let mut directories = directories.into_iter().map(&absolute);
                let sockets = directories.next().ok_or(ConfigError::NoPluginDirectory)?;
                Directories { sockets, files: directories.collect() }
            }
        };
        let advertise = match layer.advertise {
            Some(address) => checked_advertise(address)?,
            None => host.default_address()?,
        };
        Ok(Self {
            data_dir: absolute(layer.data_dir.unwrap_or_else(|| "/var/lib/weft".into())),
            run_dir,
            socket,
            name,
            advertise,
            port,
            vxlan_port,
            log_format: layer.log_format.unwrap_or_default(),
            log: layer.log.unwrap_or_else(|| "info".to_owned()),
            start_up,
            plugins,
            docker,
            pools,
            rest: Duration::from_secs(layer.rest_seconds.unwrap_or(60)),
        })
    }

    /// Returns where other members reach this node.
    pub const fn advertise_addr(&self) -> SocketAddr {
        SocketAddr::new(self.advertise, self.port)
    }
}

/// An engine calls a plugin as its socket is called, without the ending.
fn name_by_socket(socket: &Path) -> String {
    socket.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

fn read_file(path: &Path) -> Result<Layer, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    Layer::from_toml(path, &text)
}

fn start_up(layer: &Layer) -> Result<StartUp, ConfigError> {
    let joins = layer.join.clone().unwrap_or_default();
    match (layer.init.unwrap_or(false), joins.is_empty()) {
        (true, false) => Err(ConfigError::InitAndJoin),
        (true, true) => Ok(StartUp::Init),
        (false, true) if layer.docker_socket.is_none() => Ok(StartUp::Wait),
        // An engine in a Swarm tells who is there; only the token is missing.
        (false, true) => Ok(match layer.token_file.clone() {
            Some(token_file) => StartUp::Join { seeds: Vec::new(), token_file },
            None => StartUp::Wait,
        }),
        (false, false) => {
            let seeds = joins
                .iter()
                .map(|seed| seed.parse().map_err(ConfigError::Seed))
                .collect::<Result<Vec<Seed>, _>>()?;
            let token_file = layer.token_file.clone().ok_or(ConfigError::JoinWithoutToken)?;
            Ok(StartUp::Join { seeds, token_file })
        }
    }
}

fn checked_port(key: &'static str, port: Option<u16>, default: u16) -> Result<u16, ConfigError> {
    match port.unwrap_or(default) {
        0 => Err(ConfigError::ZeroPort(key)),
        port => Ok(port),
    }
}

fn checked_name(name: String) -> Result<String, ConfigError> {
    let is_name = (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if is_name { Ok(name) } else { Err(ConfigError::Name { name, max: NAME_MAX }) }
}

fn checked_advertise(address: IpAddr) -> Result<IpAddr, ConfigError> {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    if address.is_unspecified() || address.is_multicast() || is_link_local {
        return Err(ConfigError::Advertise(address));
    }
    Ok(address)
}

#[cfg(test)]
mod tests;
