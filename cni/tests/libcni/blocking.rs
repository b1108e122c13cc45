//! The form without a runtime: the same code, so one pass over every call.

use std::sync::{Arc, Mutex};

use cni::Error;
use cni::invoke::Call;
use cni::invoke::blocking::{Exec, get_version_info};
use cni::libcni::GcArgs;
use cni::libcni::blocking::{Cni, CniConfig};
use serde_json::json;

use crate::bench::{Bench, conf, list, pod, result};

#[test]
fn every_call_works_on_processes() {
    let bench = Bench::new();
    let debug =
        bench.debug("d", &json!({"ReportResult": result("1.1.0", "10.1.2.3/24").to_string()}));
    let plugin = json!({"type": "noop", "debugFile": debug, "commandLog": bench.path("log")});
    let chain = list(&json!({"name": "chain", "cniVersion": "1.1.0", "plugins": [plugin]}));
    let mut alone = plugin.clone();
    alone["name"] = "alone".into();
    alone["cniVersion"] = "1.1.0".into();
    let (alone, rt) = (conf(&alone), pod());
    let cni = CniConfig::with_cache_dir(vec![bench.bin()], bench.path("cache"), None);

    let added = cni.add_network_list(&chain, &rt).unwrap();
    assert_eq!(cni.get_network_list_cached_result(&chain, &rt).unwrap(), Some(added.clone()));
    assert_eq!(cni.get_network_list_cached_config(&chain, &rt).unwrap().unwrap().0, chain.bytes);
    assert_eq!(cni.get_cached_attachments(Some("some-container-id")).unwrap().len(), 1);
    cni.check_network_list(&chain, &rt).unwrap();
    assert_eq!(cni.validate_network_list(&chain).unwrap(), [""; 0]);
    cni.get_status_network_list(&chain).unwrap();
    cni.del_network_list(&chain, &rt).unwrap();
    assert_eq!(cni.add_or_rollback(&chain, &rt).unwrap(), added);
    cni.gc_network_list(&chain, Some(&GcArgs::default())).unwrap();

    assert_eq!(cni.add_network(&alone, &rt).unwrap(), added);
    assert_eq!(cni.get_network_cached_result(&alone, &rt).unwrap(), Some(added));
    assert_eq!(cni.get_network_cached_config(&alone, &rt).unwrap().unwrap().0, alone.bytes);
    cni.check_network(&alone, &rt).unwrap();
    assert_eq!(cni.validate_network(&alone).unwrap(), [""; 0]);
    cni.del_network(&alone, &rt).unwrap();
    assert!(cni.get_version_info("noop").unwrap().lists("1.1.0"));

    let commands: Vec<_> =
        bench.log("log").into_iter().map(|call| call["Command"].clone()).collect();
    let expected = ["ADD", "CHECK", "STATUS", "DEL", "ADD", "DEL", "GC", "ADD", "CHECK", "DEL"];
    assert_eq!(commands, expected);
}

/// An exec without processes.
#[derive(Default)]
struct Scripted {
    seen: Mutex<Vec<(String, String)>>,
}

impl Exec for Scripted {
    fn exec_plugin(&self, call: Call<'_>) -> Result<Vec<u8>, Error> {
        let stdin = String::from_utf8_lossy(call.stdin).into_owned();
        self.seen.lock().expect("unpoisoned").push((call.path.display().to_string(), stdin));
        Ok(br#"{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}"#.to_vec())
    }

    fn find_in_path(
        &self,
        plugin: &str,
        _: &[std::path::PathBuf],
    ) -> Result<std::path::PathBuf, Error> {
        Ok(format!("/found/{plugin}").into())
    }
}

#[test]
fn exec_of_the_callers_own_replaces_processes() {
    let exec = Arc::new(Scripted::default());
    let cni = CniConfig::new(Vec::new(), Some(exec.clone()));
    assert!(cni.get_version_info("any").unwrap().lists("1.0.0"));
    get_version_info("/found/other".as_ref(), &*exec).unwrap();
    let seen = exec.seen.lock().unwrap().clone();
    let stdin = r#"{"cniVersion":"1.1.0"}"#.to_owned();
    assert_eq!(seen, [("/found/any".into(), stdin.clone()), ("/found/other".into(), stdin)]);
}
