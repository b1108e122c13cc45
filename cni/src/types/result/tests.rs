use serde_json::json;

use super::*;

fn result(value: &Value) -> CniResult {
    CniResult::from_slice(value.to_string().as_bytes()).expect("a result")
}

fn as_version(value: &Value, version: &str) -> Value {
    let converted = result(value).to_version(version).expect("convertible");
    serde_json::to_value(converted).expect("plain data")
}

fn v110() -> Value {
    json!({
        "cniVersion": "1.1.0",
        "interfaces": [{
            "name": "eth0", "mac": "00:11:22:33:44:55", "mtu": 1500,
            "sandbox": "/proc/3553/ns/net", "pciID": "8086:9a01", "socketPath": "/path/to/vhost/fd"
        }],
        "ips": [
            {"interface": 0, "address": "1.2.3.30/24", "gateway": "1.2.3.1"},
            {"interface": 0, "address": "abcd:1234:ffff::cdde/64", "gateway": "abcd:1234:ffff::1"}
        ],
        "routes": [
            {"dst": "15.5.6.0/24", "gw": "15.5.6.8"},
            {
                "dst": "1111:dddd::/80", "gw": "1111:dddd::aaaa",
                "mtu": 1400, "table": 50, "scope": 253
            }
        ],
        "dns": {
            "nameservers": ["1.2.3.4", "1::cafe"], "domain": "acompany.com",
            "search": ["somedomain.com"], "options": ["foo"]
        }
    })
}

fn v020() -> Value {
    json!({
        "cniVersion": "0.2.0",
        "ip4": {
            "ip": "1.2.3.30/24", "gateway": "1.2.3.1",
            "routes": [{"dst": "15.5.6.0/24", "gw": "15.5.6.8"}]
        },
        "ip6": {
            "ip": "abcd:1234:ffff::cdde/64", "gateway": "abcd:1234:ffff::1",
            "routes": [{"dst": "1111:dddd::/80", "gw": "1111:dddd::aaaa"}]
        },
        "dns": v110()["dns"]
    })
}

fn with_version(mut value: Value, version: &str) -> Value {
    value["cniVersion"] = version.into();
    value
}

#[test]
fn results_of_every_version_survive_json_both_ways() {
    for version in ["1.0.0", "1.1.0"] {
        let value = with_version(v110(), version);
        assert_eq!(as_version(&value, version), value);
    }
    for version in ["0.1.0", "0.2.0"] {
        let value = with_version(v020(), version);
        assert_eq!(as_version(&value, version), value);
    }
    for version in ["0.3.0", "0.3.1", "0.4.0"] {
        let value = as_version(&v110(), version);
        assert_eq!(as_version(&value, version), value);
    }
}

#[test]
fn versions_1_0_and_1_1_differ_in_label_only() {
    assert_eq!(as_version(&v110(), "1.0.0"), with_version(v110(), "1.0.0"));
    assert_eq!(as_version(&with_version(v110(), "1.0.0"), "1.1.0"), v110());
}

#[test]
fn versions_0_1_and_0_2_differ_in_label_only() {
    assert_eq!(as_version(&v020(), "0.1.0"), with_version(v020(), "0.1.0"));
    assert_eq!(as_version(&with_version(v020(), "0.1.0"), "0.2.0"), v020());
    // The empty version is the first.
    assert_eq!(as_version(&v020(), ""), with_version(v020(), "0.1.0"));
}

#[test]
fn down_to_0_4_interfaces_lose_and_addresses_gain() {
    let old = as_version(&v110(), "0.4.0");
    assert_eq!(
        old["interfaces"],
        json!([{"name": "eth0", "mac": "00:11:22:33:44:55", "sandbox": "/proc/3553/ns/net"}])
    );
    assert_eq!(old["ips"][0]["version"], "4");
    assert_eq!(old["ips"][1]["version"], "6");
    // Routes keep what is new, as the reference has it.
    assert_eq!(old["routes"], v110()["routes"]);
}

#[test]
fn down_to_0_2_the_first_address_of_each_family_and_its_routes_stay() {
    let mut many = v110();
    many["ips"] = json!([
        {"address": "1.2.3.30/24", "gateway": "1.2.3.1"},
        {"address": "1.2.3.31/24"},
        {"address": "abcd:1234:ffff::cdde/64", "gateway": "abcd:1234:ffff::1"}
    ]);
    assert_eq!(as_version(&many, "0.2.0"), v020());
    assert_eq!(as_version(&many, "0.1.0"), with_version(v020(), "0.1.0"));
    assert_eq!(as_version(&as_version(&many, "0.3.1"), "0.2.0"), v020());
}

#[test]
fn routes_of_a_family_without_address_are_dropped() {
    let only_v6 = json!({
        "cniVersion": "1.0.0",
        "ips": [{"address": "fd00::1/64"}],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    });
    let old = as_version(&only_v6, "0.2.0");
    assert_eq!(
        old,
        json!({
            "cniVersion": "0.2.0", "ip6": {"ip": "fd00::1/64", "routes": [{"dst": "::/0"}]}, "dns": {}
        })
    );
}

