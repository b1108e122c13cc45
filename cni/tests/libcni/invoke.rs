//! Running single processes: streams, errors, versions, delegation.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use cni::Error;
use cni::invoke::{
    Args, BoxFuture, Call, CniArgs, Environment, Exec, RawExec, StderrSink, delegate_add,
    exec_plugin_with_result, exec_plugin_without_result, get_version_info,
};
use serde_json::json;

use crate::bench::{Bench, PLUGIN};

const CONF: &[u8] = br#"{"name":"raw","cniVersion":"1.0.0","some":"stdin-json"}"#;

fn environment(debug: &str) -> Environment {
    CniArgs::Call(Args {
        command: "ADD".into(),
        container_id: "some-container-id".into(),
        netns: "/some/netns/path".into(),
        plugin_args: vec![("DEBUG".into(), debug.into())],
        if_name: "some-eth0".into(),
        path: "/some/bin/path".into(),
    })
    .as_env()
}

/// Answers what it is told to and remembers what it was called with.
struct Scripted {
    answer: Box<dyn Fn() -> Result<Vec<u8>, Error> + Send + Sync>,
    seen: Mutex<Vec<(String, Vec<u8>, Environment)>>,
}

impl Scripted {
    fn answering(answer: &'static str) -> Self {
        Self::with(move || Ok(answer.into()))
    }

    fn with(answer: impl Fn() -> Result<Vec<u8>, Error> + Send + Sync + 'static) -> Self {
        Self { answer: Box::new(answer), seen: Mutex::default() }
    }

    fn refusing(msg: &'static str) -> Self {
        Self::with(move || {
            Err(Error::Plugin(cni::types::PluginError::new(cni::types::Code::INTERNAL, msg)))
        })
    }
}

impl Exec for Scripted {
    fn exec_plugin<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        let seen = (call.path.display().to_string(), call.stdin.to_vec(), call.env.to_vec());
        self.seen.lock().expect("unpoisoned").push(seen);
        Box::pin(std::future::ready((self.answer)()))
    }
}

