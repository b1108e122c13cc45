//! What cannot be done is said in words, and changes nothing.

use std::path::PathBuf;

use weft_overlay::netlink::namespace::{self, make_anonymous};
use weft_overlay::netlink::{Connection, NetlinkError, bridge, link};
use weft_overlay::op::{KernelOp, Place};

use crate::bed::{Bed, Host, NETWORK, Underlay};

async fn refused(host: &mut Host, op: KernelOp) -> NetlinkError {
    let mut failures = host.executor.apply(vec![op]).await;
    assert_eq!(failures.len(), 1);
    failures.remove(0).1
}

#[tokio::test]
async fn an_interface_name_that_exists_is_an_error() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    host.build().await;
    let sandbox = make_anonymous().unwrap();
    let mut inside = Connection::open(&sandbox).await.unwrap();
    bridge::ensure_plain(&mut inside, "eth0").await.unwrap();
    let link = host.endpoint_link(10, &sandbox);
    let op = KernelOp::EnsureEndpoint { namespace: NETWORK.to_owned(), link };
    let error = refused(host, op).await;
    assert!(matches!(&error, NetlinkError::InterfaceExists { ifname, .. } if ifname == "eth0"));
    let observed = host.executor.observe().await.unwrap();
    assert!(observed.namespaces[NETWORK].ports.is_empty(), "nothing is half made");
    assert_eq!(link::get(&mut inside, "eth0").await.unwrap().kind, "bridge");
}

#[tokio::test]
async fn a_pair_that_cannot_be_completed_is_undone() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    host.build().await;
    let sandbox = make_anonymous().unwrap();
    let mut link = host.endpoint_link(10, &sandbox);
    // A link-local next hop of IPv6 that is the endpoint itself is refused by the kernel.
    link.routes[1].via = Some(link.addresses[1].ip());
    let op = KernelOp::EnsureEndpoint { namespace: NETWORK.to_owned(), link };
    refused(host, op).await;
    let observed = host.executor.observe().await.unwrap();
    assert!(observed.namespaces[NETWORK].ports.is_empty());
    let mut inside = Connection::open(&sandbox).await.unwrap();
    assert!(link::find(&mut inside, "eth0").await.unwrap().is_none());
}

#[tokio::test]
async fn a_sandbox_that_is_gone_or_is_none_is_named() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    host.build().await;
    let sandbox = make_anonymous().unwrap();
    let mut link = host.endpoint_link(10, &sandbox);
    link.sandbox = Place::Sandbox(PathBuf::from("/proc/0/ns/net"));
    let op = |link| KernelOp::EnsureEndpoint { namespace: NETWORK.to_owned(), link };
    let error = refused(host, op(link.clone())).await;
    assert!(matches!(error, NetlinkError::NamespaceGone(_)), "{error}");
    link.sandbox = Place::Sandbox(PathBuf::from("/proc/self/ns/uts"));
    let error = refused(host, op(link.clone())).await;
    assert!(error.to_string().contains("/proc/self/ns/uts"), "{error}");
    link.sandbox = Place::Sandbox(PathBuf::from("/proc/version"));
    let error = refused(host, op(link)).await;
    assert!(matches!(error, NetlinkError::NotNamespace(_)), "{error}");
    let gone = Place::Sandbox(PathBuf::from("/proc/0/ns/net"));
    host.apply(vec![KernelOp::RemoveLink { place: gone, name: "eth0".to_owned() }]).await;
}

#[tokio::test]
async fn the_holder_of_a_vni_is_named() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    host.build().await;
    let other = "net-b".to_owned();
    let ops = vec![
        KernelOp::EnsureNamespace { name: other.clone() },
        KernelOp::EnsureBridge { namespace: other.clone(), bridge: host.bridge() },
    ];
    host.apply(ops).await;
    let vxlan = host.vxlan();
    let error = refused(host, KernelOp::EnsureVxlan { namespace: other, vxlan }).await;
    let text = error.to_string();
    assert!(matches!(error, NetlinkError::VniInUse { vni: 7777, .. }), "{text}");
    assert!(text.contains("netns/net-a"), "{text}");
}

#[tokio::test]
async fn the_kernels_own_words_are_passed_on() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    host.build().await;
    let mut bridge = host.bridge();
    bridge.name = "br-too-small".to_owned();
    bridge.mtu = 10;
    let error =
        refused(host, KernelOp::EnsureBridge { namespace: NETWORK.to_owned(), bridge }).await;
    let text = error.to_string();
    assert!(text.contains("br-too-small") && text.contains("mtu less than"), "{text}");
}

#[tokio::test]
async fn a_link_of_another_kind_is_not_touched() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    host.build().await;
    let mut vxlan = host.vxlan();
    vxlan.name = "br0".to_owned();
    let op = KernelOp::EnsureVxlan { namespace: NETWORK.to_owned(), vxlan };
    let error = refused(host, op).await;
    assert!(matches!(error, NetlinkError::WrongKind { .. }), "{error}");
}

#[tokio::test]
async fn operations_after_a_failed_one_are_carried_out() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    let mut ops = host.network_ops();
    let nowhere = "nowhere".to_owned();
    ops.insert(1, KernelOp::EnsureBridge { namespace: nowhere, bridge: host.bridge() });
    let failures = host.executor.apply(ops).await;
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].0, 1);
    assert!(matches!(failures[0].1, NetlinkError::NamespaceGone(_)));
    assert_eq!(host.executor.observe().await.unwrap().namespaces[NETWORK].vxlans.len(), 1);
}

#[tokio::test]
async fn a_file_left_where_a_namespace_was_pinned_is_used_again() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    let path = host.executor.pin_path(NETWORK);
    std::fs::write(&path, b"").unwrap();
    assert!(!namespace::is_pinned(&path));
    host.build().await;
    assert!(namespace::is_pinned(&path));
}

#[tokio::test]
async fn a_namespace_pinned_anew_is_entered_anew() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    host.build().await;
    let path = host.executor.pin_path(NETWORK);
    let mut old = Connection::open(&host.network()).await.unwrap();
    link::remove(&mut old, "vx0").await.unwrap();
    namespace::unpin(&path).unwrap();
    host.build().await;
    let mut new = Connection::open(&host.network()).await.unwrap();
    assert!(link::find(&mut new, "vx0").await.unwrap().is_some());
}
