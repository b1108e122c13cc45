//! Whoever leaves is left nothing: neither what is under way to it, nor what is given later.

use std::time::Duration;

use super::cluster::{Cluster, definition, id, pools};
use crate::codec;
use crate::message::{AskWant, Message, TransferId};
use crate::space::Space;

const SECOND: Duration = Duration::from_secs(1);
/// Shorter than the time after which anything is sent again.
const MOMENT: Duration = Duration::from_millis(300);

fn cluster(nodes: usize) -> (Cluster, Space) {
    let mut cluster = Cluster::new(nodes, 1);
    let space = cluster.define(&definition(1, 0, "10.0.0.0/24"));
    cluster.run(SECOND);
    (cluster, space)
}

#[test]
fn what_was_given_to_a_leaver_and_got_lost_goes_on_to_its_heir() {
    let (mut cluster, space) = cluster(3);
    cluster.no_push = true;
    cluster.loss = 1000;
    cluster.act(0, |ipam, now| ipam.transfer(space, &[(2, 5)], id(1), now));
    cluster.loss = 0;
    assert!(cluster.owners(0, space).contains_key(&id(1)));
    cluster.act(1, |ipam, now| ipam.leave(now));
    cluster.run(MOMENT);
    assert_eq!(cluster.leave_done[&1], []);
    cluster.remove(1);
    cluster.run(SECOND * 3);
    cluster.assert_partition(space);
    assert!(!cluster.owners(0, space).contains_key(&id(1)), "{:?}", cluster.owners(0, space));
}

#[test]
fn who_is_known_to_leave_is_given_nothing_at_a_networks_birth() {
    let (mut cluster, _) = cluster(3);
    cluster.act(1, |ipam, now| ipam.leave(now));
    cluster.run(MOMENT);
    assert_eq!(cluster.leave_done[&1], []);
    let space = cluster.define(&definition(2, 0, "10.0.1.0/24"));
    let owners = cluster.owners(0, space);
    assert!(owners.contains_key(&id(2)) && !owners.contains_key(&id(1)), "{owners:?}");
}

#[test]
fn who_starts_again_before_the_leaver_is_gone_hears_its_farewell_again() {
    let (mut cluster, _) = cluster(3);
    // One that answers nothing keeps the leaver.
    let silent = cluster.nodes[2].ipam.take();
    cluster.act(1, |ipam, now| ipam.leave(now));
    cluster.run(MOMENT);
    assert!(!cluster.leave_done.contains_key(&1));
    cluster.nodes[2].ipam = silent;
    cluster.start(0);
    cluster.act(1, |ipam, now| ipam.on_new_life(id(0), now));
    cluster.run(SECOND * 3);
    assert_eq!(cluster.leave_done[&1], []);
    let space = cluster.define(&definition(2, 0, "10.0.1.0/24"));
    let owners = cluster.owners(0, space);
    assert!(owners.contains_key(&id(2)) && !owners.contains_key(&id(1)), "{owners:?}");
}

#[test]
fn a_late_ask_of_a_leaver_is_not_answered_and_one_of_its_next_life_is() {
    let (mut cluster, space) = cluster(2);
    cluster.halves = Some([1].into());
    // The asks wait: nobody hears them.
    cluster.act(1, |ipam, now| ipam.leave(now));
    let leave = |boot| Message::Leave { id: TransferId { boot, serial: 90 }, last: false };
    let ask = |boot| Message::Ask {
        id: TransferId { boot, serial: 91 },
        subject: space.subject(),
        want: AskWant::Exact(9),
    };
    let hear = |cluster: &mut Cluster, message: &Message| {
        let bytes = codec::encode(message);
        cluster.act(0, |ipam, now| ipam.handle_message(id(1), &bytes, now));
        cluster.owners(0, space).get(&id(1)).copied()
    };
    let before = hear(&mut cluster, &leave(7));
    assert_eq!(hear(&mut cluster, &ask(7)), before);
    assert_eq!(hear(&mut cluster, &ask(8)), before.map(|owned| owned + 1));
}

#[test]
fn an_heir_that_leaves_hands_on_what_it_inherits_meanwhile() {
    let (mut cluster, space) = cluster(3);
    cluster.act(0, |ipam, now| ipam.found_cluster(&pools(), now));
    cluster.run(SECOND * 2);
    cluster.loss = 1000;
    cluster.act(1, |ipam, now| ipam.leave(now));
    cluster.bury(0);
    cluster.act(1, |ipam, now| ipam.inherit(&[id(0)], &[], now));
    cluster.loss = 0;
    cluster.run(SECOND * 2);
    // It died before it had answered.
    assert_eq!(cluster.leave_done[&1], [id(0)]);
    cluster.remove(1);
    assert_eq!(cluster.owners(2, space), [(id(2), 256)].into());
    // All but that of the network, which nobody may take again.
    assert_eq!(cluster.owners(2, Space::Vni)[&id(1)], 1);
}

#[test]
fn of_two_that_leave_at_once_neither_is_the_others_heir() {
    let (mut cluster, space) = cluster(3);
    for leaver in [0, 1] {
        cluster.act(leaver, |ipam, now| ipam.leave(now));
    }
    cluster.run(SECOND * 2);
    for leaver in [0, 1] {
        assert_eq!(cluster.leave_done[&leaver], []);
    }
    cluster.remove(0);
    cluster.remove(1);
    assert_eq!(cluster.owners(2, space), [(id(2), 256)].into());
}
