//! `weft pod` with plugins that note what they are asked: what they are told, what people are
//! told, and what goes to which stream. Needs neither an agent nor root.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use cni::invoke::Call;
use cni::invoke::blocking::Exec;
use cni::libcni::blocking::{Cni, CniConfig};
use cni::libcni::{RuntimeConf, conf_list_from_bytes};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A plugin that notes each call beside its file. It fails where `FILE.COMMAND` says with what.
const NOTING: &str = r#"#!/bin/sh
stdin=$(cat)
printf '%s\n' "$CNI_COMMAND|$CNI_CONTAINERID|$CNI_NETNS|$CNI_IFNAME|$CNI_ARGS|$stdin" >>"$0.log"
if [ -e "$0.$CNI_COMMAND" ]; then
  cat "$0.$CNI_COMMAND"
  exit 1
fi
if [ "$CNI_COMMAND" = VERSION ]; then
  echo '{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}'
fi
"#;

/// A namespace that is there for every process.
const THERE: &str = "/proc/self/ns/net";
const GONE: &str = "/nonexistent/netns/gone";

/// Answers for plugins, to have attachments in the cache without a namespace.
struct Idle;

impl Exec for Idle {
    fn exec_plugin(&self, _: Call<'_>) -> Result<Vec<u8>, cni::Error> {
        Ok(br#"{"cniVersion":"1.1.0","ips":[{"address":"10.1.2.3/24"}]}"#.to_vec())
    }

    fn find_in_path(&self, plugin: &str, _: &[PathBuf]) -> Result<PathBuf, cni::Error> {
        Ok(plugin.into())
    }
}

/// Directories of configurations, plugins and attachments.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["net.d", "bin"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let place = Self { dir };
        let plugin = place.path("bin/noting");
        std::fs::write(&plugin, NOTING).unwrap();
        std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Configures a network of one plugin.
    fn configure(&self, name: &str, version: &str, more: &Value) {
        let mut list = list(name, version);
        list.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        std::fs::write(self.path(&format!("net.d/{name}.conflist")), list.to_string()).unwrap();
    }

    /// Has an attachment in the cache.
    fn attached(&self, network: &str, id: &str, netns: &str) {
        let list = conf_list_from_bytes(list(network, "1.1.0").to_string().as_bytes()).unwrap();
        let cni = CniConfig::with_cache_dir(Vec::new(), self.path("cache"), Some(Arc::new(Idle)));
        let mut rt = RuntimeConf::new(id, netns, "eth0");
        rt.args = vec![("MADE".to_owned(), "so".to_owned())];
        cni.add_network_list(&list, &rt).unwrap();
    }

    /// Lets the plugin fail.
    fn refuse(&self, command: &str, error: &Value) {
        std::fs::write(self.path(&format!("bin/noting.{command}")), error.to_string()).unwrap();
    }

    /// What the plugin was asked since the last look: command, container, namespace, interface,
    /// arguments, standard input.
    fn asked(&self) -> Vec<Vec<String>> {
        let log = self.path("bin/noting.log");
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let _ = std::fs::remove_file(&log);
        text.lines().map(|line| line.splitn(6, '|').map(str::to_owned).collect()).collect()
    }

    fn run(&self, line: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.arg("pod").args(line).env_clear();
        command.env("NETCONFPATH", self.path("net.d")).env("CNI_PATH", self.path("bin"));
        if line[0] != "status" {
            command.arg("--cache-dir").arg(self.path("cache"));
        }
        command.envs(variables.iter().copied()).output().unwrap()
    }

    fn pod(&self, line: &str) -> Output {
        self.run(&line.split(' ').collect::<Vec<_>>(), &[])
    }

    /// Reads JSON that a command printed, and its exit code.
    fn json(&self, line: &str) -> (Value, Option<i32>) {
        let output = self.pod(line);
        let value = serde_json::from_slice(&output.stdout);
        (value.unwrap_or_else(|error| panic!("{line}: {error}: {output:?}")), output.status.code())
    }

