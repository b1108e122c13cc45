//! The whole plugin, from variables and standard input to what it prints, against an agent that
//! is played.

mod delegation;
mod hostile;
mod played;

use cni::types::CniResult;
use serde_json::{Value, json};

use super::*;
use played::{Played, attachment};

const ADDRESS: &str = "10.9.0.2/24";

fn ok(value: Value) -> (u16, Value) {
    (200, value)
}

fn no(status: u16, kind: &str) -> (u16, Value) {
    (status, json!({"error": "no", "hint": "do otherwise", "kind": kind}))
}

#[test]
fn the_plugin_is_called_by_the_name_of_its_file() {
    for (program, called) in [
        ("/opt/cni/bin/weft-cni", true),
        ("weft-cni", true),
        ("/usr/bin/weft", false),
        ("/weft-cni/weft", false),
        ("", false),
    ] {
        assert_eq!(is_called_by(Some(OsStr::new(program))), called, "{program}");
    }
    assert!(!is_called_by(None));
}

#[test]
fn add_asks_for_what_configuration_runtime_and_arguments_say() {
    let agent = Played::answering(|_| ok(attachment(&[ADDRESS])));
    let mut call = agent.call("ADD");
    call.conf["subnet"] = json!(["10.9.0.0/24", "fd00:9::/64"]);
    call.conf["mtu"] = json!(1400);
    call.conf["network"] = json!("blue");
    call.conf["mac"] = json!("02:00:00:00:00:01");
    call.conf["runtimeConfig"] = json!({
        "ips": ["10.9.0.7/24"], "mac": "02:00:00:00:00:03", "portMappings": [{"hostPort": 1}],
        "ipRanges": [[{"subnet": "10.9.0.0/24", "rangeStart": "10.9.0.64", "rangeEnd": "10.9.0.127"}]],
        "bandwidth": {"ingressRate": 8000, "ingressBurst": 9000, "egressRate": 7, "egressBurst": 6},
    });
    call.args = "IgnoreUnknown=1;K8S_POD_NAME=web;IP=10.9.0.9;MAC=02:00:00:00:00:02;X=y".into();
    call.succeeds();
    let (line, request) = agent.only_request();
    assert_eq!(line, "POST /attachments");
    assert_eq!(
        request,
        json!({
            "network": {
                "name": "blue", "type": "overlay", "ipam": "weft", "mtu": 1400,
                "subnets": [{"pool": "10.9.0.0/24"}, {"pool": "fd00:9::/64"}],
                "ipv6": false, "internal": false,
            },
            "key": {"container_id": "web-1", "ifname": "eth0"},
            "configuration": "pods",
            "netns": call.netns,
            "addresses": {"from": "network", "wanted": ["10.9.0.7"], "ranges": ["10.9.0.64/26"]},
            "mac": "02:00:00:00:00:03",
            "bandwidth": {
                "ingress_rate": 8000, "ingress_burst": 9000, "egress_rate": 7, "egress_burst": 6
            },
        })
    );
}

#[test]
fn what_containerd_spells_with_a_capital_counts_and_what_says_nothing_does_not() {
    let agent = Played::answering(|_| ok(attachment(&[ADDRESS])));
    let mut call = agent.call("ADD");
    call.conf["dns"] = json!({"nameservers": ["10.9.0.53"]});
    call.conf["runtimeConfig"] = json!({
        "bandwidth": {"IngressRate": 8000, "IngressBurst": 9000, "EgressRate": 7, "EgressBurst": 6},
        "dns": {"Servers": null, "Searches": null, "Options": null},
        "ipRanges": [[{"Subnet": "10.9.0.0/26", "RangeStart": "", "RangeEnd": "", "Gateway": ""}]],
    });
    let printed: Value = serde_json::from_str(&call.succeeds()).unwrap();
    assert_eq!(printed["dns"]["nameservers"], json!(["10.9.0.53"]));
    let (_, request) = agent.only_request();
    assert_eq!(request["bandwidth"]["ingress_rate"], 8000);
    assert_eq!(request["bandwidth"]["egress_burst"], 6);
    assert_eq!(request["addresses"]["ranges"], json!(["10.9.0.0/26"]));
}

#[test]
fn a_misspelt_limit_is_refused_and_not_left_out() {
    let agent = Played::answering(|_| ok(attachment(&[ADDRESS])));
    let mut call = agent.call("ADD");
    call.conf["runtimeConfig"] = json!({"bandwidth": {"ingresRate": 8000}});
    let error = call.fails(7);
    assert!(error["details"].as_str().unwrap().contains("`ingresRate`"), "{error}");
}