#[test]
fn round_trip_over_newer_versions_keeps_0_2_routes_with_and_without_gateway() {
    let mut bare = v020();
    bare["ip4"]["routes"] = json!([{"dst": "15.5.6.0/24"}]);
    bare["ip6"]["routes"] = json!([{"dst": "1111:dddd::/80"}]);
    for value in [v020(), bare] {
        for between in ["0.3.0", "0.4.0", "1.0.0", "1.1.0"] {
            assert_eq!(as_version(&as_version(&value, between), "0.2.0"), value, "{between}");
        }
    }
}

#[test]
fn result_without_addresses_cannot_become_0_2() {
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let empty = result(&json!({"cniVersion": version}));
        let error = empty.to_version("0.2.0").unwrap_err();
        assert_eq!(error.to_string(), "cannot convert: no valid IP addresses");
    }
}

#[test]
fn interface_index_zero_is_kept_and_a_missing_one_stays_missing() {
    for version in ["0.4.0", "1.0.0"] {
        let family = if version == "0.4.0" { json!({"version": "4"}) } else { json!({}) };
        let mut ip = family;
        ip["address"] = "10.1.2.3/24".into();
        for index in [None, Some(0)] {
            if let Some(index) = index {
                ip["interface"] = index.into();
            }
            let value = json!({"cniVersion": version, "ips": [ip.clone()]});
            assert_eq!(as_version(&value, version)["ips"], value["ips"]);
        }
    }
}

#[test]
fn empty_dns_is_written_before_1_0_only() {
    for (version, written) in [("0.1.0", true), ("0.4.0", true), ("1.0.0", false)] {
        let value = as_version(&json!({"cniVersion": version}), version);
        assert_eq!(value.get("dns").is_some(), written, "{version}");
    }
}

#[test]
fn missing_version_means_the_first() {
    let result = CniResult::from_slice(br#"{"ip4":{"ip":"1.2.3.4/24"}}"#).unwrap();
    assert_eq!(result.version(), "0.1.0");
    assert!(matches!(result, CniResult::V020(_)));
}

#[test]
fn unstated_version_of_a_built_result_is_the_newest_of_its_shape() {
    let built = CniResult::V100(v100::Result::default());
    assert_eq!(built.to_version("1.1.0").unwrap().version(), "1.1.0");
    assert_eq!(built.to_version("0.4.0").unwrap().version(), "0.4.0");
}

#[test]
fn unknown_versions_are_refused_both_ways() {
    let error = CniResult::from_slice(br#"{"cniVersion":"0.4567.0"}"#).unwrap_err();
    assert_eq!(error.to_string(), r#"unsupported CNI result version "0.4567.0""#);
    let error = result(&v110()).to_version("9.0.0").unwrap_err();
    assert_eq!(error.to_string(), "no converter for CNI result version 1.1.0 to 9.0.0");
}

#[test]
fn result_of_another_shape_than_asked_is_refused() {
    let error = CniResult::decode("1.0.0", v020()).unwrap_err();
    assert!(matches!(error, Error::ResultFamily { .. }), "{error}");
}

#[test]
fn malformed_results_are_errors() {
    for text in [
        "",
        "{",
        "[]",
        "5",
        r#"{"cniVersion":5}"#,
        r#"{"cniVersion":"1.0.0","ips":{}}"#,
        r#"{"cniVersion":"1.0.0","ips":[{"address":"1.2.3.4"}]}"#,
        r#"{"cniVersion":"0.4.0","ips":[{"version":"5","address":"1.2.3.4/8"}]}"#,
        r#"{"cniVersion":"0.4.0","ips":[{"version":"4","address":"1.2.3.4/8","interface":-1}]}"#,
        r#"{"cniVersion":"0.2.0","ip4":{"ip":1}}"#,
    ] {
        assert!(CniResult::from_slice(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn members_of_any_case_and_null_members_are_taken() {
    let text = br#"{"CNIVersion":"1.0.0","IPs":[{"Address":"1.2.3.4/24"}],"routes":null}"#;
    let CniResult::V100(result) = CniResult::from_slice(text).unwrap() else { panic!("shape") };
    assert_eq!(result.ips.len(), 1);
}

#[test]
fn plugin_output_without_version_is_of_the_configuration_version() {
    for text in ["{}", r#"{"cniVersion":""}"#, "null"] {
        for (conf, version) in [("0.3.1", "0.3.1"), ("1.0.0", "1.0.0"), ("", "0.1.0")] {
            let result = CniResult::from_plugin(conf, text.as_bytes()).unwrap();
            assert_eq!(result.version(), version, "{text}");
        }
    }
    assert_eq!(
        CniResult::from_plugin("1.0.0", br#"{"cniVersion":"0.2.0"}"#).unwrap().version(),
        "0.2.0"
    );
}

#[test]
fn printed_result_is_indented_by_four() {
    let mut out = Vec::new();
    result(&json!({"cniVersion": "1.0.0"})).print_to(&mut out).unwrap();
    assert_eq!(out, b"{\n    \"cniVersion\": \"1.0.0\"\n}");
}
