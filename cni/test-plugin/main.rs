//! A plugin for the tests, in several characters by the name it is run under.
//!
//! - `noop` does what a debug file says and writes down what it was called with. The file is
//!   named by `DEBUG=` in CNI_ARGS or `debugFile` in the configuration; `commandLog` in the
//!   configuration names a file to which every call is appended.
//! - `sleep` sleeps for a minute, whatever it is asked.
//! - `delegator` hands every call on to the plugin `ipam.type` of the configuration names.
//! - `ancient` is a plugin from before VERSION, and speaks 0.1.0.
//! - `churn` is no plugin but a runtime: it attaches and detaches for ever, with the cache in the
//!   directory of its first argument, and plugins that do nothing.

#![expect(clippy::print_stdout, reason = "a plugin answers on its standard output")]

use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cni::invoke::blocking::{
    Exec, RawExec, delegate_add, delegate_check, delegate_del, delegate_gc, delegate_status,
};
use cni::libcni::blocking::{Cni, CniConfig};
use cni::libcni::{RuntimeConf, conf_list_from_bytes};
use cni::skel::{CmdArgs, Failure, Plugin, Process, Reply, dispatch};
use cni::types::{CniResult, Code, NetConf, PluginError};
use cni::version::{PluginInfo, parse_prev_result};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let name = std::env::args().next().unwrap_or_default();
    match name.rsplit('/').next() {
        Some("sleep") => {
            std::thread::sleep(Duration::from_secs(60));
            ExitCode::SUCCESS
        }
        Some("ancient") => ancient(),
        Some("churn") => churn(&std::env::args().nth(1).unwrap_or_default()),
        Some("delegator") => cni::skel::plugin_main(&Delegator),
        _ => noop(),
    }
}

/// Answers for plugins that do nothing.
struct Idle;

