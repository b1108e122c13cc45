//! A directory with plugins and a cache, debug files for the plugins, and an exec that counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cni::Error;
use cni::invoke::{BoxFuture, Call, Exec, RawExec};
use cni::libcni::{
    CniConfig, NetworkConfig, NetworkConfigList, RuntimeConf, conf_from_bytes, conf_list_from_bytes,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Everything a test needs, in one directory that goes with it.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) cni: CniConfig,
    pub(crate) exec: Arc<Watching>,
}

/// The usual exec, remembering which plugin ran which command.
#[derive(Default)]
pub(crate) struct Watching {
    inner: RawExec,
    calls: Mutex<Vec<String>>,
}

impl Exec for Watching {
    fn exec_plugin<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        let command = call.env.iter().rfind(|(name, _)| name == "CNI_COMMAND");
        let command = command.map(|(_, command)| command.to_string_lossy().into_owned());
        self.calls.lock().expect("unpoisoned").push(command.unwrap_or_default());
        self.inner.exec_plugin(call)
    }
}

impl Watching {
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("unpoisoned").clone()
    }
}

pub(crate) const PLUGIN: &str = env!("CARGO_BIN_EXE_cni-test-plugin");

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).expect("writable");
        for name in ["noop", "sleep", "ancient"] {
            std::os::unix::fs::symlink(PLUGIN, bin.join(name)).expect("writable");
        }
        let exec = Arc::new(Watching::default());
        let shared: Arc<dyn Exec> = exec.clone();
        let cni =
            CniConfig::with_cache_dir(vec![bin.clone()], dir.path().join("cache"), Some(shared));
        Self { dir, cni, exec }
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes what a plugin is to do; gives the debug file.
    pub(crate) fn debug(&self, name: &str, behaviour: &Value) -> String {
        let file = self.path(name);
        fs::write(&file, behaviour.to_string()).expect("writable");
        file.display().to_string()
    }

    /// What the plugin of a debug file was called with.
    pub(crate) fn seen(&self, name: &str) -> Value {
        let bytes = fs::read(self.path(name)).expect("a debug file");
        let debug: Value = serde_json::from_slice(&bytes).expect("JSON");
        debug["Call"].clone()
    }

    /// The configuration the plugin of a debug file got.
    pub(crate) fn stdin(&self, name: &str) -> Value {
        let seen = self.seen(name);
        serde_json::from_str(seen["Stdin"].as_str().expect("a call")).expect("JSON")
    }

    /// The calls in a command log.
    pub(crate) fn log(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    pub(crate) fn cache_file(&self, network: &str, rt: &RuntimeConf) -> PathBuf {
        let name = format!("{network}-{}-{}", rt.container_id, rt.if_name);
        self.path("cache").join("results").join(name)
    }

    /// Puts something into the cache behind the library's back.
    pub(crate) fn plant(&self, network: &str, rt: &RuntimeConf, content: impl AsRef<[u8]>) {
        let file = self.cache_file(network, rt);
        fs::create_dir_all(file.parent().expect("a directory")).expect("writable");
        fs::write(file, content).expect("writable");
    }

    /// Makes the cache impossible to write.
    pub(crate) fn block_cache(&self) {
        fs::write(self.path("cache"), "a file, where a directory is wanted").expect("writable");
    }
}

pub(crate) fn conf(value: &Value) -> NetworkConfig {
    conf_from_bytes(value.to_string().as_bytes()).expect("a configuration")
}

pub(crate) fn list(value: &Value) -> NetworkConfigList {
    conf_list_from_bytes(value.to_string().as_bytes()).expect("a list")
}

pub(crate) fn pod() -> RuntimeConf {
    RuntimeConf::new("some-container-id", "/some/netns/path", "eth0")
}

/// A result of a version, recognisable by its address.
pub(crate) fn result(version: &str, address: &str) -> Value {
    match version {
        "0.1.0" | "0.2.0" => {
            json!({"cniVersion": version, "ip4": {"ip": address}, "dns": {}})
        }
        "0.3.0" | "0.3.1" | "0.4.0" => json!({
            "cniVersion": version, "ips": [{"version": "4", "address": address}], "dns": {}
        }),
        _ => json!({"cniVersion": version, "ips": [{"address": address}]}),
    }
}

/// A cache entry as Go writes it.
pub(crate) fn entry(network: &str, rt: &RuntimeConf, result: &Value) -> String {
    json!({
        "kind": "cniCacheV1",
        "containerId": rt.container_id,
        "config": "e30=",
        "ifName": rt.if_name,
        "networkName": network,
        "netns": rt.netns,
        "result": result,
    })
    .to_string()
}

pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
