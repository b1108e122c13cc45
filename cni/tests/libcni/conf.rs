//! Configurations of single plugins.

use std::fs;
use std::path::Path;

use cni::libcni::{
    Error, NetworkConfig, conf_files, conf_from_bytes, conf_from_file, inject_conf, load_conf,
};
use serde_json::{Value, json};
use tempfile::TempDir;

fn directory(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, content) in files {
        fs::write(dir.path().join(name), content).expect("writable");
    }
    dir
}

const SOME: &str = r#"{ "name": "some-plugin", "type": "foobar", "some-key": "some-value" }"#;

#[test]
fn configuration_of_a_network_is_found_by_its_name() {
    for name in ["50-whatever.conf", "50-whatever.json"] {
        let dir = directory(&[(name, SOME)]);
        let conf = load_conf(dir.path(), "some-plugin").unwrap();
        assert_eq!(conf.network.plugin_type, "foobar");
        assert_eq!(conf.bytes, SOME.as_bytes());
    }
}

#[test]
fn directory_that_does_not_exist_has_no_configurations() {
    let error = load_conf(Path::new("/not/a/directory"), "x").unwrap_err();
    assert!(matches!(error, Error::NoConfigsFound(_)));
    assert_eq!(error.to_string(), "no net configurations found in /not/a/directory");
    assert_eq!(conf_files(Path::new("/not/a/directory"), &[".conf"]).unwrap().len(), 0);
}

#[test]
fn network_without_configuration_is_not_found() {
    let dir = directory(&[("50-whatever.conf", SOME)]);
    let error = load_conf(dir.path(), "other").unwrap_err();
    assert!(matches!(&error, Error::NotFound(found) if found.name == "other"));
    let text = format!("no net configuration with name \"other\" in {}", dir.path().display());
    assert_eq!(error.to_string(), text);
}

#[test]
fn malformed_file_before_the_right_one_ends_the_search() {
    let dir = directory(&[("00-bad.conf", "not json"), ("50-whatever.conf", SOME)]);
    let error = load_conf(dir.path(), "some-plugin").unwrap_err().to_string();
    assert!(error.starts_with("error parsing configuration: "), "{error}");
}

#[test]
fn directories_below_are_not_searched() {
    let dir = directory(&[]);
    fs::create_dir(dir.path().join("sub.conf")).unwrap();
    fs::write(dir.path().join("sub.conf/50-whatever.conf"), SOME).unwrap();
    let error = load_conf(dir.path(), "some-plugin").unwrap_err();
    assert!(matches!(error, Error::NoConfigsFound(_)), "{error}");
}

#[test]
fn files_come_in_order_and_by_their_last_extension() {
    let dir = directory(&[("b.conf", ""), ("a.x.conf", ""), ("c.conf.bak", ""), ("conf", "")]);
    let files = conf_files(dir.path(), &[".conf"]).unwrap();
    assert_eq!(files, [dir.path().join("a.x.conf"), dir.path().join("b.conf")]);
}

#[test]
fn capabilities_are_read() {
    let conf = conf_from_bytes(
        br#"{"name":"n","type":"t","capabilities":{"portMappings":true,"somethingElse":false}}"#,
    );
    let capabilities = conf.unwrap().network.capabilities;
    assert_eq!(
        capabilities.into_iter().collect::<Vec<_>>(),
        [("portMappings".to_owned(), true), ("somethingElse".to_owned(), false)]
    );
}

#[test]
fn file_that_cannot_be_opened_is_named() {
    let error = conf_from_file(Path::new("/tmp/nope/not-here")).unwrap_err().to_string();
    assert!(error.starts_with("error reading /tmp/nope/not-here: "), "{error}");
}

#[test]
fn configuration_must_name_its_plugin() {
    let text = "error parsing configuration: missing 'type'";
    let dir = directory(&[("a.conf", r#"{"name": "some-plugin"}"#)]);
    let error = conf_from_file(&dir.path().join("a.conf")).unwrap_err();
    assert_eq!(error.to_string(), text);
    assert_eq!(conf_from_bytes(br#"{"type":""}"#).unwrap_err().to_string(), text);
}

fn original() -> NetworkConfig {
    conf_from_bytes(br#"{"name":"some-plugin","type":"t","big":9007199254740993}"#).expect("conf")
}

fn injected(members: &[(&str, Value)]) -> Value {
    let conf = inject_conf(&original(), members.iter().cloned()).expect("injectable");
    serde_json::from_slice(&conf.bytes).expect("JSON")
}

#[test]
fn injection_refuses_what_is_no_object_no_key_and_no_value() {
    let broken = NetworkConfig { bytes: b"not json".to_vec(), ..original() };
    let error = inject_conf(&broken, [("a", json!(1))]).unwrap_err().to_string();
    assert!(error.starts_with("unmarshal existing network bytes: "), "{error}");
    let error = inject_conf(&original(), [("", json!(1))]).unwrap_err();
    assert_eq!(error.to_string(), "keys cannot be empty");
    let error = inject_conf(&original(), [("test", Value::Null)]).unwrap_err();
    assert_eq!(error.to_string(), "key 'test' value must not be nil");
}

#[test]
fn injection_adds_and_replaces_and_keeps_the_rest() {
    let big = 9_007_199_254_740_993_i64;
    let expected = json!({"name": "some-plugin", "type": "t", "big": big, "test": "test"});
    assert_eq!(injected(&[("test", json!("test"))]), expected);
    assert_eq!(injected(&[("test", json!("old")), ("test", json!("test"))]), expected);
    assert_eq!(injected(&[("name", json!("changed"))])["name"], "changed");
    let dns = json!({"nameservers": ["8.8.8.8"]});
    let conf = inject_conf(&original(), [("dns", dns), ("type", json!("bridge"))]).unwrap();
    assert_eq!(conf.network.dns.nameservers, ["8.8.8.8"]);
    assert_eq!(conf.network.plugin_type, "bridge");
}
