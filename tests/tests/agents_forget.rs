//! Nodes that are gone for good, are forgotten, and return all the same.

use weft_agent::control::HeldByEngine;
use weft_api::control::{IpamPool, MemberResource, MemberState, StatusResource};
use weft_tests::testbed::{Host, Testbed, addresses, eventually, knows, with_subnets};

const POOL: &str = "10.69.0.0/28";
/// Addresses of the pool that endpoints can have: less network, broadcast and gateway.
const USABLE: usize = 13;

fn members(host: &Host) -> Vec<MemberResource> {
    host.weft(&["members", "--json"]).json()
}

fn state_of(host: &Host, name: &str) -> Vec<MemberState> {
    let members = members(host).into_iter().filter(|member| member.name == name);
    members.map(|member| member.state).collect()
}

fn pool(host: &Host) -> IpamPool {
    let pools: Vec<IpamPool> = host.weft(&["ipam", "ls", "--json"]).json();
    pools.into_iter().find(|pool| pool.pool == POOL).expect("the pool")
}

async fn is_failed(host: &Host, name: &str) {
    eventually(&format!("{name} is declared failed"), async || {
        (state_of(host, name) == [MemberState::Failed]).then_some(())
    })
    .await;
}

/// Released addresses rest for two seconds only.
const CONFIG: &str = "rest_seconds = 2\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_nodes_share_is_used_by_the_others_and_it_is_told_when_it_returns() {
    let mut testbed = Testbed::configured(3, CONFIG).await;
    // Its maker owns a network's addresses at first.
    let lost = with_subnets("blue", &[POOL]);
    testbed.hosts[2].client.create_network(&lost).await.expect("blue");
    let red = with_subnets("red", &["10.69.1.0/28"]);
    testbed.hosts[2].client.create_network(&red).await.expect("red");
    for host in 0..2 {
        knows(&testbed.hosts[host].client, "blue").await;
    }
    let (near, _) = testbed.attach(0, "blue", "near").await;
    let (_far, far) = testbed.attach(2, "blue", "far").await;
    let (_red, _) = testbed.attach(2, "red", "red").await;
    near.reaches(&addresses(&far)).await;
    let status: StatusResource = testbed.hosts[2].weft(&["status", "--json"]).json();
    let old = status.node.expect("a node");
    testbed.hosts[0].weft(&["forget", "h3"]).fails(1, "still answers");
    testbed.hosts[2].kill();
    for host in 0..2 {
        is_failed(&testbed.hosts[host], "h3").await;
    }
    testbed.hosts[0].weft(&["network", "rm", "red"]).fails(1, "in use on");
    let ran = testbed.hosts[0].weft(&["forget", "h3", "--json"]);
    assert_eq!(ran.json::<Vec<MemberResource>>()[0].state, MemberState::Forgotten);
    for host in 0..2 {
        let there = &testbed.hosts[host];
        eventually("h3 is forgotten", async || {
            (state_of(there, "h3") == [MemberState::Forgotten]).then_some(())
        })
        .await;
        eventually("its addresses are the others'", async || {
            let pool = pool(there);
            let owned = pool.shares.iter().all(|share| share.node != old);
            (owned && pool.size == 16).then_some(())
        })
        .await;
    }
    let mac = far.mac.expect("a MAC");
    let there = &testbed.hosts[0];
    eventually("its endpoint is no peer any more", async || {
        let kernel = there.kernel().await;
        let mut vxlans = kernel.observed.namespaces.values().flat_map(|ns| ns.vxlans.values());
        vxlans.all(|vxlan| vxlan.fdb.iter().all(|entry| entry.mac != mac)).then_some(())
    })
    .await;
    eventually("red, which only it used, can be removed", async || {
        there.client.delete_network("red", HeldByEngine::Refuse).await.ok()
    })
    .await;
    let mut sandboxes = Vec::new();
    for serial in 1..USABLE {
        let (host, name) = (serial % 2, format!("n{serial}"));
        let sandbox = testbed.sandbox(&name);
        let attach = ["attach", "blue", "--netns", sandbox.text(), "--name", &name];
        eventually("an address has rested", async || {
            (testbed.hosts[host].weft(&attach).code == 0).then_some(())
        })
        .await;
        sandboxes.push(sandbox);
    }
    // It returns, and finds its address in other hands.
    let config = testbed.config();
    testbed.hosts[2].start(&["--config", &config]);
    testbed.hosts[2].answers().await;
    let back = &testbed.hosts[2];
    eventually("it is a new member", async || {
        let status: StatusResource = back.weft(&["status", "--json"]).json();
        let is_new = status.node.is_some_and(|node| node != old);
        (is_new && status.members.alive == 3 && status.endpoints == 0).then_some(())
    })
    .await;
    assert!(back.log().contains("was forgotten by the other members"), "{}", back.log());
    testbed.settled().await;
    let mut states = state_of(&testbed.hosts[0], "h3");
    states.sort_unstable();
    assert_eq!(states, [MemberState::Alive, MemberState::Forgotten]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_away_is_waited_for_and_named_unless_forced() {
    let mut testbed = Testbed::configured(5, CONFIG).await;
    for host in [3, 4] {
        testbed.hosts[host].kill();
    }
    for host in 0..3 {
        is_failed(&testbed.hosts[host], "h4").await;
        is_failed(&testbed.hosts[host], "h5").await;
    }
    testbed.hosts[0].weft(&["forget", "h5"]).refuses(&["no answer from `h4`", "--force"]);
    testbed.hosts[0].weft(&["forget", "nobody"]).fails(1, "`nobody` does not exist");
    testbed.hosts[0].weft(&["forget", "h1"]).fails(1, "the node that is asked");
    assert_eq!(state_of(&testbed.hosts[0], "h5"), [MemberState::Failed]);
    let ran = testbed.hosts[0].weft(&["forget", "--force", "h5"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stderr.contains("h5 (") && ran.stderr.contains("is forgotten"), "{ran:?}");
    assert_eq!(state_of(&testbed.hosts[0], "h5"), [MemberState::Forgotten]);
    assert_eq!(testbed.hosts[0].weft(&["forget", "h5"]).code, 0, "once more is as good");
}
