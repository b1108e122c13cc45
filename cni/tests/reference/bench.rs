//! A host, a way to it from elsewhere, and pods.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cni::Error;
use cni::libcni::blocking::{Cni, CniConfig};
use cni::libcni::{NetworkConfigList, RuntimeConf, conf_list_from_bytes};
use cni::types::{CniResult, v100};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::sandbox::Sandbox;

/// Where packages put the plugins: Debian's, and those of others.
const BIN_DIRS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// How long a connection may take that is to succeed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The addresses of the host and of a client on one link.
pub(crate) const HOST: &str = "192.0.2.1";
pub(crate) const CLIENT: &str = "192.0.2.2";

pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) host: Sandbox,
    cni: Arc<CniConfig>,
}

/// The directory of the plugins.
pub(crate) fn bin_dir() -> PathBuf {
    let found = BIN_DIRS.into_iter().find(|dir| Path::new(dir).join("host-local").is_file());
    found.expect("the package containernetworking-plugins is installed").into()
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let host = Sandbox::new();
        host.ip("link set lo up");
        let cni = CniConfig::with_cache_dir(vec![bin_dir()], dir.path().join("cache"), None);
        Self { dir, host, cni: Arc::new(cni) }
    }

    /// A machine beside the host.
    pub(crate) fn client(&self) -> Sandbox {
        let client = Sandbox::new();
        client.ip("link set lo up");
        // A namespace is named by a file that a process of the other one can open.
        self.host.ip(&format!("link add wan type veth peer name eth0 netns {}", tid(&client)));
        self.host.ip(&format!("addr add {HOST}/24 dev wan"));
        self.host.ip("link set wan up");
        client.ip(&format!("addr add {CLIENT}/24 dev eth0"));
        client.ip("link set eth0 up");
        client
    }

    /// The plugins that make an attachment: a bridge, addresses of one subnet or two.
    pub(crate) fn bridge(&self, subnets: &[&str]) -> Value {
        let ranges: Vec<Value> = subnets.iter().map(|subnet| json!([{"subnet": subnet}])).collect();
        json!({
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": self.dir.path().join("addresses"),
            },
        })
    }

    /// A network of these plugins.
    ///
    /// One with `portmap` is not checked: that of version 1.1.1 fails CHECK of a pod with one
    /// address of each family or none, for it looks for the rules of one family in the other.
    pub(crate) fn list(&self, name: &str, plugins: &[Value]) -> NetworkConfigList {
        let is_mapped = plugins.iter().any(|plugin| plugin["type"] == "portmap");
        let list = json!({
            "cniVersion": "1.0.0", "name": name, "disableCheck": is_mapped, "plugins": plugins
        });
        conf_list_from_bytes(list.to_string().as_bytes()).expect("a list")
    }

    /// Makes a call on the host.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        list: &NetworkConfigList,
        rt: &RuntimeConf,
        call: fn(&CniConfig, &NetworkConfigList, &RuntimeConf) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (cni, list, rt) = (self.cni.clone(), list.clone(), rt.clone());
        self.host.run(move || call(&cni, &list, &rt))
    }

    pub(crate) fn add(&self, list: &NetworkConfigList, rt: &RuntimeConf) -> CniResult {
        self.call(list, rt, CniConfig::add_network_list).expect("ADD succeeds")
    }

    pub(crate) fn check(&self, list: &NetworkConfigList, rt: &RuntimeConf) {
        self.call(list, rt, CniConfig::check_network_list).expect("CHECK succeeds");
    }

    pub(crate) fn del(&self, list: &NetworkConfigList, rt: &RuntimeConf) {
        self.call(list, rt, CniConfig::del_network_list).expect("DEL succeeds");
    }

    /// Waits until addresses of IPv6 are found to be nobody else's: until then the kernel takes
    /// another one as the source of a connection.
    pub(crate) fn settle(&self) {
        let began = Instant::now();
        while self.host.ip("-6 addr show").contains("tentative") {
            assert!(began.elapsed() < PATIENCE, "addresses stay tentative");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The addresses that are handed out on a network.
    pub(crate) fn handed_out(&self, network: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("addresses").join(network));
        let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name());
        let mut names: Vec<String> =
            names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.retain(|name| name.parse::<IpAddr>().is_ok());
        names.sort();
        names
    }

    /// What a program prints on the host.
    pub(crate) fn print(&self, command: &str) -> String {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let output = self.host.run(move || Command::new(&words[0]).args(&words[1..]).output());
        let output = output.expect("the program is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// What `ip` takes for a namespace: the thread that lives in it.
fn tid(sandbox: &Sandbox) -> String {
    let path = sandbox.name();
    path.split('/').nth(4).expect("/proc/PID/task/TID/ns/net").to_owned()
}

pub(crate) fn pod(sandbox: &Sandbox, id: &str) -> RuntimeConf {
    RuntimeConf::new(id, sandbox.name(), "eth0")
}

/// The addresses of a result that are the pod's.
pub(crate) fn addresses(result: &CniResult) -> Vec<IpAddr> {
    let result: v100::Result = result.to_current().expect("it converts");
    result.ips.iter().map(|ip| ip.address.ip()).collect()
}

/// Answers every connection to a port in a namespace with a word and the caller's address.
pub(crate) fn serve(sandbox: &Sandbox, address: &str, word: &'static str) {
    let address = address.to_owned();
    let listener = sandbox.run(move || TcpListener::bind(address).expect("the port is free"));
    // It ends with the process; nothing waits for it.
    std::thread::spawn(move || {
        while let Ok((mut connection, from)) = listener.accept() {
            let _gone = write!(connection, "{word} to {}", from.ip());
        }
    });
}

/// What a connection from a namespace is answered with.
pub(crate) fn ask(sandbox: &Sandbox, address: impl Into<SocketAddr>) -> String {
    let address = address.into();
    sandbox.run(move || {
        let mut connection = TcpStream::connect_timeout(&address, PATIENCE).expect("it answers");
        connection.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut text = String::new();
        connection.read_to_string(&mut text).expect("text");
        text
    })
}

/// Whether a connection from a namespace is refused.
pub(crate) fn is_refused(sandbox: &Sandbox, address: impl Into<SocketAddr>) -> bool {
    let address = address.into();
    let refused = sandbox.run(move || TcpStream::connect_timeout(&address, PATIENCE).err());
    refused.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}