#[test]
fn del_succeeds_with_a_configuration_that_add_refuses() {
    for (member, value) in [("network", json!(5)), ("network", json!("")), ("socket", json!("x"))] {
        let agent = Played::answering(|_| ok(attachment(&[ADDRESS])));
        let mut call = agent.call("DEL");
        call.conf[member] = value;
        call.succeeds();
    }
}

#[test]
fn the_network_is_called_as_the_configuration_unless_it_says_otherwise() {
    let agent = Played::answering(|_| ok(attachment(&[ADDRESS])));
    agent.call("ADD").succeeds();
    assert_eq!(agent.only_request().1["network"]["name"], "pods");
}

#[test]
fn every_version_gets_a_result_of_its_own() {
    for version in VERSIONS {
        let agent = Played::answering(|_| ok(attachment(&[ADDRESS, "fd00:9::2/64"])));
        let mut call = agent.call("ADD");
        call.conf["cniVersion"] = json!(version);
        let printed = call.succeeds();
        let result = CniResult::from_slice(printed.as_bytes()).unwrap();
        assert_eq!(result.version(), version);
        let result = result.to_current().unwrap();
        assert_eq!(result.ips.len(), 2);
        assert_eq!(result.interfaces.len(), 1);
        assert_eq!(result.interfaces[0].sandbox, call.netns);
        assert!(result.ips.iter().all(|ip| ip.interface == Some(0) && ip.gateway.is_some()));
        assert_eq!(result.routes.len(), 2);
        assert_eq!(printed.contains("\"mtu\": 1450"), version == "1.1.0", "{printed}");
    }
}

#[test]
fn a_refusal_of_the_agent_has_the_code_of_its_kind_and_its_hint() {
    for (status, kind, code) in [
        (400, "invalid_parameter", 7),
        (403, "forbidden", 101),
        (409, "conflict", 101),
        (501, "not_implemented", 2),
        (503, "unavailable", 11),
        (504, "timeout", 11),
        (500, "internal", 999),
    ] {
        let agent = Played::answering(move |_| no(status, kind));
        let error = agent.call("ADD").fails(code);
        assert_eq!((&error["msg"], &error["details"]), (&json!("no"), &json!("do otherwise")));
        assert_eq!(error["cniVersion"], "1.1.0");
    }
}

#[test]
fn without_an_agent_add_fails_soon_and_status_at_once() {
    let agent = Played::absent();
    let start = std::time::Instant::now();
    agent.call("STATUS").fails(50);
    agent.call("ADD").fails(11);
    assert!(start.elapsed().as_millis() >= 500, "it may be about to start");
    for (command, key, value) in [
        ("CHECK", "prevResult", json!({"cniVersion": "1.1.0"})),
        ("GC", "cni.dev/valid-attachments", json!([])),
    ] {
        let mut call = agent.call(command);
        call.conf[key] = value;
        call.fails(11);
    }
}

#[test]
fn add_finds_an_agent_that_starts_meanwhile() {
    let agent = Played::absent();
    let socket = agent.socket();
    let starter = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(150));
        Played::listen(&socket, |_| ok(attachment(&[ADDRESS])));
    });
    agent.call("ADD").succeeds();
    starter.join().unwrap();
}

#[test]
fn del_without_an_agent_is_written_down_and_succeeds() {
    let agent = Played::absent();
    agent.call("DEL").succeeds();
    agent.call("DEL").succeeds();
    let listed = spool::Spool::beside(&agent.socket()).list().unwrap();
    assert_eq!(listed.detached.len(), 1);
    assert_eq!(listed.detached[0].network, "pods");
    assert_eq!(listed.detached[0].key.container_id, "web-1");
}

#[test]
fn del_goes_on_where_add_would_be_refused_and_without_a_namespace() {
    let agent = Played::answering(|_| (204, Value::Null));
    let mut call = agent.call("DEL");
    call.conf["mtu"] = json!("large");
    call.conf["subnet"] = json!("nonsense");
    call.netns = String::new();
    call.args = "=;=".into();
    call.succeeds();
    assert_eq!(agent.only_request().0, "DELETE /attachments/pods/web-1/eth0?configuration=pods");
}

#[test]
fn del_that_the_agent_cannot_serve_now_is_written_down_and_one_it_refuses_is_told() {
    let agent = Played::answering(|_| no(503, "unavailable"));
    agent.call("DEL").succeeds();
    assert_eq!(spool::Spool::beside(&agent.socket()).list().unwrap().detached.len(), 1);
    Played::answering(|_| no(500, "internal")).call("DEL").fails(999);
}

