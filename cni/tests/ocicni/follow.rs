//! Changes of the directories are noticed.

use std::fs;

use cni::ocicni::{CniPlugin, Ocicni, Options};
use serde_json::json;

use crate::bench::{Bench, until};

async fn becomes(plugin: &Ocicni, network: Option<&str>) {
    let what = format!("the default network is {network:?}");
    until(&what, async || {
        let is_named = plugin.get_default_network_name().as_deref() == network;
        is_named && plugin.status().await.is_ok() == network.is_some()
    })
    .await;
}

async fn is_ready(plugin: &Ocicni, ready: bool) {
    until("ready or not", async || plugin.status().await.is_ok() == ready).await;
}

#[tokio::test]
async fn configuration_written_later_is_found() {
    let bench = Bench::new();
    let plugin = bench.start().await;
    assert!(plugin.status().await.is_err());
    bench.network("10-blue.conflist", "blue");
    becomes(&plugin, Some("blue")).await;
}

#[tokio::test]
async fn configuration_whose_plugin_comes_later_is_found() {
    let bench = Bench::new();
    let plugin = bench.start().await;
    bench.file(
        "1.conf",
        &json!({"name": "blue", "type": "late", "cniVersion": "1.0.0"}).to_string(),
    );
    until("the file was read", async || {
        plugin.status().await.unwrap_err().to_string().contains("1.conf")
    })
    .await;
    bench.plugin("late");
    becomes(&plugin, Some("blue")).await;
}

#[tokio::test]
async fn first_file_by_name_is_always_the_default() {
    let bench = Bench::new();
    bench.network("30.conflist", "c");
    let plugin = bench.start().await;
    becomes(&plugin, Some("c")).await;
    bench.network("10.conflist", "a");
    becomes(&plugin, Some("a")).await;
    bench.network("20.conflist", "b");
    bench.remove("10.conflist");
    becomes(&plugin, Some("b")).await;
    // A rename, as those do who write beside and move.
    fs::rename(bench.conf_dir().join("30.conflist"), bench.conf_dir().join("05.conflist")).unwrap();
    becomes(&plugin, Some("c")).await;
    // A change of a file in place.
    bench.network("05.conflist", "d");
    becomes(&plugin, Some("d")).await;
    bench.remove("05.conflist");
    bench.remove("20.conflist");
    becomes(&plugin, None).await;
    bench.network("20.conflist", "b");
    becomes(&plugin, Some("b")).await;
}

#[tokio::test]
async fn chosen_default_network_comes_goes_and_comes_again() {
    let bench = Bench::new();
    bench.network("10.conflist", "other");
    let plugin = bench.start_with(bench.options().default_network("blue")).await;
    is_ready(&plugin, false).await;
    bench.network("20.conflist", "blue");
    is_ready(&plugin, true).await;
    bench.remove("20.conflist");
    is_ready(&plugin, false).await;
    bench.network("05.conflist", "blue");
    is_ready(&plugin, true).await;
    assert_eq!(plugin.get_default_network_name().as_deref(), Some("blue"));
}

#[tokio::test]
async fn directory_that_is_deleted_and_made_again_is_followed() {
    let bench = Bench::new();
    bench.network("10.conflist", "a");
    let plugin = bench.start().await;
    becomes(&plugin, Some("a")).await;
    for round in 0..3 {
        fs::remove_dir_all(bench.conf_dir()).unwrap();
        becomes(&plugin, None).await;
        fs::create_dir(bench.conf_dir()).unwrap();
        let name = format!("n{round}");
        bench.network("10.conflist", &name);
        becomes(&plugin, Some(&name)).await;
        // And is followed from then on.
        bench.network("05.conflist", "first");
        becomes(&plugin, Some("first")).await;
        bench.remove("05.conflist");
        becomes(&plugin, Some(&name)).await;
    }
}

#[tokio::test]
async fn directory_that_is_moved_away_or_replaced_is_noticed() {
    let bench = Bench::new();
    bench.network("10.conflist", "old");
    let plugin = bench.start().await;
    fs::rename(bench.conf_dir(), bench.path("aside")).unwrap();
    becomes(&plugin, None).await;
    fs::create_dir(bench.path("made-beside")).unwrap();
    let list = json!({"cniVersion": "1.0.0", "name": "new", "plugins": [{"type": "main"}]});
    fs::write(bench.path("made-beside/1.conflist"), list.to_string()).unwrap();
    fs::rename(bench.path("made-beside"), bench.conf_dir()).unwrap();
    becomes(&plugin, Some("new")).await;
}

