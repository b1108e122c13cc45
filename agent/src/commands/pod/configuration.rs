//! Finding the configuration of a network.

use std::path::{Path, PathBuf};

use cni::libcni::{
    NetworkAttachment, NetworkConfigList, conf_files, conf_from_bytes, conf_from_file,
    conf_list_from_bytes, conf_list_from_conf, conf_list_from_file,
};

use crate::cli::PodNetworkArgs;
use crate::failure::Failure;

/// Names of other networks that a hint lists, at most.
const NAMES_MAX: usize = 8;

/// What a directory of configurations holds.
#[derive(Debug, Default)]
pub(super) struct Directory {
    lists: Vec<NetworkConfigList>,
    unusable: Vec<(PathBuf, cni::Error)>,
}

impl Directory {
    /// Reads all configurations: lists first, then those of single plugins, by their file's name.
    /// A directory that is not there has none.
    pub(super) fn read(dir: &Path) -> Result<Self, Failure> {
        let mut directory = Self::default();
        for extensions in [&[".conflist"][..], &[".conf", ".json"]] {
            let files = conf_files(dir, extensions).map_err(|error| {
                Failure::failed(error.to_string()).with_hint("--conf-dir names another directory")
            })?;
            for file in files {
                match load(&file) {
                    Ok(list) => directory.lists.push(list),
                    Err(error) => directory.unusable.push((file, error)),
                }
            }
        }
        Ok(directory)
    }

    /// Whether it has a network of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.lists.iter().any(|list| list.name == name)
    }

    /// Takes the first network of this name.
    fn take(self, name: &str, dir: &Path) -> Result<NetworkConfigList, Failure> {
        if let Some(found) = self.lists.iter().position(|list| list.name == name) {
            let mut lists = self.lists;
            return Ok(lists.swap_remove(found));
        }
        Err(Failure::failed(format!("network `{name}` is not configured in `{}`", dir.display()))
            .with_hint(self.instead()))
    }

    /// Says what there is in place of what was looked for.
    fn instead(&self) -> String {
        if let Some((file, error)) = self.unusable.first() {
            return format!("`{}` cannot be used: {error}", file.display());
        }
        let names: Vec<String> =
            self.lists.iter().take(NAMES_MAX).map(|list| format!("`{}`", list.name)).collect();
        if names.is_empty() {
            return "there is no configuration at all; --conf-dir names another directory, \
                    --conf a file"
                .to_owned();
        }
        let more = if self.lists.len() > names.len() { " and others" } else { "" };
        format!("it has {}{more}; --conf-dir names another directory", names.join(", "))
    }
}

/// Finds the network that is meant.
pub(super) fn wanted(args: &PodNetworkArgs) -> Result<NetworkConfigList, Failure> {
    match given(args)? {
        Some(list) => Ok(list),
        None => Directory::read(&args.conf_dir)?.take(&name(args, None)?, &args.conf_dir),
    }
}

/// Reads the configuration that is given by its file, if one is.
pub(super) fn given(args: &PodNetworkArgs) -> Result<Option<NetworkConfigList>, Failure> {
    let Some(file) = &args.conf else { return Ok(None) };
    let list = load(file).map_err(|error| {
        Failure::usage(format!("`{}` cannot be used: {error}", file.display()))
            .with_hint("--conf takes a list (.conflist), or the configuration of one plugin")
    })?;
    Ok(Some(list))
}

/// The name of the network that is meant.
pub(super) fn name(
    args: &PodNetworkArgs,
    given: Option<&NetworkConfigList>,
) -> Result<String, Failure> {
    let name = given.map(|list| list.name.clone()).or_else(|| args.network.clone());
    name.ok_or_else(|| Failure::usage("no network is given: NETWORK or --conf"))
}

/// The configuration an attachment was made with.
pub(super) fn remembered(attachment: &NetworkAttachment) -> Result<NetworkConfigList, cni::Error> {
    let list = conf_list_from_bytes(&attachment.config);
    let mut list = list.or_else(|error| match conf_from_bytes(&attachment.config) {
        Ok(conf) => conf_list_from_conf(&conf),
        Err(_) => Err(error),
    })?;
    // One that another runtime named after its file has no name in its text.
    list.name.clone_from(&attachment.network);
    Ok(list)
}

/// Reads a list, or makes one of a single plugin's configuration.
fn load(file: &Path) -> Result<NetworkConfigList, cni::Error> {
    conf_list_from_file(file).or_else(|error| match conf_from_file(file) {
        Ok(conf) => conf_list_from_conf(&conf),
        Err(_) => Err(error),
    })
}
