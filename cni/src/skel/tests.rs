use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;
use crate::types::Code;

/// A plugin that remembers its calls and answers as told.
struct Fake {
    versions: Vec<&'static str>,
    about: &'static str,
    answer: Result<Reply, PluginError>,
    calls: RefCell<Vec<(Command, CmdArgs)>>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            versions: vec!["0.1.0", "0.2.0", "0.3.0", "0.4.0", "1.0.0", "1.1.0"],
            about: "fake plugin",
            answer: Ok(Reply::Raw(b"{}".to_vec())),
            calls: RefCell::default(),
        }
    }
}

impl Fake {
    fn called(&self, command: Command, args: &CmdArgs) -> Result<Reply, PluginError> {
        self.calls.borrow_mut().push((command, args.clone()));
        self.answer.clone()
    }

    fn commands(&self) -> Vec<Command> {
        self.calls.borrow().iter().map(|(command, _)| *command).collect()
    }
}

impl Plugin for Fake {
    fn versions(&self) -> PluginInfo {
        PluginInfo::supports(self.versions.clone())
    }
    fn about(&self) -> String {
        self.about.to_owned()
    }
    fn add(&self, args: &CmdArgs) -> Result<Reply, PluginError> {
        self.called(Command::Add, args)
    }
    fn check(&self, args: &CmdArgs) -> Result<(), PluginError> {
        self.called(Command::Check, args).map(|_| ())
    }
    fn del(&self, args: &CmdArgs) -> Result<(), PluginError> {
        self.called(Command::Del, args).map(|_| ())
    }
    fn gc(&self, args: &CmdArgs) -> Result<(), PluginError> {
        self.called(Command::Gc, args).map(|_| ())
    }
    fn status(&self, args: &CmdArgs) -> Result<(), PluginError> {
        self.called(Command::Status, args).map(|_| ())
    }
}

/// A standard input that must not, or cannot, be read.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("banana"))
    }
}

struct Run {
    environment: BTreeMap<&'static str, &'static str>,
    stdin: String,
}

struct Seen {
    outcome: Result<(), Failure>,
    stdout: String,
    stderr: String,
}

