//! The agent as a unit of systemd: stopped, killed and restarted beside traffic that goes on.

use weft_api::control::ClusterState;
use weft_tests::testbed::{Host, Systemd, Testbed, addresses, eventually};

/// Waits until an agent is ready and knows the other one.
async fn is_settled(host: &Host) {
    eventually(&format!("{} is ready", host.name), async || {
        let status = host.client.status().await.ok()?;
        (status.state == ClusterState::Ready && status.members.alive == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_is_restarted_killed_or_stopped_loses_no_packet() {
    let mut testbed = Testbed::cluster(1).await;
    let number = testbed.add_host().await;
    let [near, far, fresh] = ["near", "far", "fresh"].map(|name| testbed.sandbox(name));
    let host = &testbed.hosts[number];
    let systemd = Systemd::boot(host);
    let is_active = ["is-active", "--quiet", "weft.service"];
    let active = || (systemd.systemctl(&is_active).code == 0).then_some(());
    eventually("systemd takes the agent for ready", async || active()).await;
    assert!(host.client.status().await.is_ok(), "an agent that says it is ready answers");
    testbed.join(number).await;
    is_settled(host).await;
    testbed.hosts[0].weft(&["network", "create", "blue"]).done();
    let here = testbed.hosts[0].attach("blue", "near", &near).await;
    let there = host.attach("blue", "far", &far).await;
    near.reaches(&addresses(&there)).await;
    let pings = [near.stream_to(addresses(&there)[0]), far.stream_to(addresses(&here)[0])];

    let first = systemd.property("MainPID");
    systemd.systemctl(&["restart", "weft.service"]).done();
    is_settled(host).await;
    let second = systemd.property("MainPID");
    assert_ne!(first, second);

    systemd.systemctl(&["kill", "--kill-who=main", "--signal=KILL", "weft.service"]).done();
    eventually("systemd starts the agent again", async || {
        let third = systemd.property("MainPID");
        (third != second && third != "0").then_some(())
    })
    .await;
    eventually("the agent is ready again", async || active()).await;
    is_settled(host).await;

    systemd.systemctl(&["stop", "weft.service"]).done();
    assert_eq!(systemd.property("Result"), "success", "{}", host.log());
    systemd.systemctl(&["start", "weft.service"]).done();
    is_settled(host).await;

    for ping in pings {
        ping.lost_nothing().await;
    }
    // All that the unit allows the agent is enough for new endpoints, too.
    let late = host.attach("blue", "fresh", &fresh).await;
    near.reaches(&addresses(&late)).await;
}
