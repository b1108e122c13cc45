//! Who is told of an address that has another MAC than before.

use super::*;

fn announcements(planner: &mut Planner) -> Vec<KernelOp> {
    let mut ops = drain(planner);
    ops.retain(|op| matches!(op, KernelOp::Announce { .. }));
    ops
}

/// An endpoint of this node appears at an address of the open network.
fn join(planner: &mut Planner, n: u8, address: &str, mac: Mac) {
    let own = addresses(Some(address), None, mac);
    planner.create_endpoint(nid(1), eid(n), own).unwrap();
    planner.join(nid(1), eid(n), sandbox(n)).unwrap();
}

fn leave(planner: &mut Planner, n: u8) {
    planner.leave(nid(1), eid(n)).unwrap();
    planner.delete_endpoint(nid(1), eid(n)).unwrap();
}

#[test]
fn a_peer_that_comes_back_with_another_mac_is_announced_behind_its_entries() {
    let mut planner = joined();
    let peer =
        PeerRecord { v6: Some(net("fd01::5/64")), ..record("10.1.0.5/24", mac(5), "192.0.2.5", 9) };
    set(&mut planner, 1, 5, &peer);
    assert_eq!(announcements(&mut planner), [], "nobody knew it");
    delete(&mut planner, 1, 5);
    assert_eq!(announcements(&mut planner), [], "there is nothing to tell");
    set(&mut planner, 1, 6, &PeerRecord { mac: mac(6), ..peer });
    assert_eq!(
        drain(&mut planner),
        [
            set_fdb(mac(6), "192.0.2.5"),
            set_neighbour("10.1.0.5", mac(6)),
            set_neighbour("fd01::5", mac(6)),
            announce(&[1], "10.1.0.5", mac(6)),
            announce(&[1], "fd01::5", mac(6)),
        ]
    );
}

#[test]
fn a_peer_that_moves_or_comes_back_with_its_mac_is_not_announced() {
    let mut planner = joined();
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(5), "192.0.2.5", 9));
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(5), "192.0.2.6", 9));
    delete(&mut planner, 1, 5);
    set(&mut planner, 1, 6, &record("10.1.0.5/24", mac(5), "192.0.2.6", 20));
    assert_eq!(announcements(&mut planner), []);
}

#[test]
fn a_successor_is_announced_when_its_predecessor_goes() {
    let mut planner = joined();
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(5), "192.0.2.5", 9));
    set(&mut planner, 1, 6, &record("10.1.0.5/24", mac(6), "192.0.2.5", 20));
    assert_eq!(announcements(&mut planner), [], "the older allocation counts while it is there");
    delete(&mut planner, 1, 5);
    assert_eq!(announcements(&mut planner), [announce(&[1], "10.1.0.5", mac(6))]);
}

#[test]
fn the_others_of_its_segment_are_told_of_an_own_endpoint() {
    let mut planner = joined();
    join(&mut planner, 2, "10.1.0.12/24", mac(12));
    join(&mut planner, 3, "10.1.0.13/24", mac(13));
    join(&mut planner, 4, "10.2.0.14/24", mac(14));
    leave(&mut planner, 2);
    assert_eq!(announcements(&mut planner), []);
    join(&mut planner, 5, "10.1.0.12/24", mac(15));
    let ops = drain(&mut planner);
    assert_eq!(ops.last(), Some(&announce(&[1, 3], "10.1.0.12", mac(15))));
    assert!(matches!(ops[..], [KernelOp::EnsureEndpoint { .. }, _]), "{ops:?}");
}

#[test]
fn an_address_that_moves_between_hosts_is_announced_both_ways() {
    let mut planner = joined();
    join(&mut planner, 2, "10.1.0.12/24", mac(12));
    leave(&mut planner, 2);
    set(&mut planner, 1, 5, &record("10.1.0.12/24", mac(5), "192.0.2.5", 60));
    assert_eq!(announcements(&mut planner), [announce(&[1], "10.1.0.12", mac(5))]);
    delete(&mut planner, 1, 5);
    join(&mut planner, 6, "10.1.0.12/24", mac(16));
    assert_eq!(announcements(&mut planner), [announce(&[1], "10.1.0.12", mac(16))]);
}

#[test]
fn nothing_is_announced_at_the_build_or_by_a_reconciliation() {
    let mut planner = Planner::new(host());
    planner.create_network(&open_network()).unwrap();
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(5), "192.0.2.5", 9));
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(6), "192.0.2.5", 9));
    set(&mut planner, 1, 7, &record("10.1.0.11/24", mac(7), "192.0.2.5", 9));
    delete(&mut planner, 1, 7);
    join(&mut planner, 1, "10.1.0.11/24", mac(11));
    assert_eq!(announcements(&mut planner), [], "nobody was here before");
    let repair = planner.reconcile(&Observed::default(), Knowledge::Complete);
    assert!(!repair.ops.is_empty());
    assert!(!repair.ops.iter().any(|op| matches!(op, KernelOp::Announce { .. })));
}

#[test]
fn what_is_taken_down_forgets_whom_it_knew() {
    let mut planner = joined();
    set(&mut planner, 1, 5, &record("10.1.0.5/24", mac(5), "192.0.2.5", 9));
    delete(&mut planner, 1, 5);
    leave(&mut planner, 1);
    join(&mut planner, 1, "10.1.0.11/24", mac(19));
    set(&mut planner, 1, 6, &record("10.1.0.5/24", mac(6), "192.0.2.5", 9));
    assert_eq!(announcements(&mut planner), []);
}

/// What a kernel held before a start: one neighbour of the open network's first segment.
fn held_before(address: &str, mac: Mac) -> Observed {
    let mut planner = joined();
    set(&mut planner, 1, 5, &record(&format!("{address}/24"), mac, "192.0.2.5", 9));
    let mut kernel = FakeKernel::new();
    let repair = planner.reconcile(&kernel.observe(), Knowledge::Partial);
    assert_eq!(kernel.apply_all(&repair.ops), []);
    kernel.observe()
}

#[test]
fn a_mac_that_changed_before_this_start_is_announced_to_all_that_are_joined_again() {
    let before = held_before("10.1.0.5", mac(5));
    let mut planner = joined();
    join(&mut planner, 2, "10.1.0.12/24", mac(12));
    set(&mut planner, 1, 6, &record("10.1.0.5/24", mac(6), "192.0.2.5", 20));
    assert_eq!(announcements(&mut planner), [], "nothing is known of before");
    planner.recall(&before);
    assert_eq!(announcements(&mut planner), [announce(&[1, 2], "10.1.0.5", mac(6))]);
}

#[test]
fn a_mac_of_before_this_start_is_compared_with_what_is_heard_later() {
    let before = held_before("10.1.0.5", mac(5));
    for (now, told) in [(mac(5), vec![]), (mac(6), vec![announce(&[1], "10.1.0.5", mac(6))])] {
        let mut planner = joined();
        planner.recall(&before);
        assert_eq!(announcements(&mut planner), []);
        set(&mut planner, 1, 6, &record("10.1.0.5/24", now, "192.0.2.5", 20));
        assert_eq!(announcements(&mut planner), told, "{now}");
    }
}

#[test]
fn a_mac_of_before_this_start_that_is_heard_of_first_is_not_announced() {
    let before = held_before("10.1.0.5", mac(5));
    let mut planner = joined();
    set(&mut planner, 1, 6, &record("10.1.0.5/24", mac(5), "192.0.2.5", 20));
    planner.recall(&before);
    planner.recall(&Observed::default());
    assert_eq!(announcements(&mut planner), []);
}
