//! Networks and their tables, made and used from different hosts.

use weft_agent::client::WatchStream;
use weft_api::control::{
    EntryResource, NetworkResource, TableEvent, TableEventKind, TableResource, TableValue,
    WatchQuery,
};
use weft_tests::testbed::{PATIENCE, Testbed, addresses, eventually, knows};

const PEERS: &str = "overlay_peer_table";

#[tokio::test(flavor = "multi_thread")]
async fn a_network_made_anywhere_is_used_everywhere_by_name() {
    let testbed = Testbed::cluster(3).await;
    let [one, two, three] = &testbed.hosts[..] else { panic!("three hosts") };
    let made = one.weft(&["network", "create", "blue", "--ipv6"]).line();
    for host in [two, three] {
        assert_eq!(knows(&host.client, "blue").await.id.to_string(), made);
        let again = host.weft(&["network", "create", "blue", "--ipv6"]).line();
        assert_eq!(again, made, "create is get-or-create");
    }
    two.weft(&["network", "create", "blue", "--ipv6", "--internal"]).fails(1, "`blue`");
    let overlapping = ["network", "create", "red", "--subnet", "10.67.0.0/16"];
    two.weft(&overlapping).line();
    knows(&three.client, "red").await;
    three
        .weft(&["network", "create", "pink", "--subnet", "10.67.9.0/24"])
        .fails(1, "overlaps `10.67.0.0/16`");
    let (_far, far) = testbed.attach(1, "blue", "far").await;
    let (near, _) = testbed.attach(2, "blue", "near").await;
    near.reaches(&addresses(&far)).await;
    let names = |host: &weft_tests::testbed::Host| {
        let networks: Vec<NetworkResource> = host.weft(&["network", "ls", "--json"]).json();
        networks.into_iter().map(|network| network.name).collect::<Vec<_>>()
    };
    assert_eq!(names(one), ["blue", "red"]);
    one.weft(&["network", "rm", "blue"]).fails(1, "in use on");
    two.weft(&["network", "rm", "blue"]).fails(1, "on this node");
    near.reaches(&addresses(&far)).await;
    two.detach("far").await;
    three.detach("near").await;
    eventually("the network is removed", async || {
        // The others hear of a detach a moment later.
        (one.weft(&["network", "rm", "blue"]).code == 0).then_some(())
    })
    .await;
    for host in [two, three] {
        eventually("the network is gone", async || {
            (!names(host).contains(&"blue".to_owned())).then_some(())
        })
        .await;
        host.weft(&["attach", "blue", "--netns", near.text()]).fails(1, "blue");
    }
    let new = three.weft(&["network", "create", "blue"]).line();
    assert_ne!(new, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_creates_at_once_make_one_network() {
    let testbed = Testbed::cluster(3).await;
    let create = |host: usize| {
        let mut command = testbed.hosts[host].command(&["network", "create", "blue"]);
        std::thread::spawn(move || command.output().expect("weft starts"))
    };
    let both = [create(0), create(1), create(2)];
    let ids: std::collections::BTreeSet<String> = both
        .into_iter()
        .map(|made| {
            let output = made.join().expect("a thread");
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).expect("an id").trim().to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

async fn next(watch: &mut WatchStream) -> TableEvent {
    let event = tokio::time::timeout(PATIENCE, watch.next()).await.expect("an event in time");
    event.expect("a watch that goes on").expect("an event")
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_written_on_one_host_are_read_and_watched_on_another() {
    let testbed = Testbed::cluster(2).await;
    let [one, two] = &testbed.hosts[..] else { panic!("two hosts") };
    one.weft(&["network", "create", "blue"]).line();
    knows(&two.client, "blue").await;
    two.weft(&["table", "ls", "blue", "names"]).fails(1, "takes no part");
    for host in 0..2 {
        let sandbox = testbed.sandbox(&format!("t{host}"));
        testbed.hosts[host].attach("blue", &format!("e{host}"), &sandbox).await;
    }
    let query = WatchQuery { table: Some("names".to_owned()) };
    let mut watch = two.client.watch("blue", &query).await.expect("a watch");
    assert_eq!(one.weft(&["table", "create", "blue", "names", "www", "first"]).code, 0);
    let event = next(&mut watch).await;
    assert_eq!((event.event, event.key.as_str()), (TableEventKind::Create, "www"));
    assert_eq!(two.weft(&["table", "get", "blue", "names", "www"]).stdout, "first");
    one.weft(&["table", "create", "blue", "names", "www", "again"]).fails(1, "www");
    one.weft(&["table", "update", "blue", "names", "absent", "x"]).fails(1, "absent");
    one.weft(&["table", "delete", "blue", "names", "absent"]).fails(1, "absent");
    one.weft(&["table", "get", "blue", "names", "absent"]).fails(1, "absent");
    assert_eq!(one.weft(&["table", "update", "blue", "names", "www", "second"]).code, 0);
    let event = next(&mut watch).await;
    assert_eq!(event.event, TableEventKind::Update);
    assert_eq!(event.prev, Some(TableValue::Text("first".to_owned())));
    let rows: Vec<EntryResource> = two.weft(&["table", "ls", "blue", "names", "--json"]).json();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].value, TableValue::Text("second".to_owned()));
    assert_eq!(rows[0].owner_name.as_deref(), Some("h1"));
    assert_eq!(one.weft(&["table", "delete", "blue", "names", "www"]).code, 0);
    let event = next(&mut watch).await;
    assert_eq!((event.event, event.value), (TableEventKind::Delete, None));
    assert_eq!(event.prev, Some(TableValue::Text("second".to_owned())));
    two.weft(&["table", "get", "blue", "names", "www"]).fails(1, "www");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drivers_table_is_decoded_and_not_written_by_hand() {
    let testbed = Testbed::cluster(2).await;
    let [one, two] = &testbed.hosts[..] else { panic!("two hosts") };
    one.weft(&["network", "create", "blue", "--ipv6"]).line();
    knows(&two.client, "blue").await;
    let (_a, far) = testbed.attach(0, "blue", "far").await;
    let (_b, _) = testbed.attach(1, "blue", "near").await;
    let rows = eventually("both peers are in the table", async || {
        let rows: Vec<EntryResource> = two.weft(&["table", "ls", "blue", PEERS, "--json"]).json();
        (rows.len() == 2).then_some(rows)
    })
    .await;
    let row = rows.iter().find(|row| row.key == far.id.to_string()).expect("the far peer");
    let vtep = one.address().to_string();
    assert!(row.decoded.values().any(|value| *value == vtep), "no VTEP {vtep} in {row:?}");
    let plain = two.weft(&["table", "ls", "blue", PEERS]);
    assert!(plain.stdout.contains(&vtep), "{plain:?}");
    let tables: Vec<TableResource> = two.weft(&["table", "ls", "blue", "--json"]).json();
    let peers = tables.iter().find(|table| table.name == PEERS).expect("the peer table");
    assert_eq!((peers.entries, peers.driver.as_deref()), (2, Some("overlay")));
    for arguments in [
        &["table", "create", "blue", PEERS, "key", "value"][..],
        &["table", "update", "blue", PEERS, &row.key, "value"],
        &["table", "delete", "blue", PEERS, &row.key],
    ] {
        two.weft(arguments).fails(1, "belongs to network driver `overlay`");
    }
    let query = WatchQuery { table: Some(PEERS.to_owned()) };
    let mut watch = two.client.watch("blue", &query).await.expect("a watch");
    let mut seen = [next(&mut watch).await.key, next(&mut watch).await.key];
    seen.sort();
    let mut keys: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
    keys.sort();
    assert_eq!(seen.to_vec(), keys, "a watch begins with what there is");
    one.detach("far").await;
    let event = next(&mut watch).await;
    assert_eq!((event.event, event.key), (TableEventKind::Delete, far.id.to_string()));
    assert!(event.decoded.values().any(|value| *value == vtep), "{:?}", event.decoded);
}
