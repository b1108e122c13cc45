//! A plugin that does not end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cni::Error;
use cni::invoke::{Exec, RawExec};
use cni::libcni::{Cni, CniConfig, blocking};
use serde_json::json;

use crate::bench::{Bench, conf, list, pod};

const LIMIT: Duration = Duration::from_millis(150);

fn hasty(bench: &Bench) -> CniConfig {
    let exec: Arc<dyn Exec> = Arc::new(RawExec { timeout: Some(LIMIT), ..RawExec::default() });
    CniConfig::with_cache_dir(vec![bench.bin()], bench.path("cache"), Some(exec))
}

fn killed(error: &Error) {
    let text = error.to_string();
    assert!(text.contains("netplugin failed with no error message"), "{text}");
}

#[tokio::test]
async fn every_call_ends_with_the_plugin_killed() {
    let bench = Bench::new();
    let cni = hasty(&bench);
    let single = conf(&json!({"name": "apitest", "cniVersion": "1.1.0", "type": "sleep"}));
    let chain = list(&json!({
        "name": "some-list", "cniVersion": "1.1.0", "plugins": [{"type": "sleep"}]
    }));
    let rt = pod();
    let began = Instant::now();
    killed(&cni.add_network(&single, &rt).await.unwrap_err());
    killed(&cni.check_network(&single, &rt).await.unwrap_err());
    killed(&cni.del_network(&single, &rt).await.unwrap_err());
    killed(&cni.validate_network(&single).await.unwrap_err());
    killed(&cni.get_version_info("sleep").await.unwrap_err());
    killed(&cni.add_network_list(&chain, &rt).await.unwrap_err());
    killed(&cni.check_network_list(&chain, &rt).await.unwrap_err());
    killed(&cni.del_network_list(&chain, &rt).await.unwrap_err());
    killed(&cni.validate_network_list(&chain).await.unwrap_err());
    killed(&cni.get_status_network_list(&chain).await.unwrap_err());
    killed(&cni.gc_network_list(&chain, None).await.unwrap_err());
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn dropped_call_ends() {
    let bench = Bench::new();
    let single = conf(&json!({"name": "apitest", "cniVersion": "1.1.0", "type": "sleep"}));
    let rt = pod();
    let call = bench.cni.add_network(&single, &rt);
    assert!(tokio::time::timeout(LIMIT, call).await.is_err());
}

#[test]
fn blocking_call_ends_with_the_plugin_killed() {
    let bench = Bench::new();
    let exec = cni::invoke::blocking::RawExec { timeout: Some(LIMIT), ..Default::default() };
    let cni = blocking::CniConfig::with_cache_dir(
        vec![bench.bin()],
        bench.path("cache"),
        Some(Arc::new(exec)),
    );
    let single = conf(&json!({"name": "apitest", "cniVersion": "1.1.0", "type": "sleep"}));
    let began = Instant::now();
    killed(&blocking::Cni::add_network(&cni, &single, &pod()).unwrap_err());
    assert!(began.elapsed() < Duration::from_secs(20));
}
