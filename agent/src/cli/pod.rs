//! `weft pod`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use crate::cli::Output;
use crate::cli::value::{ifname, name};

/// Attaches network namespaces to any network of the Container Network Interface (CNI).
///
/// This is the runtime's side, as containerd or `cnitool` have it: it reads the configuration of a
/// network, runs its plugins in order, and remembers each attachment in a cache that those programs
/// share. It needs no agent, and the plugins may be anybody's. They change this host, so it needs
/// root. Calls for one namespace must not overlap, and none may overlap `gc`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft pod add pods --netns web            # /run/netns/web, as `ip netns add web` makes it
  weft pod ls
  weft pod check pods --netns web
  weft pod del pods --netns web
  weft pod gc pods --dry-run")]
pub struct PodArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PodCommand,
}

/// The commands of `weft pod`.
#[expect(missing_docs, reason = "a variant's words are those of its arguments")]
#[derive(Debug, Subcommand)]
pub enum PodCommand {
    Add(PodAddArgs),
    Del(PodDelArgs),
    Check(PodCheckArgs),
    Status(PodStatusArgs),
    Gc(PodGcArgs),
    Ls(PodLsArgs),
}

/// Which network.
#[derive(Debug, Args)]
pub struct PodNetworkArgs {
    /// The network, by the name in its configuration
    #[arg(value_parser = name, required_unless_present = "conf", conflicts_with = "conf")]
    pub network: Option<String>,
    /// The network, by the file of its configuration: a list, or that of a single plugin
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub conf: Option<PathBuf>,
    /// Directory of configurations, to look for the name in
    #[arg(long, env = "NETCONFPATH", default_value = "/etc/cni/net.d", value_name = "DIR")]
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub conf_dir: PathBuf,
}

/// Where plugins are.
#[derive(Debug, Args)]
pub struct PodPluginArgs {
    /// Directory of plugins, may be repeated or hold several with colons between; first match wins
    #[arg(long, env = "CNI_PATH", default_value = "/opt/cni/bin:/usr/lib/cni", value_name = "DIR")]
    #[arg(value_parser = search_path)]
    pub bin_dir: Vec<SearchPath>,
}

/// Where attachments are remembered.
#[derive(Debug, Args)]
pub struct PodCacheArgs {
    /// Directory that remembers attachments, shared with other runtimes
    #[arg(long, default_value = cni::libcni::CACHE_DIR, value_name = "DIR")]
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub cache_dir: PathBuf,
}

/// Which attachment to a network.
#[derive(Debug, Args)]
pub struct PodTargetArgs {
    /// Network namespace, by path, or by its name in /run/netns
    #[arg(long, value_name = "PATH|NAME", conflicts_with = "pid")]
    #[arg(required_unless_present_any = ["pid", "container_id"])]
    pub netns: Option<PathBuf>,
    /// Network namespace, by a process in it
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// Container; by default made of the path as cnitool does: `cnitool-` and the first ten bytes
    /// of the path's SHA-512 in hexadecimal
    #[arg(long, value_name = "ID", value_parser = container_id)]
    pub container_id: Option<String>,
    /// Name of the interface in the namespace
    #[arg(long, env = "CNI_IFNAME", default_value = "eth0", value_parser = ifname)]
    pub ifname: String,
}

/// What plugins are told beside their configuration.
#[derive(Debug, Args)]
pub struct PodValueArgs {
    /// Argument for all plugins, may be repeated or hold several with semicolons between
    #[arg(long, env = "CNI_ARGS", value_name = "KEY=VALUE", value_parser = cni_pairs)]
    pub args: Vec<CniPairs>,
    /// Value for the plugins with this capability, may be repeated; in the environment one JSON
    /// object of all
    #[arg(long, env = "CAP_ARGS", value_name = "NAME=JSON", value_parser = capabilities)]
    pub cap: Vec<Capabilities>,
}

