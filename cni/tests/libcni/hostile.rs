//! Bytes from elsewhere, damaged in every place and many ways: errors, never a panic.

use cni::libcni::{Cni, conf_from_bytes, conf_list_from_bytes};
use cni::skel::{CmdArgs, Plugin, Process, Reply, dispatch};
use cni::types::{CniResult, Code, CommonArgs, NetConf, PluginError, load_args};
use cni::version::PluginInfo;
use serde_json::json;

use crate::bench::{Bench, conf, entry, pod, result};

/// Every prefix of a text, and copies with bytes replaced by what parsers dislike.
fn damaged(text: &str) -> Vec<Vec<u8>> {
    let dislikes = [0_u8, b'"', b'{', b'[', b'}', b',', b'-', b'9', b'\\', 0xff, b'/', b'='];
    let bytes = text.as_bytes();
    let prefixes = (0..bytes.len()).map(|end| bytes[..end].to_vec());
    let replaced = (0..bytes.len()).flat_map(|at| {
        dislikes.iter().map(move |dislike| {
            let mut copy = bytes.to_vec();
            copy[at] = *dislike;
            copy
        })
    });
    let swapped = [("\"10.1.2.3/24\"", "[]"), ("{", "["), ("1.0.0", "99999999999999999999.1")];
    let swapped = swapped.iter().map(|(from, to)| text.replace(from, to).into_bytes());
    prefixes.chain(replaced).chain(swapped).collect()
}

#[test]
fn damaged_data_is_refused_or_read_but_never_panics() {
    for version in ["0.2.0", "0.4.0", "1.1.0"] {
        for bytes in damaged(&result(version, "10.1.2.3/24").to_string()) {
            if let Ok(result) = CniResult::from_slice(&bytes) {
                for other in cni::version::ALL {
                    let _either = result.to_version(other);
                }
            }
            let _either = CniResult::from_plugin("1.0.0", &bytes);
        }
    }
    let list = json!({
        "name": "n", "cniVersion": "1.0.0", "cniVersions": ["1.1.0"], "disableCheck": "true",
        "plugins": [{"type": "noop", "dns": {"search": ["x"]}, "capabilities": {"mac": true}}]
    });
    for bytes in damaged(&list.to_string()) {
        let _either = (conf_list_from_bytes(&bytes), conf_from_bytes(&bytes));
        let _either = (NetConf::decode(&bytes), PluginInfo::decode(&bytes));
        let _either = load_args(&String::from_utf8_lossy(&bytes), &mut CommonArgs::default());
    }
}

#[test]
fn damaged_cache_entries_are_refused_or_read_but_never_panic() {
    let bench = Bench::new();
    let network = conf(&json!({"name": "n", "cniVersion": "1.0.0", "type": "noop"}));
    let whole = entry("n", &pod(), &result("1.0.0", "10.1.2.3/24"));
    for bytes in damaged(&whole) {
        bench.plant("n", &pod(), &bytes);
        let _either = bench.cni.get_network_cached_result(&network, &pod());
        let _either = bench.cni.get_network_cached_config(&network, &pod());
        assert!(bench.cni.get_cached_attachments(None).unwrap().len() <= 1);
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

/// The code a call is refused with.
fn refusal(command: &str, container_id: &str, if_name: &str, mut stdin: &[u8]) -> Option<Code> {
    let variable = |name: &str| {
        match name {
            "CNI_COMMAND" => command,
            "CNI_CONTAINERID" => container_id,
            "CNI_IFNAME" => if_name,
            "CNI_NETNS" | "CNI_PATH" => "/some/path",
            _ => "",
        }
        .to_owned()
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let process = Process {
        variable: &variable,
        stdin: &mut stdin,
        stdout: &mut stdout,
        stderr: &mut stderr,
    };
    dispatch(&Nothing, process).err().map(|failure| failure.error.code)
}

#[test]
fn damaged_calls_of_a_plugin_end_in_an_error_object_of_the_right_code() {
    let stdin = json!({"name": "n", "cniVersion": "1.1.0", "ipam": {"type": "x"}}).to_string();
    let of_stdin =
        [Code::INCOMPATIBLE_VERSION, Code::DECODING_FAILURE, Code::INVALID_NETWORK_CONFIG];
    for command in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
        for bytes in damaged(&stdin) {
            let code = refusal(command, "c", "eth0", &bytes);
            assert!(code.is_none_or(|code| of_stdin.contains(&code)), "{code:?}");
        }
    }
    for name in damaged("container-0") {
        let name = String::from_utf8_lossy(&name);
        for code in [
            refusal("ADD", &name, "eth0", stdin.as_bytes()),
            refusal("ADD", "c", &name, stdin.as_bytes()),
            refusal(&name, "c", "eth0", stdin.as_bytes()),
        ] {
            assert!(code.is_none_or(|code| code == Code::INVALID_ENVIRONMENT), "{code:?}");
        }
    }
}