    /// Checks that a command fails in the house's form, and returns the two lines.
    fn fails(&self, line: &str, code: i32, words: &str) -> String {
        let output = self.pod(line);
        let text = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {text}");
        assert!(output.stdout.is_empty(), "{line}");
        assert!(text.contains(words), "{line}: {text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{line}: {text}");
        assert!(lines[0].starts_with("weft: ") && lines[1].starts_with("hint: "), "{text}");
        text
    }
}

fn list(name: &str, version: &str) -> Value {
    let plugin = json!({"type": "noting", "capabilities": {"mac": true}});
    json!({"cniVersion": version, "name": name, "plugins": [plugin]})
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn status_is_what_the_plugins_answer_now() {
    let place = Place::new();
    place.configure("blue", "1.1.0", &json!({}));
    let output = place.pod("status blue");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).lines().any(|line| line == "status   ready"), "{output:?}");
    assert_eq!(place.asked()[0][0], "STATUS");
    let (ready, code) = place.json("status blue --json");
    let expected = json!({
        "network": "blue", "cni_version": "1.1.0", "plugins": ["noting"], "asked": true, "ok": true,
    });
    assert_eq!((ready, code), (expected, Some(0)));

    place.refuse("STATUS", &json!({"code": 50, "msg": "no key yet", "details": "asked twice"}));
    let told = place.fails("status blue", 1, "`blue`: no key yet; asked twice (code 50)");
    assert!(told.contains("hint: code 50: the network takes no namespaces now"), "{told}");
    let (refused, code) = place.json("status blue --json");
    let error = json!({"code": 50, "msg": "no key yet", "details": "asked twice"});
    assert_eq!((&refused["ok"], &refused["error"], code), (&json!(false), &error, Some(1)));
}

#[test]
fn status_of_an_older_network_is_that_its_plugins_are_there() {
    let place = Place::new();
    place.configure("old", "1.0.0", &json!({}));
    let output = place.pod("status old");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("STATUS came with 1.1.0, none was asked"));
    let commands: Vec<String> = place.asked().iter().map(|call| call[0].clone()).collect();
    assert_eq!(commands, ["VERSION"]);
    place.configure("older", "0.4.0", &json!({}));
    place.fails("status older", 1, "plugin noting does not support config version \"0.4.0\"");
    place.configure("absent", "1.0.0", &json!({"plugins": [{"type": "absent"}]}));
    let told = place.fails("status absent", 1, "failed to find plugin \"absent\"");
    assert!(told.contains("--bin-dir"), "{told}");
}

#[test]
fn an_attachment_without_configuration_and_namespace_is_listed_and_deleted() {
    let place = Place::new();
    place.attached("blue", "web", GONE);
    let listed = json!([{
        "network": "blue", "container_id": "web", "ifname": "eth0", "netns": GONE,
        "addresses": ["10.1.2.3/24"], "namespace": "gone", "configured": false,
    }]);
    assert_eq!(place.json("ls --json"), (listed, Some(0)));
    let table = text(&place.pod("ls").stdout);
    let row = table.lines().last().unwrap();
    for word in ["blue", "web", "eth0", "10.1.2.3/24", GONE, "namespace gone, not configured"] {
        assert!(row.contains(word), "{word}: {table}");
    }
    assert_eq!(place.json("ls green --json").0, json!([]));
    assert_eq!(place.json("ls --container-id db --json").0, json!([]));

    let output = place.pod(&format!("del blue --netns {GONE}"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stdout.is_empty());
    assert_eq!(text(&output.stderr), "`eth0` of `web` is off `blue`\n");
    let asked = place.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    // The namespace is gone, so plugins are not sent there.
    assert_eq!(asked[0][..5], ["DEL", "web", "", "eth0", "MADE=so"]);
    let told: Value = serde_json::from_str(&asked[0][5]).unwrap();
    assert_eq!(told["prevResult"]["ips"][0]["address"], "10.1.2.3/24");
    assert_eq!(place.json("ls --json").0, json!([]));
    place.fails("del blue --container-id web", 1, "network `blue` is not configured");
}

#[test]
fn what_is_not_remembered_is_deleted_by_what_is_configured() {
    let place = Place::new();
    place.configure("blue", "1.1.0", &json!({}));
    let output = place.pod("del blue --netns web --container-id web-1");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stderr).contains("was not known to be on `blue`"), "{output:?}");
    assert_eq!(place.asked()[0][..3], ["DEL", "web-1", ""]);
}

