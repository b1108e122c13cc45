//! Real agents with third parties' plugins: addresses of another IPAM driver across hosts, a
//! foreign network driver on one, and plugins that die, come back and misbehave.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};
use weft_agent::control::HeldByEngine;
use weft_api::control::{EndpointState, InitRequest, NetworkCreate};
use weft_overlay::netlink::{Connection, route};
use weft_tests::testbed::{Testbed, Underlay, addresses, eventually, knows};
use weft_tests::third_party::{Manner, ThirdParty};

/// Hosts in one cluster, each with plugin directories of its own.
async fn cluster(hosts: usize) -> Testbed {
    let mut testbed = Testbed::new(Underlay::V4).await;
    for _ in 0..hosts {
        testbed.add_host().await;
    }
    for host in 0..hosts {
        start(&mut testbed, host).await;
    }
    testbed.hosts[0].client.init(&InitRequest::default()).await.expect("init");
    for host in 1..hosts {
        testbed.join(host).await;
    }
    testbed.settled().await;
    testbed
}

async fn start(testbed: &mut Testbed, host: usize) {
    let config = testbed.path(&format!("h{}.toml", host + 1));
    let run = testbed.path(&format!("p{}", host + 1));
    let text = format!("plugin_dirs = [\"{0}\", \"{0}/etc\"]\n", run.display());
    std::fs::write(&config, text).expect("a file");
    let config = config.to_str().expect("a path of ours").to_owned();
    testbed.hosts[host].start(&["--config", &config]);
    testbed.hosts[host].answers().await;
}

fn socket(testbed: &Testbed, host: usize, name: &str) -> std::path::PathBuf {
    testbed.path(&format!("p{}", host + 1)).join(format!("{name}.sock"))
}

