//! Addresses from another plugin.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use cni::invoke::Call as PluginCall;
use cni::invoke::blocking::Exec;
use cni::types::{Code, PluginError};
use serde_json::{Value, json};

use super::played::{Call, Played, attachment};
use super::{no, ok};

/// A plugin that is played: what it answers to ADD, and the commands it got.
#[derive(Clone)]
struct Ipam {
    answer: Result<Value, u32>,
    commands: Arc<Mutex<Vec<String>>>,
}

impl Ipam {
    fn giving(answer: Value) -> Self {
        Self { answer: Ok(answer), commands: Arc::default() }
    }

    fn failing(code: u32) -> Self {
        Self { answer: Err(code), commands: Arc::default() }
    }

    fn commands(&self) -> Vec<String> {
        self.commands.lock().unwrap().clone()
    }
}

impl Exec for Ipam {
    fn exec_plugin(&self, call: PluginCall<'_>) -> Result<Vec<u8>, cni::Error> {
        let command = call.env.iter().find(|(name, _)| name == "CNI_COMMAND");
        let command = command.unwrap().1.to_str().unwrap().to_owned();
        self.commands.lock().unwrap().push(command.clone());
        match &self.answer {
            Ok(answer) if command == "ADD" => Ok(answer.to_string().into_bytes()),
            Ok(_) => Ok(Vec::new()),
            Err(code) => Err(cni::Error::Plugin(PluginError::new(Code(*code), "none left"))),
        }
    }

    fn find_in_path(&self, plugin: &str, _: &[PathBuf]) -> Result<PathBuf, cni::Error> {
        assert_eq!(plugin, "host-local");
        Ok(plugin.into())
    }
}

fn given() -> Value {
    json!({
        "cniVersion": "1.1.0",
        "ips": [{"address": "10.9.0.2/24", "gateway": "10.9.0.1"}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {"nameservers": ["10.9.0.53"]},
    })
}

fn call(agent: &Played, command: &str) -> Call {
    let mut call = agent.call(command);
    call.conf["ipam"] = json!({"type": "host-local"});
    call
}

#[test]
fn addresses_that_another_plugin_gave_are_passed_on_with_their_subnet() {
    let agent = Played::answering(|_| ok(attachment(&["10.9.0.2/24"])));
    let ipam = Ipam::giving(given());
    let printed = call(&agent, "ADD").run(Box::new(ipam.clone())).unwrap();
    let (_, request) = agent.only_request();
    assert_eq!(request["addresses"], json!({"from": "given", "addresses": ["10.9.0.2/24"]}));
    let subnets = &request["network"]["subnets"];
    assert_eq!(subnets, &json!([{"pool": "10.9.0.0/24", "gateway": "10.9.0.1"}]));
    let result: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(result["dns"]["nameservers"], json!(["10.9.0.53"]));
    assert_eq!(ipam.commands(), ["ADD"]);
}

#[test]
fn what_the_other_plugin_gave_goes_back_when_the_agent_refuses() {
    let agent = Played::answering(|_| no(403, "forbidden"));
    let ipam = Ipam::giving(given());
    let error = call(&agent, "ADD").run(Box::new(ipam.clone())).unwrap_err();
    assert_eq!(error["code"], 101);
    assert_eq!(ipam.commands(), ["ADD", "DEL"]);
}

#[test]
fn what_cannot_be_used_goes_back_and_the_agent_is_not_asked() {
    for (bad, code) in [
        (json!({"cniVersion": "1.1.0"}), 7),
        (json!({"cniVersion": "1.1.0", "ips": [{"address": "10.8.0.2/24"}]}), 7),
        (
            json!({
                "cniVersion": "1.1.0",
                "ips": [{"address": "10.9.0.2/24", "gateway": "10.9.0.1"}],
                "routes": [{"dst": "172.16.0.0/12", "gw": "10.9.0.9"}],
            }),
            2,
        ),
    ] {
        let agent = Played::answering(|_| ok(attachment(&["10.9.0.2/24"])));
        let ipam = Ipam::giving(bad.clone());
        let mut call = call(&agent, "ADD");
        call.conf["subnet"] = json!("10.9.0.0/24");
        let error = call.run(Box::new(ipam.clone())).unwrap_err();
        assert_eq!(error["code"], code, "{bad}: {error}");
        assert_eq!(ipam.commands(), ["ADD", "DEL"]);
        assert!(agent.requests().is_empty());
    }
}

#[test]
fn the_other_plugins_error_is_the_error_and_nothing_is_undone() {
    let agent = Played::answering(|_| ok(attachment(&["10.9.0.2/24"])));
    let ipam = Ipam::failing(11);
    let error = call(&agent, "ADD").run(Box::new(ipam.clone())).unwrap_err();
    assert_eq!((&error["code"], &error["msg"]), (&json!(11), &json!("none left")));
    assert_eq!(ipam.commands(), ["ADD"]);
    assert!(agent.requests().is_empty());
}

#[test]
fn every_other_command_reaches_the_other_plugin_too() {
    let ready = json!({"ready": true, "limited_connectivity": false, "removed": []});
    let agent = Played::answering(move |_| ok(ready.clone()));
    let ipam = Ipam::giving(given());
    for command in ["DEL", "STATUS", "GC"] {
        let mut call = call(&agent, command);
        call.conf["cni.dev/valid-attachments"] = json!([]);
        call.run(Box::new(ipam.clone())).unwrap();
    }
    assert_eq!(ipam.commands(), ["DEL", "STATUS", "GC"]);
    // The agent's failure keeps nobody from collecting.
    let broken = Played::answering(|_| no(500, "internal"));
    let mut call = call(&broken, "GC");
    call.conf["cni.dev/valid-attachments"] = json!([]);
    let error = call.run(Box::new(ipam.clone())).unwrap_err();
    assert_eq!(error["code"], 999);
    assert_eq!(ipam.commands().last().map(String::as_str), Some("GC"));
    assert_eq!(ipam.commands().len(), 4);
}

#[test]
fn addresses_of_ours_are_not_asked_for_beside_another_plugin() {
    let agent = Played::answering(|_| ok(attachment(&["10.9.0.2/24"])));
    let mut call = call(&agent, "ADD");
    call.conf["ips"] = json!("10.9.0.7");
    let ipam = Ipam::giving(given());
    assert_eq!(call.run(Box::new(ipam.clone())).unwrap_err()["code"], 2);
    assert!(ipam.commands().is_empty());
}