#[test]
fn flags_count_over_the_environment_that_cnitool_reads() {
    let place = Place::new();
    place.configure("blue", "1.1.0", &json!({}));
    let variables = [
        ("CNI_ARGS", "A=1;B=2"),
        ("CAP_ARGS", r#"{"mac":"02:00:00:00:00:01","ips":["10.1.2.9/24"]}"#),
        ("CNI_IFNAME", "net1"),
    ];
    let line = ["del", "blue", "--container-id", "web"];
    assert_eq!(place.run(&line, &variables).status.code(), Some(0));
    let call = place.asked().remove(0);
    assert_eq!(call[..5], ["DEL", "web", "", "net1", "A=1;B=2"]);
    let told: Value = serde_json::from_str(&call[5]).unwrap();
    // The plugin has no capability `ips`.
    assert_eq!(told["runtimeConfig"], json!({"mac": "02:00:00:00:00:01"}));

    let flags = ["--args", "C=3", "--ifname", "net2", "--cap", "mac=\"x\""];
    let output = place.run(&[&line[..], &flags].concat(), &variables);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let call = place.asked().remove(0);
    assert_eq!(call[3..5], ["net2", "C=3"]);
    assert_eq!(serde_json::from_str::<Value>(&call[5]).unwrap()["runtimeConfig"]["mac"], "x");
    let empty = [("CNI_ARGS", ""), ("CAP_ARGS", "")];
    assert_eq!(place.run(&line, &empty).status.code(), Some(0));
}

#[test]
fn check_is_what_the_plugins_find() {
    let place = Place::new();
    place.attached("blue", "web", THERE);
    let output = place.pod("check blue --container-id web");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stderr), "`eth0` of `web` is as `blue` made it\n");
    assert_eq!(place.asked()[0][..3], ["CHECK", "web", THERE]);

    place.refuse("CHECK", &json!({"code": 104, "msg": "eth0 is down"}));
    place.fails("check blue --container-id web", 1, "eth0 is down (code 104)");
    let (answer, code) = place.json("check blue --container-id web --json");
    let expected = json!({
        "network": "blue", "cni_version": "1.1.0", "container_id": "web", "ifname": "eth0",
        "netns": THERE, "plugins": ["noting"], "asked": true, "ok": false,
        "error": {"code": 104, "msg": "eth0 is down"},
    });
    assert_eq!((answer, code), (expected, Some(1)));

    place.configure("blue", "1.1.0", &json!({"disableCheck": true}));
    place.asked();
    let conf = place.path("net.d/blue.conflist").display().to_string();
    let output = place.pod(&format!("check --conf {conf} --container-id web"));
    assert!(text(&output.stderr).contains("no plugin was asked"), "{output:?}");
    assert!(place.asked().is_empty());
    place.fails("check blue --container-id db", 1, "`eth0` of `db` is not known");
}