impl Exec for Idle {
    fn exec_plugin(&self, _: cni::invoke::Call<'_>) -> Result<Vec<u8>, cni::Error> {
        Ok(br#"{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}]}"#.to_vec())
    }

    fn find_in_path(&self, plugin: &str, _: &[PathBuf]) -> Result<PathBuf, cni::Error> {
        Ok(plugin.into())
    }
}

fn churn(cache: &str) -> ExitCode {
    let list = br#"{"cniVersion":"1.0.0","name":"churn","plugins":[{"type":"idle"}]}"#;
    let Ok(list) = conf_list_from_bytes(list) else { return ExitCode::FAILURE };
    let runtime = CniConfig::with_cache_dir(Vec::new(), cache, Some(Arc::new(Idle)));
    for round in 0_u32.. {
        let rt = RuntimeConf::new(format!("id-{}", round % 7), "/some/netns", "eth0");
        let added = runtime.add_network_list(&list, &rt);
        let deleted = if round % 3 == 0 { runtime.del_network_list(&list, &rt) } else { Ok(()) };
        if let Err(error) = added.map(drop).and(deleted) {
            let _unread = writeln!(io::stderr(), "{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn ancient() -> ExitCode {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let command = variable("CNI_COMMAND");
    let demanded = ["CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];
    if demanded.iter().any(|name| variable(name).is_empty()) {
        println!(r#"{{"code":100,"msg":"required env variables missing"}}"#);
        return ExitCode::FAILURE;
    }
    if command != "ADD" && command != "DEL" {
        println!(r#"{{"code":100,"msg":"unknown CNI_COMMAND: {command}"}}"#);
        return ExitCode::FAILURE;
    }
    println!(r#"{{"ip4":{{"ip":"10.1.2.3/24"}}}}"#);
    ExitCode::SUCCESS
}

fn noop() -> ExitCode {
    let mut stdin = Vec::new();
    if io::stdin().read_to_end(&mut stdin).is_err() {
        return ExitCode::FAILURE;
    }
    let noop = Noop::over(&stdin);
    let process = Process {
        variable: &|name: &str| std::env::var(name).unwrap_or_default(),
        stdin: &mut stdin.as_slice(),
        stdout: &mut io::stdout(),
        stderr: &mut io::stderr(),
    };
    match dispatch(&noop, process) {
        // The exit code a test asked for comes after everything else has been done.
        Ok(()) => ExitCode::from(noop.exit_code()),
        Err(Failure { error, version }) => {
            let _closed = error.print_to(version.as_deref(), &mut io::stdout());
            ExitCode::FAILURE
        }
    }
}

/// The debug file and what stands in it.
struct Noop {
    file: Option<String>,
    debug: Value,
    prev: Result<Option<CniResult>, String>,
    command_log: Option<String>,
}

impl Noop {
    fn over(stdin: &[u8]) -> Self {
        let conf: Value = serde_json::from_slice(stdin).unwrap_or_default();
        let member = |key: &str| conf.get(key).and_then(Value::as_str).map(str::to_owned);
        let arguments = std::env::var("CNI_ARGS").unwrap_or_default();
        let named = arguments.split(';').find_map(|pair| pair.strip_prefix("DEBUG="));
        let file = named.map(str::to_owned).or_else(|| member("debugFile"));
        let debug = file
            .as_ref()
            .and_then(|file| fs::read(file).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let prev =
            NetConf::decode(stdin).map_err(|error| error.to_string()).and_then(|mut conf| {
                parse_prev_result(&mut conf).map_err(|error| error.to_string())?;
                Ok(conf.prev_result)
            });
        Self { file, debug, prev, command_log: member("commandLog") }
    }

    fn told(&self, key: &str) -> &str {
        self.debug.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn exit_code(&self) -> u8 {
        let code = self.debug.get("ExitWithCode").and_then(Value::as_u64).unwrap_or_default();
        u8::try_from(code).unwrap_or(u8::MAX)
    }

    fn behave(&self, command: &str, args: &CmdArgs) -> Result<Reply, PluginError> {
        let internal = |msg: String| PluginError::new(Code::INTERNAL, msg);
        let prev = self.prev.clone().map_err(internal)?;
        let Some(file) = &self.file else {
            let _unread = writeln!(io::stderr(), "CNI_ARGS or config empty, no debug behavior");
            return Ok(Reply::Raw(b"{}".to_vec()));
        };
        if self.debug.is_null() {
            return Err(internal(format!("no debug file {file}")));
        }
        self.write_down(file, command, args).map_err(|error| internal(error.to_string()))?;
        let _unread = io::stderr().write_all(self.told("ReportStderr").as_bytes());
        if !self.told("ReportError").is_empty() {
            let code = self.debug.get("ReportErrorCode").and_then(Value::as_u64);
            let code = code.and_then(|code| u32::try_from(code).ok()).map_or(Code::INTERNAL, Code);
            return Err(PluginError::new(code, self.told("ReportError")));
        }
        let prev = || prev.clone().ok_or_else(|| internal("no prevResult".to_owned()));
        match self.told("ReportResult") {
            "PASSTHROUGH" => Ok(Reply::Result(prev()?)),
            "INJECT-DNS" => {
                let mut current =
                    prev()?.to_current().map_err(|error| internal(error.to_string()))?;
                current.dns.nameservers = vec!["1.2.3.4".to_owned()];
                let result = CniResult::V100(current).to_version(&args.version);
                result.map(Reply::Result).map_err(|error| internal(error.to_string()))
            }
            literal => Ok(Reply::Raw(literal.as_bytes().to_vec())),
        }
    }

    fn write_down(&self, file: &str, command: &str, args: &CmdArgs) -> io::Result<()> {
        let call = json!({
            "Command": command,
            "ContainerID": args.container_id,
            "Netns": args.netns,
            "IfName": args.if_name,
            "Args": args.args,
            "Path": args.path,
            "Stdin": String::from_utf8_lossy(&args.stdin),
        });
        let mut debug = self.debug.clone();
        debug["Call"] = call.clone();
        fs::write(file, debug.to_string())?;
        if let Some(log) = &self.command_log {
            let mut log = fs::OpenOptions::new().append(true).create(true).open(log)?;
            writeln!(log, "{call}")?;
        }
        Ok(())
    }
}

impl Plugin for Noop {
    fn versions(&self) -> PluginInfo {
        let told = self.debug.get("ReportVersionSupport").and_then(Value::as_array);
        let told: Vec<&str> = told.into_iter().flatten().filter_map(Value::as_str).collect();
        if told.is_empty() {
            // One no library knows, to see that it is not looked at too closely.
            return PluginInfo::supports(std::iter::once("0.-42.0").chain(cni::version::ALL));
        }
        PluginInfo::supports(told)
    }

    fn about(&self) -> String {
        "CNI noop plugin for tests".to_owned()
    }

    fn add(&self, args: &CmdArgs) -> Result<Reply, PluginError> {
        self.behave("ADD", args)
    }

    fn check(&self, args: &CmdArgs) -> Result<(), PluginError> {
        self.behave("CHECK", args).map(|_| ())
    }

    fn del(&self, args: &CmdArgs) -> Result<(), PluginError> {
        self.behave("DEL", args).map(|_| ())
    }

    fn gc(&self, args: &CmdArgs) -> Result<(), PluginError> {
        self.behave("GC", args).map(|_| ())
    }

    fn status(&self, args: &CmdArgs) -> Result<(), PluginError> {
        self.behave("STATUS", args).map(|_| ())
    }
}

/// Delegates everything.
struct Delegator;

/// What answers for a plugin it calls.
type Delegate = fn(&str, &[u8], &dyn Exec) -> Result<(), cni::Error>;

impl Delegator {
    fn hand_on(args: &CmdArgs, delegate: Delegate) -> Result<(), PluginError> {
        delegate(&Self::target(args)?, &args.stdin, &RawExec::default()).map_err(as_object)
    }

    fn target(args: &CmdArgs) -> Result<String, PluginError> {
        let conf = NetConf::decode(&args.stdin)
            .map_err(|error| PluginError::new(Code::DECODING_FAILURE, error.to_string()))?;
        Ok(conf.ipam.plugin_type)
    }
}

fn as_object(error: cni::Error) -> PluginError {
    let own = || PluginError::new(Code::INTERNAL, error.to_string());
    error.plugin_error().cloned().unwrap_or_else(own)
}

impl Plugin for Delegator {
    fn versions(&self) -> PluginInfo {
        PluginInfo::all()
    }

    fn add(&self, args: &CmdArgs) -> Result<Reply, PluginError> {
        let target = Self::target(args)?;
        let result = delegate_add(&target, &args.stdin, &RawExec::default()).map_err(as_object)?;
        Ok(Reply::Result(result))
    }

    fn check(&self, args: &CmdArgs) -> Result<(), PluginError> {
        Self::hand_on(args, delegate_check)
    }

    fn del(&self, args: &CmdArgs) -> Result<(), PluginError> {
        Self::hand_on(args, delegate_del)
    }

    fn gc(&self, args: &CmdArgs) -> Result<(), PluginError> {
        Self::hand_on(args, delegate_gc)
    }

    fn status(&self, args: &CmdArgs) -> Result<(), PluginError> {
        Self::hand_on(args, delegate_status)
    }
}
