//! A hundred real agents on one machine.

use futures_util::future::join_all;
use weft_api::control::NetworkCreate;
use weft_tests::testbed::{Testbed, Underlay, addresses, knows};

const HOSTS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_agents_form_one_cluster_and_a_write_reaches_all() {
    let mut testbed = Testbed::new(Underlay::V4).await;
    for _ in 0..HOSTS {
        testbed.add_host().await;
    }
    testbed.acquaint().await;
    testbed.found(&[]).await;
    let network = testbed.hosts[57].client.create_network(&NetworkCreate::named("blue")).await;
    let network = network.expect("blue");
    let known = testbed.hosts.iter().map(|host| knows(&host.client, "blue"));
    for there in join_all(known).await {
        assert_eq!(there.id, network.id);
    }
    let mut places = Vec::new();
    for host in [0, 33, 66, HOSTS - 1] {
        let (sandbox, endpoint) = testbed.attach(host, "blue", &format!("e{host}")).await;
        places.push((sandbox, addresses(&endpoint)));
    }
    for (from, _) in &places {
        for (_, to) in &places {
            from.reaches(to).await;
        }
    }
    testbed.ends_clean().await;
}
