//! Directories of configurations and plugins, an exec that answers for the plugins, and pods.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cni::Error;
use cni::invoke::{BoxFuture, Call, Exec};
use cni::ocicni::{Ocicni, Options, PodNetwork, Watch};
use cni::types::{Code, PluginError};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::sandbox::Sandbox;

/// How long a change may take to be noticed: far more than it needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A run of a plugin.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) command: String,
    pub(crate) network: String,
    pub(crate) container_id: String,
    pub(crate) netns: String,
    pub(crate) if_name: String,
    pub(crate) args: String,
    pub(crate) stdin: Value,
}

impl Seen {
    /// Command, network and interface.
    pub(crate) fn brief(&self) -> String {
        format!("{} {} {}", self.command, self.network, self.if_name).trim_end().to_owned()
    }
}

/// Answers for plugins.
#[derive(Default)]
pub(crate) struct Fake {
    seen: Mutex<Vec<Seen>>,
    refusals: Mutex<BTreeMap<String, PluginError>>,
    answers: Mutex<BTreeMap<String, Value>>,
    /// Calls of these wait for a permit.
    gates: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

impl Fake {
    /// What was run, but for VERSION.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("unpoisoned").clone()
    }

    pub(crate) fn briefs(&self) -> Vec<String> {
        self.seen().iter().map(Seen::brief).collect()
    }

    pub(crate) fn forget(&self) {
        self.seen.lock().expect("unpoisoned").clear();
    }

    /// Has a command fail on a network.
    pub(crate) fn refuse(&self, call: &str, code: Code) {
        let error = PluginError::new(code, format!("no {call}"));
        self.refusals.lock().expect("unpoisoned").insert(call.to_owned(), error);
    }

    pub(crate) fn allow(&self, call: &str) {
        self.refusals.lock().expect("unpoisoned").remove(call);
    }

    pub(crate) fn answer(&self, call: &str, result: Value) {
        self.answers.lock().expect("unpoisoned").insert(call.to_owned(), result);
    }

    /// Has a command wait for permits on a network.
    pub(crate) fn gate(&self, call: &str) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.gates.lock().expect("unpoisoned").insert(call.to_owned(), gate.clone());
        gate
    }

    fn note(&self, call: &Call<'_>) -> Seen {
        let variable = |name: &str| {
            let found = call.env.iter().rfind(|(key, _)| key == name);
            found.map(|(_, value)| value.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let stdin: Value = serde_json::from_slice(call.stdin).expect("JSON");
        let seen = Seen {
            command: variable("CNI_COMMAND"),
            network: stdin["name"].as_str().unwrap_or_default().to_owned(),
            container_id: variable("CNI_CONTAINERID"),
            netns: variable("CNI_NETNS"),
            if_name: variable("CNI_IFNAME"),
            args: variable("CNI_ARGS"),
            stdin,
        };
        if seen.command != "VERSION" {
            self.seen.lock().expect("unpoisoned").push(seen.clone());
        }
        seen
    }
}

impl Exec for Fake {
    fn exec_plugin<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        Box::pin(async move {
            let seen = self.note(&call);
            if seen.command == "VERSION" {
                let info = json!({"cniVersion": "1.1.0", "supportedVersions": cni::version::ALL});
                return Ok(info.to_string().into_bytes());
            }
            let key = format!("{} {}", seen.command, seen.network);
            let gate = self.gates.lock().expect("unpoisoned").get(&key).cloned();
            if let Some(gate) = gate {
                gate.acquire().await.expect("open").forget();
            }
            if let Some(error) = self.refusals.lock().expect("unpoisoned").get(&key) {
                return Err(Error::Plugin(error.clone()));
            }
            let answers = self.answers.lock().expect("unpoisoned");
            let usual = || json!({"ips": [{"address": "10.1.2.3/24"}]});
            Ok(answers.get(&key).cloned().unwrap_or_else(usual).to_string().into_bytes())
        })
    }
}

/// Everything a test needs, in one directory that goes with it.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) fake: Arc<Fake>,
}

impl Bench {
    /// A directory of plugins with `main` and `meta` in it, and an empty one of configurations.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let bench = Self { dir, fake: Arc::default() };
        fs::create_dir(bench.conf_dir()).expect("writable");
        fs::create_dir(bench.bin_dir()).expect("writable");
        bench.plugin("main");
        bench.plugin("meta");
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn conf_dir(&self) -> PathBuf {
        self.path("net.d")
    }

    pub(crate) fn bin_dir(&self) -> PathBuf {
        self.path("bin")
    }

    pub(crate) fn plugin(&self, name: &str) {
        fs::write(self.bin_dir().join(name), "").expect("writable");
    }

    /// Writes a list of `main` and `meta`.
    pub(crate) fn network(&self, file: &str, name: &str) {
        self.network_of(file, name, "1.1.0");
    }

    pub(crate) fn network_of(&self, file: &str, name: &str, version: &str) {
        let list = json!({
            "cniVersion": version, "name": name, "plugins": [{"type": "main"}]
        });
        self.file(file, &list.to_string());
    }

    pub(crate) fn file(&self, file: &str, text: &str) {
        fs::write(self.conf_dir().join(file), text).expect("writable");
    }

    pub(crate) fn remove(&self, file: &str) {
        fs::remove_file(self.conf_dir().join(file)).expect("there");
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(self.conf_dir(), vec![self.bin_dir()])
            .cache_dir(self.path("cache"))
            .vendor_prefix(self.path("vendors"))
            .args(Vec::new())
    }

    pub(crate) async fn start(&self) -> Ocicni {
        self.start_with(self.options()).await
    }

    /// One that does not follow the directories.
    pub(crate) async fn start_still(&self) -> Ocicni {
        self.start_with(self.options().watch(Watch::Off)).await
    }

    pub(crate) async fn start_with(&self, options: Options) -> Ocicni {
        Ocicni::new(options, Some(self.fake.clone())).await.expect("it starts")
    }

    pub(crate) fn cache_file(&self, network: &str, id: &str, if_name: &str) -> PathBuf {
        self.path("cache").join("results").join(format!("{network}-{id}-{if_name}"))
    }
}

/// A pod on the default network.
pub(crate) fn pod(sandbox: &Sandbox, name: &str) -> PodNetwork {
    PodNetwork::new(sandbox.path(), "ns", name, format!("id-{name}"))
}

/// Waits for something to become so.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An interface in a pod, with these addresses.
pub(crate) fn interface(sandbox: &Sandbox, name: &str, addresses: &[&str]) {
    sandbox.ip(&format!("link add {name} type veth peer name peer-{name}"));
    sandbox.ip(&format!("link set peer-{name} up"));
    sandbox.ip(&format!("link set {name} address c2:11:22:33:44:55 up"));
    for address in addresses {
        sandbox.ip(&format!("addr add {address} dev {name}"));
    }
}