fn from(ipam: &str, name: &str) -> NetworkCreate {
    NetworkCreate { ipam: ipam.to_owned(), ..NetworkCreate::named(name) }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_takes_its_addresses_from_a_plugin_on_every_host() {
    let testbed = cluster(2).await;
    // One plugin, reached on both hosts: by a socket here, by a spec file there.
    let mut plugin = ThirdParty::new("local", None);
    plugin.listen(&socket(&testbed, 0, "tidy"));
    let files = testbed.path("p2").join("etc");
    std::fs::create_dir_all(&files).expect("a directory");
    let spec = format!("unix://{}", socket(&testbed, 0, "tidy").display());
    std::fs::write(files.join("tidy.spec"), spec).expect("a file");
    let request = NetworkCreate { ipv6: true, ..from("tidy", "blue") };
    let request =
        NetworkCreate { ipam_options: [("zone".to_owned(), "north".to_owned())].into(), ..request };
    let network = testbed.hosts[0].client.create_network(&request).await.expect("blue");
    let pools: Vec<_> = network.subnets.iter().map(|subnet| subnet.pool.to_string()).collect();
    assert_eq!(pools, ["198.18.1.0/24", "fd77:2::/64"]);
    assert_eq!(network.subnets[0].gateway, Some(ips(&["198.18.1.1"])[0]));
    {
        let state = plugin.state();
        let asked = state.calls.iter().find(|(path, _)| path == "/IpamDriver.RequestPool");
        let body = &asked.expect("a pool was asked for").1;
        assert_eq!(
            (&body["AddressSpace"], &body["Options"]["zone"]),
            (&"third-global".into(), &"north".into())
        );
    }
    // Asked for in the same way it is the same network, from the other host as well.
    knows(&testbed.hosts[1].client, "blue").await;
    let same = testbed.hosts[1].client.create_network(&request).await.expect("blue");
    assert_eq!((same.id, plugin.called("/IpamDriver.RequestPool")), (network.id, 2));
    let (here, one) = testbed.attach(0, "blue", "one").await;
    let (there, two) = testbed.attach(1, "blue", "two").await;
    assert_eq!(addresses(&one), ips(&["198.18.1.2", "fd77:2::2"]));
    assert_eq!(addresses(&two), ips(&["198.18.1.3", "fd77:2::3"]));
    here.reaches(&addresses(&two)).await;
    there.reaches(&addresses(&one)).await;
    assert_eq!(plugin.state().addresses().len(), 6);
    for (host, name) in [(0, "one"), (1, "two")] {
        testbed.hosts[host].detach(name).await;
    }
    // The gateways are left.
    assert_eq!(plugin.state().addresses(), ips(&["198.18.1.1", "fd77:2::1"]).into_iter().collect());
    testbed.hosts[1].client.delete_network("blue", HeldByEngine::Refuse).await.expect("delete");
    assert!(plugin.state().pools.is_empty(), "{:?}", plugin.state().pools);
    assert_eq!(plugin.called("/IpamDriver.ReleasePool"), 2, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_driver_serves_a_network() {
    let mut testbed = cluster(1).await;
    let host = testbed.hosts[0].namespace.try_clone().expect("a descriptor");
    let mut plugin = ThirdParty::new("local", Some(host));
    plugin.listen(&socket(&testbed, 0, "third"));
    let request = NetworkCreate {
        driver: "third".to_owned(),
        options: [("colour".to_owned(), "red".to_owned())].into(),
        ..from("third", "red")
    };
    let network = testbed.hosts[0].client.create_network(&request).await.expect("red");
    let (here, one) = testbed.attach(0, "red", "one").await;
    let (there, two) = testbed.attach(0, "red", "two").await;
    {
        let state = plugin.state();
        let created = state.calls.iter().find(|(path, _)| path == "/NetworkDriver.CreateNetwork");
        let body = &created.expect("the network was made").1;
        assert_eq!(body["Options"]["com.docker.network.generic"]["colour"], "red");
        assert!(body["Options"]["com.docker.network.generic"].get("weft.ipam").is_none());
        assert_eq!(body["IPv4Data"][0]["AddressSpace"], "third-local");
        assert_eq!(body["NetworkID"], network.id.to_string().as_str());
    }
    let inside = one.sandbox.as_ref().expect("joined");
    assert_eq!(inside.ifname, "tp0", "named as the driver wants it");
    assert_eq!(inside.gateway, Some(ips(&["198.18.1.1"])[0]));
    here.reaches(&addresses(&two)).await;
    there.reaches(&addresses(&one)).await;
    // The gateway is the plugin's bridge in the host.
    here.reaches(&ips(&["198.18.1.1"])).await;
    let mut connection = Connection::open(here.namespace()).await.expect("netlink");
    let routes = route::list(&mut connection).await.expect("routes");
    let to = |text: &str| routes.iter().any(|entry| entry.route.to.to_string() == text);
    assert!(to("0.0.0.0/0") && to("192.0.2.0/24"), "{routes:?}");
    // The agent's restart is no news to the plugin, and to the packets.
    let calls = plugin.state().calls.len();
    let ping = here.stream_to(addresses(&two)[0]);
    testbed.hosts[0].kill();
    start(&mut testbed, 0).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    ping.lost_nothing().await;
    {
        let state = plugin.state();
        let who = ["/Plugin.Activate", "/IpamDriver.GetCapabilities"];
        let told = |(path, _): &&(String, Value)| !who.contains(&path.as_str());
        let news: Vec<_> = state.calls[calls..].iter().filter(told).collect();
        assert!(news.is_empty(), "{news:?}");
    }
    let found = testbed.hosts[0].client.endpoint(None, "one").await.expect("endpoint");
    assert_eq!(found.state, EndpointState::Joined);
    testbed.hosts[0].detach("one").await;
    assert!(here.links().await.iter().all(|link| link.name == "lo"), "the interface is gone");
    testbed.hosts[0].detach("two").await;
    testbed.hosts[0].client.delete_network("red", HeldByEngine::Refuse).await.expect("delete");
    {
        let state = plugin.state();
        assert!(state.networks.is_empty() && state.endpoints.is_empty() && state.pools.is_empty());
    }
    assert!(testbed.hosts[0].kernel().await.links.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_plugin_is_owed_it_gets_when_it_comes_back() {
    let mut testbed = cluster(1).await;
    let host = testbed.hosts[0].namespace.try_clone().expect("a descriptor");
    let mut plugin = ThirdParty::new("local", Some(host));
    plugin.listen(&socket(&testbed, 0, "third"));
    let request = NetworkCreate { driver: "third".to_owned(), ..from("third", "red") };
    testbed.hosts[0].client.create_network(&request).await.expect("red");
    let (here, _) = testbed.attach(0, "red", "one").await;
    plugin.die().await;
    let refused = testbed.hosts[0].weft(&["endpoint", "create", "red", "--name", "none"]);
    refused.fails(1, "plugin `third`");
    testbed.hosts[0].detach("one").await;
    assert!(here.links().await.iter().all(|link| !link.up || link.name == "lo"));
    // Not even a death of the agent makes it forget.
    testbed.hosts[0].kill();
    start(&mut testbed, 0).await;
    plugin.revive();
    eventually("the plugin has everything back", async || {
        let state = plugin.state();
        let gateway_alone = state.addresses().len() == 1;
        (state.endpoints.is_empty() && state.networks.is_empty() && gateway_alone).then_some(())
    })
    .await;
    let (_again, again) = testbed.attach(0, "red", "again").await;
    assert_eq!(addresses(&again), ips(&["198.18.1.2"]));
    testbed.hosts[0].detach("again").await;
    testbed.hosts[0].client.delete_network("red", HeldByEngine::Refuse).await.expect("delete");
    assert!(plugin.state().pools.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_requires_it_is_asked_again_for_what_it_forgot() {
    let mut testbed = cluster(1).await;
    let mut plugin = ThirdParty::new("local", None);
    plugin.listen(&socket(&testbed, 0, "tidy"));
    let path = "/IpamDriver.GetCapabilities".to_owned();
    plugin.state().canned.insert(path, json!({"RequiresRequestReplay": true}));
    let client = &testbed.hosts[0].client;
    client.create_network(&from("tidy", "blue")).await.expect("blue");
    let (_one, one) = testbed.attach(0, "blue", "one").await;
    assert_eq!(addresses(&one), ips(&["198.18.1.2"]));
    assert_eq!(plugin.called("/IpamDriver.RequestPool"), 1, "nothing is repeated to who knows it");
    testbed.hosts[0].kill();
    plugin.die().await;
    plugin.state().forget_pools();
    start(&mut testbed, 0).await;
    // It comes back after the agent, and hears it all before it is asked for more.
    plugin.revive();
    let (_two, two) = testbed.attach(0, "blue", "two").await;
    assert_eq!(addresses(&two), ips(&["198.18.1.3"]));
    let all = ips(&["198.18.1.1", "198.18.1.2", "198.18.1.3"]);
    assert_eq!(plugin.state().addresses(), all.into_iter().collect());
    {
        let state = plugin.state();
        let mut asked = state.calls.iter().filter(|(path, _)| path == "/IpamDriver.RequestAddress");
        let gateway = asked.nth(2).expect("the gateway is asked for again");
        assert_eq!(gateway.1["Options"]["RequestAddressType"], "com.docker.network.gateway");
    }
    for name in ["one", "two"] {
        testbed.hosts[0].detach(name).await;
    }
    testbed.hosts[0].client.delete_network("blue", HeldByEngine::Refuse).await.expect("delete");
    assert!(plugin.state().pools.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misbehaving_plugin_is_a_clear_error_and_harms_nobody() {
    let testbed = cluster(1).await;
    let host = &testbed.hosts[0];
    let unknown = host.weft(&["network", "create", "blue", "--ipam-driver", "nobody"]);
    unknown.fails(1, "IPAM driver `nobody` is not on this node");
    let escaping = host.weft(&["network", "create", "blue", "--driver", "../etc/x"]);
    assert_eq!(escaping.code, 1, "{escaping:?}");
    let own = host.weft(&["network", "create", "blue", "--driver", "weft"]);
    own.fails(1, "this agent itself");
    let mut plugin = ThirdParty::new("local", None);
    plugin.listen(&socket(&testbed, 0, "third"));
    let create = ["network", "create", "blue", "--driver", "third", "--ipam-driver", "third"];
    for (manner, words) in [
        (Manner::Garbage, "answered no HTTP"),
        (Manner::NoJson, "answered no JSON"),
        (Manner::TooMuch, "more than"),
        (Manner::Status500, "it broke"),
    ] {
        plugin.state().manner = manner;
        host.weft(&create).fails(1, words);
    }
    plugin.state().manner = Manner::Well;
    host.weft(&create).line();
    plugin.state().manner = Manner::Status500;
    host.weft(&["endpoint", "create", "blue", "--name", "one"]).fails(1, "it broke");
    // The agent serves others meanwhile.
    host.weft(&["network", "create", "green"]).line();
    let (sandbox, _) = testbed.attach(0, "green", "other").await;
    assert!(sandbox.link("eth0").await.up);
    plugin.state().manner = Manner::Well;
    host.weft(&["endpoint", "create", "blue", "--name", "one"]).line();
    assert!(Path::new(&socket(&testbed, 0, "third")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_two_hosts_plugins_give_is_refused() {
    let testbed = cluster(2).await;
    // A plugin a host, of which neither knows the other; pool ids are the same by chance.
    let mut plugins = [ThirdParty::new("local", None), ThirdParty::new("local", None)];
    for (host, plugin) in plugins.iter_mut().enumerate() {
        plugin.listen(&socket(&testbed, host, "lone"));
    }
    testbed.hosts[0].client.create_network(&from("lone", "blue")).await.expect("blue");
    let pools = plugins[0].state().pools.clone();
    plugins[1].state().pools = pools;
    let (_one, one) = testbed.attach(0, "blue", "one").await;
    knows(&testbed.hosts[1].client, "blue").await;
    eventually("the first is known on the second host and its address refused", async || {
        let refused = testbed.hosts[1].weft(&["endpoint", "create", "blue", "--name", "two"]);
        let said = format!("gave address `{}`", addresses(&one)[0]);
        if refused.code == 0 {
            // Earlier than the news of the first.
            testbed.hosts[1].detach("two").await;
        }
        refused.stderr.contains(&said).then_some(())
    })
    .await;
    assert_eq!(plugins[1].state().addresses().len(), 1, "the gateway alone");
}
