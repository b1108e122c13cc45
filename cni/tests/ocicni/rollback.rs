//! A pod that cannot be attached to all its networks is attached to none.

use cni::Error;
use cni::ocicni::{CniPlugin, NetAttachment, Ocicni, PodNetwork};
use cni::types::Code;

use crate::bench::{Bench, pod, until};
use crate::sandbox::Sandbox;

async fn for_three(bench: &Bench) -> (Ocicni, Sandbox, PodNetwork) {
    for name in ["a", "b", "c"] {
        bench.network(&format!("{name}.conflist"), name);
    }
    let plugin = bench.start_still().await;
    let sandbox = Sandbox::new();
    let mut pod = pod(&sandbox, "web");
    pod.networks = ["a", "b", "c"].map(NetAttachment::to).into();
    (plugin, sandbox, pod)
}

fn nothing_is_cached(bench: &Bench) {
    let results = std::fs::read_dir(bench.path("cache/results"));
    assert_eq!(results.map_or(0, Iterator::count), 0);
}

#[tokio::test]
async fn failure_is_undone_in_reverse_order_the_failed_network_first() {
    let bench = Bench::new();
    let (plugin, _sandbox, pod) = for_three(&bench).await;
    bench.fake.refuse("ADD c", Code::TRY_AGAIN_LATER);
    let error = plugin.set_up_pod_networks(&pod).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::TRY_AGAIN_LATER));
    let Error::SetUpPod { network, undo, .. } = error else { panic!("{error}") };
    assert_eq!((network.as_str(), undo.len()), ("c", 0));
    assert_eq!(
        bench.fake.briefs(),
        ["ADD a eth0", "ADD b eth1", "ADD c eth2", "DEL c eth2", "DEL b eth1", "DEL a eth0"]
    );
    nothing_is_cached(&bench);
    // And the pod can be tried again.
    bench.fake.allow("ADD c");
    assert_eq!(plugin.set_up_pod_networks(&pod).await.unwrap().len(), 3);
}

#[tokio::test]
async fn what_cannot_be_undone_is_told_and_the_rest_is_undone() {
    let bench = Bench::new();
    let (plugin, sandbox, pod) = for_three(&bench).await;
    bench.fake.refuse("ADD c", Code::TRY_AGAIN_LATER);
    bench.fake.refuse("DEL b", Code(101));
    let error = plugin.set_up_pod_networks(&pod).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no ADD c") && text.contains("no DEL b"), "{text}");
    assert!(matches!(error, Error::SetUpPod { undo, .. } if undo.len() == 1));
    assert_eq!(bench.fake.briefs()[3..], ["DEL c eth2", "DEL b eth1", "DEL a eth0"]);
    // The cache remembers what is left, so that teardown can do it.
    bench.fake.allow("DEL b");
    bench.fake.forget();
    plugin.tear_down_pod(sandbox.name(), "ns", "web", "id-web").await.unwrap();
    assert_eq!(bench.fake.briefs(), ["DEL b eth1"]);
    nothing_is_cached(&bench);
}

#[tokio::test]
async fn dropped_call_is_undone_before_the_pod_is_worked_on_again() {
    let bench = Bench::new();
    let (plugin, _sandbox, pod) = for_three(&bench).await;
    let gate = bench.fake.gate("ADD b");
    {
        let call = plugin.set_up_pod_networks(&pod);
        tokio::pin!(call);
        until("the second network is being attached", async || {
            let _pending = futures_step(&mut call).await;
            bench.fake.briefs().len() == 2
        })
        .await;
    }
    // Whoever comes next waits until that is undone.
    gate.add_permits(1);
    plugin.set_up_pod_networks(&pod).await.unwrap();
    assert_eq!(
        bench.fake.briefs(),
        [
            "ADD a eth0",
            "ADD b eth1",
            "DEL b eth1",
            "DEL a eth0", // the dropped one
            "ADD a eth0",
            "ADD b eth1",
            "ADD c eth2",
        ]
    );
}

/// Lets a future go on for a moment.
async fn futures_step<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    let moment = std::time::Duration::from_millis(5);
    tokio::time::timeout(moment, future).await.ok()
}

#[tokio::test]
async fn call_dropped_while_undoing_is_undone_to_the_end() {
    let bench = Bench::new();
    let (plugin, _sandbox, pod) = for_three(&bench).await;
    bench.fake.refuse("ADD c", Code::TRY_AGAIN_LATER);
    let gate = bench.fake.gate("DEL b");
    {
        let call = plugin.set_up_pod_networks(&pod);
        tokio::pin!(call);
        until("the undoing is half done", async || {
            let _pending = futures_step(&mut call).await;
            bench.fake.briefs().last().is_some_and(|last| last == "DEL b eth1")
        })
        .await;
    }
    gate.add_permits(2);
    until("all is undone", async || {
        bench.fake.briefs().last().is_some_and(|last| last == "DEL a eth0")
    })
    .await;
    let _turn = plugin.tear_down_pod_networks(&pod).await;
    nothing_is_cached(&bench);
}

#[test]
fn call_dropped_with_its_runtime_ends_and_teardown_does_the_rest() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (plugin, sandbox, pod) = runtime.block_on(for_three(&bench));
    let _gate = bench.fake.gate("ADD b");
    let fake = bench.fake.clone();
    runtime.block_on(async {
        let plugin = std::sync::Arc::new(plugin);
        let mine = plugin.clone();
        tokio::spawn(async move { mine.set_up_pod_networks(&pod).await });
        until("the second network is being attached", async || fake.briefs().len() == 2).await;
    });
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let plugin = bench.start_still().await;
        plugin.tear_down_pod(sandbox.name(), "ns", "web", "id-web").await.unwrap();
    });
    assert_eq!(bench.fake.briefs(), ["ADD a eth0", "ADD b eth1", "DEL a eth0"]);
    nothing_is_cached(&bench);
}
