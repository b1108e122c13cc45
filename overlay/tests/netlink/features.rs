//! What `doctor` asks.

use weft_overlay::netlink::uplink;
use weft_overlay::netlink::{Connection, link};

use crate::bed::{Bed, Underlay, net};

#[tokio::test]
async fn this_kernel_can_do_all_that_is_needed() {
    let _bed = Bed::new(0, Underlay::V4).await;
    for feature in uplink::features().await.unwrap() {
        assert!(feature.outcome.is_ok(), "{}: {}", feature.name, feature.outcome.unwrap_err());
    }
}

#[tokio::test]
async fn the_uplink_is_the_link_with_the_address() {
    let bed = Bed::new(1, Underlay::V4).await;
    let host = &bed.hosts[0];
    let mut connection = Connection::open(&host.namespace).await.unwrap();
    let found = uplink::find(&mut connection, host.vtep).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.mtu), ("uplink", 1500));
    link::set_mtu(&mut connection, "uplink", 9000).await.unwrap();
    assert_eq!(uplink::find(&mut connection, host.vtep).await.unwrap().unwrap().mtu, 9000);
    assert!(uplink::find(&mut connection, [203, 0, 113, 1].into()).await.unwrap().is_none());
    let prefixes = uplink::prefixes(&mut connection).await.unwrap();
    assert!(prefixes.contains(&net("192.0.2.0/24")), "{prefixes:?}");
    assert!(prefixes.iter().all(|p| !p.ip().is_loopback() && p.prefix() > 0), "{prefixes:?}");
}
