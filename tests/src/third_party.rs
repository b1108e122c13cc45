//! A third party's plugin, for tests: an IPAM driver and a network driver in one, which speak
//! Docker's plugin protocol by themselves (no line of it is the agent's). It can be told to
//! misbehave, and to be away.

mod http;
mod links;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use ipnetwork::IpNetwork;
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use weft_overlay::netlink::Namespace;

pub use http::Manner;

/// What the plugin knows and was asked.
#[derive(Debug)]
pub struct State {
    /// How it answers from now on.
    pub manner: Manner,
    /// Answers given in place of its own, by path.
    pub canned: BTreeMap<String, Value>,
    /// Paths it does not know.
    pub unknown: BTreeSet<String>,
    /// All calls so far, path and body.
    pub calls: Vec<(String, Value)>,
    /// Pools it gave, and the addresses taken in each.
    pub pools: BTreeMap<String, (IpNetwork, BTreeSet<IpAddr>)>,
    /// Networks it was told of.
    pub networks: BTreeSet<String>,
    /// Endpoints it was told of; true while joined.
    pub endpoints: BTreeMap<String, bool>,
    scope: &'static str,
    pools_made: u8,
    host: Option<Namespace>,
}

/// A plugin. It serves until it is dropped.
#[derive(Debug)]
pub struct ThirdParty {
    state: Arc<Mutex<State>>,
    served: Vec<JoinHandle<()>>,
    sockets: Vec<PathBuf>,
}

impl ThirdParty {
    /// A plugin that nobody reaches yet. Its networks are of `scope`; its interfaces are made in
    /// `host`.
    pub fn new(scope: &'static str, host: Option<Namespace>) -> Self {
        let state = State {
            manner: Manner::Well,
            canned: BTreeMap::new(),
            unknown: BTreeSet::new(),
            calls: Vec::new(),
            pools: BTreeMap::new(),
            networks: BTreeSet::new(),
            endpoints: BTreeMap::new(),
            scope,
            pools_made: 0,
            host,
        };
        Self { state: Arc::new(Mutex::new(state)), served: Vec::new(), sockets: Vec::new() }
    }

    /// Its state, for a look or a change.
    ///
    /// # Panics
    /// When another holder did.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// Counts the calls of a path.
    pub fn called(&self, path: &str) -> usize {
        self.state().calls.iter().filter(|(called, _)| called == path).count()
    }

    /// Serves at a unix socket.
    ///
    /// # Panics
    /// When it cannot be bound.
    pub fn listen(&mut self, path: &Path) {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        // Of an earlier life; absent most often.
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("a socket");
        self.sockets.push(path.to_owned());
        let state = self.state.clone();
        self.served.push(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(http::serve(stream, state.clone()));
            }
        }));
    }

    /// Serves at a port of the loopback address, and returns it.
    ///
    /// # Panics
    /// When none can be bound.
    pub async fn listen_tcp(&mut self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = self.state.clone();
        self.served.push(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(http::serve(stream, state.clone()));
            }
        }));
        port
    }

    /// Dies: its sockets are gone; what it knows stays, as on a disk.
    pub async fn die(&mut self) {
        for served in self.served.drain(..) {
            served.abort();
            // Its listener is closed once it has ended.
            let _ = served.await;
        }
        for socket in &self.sockets {
            let _ = std::fs::remove_file(socket);
        }
    }

    /// Comes back where it was.
    pub fn revive(&mut self) {
        for socket in std::mem::take(&mut self.sockets) {
            self.listen(&socket);
        }
    }
}

impl Drop for ThirdParty {
    fn drop(&mut self) {
        for served in &self.served {
            served.abort();
        }
    }
}

