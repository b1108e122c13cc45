//! A runtime of containers on a host: libcni with the plugin `weft-cni` and the reference plugins.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cni::Error;
use cni::libcni::blocking::{Cni, CniConfig};
use cni::libcni::{GcArgs, NetworkConfigList, RuntimeConf, conf_list_from_bytes};
use cni::types::{CniResult, GcAttachment, v100};
use serde_json::{Value, json};
use weft_agent::cni_plugin::NAME;
use weft_api::control::{AttachmentKey, AttachmentRef};
use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::run_in;

use super::{Sandbox, Testbed, weft_binary};

/// Where the reference plugins are.
const REFERENCE: &str = "/usr/lib/cni";

/// A runtime of containers on a host.
#[derive(Debug)]
pub struct Runtime {
    /// The control socket of the host's agent.
    pub socket: PathBuf,
    /// Where its plugins are.
    pub bin_dirs: Vec<PathBuf>,
    /// Where it remembers attachments.
    pub cache: PathBuf,
    namespace: Namespace,
}

impl Runtime {
    /// One on this host, with a cache of its own.
    ///
    /// # Panics
    /// When its directories cannot be made.
    pub fn on(testbed: &Testbed, host: usize) -> Self {
        let host = &testbed.hosts[host];
        let bin = testbed.path(&format!("{}-bin", host.name));
        fs::create_dir_all(&bin).expect("a directory");
        if !bin.join(NAME).exists() {
            symlink(weft_binary(), bin.join(NAME)).expect("a link to the program");
        }
        Self {
            socket: host.client.socket().to_owned(),
            bin_dirs: vec![bin, REFERENCE.into()],
            cache: testbed.path(&format!("{}-cache", host.name)),
            namespace: host.namespace.try_clone().expect("a descriptor"),
        }
    }

    /// A configuration: `own` for `weft-cni`, then plugins after it.
    ///
    /// # Panics
    /// When it is none.
    pub fn list(&self, name: &str, version: &str, own: Value, more: &[Value]) -> NetworkConfigList {
        let mut weft = json!({"type": NAME, "socket": self.socket});
        let own = own.as_object().cloned().expect("members");
        weft.as_object_mut().expect("members").extend(own);
        let plugins: Vec<&Value> = std::iter::once(&weft).chain(more).collect();
        let list = json!({"cniVersion": version, "name": name, "plugins": plugins});
        conf_list_from_bytes(list.to_string().as_bytes()).expect("a configuration")
    }

    /// Calls libcni on the host, where the plugins run.
    ///
    /// # Errors
    /// Those of the call.
    pub fn call<T: Send>(
        &self,
        call: impl FnOnce(&CniConfig) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let cni = CniConfig::with_cache_dir(self.bin_dirs.clone(), &self.cache, None);
        run_in(&self.namespace, || call(&cni)).expect("the host's namespace")
    }

    /// ADD.
    ///
    /// # Errors
    /// A plugin's.
    pub fn add(&self, list: &NetworkConfigList, pod: &RuntimeConf) -> Result<CniResult, Error> {
        self.call(|cni| cni.add_network_list(list, pod))
    }

    /// ADD that succeeds, and its result in the newest shape.
    ///
    /// # Panics
    /// When a plugin fails.
    pub fn added(&self, list: &NetworkConfigList, pod: &RuntimeConf) -> v100::Result {
        let result = self.add(list, pod).unwrap_or_else(|e| panic!("{}: {e}", pod.container_id));
        result.to_current().expect("a result")
    }

    /// CHECK.
    ///
    /// # Errors
    /// A plugin's.
    pub fn check(&self, list: &NetworkConfigList, pod: &RuntimeConf) -> Result<(), Error> {
        self.call(|cni| cni.check_network_list(list, pod))
    }

    /// DEL that succeeds.
    ///
    /// # Panics
    /// When a plugin fails.
    pub fn del(&self, list: &NetworkConfigList, pod: &RuntimeConf) {
        let deleted = self.call(|cni| cni.del_network_list(list, pod));
        deleted.unwrap_or_else(|error| panic!("{}: {error}", pod.container_id));
    }

    /// STATUS.
    ///
    /// # Errors
    /// A plugin's.
    pub fn status(&self, list: &NetworkConfigList) -> Result<(), Error> {
        self.call(|cni| cni.get_status_network_list(list))
    }

    /// GC: only these are in use.
    ///
    /// # Errors
    /// A plugin's.
    pub fn gc(&self, list: &NetworkConfigList, valid: &[&RuntimeConf]) -> Result<(), Error> {
        let valid = valid.iter().map(|pod| GcAttachment {
            container_id: pod.container_id.clone(),
            if_name: pod.if_name.clone(),
        });
        let args = GcArgs { valid_attachments: valid.collect() };
        self.call(|cni| cni.gc_network_list(list, Some(&args)))
    }

    /// The plugin as a process, called as a runtime calls it; standard input is to be written.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn plugin(&self, command: &str, pod: &RuntimeConf) -> Child {
        self.started(&self.bin_dirs[0].join(NAME), command, pod)
    }

    /// A reference plugin, likewise.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn reference(&self, name: &str, command: &str, pod: &RuntimeConf) -> Child {
        self.started(&Path::new(REFERENCE).join(name), command, pod)
    }

    fn started(&self, program: &Path, command: &str, pod: &RuntimeConf) -> Child {
        let mut plugin = Command::new(program);
        plugin
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", &pod.container_id)
            .env("CNI_NETNS", &pod.netns)
            .env("CNI_IFNAME", &pod.if_name)
            .env("CNI_PATH", REFERENCE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let started = run_in(&self.namespace, || plugin.spawn()).expect("the host's namespace");
        started.expect("the plugin starts")
    }
}

/// A container to attach.
pub fn pod(container: &str, sandbox: &Sandbox) -> RuntimeConf {
    RuntimeConf::new(container, sandbox.text(), "eth0")
}

/// A container's attachment to a network, of whatever configuration.
pub fn of(network: &str, pod: &RuntimeConf) -> AttachmentRef {
    let key = AttachmentKey { container_id: pod.container_id.clone(), ifname: pod.if_name.clone() };
    AttachmentRef { network: network.to_owned(), configuration: String::new(), key }
}