impl Run {
    fn of(command: &'static str) -> Self {
        let environment = BTreeMap::from([
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", "some-container-id"),
            ("CNI_NETNS", "/some/netns/path"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", "some;extra;args"),
            ("CNI_PATH", "/some/cni/path"),
        ]);
        Self { environment, stdin: r#"{"name":"skel-test","cniVersion":"1.1.0"}"#.to_owned() }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.insert(name, value);
        self
    }

    fn stdin(mut self, stdin: &str) -> Self {
        stdin.clone_into(&mut self.stdin);
        self
    }

    fn on(&self, plugin: &Fake) -> Seen {
        self.on_with_stdin(plugin, &mut self.stdin.as_bytes())
    }

    fn on_with_stdin(&self, plugin: &Fake, stdin: &mut dyn Read) -> Seen {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let variable = |name: &str| self.environment.get(name).copied().unwrap_or("").to_owned();
        let process =
            Process { variable: &variable, stdin, stdout: &mut stdout, stderr: &mut stderr };
        let outcome = dispatch(plugin, process);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Seen { outcome, stdout: text(stdout), stderr: text(stderr) }
    }

    fn error(&self) -> PluginError {
        self.on(&Fake::default()).outcome.expect_err("a refusal").error
    }
}

const ALL: [(&str, Command); 5] = [
    ("ADD", Command::Add),
    ("CHECK", Command::Check),
    ("DEL", Command::Del),
    ("GC", Command::Gc),
    ("STATUS", Command::Status),
];

#[test]
fn every_command_reaches_its_function_and_no_other_with_all_arguments() {
    for (name, command) in ALL {
        let (plugin, run) = (Fake::default(), Run::of(name));
        run.on(&plugin).outcome.unwrap();
        let expected = CmdArgs {
            container_id: "some-container-id".into(),
            netns: "/some/netns/path".into(),
            if_name: "eth0".into(),
            args: "some;extra;args".into(),
            path: "/some/cni/path".into(),
            netns_override: String::new(),
            stdin: run.stdin.clone().into_bytes(),
            version: "1.1.0".into(),
        };
        assert_eq!(*plugin.calls.borrow(), [(command, expected)]);
    }
}

#[test]
fn each_command_demands_its_variables_and_no_others() {
    let id = ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"];
    let all = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];
    let table: [(&str, &[&str]); 6] = [
        ("ADD", &all),
        ("CHECK", &all),
        ("DEL", &id),
        ("GC", &["CNI_PATH"]),
        ("STATUS", &["CNI_PATH"]),
        ("VERSION", &[]),
    ];
    for (command, required) in table {
        for variable in [all.as_slice(), &["CNI_ARGS"]].concat() {
            let seen = Run::of(command).with(variable, "").on(&Fake::default());
            if required.contains(&variable) {
                let failure = seen.outcome.unwrap_err();
                assert_eq!(failure.error.code, Code::INVALID_ENVIRONMENT);
                let expected = format!("required env variables [{variable}] missing");
                assert_eq!(failure.error.msg, expected, "{command}");
            } else {
                assert_eq!(seen.outcome, Ok(()), "{command} without {variable}");
            }
        }
    }
}

#[test]
fn all_missing_variables_are_reported_not_only_the_first() {
    let run = Run::of("ADD").with("CNI_NETNS", "").with("CNI_IFNAME", "").with("CNI_PATH", "");
    assert_eq!(run.error().msg, "required env variables [CNI_NETNS,CNI_IFNAME,CNI_PATH] missing");
}

#[test]
fn malformed_names_in_the_environment_are_refused() {
    for (variable, value, msg) in [
        ("CNI_CONTAINERID", "some-%%container-id", "invalid characters in containerID"),
        ("CNI_IFNAME", "1234567890123456", "interface name is too long"),
        ("CNI_IFNAME", ".", "interface name is . or .."),
        ("CNI_IFNAME", "..", "interface name is . or .."),
        ("CNI_IFNAME", "a/b", "interface name contains / or : or whitespace characters"),
        ("CNI_IFNAME", "a:b", "interface name contains / or : or whitespace characters"),
        ("CNI_IFNAME", "a b", "interface name contains / or : or whitespace characters"),
    ] {
        let error = Run::of("ADD").with(variable, value).error();
        assert_eq!((error.code, error.msg.as_str()), (Code::INVALID_ENVIRONMENT, msg));
    }
}

#[test]
fn configuration_without_version_is_of_the_first() {
    let plugin = Fake { versions: vec!["0.1.0"], ..Fake::default() };
    let run = Run::of("ADD").stdin(r#"{"name":"skel-test","some":"config"}"#);
    run.on(&plugin).outcome.unwrap();
    assert_eq!(plugin.calls.borrow()[0].1.version, "0.1.0");
}

#[test]
fn version_the_plugin_does_not_list_is_refused_and_nothing_is_called() {
    let plugin = Fake { versions: vec!["4.3.2"], ..Fake::default() };
    for command in ["ADD", "DEL"] {
        let run = Run::of(command).stdin(r#"{"name":"skel-test"}"#);
        let error = run.on(&plugin).outcome.unwrap_err().error;
        assert_eq!(error.code, Code::INCOMPATIBLE_VERSION);
        assert_eq!(error.msg, "incompatible CNI versions");
        assert_eq!(error.details, r#"config is "0.1.0", plugin supports ["4.3.2"]"#);
    }
    assert_eq!(plugin.commands(), []);
}

#[test]
fn commands_of_newer_versions_are_refused_for_older_configurations() {
    for (command, conf) in [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0")] {
        let run =
            Run::of(command).stdin(&format!(r#"{{"name":"skel-test","cniVersion":"{conf}"}}"#));
        let error = run.error();
        assert_eq!(error.code, Code::INCOMPATIBLE_VERSION);
        assert_eq!(error.msg, format!("config version does not allow {command}"));
    }
}

#[test]
fn commands_of_newer_versions_are_refused_for_older_plugins() {
    for (command, conf) in [("CHECK", "0.4.0"), ("GC", "1.1.0"), ("STATUS", "1.1.0")] {
        let plugin = Fake { versions: vec!["0.1.0", "0.3.1"], ..Fake::default() };
        let run =
            Run::of(command).stdin(&format!(r#"{{"name":"skel-test","cniVersion":"{conf}"}}"#));
        let error = run.on(&plugin).outcome.unwrap_err().error;
        assert_eq!(error.code, Code::INCOMPATIBLE_VERSION);
        assert_eq!(error.msg, format!("plugin version does not allow {command}"));
        assert_eq!(plugin.commands(), []);
    }
}

#[test]
fn version_that_is_none_cannot_be_decoded_be_it_of_configuration_or_plugin() {
    for command in ["CHECK", "GC", "STATUS"] {
        let bad = Run::of(command).stdin(r#"{"name":"skel-test","cniVersion":"adsfsadf"}"#);
        assert_eq!(bad.error().code, Code::DECODING_FAILURE);
        let plugin = Fake { versions: vec!["adsfasdf"], ..Fake::default() };
        let error = Run::of(command).on(&plugin).outcome.unwrap_err().error;
        assert_eq!(error.code, Code::DECODING_FAILURE);
    }
}

#[test]
fn configuration_needs_a_name_of_valid_characters() {
    for (name, _) in ALL {
        let error = Run::of(name).stdin(r#"{"cniVersion":"1.1.0"}"#).error();
        assert_eq!(error, PluginError::new(Code::INVALID_NETWORK_CONFIG, "missing network name"));
        let error = Run::of(name).stdin(r#"{"cniVersion":"1.1.0","name":"a/b"}"#).error();
        assert_eq!(error.code, Code::INVALID_NETWORK_CONFIG);
    }
}

#[test]
fn configuration_that_is_not_json_cannot_be_decoded() {
    for stdin in ["", "{", "[]", "\u{0}", r#"{"name":1}"#] {
        for command in ["ADD", "NONE"] {
            let error = Run::of(command).stdin(stdin).error();
            assert_eq!(error.code, Code::DECODING_FAILURE, "{stdin}");
        }
    }
}

#[test]
fn version_prints_one_line_and_reads_nothing() {
    let plugin = Fake { versions: vec!["9.8.7", "10.0.0"], ..Fake::default() };
    let seen = Run::of("VERSION").on_with_stdin(&plugin, &mut Broken);
    seen.outcome.unwrap();
    let line = "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"9.8.7\",\"10.0.0\"]}\n";
    assert_eq!(seen.stdout, line);
    assert_eq!(plugin.commands(), []);
}

#[test]
fn unknown_command_is_refused_and_nothing_is_called() {
    let plugin = Fake::default();
    let error = Run::of("NOPE").on(&plugin).outcome.unwrap_err().error;
    let expected = PluginError::new(Code::INVALID_ENVIRONMENT, "unknown CNI_COMMAND: NOPE");
    assert_eq!(error, expected);
    assert_eq!(plugin.commands(), []);
}

#[test]
fn plugin_run_by_hand_says_what_it_is() {
    let seen = Run::of("").on(&Fake { versions: vec!["0.3.0", "0.4.0"], ..Fake::default() });
    seen.outcome.unwrap();
    let text = "fake plugin\nCNI protocol versions supported: 0.3.0, 0.4.0\n";
    assert_eq!((seen.stdout.as_str(), seen.stderr.as_str()), ("", text));
}

#[test]
fn plugin_without_about_line_fails_when_run_by_hand() {
    let seen = Run::of("").on(&Fake { about: "", ..Fake::default() });
    let error = seen.outcome.unwrap_err().error;
    assert_eq!(error.code, Code::INVALID_ENVIRONMENT);
    assert_eq!(error.msg, "required env variables [CNI_COMMAND] missing");
}

#[test]
fn standard_input_that_cannot_be_read_is_an_error() {
    let plugin = Fake::default();
    let seen = Run::of("ADD").on_with_stdin(&plugin, &mut Broken);
    let expected = PluginError::new(Code::IO_FAILURE, "error reading from stdin: banana");
    assert_eq!(seen.outcome.unwrap_err().error, expected);
    assert_eq!(plugin.commands(), []);
}

#[test]
fn error_of_the_plugin_is_passed_on_as_it_is_with_the_version() {
    let error = PluginError::new(Code(1234), "insufficient something");
    for (name, _) in ALL {
        let plugin = Fake { answer: Err(error.clone()), ..Fake::default() };
        let failure = Run::of(name).on(&plugin).outcome.unwrap_err();
        assert_eq!(failure, Failure { error: error.clone(), version: Some("1.1.0".into()) });
    }
}

#[test]
fn result_of_add_is_printed() {
    let result = crate::types::v100::Result { cni_version: "1.1.0".into(), ..Default::default() };
    let answer = Ok(Reply::Result(CniResult::V100(result)));
    let seen = Run::of("ADD").on(&Fake { answer, ..Fake::default() });
    assert_eq!(seen.stdout, "{\n    \"cniVersion\": \"1.1.0\"\n}");
}

#[test]
fn own_namespace_is_refused_before_anything_happens_unless_overridden() {
    let own = "/proc/thread-self/ns/net";
    for command in ["ADD", "DEL"] {
        let plugin = Fake::default();
        let run = Run::of(command).with("CNI_NETNS", own);
        assert_eq!(run.on(&plugin).outcome.unwrap_err().error.code, Code::INVALID_NETNS);
        assert_eq!(plugin.commands(), []);
        for value in ["1", "true", "TRUE"] {
            let run = Run::of(command).with("CNI_NETNS", own).with("CNI_NETNS_OVERRIDE", value);
            assert_eq!(run.on(&Fake::default()).outcome, Ok(()));
        }
    }
}
