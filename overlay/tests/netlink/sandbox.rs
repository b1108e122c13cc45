//! Interfaces that a remote driver made are moved into sandboxes.

use weft_overlay::netlink::namespace::make_anonymous;
use weft_overlay::netlink::sandbox::{self, Interface};
use weft_overlay::netlink::{Connection, NetlinkError, address, link, sysctl, veth};

use crate::bed::{Bed, Underlay, mac, net};

#[tokio::test]
async fn an_interface_is_moved_in_configured_and_moved_out() {
    let bed = Bed::new(1, Underlay::V4).await;
    let host = &bed.hosts[0].namespace;
    let inside = make_anonymous().unwrap();
    let mut outside = Connection::open(host).await.unwrap();
    let (near, far) = (veth::End::named("remote0"), veth::End::named("remote1"));
    veth::create(&mut outside, &near, &far, host, 1400).await.unwrap();
    let wanted = Interface {
        ifname: "eth0".to_owned(),
        mac: Some(mac(1, 5)),
        mtu: Some(1300),
        addresses: vec![net("10.9.0.5/24"), net("fd09::5/64")],
        routes: Vec::new(),
    };
    sandbox::move_in((&mut outside, host), "remote1", &inside, &wanted).await.unwrap();
    assert!(link::find(&mut outside, "remote1").await.unwrap().is_none());
    let mut connection = Connection::open(&inside).await.unwrap();
    let moved = link::get(&mut connection, "eth0").await.unwrap();
    assert_eq!((moved.mac, moved.mtu, moved.up), (Some(mac(1, 5)), 1300, true));
    let addresses = address::list(&mut connection).await.unwrap();
    assert!(addresses.contains(&(moved.index, net("fd09::5/64"))), "{addresses:?}");
    for key in ["ipv4/neigh/eth0/retrans_time_ms", "ipv6/neigh/eth0/retrans_time_ms"] {
        let asked_every_ms = sysctl::read(&inside, key).unwrap();
        assert_eq!(asked_every_ms.as_deref(), Some("20"), "{key}");
    }
    assert_eq!(sandbox::free_name(&mut connection, "eth").await.unwrap(), "eth1");

    let again = sandbox::move_in((&mut outside, host), "remote0", &inside, &wanted).await;
    assert!(matches!(again, Err(NetlinkError::InterfaceExists { .. })));
    sandbox::move_out(&inside, "eth0", host, "remote1").await.unwrap();
    assert!(link::find(&mut outside, "remote1").await.unwrap().is_some());
}
