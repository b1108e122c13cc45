//! The cluster's key, rotated over real agents: nothing is lost, and nothing tells it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use weft_agent::token::Token;
use weft_api::ClusterId;
use weft_api::control::{
    ClusterState, DoctorReport, JoinRequest, KeyResource, KeyRole, NetworkCreate, Secret,
    StatusResource,
};
use weft_tests::testbed::{Host, Testbed, addresses, eventually};

fn keys(host: &Host) -> Vec<KeyResource> {
    host.weft(&["key", "ls", "--json"]).json()
}

fn status(host: &Host) -> StatusResource {
    host.weft(&["status", "--json"]).json()
}

fn lost(host: &Host) -> [u64; 2] {
    let counters = status(host).counters;
    ["gossip_bad_auth", "gossip_streams_failed"]
        .map(|name| counters.get(name).copied().unwrap_or(0))
}

async fn key_of(testbed: &Testbed) -> ([u8; 32], JoinRequest) {
    let invitation = testbed.invitation().await;
    let token: Token = invitation.token.reveal().parse().expect("a token");
    (token.key, invitation)
}

/// Waits until all that run seal with the same key and have told each other.
async fn agreed(testbed: &Testbed) {
    for host in testbed.hosts.iter().filter(|host| host.runs()) {
        eventually("all have said that they use the key", async || {
            let ring = keys(host);
            let settled = ring.iter().all(|key| key.role != KeyRole::Pending);
            (settled && ring.iter().all(|key| key.missing.is_empty())).then_some(())
        })
        .await;
    }
}

