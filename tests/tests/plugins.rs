//! What the agent says to third parties' plugins, and makes of what they answer.

#![expect(clippy::unwrap_used, reason = "what fails here is a failure of the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use weft_agent::plugins::{Directories, Patience, Plugins, RemoteDriver, RemoteIpam};
use weft_agent::registry::Registry;
use weft_api::discovery::{Discover, Discovery, EncryptionKeys, NodeDiscoveryData};
use weft_api::driver::{
    Capability, Driver, DriverCallback, DriverError, Interface, IpamData, JoinResult,
    NETWORK_PLUGIN_ENDPOINT_TYPE, NetworkRegistration, Options, Plugin, PluginGetter, RouteType,
    Scope, StaticRoute,
};
use weft_api::ipam::{Ipam, IpamError, PLUGIN_ENDPOINT_TYPE, PoolRequest};
use weft_api::{EndpointId, Kind, NetworkId};
use weft_tests::third_party::{Manner, ThirdParty};

/// Short enough for tests of what never comes.
const PATIENCE: Patience = Patience {
    answer: Duration::from_secs(1),
    reach: Duration::from_secs(2),
    pause: Duration::from_millis(10),
};

/// A plugin behind a socket, and where it is found.
struct Bed {
    directory: TempDir,
    plugin: ThirdParty,
}

impl Bed {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut plugin = ThirdParty::new("local", None);
        plugin.listen(&directory.path().join("run/third.sock"));
        Self { directory, plugin }
    }

    fn plugins(&self) -> Plugins {
        plugins(self.directory.path())
    }

    async fn get(&self) -> Arc<dyn Plugin> {
        self.plugins().get("third", NETWORK_PLUGIN_ENDPOINT_TYPE).await.unwrap()
    }

    async fn driver(&self) -> RemoteDriver {
        RemoteDriver::connect(self.get().await).await.unwrap().0
    }

    async fn ipam(&self) -> RemoteIpam {
        RemoteIpam::connect(self.get().await).await.0
    }

    fn canned(&self, path: &str, answer: Value) {
        self.plugin.state().canned.insert(path.to_owned(), answer);
    }

    fn body(&self, path: &str) -> Value {
        let state = self.plugin.state();
        let found = state.calls.iter().rev().find(|(called, _)| called == path);
        found.unwrap_or_else(|| panic!("{path} was not called: {:?}", state.calls)).1.clone()
    }
}

fn plugins(root: &Path) -> Plugins {
    let directories =
        Directories { sockets: root.join("run"), files: vec![root.join("etc"), root.join("lib")] };
    Plugins::new(directories, Vec::new(), PATIENCE)
}

fn ids() -> (NetworkId, EndpointId) {
    (NetworkId::from_bytes([0xab; 16]), EndpointId::from_bytes([0xcd; 16]))
}

#[tokio::test]
async fn a_plugin_is_found_by_socket_spec_and_json() {
    let mut bed = Bed::new();
    let root = bed.directory.path().to_owned();
    for folder in ["etc", "lib"] {
        std::fs::create_dir(root.join(folder)).unwrap();
    }
    let port = bed.plugin.listen_tcp().await;
    std::fs::write(root.join("etc/by-spec.spec"), format!("tcp://127.0.0.1:{port}\n")).unwrap();
    let addr = format!("unix://{}", root.join("run/third.sock").display());
    let file = json!({"Name": "by-json", "Addr": addr, "TLSConfig": null});
    std::fs::write(root.join("lib/by-json.json"), file.to_string()).unwrap();
    let plugins = bed.plugins();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    plugins.handle(
        PLUGIN_ENDPOINT_TYPE,
        Box::new(move |name, _| noted.lock().unwrap().push(name.to_owned())),
    );
    for name in ["third", "by-spec", "by-json"] {
        assert_eq!(plugins.get(name, PLUGIN_ENDPOINT_TYPE).await.unwrap().name(), name);
    }
    let all = plugins.all(NETWORK_PLUGIN_ENDPOINT_TYPE).await.unwrap();
    let names: Vec<_> = all.iter().map(|plugin| plugin.name()).collect();
    assert_eq!(names, ["by-json", "by-spec", "third"]);
    assert_eq!(*seen.lock().unwrap(), ["third", "by-spec", "by-json"], "each is told of once");
    let error = plugins.get("third", "VolumeDriver").await.err().unwrap();
    assert_eq!(error.kind, Kind::NotFound);
}

