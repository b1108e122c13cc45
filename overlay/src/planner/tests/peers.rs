use super::*;
use crate::peer_db::{Claimant, Subject};
use crate::record::decode_table_entry;

#[test]
fn a_peer_appears_moves_and_goes() {
    let mut planner = joined();
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(5), "192.0.2.5", 9));
    assert_eq!(
        drain(&mut planner),
        [set_fdb(mac(5), "192.0.2.5"), set_neighbour("10.1.0.5", mac(5))]
    );
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(5), "192.0.2.6", 9));
    assert_eq!(drain(&mut planner), [set_fdb(mac(5), "192.0.2.6")], "replaced without a gap");
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(5), "192.0.2.6", 9));
    assert_eq!(drain(&mut planner), [], "told again");
    delete(&mut planner, 1, 5);
    assert_eq!(
        drain(&mut planner),
        [remove_neighbour("10.1.0.5", mac(5)), remove_fdb(mac(5), "192.0.2.6")]
    );
    delete(&mut planner, 1, 5);
    assert_eq!(drain(&mut planner), [], "gone already");
}

#[test]
fn a_peer_that_changes_its_mac_has_the_new_entry_before_the_old_one_goes() {
    let mut planner = joined();
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(5), "192.0.2.5", 9));
    drain(&mut planner);
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(6), "192.0.2.5", 9));
    assert_eq!(
        drain(&mut planner),
        [
            set_fdb(mac(6), "192.0.2.5"),
            set_neighbour("10.1.0.5", mac(6)),
            remove_fdb(mac(5), "192.0.2.5"),
            announce(&[1], "10.1.0.5", mac(6)),
        ]
    );
}

#[test]
fn an_address_reused_on_another_host_is_replaced_in_either_order_of_events() {
    let old = record("10.1.0.5/24", mac(5), "192.0.2.5", 9);
    let new = record("10.1.0.5/24", mac(5), "192.0.2.6", 20);
    let mut planner = joined();
    set(&mut planner, 1, 5, &old);
    drain(&mut planner);
    set(&mut planner, 1, 6, &new);
    assert_eq!(drain(&mut planner), [], "the older allocation counts while it is there");
    delete(&mut planner, 1, 5);
    assert_eq!(drain(&mut planner), [set_fdb(mac(5), "192.0.2.6")]);

    let mut planner = joined();
    set(&mut planner, 1, 5, &old);
    delete(&mut planner, 1, 5);
    set(&mut planner, 1, 6, &new);
    let last = drain(&mut planner);
    assert!(last.ends_with(&[set_fdb(mac(5), "192.0.2.6"), set_neighbour("10.1.0.5", mac(5))]));
}

#[test]
fn peers_known_before_the_first_join_are_programmed_at_the_build() {
    let mut planner = Planner::new(host());
    planner.create_network(&open_network()).unwrap();
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(5), "192.0.2.5", 9));
    assert_eq!(drain(&mut planner), [], "no namespace stands");
    let own = addresses(Some("10.1.0.11/24"), None, mac(11));
    planner.create_endpoint(nid(1), eid(1), own).unwrap();
    planner.join(nid(1), eid(1), sandbox(1)).unwrap();
    let ops = drain(&mut planner);
    assert!(ops.contains(&set_fdb(mac(5), "192.0.2.5")));
    assert!(ops.contains(&set_neighbour("10.1.0.5", mac(5))));
}

#[test]
fn the_lower_stamp_is_programmed_and_the_other_reported() {
    let mut planner = joined();
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(5), "192.0.2.5", 9));
    drain(&mut planner);
    set(&mut planner, 1, 6, &record("10.1.0.5/24", mac(6), "192.0.2.6", 3));
    assert_eq!(
        drain(&mut planner),
        [
            set_fdb(mac(6), "192.0.2.6"),
            set_neighbour("10.1.0.5", mac(6)),
            announce(&[1], "10.1.0.5", mac(6)),
        ]
    );
    let claimant =
        |n, lamport, vtep| Claimant { stamp: stamp(lamport), endpoint: eid(n), vtep: ip(vtep) };
    let conflicts = planner.conflicts();
    assert_eq!(
        conflicts,
        [Conflict {
            network: nid(1),
            subject: Subject::Address(ip("10.1.0.5")),
            winner: claimant(6, 3, "192.0.2.6"),
            losers: vec![claimant(5, 9, "192.0.2.5")],
        }]
    );
    delete(&mut planner, 1, 6);
    assert_eq!(planner.conflicts().len(), 0);
}

#[test]
fn a_record_that_replaces_another_wins_although_it_is_later() {
    let mut planner = joined();
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(5), "192.0.2.5", 9));
    drain(&mut planner);
    let heir =
        PeerRecord { replaces: Some(stamp(9)), ..record("10.1.0.5/24", mac(5), "192.0.2.6", 20) };
    set(&mut planner, 1, 6, &heir);
    assert_eq!(drain(&mut planner), [set_fdb(mac(5), "192.0.2.6")]);
}

#[test]
fn an_own_endpoint_with_the_lower_stamp_keeps_its_address_and_with_the_higher_loses_it() {
    let mut planner = joined();
    set(&mut planner, 1, 5, &record("10.1.0.11/24", mac(5), "192.0.2.5", 99));
    assert_eq!(drain(&mut planner), [set_fdb(mac(5), "192.0.2.5")], "its mac, not its address");
    set(&mut planner, 1, 5, &record("10.1.0.11/24", mac(5), "192.0.2.5", 2));
    assert_eq!(
        drain(&mut planner),
        [set_neighbour("10.1.0.11", mac(5)), announce(&[], "10.1.0.11", mac(5))],
        "not to whom it was taken from"
    );
    assert_eq!(planner.conflicts().len(), 1);
}

