use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::error::Kind;

fn cidr(text: &str) -> IpNetwork {
    parse_cidr(text).unwrap()
}

fn valid() -> IpamData {
    IpamData {
        address_space: "giallo".into(),
        pool: Some(cidr("10.10.10.8/24")),
        gateway: Some(cidr("10.10.10.254/24")),
        aux_addresses: [
            ("ip1".to_owned(), cidr("10.10.10.1/24")),
            ("ip2".to_owned(), cidr("10.10.10.2/24")),
        ]
        .into(),
    }
}

#[test]
fn the_json_form_is_libnetworks() {
    let json = concat!(
        r#"{"AddressSpace":"giallo","Pool":"10.10.10.8/24","Gateway":"10.10.10.254/24","#,
        r#""AuxAddresses":{"ip1":"10.10.10.1/24","ip2":"10.10.10.2/24"}}"#
    );
    assert_eq!(serde_json::to_string(&valid()).unwrap(), json);
    assert_eq!(serde_json::from_str::<IpamData>(json).unwrap(), valid());
}

#[test]
fn absent_members_are_omitted_and_may_be_missing_or_null() {
    let empty = IpamData::default();
    assert_eq!(serde_json::to_string(&empty).unwrap(), r#"{"AddressSpace":""}"#);
    let null = r#"{"AddressSpace":null,"Pool":null,"Gateway":null,"AuxAddresses":null}"#;
    for json in ["{}", null] {
        assert_eq!(serde_json::from_str::<IpamData>(json).unwrap(), empty);
    }
}

#[test]
fn a_malformed_cidr_in_json_is_refused_by_name() {
    for json in [
        r#"{"Pool":"10.0.0.0"}"#,
        r#"{"Gateway":"10.0.0.0"}"#,
        r#"{"AuxAddresses":{"a":"10.0.0.0"}}"#,
    ] {
        let error = serde_json::from_str::<IpamData>(json).unwrap_err().to_string();
        assert!(error.starts_with("invalid CIDR address: 10.0.0.0"), "{error}");
    }
    assert!(serde_json::from_str::<IpamData>(r#"{"AddressSpace":7}"#).is_err());
}

#[test]
fn is_v6_follows_the_pool() {
    assert!(!valid().is_v6());
    assert!(!IpamData::default().is_v6());
    assert!(IpamData { pool: Some(cidr("2001:db8::33/64")), ..valid() }.is_v6());
}

#[test]
fn what_does_not_fit_together_is_refused_in_libnetworks_words() {
    let with_aux = |name: &str, address| {
        let mut data = valid();
        data.aux_addresses.insert(name.to_owned(), cidr(address));
        data
    };
    let table = [
        (IpamData { pool: None, ..valid() }, "invalid pool"),
        (IpamData { gateway: None, ..valid() }, "invalid gateway address"),
        (
            IpamData { gateway: Some(cidr("2001:db8::45/65")), ..valid() },
            "incongruent ip versions for pool and gateway",
        ),
        (
            with_aux("ip2", "2001:db8::44/80"),
            "incongruent ip versions for pool and secondary ip address ip2",
        ),
        (
            IpamData { gateway: Some(cidr("10.10.15.254/24")), ..valid() },
            "invalid gateway address (10.10.15.254/24) does not belong to the pool (10.10.10.8/24)",
        ),
        (
            with_aux("ip1", "10.10.2.1/24"),
            "invalid secondary address ip1 (10.10.2.1/24) does not belong to the pool \
             (10.10.10.8/24)",
        ),
    ];
    valid().validate().unwrap();
    for (data, text) in table {
        assert_eq!(data.validate(), Err(Error::new(Kind::InvalidParameter, text)));
    }
}

#[test]
fn it_prints_as_go_prints_it() {
    assert_eq!(
        valid().to_string(),
        "AddressSpace: giallo\nPool: 10.10.10.8/24\nGateway: 10.10.10.254/24\n\
         Addresses: map[ip1:10.10.10.1/24 ip2:10.10.10.2/24]"
    );
    assert_eq!(
        IpamData::default().to_string(),
        "AddressSpace: \nPool: <nil>\nGateway: <nil>\nAddresses: map[]"
    );
}

fn any_cidr() -> impl Strategy<Value = IpNetwork> {
    let v4 =
        (any::<u32>(), 0..=32u8).prop_map(|(bits, length)| (Ipv4Addr::from(bits).into(), length));
    let v6 =
        (any::<u128>(), 0..=128u8).prop_map(|(bits, length)| (Ipv6Addr::from(bits).into(), length));
    prop_oneof![v4, v6]
        .prop_map(|(address, length): (IpAddr, u8)| IpNetwork::new(address, length).unwrap())
}

proptest! {
    #[test]
    fn json_loses_nothing(
        address_space in ".*",
        pool in proptest::option::of(any_cidr()),
        gateway in proptest::option::of(any_cidr()),
        aux_addresses in proptest::collection::btree_map(".*", any_cidr(), 0..4),
    ) {
        let data = IpamData { address_space, pool, gateway, aux_addresses };
        let json = serde_json::to_string(&data).unwrap();
        prop_assert_eq!(serde_json::from_str::<IpamData>(&json).unwrap(), data);
    }

    #[test]
    fn any_json_is_read_or_refused(text in "\\PC*") {
        let _ = serde_json::from_str::<IpamData>(&text);
    }
}