#[tokio::test]
async fn the_registry_finds_a_plugin_that_appears_later() {
    let mut bed = Bed::new();
    bed.plugin.die().await;
    let registry = Registry::with_plugins(bed.plugins());
    let error = registry.network("third").await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
    assert!(error.text.contains("`third` is not on this node"), "{error}");
    assert_eq!(registry.ipam("third").await.err().unwrap().kind, Kind::NotFound);
    bed.plugin.revive();
    let found = registry.network("third").await.unwrap();
    assert_eq!(found.driver.network_type(), "third");
    assert!(!found.driver.is_built_in());
    assert!(registry.ipam("third").await.is_ok());
    assert_eq!((registry.network_types(), registry.ipam_names()).0, ["third"]);
    assert!(registry.plugin_getter().is_some());
    let again = registry.register_driver("third", found.driver, found.capability);
    assert_eq!(again, Err(DriverError::ActiveRegistration("third".to_owned())));
}

#[tokio::test]
async fn scopes_are_read_and_one_that_is_missing_or_unknown_is_refused() {
    let bed = Bed::new();
    let path = "/NetworkDriver.GetCapabilities";
    let read = async |answer: Value| {
        bed.canned(path, answer);
        RemoteDriver::connect(bed.get().await).await.map(|(_, capability)| capability)
    };
    let local = Capability::of(Scope::Local);
    let mixed = Capability { connectivity_scope: Scope::Global, ..local };
    assert_eq!(read(json!({"Scope": "local"})).await, Ok(local));
    assert_eq!(read(json!({"Scope": "local", "ConnectivityScope": ""})).await, Ok(local));
    let extra = json!({"Scope": "local", "ConnectivityScope": "global", "Extra": [1]});
    assert_eq!(read(extra).await, Ok(mixed));
    for refused in [
        json!({}),
        json!({"Scope": ""}),
        json!({"Scope": "fake"}),
        json!({"Scope": "local", "ConnectivityScope": "fake"}),
        json!({"Scope": 7}),
        json!({"Err": "not today"}),
        json!([]),
    ] {
        assert!(read(refused.clone()).await.is_err(), "{refused}");
    }
}

