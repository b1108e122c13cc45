//! What is left when all is taken down: nothing.

use weft_agent::control::HeldByEngine;
use weft_api::control::NetworkCreate;
use weft_tests::testbed::{Testbed, addresses, eventually, knows};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_on_any_host_when_the_last_network_goes() {
    let testbed = Testbed::cluster(2).await;
    let networks = [
        NetworkCreate { ipv6: true, ..NetworkCreate::named("open") },
        NetworkCreate { internal: true, ..NetworkCreate::named("shut") },
    ];
    let mut sandboxes = Vec::new();
    for network in &networks {
        testbed.hosts[0].client.create_network(network).await.expect("a network");
        for host in 0..2 {
            knows(&testbed.hosts[host].client, &network.name).await;
            let (sandbox, endpoint) =
                testbed.attach(host, &network.name, &format!("e{host}")).await;
            let first = sandboxes.first().unwrap_or(&sandbox);
            if network.name == "open" {
                first.reaches(&addresses(&endpoint)).await;
            }
            sandboxes.push(sandbox);
        }
    }
    for host in &testbed.hosts {
        let kernel = host.kernel().await;
        assert_eq!(kernel.pins.len(), 2, "{kernel:?}");
        assert!(!kernel.links.is_empty() && !kernel.tables.is_empty(), "{kernel:?}");
    }
    for (number, host) in testbed.hosts.iter().enumerate() {
        host.detach(&format!("open/e{number}")).await;
        host.detach(&format!("shut/e{number}")).await;
    }
    for sandbox in &sandboxes {
        assert_eq!(sandbox.links().await.len(), 1, "only lo is left");
    }
    for network in ["open", "shut"] {
        eventually("the network is removed", async || {
            testbed.hosts[1].client.delete_network(network, HeldByEngine::Refuse).await.ok()
        })
        .await;
    }
    for host in &testbed.hosts {
        eventually(&format!("nothing is left on {}", host.name), async || {
            host.kernel().await.is_clean().then_some(())
        })
        .await;
    }
}
