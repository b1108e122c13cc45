use serde_json::json;

use super::*;

fn conf(value: Value) -> NetConf {
    NetConf::decode(value.to_string().as_bytes()).expect("a configuration")
}

#[test]
fn explicit_config_version_is_read() {
    assert_eq!(decode_conf_version(br#"{"cniVersion":"4.3.2"}"#).unwrap(), "4.3.2");
    assert_eq!(decode_conf_version(br#"{"CNIVERSION":"4.3.2"}"#).unwrap(), "4.3.2");
}

#[test]
fn missing_config_version_means_the_first() {
    assert_eq!(decode_conf_version(b"{}").unwrap(), "0.1.0");
    assert_eq!(decode_conf_version(br#"{"cniVersion":""}"#).unwrap(), "0.1.0");
}

#[test]
fn malformed_config_says_that_the_version_was_looked_for() {
    let error = decode_conf_version(b"{{{").unwrap_err().to_string();
    assert!(error.starts_with("decoding version from network config: "), "{error}");
}

#[test]
fn plugin_answer_is_decoded() {
    let info = PluginInfo::decode(br#"{"cniVersion":"x","supportedVersions":["1","2"]}"#).unwrap();
    assert_eq!(info.supported_versions(), ["1", "2"]);
    assert_eq!(info.cni_version(), "x");
}

#[test]
fn plugin_answer_that_is_not_json_is_refused() {
    let error = PluginInfo::decode(b"{{{").unwrap_err().to_string();
    assert!(error.starts_with("decoding version info: "), "{error}");
}

#[test]
fn plugin_answer_needs_its_version() {
    let error = PluginInfo::decode(br#"{"supportedVersions":["1"]}"#).unwrap_err();
    assert_eq!(error.to_string(), "decoding version info: missing field cniVersion");
}

#[test]
fn plugin_of_0_2_0_without_a_list_speaks_both_old_versions() {
    let info = PluginInfo::decode(br#"{"cniVersion":"0.2.0"}"#).unwrap();
    assert_eq!(info.supported_versions(), ["0.1.0", "0.2.0"]);
    let error = PluginInfo::decode(br#"{"cniVersion":"0.3.0"}"#).unwrap_err();
    assert_eq!(error.to_string(), "decoding version info: missing field supportedVersions");
}

#[test]
fn versions_parse_into_their_numbers() {
    let version = |major, minor, micro| Version { major, minor, micro };
    assert_eq!(Version::parse("1.2.3").unwrap(), version(1, 2, 3));
    assert_eq!(Version::parse("1.2").unwrap(), version(1, 2, 0));
    assert_eq!(Version::parse("1").unwrap(), version(1, 0, 0));
    assert_eq!(Version::parse("").unwrap(), version(0, 1, 0));
    assert_eq!(Version::parse("0.-42.0").unwrap(), version(0, -42, 0));
}

#[test]
fn malformed_versions_are_refused() {
    for text in ["asdfsadf", "0.asdf", "0.1.asdf", "0.1.0.9", ".", "1..", " 1"] {
        assert!(Version::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn versions_compare_number_by_number() {
    for (newer, older) in
        [("1.2.34", "1.2.14"), ("2.5.4", "2.4.4"), ("1.2.3", "0.2.3"), ("0.10.0", "0.9.0")]
    {
        assert!(greater_than_or_equal_to(newer, older).unwrap(), "{newer} {older}");
        assert!(greater_than(newer, older).unwrap(), "{newer} {older}");
        assert!(!greater_than_or_equal_to(older, newer).unwrap(), "{older} {newer}");
        assert!(!greater_than(older, newer).unwrap(), "{older} {newer}");
    }
}

#[test]
fn equal_versions_are_at_least_each_other_and_not_newer() {
    assert!(greater_than_or_equal_to("1.2.3", "1.2.3").unwrap());
    assert!(!greater_than("1.2.3", "1.2.3").unwrap());
}

#[test]
fn comparing_malformed_versions_is_an_error() {
    assert!(greater_than_or_equal_to("1.2.3", "sadfsad").is_err());
    assert!(greater_than("sadfsad", "1.2.3").is_err());
}

#[test]
fn supported_version_reconciles() {
    let plugin = PluginInfo::supports(["1.2.3", "4.3.2"]);
    assert_eq!(reconcile("4.3.2", &plugin), Ok(()));
}

#[test]
fn unsupported_version_names_both_sides() {
    let error = reconcile("0.1.0", &PluginInfo::supports(["1.2.3", "4.3.2"])).unwrap_err();
    assert_eq!(error.details(), r#"config is "0.1.0", plugin supports ["1.2.3" "4.3.2"]"#);
    assert!(error.to_string().starts_with("incompatible CNI versions: "));
}

#[test]
fn versions_from_a_first_one_run_to_the_newest() {
    let info = PluginInfo::versions_starting_from("0.3.1").unwrap();
    assert_eq!(info.supported_versions(), ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    assert!(PluginInfo::versions_starting_from("0.3.2").is_err());
    assert_eq!(PluginInfo::all().supported_versions(), ALL);
    assert_eq!(current(), "1.1.0");
}

#[test]
fn prev_result_is_decoded_as_the_configuration_version() {
    let mut conf = conf(json!({
        "cniVersion": "1.0.0", "name": "n", "type": "t",
        "prevResult": {
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "eth0", "mac": "00:11:22:33:44:55", "sandbox": "/proc/3553/ns/net"}],
            "ips": [{"interface": 0, "address": "1.2.3.30/24", "gateway": "1.2.3.1"}]
        }
    }));
    parse_prev_result(&mut conf).unwrap();
    assert!(conf.raw_prev_result.is_none());
    let Some(CniResult::V100(result)) = conf.prev_result else { panic!("not decoded") };
    assert_eq!(result.ips[0].interface, Some(0));
}

#[test]
fn prev_result_without_version_is_of_the_configuration_version() {
    let mut conf = conf(json!({"cniVersion": "0.3.1", "type": "t", "prevResult": {}}));
    parse_prev_result(&mut conf).unwrap();
    assert_eq!(conf.prev_result.map(|result| result.version().to_owned()).unwrap(), "0.3.1");
}

#[test]
fn prev_result_of_an_unknown_version_is_refused() {
    let mut conf = conf(json!({
        "cniVersion": "1.0.0", "type": "t", "prevResult": {"cniVersion": "5678.456"}
    }));
    let error = parse_prev_result(&mut conf).unwrap_err().to_string();
    assert!(error.contains("could not parse prevResult: result type supports"), "{error}");
}

#[test]
fn prev_result_of_another_version_is_refused() {
    let mut conf = conf(json!({
        "cniVersion": "1.0.0", "type": "t", "prevResult": {"cniVersion": "0.2.0"}
    }));
    let error = parse_prev_result(&mut conf).unwrap_err().to_string();
    assert!(error.contains("could not parse prevResult"), "{error}");
}

#[test]
fn absent_prev_result_is_no_error() {
    let mut conf = conf(json!({"cniVersion": "1.0.0", "type": "t"}));
    parse_prev_result(&mut conf).unwrap();
    assert!(conf.prev_result.is_none());
}
