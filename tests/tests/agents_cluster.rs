//! Nodes that make, join and leave clusters.

use std::time::Duration;

use weft_api::control::{ClusterState, IpamPool, JoinRequest, MemberState, StatusResource};
use weft_tests::testbed::{
    Cut, Host, Testbed, Underlay, addresses, eventually, knows, with_subnets,
};

const POOL: &str = "10.68.0.0/24";

fn status(host: &Host) -> StatusResource {
    host.weft(&["status", "--json"]).json()
}

fn pool(host: &Host) -> IpamPool {
    let pools: Vec<IpamPool> = host.weft(&["ipam", "ls", "--json"]).json();
    pools.into_iter().find(|pool| pool.pool == POOL).expect("the pool")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_hands_its_addresses_over_and_joins_again_as_a_new_one() {
    let testbed = Testbed::cluster(3).await;
    let [one, two, three] = &testbed.hosts[..] else { panic!("three hosts") };
    // The maker of a network owns its addresses at first.
    three.client.create_network(&with_subnets("blue", &[POOL])).await.expect("blue");
    knows(&one.client, "blue").await;
    let (_web, _) = testbed.attach(2, "blue", "web").await;
    let (_peer, peer) = testbed.attach(0, "blue", "peer").await;
    let size = pool(three).size;
    three.weft(&["leave"]).fails(1, "1 endpoint");
    assert_eq!(status(three).state, ClusterState::Ready);
    let old = status(three).node.expect("a node");
    assert_eq!(three.weft(&["leave", "--force"]).code, 0);
    assert_eq!((status(three).state, status(three).endpoints), (ClusterState::None, 0));
    for host in [one, two] {
        eventually("the one that left is gone", async || {
            let members = host.client.members().await.ok()?;
            let state = members.iter().find(|member| member.id == old).map(|member| member.state);
            matches!(state, None | Some(MemberState::Left)).then_some(())
        })
        .await;
        eventually("its addresses are in other hands", async || {
            let pool = pool(host);
            let owned = pool.shares.iter().all(|share| share.node != old);
            (owned && pool.size == size).then_some(())
        })
        .await;
    }
    testbed.join(2).await;
    testbed.settled().await;
    assert_ne!(status(three).node, Some(old));
    knows(&three.client, "blue").await;
    let (again, _) = testbed.attach(2, "blue", "again").await;
    again.reaches(&addresses(&peer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_leaves_by_force_alone() {
    let testbed = Testbed::cluster(2).await;
    let [_, two] = &testbed.hosts[..] else { panic!("two hosts") };
    eventually("VNIs and default pools of its own", async || {
        let pools: Vec<IpamPool> = two.weft(&["ipam", "ls", "--json"]).json();
        let mut common = pools.iter().filter(|pool| pool.network.is_none());
        (common.clone().count() > 1 && common.all(|pool| pool.free > 0)).then_some(())
    })
    .await;
    testbed.cut(&[Cut::Both(1)]);
    eventually("nobody answers", async || {
        let members = two.client.members().await.ok()?;
        members.iter().any(|member| member.state == MemberState::Failed).then_some(())
    })
    .await;
    two.client.create_network(&with_subnets("blue", &[POOL])).await.expect("a network of its own");
    two.weft(&["leave"]).fails(1, "no other member answers");
    assert_eq!(status(two).state, ClusterState::Ready);
    assert_eq!(two.weft(&["leave", "--force"]).code, 0);
    assert_eq!(status(two).state, ClusterState::None);
    testbed.cut(&[]);
    testbed.join(1).await;
    testbed.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_cannot_be_changes_nothing_and_can_be_tried_again() {
    let mut testbed = Testbed::cluster(1).await;
    for _ in 0..2 {
        let host = testbed.add_host().await;
        testbed.hosts[host].start(&[]);
        testbed.hosts[host].answers().await;
    }
    let [one, two, other] = &testbed.hosts[..] else { panic!("three hosts") };
    one.weft(&["init"]).fails(1, "is in cluster");
    other.weft(&["init"]).line();
    let foreign = testbed.path("foreign");
    let good = testbed.path("good");
    let write = |host: &Host, path: &std::path::Path| {
        let written = host.weft(&["token", "-o", path.to_str().expect("a path")]);
        assert_eq!(written.code, 0, "{written:?}");
        path.to_str().expect("a path").to_owned()
    };
    let (foreign, good) = (write(other, &foreign), write(one, &good));
    let seed = one.address().to_string();
    let refused = two.weft(&["join", "--token-file", &foreign, &seed]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("hint: "), "{refused:?}");
    assert_eq!((status(two).state, status(two).node), (ClusterState::None, None));
    let deaf = format!("{seed}:7951");
    two.weft(&["join", "--token-file", &good, &deaf]).fails(1, &deaf);
    two.weft(&["join", "--token-file", &good, "198.18.7.99"]).fails(1, "198.18.7.99");
    assert_eq!((status(two).state, status(two).node), (ClusterState::None, None));
    assert_eq!(two.weft(&["join", "--token-file", &good, &deaf, &seed]).code, 0);
    assert_eq!(status(two).cluster, status(one).cluster);
    two.weft(&["join", "--token-file", &good, &seed]).fails(1, "is in cluster");
    two.weft(&["init"]).fails(1, "is in cluster");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_says_about_the_start_is_done_once() {
    let mut testbed = Testbed::new(Underlay::V4).await;
    let (one, two) = (testbed.add_host().await, testbed.add_host().await);
    let token = testbed.path("token");
    let file = token.to_str().expect("a path").to_owned();
    let seed = testbed.hosts[one].address().to_string();
    let join = ["--join", &seed, "--token-file", &file];
    // The second comes first: it waits for its token and for the other.
    testbed.hosts[two].start(&join);
    testbed.hosts[two].answers().await;
    testbed.hosts[one].start(&["--init"]);
    testbed.hosts[one].answers().await;
    eventually("the first has made a cluster", async || {
        (status(&testbed.hosts[one]).state == ClusterState::Ready).then_some(())
    })
    .await;
    assert_eq!(testbed.hosts[one].weft(&["token", "-o", &file]).code, 0);
    testbed.settled().await;
    let nodes = [status(&testbed.hosts[one]).node, status(&testbed.hosts[two]).node];
    let cluster = status(&testbed.hosts[one]).cluster;
    for host in [one, two] {
        testbed.hosts[host].stop();
    }
    testbed.hosts[one].start(&["--init"]);
    testbed.hosts[two].start(&join);
    for host in [one, two] {
        testbed.hosts[host].answers().await;
    }
    testbed.settled().await;
    assert_eq!([status(&testbed.hosts[one]).node, status(&testbed.hosts[two]).node], nodes);
    assert_eq!(status(&testbed.hosts[two]).cluster, cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_same_cluster_id_with_another_key_lets_nobody_in() {
    use weft_agent::token::Token;
    let mut testbed = Testbed::cluster(1).await;
    let host = testbed.add_host().await;
    testbed.hosts[host].start(&[]);
    testbed.hosts[host].answers().await;
    let invitation = testbed.invitation().await;
    let mut token: Token = invitation.token.reveal().parse().expect("a token");
    token.key[0] ^= 1;
    let forged = JoinRequest {
        token: weft_api::control::Secret::new(token.to_text()),
        seeds: invitation.seeds.clone(),
    };
    let client = &testbed.hosts[host].client;
    let refused = tokio::time::timeout(Duration::from_secs(30), client.join(&forged)).await;
    refused.expect("an answer in time").expect_err("a wrong key");
    assert_eq!(status(&testbed.hosts[host]).state, ClusterState::None);
    assert_eq!(status(&testbed.hosts[0]).members.alive, 1);
    client.join(&invitation).await.expect("join");
    testbed.settled().await;
}