#[test]
fn gc_spares_what_has_a_namespace_and_what_is_of_other_networks() {
    let place = Place::new();
    place.configure("blue", "1.1.0", &json!({}));
    for (network, id, netns) in
        [("blue", "web", THERE), ("blue", "db", GONE), ("green", "old", GONE), ("blue", "x", "")]
    {
        place.attached(network, id, netns);
    }
    let ids = |all: &Value| -> Vec<String> {
        let all = all.as_array().unwrap();
        all.iter().map(|one| one["container_id"].as_str().unwrap().to_owned()).collect()
    };
    let (would, code) = place.json("gc blue --dry-run --json");
    assert_eq!(code, Some(0));
    assert_eq!((&would["network"], &would["dry_run"]), (&json!("blue"), &json!(true)));
    assert_eq!(
        (ids(&would["removed"]), ids(&would["kept"])),
        (vec!["db".into()], vec!["web".to_owned(), "x".to_owned()])
    );
    assert!(place.asked().is_empty());
    assert_eq!(ids(&place.json("ls --json").0).len(), 4);

    let output = place.pod("gc blue");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("db"), "{output:?}");
    assert_eq!(text(&output.stderr), "`blue`: 1 removed, 2 in use\n");
    let asked = place.asked();
    assert_eq!(asked[0][..4], ["DEL", "db", "", "eth0"]);
    assert_eq!((asked.len(), asked[1][0].as_str()), (2, "GC"));
    let told: Value = serde_json::from_str(&asked[1][5]).unwrap();
    let valid = json!([
        {"containerID": "web", "ifname": "eth0"}, {"containerID": "x", "ifname": "eth0"},
    ]);
    assert_eq!(told["cni.dev/valid-attachments"], valid);
    assert_eq!(ids(&place.json("ls --json").0), ["web", "x", "old"]);

    // A network that is configured no longer is collected by what was attached to it.
    let output = place.pod("gc green");
    assert_eq!(text(&output.stderr), "`green`: 1 removed, 0 in use\n", "{output:?}");
    assert_eq!(place.asked()[0][..2], ["DEL", "old"]);
    place.fails("gc green", 1, "network `green` is not configured");
}

#[test]
fn what_gc_cannot_detach_stays_and_is_told() {
    let place = Place::new();
    place.configure("blue", "1.1.0", &json!({}));
    place.attached("blue", "db", GONE);
    place.refuse("DEL", &json!({"code": 11, "msg": "busy"}));
    let output = place.pod("gc blue --json");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["removed"], json!([]));
    assert!(text(&output.stderr).contains("`db`: ") && text(&output.stderr).contains("(code 11)"));
    let asked = place.asked();
    assert_eq!(asked.iter().filter(|call| call[0] == "DEL").count(), 1);
    // Plugins keep what they know of it for the next try.
    assert!(asked.last().unwrap()[5].contains(r#"{"containerID":"db","ifname":"eth0"}"#));
    assert_eq!(place.json("ls --json").0.as_array().unwrap().len(), 1);
}

#[test]
fn gc_refuses_a_cache_that_does_not_tell_all() {
    let place = Place::new();
    place.configure("blue", "1.1.0", &json!({}));
    place.fails("gc blue", 1, "cannot be read");
    place.attached("blue", "db", GONE);
    std::fs::write(place.path("cache/results/blue-web-eth0"), "").unwrap();
    place.fails("gc blue", 1, "results/blue-web-eth0` cannot be read");
    place.configure("green", "1.1.0", &json!({"disableGC": true}));
    place.fails("gc green", 1, "network `green` says `disableGC`");
    assert!(place.asked().is_empty());
}

#[test]
fn what_cannot_be_is_refused_before_any_plugin_runs() {
    let place = Place::new();
    place.fails("add blue --netns web", 1, "network `blue` is not configured in");
    place.configure("green", "1.1.0", &json!({}));
    let told = place.fails("add blue --netns web", 1, "`blue` is not configured");
    assert!(told.contains("hint: it has `green`"), "{told}");
    std::fs::write(place.path("net.d/bad.conflist"), "{\"name\": \"bad\"").unwrap();
    let told = place.fails("add bad --netns web", 1, "`bad` is not configured");
    assert!(told.contains("bad.conflist` cannot be used: "), "{told}");
    // One file that is malformed does not hide the others.
    place.fails("add green --netns /nonexistent", 1, "`/nonexistent` does not exist");
    place.fails("add green --netns /proc/version", 1, "`/proc/version` is not a network namespace");
    place.fails(&format!("add green --netns {THERE}"), 1, "is the host's own network");
    place.fails("add green --container-id web", 2, "no namespace is given");
    place.fails("add --conf /nonexistent --netns web", 2, "`/nonexistent` cannot be used");
    let bad = place.path("net.d/bad.conflist").display().to_string();
    place.fails(&format!("add --conf {bad} --netns web"), 2, "bad.conflist` cannot be used");
    place.attached("green", "web", THERE);
    place.fails(&format!("add green --netns {THERE}"), 1, "has `eth0` of `web` attached already");
    assert!(place.asked().is_empty());
}
