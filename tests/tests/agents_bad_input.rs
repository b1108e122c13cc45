//! Bad input, one row a case: the exit code, a sentence, a hint; and nothing is half-made.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use weft_api::control::{EndpointResource, IpamPool, NetworkResource};
use weft_tests::testbed::{Host, Kernel, Testbed, Underlay, with_subnets};

/// Somebody without rights.
const NOBODY: u32 = 65534;

/// A command line that must fail.
struct Row {
    arguments: Vec<String>,
    code: i32,
    words: &'static str,
}

/// Reads the rows: exit code, command line with blanks between, words of the sentence.
fn rows(table: &[(i32, &str, &'static str)], sandbox: &str) -> Vec<Row> {
    let row = |(code, line, words): &(i32, &str, &'static str)| Row {
        arguments: line.split(' ').map(|word| word.replace("NETNS", sandbox)).collect(),
        code: *code,
        words,
    };
    table.iter().map(row).collect()
}

/// What must be the same after a command that failed.
#[derive(Debug, PartialEq)]
struct State {
    endpoints: Vec<EndpointResource>,
    networks: Vec<NetworkResource>,
    pools: Vec<(String, u64, u64)>,
    kernel: Kernel,
}

async fn state(host: &Host) -> State {
    let pools: Vec<IpamPool> = host.weft(&["ipam", "ls", "--json"]).json();
    let mut pools: Vec<_> = pools.into_iter().map(|p| (p.pool, p.used, p.size)).collect();
    pools.sort();
    State {
        endpoints: host.weft(&["endpoint", "ls", "--json"]).json(),
        networks: host.weft(&["network", "ls", "--json"]).json(),
        pools,
        kernel: host.kernel().await,
    }
}

const ATTACH: &str = "attach blue --netns NETNS";

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_command_line_gets_a_sentence_and_a_hint_and_changes_nothing() {
    let testbed = Testbed::cluster(2).await;
    let host = &testbed.hosts[0];
    let client = &host.client;
    client.create_network(&with_subnets("blue", &["10.70.0.0/24"])).await.expect("blue");
    client.create_network(&with_subnets("tiny", &["10.71.0.0/30"])).await.expect("tiny");
    let (_web, web) = testbed.attach(0, "blue", "web").await;
    let (_only, _) = testbed.attach(0, "tiny", "only").await;
    let used = format!("{ATTACH} --ip {}", web.address.expect("IPv4").ip());
    let id = web.id.to_string();
    let long = "n".repeat(129);
    let long_name = format!("network create {long}");
    let wrong_vni = "network create red -o com.docker.network.driver.overlay.vxlanid_list=x";
    let table: &[(i32, &str, &'static str)] = &[
        // what is no command line
        (2, "frobnicate", "frobnicate"),
        (2, "network create red --colour blue", "--colour"),
        (2, "network create", "<NAME>"),
        (2, "network create red --subnet 10.72.0.0", "prefix length is missing"),
        (2, "network create red --subnet 10.72.0.1/24", "host bits"),
        (2, "network create red --subnet 10.72.0.0/33", "10.72.0.0/33"),
        (2, "network create red --subnet ten/24", "ten/24"),
        (2, "network create red --gateway 10.72.0.1", "lies in no subnet"),
        (2, "network create red --mtu 10", "10"),
        (2, "network create red -o novalue", "KEY=VALUE"),
        (2, "attach blue", "--netns"),
        (2, "attach blue --netns NETNS --pid 1", "--pid"),
        (2, "attach blue --pid 0", "0"),
        (2, "attach blue --netns NETNS --ip 10.70.0", "10.70.0"),
        (2, "attach blue --netns NETNS --mac 02:00", "02:00"),
        (2, "attach blue --netns NETNS --ifname an/interface", "an/interface"),
        (2, "attach blue --netns NETNS --ifname sixteen-letters-", "sixteen-letters-"),
        (2, "join", "ADDR"),
        (2, "join 198.18.7.1:99999", "198.18.7.1:99999"),
        // what is no network
        (1, "network create -", "network name `-`"),
        (1, "network create a/b", "network name `a/b`"),
        (1, &long_name, "129 bytes"),
        (1, "network create red --subnet 10.72.0.0/31", "no usable size"),
        (1, "network create red --subnet 127.0.0.0/24", "is not for hosts"),
        (1, "network create red --subnet 224.0.0.0/24", "is not for hosts"),
        (1, "network create red --subnet 10.72.0.0/24 --subnet 10.72.0.0/25", "overlap"),
        (1, "network create red --subnet 10.70.0.0/16", "overlaps `10.70.0.0/24`"),
        (1, "network create red --subnet 10.72.0.0/24 --gateway 10.72.0.0", "10.72.0.0"),
        (1, "network create blue --subnet 10.73.0.0/24", "`blue`"),
        (1, "network create red --mtu 9000", "MTU `9000`"),
        (1, "network create red --driver absent", "driver `absent`"),
        (1, "network create red --ipam-driver absent", "driver `absent`"),
        (1, wrong_vni, "VNI"),
        (1, "network rm absent", "`absent`"),
        (1, "network rm blue", "endpoint(s)"),
        (1, "network inspect absent", "`absent`"),
        // what is no endpoint
        (1, "attach absent --netns NETNS", "`absent`"),
        (1, "attach blue --netns /nonexistent/ns", "/nonexistent/ns"),
        (1, "attach blue --netns /proc/version", "/proc/version"),
        (1, "attach blue --pid 4194305", "4194305"),
        (1, "attach blue --netns NETNS --ifname lo", "`lo`"),
        (1, "attach blue --netns NETNS --name web", "`web`"),
        (1, "attach blue --netns NETNS --name a/b", "a/b"),
        (1, &used, "10.70.0."),
        (1, "attach blue --netns NETNS --ip 10.74.0.1", "is in no subnet"),
        (1, "attach blue --netns NETNS --ip fd00::1", "is in no subnet"),
        (1, "attach blue --netns NETNS --ip 10.70.0.0", "10.70.0.0"),
        (1, "attach blue --netns NETNS --ip 10.70.0.255", "10.70.0.255"),
        (1, "attach blue --netns NETNS --ip 10.70.0.1", "10.70.0.1"),
        (1, "attach blue --netns NETNS --ip 10.70.0.8 --ip 10.70.0.9", "one address of each"),
        (1, "attach blue --netns NETNS --mac ff:ff:ff:ff:ff:ff", "ff:ff:ff:ff:ff:ff"),
        (1, "attach tiny --netns NETNS", "no available"),
        (1, "endpoint create tiny", "no available"),
        (1, "endpoint join web --netns NETNS", "is joined"),
        (1, "endpoint join absent --netns NETNS", "`absent`"),
        (1, "endpoint rm web", "is joined"),
        (1, "endpoint rm absent", "`absent`"),
        (1, "endpoint leave absent", "`absent`"),
        (1, "detach absent", "`absent`"),
        // what is no entry
        (1, "table get blue names absent", "`absent`"),
        (1, "table create blue overlay_peer_table k v", "belongs to"),
        (1, "table ls absent", "`absent`"),
        (1, "table create blue a/b k v", "a/b"),
        // what is no cluster
        (1, "init", "is in cluster"),
        (1, "join --token-file /nonexistent/token 198.18.7.1", "/nonexistent/token"),
        (1, "join --token-file /proc/version 198.18.7.1", "join token"),
        (1, "leave", "2 endpoint"),
    ];
    let sandbox = testbed.sandbox("unused");
    let before = state(host).await;
    let mut wrong = Vec::new();
    for row in rows(table, sandbox.text()) {
        let arguments: Vec<&str> = row.arguments.iter().map(String::as_str).collect();
        let ran = host.weft(&arguments);
        // The command line's own errors point to the help.
        let hinted =
            ran.stderr.contains("hint: ") || (row.code == 2 && ran.stderr.contains("--help"));
        if ran.code != row.code || !ran.stderr.contains(row.words) || !hinted {
            wrong.push(format!("{arguments:?}: {ran:?}"));
        }
        let after = state(host).await;
        if after != before {
            wrong.push(format!("{arguments:?} left\n{after:#?}\nwhere there was\n{before:#?}"));
            break;
        }
    }
    assert_eq!(sandbox.links().await.len(), 1, "nothing came into the namespace");
    assert!(host.client.endpoint(None, &id).await.is_ok());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_rights_is_told_so() {
    let mut testbed = Testbed::new(Underlay::V4).await;
    let number = testbed.add_host().await;
    let host = &mut testbed.hosts[number];
    host.start(&[]);
    host.answers().await;
    // It is the socket that refuses, not the test's own directory.
    let open = |path: &std::path::Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("our own");
    };
    open(testbed.path("x").parent().expect("the testbed's directory"));
    let host = &testbed.hosts[number];
    let as_nobody = |command: &mut Command| host.run_agent(command.uid(NOBODY).gid(NOBODY));
    as_nobody(&mut host.command(&["members"])).fails(1, "you may not use the control socket");
    // A mode that somebody widened lets nobody in: the kernel is asked who calls.
    let everybody = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(host.client.socket(), everybody).expect("our own");
    as_nobody(&mut host.command(&["members"])).fails(1, "this user may not use the control socket");
    host.weft(&["members"]).fails(1, "this node is in no cluster");
    let data = testbed.path("nobody");
    let data = data.to_str().expect("a path");
    let more = ["--data-dir", data, "--run-dir", data, "--port", "7960"];
    as_nobody(&mut host.agent_command(&more)).fails(1, "needs root");
    assert!(!testbed.path("nobody").exists());
}

/// What a data directory holds.
fn contents(host: &Host) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(host.data_dir()) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_that_cannot_be_used_is_left_as_it_is() {
    let mut testbed = Testbed::new(Underlay::V4).await;
    let number = testbed.add_host().await;
    let host = &testbed.hosts[number];
    std::fs::create_dir_all(host.data_dir()).expect("a directory");
    let file = host.data_dir().join("weft.redb");
    let check = |words: &str| {
        let before = contents(host);
        host.run_agent(&mut host.agent_command(&[])).fails(1, words);
        assert!(contents(host) == before, "the file was changed: {words}");
        assert!(!host.client.socket().exists(), "no socket is left: {words}");
    };
    for garbage in [vec![b'x'; 100], vec![b'x'; 9000]] {
        std::fs::write(&file, garbage).expect("a file");
        check("is damaged");
    }
    std::fs::remove_file(&file).expect("our own file");
    let database = redb::Database::create(&file).expect("a database");
    let write = database.begin_write().expect("a transaction");
    let table: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("state");
    write
        .open_table(table)
        .expect("a table")
        .insert(&b"\0format"[..], &99_u32.to_le_bytes()[..])
        .expect("a record");
    write.commit().expect("a commit");
    drop(database);
    host.run_agent(&mut host.agent_command(&[])).fails(1, "format 99");
    assert!(!host.client.socket().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_cannot_start_says_why_and_leaves_the_running_one_alone() {
    let mut testbed = Testbed::cluster(1).await;
    let elsewhere = testbed.path("elsewhere");
    let elsewhere = elsewhere.to_str().expect("a path").to_owned();
    let config = testbed.path("bad.toml");
    std::fs::write(&config, "colour = 1\n").expect("a file");
    let config = config.to_str().expect("a path").to_owned();
    let host = &mut testbed.hosts[0];
    let before = host.client.status().await.expect("status").node;
    let data = host.data_dir();
    let data = data.to_str().expect("a path").to_owned();
    let away = ["--data-dir", &elsewhere, "--run-dir", &elsewhere];
    let there = ["--port", "7951", "--data-dir", &data, "--run-dir", &elsewhere];
    let table: &[(i32, &[&str], &[&str], &str)] = &[
        (1, &away, &[], "port `0.0.0.0:7950`"),
        (1, &[], &["--port", "7951"], "weft.sock"),
        (1, &[], &there, "in use by another agent"),
        (1, &away, &["--port", "7951", "--advertise", "198.18.7.99"], "is on no interface"),
        (2, &away, &["--config", &config], "colour"),
        (2, &away, &["--config", "/nonexistent/weft.toml"], "/nonexistent/weft.toml"),
        (2, &away, &["--port", "4789"], "both are UDP"),
        (2, &away, &["--port", "0"], "`port` is 0"),
        (2, &away, &["--name", "a b"], "a b"),
        (2, &away, &["--advertise", "0.0.0.0"], "0.0.0.0"),
        (2, &away, &["--join", "198.18.7.9"], "`token_file` is not"),
    ];
    let socket = std::path::Path::new(&elsewhere).join("weft.sock");
    for (code, place, more, words) in table {
        host.run_agent(&mut host.agent_command(&[*place, *more].concat())).fails(*code, words);
        assert!(!socket.exists(), "no socket is left by {more:?}");
    }
    host.answers().await;
    assert_eq!(host.client.status().await.expect("status").node, before);
}
