//! Configurations of chains.

use std::fs;
use std::path::Path;

use cni::libcni::{
    Error, PluginSources, conf_from_bytes, conf_list_from_bytes, conf_list_from_conf,
    conf_list_from_file, conf_list_from_file_with, load_conf_list, load_conf_list_with,
};
use serde_json::{Value, json};
use tempfile::TempDir;

fn directory(files: &[(&str, &Value)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, content) in files {
        fs::write(dir.path().join(name), content.to_string()).expect("writable");
    }
    dir
}

fn some_list() -> Value {
    json!({
        "name": "some-list",
        "cniVersion": "0.2.0",
        "disableCheck": true,
        "plugins": [
            {"type": "host-local", "subnet": "10.0.0.1/24"},
            {"type": "bridge", "mtu": 1400},
            {"type": "port-forwarding", "ports": {"20.0.0.1:8080": "80"}}
        ]
    })
}

fn error_of(list: &Value) -> String {
    conf_list_from_bytes(list.to_string().as_bytes()).expect_err("a refusal").to_string()
}

fn version_of(members: &Value) -> Result<String, Error> {
    let mut list = json!({"name": "test", "plugins": [{"type": "foo"}]});
    for (key, value) in members.as_object().expect("an object") {
        list[key] = value.clone();
    }
    conf_list_from_bytes(list.to_string().as_bytes()).map(|list| list.cni_version)
}

#[test]
fn list_of_a_network_is_found_by_its_name() {
    let dir = directory(&[("50-whatever.conflist", &some_list())]);
    let list = load_conf_list(dir.path(), "some-list").unwrap();
    assert_eq!((list.name.as_str(), list.cni_version.as_str()), ("some-list", "0.2.0"));
    assert!(list.disable_check && !list.disable_gc);
    let types: Vec<&str> =
        list.plugins.iter().map(|conf| conf.network.plugin_type.as_str()).collect();
    assert_eq!(types, ["host-local", "bridge", "port-forwarding"]);
    let mtu: Value = serde_json::from_slice(&list.plugins[1].bytes).unwrap();
    assert_eq!(mtu, json!({"type": "bridge", "mtu": 1400}));
    assert_eq!(list.bytes, some_list().to_string().as_bytes());
}

#[test]
fn list_comes_before_a_single_configuration_of_the_same_name() {
    let single = json!({"name": "some-list", "cniVersion": "1.0.0", "type": "bridge"});
    let dir = directory(&[("49-whatever.conf", &single), ("50-whatever.conflist", &some_list())]);
    assert_eq!(load_conf_list(dir.path(), "some-list").unwrap().plugins.len(), 3);
    fs::remove_file(dir.path().join("50-whatever.conflist")).unwrap();
    let list = load_conf_list(dir.path(), "some-list").unwrap();
    assert_eq!(list.plugins[0].network.plugin_type, "bridge");
    assert_eq!(list.cni_version, "1.0.0");
}

#[test]
fn missing_directory_and_missing_network_are_told_apart() {
    let error = load_conf_list(Path::new("/not/a/directory"), "x").unwrap_err();
    assert!(matches!(error, Error::NoConfigsFound(_)), "{error}");
    let dir = directory(&[("50-whatever.conflist", &some_list())]);
    let error = load_conf_list(dir.path(), "other").unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
}

#[test]
fn malformed_list_before_the_right_one_ends_the_search() {
    let dir = directory(&[("50-whatever.conflist", &some_list())]);
    fs::write(dir.path().join("00-bad.conflist"), "{").unwrap();
    let error = load_conf_list(dir.path(), "some-list").unwrap_err().to_string();
    assert!(error.starts_with("error parsing configuration list: "), "{error}");
}

#[test]
fn directories_below_are_not_searched() {
    let dir = directory(&[]);
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/50.conflist"), some_list().to_string()).unwrap();
    let error = load_conf_list(dir.path(), "some-list").unwrap_err();
    assert!(matches!(error, Error::NoConfigsFound(_)), "{error}");
}

#[test]
fn switches_may_be_written_as_text() {
    for (value, expected) in
        [(json!("true"), true), (json!("True"), true), (json!("false"), false), (json!(true), true)]
    {
        let mut list = some_list();
        list["disableCheck"] = value.clone();
        list["disableGC"] = value.clone();
        let list = conf_list_from_bytes(list.to_string().as_bytes()).unwrap();
        assert_eq!((list.disable_check, list.disable_gc), (expected, expected), "{value}");
    }
    let mut list = some_list();
    list["disableCheck"] = "adsfasdfasf".into();
    let text = "error parsing configuration list: invalid value \"adsfasdfasf\" for disableCheck";
    assert_eq!(error_of(&list), text);
    list["disableCheck"] = 1.into();
    assert!(error_of(&list).contains("invalid type number for disableCheck"));
}

#[test]
fn file_that_cannot_be_opened_is_named() {
    let error = conf_list_from_file(Path::new("/tmp/nope/not-here")).unwrap_err().to_string();
    assert!(error.starts_with("error reading /tmp/nope/not-here: "), "{error}");
}

