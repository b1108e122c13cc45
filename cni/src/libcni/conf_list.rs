//! Configurations of chains of plugins.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::conf::{self, NetworkConfig, conf_files, conf_from_bytes, conf_from_file, load_conf};
use crate::error::{Error, NoConfigsFound, NotFound};
use crate::version::{CURRENT, Version, greater_than};

/// A network: its name and the plugins that make an attachment to it, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkConfigList {
    /// The network's name.
    pub name: String,
    /// The version of the specification to speak to the plugins.
    pub cni_version: String,
    /// Whether CHECK does nothing.
    pub disable_check: bool,
    /// Whether GC does nothing.
    pub disable_gc: bool,
    /// Whether plugins in the directory named after the network do not count; from libcni
    /// 1.3.0, see [`PluginSources`].
    pub load_only_inlined_plugins: bool,
    /// The plugins.
    pub plugins: Vec<NetworkConfig>,
    /// The list as it was read; what the cache remembers.
    pub bytes: Vec<u8>,
}

/// Where the plugins of a list file may stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PluginSources {
    /// In the list only, which therefore has some: libcni 1.2.
    #[default]
    Inlined,
    /// Also in the `.conf` files of the directory beside the list that has the network's name,
    /// unless the list says `loadOnlyInlinedPlugins`: libcni 1.3.
    InlinedAndDirectory,
}

/// Decodes a configuration list.
///
/// Where it offers `cniVersions`, the newest this library speaks is chosen, `cniVersion` being
/// one more offer. Without them `cniVersion` is taken as it is.
///
/// # Errors
/// [`Error::ParseConfList`] if it is no JSON object, [`Error::InvalidConfList`] if a member is
/// missing or wrong, [`Error::ParsePluginConf`] for a malformed plugin.
pub fn conf_list_from_bytes(bytes: &[u8]) -> Result<NetworkConfigList, Error> {
    decode(bytes, PluginSources::Inlined)
}

fn decode(bytes: &[u8], sources: PluginSources) -> Result<NetworkConfigList, Error> {
    let members: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(Error::ParseConfList)?;
    let name = match members.get("name") {
        None => return Err(invalid("no name")),
        Some(Value::String(name)) => name.clone(),
        Some(other) => return Err(invalid(format!("invalid name type {}", kind(other)))),
    };
    let cni_version = cni_version(&members)?;
    let disable_check = switch(&members, "disableCheck")?;
    let disable_gc = switch(&members, "disableGC")?;
    let load_only_inlined_plugins = switch(&members, "loadOnlyInlinedPlugins")?;
    let plugins = match (members.get("plugins"), sources) {
        (Some(Value::Array(plugins)), _) => plugins.as_slice(),
        (Some(other), _) => {
            return Err(invalid(format!("invalid 'plugins' type {}", kind(other))));
        }
        (None, PluginSources::InlinedAndDirectory) if !load_only_inlined_plugins => &[],
        (None, PluginSources::Inlined | PluginSources::InlinedAndDirectory) => {
            return Err(invalid("no 'plugins' key"));
        }
    };
    if plugins.is_empty() && sources == PluginSources::Inlined {
        return Err(invalid("no plugins in list"));
    }
    Ok(NetworkConfigList {
        name,
        cni_version,
        disable_check,
        disable_gc,
        load_only_inlined_plugins,
        plugins: plugins.iter().enumerate().map(plugin).collect::<Result<_, _>>()?,
        bytes: bytes.to_vec(),
    })
}

fn plugin((index, conf): (usize, &Value)) -> Result<NetworkConfig, Error> {
    conf_from_bytes(conf.to_string().as_bytes())
        .map_err(|cause| Error::ParsePluginConf { index, cause: Box::new(cause) })
}