/// Attaches a namespace to a network: ADD of all plugins, or of none.
///
/// When a plugin fails, or on Ctrl-C, what the plugins before it did is undone. An interface of
/// that name that is there already, and the host's own namespace, are refused before any plugin
/// runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft pod add pods --netns web
  weft pod add pods --pid 4711 --container-id web --ifname eth1
  weft pod add --conf ./pods.conflist --bin-dir ./plugins --netns /run/netns/web --json
  weft pod add pods --netns web \\
      --cap 'portMappings=[{\"hostPort\":8080,\"containerPort\":80,\"protocol\":\"tcp\"}]'")]
pub struct PodAddArgs {
    /// Which network.
    #[command(flatten)]
    pub network: PodNetworkArgs,
    /// Which attachment to it.
    #[command(flatten)]
    pub target: PodTargetArgs,
    /// What plugins are told.
    #[command(flatten)]
    pub values: PodValueArgs,
    /// Where plugins are.
    #[command(flatten)]
    pub plugins: PodPluginArgs,
    /// Where attachments are remembered.
    #[command(flatten)]
    pub cache: PodCacheArgs,
    /// Print the result of the last plugin, for programs
    #[arg(long)]
    pub json: bool,
}

/// Takes a namespace off a network: DEL of all plugins, the last first.
///
/// Plugins get the configuration and the arguments that the attachment was made with, unless
/// others are given; so neither the configuration nor the namespace has to be there any more. It
/// may be repeated. Without --container-id the attachment is found by its namespace.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft pod del pods --netns web
  weft pod del pods --container-id web --ifname eth1
  weft pod del --conf ./pods.conflist --netns web     # by this configuration, not the cached one")]
pub struct PodDelArgs {
    /// Which network.
    #[command(flatten)]
    pub network: PodNetworkArgs,
    /// Which attachment to it.
    #[command(flatten)]
    pub target: PodTargetArgs,
    /// What plugins are told.
    #[command(flatten)]
    pub values: PodValueArgs,
    /// Where plugins are.
    #[command(flatten)]
    pub plugins: PodPluginArgs,
    /// Where attachments are remembered.
    #[command(flatten)]
    pub cache: PodCacheArgs,
}

/// Asks the plugins whether an attachment is as they made it: CHECK.
///
/// They get the configuration and the arguments that it was made with, unless others are given.
/// The exit code is 1 when something is missing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft pod check pods --netns web
  weft pod check pods --netns web --json | jq .error.msg")]
pub struct PodCheckArgs {
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// Which network.
    #[command(flatten)]
    pub network: PodNetworkArgs,
    /// Which attachment to it.
    #[command(flatten)]
    pub target: PodTargetArgs,
    /// What plugins are told.
    #[command(flatten)]
    pub values: PodValueArgs,
    /// Where plugins are.
    #[command(flatten)]
    pub plugins: PodPluginArgs,
    /// Where attachments are remembered.
    #[command(flatten)]
    pub cache: PodCacheArgs,
}

/// Asks the plugins of a network whether they can attach namespaces now: STATUS.
///
/// STATUS came with CNI 1.1.0. Of a network of an older version it is asked whether its plugins
/// are there and speak that version. The exit code is 1 when one says no.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft pod status pods
  weft pod status pods --json | jq .error.code      # 50: not now; 51: and pods are cut off, too")]
pub struct PodStatusArgs {
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// Which network.
    #[command(flatten)]
    pub network: PodNetworkArgs,
    /// Where plugins are.
    #[command(flatten)]
    pub plugins: PodPluginArgs,
}

/// Removes what namespaces left behind that are gone: DEL, then GC of all plugins.
///
/// What is to stay are the attachments in the cache whose namespace exists. Plugins of CNI 1.1.0
/// are given this list and remove whatever else they hold of the network, so the cache has to be
/// that of all who attach to it. A cache that is missing, or has an entry that cannot be read, is
/// refused.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft pod gc pods --dry-run
  weft pod gc pods --json | jq -r '.removed[].container_id'")]
pub struct PodGcArgs {
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// Which network.
    #[command(flatten)]
    pub network: PodNetworkArgs,
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Where plugins are.
    #[command(flatten)]
    pub plugins: PodPluginArgs,
    /// Where attachments are remembered.
    #[command(flatten)]
    pub cache: PodCacheArgs,
}