#[test]
fn broken_rules_are_named() {
    let cases = [
        (json!({"plugins": []}), "no name"),
        (json!({"name": 5}), "invalid name type number"),
        (json!({"name": "n", "cniVersion": []}), "invalid cniVersion type array"),
        (json!({"name": "n"}), "no 'plugins' key"),
        (json!({"name": "n", "plugins": {}}), "invalid 'plugins' type object"),
        (json!({"name": "n", "plugins": []}), "no plugins in list"),
        (
            json!({"name": "n", "plugins": [{"type": "a"}, {}]}),
            "failed to parse plugin config 1: error parsing configuration: missing 'type'",
        ),
    ];
    for (list, reason) in cases {
        assert_eq!(error_of(&list), format!("error parsing configuration list: {reason}"));
    }
}

#[test]
fn newest_offered_version_this_library_speaks_is_chosen() {
    let version = |members| version_of(&members).unwrap();
    assert_eq!(version(json!({"cniVersions": ["0.4.0", "1.1.0", "0.3.1"]})), "1.1.0");
    assert_eq!(version(json!({"cniVersions": ["0.4.0", "1.0.0", "2.0.0"]})), "1.0.0");
    assert_eq!(version(json!({"cniVersions": ["0.3.1", "0.4.0"], "cniVersion": "1.1.0"})), "1.1.0");
    assert_eq!(
        version(json!({"cniVersions": ["0.4.0", "1.1.0", "2.0.0"], "cniVersion": "0.3.1"})),
        "1.1.0"
    );
}

#[test]
fn without_a_speakable_offer_the_stated_version_stands_unchecked() {
    let version = |members| version_of(&members).unwrap();
    assert_eq!(version(json!({"cniVersion": "0.3.1"})), "0.3.1");
    assert_eq!(version(json!({"cniVersion": "nonsense"})), "nonsense");
    assert_eq!(version(json!({"cniVersions": [], "cniVersion": "0.4.0"})), "0.4.0");
    assert_eq!(version(json!({"cniVersions": ["8.0.0"], "cniVersion": "9.0.0"})), "9.0.0");
    assert_eq!(version(json!({})), "");
}

#[test]
fn offers_that_are_no_versions_are_refused() {
    for offers in [json!(["foobar", "0.4.0"]), json!([1]), json!("1.0.0"), json!(["1.2.3.4"])] {
        assert!(version_of(&json!({"cniVersions": offers})).is_err());
    }
}

#[test]
fn single_configuration_becomes_a_list_of_one() {
    let value = json!({"name": "some-plugin", "cniVersion": "0.3.1", "type": "foobar", "x": 1});
    let single = conf_from_bytes(value.to_string().as_bytes()).unwrap();
    let list = conf_list_from_conf(&single).unwrap();
    assert_eq!((list.name.as_str(), list.cni_version.as_str()), ("some-plugin", "0.3.1"));
    assert_eq!(list.plugins.len(), 1);
    assert_eq!(list.plugins[0].network, single.network);
    let bytes: Value = serde_json::from_slice(&list.bytes).unwrap();
    assert_eq!(bytes["plugins"], json!([value]));
}

#[test]
fn plugins_beside_the_list_count_only_when_asked_for() {
    let list = json!({"name": "net", "cniVersion": "1.0.0", "plugins": [{"type": "first"}]});
    let dir = directory(&[("10.conflist", &list)]);
    fs::create_dir(dir.path().join("net")).unwrap();
    fs::write(dir.path().join("net/20.conf"), r#"{"type":"third"}"#).unwrap();
    fs::write(dir.path().join("net/10.conf"), r#"{"type":"second"}"#).unwrap();
    let types = |sources| -> Vec<String> {
        let list = load_conf_list_with(dir.path(), "net", sources).unwrap();
        list.plugins.into_iter().map(|conf| conf.network.plugin_type).collect()
    };
    assert_eq!(types(PluginSources::Inlined), ["first"]);
    assert_eq!(types(PluginSources::InlinedAndDirectory), ["first", "second", "third"]);
}

#[test]
fn list_may_refuse_plugins_beside_it_and_must_then_have_some() {
    let both = PluginSources::InlinedAndDirectory;
    let list = json!({
        "name": "net", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "first"}]
    });
    let dir = directory(&[
        ("10.conflist", &list),
        ("20.conflist", &json!({"name": "none", "loadOnlyInlinedPlugins": true})),
        ("30.conflist", &json!({"name": "bare"})),
        ("40.conflist", &json!({"name": "../evil"})),
    ]);
    fs::create_dir(dir.path().join("net")).unwrap();
    fs::write(dir.path().join("net/20.conf"), r#"{"type":"third"}"#).unwrap();
    let load = |name: &str| conf_list_from_file_with(&dir.path().join(name), both);
    assert_eq!(load("10.conflist").unwrap().plugins.len(), 1);
    assert!(load("20.conflist").unwrap_err().to_string().contains("no 'plugins' key"));
    assert!(load("30.conflist").unwrap_err().to_string().contains("no plugin configs found"));
    assert!(load("40.conflist").unwrap_err().to_string().contains("no plugin configs found"));
}