#[tokio::test]
async fn every_call_of_a_network_driver_makes_the_round() {
    let bed = Bed::new();
    bed.canned("/NetworkDriver.GetCapabilities", json!({"Scope": "global"}));
    let driver = bed.driver().await;
    let (nid, eid) = ids();
    let data = IpamData {
        address_space: "s".to_owned(),
        pool: Some("10.9.0.0/24".parse().unwrap()),
        gateway: Some("10.9.0.1/24".parse().unwrap()),
        aux_addresses: BTreeMap::new(),
    };
    let options = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let back = driver.network_allocate(nid, &options, std::slice::from_ref(&data), &[]).await;
    assert_eq!(back, Ok(options));
    driver.network_free(nid).await.unwrap();
    let generic = Options::from([("com.docker.network.generic".to_owned(), json!({"x": "y"}))]);
    let mut info = NetworkRegistration::new(Scope::Global);
    driver.create_network(nid, &generic, &mut info, &[data], &[]).await.unwrap();
    let created = json!({
        "NetworkID": "abababababababababababababababab",
        "Options": {"com.docker.network.generic": {"x": "y"}},
        "IPv4Data": [
            {"AddressSpace": "s", "Pool": "10.9.0.0/24", "Gateway": "10.9.0.1/24"},
        ],
        "IPv6Data": [],
    });
    assert_eq!(bed.body("/NetworkDriver.CreateNetwork"), created);
    let settled = json!({"Interface": {"MacAddress": "02:42:0a:09:00:02"}});
    bed.canned("/NetworkDriver.CreateEndpoint", settled);
    let address = Some("10.9.0.2/24".parse().unwrap());
    let mut interface = Interface { address, ..Interface::default() };
    driver.create_endpoint(nid, eid, &mut interface, &Options::new()).await.unwrap();
    assert_eq!(interface.mac, Some("02:42:0a:09:00:02".parse().unwrap()));
    let asked = bed.body("/NetworkDriver.CreateEndpoint");
    assert_eq!(asked["Interface"], json!({"Address": "10.9.0.2/24"}));
    let told = driver.endpoint_oper_info(nid, eid).await.unwrap();
    assert_eq!(told, Options::from([("made".to_owned(), json!("by hand"))]));
    bed.canned(
        "/NetworkDriver.Join",
        json!({
            "InterfaceName": {"SrcName": "veth1", "DstName": "ignored", "DstPrefix": "eth"},
            "Gateway": "10.9.0.1",
            "GatewayIPv6": "fd00::1",
            "StaticRoutes": [
                {"Destination": "10.8.0.0/16", "RouteType": 0, "NextHop": "10.9.0.1"},
                {"Destination": "10.7.0.0/16", "RouteType": 1},
            ],
            "DisableGatewayService": true,
        }),
    );
    let mut join = JoinResult::default();
    driver.join(nid, eid, "/run/netns/x", &mut join, &Options::new()).await.unwrap();
    assert_eq!(bed.body("/NetworkDriver.Join")["SandboxKey"], "/run/netns/x");
    let route = |destination: &str, route_type, next_hop: Option<&str>| StaticRoute {
        destination: destination.parse().unwrap(),
        route_type,
        next_hop: next_hop.map(|hop| hop.parse().unwrap()),
    };
    let wanted = JoinResult {
        src_name: "veth1".to_owned(),
        dst_prefix: "eth".to_owned(),
        gateway: Some("10.9.0.1".parse().unwrap()),
        gateway_ipv6: Some("fd00::1".parse().unwrap()),
        static_routes: vec![
            route("10.8.0.0/16", RouteType::NextHop, Some("10.9.0.1")),
            route("10.7.0.0/16", RouteType::Connected, None),
        ],
        gateway_service_disabled: true,
        table_entries: Vec::new(),
    };
    assert_eq!(join, wanted);
    // What the protocol lets a driver lack.
    let lacking = driver.program_external_connectivity(nid, eid, &Options::new()).await;
    assert_eq!(lacking, Err(DriverError::NotImplemented));
    let lacking = driver.revoke_external_connectivity(nid, eid).await;
    assert_eq!(lacking, Err(DriverError::NotImplemented));
    driver.leave(nid, eid).await.unwrap();
    driver.delete_endpoint(nid, eid).await.unwrap();
    driver.delete_network(nid).await.unwrap();
    let node = NodeDiscoveryData { address: "192.0.2.1".to_owned(), ..Default::default() };
    driver.discover_new(&Discovery::Node(node)).await.unwrap();
    let body = bed.body("/NetworkDriver.DiscoverNew");
    assert_eq!(
        (&body["DiscoveryType"], &body["DiscoveryData"]["Address"]),
        (&json!(1), &json!("192.0.2.1"))
    );
    let keys = Discovery::EncryptionKeysConfig(EncryptionKeys::default());
    driver.discover_new(&keys).await.unwrap();
    assert_eq!(bed.plugin.called("/NetworkDriver.DiscoverNew"), 1, "keys are not told");
}

#[tokio::test]
async fn a_plugins_own_error_is_told_and_not_repeated() {
    let bed = Bed::new();
    let (driver, ipam) = (bed.driver().await, bed.ipam().await);
    let (nid, _) = ids();
    bed.canned("/NetworkDriver.DeleteNetwork", json!({"Err": "it is in use"}));
    let error = driver.delete_network(nid).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin `third`: it is in use");
    bed.canned("/IpamDriver.ReleasePool", json!({"Error": "it is in use"}));
    let error = ipam.release_pool("p").await.unwrap_err();
    assert_eq!(error.to_string(), "plugin `third`: it is in use");
    assert_eq!(bed.plugin.called("/NetworkDriver.DeleteNetwork"), 1);
    assert_eq!(bed.plugin.called("/IpamDriver.ReleasePool"), 1);
}

