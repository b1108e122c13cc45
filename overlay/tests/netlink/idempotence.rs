//! What is applied twice is as if applied once; what is removed is gone; what is read back is what
//! was asked.

use std::collections::BTreeSet;

use weft_overlay::netlink::{Connection, Namespace, link, namespace};
use weft_overlay::observed::Observed;
use weft_overlay::op::{FdbEntry, KernelOp, Neighbour, Place};

use crate::bed::{BRIDGE, Bed, NETWORK, Underlay, VXLAN, mac, remove_ops, replace_ops, v4, v6};

fn everything(bed: &Bed, sandbox: &Namespace) -> Vec<KernelOp> {
    let host = &bed.hosts[0];
    let mut ops = host.network_ops();
    let namespace = NETWORK.to_owned();
    let link = host.endpoint_link(10, sandbox);
    ops.push(KernelOp::EnsureEndpoint { namespace: namespace.clone(), link });
    ops.push(KernelOp::EnsureWayOut { namespace, way: host.way_out() });
    ops.extend(replace_ops(mac(2, 10), [192, 0, 2, 2].into(), &[v4(2, 10), v6(2, 10)]));
    ops
}

#[tokio::test]
async fn applying_twice_changes_nothing_and_reads_back_as_asked() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let sandbox = namespace::make_anonymous().unwrap();
    let ops = everything(&bed, &sandbox);
    let host = &mut bed.hosts[0];
    host.apply(ops.clone()).await;
    let first = host.executor.observe().await.unwrap();
    let indices = links(&host.network()).await;
    host.apply(ops).await;
    assert_eq!(host.executor.observe().await.unwrap(), first);
    assert_eq!(links(&host.network()).await, indices, "no link was made anew");

    let seen = &first.namespaces[NETWORK];
    assert_eq!(seen.bridges[BRIDGE], host.bridge());
    assert_eq!(seen.vxlans[VXLAN].shape, host.vxlan());
    let fdb = BTreeSet::from([FdbEntry { mac: mac(2, 10), vtep: [192, 0, 2, 2].into() }]);
    assert_eq!(seen.vxlans[VXLAN].fdb, fdb);
    let neighbours = [v4(2, 10), v6(2, 10)].map(|ip| Neighbour { ip, mac: mac(2, 10) });
    assert_eq!(seen.vxlans[VXLAN].neighbours, BTreeSet::from(neighbours));
    let port = &seen.ports["p10"];
    assert_eq!((port.bridge.as_str(), port.carrier), (BRIDGE, true));
    assert_eq!(seen.ports.len(), 1);
    assert_eq!(seen.way_out.as_deref(), Some("out"));
    assert_eq!(first.host_links, BTreeSet::from(["wf-a".to_owned()]));
}

async fn links(namespace: &Namespace) -> Vec<(String, u32)> {
    let mut connection = Connection::open(namespace).await.unwrap();
    let links = link::list(&mut connection).await.unwrap();
    links.into_iter().map(|link| (link.name, link.index)).collect()
}

#[tokio::test]
async fn removing_everything_leaves_nothing_and_removing_again_succeeds() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let before = links(&bed.hosts[0].namespace).await;
    let sandbox = namespace::make_anonymous().unwrap();
    let ops = everything(&bed, &sandbox);
    let host = &mut bed.hosts[0];
    host.apply(ops).await;
    let namespace = NETWORK.to_owned();
    let mut removal = remove_ops(mac(2, 10), [192, 0, 2, 2].into(), &[v4(2, 10), v6(2, 10)]);
    removal.extend([
        KernelOp::RemoveLink { place: Place::Network(namespace.clone()), name: "p10".to_owned() },
        KernelOp::RemoveWayOut { namespace: namespace.clone(), way: host.way_out() },
        KernelOp::RemoveLink { place: Place::Network(namespace.clone()), name: VXLAN.to_owned() },
        KernelOp::RemoveNamespace { name: namespace },
    ]);
    host.apply(removal.clone()).await;
    assert_eq!(host.executor.observe().await.unwrap(), Observed::default());
    assert_eq!(links(&host.namespace).await, before);
    assert_eq!(links(&sandbox).await.len(), 1, "`lo` alone is left in the sandbox");
    assert!(!host.executor.pin_path(NETWORK).exists());
    host.apply(removal).await;
}

#[tokio::test]
async fn a_vni_is_free_as_soon_as_its_namespace_is_removed() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let host = &mut bed.hosts[0];
    for _ in 0..5 {
        host.build().await;
        host.apply(vec![KernelOp::RemoveNamespace { name: NETWORK.to_owned() }]).await;
    }
}

#[tokio::test]
async fn what_drifted_is_put_right() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let sandbox = namespace::make_anonymous().unwrap();
    let ops = everything(&bed, &sandbox);
    let host = &mut bed.hosts[0];
    host.apply(ops.clone()).await;
    let whole = host.executor.observe().await.unwrap();
    let mut inside = Connection::open(&host.network()).await.unwrap();
    let mut outside = Connection::open(&host.namespace).await.unwrap();
    for round in 0..4 {
        match round {
            0 => link::set_mtu(&mut inside, VXLAN, 1300).await.unwrap(),
            1 => link::remove(&mut inside, VXLAN).await.unwrap(),
            2 => link::remove(&mut inside, "p10").await.unwrap(),
            _ => link::remove(&mut outside, "wf-a").await.unwrap(),
        }
        assert_ne!(host.executor.observe().await.unwrap(), whole, "round {round}");
        host.apply(ops.clone()).await;
        assert_eq!(host.executor.observe().await.unwrap(), whole, "round {round}");
    }
}

#[tokio::test]
async fn a_second_executor_adopts_what_the_first_left() {
    let mut bed = Bed::new(1, Underlay::V4).await;
    let sandbox = namespace::make_anonymous().unwrap();
    let ops = everything(&bed, &sandbox);
    let host = &mut bed.hosts[0];
    host.apply(ops.clone()).await;
    let whole = host.executor.observe().await.unwrap();
    let indices = links(&host.network()).await;
    let namespace = host.namespace.try_clone().unwrap();
    host.executor = weft_overlay::netlink::Executor::new_in(namespace, host.run_dir()).unwrap();
    assert_eq!(host.executor.observe().await.unwrap(), whole);
    host.apply(ops).await;
    assert_eq!(links(&host.network()).await, indices);
}
