//! The cache of attachments, interchangeable with Go's libcni.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{CNI_CACHE_V1, NetworkAttachment, RuntimeConf};
use super::{base64, go_json};
use crate::error::Error;
use crate::types::{CniResult, fold_keys};

/// An entry; the order of the members is that of Go's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Entry {
    kind: String,
    container_id: String,
    #[serde(with = "base64::text")]
    config: Vec<u8>,
    if_name: String,
    network_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    netns: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cni_args: Option<Vec<(String, String)>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    capability_args: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    result: Map<String, Value>,
}

const KEYS: [&str; 9] = [
    "kind",
    "containerId",
    "config",
    "ifName",
    "networkName",
    "netns",
    "cniArgs",
    "capabilityArgs",
    "result",
];

impl Entry {
    fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_value(fold_keys(serde_json::from_slice(bytes)?, &KEYS))
    }

    fn into_attachment(self) -> NetworkAttachment {
        NetworkAttachment {
            container_id: self.container_id,
            network: self.network_name,
            if_name: self.if_name,
            config: self.config,
            netns: self.netns,
            cni_args: self.cni_args.unwrap_or_default(),
            capability_args: self.capability_args,
        }
    }
}

/// Numbers the files being written, so that threads do not share one.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// The cache in one directory.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    results: PathBuf,
}

impl Cache {
    pub(super) fn new(dir: &Path) -> Self {
        Self { results: dir.join("results") }
    }

    /// The file of an attachment.
    fn file(&self, network: &str, rt: &RuntimeConf) -> Result<PathBuf, Error> {
        let names = [network, rt.container_id.as_str(), rt.if_name.as_str()];
        if names.iter().any(|name| name.is_empty()) {
            return Err(Error::CacheKey {
                network: network.to_owned(),
                container_id: rt.container_id.clone(),
                if_name: rt.if_name.clone(),
            });
        }
        if let Some(name) = names.into_iter().find(|name| name.contains(['/', '\0'])) {
            return Err(Error::CacheKeyCharacters(name.to_owned()));
        }
        Ok(self.results.join(names.join("-")))
    }

    /// Remembers an attachment.
    pub(super) fn add(
        &self,
        network: &str,
        config: &[u8],
        result: &CniResult,
        rt: &RuntimeConf,
    ) -> Result<(), Error> {
        let file = self.file(network, rt)?;
        let result = match serde_json::to_value(result).map_err(Error::CacheEncode)? {
            Value::Object(members) => members,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        };
        let entry = Entry {
            kind: CNI_CACHE_V1.to_owned(),
            container_id: rt.container_id.clone(),
            config: config.to_vec(),
            if_name: rt.if_name.clone(),
            network_name: network.to_owned(),
            netns: rt.netns.clone(),
            cni_args: (!rt.args.is_empty()).then(|| rt.args.clone()),
            capability_args: rt.capability_args.clone(),
            result,
        };
        let bytes = go_json::to_vec(&entry).map_err(Error::CacheEncode)?;
        self.write(&file, &bytes).map_err(|cause| Error::CacheIo { path: file, cause })
    }

    /// Writes a file as a whole or not at all, power loss included.
    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.results)?;
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let name = format!("{UNFINISHED}{}.{number}", std::process::id());
        let temporary = self.results.join(name);
        let written = write_synced(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, file))
            .and_then(|()| File::open(&self.results)?.sync_all());
        if written.is_err() {
            // It is there only if the rename did not happen; what it held is of no use.
            let _absent = fs::remove_file(&temporary);
        }
        written
    }

    /// Forgets an attachment.
    pub(super) fn del(&self, network: &str, rt: &RuntimeConf) -> Result<(), Error> {
        let file = self.file(network, rt)?;
        match fs::remove_file(&file) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(Error::CacheIo { path: file, cause })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes what writers left that were killed. They hold nothing that counts, so what
    /// cannot be removed is no failure.
    pub(super) fn sweep(&self) {
        for entry in fs::read_dir(&self.results).into_iter().flatten().flatten() {
            let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
            let written = entry.metadata().and_then(|metadata| metadata.modified());
            let age = written.ok().and_then(|written| written.elapsed().ok());
            if is_unfinished && age.is_some_and(|age| age > ABANDONED_AFTER) {
                let _kept = fs::remove_file(entry.path());
            }
        }
    }

    /// The result of an attachment as `version`, if one can be read.
    pub(super) fn result(
        &self,
        network: &str,
        version: &str,
        rt: &RuntimeConf,
    ) -> Result<Option<CniResult>, Error> {
        let Ok(bytes) = fs::read(self.file(network, rt)?) else { return Ok(None) };
        let cached = match Entry::decode(&bytes) {
            Ok(entry) if entry.kind == CNI_CACHE_V1 => {
                if entry.result.is_empty() {
                    return Ok(None);
                }
                CniResult::from_slice(Value::Object(entry.result).to_string().as_bytes())?
            }
            // Before entries had a kind, a file held the result alone.
            Ok(_) | Err(_) => CniResult::from_slice(&bytes)?,
        };
        let converted = cached.to_version(version).map_err(|cause| Error::ConvertCached {
            version: version.to_owned(),
            cause: Box::new(cause),
        })?;
        Ok(Some(converted))
    }

    /// The configuration of an attachment and its arguments, if an entry can be read.
    pub(super) fn config(
        &self,
        network: &str,
        rt: &RuntimeConf,
    ) -> Result<Option<(Vec<u8>, RuntimeConf)>, Error> {
        let Ok(bytes) = fs::read(self.file(network, rt)?) else { return Ok(None) };
        let entry = Entry::decode(&bytes)
            .map_err(|cause| Error::UnmarshalCached { network: network.to_owned(), cause })?;
        if entry.kind != CNI_CACHE_V1 {
            return Err(Error::CacheKind { network: network.to_owned(), kind: entry.kind });
        }
        let mut filled = rt.clone();
        if let Some(args) = entry.cni_args {
            filled.args = args;
        }
        filled.capability_args = entry.capability_args;
        Ok(Some((entry.config, filled)))
    }

    /// All attachments, or those of one container, in the order of their files' names.
    pub(super) fn attachments(
        &self,
        container_id: Option<&str>,
    ) -> Result<Vec<NetworkAttachment>, Error> {
        let failed = |cause| Error::CacheIo { path: self.results.clone(), cause };
        let entries = match fs::read_dir(&self.results) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let unfinished = name.to_string_lossy().starts_with(UNFINISHED);
            if !unfinished && may_hold(&name.to_string_lossy(), container_id) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names
            .into_iter()
            .filter_map(|name| Entry::decode(&fs::read(self.results.join(name)).ok()?).ok())
            .filter(|entry| entry.kind == CNI_CACHE_V1)
            .filter(|entry| !entry.if_name.is_empty() && !entry.network_name.is_empty())
            .filter(|entry| container_id.is_none_or(|id| entry.container_id == id))
            .map(Entry::into_attachment)
            .collect())
    }
}

/// How files are called that are being written. Without a hyphen, for Go finds the entries of a
/// container by `-<container>-`.
const UNFINISHED: &str = ".new.";

/// How old a file must be to be none that is still being written.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

/// Whether a file of this name may be an entry of the container.
fn may_hold(name: &str, container_id: Option<&str>) -> bool {
    let Some(id) = container_id else { return true };
    let part = format!("-{id}-");
    name.find(&part).is_some_and(|at| at > 0 && at + part.len() < name.len())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