/// Chooses the version to speak.
fn cni_version(members: &Map<String, Value>) -> Result<String, Error> {
    let stated = match members.get("cniVersion") {
        None => "",
        Some(Value::String(version)) => version.as_str(),
        Some(other) => return Err(invalid(format!("invalid cniVersion type {}", kind(other)))),
    };
    let Some(offers) = members.get("cniVersions") else { return Ok(stated.to_owned()) };
    let Value::Array(offers) = offers else {
        return Err(invalid(format!("invalid type {} for cniVersions", kind(offers))));
    };
    let mut speakable = Vec::new();
    for offer in offers {
        let Value::String(offer) = offer else {
            return Err(invalid(format!("invalid type {} in cniVersions", kind(offer))));
        };
        let newer = greater_than(offer, CURRENT)
            .map_err(|error| invalid(format!("invalid cniVersions value {offer:?}: {error}")))?;
        if !newer {
            speakable.push(offer.as_str());
        }
    }
    if !stated.is_empty() {
        let newer = greater_than(stated, CURRENT)
            .map_err(|error| invalid(format!("invalid cniVersion value {stated:?}: {error}")))?;
        if !newer {
            speakable.push(stated);
        }
    }
    let newest = speakable.into_iter().max_by_key(|version| Version::parse(version).ok());
    Ok(newest.unwrap_or(stated).to_owned())
}

/// Reads a boolean, which people also write as text.
fn switch(members: &Map<String, Value>, key: &str) -> Result<bool, Error> {
    match members.get(key) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(Value::String(text)) => Err(invalid(format!("invalid value {text:?} for {key}"))),
        Some(other) => Err(invalid(format!("invalid type {} for {key}", kind(other)))),
    }
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::InvalidConfList(reason.into())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Makes a list of a single plugin's configuration.
///
/// # Errors
/// As [`conf_list_from_bytes`]; among others if the configuration has no name.
pub fn conf_list_from_conf(original: &NetworkConfig) -> Result<NetworkConfigList, Error> {
    let conf: Value = serde_json::from_slice(&original.bytes).map_err(Error::ParseConf)?;
    let list = json!({
        "name": original.network.name,
        "cniVersion": original.network.cni_version,
        "plugins": [conf],
    });
    conf_list_from_bytes(list.to_string().as_bytes())
}

/// Reads a configuration list from a file, plugins [inlined](PluginSources::Inlined).
///
/// # Errors
/// [`Error::ReadFile`], or as [`conf_list_from_bytes`].
pub fn conf_list_from_file(path: &Path) -> Result<NetworkConfigList, Error> {
    conf_list_from_file_with(path, PluginSources::Inlined)
}

/// Reads a configuration list from a file, and perhaps plugins from a directory beside it.
///
/// # Errors
/// As [`conf_list_from_file`], and [`Error::InvalidConfList`] if no plugin is found anywhere.
pub fn conf_list_from_file_with(
    path: &Path,
    sources: PluginSources,
) -> Result<NetworkConfigList, Error> {
    let mut list = decode(&conf::read(path)?, sources)?;
    let beside = sources == PluginSources::InlinedAndDirectory && !list.load_only_inlined_plugins;
    // The name is a path here, so it must be a name.
    if beside && crate::validate::network_name(&list.name).is_ok() {
        let directory = path.parent().unwrap_or(Path::new("")).join(&list.name);
        for file in conf_files(&directory, &[".conf"])? {
            list.plugins.push(conf_from_file(&file)?);
        }
    }
    if list.plugins.is_empty() {
        return Err(invalid("no plugin configs found"));
    }
    Ok(list)
}

/// Finds the list of the network `name` among the `.conflist` files of a directory, or else
/// its single configuration by [`load_conf`], plugins [inlined](PluginSources::Inlined).
///
/// # Errors
/// [`Error::NoConfigsFound`], [`Error::NotFound`], or as [`conf_list_from_file`]: a malformed
/// file ends the search.
pub fn load_conf_list(dir: &Path, name: &str) -> Result<NetworkConfigList, Error> {
    load_conf_list_with(dir, name, PluginSources::Inlined)
}

/// As [`load_conf_list`], and perhaps plugins from a directory beside the list.
///
/// # Errors
/// As there.
pub fn load_conf_list_with(
    dir: &Path,
    name: &str,
    sources: PluginSources,
) -> Result<NetworkConfigList, Error> {
    let files = conf_files(dir, &[".conflist"])?;
    for file in &files {
        let list = conf_list_from_file_with(file, sources)?;
        if list.name == name {
            return Ok(list);
        }
    }
    match load_conf(dir, name) {
        Ok(single) => conf_list_from_conf(&single),
        // There are configurations, only no single ones.
        Err(Error::NoConfigsFound(NoConfigsFound { dir })) if !files.is_empty() => {
            Err(Error::NotFound(NotFound { dir, name: name.to_owned() }))
        }
        Err(error) => Err(error),
    }
}
