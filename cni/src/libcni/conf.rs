//! Configurations of single plugins.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, NoConfigsFound, NotFound};
use crate::types::NetConf;

/// One plugin's configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkConfig {
    /// The members the specification names.
    pub network: NetConf,
    /// The whole configuration, as the plugin gets it.
    pub bytes: Vec<u8>,
}

/// Decodes a plugin's configuration.
///
/// # Errors
/// [`Error::ParseConf`] if it is malformed, [`Error::MissingType`] if it names no plugin.
pub fn conf_from_bytes(bytes: &[u8]) -> Result<NetworkConfig, Error> {
    let network = NetConf::decode(bytes).map_err(Error::ParseConf)?;
    if network.plugin_type.is_empty() {
        return Err(Error::MissingType);
    }
    Ok(NetworkConfig { network, bytes: bytes.to_vec() })
}

/// Reads a plugin's configuration from a file.
///
/// # Errors
/// [`Error::ReadFile`], or as [`conf_from_bytes`].
pub fn conf_from_file(path: &Path) -> Result<NetworkConfig, Error> {
    conf_from_bytes(&read(path)?)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|cause| Error::ReadFile { path: path.to_owned(), cause })
}

/// Lists the files of a directory with one of the extensions (dot included), in the order of
/// their names. Directories in it are passed over; a directory that does not exist is empty.
///
/// # Errors
/// [`Error::ReadDir`].
pub fn conf_files(dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, Error> {
    let failed = |cause| Error::ReadDir { path: dir.to_owned(), cause };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let extension = name.rfind('.').map_or("", |dot| &name[dot..]);
        if extensions.contains(&extension) && !entry.file_type().map_err(failed)?.is_dir() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Finds the configuration of the network `name` among the `.conf` and `.json` files of a
/// directory. They are read in order, and one that is malformed ends the search.
///
/// # Errors
/// [`Error::NoConfigsFound`], [`Error::NotFound`], or as [`conf_from_file`].
pub fn load_conf(dir: &Path, name: &str) -> Result<NetworkConfig, Error> {
    let files = conf_files(dir, &[".conf", ".json"])?;
    if files.is_empty() {
        return Err(Error::NoConfigsFound(NoConfigsFound { dir: dir.to_owned() }));
    }
    for file in files {
        let conf = conf_from_file(&file)?;
        if conf.network.name == name {
            return Ok(conf);
        }
    }
    Err(Error::NotFound(NotFound { dir: dir.to_owned(), name: name.to_owned() }))
}

/// Sets members of a configuration, replacing those of the same name.
///
/// # Errors
/// [`Error::InjectEmptyKey`], [`Error::InjectNull`], [`Error::InjectBytes`] if the
/// configuration is no JSON object, or as [`conf_from_bytes`].
pub fn inject_conf<'a>(
    original: &NetworkConfig,
    members: impl IntoIterator<Item = (&'a str, Value)>,
) -> Result<NetworkConfig, Error> {
    let mut conf: Map<String, Value> =
        serde_json::from_slice(&original.bytes).map_err(Error::InjectBytes)?;
    for (key, value) in members {
        if key.is_empty() {
            return Err(Error::InjectEmptyKey);
        }
        if value.is_null() {
            return Err(Error::InjectNull(key.to_owned()));
        }
        conf.insert(key.to_owned(), value);
    }
    conf_from_bytes(Value::Object(conf).to_string().as_bytes())
}
