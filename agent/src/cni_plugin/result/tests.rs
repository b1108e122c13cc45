use serde_json::json;

use super::*;

fn own() -> Map<String, Value> {
    json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "weft0"}, {"name": "eth1", "sandbox": "/n"}],
        "ips": [{"address": "10.9.0.2/24", "interface": 1}],
        "routes": [{"dst": "0.0.0.0/0"}],
    })
    .as_object()
    .cloned()
    .unwrap()
}

fn joined(before: &Value) -> Value {
    Value::Object(join(before.as_object().cloned().unwrap(), own(), "1.0.0"))
}

#[test]
fn what_plugins_before_made_stays_with_all_it_says() {
    let before = json!({
        "cniVersion": "1.0.0", "example.net/more": {"a": [1]},
        "interfaces": [{"name": "eth0", "sandbox": "/n", "pciID": "1", "unknown": true}],
        "ips": [{"address": "192.0.2.1/24", "interface": 0, "unknown": 2}],
        "dns": {"nameservers": ["192.0.2.53"]},
    });
    let joined = joined(&before);
    assert_eq!(joined["example.net/more"], before["example.net/more"]);
    assert_eq!(joined["interfaces"][0], before["interfaces"][0]);
    assert_eq!(joined["ips"][0], before["ips"][0]);
    assert_eq!(joined["dns"], before["dns"]);
    assert_eq!(joined["routes"], json!([{"dst": "0.0.0.0/0"}]));
    // Ours come after, with the interfaces they are of.
    assert_eq!(joined["interfaces"][2]["name"], "eth1");
    assert_eq!(joined["ips"][1]["interface"], 2);
}

#[test]
fn a_result_that_says_nothing_is_joined_as_well() {
    for before in [json!({}), json!({"interfaces": null, "ips": []})] {
        let joined = joined(&before);
        assert_eq!(joined["interfaces"].as_array().map(Vec::len), Some(2));
        assert_eq!(joined["ips"][0]["interface"], 1);
        assert_eq!(joined["cniVersion"], "1.0.0");
    }
}

#[test]
fn name_resolution_of_ours_counts_where_there_is_any() {
    let mut ours = own();
    ours.insert("dns".to_owned(), json!({"nameservers": ["10.9.0.53"]}));
    let before = json!({"dns": {"nameservers": ["192.0.2.53"]}}).as_object().cloned().unwrap();
    assert_eq!(join(before, ours, "1.0.0")["dns"]["nameservers"], json!(["10.9.0.53"]));
}

#[test]
fn a_result_of_another_version_than_the_configuration_is_refused() {
    let conf = |text: &str| NetConf::decode(text.as_bytes()).unwrap();
    let good = conf(r#"{"cniVersion":"1.0.0","prevResult":{"cniVersion":"1.0.0"}}"#);
    assert!(previous(&good).unwrap().0.is_some());
    let bad = conf(r#"{"cniVersion":"1.0.0","prevResult":{"cniVersion":"0.4.0"}}"#);
    assert_eq!(previous(&bad).unwrap_err().code, Code::DECODING_FAILURE);
    assert!(previous(&conf("{}")).unwrap().0.is_none());
}
