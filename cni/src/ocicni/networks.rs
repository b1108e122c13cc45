//! The networks a directory configures, and which of them is the default.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::engine::Plugins;
use crate::error::Error;
use crate::libcni::{
    Cni, NetworkConfigList, conf_files, conf_from_file, conf_list_from_conf, conf_list_from_file,
};

/// What counts as a configuration.
const EXTENSIONS: [&str; 3] = [".conf", ".conflist", ".json"];

/// The networks as they were when the directory was last read.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks {
    known: BTreeMap<String, Arc<NetworkConfigList>>,
    first: Option<String>,
    /// The files that cannot be used, each with the reason.
    pub(super) skipped: Vec<String>,
}

impl Networks {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<NetworkConfigList>> {
        self.known.get(name)
    }

    /// The network of the file that comes first by name.
    pub(super) fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<NetworkConfigList>> {
        self.known.values()
    }
}

/// Reads the directory. A file that cannot be used is passed over and said so: one provider's
/// mistake is not to stop the others. Of two networks with one name the first counts.
pub(super) async fn load_networks(dir: &Path, plugins: &Plugins) -> Result<Networks, Error> {
    let mut networks = Networks::default();
    for file in conf_files(dir, &EXTENSIONS)? {
        // Reading a pipe would never end.
        if fs::metadata(&file).is_ok_and(|metadata| !metadata.is_file()) {
            networks.skipped.push(format!("{}: not a file", file.display()));
            continue;
        }
        let list = match usable(&file, plugins).await {
            Ok(list) => list,
            Err(error) if is_gone(&error) => continue,
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "configuration passed over");
                networks.skipped.push(format!("{}: {error}", file.display()));
                continue;
            }
        };
        if networks.known.contains_key(&list.name) {
            tracing::warn!(file = %file.display(), network = list.name, "name is taken");
            networks.skipped.push(format!("{}: name {:?} is taken", file.display(), list.name));
            continue;
        }
        networks.first.get_or_insert_with(|| list.name.clone());
        networks.known.insert(list.name.clone(), Arc::new(list));
    }
    Ok(networks)
}

/// A file that was there when the directory was listed.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::ReadFile { cause, .. } if cause.kind() == io::ErrorKind::NotFound)
}

async fn usable(file: &Path, plugins: &Plugins) -> Result<NetworkConfigList, Error> {
    let is_list = file.extension().is_some_and(|extension| extension == "conflist");
    let mut list = if is_list {
        conf_list_from_file(file)?
    } else {
        conf_list_from_conf(&conf_from_file(file)?)?
    };
    if list.name.is_empty() {
        list.name =
            file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    }
    plugins.of(&list).validate_network_list(&list).await?;
    Ok(list)
}
