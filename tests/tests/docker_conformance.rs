//! The plugin against recorded traffic of a real engine, and against what no engine sends.

use serde_json::{Value, json};
use weft_tests::callers::{self, socket};
use weft_tests::testbed::{Testbed, eventually};
use weft_tests::transcript::{Caller, read};

const LOCAL: &str = "local";
const GLOBAL: &str = "global";

/// Hosts with agents that are plugins, all in one cluster.
async fn plugins(hosts: usize, scope: &str) -> (Testbed, Vec<Caller>) {
    callers::plugins(hosts, scope, "").await
}

/// Waits until no network is left anywhere, nor anything of one.
async fn nothing_is_left(testbed: &Testbed) {
    for host in &testbed.hosts {
        eventually(&format!("{} knows no network", host.name), async || {
            let networks = host.client.networks(&Default::default()).await.ok()?;
            networks.is_empty().then_some(())
        })
        .await;
        let endpoints = host.client.endpoints(None, &Default::default()).await.expect("endpoints");
        assert!(endpoints.is_empty(), "{}: {endpoints:?}", host.name);
        eventually(&format!("nothing is left in the kernel of {}", host.name), async || {
            host.kernel().await.is_clean().then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standalone_engines_recorded_calls_are_served() {
    let (testbed, mut callers) = plugins(1, LOCAL).await;
    let calls = read("standalone-a.jsonl");
    assert!(calls.len() > 30);
    for call in &calls {
        let answer = callers[0].replay(call);
        match call.path.as_str() {
            "NetworkDriver.GetCapabilities" => {
                assert_eq!(answer, json!({"Scope": "local", "ConnectivityScope": "global"}));
            }
            "NetworkDriver.Join" => {
                assert_eq!(answer["InterfaceName"]["DstPrefix"], "eth");
                assert_eq!(answer["Gateway"], Value::Null, "the engine leads out");
            }
            _ => {}
        }
    }
    nothing_is_left(&testbed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_repeated_is_answered_alike() {
    let (testbed, mut callers) = plugins(1, LOCAL).await;
    for call in &read("standalone-a.jsonl") {
        let first = callers[0].replay(call);
        // An address that is taken without being named is told from another by its MAC only.
        let repeated = callers[0].replay(call);
        assert_eq!(first, repeated, "{}", call.path);
    }
    nothing_is_left(&testbed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swarms_recorded_calls_are_served_on_all_nodes_and_by_a_new_leader() {
    let (testbed, mut callers) = plugins(3, GLOBAL).await;
    let mut allocated = Vec::new();
    for call in &read("swarm-service-a.jsonl") {
        let answer = callers[0].replay(call);
        if call.path == "IpamDriver.RequestAddress" {
            allocated.push(answer["Address"].as_str().expect("an address").to_owned());
        }
    }
    let distinct: std::collections::BTreeSet<_> = allocated.iter().collect();
    assert_eq!((allocated.len(), distinct.len()), (5, 5), "a gateway and four tasks");
    let leader = std::mem::replace(&mut callers[0], Caller::new(socket(&testbed, 0)));
    for (node, name) in [(1, "swarm-service-b.jsonl"), (2, "swarm-service-c.jsonl")] {
        callers[node].learn_from(&leader);
        for call in &read(name) {
            callers[node].replay(call);
        }
        let endpoints =
            testbed.hosts[node].client.endpoints(None, &Default::default()).await.expect("some");
        assert!(!endpoints.is_empty());
        for endpoint in endpoints {
            let address = endpoint.address.expect("IPv4").to_string();
            assert!(allocated.contains(&address), "{address} is not one of the leader's");
        }
    }
    for call in &read("swarm-new-leader-replay.jsonl") {
        callers[2].replay(call);
    }
    // What tasks have is not handed out again by the new leader, wherever they run.
    let next = json!({
        "PoolID": callers[2].learnt_as("weftglobal/10.77.0.0/16"), "Address": "",
        "Options": {"com.docker.network.ipam.serial": "true"},
    });
    let reply = callers[2].post("IpamDriver.RequestAddress", &next);
    let fresh = reply.body["Address"].as_str().expect("an address").to_owned();
    assert!(!allocated.contains(&fresh), "{fresh} was allocated before");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_about_what_is_not_there_are_refused_or_nothing() {
    let (_testbed, mut callers) = plugins(1, GLOBAL).await;
    // A leader whose network is gone releases what it had: that succeeds, and changes nothing.
    for call in &read("swarm-service-rm-network-rm-a.jsonl") {
        let pool = json!("weft-global/0123abcd/-/10.77.0.0/16");
        let mut call = call.clone();
        if !call.req["PoolID"].is_null() {
            call.req["PoolID"] = pool;
        }
        callers[0].replay(&call);
    }
    let refused = [
        ("NetworkDriver.CreateEndpoint", json!({"NetworkID": "n", "EndpointID": "e"})),
        ("NetworkDriver.Join", json!({"NetworkID": "n", "EndpointID": "e", "SandboxKey": "/s"})),
        ("NetworkDriver.EndpointOperInfo", json!({"NetworkID": "n", "EndpointID": "e"})),
        ("IpamDriver.RequestAddress", json!({"PoolID": "nobodys", "Address": ""})),
        ("IpamDriver.ReleasePool", json!({"PoolID": "nobodys"})),
        ("IpamDriver.RequestPool", json!({"AddressSpace": "LocalDefault"})),
        ("IpamDriver.RequestPool", json!({"AddressSpace": "weft-local", "Pool": "10.0.0.0"})),
        ("NetworkDriver.CreateNetwork", json!({})),
        ("NetworkDriver.AllocateNetwork", json!({"NetworkID": "n"})),
    ];
    for (path, body) in refused {
        let reply = callers[0].post(path, &body);
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.error().is_some(), "{path}: {reply:?}");
        let member = if path.starts_with("Ipam") { "Error" } else { "Err" };
        assert!(reply.body[member].is_string(), "{path}: {reply:?}");
    }
    for path in ["NetworkDriver.Leave", "NetworkDriver.DeleteEndpoint"] {
        let reply = callers[0].post(path, &json!({"NetworkID": "n", "EndpointID": "e"}));
        assert_eq!((reply.status, reply.error()), (200, None), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_call_gets_words_and_the_agent_goes_on() {
    let (testbed, callers) = plugins(1, LOCAL).await;
    let caller = &callers[0];
    let post = |path: &str, more: &str, body: &[u8], length: usize| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {length}\r\n\
                            Connection: close\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    };
    let join = "/NetworkDriver.Join";
    let large = vec![b' '; (1 << 20) + 1];
    let xml = "Content-Type: text/xml\r\n";
    let rows: Vec<(&str, Vec<u8>, u16)> = vec![
        ("malformed JSON", post(join, "", b"{\"NetworkID\":", 13), 400),
        ("another type", post(join, "", b"[1,2]", 5), 400),
        ("a number for a text", post(join, "", b"{\"NetworkID\":7}", 15), 400),
        ("bytes", post(join, "", &[0xff, 0xfe, 0x00], 3), 400),
        ("half sent", post(join, "", b"{\"Net", 500), 400),
        ("oversized", post(join, "", &large, large.len()), 413),
        ("another content type", post(join, xml, b"{}", 2), 415),
        ("an unknown call", post("/NetworkDriver.Explode", "", b"{}", 2), 404),
        ("an unknown driver", post("/VolumeDriver.Create", "", b"{}", 2), 404),
        ("a path out of it", post("/../../etc/passwd", "", b"{}", 2), 404),
        (
            "GET",
            b"GET /Plugin.Activate HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
            405,
        ),
        ("an empty body", post("/NetworkDriver.CreateNetwork", "", b"", 0), 200),
    ];
    for (what, bytes, status) in rows {
        let reply = caller.send(&bytes);
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        assert!(reply.error().is_some(), "{what}: {reply:?}");
    }
    for noise in [&b"\x16\x03\x01\x02\x00"[..], b"\r\n\r\n\r\n", &[0; 4096]] {
        caller.send(noise);
    }
    let reply = caller.post("Plugin.Activate", &json!({}));
    assert_eq!(reply.body["Implements"], json!(["NetworkDriver", "IpamDriver"]));
    assert!(testbed.hosts[0].client.status().await.is_ok());
}
