//! The test plugin itself, for the other tests rest on it; and the frame as a real process.

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::bench::Bench;

fn run(bench: &Bench, command: &str, args: &str, conf: &Value) -> Output {
    let stdin = bench.path("stdin");
    fs::write(&stdin, conf.to_string()).expect("writable");
    Command::new(bench.bin().join("noop"))
        .env_clear()
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", "some-container-id")
        .env("CNI_NETNS", "/some/netns/path")
        .env("CNI_IFNAME", "some-eth0")
        .env("CNI_PATH", "/some/bin/path")
        .env("CNI_ARGS", args)
        .stdin(fs::File::open(stdin).expect("readable"))
        .output()
        .expect("runnable")
}

fn conf(version: &str) -> Value {
    json!({"name": "noop-test", "cniVersion": version, "some": "stdin-json"})
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn reports_the_result_it_is_told_for_every_command() {
    let bench = Bench::new();
    for command in ["ADD", "DEL", "CHECK"] {
        let debug =
            bench.debug("d", &json!({"ReportResult": r#"{"ip":"x"}"#, "ReportStderr": "e"}));
        let output = run(&bench, command, &format!("FOO=BAR;DEBUG={debug}"), &conf("0.4.0"));
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(text(&output.stderr), "e");
        let expected = if command == "ADD" { r#"{"ip":"x"}"# } else { "" };
        assert_eq!(text(&output.stdout), expected);
        assert_eq!(bench.seen("d")["Command"], command);
        assert_eq!(bench.stdin("d")["some"], "stdin-json");
    }
}

#[test]
fn passes_a_previous_result_on_in_the_version_of_the_configuration() {
    let bench = Bench::new();
    for version in ["0.3.1", "0.4.0"] {
        let debug = bench.debug("d", &json!({"ReportResult": "PASSTHROUGH"}));
        let mut conf = conf(version);
        conf["debugFile"] = debug.into();
        conf["prevResult"] = json!({"ips": [{"version": "4", "address": "10.1.2.15/24"}]});
        let output = run(&bench, "ADD", "", &conf);
        let expected = json!({
            "cniVersion": version, "ips": [{"version": "4", "address": "10.1.2.15/24"}], "dns": {}
        });
        assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), expected);
    }
}

#[test]
fn injects_a_name_server() {
    let bench = Bench::new();
    let debug = bench.debug("d", &json!({"ReportResult": "INJECT-DNS"}));
    let mut conf = conf("0.4.0");
    conf["prevResult"] = json!({"ips": [{"version": "4", "address": "10.1.2.15/24"}]});
    let output = run(&bench, "ADD", &format!("DEBUG={debug}"), &conf);
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["dns"], json!({"nameservers": ["1.2.3.4"]}));
    assert_eq!(printed["cniVersion"], "0.4.0");
}

#[test]
fn without_a_debug_file_it_says_so_and_a_missing_one_is_an_error() {
    let bench = Bench::new();
    let output = run(&bench, "ADD", "", &conf("1.0.0"));
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("{}", Some(0)));
    assert!(text(&output.stderr).contains("no debug behavior"));
    let output = run(&bench, "ADD", "DEBUG=/not/there", &conf("1.0.0"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn exits_with_the_code_or_the_error_it_is_told() {
    let bench = Bench::new();
    let debug = bench.debug("d", &json!({"ExitWithCode": 3}));
    let output = run(&bench, "ADD", &format!("DEBUG={debug}"), &conf("1.0.0"));
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("", Some(3)));
    let debug = bench.debug("d", &json!({"ReportError": "banana"}));
    let output = run(&bench, "DEL", &format!("DEBUG={debug}"), &conf("1.0.0"));
    assert_eq!(output.status.code(), Some(1));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, json!({"cniVersion": "1.0.0", "code": 999, "msg": "banana"}));
}

#[test]
fn claims_the_versions_it_is_told() {
    let bench = Bench::new();
    let debug = bench.debug("d", &json!({"ReportVersionSupport": ["0.-42.0", "0.1.0"]}));
    let output = run(&bench, "VERSION", &format!("DEBUG={debug}"), &conf("1.0.0"));
    let expected = "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.-42.0\",\"0.1.0\"]}\n";
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn says_what_it_is_when_run_by_hand() {
    let bench = Bench::new();
    let output = run(&bench, "", "", &conf("1.0.0"));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    assert!(text(&output.stderr).starts_with("CNI noop plugin for tests\n"));
}
