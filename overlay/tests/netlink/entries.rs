//! Forwarding entries and neighbours, many at once.

use std::net::IpAddr;

use weft_api::Mac;
use weft_overlay::op::KernelOp;

use crate::bed::{Bed, NETWORK, Underlay, VXLAN, mac, remove_ops, replace_ops, v4};

const PEERS: u32 = 10_000;

fn peer(number: u32) -> (Mac, IpAddr, IpAddr) {
    let [_, a, b, c] = number.to_be_bytes();
    let mac = Mac::from_bytes([2, 1, 0, a, b, c]);
    (mac, IpAddr::from([198, 51, 100, c.max(1)]), IpAddr::from([10, 77, 128 | b, c]))
}

#[tokio::test]
async fn ten_thousand_peers_are_set_read_back_and_removed() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    host.build().await;
    let peers: Vec<_> = (0..PEERS).map(peer).collect();
    let set = peers.iter().flat_map(|(mac, vtep, ip)| replace_ops(*mac, *vtep, &[*ip]));
    host.apply(set.collect()).await;
    let observed = host.executor.observe().await.unwrap();
    let vxlan = &observed.namespaces[NETWORK].vxlans[VXLAN];
    assert_eq!((vxlan.fdb.len(), vxlan.neighbours.len()), (PEERS as usize, PEERS as usize));
    let gone = peers.iter().flat_map(|(mac, vtep, ip)| remove_ops(*mac, *vtep, &[*ip]));
    host.apply(gone.collect()).await;
    let observed = host.executor.observe().await.unwrap();
    let vxlan = &observed.namespaces[NETWORK].vxlans[VXLAN];
    assert!(vxlan.fdb.is_empty() && vxlan.neighbours.is_empty());
}

#[tokio::test]
async fn a_refused_entry_is_named_and_its_neighbours_in_the_batch_are_set() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    host.build().await;
    let mut ops = Vec::new();
    let mut bad = Vec::new();
    for number in 0..1000 {
        let (mac, vtep, ip) = peer(number);
        ops.extend(replace_ops(mac, vtep, &[ip]));
        if number % 100 == 0 || number == 999 {
            // An address of the family that the device does not speak.
            bad.push(ops.len());
            ops.extend(replace_ops(mac, "2001:db8::1".parse().unwrap(), &[]));
        }
    }
    let failures = host.executor.apply(ops).await;
    let failed: Vec<usize> = failures.iter().map(|(position, _)| *position).collect();
    assert_eq!(failed, bad, "{:?}", failures.first().map(|(_, error)| error.to_string()));
    let observed = host.executor.observe().await.unwrap();
    assert_eq!(observed.namespaces[NETWORK].vxlans[VXLAN].fdb.len(), 1000);
}

#[tokio::test]
async fn an_entry_that_moved_on_is_not_removed_by_its_old_host() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    host.build().await;
    let (old, new) = (IpAddr::from([192, 0, 2, 8]), IpAddr::from([192, 0, 2, 9]));
    host.apply(replace_ops(mac(9, 9), new, &[v4(9, 9)])).await;
    host.apply(remove_ops(mac(9, 9), old, &[])).await;
    let observed = host.executor.observe().await.unwrap();
    let fdb = &observed.namespaces[NETWORK].vxlans[VXLAN].fdb;
    assert_eq!(fdb.iter().map(|entry| entry.vtep).collect::<Vec<_>>(), [new]);
}

#[tokio::test]
async fn removing_from_what_is_gone_succeeds_and_setting_there_fails() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    host.apply(remove_ops(mac(9, 9), [192, 0, 2, 9].into(), &[v4(9, 9)])).await;
    host.apply(vec![KernelOp::EnsureNamespace { name: NETWORK.to_owned() }]).await;
    host.apply(remove_ops(mac(9, 9), [192, 0, 2, 9].into(), &[v4(9, 9)])).await;
    let set = replace_ops(mac(9, 9), [192, 0, 2, 9].into(), &[v4(9, 9)]);
    assert_eq!(host.executor.apply(set).await.len(), 2);
}