/// Answers a call as a well-behaved plugin does.
async fn answer(state: &Mutex<State>, path: &str, body: &Value) -> Option<Value> {
    let locked = || state.lock().expect("nobody panics with it");
    {
        let mut state = locked();
        state.calls.push((path.to_owned(), body.clone()));
        if state.unknown.contains(path) {
            return None;
        }
        if let Some(canned) = state.canned.get(path) {
            return Some(canned.clone());
        }
    }
    if path.starts_with("/IpamDriver.") {
        return locked().ipam(path, body);
    }
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let (network, endpoint) = (text("NetworkID"), text("EndpointID"));
    let host = locked().host.as_ref().map(|host| host.try_clone().expect("a descriptor"));
    match path {
        "/Plugin.Activate" => Some(json!({"Implements": ["NetworkDriver", "IpamDriver"]})),
        "/NetworkDriver.GetCapabilities" => Some(json!({"Scope": locked().scope})),
        "/NetworkDriver.CreateNetwork" => {
            if !locked().networks.insert(network.clone()) {
                return Some(json!({"Err": "network exists"}));
            }
            if let Some(host) = host {
                let gateway = body["IPv4Data"][0]["Gateway"].as_str().unwrap_or_default();
                links::bridge(&host, &network, gateway).await;
            }
            Some(json!({}))
        }
        "/NetworkDriver.DeleteNetwork" => {
            if let Some(host) = host {
                links::remove_bridge(&host, &network).await;
            }
            let known = locked().networks.remove(&network);
            Some(if known { json!({}) } else { json!({"Err": "no such network"}) })
        }
        "/NetworkDriver.CreateEndpoint" => {
            if locked().endpoints.insert(endpoint, false).is_some() {
                return Some(json!({"Err": "endpoint exists"}));
            }
            Some(json!({"Interface": {}}))
        }
        "/NetworkDriver.DeleteEndpoint" => {
            if let Some(host) = host {
                links::remove_pair(&host, &endpoint).await;
            }
            let known = locked().endpoints.remove(&endpoint).is_some();
            Some(if known { json!({}) } else { json!({"Err": "no such endpoint"}) })
        }
        "/NetworkDriver.Join" => {
            locked().endpoints.insert(endpoint.clone(), true);
            let Some(host) = host else { return Some(json!({})) };
            let name = links::pair(&host, &network, &endpoint).await;
            Some(json!({
                "InterfaceName": {"SrcName": name, "DstPrefix": "tp"},
                "Gateway": links::gateway(&host, &network).await,
                "StaticRoutes": [
                    {"Destination": "192.0.2.0/24", "RouteType": 1},
                ],
            }))
        }
        "/NetworkDriver.Leave" => {
            locked().endpoints.insert(endpoint, false);
            Some(json!({}))
        }
        "/NetworkDriver.EndpointOperInfo" => Some(json!({"Value": {"made": "by hand"}})),
        "/NetworkDriver.AllocateNetwork" => Some(json!({"Options": body["Options"]})),
        "/NetworkDriver.FreeNetwork"
        | "/NetworkDriver.DiscoverNew"
        | "/NetworkDriver.DiscoverDelete" => Some(json!({})),
        _ => None,
    }
}

impl State {
    /// An IPAM driver that gives the lowest free address, and any pool of 198.18.0.0/15 where
    /// none is named.
    fn ipam(&mut self, path: &str, body: &Value) -> Option<Value> {
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let pool_id = text("PoolID");
        let error = |text: &str| Some(json!({"Error": text}));
        match path {
            "/IpamDriver.GetCapabilities" => Some(json!({})),
            "/IpamDriver.GetDefaultAddressSpaces" => Some(json!({
                "LocalDefaultAddressSpace": "third-local",
                "GlobalDefaultAddressSpace": "third-global",
            })),
            "/IpamDriver.RequestPool" => {
                self.pools_made += 1;
                let pool = match text("Pool").as_str() {
                    "" if body["V6"] == true => format!("fd77:{:x}::/64", self.pools_made),
                    "" => format!("198.18.{}.0/24", self.pools_made),
                    pool => pool.to_owned(),
                };
                let id = format!("{}/{pool}/{}", text("AddressSpace"), self.pools_made);
                let parsed = pool.parse().expect("an agent asks for a pool");
                self.pools.insert(id.clone(), (parsed, BTreeSet::new()));
                Some(json!({"PoolID": id, "Pool": pool, "Data": {}}))
            }
            "/IpamDriver.ReleasePool" => match self.pools.remove(&pool_id) {
                Some(_) => Some(json!({})),
                None => error("no such pool"),
            },
            "/IpamDriver.RequestAddress" => {
                let Some((pool, taken)) = self.pools.get_mut(&pool_id) else {
                    return error("no such pool");
                };
                let address = match text("Address").as_str() {
                    "" => pool.iter().skip(1).find(|address| !taken.contains(address))?,
                    asked => asked.parse().expect("an agent asks for an address"),
                };
                if !taken.insert(address) {
                    return error("address is taken");
                }
                Some(json!({"Address": format!("{address}/{}", pool.prefix()), "Data": {}}))
            }
            "/IpamDriver.ReleaseAddress" => {
                let address: IpAddr = text("Address").parse().expect("an address");
                match self.pools.get_mut(&pool_id).map(|(_, taken)| taken.remove(&address)) {
                    Some(true) => Some(json!({})),
                    Some(false) | None => error("no such address"),
                }
            }
            _ => None,
        }
    }

    /// Forgets pools and addresses, as one does that has them in memory alone and is restarted.
    pub fn forget_pools(&mut self) {
        self.pools.clear();
        self.pools_made = 0;
    }

    /// Returns every address that is taken.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.pools.values().flat_map(|(_, taken)| taken.iter().copied()).collect()
    }
}
