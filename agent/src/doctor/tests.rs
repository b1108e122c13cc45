use std::collections::BTreeMap;

use weft_api::control::CheckStatus;
use weft_api::{NetworkId, NodeId, Subnet, Vni};

use super::*;

fn network(name: &str, pool: &str, mtu: Option<u32>) -> NetworkResource {
    NetworkResource {
        name: name.to_owned(),
        id: NetworkId::default(),
        driver: "overlay".to_owned(),
        ipam: "weft".to_owned(),
        subnets: vec![Subnet {
            pool: pool.parse().unwrap(),
            gateway: None,
            range: None,
            auxiliary: BTreeMap::new(),
            vni: Vni::new(1).unwrap(),
        }],
        options: BTreeMap::new(),
        mtu,
        internal: false,
        creator: NodeId::default(),
        frozen: false,
        endpoints: Vec::new(),
        detail: None,
    }
}

fn member(name: &str, state: MemberState) -> MemberResource {
    MemberResource {
        id: NodeId::default(),
        name: name.to_owned(),
        address: "192.0.2.1:7950".parse().unwrap(),
        state,
        boot: 1,
        this: name == "me",
    }
}

#[test]
fn a_missing_feature_fails_unless_a_network_can_do_without() {
    for (feature, expected) in [
        ("bridge", CheckStatus::Fail),
        ("VXLAN over IPv4", CheckStatus::Fail),
        ("VXLAN over IPv6", CheckStatus::Warn),
        ("routing rules and masquerade by nftables", CheckStatus::Warn),
    ] {
        assert_eq!(kernel(feature, Ok(())).status, CheckStatus::Ok);
        let check = kernel(feature, Err("not supported".to_owned()));
        assert_eq!(check.status, expected, "{feature}");
        assert!(check.hint.is_some());
    }
}

#[test]
fn pins_in_a_mount_namespace_of_its_own_are_warned_of() {
    assert_eq!(pins(Some(1), Some(1), false).status, CheckStatus::Ok);
    assert_eq!(pins(Some(2), Some(1), true).status, CheckStatus::Ok);
    assert_eq!(pins(Some(2), Some(1), false).status, CheckStatus::Warn);
    assert_eq!(pins(None, None, false).status, CheckStatus::Warn);
    let told = |own, first| pins(own, first, false).detail;
    assert_eq!(told(Some(2), None), told(None, Some(1)));
    assert_ne!(told(Some(2), None), told(Some(2), Some(1)), "cannot tell is its own answer");
}

#[test]
fn what_drops_forwarded_packets_is_named() {
    assert_eq!(obstacle("ip filter FORWARD", true).status, CheckStatus::Ok);
    let check = obstacle("inet mine forward", false);
    assert_eq!(check.status, CheckStatus::Warn);
    assert_eq!(check.check, "firewall inet mine forward");
}

#[test]
fn refusals_conflicts_and_alarms_show() {
    assert_eq!(data_path(0, None, &[]).len(), 1);
    let checks = data_path(2, Some("no such device"), &["10.0.0.2 twice".to_owned()]);
    assert!(checks.iter().all(|check| check.status == CheckStatus::Warn));
    assert_eq!(checks.len(), 2);
    assert_eq!(alarms([("cloned".to_owned(), 3)])[0].status, CheckStatus::Fail);
}

#[test]
fn announcements_that_were_not_sent_are_no_refusal_of_the_data_path() {
    assert_eq!(announcements(0, None, 0).status, CheckStatus::Ok);
    let failed = announcements(3, Some("operation not permitted"), 7);
    assert_eq!(failed.status, CheckStatus::Warn);
    assert!(failed.detail.contains("operation not permitted"), "{}", failed.detail);
    assert!(failed.hint.unwrap().contains("CAP_NET_RAW"));
    let dropped = announcements(0, None, 7);
    assert_eq!(dropped.status, CheckStatus::Warn);
    assert!(dropped.detail.starts_with("7 had no room"), "{}", dropped.detail);
}

#[test]
fn privileges_are_read_bit_by_bit() {
    assert_eq!(privileges("CapEff:\t000001ffffffffff\n").status, CheckStatus::Ok);
    let check = privileges("CapInh:\t0\nCapEff:\t0000000000001000\n");
    assert_eq!(check.status, CheckStatus::Fail);
    assert_eq!(check.detail, "CAP_SYS_ADMIN missing");
    let check = privileges("CapEff:\t0000000000201000\n");
    assert_eq!(check.status, CheckStatus::Warn);
    assert!(check.detail.starts_with("CAP_NET_RAW missing"), "{}", check.detail);
    assert_eq!(privileges("CapEff:\t0000000000203000\n").status, CheckStatus::Ok);
    assert_eq!(privileges("").status, CheckStatus::Warn);
}

#[test]
fn a_port_of_another_fails() {
    let taken = PortHolder::Another("address in use".to_owned());
    assert_eq!(port("gossip udp", 7950, &taken).status, CheckStatus::Fail);
    assert_eq!(port("gossip udp", 7950, &PortHolder::Us).status, CheckStatus::Ok);
    assert_eq!(port("gossip udp", 7950, &PortHolder::Free).status, CheckStatus::Ok);
}

#[test]
fn an_mtu_that_does_not_fit_fails_and_a_small_one_warns() {
    let blue = [network("blue", "10.1.0.0/24", Some(1500))];
    assert_eq!(mtu(1500, 50, &[]).status, CheckStatus::Ok);
    assert_eq!(mtu(1550, 50, &blue).status, CheckStatus::Ok);
    assert_eq!(mtu(1500, 50, &blue).status, CheckStatus::Fail);
    assert_eq!(mtu(1300, 50, &[]).status, CheckStatus::Warn);
    assert_eq!(mtu(10, 50, &[]).status, CheckStatus::Warn);
}