#[tokio::test]
async fn directory_whose_parents_do_not_exist_yet_is_found() {
    let bench = Bench::new();
    let conf_dir = bench.path("etc/cni/net.d");
    let plugin = bench.start_with(Options::new(&conf_dir, vec![bench.bin_dir()])).await;
    assert!(!conf_dir.exists(), "nothing was made for it");
    fs::create_dir_all(&conf_dir).unwrap();
    let list = json!({"cniVersion": "1.0.0", "name": "blue", "plugins": [{"type": "main"}]});
    fs::write(conf_dir.join("1.conflist"), list.to_string()).unwrap();
    becomes(&plugin, Some("blue")).await;
    // All of it goes at once, and comes back.
    fs::rename(bench.path("etc"), bench.path("gone")).unwrap();
    becomes(&plugin, None).await;
    fs::rename(bench.path("gone"), bench.path("etc")).unwrap();
    becomes(&plugin, Some("blue")).await;
}

#[tokio::test]
async fn link_that_is_turned_to_another_directory_is_followed() {
    let bench = Bench::new();
    let list = |name: &str| {
        json!({"cniVersion": "1.0.0", "name": name, "plugins": [{"type": "main"}]}).to_string()
    };
    for name in ["one", "two"] {
        fs::create_dir(bench.path(name)).unwrap();
        fs::write(bench.path(name).join("1.conflist"), list(name)).unwrap();
    }
    fs::remove_dir(bench.conf_dir()).unwrap();
    std::os::unix::fs::symlink("one", bench.conf_dir()).unwrap();
    let plugin = bench.start().await;
    becomes(&plugin, Some("one")).await;
    std::os::unix::fs::symlink("two", bench.path("next")).unwrap();
    fs::rename(bench.path("next"), bench.conf_dir()).unwrap();
    becomes(&plugin, Some("two")).await;
    // It is the new one that is watched now.
    fs::write(bench.path("two/0.conflist"), list("three")).unwrap();
    becomes(&plugin, Some("three")).await;
}

#[tokio::test]
async fn directory_of_plugins_that_is_replaced_is_noticed() {
    let bench = Bench::new();
    bench.network("10.conflist", "blue");
    let plugin = bench.start().await;
    fs::remove_dir_all(bench.bin_dir()).unwrap();
    becomes(&plugin, None).await;
    fs::create_dir(bench.bin_dir()).unwrap();
    bench.plugin("main");
    becomes(&plugin, Some("blue")).await;
}

#[tokio::test]
async fn shutdown_ends_the_watch_and_refuses_new_work() {
    let bench = Bench::new();
    bench.network("10.conflist", "blue");
    let plugin = bench.start().await;
    plugin.shutdown().await.unwrap();
    bench.network("05.conflist", "red");
    for error in [
        plugin.status().await.unwrap_err(),
        plugin.set_up_pod("/nowhere", "ns", "web", "id").await.unwrap_err(),
        plugin.tear_down_pod("/nowhere", "ns", "web", "id").await.unwrap_err(),
        plugin.gc(&[]).await.unwrap_err(),
    ] {
        assert!(matches!(error, cni::Error::ShutDown), "{error}");
    }
    assert_eq!(plugin.get_default_network_name().as_deref(), Some("blue"));
    plugin.shutdown().await.unwrap();
    assert!(bench.fake.seen().is_empty());
}

#[test]
fn directories_are_followed_when_the_runtime_of_the_start_has_ended() {
    let bench = Bench::new();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cni-test-plugin"), bench.bin_dir().join("noop"))
        .unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let start = Ocicni::new(bench.options(), None);
    let plugin = runtime().block_on(start).unwrap();
    let list = json!({"cniVersion": "1.0.0", "name": "blue", "plugins": [{"type": "noop"}]});
    bench.file("1.conflist", &list.to_string());
    // The plugin is a process, and asked by the thread that follows the directories.
    runtime().block_on(becomes(&plugin, Some("blue")));
}
