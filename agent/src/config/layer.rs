//! One source of settings: the flags, the environment, or the file. Every key may be absent.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};
use weft_api::driver::Scope;

use crate::config::{ConfigError, LogFormat};

/// Defines the layer, its precedence and its environment from one list of keys, so that none of
/// the three can miss one.
macro_rules! layer {
    ($($(#[$doc:meta])* $key:ident: $type:ty = $read:ident, $expected:literal;)*) => {
        /// One source of settings. The keys are those of `weft.toml`; the variable of a key is
        /// `WEFT_` and the key in capitals.
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Layer {
            $($(#[$doc])* #[serde(default)] pub $key: Option<$type>,)*
        }

        impl Layer {
            /// Every key, in the order of the example file.
            pub const KEYS: &[&str] = &[$(stringify!($key)),*];

            /// Lays this one over `lower`: what is set here counts, what is not is `lower`'s.
            #[must_use]
            pub fn over(self, lower: Self) -> Self {
                Self { $($key: self.$key.or(lower.$key),)* }
            }

            /// Reads the environment. A variable that is empty counts as unset.
            ///
            /// # Errors
            /// [`ConfigError::Env`] for the first variable that cannot be understood.
            pub fn from_env(
                env: impl Fn(&str) -> Option<OsString>,
            ) -> Result<Self, ConfigError> {
                Ok(Self { $($key: {
                    let variable = format!("WEFT_{}", stringify!($key).to_uppercase());
                    match env(&variable).filter(|value| !value.is_empty()) {
                        None => None,
                        Some(value) => Some(value.to_str().and_then($read).ok_or_else(|| {
                            ConfigError::Env {
                                variable,
                                value: value.to_string_lossy().into_owned(),
                                expected: $expected,
                            }
                        })?),
                    }
                },)* })
            }
        }
    };
}

layer! {
    /// Durable state.
    data_dir: PathBuf = parse, "a path";
    /// Sockets and pinned namespaces.
    run_dir: PathBuf = parse, "a path";
    /// The control socket.
    socket: PathBuf = parse, "a path";
    /// The node's name.
    name: String = parse, "a name";
    /// The underlay address others reach this node at.
    advertise: IpAddr = parse, "an IP address without a port";
    /// Gossip port.
    port: u16 = parse, "a port";
    /// VXLAN port.
    vxlan_port: u16 = parse, "a port";
    /// How log lines look.
    log_format: LogFormat = parse_format, "text or json";
    /// Which log lines there are.
    log: String = parse, "a filter such as info or weft_agent=debug";
    /// Make a cluster at start.
    init: bool = parse_switch, "true or false";
    /// Join a cluster at start, by one of these members.
    join: Vec<String> = parse_list, "addresses parted by commas";
    /// The file that holds the join token.
    token_file: PathBuf = parse, "a path";
    /// Where third parties' plugins are looked for: the directory of sockets, then those of files.
    plugin_dirs: Vec<PathBuf> = parse_paths, "absolute paths parted by commas";
    /// The socket of the Docker plugin.
    docker_socket: PathBuf = parse, "a path";
    /// Where an engine's networks are known.
    docker_scope: Scope = parse, "local or global";
    /// What the engine calls the plugin.
    docker_name: String = parse, "a name such as weft or weft:latest";
    /// How long what an engine asked for may stay unused, in seconds.
    docker_unused_seconds: u64 = parse, "a number of seconds";
    /// Pool of the default IPv4 subnets.
    default4: Ipv4Network = parse, "an IPv4 network such as 10.128.0.0/9";
    /// Prefix length each is cut to.
    default4_prefix: u8 = parse, "a prefix length";
    /// Pool of the default IPv6 subnets.
    default6: Ipv6Network = parse, "an IPv6 network such as fd00:1234:5678::/48";
    /// Prefix length each is cut to.
    default6_prefix: u8 = parse, "a prefix length";
    /// First VNI.
    vni_first: u32 = parse, "a VNI";
    /// Last VNI.
    vni_last: u32 = parse, "a VNI";
    /// How long a released address rests before reuse, in seconds.
    rest_seconds: u64 = parse, "a number of seconds";
}

impl Layer {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// [`ConfigError::File`] with the line of the first unknown key, wrong type or wrong syntax.
    pub fn from_toml(path: &Path, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.get(..start).unwrap_or(text);
            ConfigError::File {
                path: path.to_owned(),
                line: before.matches('\n').count() + 1,
                reason: error.message().replace('\n', ", "),
            }
        })
    }

    /// Returns the default pools set here as general networks.
    pub(crate) fn default_pools(&self) -> (Option<IpNetwork>, Option<IpNetwork>) {
        (self.default4.map(IpNetwork::V4), self.default6.map(IpNetwork::V6))
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.trim().parse().ok()
}

fn parse_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

fn parse_switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

fn parse_paths(text: &str) -> Option<Vec<PathBuf>> {
    Some(parse_list(text)?.into_iter().map(PathBuf::from).collect())
}

fn parse_list(text: &str) -> Option<Vec<String>> {
    Some(
        text.split(',')
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect(),
    )
}
