//! Interfaces are handed over as a container engine wants it.

use std::time::{Duration, Instant};

use weft_agent::overlay_driver::Vanished;
use weft_agent::overlay_driver::options::{ADOPT, HANDOVER};
use weft_api::driver::{Driver, JoinResult};
use weft_api::error::Kind;
use weft_overlay::netlink::namespace::make_anonymous;
use weft_overlay::netlink::sandbox::{self, Interface};
use weft_overlay::netlink::{Connection, Namespace, link};
use weft_overlay::{PEER_TABLE, names};

use crate::bed::{Bed, NETWORK, eid};

const SANDBOX_KEY: &str = "/var/run/docker/netns/1a2b3c4d5e6f";
/// Longest wait for what the reconciler does by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// Does as libnetwork with the answer to a join.
async fn take(bed: &Bed, joined: &JoinResult, address: &str) -> Namespace {
    let container = make_anonymous().unwrap();
    let mut outside = Connection::open(&bed.host).await.unwrap();
    let wanted = Interface {
        ifname: format!("{}0", joined.dst_prefix),
        mac: None,
        mtu: None,
        addresses: vec![address.parse().unwrap()],
        routes: Vec::new(),
    };
    let from = (&mut outside, &bed.host);
    sandbox::move_in(from, &joined.src_name, &container, &wanted).await.unwrap();
    container
}

/// Waits for what the reconciler brings about.
async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_hand_over_names_the_link_and_leaves_gateways_to_the_caller() {
    let bed = Bed::internal().await;
    let run = bed.run().await;
    let joined = run.join(1, SANDBOX_KEY, &[HANDOVER]).await.unwrap();
    assert_eq!(
        (joined.src_name.as_str(), joined.dst_prefix.as_str()),
        (&*names::handed(eid(1)), "eth")
    );
    assert!(!joined.gateway_service_disabled && joined.gateway.is_none());
    assert_eq!(joined.table_entries.len(), 1);
    assert_eq!(joined.table_entries[0].table, PEER_TABLE);
    assert!(bed.in_host(&joined.src_name).await);
    let again = run.join(1, SANDBOX_KEY, &[HANDOVER]).await.unwrap_err();
    assert_eq!(again.kind(), Kind::Forbidden, "{again}");
    run.driver.leave(NETWORK, eid(1)).await.unwrap();
    assert!(!bed.in_host(&joined.src_name).await);
    run.end().await;
}

#[tokio::test]
async fn a_restart_adopts_what_is_in_its_container_and_tells_when_it_is_gone() {
    let bed = Bed::internal().await;
    let first = bed.run().await;
    let joined = first.join(1, SANDBOX_KEY, &[HANDOVER]).await.unwrap();
    let container = take(&bed, &joined, "10.66.0.11/24").await;
    first.end().await;
    let before = bed.port(1).await;

    let mut second = bed.run().await;
    let adopted = second.join(1, SANDBOX_KEY, &[HANDOVER, ADOPT]).await.unwrap();
    assert_eq!(adopted.table_entries, joined.table_entries);
    second.driver.set_restored().await;
    assert_eq!(bed.port(1).await, before);

    let mut inside = Connection::open(&container).await.unwrap();
    link::remove(&mut inside, "eth0").await.unwrap();
    let told = tokio::time::timeout(PATIENCE, second.vanished.recv()).await.unwrap().unwrap();
    let sandbox_key = SANDBOX_KEY.to_owned();
    assert_eq!(told, Vanished { network: NETWORK, endpoint: eid(1), sandbox_key });
    assert!(!bed.in_host(&joined.src_name).await, "nothing is made in its place");
    second.end().await;
}

#[tokio::test]
async fn adoption_of_what_is_gone_is_not_found_and_cuts_nobody_off() {
    let bed = Bed::internal().await;
    let first = bed.run().await;
    let joined = first.join(1, SANDBOX_KEY, &[HANDOVER]).await.unwrap();
    let container = take(&bed, &joined, "10.66.0.11/24").await;
    first.end().await;
    let before = bed.port(1).await;

    let second = bed.run().await;
    // The other one is asked for first, and nobody is joined yet.
    let gone = second.join(2, SANDBOX_KEY, &[HANDOVER, ADOPT]).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound, "{gone}");
    assert!(gone.to_string().contains(&names::port(eid(2))), "{gone}");
    assert_eq!(bed.port(1).await, before);
    second.join(1, SANDBOX_KEY, &[HANDOVER, ADOPT]).await.unwrap();
    second.driver.set_restored().await;
    assert_eq!(bed.port(1).await, before);
    let mut inside = Connection::open(&container).await.unwrap();
    assert!(link::get(&mut inside, "eth0").await.unwrap().carrier);
    second.end().await;
}

#[tokio::test]
async fn what_a_crash_left_in_the_host_goes_once_the_rest_is_restored() {
    let bed = Bed::internal().await;
    let first = bed.run().await;
    let joined = first.join(1, SANDBOX_KEY, &[HANDOVER]).await.unwrap();
    first.end().await;
    let second = bed.run().await;
    assert!(bed.in_host(&joined.src_name).await);
    second.driver.set_restored().await;
    until("the removal of a stray", async || !bed.in_host(&joined.src_name).await).await;
    second.end().await;
}