#[tokio::test]
async fn process_gets_stdin_and_environment_and_its_stdout_comes_back() {
    for exec in [true, false] {
        let bench = Bench::new();
        let debug = bench.debug("d", &json!({"ReportResult": r#"{"some": "result"}"#}));
        let path = bench.bin().join("noop");
        let env = environment(&debug);
        let call = Call { path: &path, stdin: CONF, env: &env };
        let stdout = if exec {
            RawExec::default().exec_plugin(call).await.unwrap()
        } else {
            let blocking = cni::invoke::blocking::RawExec::default();
            cni::invoke::blocking::Exec::exec_plugin(&blocking, call).unwrap()
        };
        assert_eq!(stdout, br#"{"some": "result"}"#);
        let seen = bench.seen("d");
        assert_eq!(seen["Stdin"], String::from_utf8_lossy(CONF).into_owned());
        assert_eq!(
            (&seen["IfName"], &seen["Path"]),
            (&json!("some-eth0"), &json!("/some/bin/path"))
        );
    }
}

#[tokio::test]
async fn stderr_of_a_plugin_that_succeeds_goes_to_the_sink() {
    let bench = Bench::new();
    let debug = bench.debug("d", &json!({"ReportStderr": "some stderr", "ReportResult": "{}"}));
    let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
    let exec = RawExec { stderr: StderrSink::Writer(seen.clone()), timeout: None };
    let (path, env) = (bench.bin().join("noop"), environment(&debug));
    exec.exec_plugin(Call { path: &path, stdin: CONF, env: &env }).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), b"some stderr");
}

#[tokio::test]
async fn failing_process_is_told_by_object_by_stderr_or_by_its_exit_code() {
    let bench = Bench::new();
    let fail = async |behaviour: serde_json::Value| {
        let debug = bench.debug("d", &behaviour);
        let (path, env) = (bench.bin().join("noop"), environment(&debug));
        let call = Call { path: &path, stdin: CONF, env: &env };
        RawExec::default().exec_plugin(call).await.unwrap_err().to_string()
    };
    assert_eq!(fail(json!({"ReportError": "banana"})).await, "banana");
    let stderr = json!({"ExitWithCode": 1, "ReportStderr": "some stderr"});
    assert_eq!(fail(stderr).await, r#"netplugin failed: "some stderr""#);
    let silent = fail(json!({"ExitWithCode": 1})).await;
    assert_eq!(silent, "netplugin failed with no error message: exit status: 1");
}

#[tokio::test]
async fn file_that_cannot_be_executed_is_named() {
    let call = Call { path: Path::new("/tmp/some/invalid/plugin/path"), stdin: CONF, env: &[] };
    let error = RawExec::default().exec_plugin(call).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot execute /tmp/some/invalid/plugin/path: "), "{error}");
    let blocking = cni::invoke::blocking::RawExec::default();
    let same = cni::invoke::blocking::Exec::exec_plugin(&blocking, call).unwrap_err().to_string();
    assert_eq!(same, error);
}

#[tokio::test]
async fn input_larger_than_a_pipe_to_a_plugin_that_does_not_read_is_no_deadlock() {
    let bench = Bench::new();
    let path = bench.bin().join("ancient");
    let large = vec![b' '; 1 << 20];
    let env = environment("");
    let call = Call { path: &path, stdin: &large, env: &env };
    assert!(!RawExec::default().exec_plugin(call).await.unwrap().is_empty());
    let blocking = cni::invoke::blocking::RawExec::default();
    assert!(!cni::invoke::blocking::Exec::exec_plugin(&blocking, call).unwrap().is_empty());
}

#[tokio::test]
async fn plugin_whose_file_stays_busy_never_counts_as_one_that_succeeded_silently() {
    let bench = Bench::new();
    let path = bench.bin().join("busy");
    std::fs::copy(PLUGIN, &path).unwrap();
    let written = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    // Linux 6.11 and 6.12 execute files that are being written; there it answers at once.
    match get_version_info(&path, &RawExec::default()).await {
        Ok(info) => assert!(info.lists("1.1.0")),
        Err(Error::Execute { cause, .. }) => {
            assert_eq!(cause.kind(), std::io::ErrorKind::ExecutableFileBusy);
        }
        Err(other) => panic!("{other}"),
    }
    drop(written);
    assert!(get_version_info(&path, &RawExec::default()).await.unwrap().lists("1.1.0"));
}

#[tokio::test]
async fn result_is_decoded_and_arguments_pass_through() {
    let exec = Scripted::answering(r#"{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}]}"#);
    let args = CniArgs::Call(Args { command: "ADD".into(), ..Args::default() });
    let result =
        exec_plugin_with_result("/some/plugin".as_ref(), CONF, &args, &exec).await.unwrap();
    assert_eq!(result.version(), "1.0.0");
    exec_plugin_without_result("/some/plugin".as_ref(), CONF, &args, &exec).await.unwrap();
    for (path, stdin, env) in exec.seen.lock().unwrap().iter() {
        assert_eq!((path.as_str(), stdin.as_slice()), ("/some/plugin", CONF));
        assert!(env.contains(&("CNI_COMMAND".into(), "ADD".into())));
    }
}

#[tokio::test]
async fn failure_passes_through_with_or_without_result() {
    let exec = Scripted::refusing("banana");
    let args = CniArgs::Inherited;
    let path = Path::new("/some/plugin");
    let error = exec_plugin_with_result(path, CONF, &args, &exec).await.unwrap_err();
    assert_eq!(error.to_string(), "banana");
    let error = exec_plugin_without_result(path, CONF, &args, &exec).await.unwrap_err();
    assert_eq!(error.to_string(), "banana");
    let error = get_version_info(path, &exec).await.unwrap_err();
    assert_eq!(error.to_string(), "banana");
}

#[tokio::test]
async fn output_that_is_no_result_is_an_error() {
    for output in ["", "garbage", "[]", "5"] {
        let exec = Scripted::answering(output);
        let error = exec_plugin_with_result("/p".as_ref(), CONF, &CniArgs::Inherited, &exec).await;
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("failed to unmarshal raw result: "), "{error}");
    }
}

#[tokio::test]
async fn version_is_asked_with_dummies_for_old_plugins() {
    let exec = Scripted::answering(r#"{"cniVersion":"42","supportedVersions":["1.0.0"]}"#);
    let info = get_version_info("/some/plugin".as_ref(), &exec).await.unwrap();
    assert_eq!(info.supported_versions(), ["1.0.0"]);
    let seen = exec.seen.lock().unwrap();
    let (_, stdin, env) = &seen[0];
    assert_eq!(stdin, br#"{"cniVersion":"1.1.0"}"#);
    for (name, value) in [
        ("CNI_COMMAND", "VERSION"),
        ("CNI_NETNS", "dummy"),
        ("CNI_IFNAME", "dummy"),
        ("CNI_PATH", "dummy"),
    ] {
        assert!(env.contains(&(name.into(), value.into())), "{name}");
    }
}

#[tokio::test]
async fn plugin_that_does_not_know_the_question_speaks_0_1_0() {
    let exec = Scripted::refusing("unknown CNI_COMMAND: VERSION");
    let info = get_version_info("/some/plugin".as_ref(), &exec).await.unwrap();
    assert_eq!(info.supported_versions(), ["0.1.0"]);
}

#[tokio::test]
async fn delegation_without_a_path_says_so() {
    // This process has no CNI_PATH; those that have one are tested as processes below.
    let error = delegate_add("ipam", CONF, &RawExec::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "no paths provided");
}

/// Runs the plugin as a main plugin that delegates everything to `noop`.
fn delegating(bench: &Bench, command: &str, to: &str, debug: &str) -> std::process::Output {
    let delegator = bench.bin().join("delegator");
    std::os::unix::fs::symlink(PLUGIN, &delegator).or_else(keep).expect("writable");
    let conf =
        json!({"name": "n", "cniVersion": "1.1.0", "type": "delegator", "ipam": {"type": to}});
    let stdin = bench.path("stdin");
    std::fs::write(&stdin, conf.to_string()).expect("writable");
    Command::new(delegator)
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", "c")
        .env("CNI_NETNS", "/some/netns")
        .env("CNI_IFNAME", "eth0")
        .env("CNI_ARGS", format!("DEBUG={debug}"))
        .env("CNI_PATH", bench.bin())
        .stdin(std::fs::File::open(stdin).expect("readable"))
        .output()
        .expect("runnable")
}

fn keep(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

#[test]
fn delegation_runs_the_named_plugin_with_the_same_environment() {
    let bench = Bench::new();
    for command in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
        let result = r#"{"cniVersion":"1.1.0","ips":[{"address":"10.1.2.3/24"}]}"#;
        let debug = bench.debug("d", &json!({"ReportResult": result}));
        let output = delegating(&bench, command, "noop", &debug);
        assert!(output.status.success(), "{output:?}");
        let seen = bench.seen("d");
        assert_eq!(seen["Command"], command);
        assert_eq!(seen["ContainerID"], "c");
        assert_eq!(seen["IfName"], "eth0");
        if command == "ADD" {
            let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(printed["ips"][0]["address"], "10.1.2.3/24");
        }
    }
}

#[test]
fn delegation_to_a_plugin_that_is_not_there_or_fails_comes_back_as_an_error_object() {
    let bench = Bench::new();
    for command in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
        let output = delegating(&bench, command, "not-there", "");
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let msg = printed["msg"].as_str().unwrap();
        assert!(msg.starts_with("failed to find plugin \"not-there\" in path"), "{msg}");
        assert_eq!(printed["cniVersion"], "1.1.0");
        let debug = bench.debug("d", &json!({"ReportError": "banana", "ReportErrorCode": 11}));
        let output = delegating(&bench, command, "noop", &debug);
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&printed["code"], &printed["msg"]), (&json!(11), &json!("banana")));
        assert_eq!(output.status.code(), Some(1));
    }
}