/// Lists the attachments that the cache remembers, whoever made them.
///
/// Those whose configuration or namespace is gone are listed too, and noted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weft pod ls
  weft pod ls pods --json | jq -r '.[] | select(.namespace == \"gone\") | .container_id'")]
pub struct PodLsArgs {
    /// How to print.
    #[command(flatten)]
    pub output: Output,
    /// Only those to this network
    #[arg(value_parser = name)]
    pub network: Option<String>,
    /// Only those of this container
    #[arg(long, value_name = "ID", value_parser = container_id)]
    pub container_id: Option<String>,
    /// Directory of configurations, to note those that are gone
    #[arg(long, env = "NETCONFPATH", default_value = "/etc/cni/net.d", value_name = "DIR")]
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub conf_dir: PathBuf,
    /// Where attachments are remembered.
    #[command(flatten)]
    pub cache: PodCacheArgs,
}

/// Directories to look for plugins in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPath(pub Vec<PathBuf>);

/// Arguments for all plugins, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniPairs(pub Vec<(String, String)>);

/// Values by capability.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities(pub BTreeMap<String, Value>);

/// Reads directories with colons between; none in an empty text, as a variable may be.
#[expect(clippy::unnecessary_wraps, reason = "the form of a parser")]
fn search_path(text: &str) -> Result<SearchPath, String> {
    let parts = text.split(':').filter(|part| !part.is_empty());
    Ok(SearchPath(parts.map(PathBuf::from).collect()))
}

/// Reads `KEY=VALUE` with semicolons between. Plugins refuse a second `=`, so it is refused here.
fn cni_pairs(text: &str) -> Result<CniPairs, String> {
    let parts = text.split(';').filter(|part| !part.is_empty());
    let pairs = parts.map(|part| match part.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.contains('=') => {
            Ok((key.to_owned(), value.to_owned()))
        }
        Some(_) | None => Err(format!("`{part}` is not KEY=VALUE with one `=`")),
    });
    pairs.collect::<Result<_, _>>().map(CniPairs)
}

/// Reads `NAME=JSON`, or one JSON object of several.
fn capabilities(text: &str) -> Result<Capabilities, String> {
    if text.is_empty() {
        return Ok(Capabilities(BTreeMap::new()));
    }
    if text.trim_start().starts_with('{') {
        let all: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| format!("it is no JSON object: {error}"))?;
        return Ok(Capabilities(all.into_iter().collect()));
    }
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("a capability is NAME=JSON, as in mac='\"02:00:00:00:00:01\"'")?;
    let value = serde_json::from_str(value)
        .map_err(|error| format!("the value of `{name}` is no JSON: {error}"))?;
    Ok(Capabilities(BTreeMap::from([(name.to_owned(), value)])))
}

/// Reads a container id as the specification has it.
fn container_id(text: &str) -> Result<String, String> {
    let rule = "it begins with a letter or digit, then letters, digits, `_`, `.` and `-`";
    cni::validate::container_id(text).map(|()| text.to_owned()).map_err(|_| rule.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_come_one_by_one_or_as_the_environment_has_them() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(cni_pairs("A=1;B=;").unwrap().0, [pair("A", "1"), pair("B", "")]);
        assert_eq!(cni_pairs("").unwrap().0, []);
        for bad in ["A", "=1", "A=1=2", "A=1;B"] {
            assert!(cni_pairs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn capabilities_come_one_by_one_or_as_the_environment_has_them() {
        let of = |text| capabilities(text).unwrap().0;
        assert_eq!(of("ips=[\"10.1.0.2/24\"]")["ips"], json!(["10.1.0.2/24"]));
        assert_eq!(of("mac=\"a=b\"")["mac"], json!("a=b"));
        assert_eq!(of(" {\"mac\": \"x\", \"ips\": []}").len(), 2);
        assert!(of("").is_empty());
        for bad in ["mac", "=1", "mac=", "mac=x", "{", "{\"mac\"}"] {
            assert!(capabilities(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_search_path_has_no_empty_parts() {
        let path = search_path("/a::/b:").unwrap();
        assert_eq!(path.0, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert!(search_path("").unwrap().0.is_empty());
    }
}
