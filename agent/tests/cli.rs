//! The program itself: exit codes, and what goes to which stream.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `weft` with nothing in its environment and `input` on standard input.
fn weft(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that needs no input may be gone before it is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Checks that a command fails in the house's form: nothing on standard output, one sentence with
/// `words` and one hint on standard error.
fn fails(arguments: &[&str], input: &str, code: i32, words: &str) {
    let output = weft(arguments, input);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    assert!(text.contains(words), "{arguments:?}: {text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{arguments:?}: {text}");
    assert!(lines[0].starts_with("weft: ") && lines[1].starts_with("hint: "), "{text}");
}

#[test]
fn help_and_version_are_data_and_no_failure() {
    for arguments in [&["--help"][..], &["network", "create", "--help"], &["--version"]] {
        let output = weft(arguments, "");
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [&["frobnicate"][..], &[], &["network", "create"], &["join", "a b"]] {
        let output = weft(arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}

#[test]
fn without_an_agent_each_command_says_so_once() {
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("absent.sock");
    let socket = absent.to_str().unwrap();
    for command in [
        &["init"][..],
        &["token"],
        &["leave"],
        &["members", "--json"],
        &["status"],
        &["network", "ls"],
        &["network", "create", "blue"],
        &["attach", "blue", "--netns", "/run/netns/x"],
        &["detach", "web"],
        &["endpoint", "ls"],
        &["endpoint", "leave", "web"],
        &["ipam", "ls"],
        &["table", "watch", "blue"],
    ] {
        let arguments = [command, &["--socket", socket]].concat();
        fails(&arguments, "", 1, "no agent runs here");
    }
}

#[test]
fn doctor_without_an_agent_still_reports() {
    let output = weft(&["doctor", "--json", "--socket", "/nonexistent/weft.sock"], "");
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["checks"][0]["check"], "agent");
    assert_eq!(report["checks"][0]["status"], "fail");
    assert!(report["checks"][1]["check"] == "privileges");
}

#[test]
fn a_token_that_is_none_never_reaches_the_agent_nor_the_screen() {
    let arguments = ["join", "192.0.2.1", "--socket", "/nonexistent/weft.sock"];
    fails(&arguments, "", 1, "the join token is empty");
    fails(&arguments, "swordfish\n", 1, "does not begin with `weft1-`");
    assert!(!stderr(&weft(&arguments, "swordfish\n")).contains("swordfish"));
    let absent = [&arguments[..], &["--token-file", "/nonexistent/token"]].concat();
    fails(&absent, "", 1, "`/nonexistent/token` cannot be read");
}

#[test]
fn a_wrong_configuration_exits_with_2_before_anything_is_bound() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("weft.toml");
    let run = directory.path().join("run");
    let rows = [
        ("colour = 1\n", "line 1 of the configuration file"),
        ("port = 0\n", "`port` is 0"),
        ("init = true\njoin = [\"a\"]\n", "both set"),
        ("log = \"a=b=c\"\n", "the log filter `a=b=c`"),
    ];
    for (text, words) in rows {
        std::fs::write(&file, format!("{text}advertise = \"192.0.2.1\"\n")).unwrap();
        let arguments =
            ["agent", "--config", file.to_str().unwrap(), "--run-dir", run.to_str().unwrap()];
        fails(&arguments, "", 2, words);
        assert!(!run.exists());
    }
    fails(&["agent", "--config", "/nonexistent/weft.toml"], "", 2, "`/nonexistent/weft.toml`");
}

#[test]
fn a_gateway_without_its_subnet_is_wrong_usage() {
    let arguments = ["network", "create", "blue", "--gateway", "10.1.0.1"];
    fails(&arguments, "", 2, "`10.1.0.1` lies in no subnet given");
}

#[test]
fn each_shell_gets_a_script_that_knows_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = weft(&["completions", shell], "");
        assert_eq!(output.status.code(), Some(0));
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("attach") && script.contains("completions"), "{shell}");
    }
}

#[test]
fn the_unit_keeps_mounts_shared_and_the_data_path_alive() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/weft.service");
    let unit = std::fs::read_to_string(path).unwrap();
    for line in ["Type=notify", "KillMode=process", "RuntimeDirectoryPreserve=yes"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    let before = unit.lines().find_map(|line| line.strip_prefix("Before=")).unwrap_or_default();
    for runtime in ["docker.service", "containerd.service", "crio.service", "nomad.service"] {
        assert!(before.split(' ').any(|found| found == runtime), "{runtime}");
    }
    // Each of these gives the service a mount namespace of its own (systemd.exec(5)).
    for key in [
        "DynamicUser=",
        "InaccessiblePaths=",
        "PrivateDevices=",
        "PrivateTmp=",
        "ProtectControlGroups=",
        "ProtectHome=",
        "ProtectKernelLogs=",
        "ProtectKernelModules=",
        "ProtectKernelTunables=",
        "ProtectProc=",
        "ProtectSystem=",
        "ReadOnlyPaths=",
        "ReadWritePaths=",
        "TemporaryFileSystem=",
    ] {
        assert!(!unit.lines().any(|found| found.starts_with(key)), "{key}");
    }
    assert!(!unit.contains("PrivateMounts=yes"));
}