#[test]
fn check_tells_what_is_not_as_it_was_made() {
    let made = Played::answering(|_| ok(attachment(&[ADDRESS])));
    let told: Value = serde_json::from_str(&made.call("ADD").succeeds()).unwrap();
    let check = |agent: &Played, told: &Value| {
        let mut call = agent.call("CHECK");
        call.conf["prevResult"] = told.clone();
        call
    };
    check(&made, &told).succeeds_like(&made);
    made.call("CHECK").fails(7);
    check(&Played::answering(|_| no(404, "not_found")), &told).same_netns(&made).fails(100);
    let faulty = Played::answering(|_| {
        let mut answer = attachment(&[ADDRESS]);
        answer["faults"] = json!(["`eth0` is down"]);
        ok(answer)
    });
    let error = check(&faulty, &told).same_netns(&made).fails(100);
    assert_eq!(error["details"], "`eth0` is down");
    let other = Played::answering(|_| ok(attachment(&["10.9.0.3/24"])));
    check(&other, &told).same_netns(&made).fails(100);
    // Addresses of a plugin after us are none of ours.
    let mut more = told.clone();
    more["ips"].as_array_mut().unwrap().push(json!({"address": "192.0.2.1/32"}));
    check(&made, &more).succeeds_like(&made);
}

#[test]
fn gc_passes_on_what_is_in_use_and_a_missing_list_is_not_an_empty_one() {
    let agent = Played::answering(|_| ok(json!({"removed": []})));
    agent.call("GC").succeeds();
    assert!(agent.requests().is_empty());
    for (key, list, valid) in [
        ("cni.dev/valid-attachments", json!([]), json!([])),
        ("cni.dev/valid-attachments", Value::Null, json!([])),
        (
            "cni.dev/attachments",
            json!([{"containerID": "a", "ifname": "eth0"}, {"containerID": "/", "ifname": "x"}]),
            json!([{"container_id": "a", "ifname": "eth0"}]),
        ),
    ] {
        let agent = Played::answering(|_| ok(json!({"removed": []})));
        let mut call = agent.call("GC");
        call.conf[key] = list;
        call.succeeds();
        let (line, request) = agent.only_request();
        assert_eq!(line, "POST /attachments/gc");
        assert_eq!((&request["network"], &request["valid"]), (&json!("pods"), &valid));
        assert_eq!(request["configuration"], "pods");
    }
    let agent = Played::answering(|_| ok(json!({"removed": [], "failed": ["`a`: busy"]})));
    let mut call = agent.call("GC");
    call.conf["cni.dev/valid-attachments"] = json!([]);
    assert_eq!(call.fails(102)["details"], "`a`: busy");
}

#[test]
fn status_is_50_or_51_when_nothing_can_be_attached() {
    let answering = |ready: bool, limited: bool| {
        Played::answering(move |_| {
            ok(json!({"ready": ready, "limited_connectivity": limited, "reason": "alone"}))
        })
    };
    answering(true, false).call("STATUS").succeeds();
    assert_eq!(answering(false, false).call("STATUS").fails(50)["details"], "alone");
    answering(false, true).call("STATUS").fails(51);
    Played::answering(|_| no(404, "not_found")).call("STATUS").fails(50);
    let agent = answering(true, false);
    agent.call("STATUS").succeeds();
    assert_eq!(agent.only_request().0, "GET /attachments/status?network=pods");
}

#[test]
fn way_out_and_masquerade_go_together() {
    let internal = |more: Value| {
        let agent = Played::answering(|_| ok(attachment(&[ADDRESS])));
        let mut call = agent.call("ADD");
        let more = more.as_object().unwrap().clone();
        call.conf.as_object_mut().unwrap().extend(more);
        call.succeeds();
        agent.only_request().1["network"]["internal"].clone()
    };
    assert_eq!(internal(json!({})), false);
    assert_eq!(internal(json!({"isGateway": true, "ipMasq": true})), false);
    assert_eq!(internal(json!({"isGateway": false})), true);
    assert_eq!(internal(json!({"isGateway": false, "ipMasq": false})), true);
    for refused in [json!({"ipMasq": false}), json!({"isGateway": false, "ipMasq": true})] {
        let agent = Played::answering(|_| ok(attachment(&[ADDRESS])));
        let mut call = agent.call("ADD");
        call.conf.as_object_mut().unwrap().extend(refused.as_object().unwrap().clone());
        let error = call.fails(2);
        assert!(error["msg"].as_str().unwrap().contains("ipMasq"), "{error}");
        assert!(agent.requests().is_empty());
    }
}
