use std::collections::BTreeMap;

use weft_api::control::SubnetRequest;
use weft_api::{Mac, NetworkId, NodeId, Stamp, Subnet, Vni};
use weft_ipam::{Holding, Local, Space};

use super::faults::{Seen, differences};
use super::status::is_full;
use super::*;
use crate::controller::inventory::{PlacedBy, Sandbox};

fn known() -> Definition {
    let subnet = |pool: &str, gateway: &str| Subnet {
        pool: pool.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
        range: None,
        auxiliary: BTreeMap::new(),
        vni: Vni::new(7).unwrap(),
    };
    Definition {
        id: NetworkId::from_bytes([1; 16]),
        name: "blue".to_owned(),
        driver: "overlay".to_owned(),
        ipam: "weft".to_owned(),
        subnets: vec![subnet("10.1.0.0/24", "10.1.0.1"), subnet("fd01::/64", "fd01::1")],
        options: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        mtu: Some(1400),
        internal: true,
        stamp: Stamp::default(),
    }
}

fn container(id: &str, ifname: &str) -> AttachmentKey {
    AttachmentKey { container_id: id.to_owned(), ifname: ifname.to_owned() }
}

#[test]
fn what_a_configuration_leaves_out_agrees_with_any_network() {
    assert_eq!(agree(&known(), &NetworkCreate::named("blue")), Ok(()));
    let all = NetworkCreate {
        subnets: vec![SubnetRequest::of("10.1.0.0/24".parse().unwrap())],
        ipv6: true,
        internal: true,
        mtu: Some(1400),
        options: known().options,
        ..NetworkCreate::named("blue")
    };
    assert_eq!(agree(&known(), &all), Ok(()));
}

#[test]
fn what_a_configuration_says_must_be_so() {
    let named = || NetworkCreate::named("blue");
    let subnet = |pool: &str| SubnetRequest::of(pool.parse().unwrap());
    let gateway = Some("10.1.0.9".parse().unwrap());
    let rows = [
        (NetworkCreate { driver: "other".to_owned(), ..named() }, "driver"),
        (NetworkCreate { ipam: "other".to_owned(), ..named() }, "IPAM driver"),
        (NetworkCreate { mtu: Some(1300), ..named() }, "MTU"),
        (NetworkCreate { subnets: vec![subnet("10.2.0.0/24")], ..named() }, "subnet"),
        (
            NetworkCreate {
                subnets: vec![SubnetRequest { gateway, ..subnet("10.1.0.0/24") }],
                ..named()
            },
            "gateway",
        ),
        (
            NetworkCreate {
                options: BTreeMap::from([("a".to_owned(), "c".to_owned())]),
                ..named()
            },
            "option",
        ),
    ];
    for (request, what) in rows {
        assert_eq!(agree(&known(), &request), Err(what));
    }
    let open = Definition { internal: false, ..known() };
    assert_eq!(agree(&open, &NetworkCreate { internal: true, ..named() }), Err("way out"));
    let v4 = Definition { subnets: known().subnets[..1].to_vec(), ..known() };
    assert_eq!(agree(&v4, &NetworkCreate { ipv6: true, ..named() }), Err("address family"));
}

#[test]
fn a_containers_id_has_no_character_that_parts_a_path() {
    for id in ["a", "cnitool-77383ca0", "0.9_x"] {
        assert!(check_key(&container(id, "eth0")).is_ok(), "{id}");
    }
    for id in ["", "-a", "../a", "a/b", "a b", "ä", &"a".repeat(257)] {
        assert!(check_key(&container(id, "eth0")).is_err(), "{id}");
    }
}

#[test]
fn a_network_is_full_when_no_node_can_have_a_free_address_of_a_family() {
    let definition = known();
    let holding = |pool: &str, owner: u8, free: u128| Holding {
        space: Space::Subnet { network: definition.id, pool: pool.parse().unwrap() },
        owner: NodeId::from_bytes([owner; 16]),
        owned: 256,
        intervals: 1,
        local: (owner == 1).then_some(Local { used: 1, free, resting: 0 }),
    };
    let v6 = || holding("fd01::/64", 1, 9);
    assert!(!is_full(&definition, &[]), "no pool was begun");
    assert!(!is_full(&definition, &[holding("10.1.0.0/24", 1, 1), v6()]));
    assert!(is_full(&definition, &[holding("10.1.0.0/24", 1, 0), v6()]));
    let shared = [holding("10.1.0.0/24", 1, 0), holding("10.1.0.0/24", 2, 0), v6()];
    assert!(!is_full(&definition, &shared), "the other node may have one");
}

pub(super) fn joined() -> (Endpoint, Sandbox) {
    let sandbox = Sandbox {
        id: "1".to_owned(),
        key: "/run/netns/web".to_owned(),
        ifname: "eth0".to_owned(),
        default_route: true,
        gateway: Some("10.1.0.1".parse().unwrap()),
        gateway_ipv6: None,
        mtu: Some(1400),
        routes: Vec::new(),
        entries: Vec::new(),
        boot: None,
        placed_by: PlacedBy::Driver,
    };
    let endpoint = Endpoint {
        id: EndpointId::from_bytes([2; 16]),
        network: NetworkId::from_bytes([1; 16]),
        network_name: "blue".to_owned(),
        name: "web-eth0".to_owned(),
        address: Some("10.1.0.2/24".parse().unwrap()),
        address_ipv6: None,
        mac: Some(Mac::from_bytes([2, 0, 0, 0, 0, 2])),
        stamp: Stamp::default(),
        options: BTreeMap::new(),
        sandbox: Some(sandbox.clone()),
        stale: false,
        engine: None,
        container: Some(Container {
            key: container("web", "eth0"),
            configuration: String::new(),
            named: Vec::new(),
        }),
    };
    (endpoint, sandbox)
}

#[test]
fn each_thing_that_is_not_as_it_was_made_is_a_fault() {
    let (endpoint, sandbox) = joined();
    let whole = Seen {
        up: true,
        mac: endpoint.mac,
        mtu: 1400,
        addresses: BTreeSet::from(["10.1.0.2/24".parse().unwrap()]),
        gateways: BTreeSet::from(["10.1.0.1".parse().unwrap()]),
    };
    let faults = |seen: Seen| differences(&endpoint, &sandbox, &seen);
    assert_eq!(faults(whole.clone()), Vec::<String>::new());
    assert_eq!(faults(Seen { mtu: 1300, ..whole.clone() }), Vec::<String>::new(), "tuned down");
    let rows = [
        (Seen { up: false, ..whole.clone() }, "is down"),
        (Seen { mac: None, ..whole.clone() }, "the MAC address of `eth0` is `none`"),
        (Seen { mtu: 1500, ..whole.clone() }, "more than 1400"),
        (Seen { addresses: BTreeSet::new(), ..whole.clone() }, "no address `10.1.0.2/24`"),
        (Seen { gateways: BTreeSet::new(), ..whole }, "no default route leads to `10.1.0.1`"),
    ];
    for (seen, words) in rows {
        let found = faults(seen);
        assert!(matches!(&found[..], [fault] if fault.contains(words)), "{words}: {found:?}");
    }
}

#[test]
fn an_endpoint_of_before_there_were_containers_can_be_read() {
    let (endpoint, _) = joined();
    let mut record = serde_json::to_value(&endpoint).unwrap();
    assert_eq!(serde_json::from_value::<Endpoint>(record.clone()).unwrap(), endpoint);
    record.as_object_mut().unwrap().remove("container");
    assert_eq!(serde_json::from_value::<Endpoint>(record).unwrap().container, None);
}