#[test]
fn late_timers_warn() {
    let now = Instant::now();
    assert_eq!(clock(Duration::from_millis(20), None, now).status, CheckStatus::Ok);
    assert_eq!(clock(Duration::from_secs(3), None, now).status, CheckStatus::Warn);
}

#[test]
fn a_standstill_is_told_of_for_an_hour() {
    let ended = Instant::now();
    let stood = Some(Standstill { length: Duration::from_secs(9), ended });
    let after = |seconds| clock(Duration::ZERO, stood, ended + Duration::from_secs(seconds));
    let check = after(150);
    assert_eq!(check.status, CheckStatus::Warn);
    assert!(check.detail.starts_with("the agent stood still for 9 s, until 2 min ago"));
    assert_eq!(after(3601).status, CheckStatus::Ok);
}

#[test]
fn repairs_are_warned_of_for_an_hour_and_strays_are_not() {
    let strays = BTreeMap::from([("fdb_stray".to_owned(), 3)]);
    assert_eq!(repairs(&strays, None).status, CheckStatus::Ok);
    let both = BTreeMap::from([("fdb_missing".to_owned(), 2), ("vxlan_missing".to_owned(), 1)]);
    let check = repairs(&both, Some(Duration::from_secs(4)));
    assert_eq!(check.status, CheckStatus::Warn);
    assert!(check.detail.ends_with("4 s ago (fdb missing 2, vxlan missing 1)"), "{check:?}");
    assert_eq!(repairs(&both, Some(Duration::from_secs(7201))).status, CheckStatus::Ok);
}

#[test]
fn a_disk_that_is_nearly_full_warns() {
    let at = Path::new("/var/lib/weft");
    assert_eq!(disk(at, Ok(1 << 30)).status, CheckStatus::Ok);
    assert_eq!(disk(at, Ok(0)).status, CheckStatus::Warn);
    assert_eq!(disk(at, Err("no such directory".to_owned())).status, CheckStatus::Warn);
}

#[test]
fn probes_that_go_unanswered_warn_once_there_are_enough_of_them() {
    for (sent, missed) in [(0, 0), (7, 7), (64, 7), (16, 2)] {
        assert_eq!(probes(sent, missed).status, CheckStatus::Ok, "{missed} of {sent}");
    }
    for (sent, missed) in [(8, 3), (64, 8), (64, 64)] {
        assert_eq!(probes(sent, missed).status, CheckStatus::Warn, "{missed} of {sent}");
    }
}

#[test]
fn who_finds_no_agent_is_told_how_the_last_one_ended() {
    let hint = "start it";
    assert_eq!(absent("no agent", hint, None), Check::fail("agent", "no agent", hint));
    let last = |ago| LastEnd { reason: "the disk is full".to_owned(), ago };
    let told = |ago| absent("no agent", hint, Some(&last(ago))).detail;
    assert_eq!(told(None), "no agent; one ended: the disk is full");
    let days = Duration::from_secs(200_000);
    assert_eq!(told(Some(days)), "no agent; 55 h ago one ended: the disk is full");
}

#[test]
fn a_node_that_hears_none_of_several_is_called_cut_off() {
    let lost = |count: usize| {
        let names = ["me", "a", "b"].into_iter().take(count + 1);
        let state = |name| if name == "me" { MemberState::Alive } else { MemberState::Suspect };
        peers(&names.map(|name| member(name, state(name))).collect::<Vec<_>>())
    };
    assert_eq!(lost(1)[0].status, CheckStatus::Ok);
    assert_eq!(lost(2)[0].status, CheckStatus::Warn);
    assert!(lost(2)[0].detail.starts_with("0 of 2 answer: this node is cut off"));
}

#[test]
fn each_peer_that_does_not_answer_is_named_and_those_gone_are_not() {
    let members = [
        member("me", MemberState::Alive),
        member("a", MemberState::Alive),
        member("b", MemberState::Suspect),
        member("c", MemberState::Failed),
        member("d", MemberState::Left),
        member("e", MemberState::Forgotten),
    ];
    let checks = peers(&members);
    let found: Vec<_> = checks.iter().map(|check| (check.check.as_str(), check.status)).collect();
    assert_eq!(
        found,
        [("peers", CheckStatus::Ok), ("peer b", CheckStatus::Warn), ("peer c", CheckStatus::Fail)]
    );
    assert_eq!(checks[0].detail, "1 of 3 answer");
}

#[test]
fn a_frozen_network_is_reported() {
    let mut lost = network("blue", "10.1.0.0/24", None);
    assert!(frozen(std::slice::from_ref(&lost)).is_empty());
    lost.frozen = true;
    assert_eq!(frozen(&[lost]).len(), 1);
}

#[test]
fn a_route_inside_or_around_a_subnet_is_reported_and_the_default_route_is_not() {
    let networks = [network("blue", "10.1.0.0/16", None)];
    let route = |text: &str| vec![("node-a".to_owned(), text.parse().unwrap())];
    for text in ["10.1.2.0/24", "10.0.0.0/8", "10.1.0.0/16"] {
        assert_eq!(overlaps(&networks, &route(text)).len(), 1, "{text}");
    }
    for text in ["0.0.0.0/0", "10.2.0.0/16", "fd00::/8"] {
        assert!(overlaps(&networks, &route(text)).is_empty(), "{text}");
    }
}