/// Every way in which a key could be spelled in a text.
fn spellings(key: &[u8; 32]) -> Vec<String> {
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let list: Vec<String> = key[..8].iter().map(u8::to_string).collect();
    let base64 = base64(key);
    vec![hex[..16].to_owned(), hex[..16].to_uppercase(), list.join(", "), base64[..20].to_owned()]
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let digit = |six: &[u8]| six.iter().fold(0_usize, |value, bit| value << 1 | usize::from(*bit));
    bits.chunks_exact(6).map(|six| char::from(DIGITS[digit(six)])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_rotated_under_traffic_and_a_removed_one_lets_nobody_in() {
    let mut testbed = Testbed::cluster(3).await;
    testbed.hosts[0].client.create_network(&NetworkCreate::named("blue")).await.expect("blue");
    let (here, one) = testbed.attach(0, "blue", "one").await;
    let (there, two) = testbed.attach(1, "blue", "two").await;
    let (one, two) = (addresses(&one), addresses(&two));
    here.reaches(&two).await;
    let (old_key, old) = key_of(&testbed).await;
    let founded = keys(&testbed.hosts[0]);
    assert_eq!((founded.len(), founded[0].role, founded[0].rotation), (1, KeyRole::Primary, 0));
    let before: Vec<_> = testbed.hosts.iter().map(lost).collect();
    let pings = [here.stream_to(two[0]), there.stream_to(one[0])];
    let (mut secrets, mut sandboxes) = (vec![old_key], Vec::new());
    for round in 0..4 {
        let host = &testbed.hosts[round % 3];
        let shown: Vec<KeyResource> = host.weft(&["key", "rotate", "--json"]).json();
        assert_eq!((shown[0].role, shown[0].rotation), (KeyRole::Primary, round as u64 + 1));
        // What is made just after is on all nodes that take part.
        let name = format!("n{round}");
        let sandbox = testbed.sandbox(&name);
        let other = &testbed.hosts[1 + round % 2];
        other.weft(&["attach", "blue", "--netns", sandbox.text(), "--name", &name]).done();
        sandboxes.push(sandbox);
        eventually("the endpoint is known", async || {
            let peers = testbed.hosts[0].client.entries("blue", "overlay_peer_table").await.ok()?;
            (peers.len() == 3 + round).then_some(())
        })
        .await;
        agreed(&testbed).await;
        secrets.push(key_of(&testbed).await.0);
    }
    for ping in pings {
        ping.lost_nothing().await;
    }
    for (host, before) in testbed.hosts.iter().zip(before) {
        assert_eq!(lost(host), before, "{}", host.name);
    }
    let (_, new) = key_of(&testbed).await;
    // A token of the key before still works; then it is removed.
    let ring = keys(&testbed.hosts[1]);
    let accepted = ring.iter().find(|key| key.role == KeyRole::Accepted).expect("one before");
    testbed.hosts[1].weft(&["key", "rm", &ring[0].id]).fails(1, "is what the members speak with");
    testbed.hosts[1].weft(&["key", "rm", "nothing"]).fails(1, "`nothing` does not exist");
    testbed.hosts[1].weft(&["key", "rm", &accepted.id[..8]]).done();
    for host in &testbed.hosts {
        eventually("it is removed everywhere", async || (keys(host).len() == 1).then_some(()))
            .await;
    }
    let last = Token { cluster: old_cluster(&old), key: secrets[3] };
    let last = JoinRequest { token: Secret::new(last.to_text()), seeds: old.seeds.clone() };
    let joiner = testbed.add_host().await;
    testbed.hosts[joiner].start(&[]);
    testbed.hosts[joiner].answers().await;
    let client = &testbed.hosts[joiner].client;
    for stale in [&old, &last] {
        let refused = client.join(stale).await.expect_err("a key that was removed").to_string();
        assert!(refused.contains("does not accept this key"), "{refused}");
        assert_eq!(status(&testbed.hosts[joiner]).state, ClusterState::None);
    }
    client.join(&new).await.expect("the new token lets it in");
    testbed.settled().await;
    agreed(&testbed).await;
    nothing_tells(&testbed, &secrets);
    // A restart finds the ring.
    testbed.hosts[2].stop();
    testbed.hosts[2].start(&[]);
    testbed.hosts[2].answers().await;
    testbed.settled().await;
    assert_eq!(keys(&testbed.hosts[2]), keys(&testbed.hosts[0]));
    assert_eq!(key_of(&testbed).await.0, secrets[4]);
}

fn old_cluster(invitation: &JoinRequest) -> ClusterId {
    invitation.token.reveal().parse::<Token>().expect("a token").cluster
}

/// The digits of the token that carries a key, in the middle, which is the key's own.
fn token_digits(cluster: ClusterId, key: [u8; 32]) -> String {
    let text = Token { cluster, key }.to_text();
    let end = text.len() - 12;
    text[end - 24..end].to_owned()
}

/// Looks for the keys, and the tokens that carry them, wherever somebody else could.
fn nothing_tells(testbed: &Testbed, secrets: &[[u8; 32]]) {
    let cluster = status(&testbed.hosts[0]).cluster.expect("a cluster");
    let tokens: Vec<String> = secrets.iter().map(|key| token_digits(cluster, *key)).collect();
    for host in &testbed.hosts {
        let mut texts = vec![host.log()];
        for command in ["key ls", "status", "members", "doctor", "ipam ls", "network ls"] {
            let mut words: Vec<&str> = command.split(' ').collect();
            texts.push(host.weft(&words).stdout);
            words.push("--json");
            texts.push(host.weft(&words).stdout);
        }
        let arguments = fs::read_dir("/proc").expect("/proc").flatten();
        let arguments = arguments.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        texts.extend(arguments.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
        for spelling in secrets.iter().flat_map(spellings).chain(tokens.iter().cloned()) {
            assert!(!texts.iter().any(|text| text.contains(&spelling)), "{}", host.name);
        }
        for entry in fs::read_dir(host.data_dir()).expect("a data directory").flatten() {
            let mode = entry.metadata().expect("metadata").permissions().mode();
            assert!(entry.path().is_dir() || mode & 0o777 == 0o600, "{:?} {mode:o}", entry.path());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_is_waited_for_cut_off_by_force_and_brought_back_by_token() {
    let mut testbed = Testbed::cluster(3).await;
    let node = status(&testbed.hosts[2]).node;
    testbed.hosts[2].kill();
    eventually("h3 is declared failed", async || {
        (status(&testbed.hosts[0]).members.failed == 1).then_some(())
    })
    .await;
    let rotate = |words: &[&str]| testbed.hosts[0].weft(&[&["key", "rotate"][..], words].concat());
    rotate(&[]).refuses(&["the key is not rotated: no answer from `h3`", "--force"]);
    rotate(&["--force"]).done();
    eventually("the one that is away is waited for", async || {
        (keys(&testbed.hosts[0])[0].missing == ["h3"]).then_some(())
    })
    .await;
    let ring = keys(&testbed.hosts[0]);
    testbed.hosts[0].weft(&["key", "rm", &ring[1].id]).fails(1, "`h3` would be cut off");
    testbed.hosts[0].weft(&["key", "rm", "--force", &ring[1].id]).done();
    testbed.hosts[2].start(&[]);
    testbed.hosts[2].answers().await;
    let back = &testbed.hosts[2];
    eventually("it is told what happened and what to do", async || {
        let report: DoctorReport =
            serde_json::from_str(&back.weft(&["doctor", "--json"]).stdout).ok()?;
        let told =
            |text: &str| text.contains("none of this node's keys") && text.contains("weft join");
        report.checks.iter().any(|check| told(&check.detail)).then_some(())
    })
    .await;
    eventually("it reaches nobody", async || (status(back).members.failed == 2).then_some(()))
        .await;
    let file = testbed.path("token").to_str().expect("a path").to_owned();
    testbed.hosts[0].weft(&["token", "-o", &file]).done();
    let seed = testbed.hosts[0].address().to_string();
    back.weft(&["join", "--token-file", &file, &seed]).done();
    testbed.settled().await;
    agreed(&testbed).await;
    assert_eq!(status(&testbed.hosts[2]).node, node, "it is the same node");
    assert_eq!(keys(&testbed.hosts[2]), keys(&testbed.hosts[0]));
}
