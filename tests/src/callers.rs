//! Agents that serve as plugins, and the calls of engines that are not there.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::testbed::{Testbed, Underlay};
use crate::transcript::{Caller, Reply};

/// Hosts with agents that are plugins of this scope, each with this configuration, all in one
/// cluster.
///
/// # Panics
/// Without root.
pub async fn plugins(hosts: usize, scope: &str, config: &str) -> (Testbed, Vec<Caller>) {
    let mut testbed = Testbed::new(Underlay::V4).await;
    let mut callers = Vec::new();
    for host in 0..hosts {
        testbed.add_host().await;
        let file = testbed.path(&format!("h{}/weft.toml", host + 1));
        std::fs::write(file, config).expect("a file");
        start(&mut testbed, host, scope);
        callers.push(Caller::new(socket(&testbed, host)));
    }
    for host in &mut testbed.hosts {
        host.answers().await;
    }
    testbed.hosts[0].client.init(&Default::default()).await.expect("init");
    for host in 1..hosts {
        testbed.join(host).await;
    }
    testbed.settled().await;
    (testbed, callers)
}

/// Starts the agent of a host again.
///
/// # Panics
/// When it does not start.
pub async fn start_again(testbed: &mut Testbed, host: usize, scope: &str) {
    start(testbed, host, scope);
    testbed.hosts[host].answers().await;
    testbed.settled().await;
}

/// Starts the agent of a host as a plugin.
///
/// # Panics
/// When it cannot be started.
pub fn start(testbed: &mut Testbed, host: usize, scope: &str) {
    let socket = socket(testbed, host);
    let text = socket.to_str().expect("a path of ours").to_owned();
    testbed.hosts[host].start(&["--docker-socket", &text, "--docker-scope", scope]);
}

/// Where the plugin of a host listens.
pub fn socket(testbed: &Testbed, host: usize) -> PathBuf {
    testbed.hosts[host].run_dir().join("plugins/weft.sock")
}

/// The local address space.
const SPACE: &str = "weft-local";

impl Caller {
    /// Calls, and returns the answer.
    ///
    /// # Panics
    /// When the plugin refuses.
    pub fn call(&self, path: &str, body: Value) -> Value {
        let reply = self.post(path, &body);
        assert_eq!((reply.status, reply.error()), (200, None), "{path} {body}");
        reply.body
    }

    /// Calls what is to be refused with words.
    ///
    /// # Panics
    /// When it is not.
    pub fn refused(&self, path: &str, body: Value, words: &[&str]) {
        let reply = self.post(path, &body);
        let told = reply.error().unwrap_or_default();
        for word in words {
            assert!(told.contains(word), "`{word}` is not in {reply:?} to {path} {body}");
        }
    }

    /// Asks for a pool of the cluster's network of a name, and returns its id.
    pub fn pool(&self, network: &str, subnet: &str) -> Value {
        let options = json!({"network": network});
        let body = json!({"AddressSpace": SPACE, "Pool": subnet, "Options": options});
        self.call("IpamDriver.RequestPool", body)["PoolID"].clone()
    }

    /// Asks for the gateway, this one or any, and returns it.
    pub fn gateway(&self, pool: &Value, address: &str) -> Value {
        let options = json!({"RequestAddressType": "com.docker.network.gateway"});
        let body = json!({"PoolID": pool, "Address": address, "Options": options});
        self.call("IpamDriver.RequestAddress", body)["Address"].clone()
    }

    /// Asks for an endpoint's address, this one or any.
    pub fn ask_address(&self, pool: &Value, address: &str, mac: &str) -> Reply {
        let options = json!({"com.docker.network.endpoint.macaddress": mac});
        let body = json!({"PoolID": pool, "Address": address, "Options": options});
        self.post("IpamDriver.RequestAddress", &body)
    }

    /// Takes an endpoint's address.
    pub fn address(&self, pool: &Value, address: &str, mac: &str) -> Value {
        let reply = self.ask_address(pool, address, mac);
        assert_eq!((reply.status, reply.error()), (200, None), "{address} {mac}");
        reply.body["Address"].clone()
    }

    /// Makes a network of one subnet.
    pub fn network(&self, id: &str, subnet: &str, gateway: &Value, options: Value) {
        let data = json!([{"AddressSpace": SPACE, "Pool": subnet, "Gateway": gateway}]);
        let body = json!({"NetworkID": id, "IPv4Data": data, "IPv6Data": [], "Options": options});
        self.call("NetworkDriver.CreateNetwork", body);
    }

    /// Asks for a pool and its gateway, and makes the network; returns the pool.
    pub fn whole_network(&self, id: &str, name: &str, subnet: &str) -> Value {
        let pool = self.pool(name, subnet);
        let gateway = self.gateway(&pool, "");
        self.network(id, subnet, &gateway, json!({}));
        pool
    }

    /// Removes a network as an engine does, with the addresses it took for it.
    pub fn remove_network(&self, id: &str, pool: &Value, addresses: &[&str]) {
        self.call("NetworkDriver.DeleteNetwork", json!({"NetworkID": id}));
        for address in addresses {
            let body = json!({"PoolID": pool, "Address": address});
            self.call("IpamDriver.ReleaseAddress", body);
        }
        self.call("IpamDriver.ReleasePool", json!({"PoolID": pool}));
    }

    /// Makes an endpoint that is in no sandbox yet.
    pub fn endpoint(&self, network: &str, endpoint: &str, address: &Value, mac: &str) {
        let interface = json!({"Address": address, "MacAddress": mac});
        let body = json!({"NetworkID": network, "EndpointID": endpoint, "Interface": interface});
        self.call("NetworkDriver.CreateEndpoint", body);
    }
}

/// An engine's id of a network or an endpoint.
pub fn engine_id(number: u32) -> String {
    format!("{number:064x}")
}
