//! A plugin that does not end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cni::Error;
use cni::invoke::{Exec, RawExec};
use cni::libcni::{Cni, CniConfig, blocking};
use serde_json::json;

use crate::bench::{Bench, conf, list, pod};

const LIMIT: Duration = Duration::from_millis(150);
/// Long enough for a shell to have started another program.
const SOON: Duration = Duration::from_secs(2);

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

/// A plugin that starts another one, waits for it, and is noisy about neither.
fn with_a_child(bench: &Bench) -> PathBuf {
    let (script, pid) = (bench.bin().join("parent"), bench.path("pid"));
    let text =
        format!("#!/bin/sh\nsleep 60 &\necho $! > {0}.new\nmv {0}.new {0}\nwait\n", pid.display());
    fs::write(&script, text).expect("writable");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("writable");
    pid
}

/// Waits until a process is no more; one that nobody has waited for yet counts as none.
fn is_ended(pid: &Path) {
    let pid = fs::read_to_string(pid).expect("it was started");
    let status = PathBuf::from(format!("/proc/{}/status", pid.trim()));
    let began = Instant::now();
    while fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ")) {
        assert!(began.elapsed() < Duration::from_secs(20), "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn what_a_plugin_started_ends_with_it() {
    let bench = Bench::new();
    let single = conf(&json!({"name": "apitest", "cniVersion": "1.1.0", "type": "parent"}));
    let rt = pod();

    let pid = with_a_child(&bench);
    {
        let mut call = bench.cni.add_network(&single, &rt);
        while !pid.exists() {
            assert!(tokio::time::timeout(Duration::from_millis(5), &mut call).await.is_err());
        }
    }
    is_ended(&pid);

    fs::remove_file(&pid).unwrap();
    let exec = cni::invoke::blocking::RawExec { timeout: Some(SOON), ..Default::default() };
    let cni = blocking::CniConfig::with_cache_dir(
        vec![bench.bin()],
        bench.path("c"),
        Some(Arc::new(exec)),
    );
    killed(&blocking::Cni::add_network(&cni, &single, &rt).unwrap_err());
    is_ended(&pid);
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
