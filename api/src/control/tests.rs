use super::*;

#[test]
fn a_value_that_is_text_travels_as_text_and_any_other_as_hex() {
    for bytes in [&b"10.0.0.1"[..], b"", &[0xff, 0x00, 0x7f]] {
        let value = TableValue::from_bytes(bytes);
        let json = serde_json::to_string(&value).unwrap();
        let back: TableValue = serde_json::from_str(&json).unwrap();
        assert_eq!(back.to_bytes().unwrap(), bytes, "{json}");
    }
    assert_eq!(TableValue::from_bytes(&[0xff, 1]), TableValue::Hex("ff01".to_owned()));
}

#[test]
fn half_bytes_and_strange_digits_are_refused() {
    for hex in ["f", "fg", "+1", "éé", "0x00"] {
        assert!(TableValue::Hex(hex.to_owned()).to_bytes().is_err(), "{hex}");
    }
}

#[test]
fn a_secret_travels_but_does_not_print() {
    let request = JoinRequest {
        token: Secret::new("weft1-abc".to_owned()),
        seeds: vec!["192.0.2.1:7950".parse().unwrap()],
    };
    assert!(!format!("{request:?}").contains("abc"));
    assert!(serde_json::to_string(&request).unwrap().contains("weft1-abc"));
}

#[test]
fn an_unknown_field_of_a_request_is_refused() {
    assert!(serde_json::from_str::<NetworkCreate>(r#"{"name":"a","subnet":[]}"#).is_err());
    assert!(serde_json::from_str::<DetachRequest>(r#"{"endpoint":"a","force":true}"#).is_err());
}

#[test]
fn a_network_needs_no_more_than_a_name() {
    let request: NetworkCreate = serde_json::from_str(r#"{"name":"blue"}"#).unwrap();
    assert_eq!(request, NetworkCreate::named("blue"));
}

#[test]
fn each_error_kind_has_a_status_of_its_own() {
    let mut codes: Vec<u16> = ErrorKind::ALL.iter().map(|kind| kind.status()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), ErrorKind::ALL.len());
    assert!(codes.iter().all(|code| (400..600).contains(code)));
}

#[test]
fn a_filter_asks_for_name_and_prefix_together() {
    let both = ListFilter { name: Some("web".to_owned()), partial_id: Some("ab".to_owned()) };
    assert!(both.matches("abcd", "web"));
    assert!(!both.matches("abcd", "db"));
    assert!(!both.matches("cdef", "web"));
    assert!(ListFilter::default().matches("abcd", "web"));
}

#[test]
fn a_watch_line_tells_events_and_errors_apart() {
    let error = WatchLine::Error(ControlError::unavailable("the watcher fell behind"));
    let json = serde_json::to_string(&error).unwrap();
    assert_eq!(serde_json::from_str::<WatchLine>(&json).unwrap(), error);
}

#[test]
fn the_worst_check_is_the_reports_status() {
    let mut report = DoctorReport::default();
    assert_eq!(report.worst(), CheckStatus::Ok);
    report.checks.push(Check::warn("mtu", "1400", "raise it"));
    report.checks.push(Check::ok("clock", "monotonic"));
    assert_eq!(report.worst(), CheckStatus::Warn);
}
