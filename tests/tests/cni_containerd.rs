//! A real containerd, and the plugin where `weft cni install` put it: `ctr run --cni`.

use weft_api::control::EndpointResource;
use weft_tests::testbed::{Containerds, Sandbox, eventually};

/// Two hosts on which an operator installed the plugin, for a network that nobody made yet.
async fn installed() -> Containerds {
    let containerds = Containerds::cluster(2).await;
    for runtime in containerds.iter() {
        runtime.weft(&["cni", "install", "--network", "blue"]).done();
    }
    containerds
}

/// The endpoint of a host's container, which has its addresses inside.
async fn endpoint_of(containerds: &Containerds, host: usize, name: &str) -> EndpointResource {
    let id = containerds[host].container_id(name);
    let attached = containerds.testbed.hosts[host].client.attachments(Some("blue")).await;
    let attached = attached.expect("the attachments of the network");
    let found = attached.into_iter().find(|one| one.key.container_id == id);
    found.unwrap_or_else(|| panic!("`{id}` is attached")).endpoint
}

async fn nothing_is_attached(containerds: &Containerds) {
    for host in &containerds.testbed.hosts {
        eventually("nothing is attached", async || {
            host.client.attachments(None).await.ok()?.is_empty().then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_two_runtimes_reach_each_other_and_leave_nothing() {
    let containerds = installed().await;
    let near: Sandbox = containerds.run(0, "near");
    let far: Sandbox = containerds.run(1, "far");
    let here = weft_tests::testbed::addresses(&endpoint_of(&containerds, 0, "near").await);
    let there = weft_tests::testbed::addresses(&endpoint_of(&containerds, 1, "far").await);
    near.reaches(&there).await;
    far.reaches(&here).await;

    // One that ends by itself is taken off by the runtime.
    let address = here[0].to_string();
    let ran = containerds.run_to_end(1, "brief", &["/bin/ping", "-c", "1", "-w", "10", &address]);
    ran.done();
    let left = containerds.testbed.hosts[1].client.attachments(None).await.expect("a list");
    assert_eq!(left.len(), 1, "{left:?}");

    // `ctr` ends no attachment of a container that it did not wait for: an operator does.
    drop((near, far));
    for (host, name) in [(0, "near"), (1, "far")] {
        containerds[host].remove(name).await;
        let id = containerds[host].container_id(name);
        containerds[host].weft(&["pod", "del", "blue", "--container-id", &id]).done();
    }
    nothing_is_attached(&containerds).await;
}
