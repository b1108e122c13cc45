//! Whatever stands in a cache file, on standard input, in the environment or in a name: an error
//! that says so, or what was meant; never a panic, never a file elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use cni::Error;
use cni::invoke::Call;
use cni::invoke::blocking::Exec;
use cni::libcni::blocking::{Cni, CniConfig};
use cni::libcni::{
    GcArgs, NetworkConfigList, RuntimeConf, conf_from_bytes, conf_list_from_bytes, inject_conf,
};
use cni::skel::{CmdArgs, Plugin, Process, Reply, dispatch};
use cni::types::{CniResult, Code, NetConf, PluginError};
use cni::version::{ALL, PluginInfo, parse_prev_result};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::bench::{PLUGIN, conf, list};

/// Names of members that mean something, in some case, and others.
fn key() -> impl Strategy<Value = String> {
    let known = [
        "cniVersion",
        "cniversion",
        "name",
        "type",
        "plugins",
        "cniVersions",
        "disableCheck",
        "capabilities",
        "ipam",
        "dns",
        "prevResult",
        "cni.dev/valid-attachments",
        "ips",
        "ip4",
        "address",
        "interface",
        "interfaces",
        "sandbox",
        "mtu",
        "routes",
        "dst",
        "gw",
        "kind",
        "containerId",
        "config",
        "ifName",
        "networkName",
        "cniArgs",
        "capabilityArgs",
        "result",
        "netns",
        "supportedVersions",
        "code",
        "msg",
        "details",
        "nameservers",
        "",
    ];
    let known = prop::sample::select(known.to_vec()).prop_map(str::to_owned);
    prop_oneof![9 => known, 1 => any::<String>()]
}

fn scalar() -> impl Strategy<Value = Value> {
    let known = [
        "0.1.0",
        "0.2.0",
        "0.3.1",
        "0.4.0",
        "1.0.0",
        "1.1.0",
        "9.9",
        "..",
        "cniCacheV1",
        "noop",
        "10.1.2.3/24",
        "fd00::1/64",
        "10.1.2.3",
        "0.0.0.0/0",
        "e30=",
        "true",
        "4",
        "-1.0.0",
        "/",
    ];
    prop_oneof![
        6 => prop::sample::select(known.to_vec()).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
    ]
}

/// JSON that looks like something of ours from afar.
fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::vec((key(), inner), 0..7)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Such JSON, or no JSON at all.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => value().prop_map(|value| value.to_string().into_bytes()),
        1 => (value(), any::<prop::sample::Index>()).prop_map(|(value, end)| {
            let mut bytes = value.to_string().into_bytes();
            bytes.truncate(end.index(bytes.len()));
            bytes
        }),
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

/// Names that would like to be paths, and others.
fn name() -> impl Strategy<Value = String> {
    let sly = [
        "..",
        ".",
        "/",
        "../x",
        "../../victim",
        "a/../../../victim",
        "/etc/passwd",
        "a\0b",
        "-",
        "a-b",
        "results",
        ".new.1.0",
        "\n",
        "\u{202e}",
        "%2e%2e",
    ];
    prop_oneof![
        2 => prop::sample::select(sly.to_vec()).prop_map(str::to_owned),
        2 => "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,12}",
        1 => any::<String>(),
        1 => "[a-z./]{200,300}",
    ]
}

/// Answers every call with the same bytes.
struct Answer(Vec<u8>);

impl Exec for Answer {
    fn exec_plugin(&self, _: Call<'_>) -> Result<Vec<u8>, Error> {
        Ok(self.0.clone())
    }
}

/// A directory with a cache in it, a plugin, and a file that is nobody's business.
struct Ground {
    dir: TempDir,
    cni: CniConfig,
}

impl Ground {
    fn answering(stdout: Vec<u8>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("bin")).expect("writable");
        fs::write(dir.path().join("bin/noop"), "").expect("writable");
        fs::write(dir.path().join("victim"), "precious").expect("writable");
        let cni = CniConfig::with_cache_dir(
            vec![dir.path().join("bin")],
            dir.path().join("deep/cache"),
            Some(Arc::new(Answer(stdout))),
        );
        Self { dir, cni }
    }

    /// All files outside the cache, with what is in them.
    fn outside(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        collect(self.dir.path(), &mut found);
        found.retain(|path, _| !path.contains("/deep/cache/results/"));
        found
    }
}

fn collect(folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.insert(path.display().to_string(), fs::read(&path).expect("readable"));
        }
    }
}