#[tokio::test]
async fn values_that_are_missing_are_empty() {
    let bed = Bed::new();
    let driver = bed.driver().await;
    let (nid, eid) = ids();
    for path in ["CreateEndpoint", "Join", "EndpointOperInfo"] {
        bed.canned(&format!("/NetworkDriver.{path}"), json!({}));
    }
    let mut interface = Interface::default();
    driver.create_endpoint(nid, eid, &mut interface, &Options::new()).await.unwrap();
    assert_eq!(interface, Interface::default());
    let mut join = JoinResult::default();
    driver.join(nid, eid, "/k", &mut join, &Options::new()).await.unwrap();
    assert_eq!(join, JoinResult::default());
    assert_eq!(driver.endpoint_oper_info(nid, eid).await, Ok(Options::new()));
}

#[tokio::test]
async fn an_interface_that_does_not_fit_is_rolled_back() {
    let bed = Bed::new();
    let driver = bed.driver().await;
    let (nid, eid) = ids();
    let address = Some("10.9.0.2/24".parse().unwrap());
    for (count, answer) in [
        json!({"Address": "10.9.0.3/24"}),
        json!({"Address": "10.9.0.2/24"}),
        json!({"AddressIPv6": "10.9.0.3/24"}),
        json!({"AddressIPv6": "nonsense"}),
        json!({"MacAddress": "nonsense"}),
        json!({"MacAddress": "ff:ff:ff:ff:ff:ff"}),
    ]
    .into_iter()
    .enumerate()
    {
        bed.canned("/NetworkDriver.CreateEndpoint", json!({"Interface": answer}));
        let mut interface = Interface { address, ..Interface::default() };
        let made = driver.create_endpoint(nid, eid, &mut interface, &Options::new()).await;
        assert!(made.is_err(), "{answer}");
        assert_eq!(bed.plugin.called("/NetworkDriver.DeleteEndpoint"), count + 1, "{answer}");
    }
    for (count, answer) in [
        json!({"InterfaceName": {"SrcName": "a/b"}}),
        json!({"InterfaceName": {"SrcName": "sixteen-letters-"}}),
        json!({"Gateway": "fd00::1"}),
        json!({"GatewayIPv6": "x"}),
        json!({"StaticRoutes": [{"Destination": "10.0.0.0/8", "RouteType": 0}]}),
        json!({"StaticRoutes": [{"Destination": "10.0.0.0/8", "RouteType": 9}]}),
        json!({"StaticRoutes": [{"Destination": "x", "RouteType": 1}]}),
    ]
    .into_iter()
    .enumerate()
    {
        bed.canned("/NetworkDriver.Join", answer.clone());
        let mut join = JoinResult::default();
        assert!(driver.join(nid, eid, "/k", &mut join, &Options::new()).await.is_err(), "{answer}");
        assert_eq!(bed.plugin.called("/NetworkDriver.Leave"), count + 1, "{answer}");
    }
}

#[tokio::test]
async fn every_call_of_an_ipam_driver_makes_the_round() {
    let bed = Bed::new();
    let required = json!({"RequiresMACAddress": true, "RequiresRequestReplay": true});
    bed.canned("/IpamDriver.GetCapabilities", required);
    let (ipam, capability) = RemoteIpam::connect(bed.get().await).await;
    assert!(capability.requires_mac_address && capability.requires_request_replay);
    let spaces = ipam.get_default_address_spaces().await.unwrap();
    assert_eq!(spaces, ("third-local".to_owned(), "third-global".to_owned()));
    let options = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let request =
        PoolRequest { options: options.clone(), ..PoolRequest::parse("s", "", "").unwrap() };
    let pool = ipam.request_pool(request).await.unwrap();
    let body = json!(
        {"AddressSpace": "s", "Pool": "", "SubPool": "", "Options": {"a": "b"}, "V6": false}
    );
    assert_eq!(bed.body("/IpamDriver.RequestPool"), body);
    let (address, _) = ipam.request_address(&pool.pool_id, None, &options).await.unwrap();
    assert_eq!(address.prefix(), pool.pool.prefix());
    let wanted = address.ip();
    let again = ipam.request_address(&pool.pool_id, Some(wanted), &options).await.unwrap_err();
    assert_eq!(again.to_string(), "plugin `third`: address is taken");
    ipam.release_address(&pool.pool_id, wanted).await.unwrap();
    ipam.release_pool(&pool.pool_id).await.unwrap();
    assert!(bed.plugin.state().pools.is_empty());
}