#[test]
fn an_endpoint_that_moves_here_is_served_by_its_port_and_away_by_the_tunnel() {
    let mut planner = Planner::new(host());
    planner.create_network(&open_network()).unwrap();
    let keep = addresses(Some("10.1.0.12/24"), None, mac(12));
    planner.create_endpoint(nid(1), eid(2), keep).unwrap();
    planner.join(nid(1), eid(2), sandbox(2)).unwrap();
    set(&mut planner, 1, 1, &record("10.1.0.11/24", mac(11), "192.0.2.5", 50));
    drain(&mut planner);

    let own = addresses(Some("10.1.0.11/24"), None, mac(11));
    planner.create_endpoint(nid(1), eid(1), own).unwrap();
    planner.join(nid(1), eid(1), sandbox(1)).unwrap();
    let ops = drain(&mut planner);
    assert!(ops.contains(&remove_fdb(mac(11), "192.0.2.5")), "{ops:?}");
    assert!(ops.contains(&remove_neighbour("10.1.0.11", mac(11))));

    planner.leave(nid(1), eid(1)).unwrap();
    let ops = drain(&mut planner);
    assert!(ops.contains(&set_fdb(mac(11), "192.0.2.5")), "{ops:?}");
}

#[test]
fn records_with_this_nodes_vtep_program_nothing() {
    let mut planner = joined();
    set(&mut planner, 1, 1, &record("10.1.0.11/24", mac(11), OWN_VTEP, 50));
    set(&mut planner, 1, 7, &record("10.1.0.7/24", mac(7), OWN_VTEP, 50));
    assert_eq!(drain(&mut planner), []);
    assert_eq!(planner.counters().own, 2);
    set(&mut planner, 1, 8, &record("10.1.0.8/24", mac(8), "192.0.2.5", 50));
    drain(&mut planner);
    set(&mut planner, 1, 8, &record("10.1.0.8/24", mac(8), OWN_VTEP, 50));
    assert_eq!(
        drain(&mut planner),
        [remove_neighbour("10.1.0.8", mac(8)), remove_fdb(mac(8), "192.0.2.5")],
        "it is no longer where it was"
    );
}

#[test]
fn a_bad_record_changes_nothing_and_is_counted() {
    let mut planner = joined();
    let good = record("10.1.0.5/24", mac(5), "192.0.2.5", 9);
    set(&mut planner, 1, 5, &good);
    drain(&mut planner);
    let gateway = Mac::from_bytes([0x0a, 1, 1, 1, 1, 1]);
    let far =
        PeerRecord { v6: Some(net("fd01::5/64")), ..record("10.2.0.5/24", mac(5), "192.0.2.5", 9) };
    let bad = [
        record("10.7.0.5/24", mac(5), "192.0.2.5", 9),
        record("10.1.0.1/24", mac(5), "192.0.2.5", 9),
        record("10.1.0.255/24", mac(5), "192.0.2.5", 9),
        record("10.1.0.5/24", gateway, "192.0.2.5", 9),
        record("10.1.0.5/24", Mac::from_bytes([0xff; 6]), "192.0.2.5", 9),
        record("10.1.0.5/24", mac(5), "2001:db8::5", 9),
        record("10.1.0.5/24", mac(5), "224.0.0.5", 9),
        record("10.1.0.5/24", mac(5), "255.255.255.255", 9),
        record("10.1.0.5/24", mac(5), "0.0.0.0", 9),
        record("10.1.0.5/24", mac(5), "127.0.0.1", 9),
        far,
    ];
    for (done, record) in (1..).zip(&bad) {
        assert!(hear(&mut planner, 1, 5, record).is_err(), "{record:?}");
        assert_eq!(planner.counters().out_of_place, done);
    }
    let key = eid(5).to_string();
    let mut hear_raw = |network, table, key: &str, value: &[u8]| {
        planner.event_notify(Event::Update, network, table, key, value).unwrap_err()
    };
    assert!(matches!(hear_raw(nid(1), PEER_TABLE, &key, b"junk"), Refusal::Malformed(..)));
    assert!(matches!(hear_raw(nid(1), PEER_TABLE, "junk", &good.encode()), Refusal::BadKey(_)));
    assert!(matches!(hear_raw(nid(9), PEER_TABLE, &key, &good.encode()), Refusal::NoNetwork(_)));
    assert!(matches!(hear_raw(nid(1), "names", &key, &good.encode()), Refusal::OtherTable(_)));
    assert_eq!((planner.counters().malformed, planner.counters().misdirected), (2, 2));
    assert_eq!(drain(&mut planner), []);
    delete(&mut planner, 1, 5);
    assert_eq!(drain(&mut planner).len(), 2, "the good record was in force all along");
}

#[test]
fn an_entry_is_shown_with_its_hosts_address() {
    let value =
        PeerRecord { v6: Some(net("fd01::5/64")), ..record("10.1.0.5/24", mac(5), "192.0.2.5", 9) };
    let (key, fields) = decode_table_entry(PEER_TABLE, "k", &value.encode());
    assert_eq!(key, "k");
    let shown: Vec<_> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("Host IP", "192.0.2.5"),
            ("IPv4", "10.1.0.5/24"),
            ("IPv6", "fd01::5/64"),
            ("MAC", "02:00:00:00:00:05"),
        ]
    );
    assert_eq!(decode_table_entry(PEER_TABLE, "k", b"junk").1, BTreeMap::new());
    assert_eq!(decode_table_entry("names", "k", &value.encode()).1, BTreeMap::new());
}