/// Does nothing, successfully.
struct Nothing;

impl Plugin for Nothing {
    fn versions(&self) -> PluginInfo {
        PluginInfo::all()
    }
    fn add(&self, _: &CmdArgs) -> Result<Reply, PluginError> {
        Ok(Reply::Raw(b"{}".to_vec()))
    }
    fn check(&self, _: &CmdArgs) -> Result<(), PluginError> {
        Ok(())
    }
    fn del(&self, _: &CmdArgs) -> Result<(), PluginError> {
        Ok(())
    }
}

/// Codes of the specification a plugin may refuse a call with that did nothing yet.
const REFUSALS: [Code; 6] = [
    Code::INCOMPATIBLE_VERSION,
    Code::INVALID_ENVIRONMENT,
    Code::DECODING_FAILURE,
    Code::INVALID_NETWORK_CONFIG,
    Code::UNKNOWN_CONTAINER,
    Code::INVALID_NETNS,
];

fn command() -> impl Strategy<Value = String> {
    let commands = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "add", ""];
    prop_oneof![8 => prop::sample::select(commands.to_vec()).prop_map(str::to_owned), 1 => name()]
}

proptest! {
    #[test]
    fn data_of_any_shape_is_refused_or_read(
        bytes in bytes(), version in prop::sample::select(ALL.to_vec()),
    ) {
        for result in [CniResult::from_slice(&bytes), CniResult::from_plugin(version, &bytes)] {
            let Ok(result) = result else { continue };
            // What was read can be written and read again, in every version it converts to.
            for other in ALL {
                let Ok(converted) = result.to_version(other) else { continue };
                prop_assert_eq!(converted.version(), other);
                let text = serde_json::to_vec(&converted).expect("plain data");
                let again = CniResult::from_slice(&text);
                prop_assert!(matches!(&again, Ok(again) if *again == converted), "{:?}", again);
            }
        }
        let _either = (PluginInfo::decode(&bytes), conf_list_from_bytes(&bytes));
        if let Ok(mut conf) = NetConf::decode(&bytes) {
            let _either = parse_prev_result(&mut conf);
        }
        if let Ok(conf) = conf_from_bytes(&bytes) {
            let injected = inject_conf(&conf, [("some", json!({"a": 1}))]).expect("an object");
            let text: Value = serde_json::from_slice(&injected.bytes).expect("JSON");
            prop_assert_eq!(&text["some"], &json!({"a": 1}));
            prop_assert_eq!(injected.network, conf.network);
        }
    }

    #[test]
    fn cache_entries_of_any_shape_are_refused_or_read(bytes in bytes()) {
        let ground = Ground::answering(b"{}".to_vec());
        let rt = RuntimeConf::new("some-id", "/some/netns", "eth0");
        let results = ground.dir.path().join("deep/cache/results");
        fs::create_dir_all(&results).expect("writable");
        fs::write(results.join("n-some-id-eth0"), &bytes).expect("writable");
        let chain = list(&json!({
            "name": "n", "cniVersion": "1.1.0", "plugins": [{"type": "noop"}]
        }));
        let single = conf(&json!({"name": "n", "cniVersion": "1.1.0", "type": "noop"}));
        let _either = ground.cni.get_network_cached_result(&single, &rt);
        let _either = ground.cni.get_network_cached_config(&single, &rt);
        for attachment in ground.cni.get_cached_attachments(None).expect("a directory") {
            prop_assert!(!attachment.network.is_empty() && !attachment.if_name.is_empty());
        }
        let _either = ground.cni.check_network_list(&chain, &rt);
        let _either = ground.cni.gc_network_list(&chain, Some(&GcArgs::default()));
        // Whatever was there, a pod can be deleted, and nothing is left.
        ground.cni.del_network_list(&chain, &rt).expect("a bad entry is no obstacle");
        prop_assert!(!results.join("n-some-id-eth0").exists());
    }

    #[test]
    fn no_name_leads_out_of_the_cache(network in name(), id in name(), if_name in name()) {
        let ground = Ground::answering(br#"{"cniVersion":"1.1.0"}"#.to_vec());
        let before = ground.outside();
        let rt = RuntimeConf::new(id.clone(), "/some/netns", if_name);
        let mut chain = list(&json!({
            "name": "n", "cniVersion": "1.1.0", "plugins": [{"type": "noop"}]
        }));
        chain.name = network;
        let added = ground.cni.add_network_list(&chain, &rt);
        prop_assert_eq!(&ground.outside(), &before);
        let cached = ground.cni.get_network_list_cached_result(&chain, &rt);
        if added.is_ok() {
            prop_assert!(matches!(cached, Ok(Some(_))), "{:?}", cached);
            let found = ground.cni.get_cached_attachments(Some(&id)).expect("a directory");
            prop_assert_eq!(found.len(), 1);
        }
        let _either = ground.cni.get_network_list_cached_config(&chain, &rt);
        let _either = ground.cni.check_network_list(&chain, &rt);
        let _either = ground.cni.gc_network_list(&chain, Some(&GcArgs::default()));
        let _either = ground.cni.del_network_list(&chain, &rt);
        prop_assert_eq!(ground.outside(), before);
        prop_assert_eq!(ground.cni.get_cached_attachments(None).expect("a directory"), vec![]);
    }

    #[test]
    fn answers_of_any_shape_are_refused_or_cached(stdout in bytes()) {
        let ground = Ground::answering(stdout);
        let rt = RuntimeConf::new("some-id", "/some/netns", "eth0");
        let chain: NetworkConfigList = list(&json!({
            "name": "n", "cniVersion": "1.1.0", "plugins": [{"type": "noop"}, {"type": "noop"}]
        }));
        if ground.cni.add_network_list(&chain, &rt).is_ok() {
            let cached = ground.cni.get_network_list_cached_config(&chain, &rt);
            prop_assert!(matches!(cached, Ok(Some(_))), "{:?}", cached);
        } else {
            prop_assert_eq!(ground.cni.get_cached_attachments(None).expect("none"), vec![]);
        }
        let _either = ground.cni.get_version_info("noop");
        let _either = ground.cni.validate_network_list(&chain);
        let _either = ground.cni.get_status_network_list(&chain);
    }

    #[test]
    fn calls_of_any_shape_end_in_success_or_a_refusal_by_code(
        command in command(), id in name(), if_name in name(), netns in name(), stdin in bytes(),
    ) {
        let variable = |variable: &str| match variable {
            "CNI_COMMAND" => command.clone(),
            "CNI_CONTAINERID" => id.clone(),
            "CNI_IFNAME" => if_name.clone(),
            "CNI_NETNS" => netns.clone(),
            "CNI_PATH" => "/some/path".to_owned(),
            _ => String::new(),
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let process = Process {
            variable: &variable,
            stdin: &mut stdin.as_slice(),
            stdout: &mut stdout,
            stderr: &mut stderr,
        };
        if let Err(failure) = dispatch(&Nothing, process) {
            prop_assert!(REFUSALS.contains(&failure.error.code), "{:?}", failure);
            prop_assert!(stdout.is_empty());
        }
    }
}

proptest! {
    // Each is a process.
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn process_called_in_any_way_prints_an_error_object_and_exits_with_1(
        command in command(),
        id in prop::collection::vec(1_u8.., 0..24),
        if_name in prop::collection::vec(1_u8.., 0..24),
        arguments in prop::collection::vec(1_u8.., 0..24),
        stdin in bytes(),
    ) {
        prop_assume!(!command.contains('\0'));
        // As long as it is not run by hand, with its own words on what it is.
        prop_assume!(!command.is_empty());
        let input = tempfile::NamedTempFile::new().expect("writable");
        fs::write(input.path(), &stdin).expect("writable");
        let output = Command::new(PLUGIN)
            .env_clear()
            .env("CNI_COMMAND", &command)
            .env("CNI_CONTAINERID", std::ffi::OsString::from_vec(id))
            .env("CNI_IFNAME", std::ffi::OsString::from_vec(if_name))
            .env("CNI_ARGS", std::ffi::OsString::from_vec(arguments))
            .env("CNI_NETNS", "/some/netns")
            .env("CNI_PATH", "/some/path")
            .stdin(Stdio::from(fs::File::open(input.path()).expect("readable")))
            .output()
            .expect("runnable");
        match output.status.code() {
            Some(0) => {}
            Some(1) => {
                let object: Value = serde_json::from_slice(&output.stdout).expect("an object");
                let code = object["code"].as_u64().and_then(|code| u32::try_from(code).ok());
                let known = code.map(Code).is_some_and(|code| {
                    REFUSALS.contains(&code) || code == Code::INTERNAL
                });
                prop_assert!(known && object["msg"].is_string(), "{}", object);
            }
            other => prop_assert!(false, "{:?}: {:?}", other, output),
        }
    }
}