#[tokio::test]
async fn an_ipam_driver_of_before_capabilities_requires_nothing() {
    let bed = Bed::new();
    bed.plugin.state().unknown.insert("/IpamDriver.GetCapabilities".to_owned());
    let (ipam, capability) = RemoteIpam::connect(bed.get().await).await;
    assert_eq!(capability, weft_api::ipam::Capability::default());
    assert!(ipam.get_default_address_spaces().await.is_ok());
}

#[tokio::test]
async fn pools_and_addresses_that_were_not_asked_for_are_given_back() {
    let bed = Bed::new();
    let ipam = bed.ipam().await;
    let asked = || PoolRequest::parse("s", "10.9.0.0/24", "").unwrap();
    for (count, pool) in ["10.8.0.0/24", "nonsense", "10.9.0.1/24"].into_iter().enumerate() {
        bed.canned("/IpamDriver.RequestPool", json!({"PoolID": "p", "Pool": pool}));
        assert!(ipam.request_pool(asked()).await.is_err(), "{pool}");
        assert_eq!(bed.plugin.called("/IpamDriver.ReleasePool"), count + 1, "{pool}");
    }
    bed.canned("/IpamDriver.RequestPool", json!({"Pool": "10.9.0.0/24"}));
    assert!(ipam.request_pool(asked()).await.is_err(), "a pool without an id");
    bed.canned("/IpamDriver.RequestAddress", json!({"Address": ""}));
    let none = ipam.request_address("p", None, &BTreeMap::new()).await;
    assert_eq!(none, Err(IpamError::NoIpReturned));
    bed.canned("/IpamDriver.RequestAddress", json!({"Address": "10.9.0.7/24"}));
    let other = Some("10.9.0.8".parse().unwrap());
    assert!(ipam.request_address("p", other, &BTreeMap::new()).await.is_err());
    assert_eq!(bed.body("/IpamDriver.ReleaseAddress")["Address"], "10.9.0.7");
}

#[tokio::test]
async fn a_plugin_that_misbehaves_is_a_clear_error_in_bounded_time() {
    let bed = Bed::new();
    let ipam = bed.ipam().await;
    for (manner, words, kind) in [
        (Manner::Garbage, "no HTTP", Kind::Unavailable),
        (Manner::NoJson, "no JSON", Kind::Unavailable),
        (Manner::TooMuch, "more than 1048576 bytes", Kind::Unavailable),
        (Manner::Slowly, "did not answer", Kind::Unavailable),
        (Manner::Status500, "500 Internal Server Error: it broke", Kind::Forbidden),
        (Manner::HalfAnAnswer, "cannot be reached", Kind::Unavailable),
    ] {
        bed.plugin.state().manner = manner;
        let error = ipam.get_default_address_spaces().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{manner:?}: {error}");
        assert!(error.to_string().contains(words), "{manner:?}: {error}");
        assert!(error.to_string().contains("plugin `third`"), "{manner:?}: {error}");
    }
    let tries = bed.plugin.called("/IpamDriver.GetDefaultAddressSpaces");
    assert!(tries > 1, "an answer that broke off is asked for again");
    bed.plugin.state().manner = Manner::Well;
    assert!(ipam.get_default_address_spaces().await.is_ok());
}

#[tokio::test]
async fn a_plugin_that_comes_back_in_time_is_not_missed() {
    let mut bed = Bed::new();
    let ipam = bed.ipam().await;
    bed.plugin.die().await;
    let asked = tokio::spawn(async move { ipam.get_default_address_spaces().await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    bed.plugin.revive();
    assert!(asked.await.unwrap().is_ok());
    let ipam = bed.ipam().await;
    bed.plugin.die().await;
    let error = ipam.get_default_address_spaces().await.unwrap_err();
    assert!(error.to_string().contains("no plugin `third`"), "{error}");
}
