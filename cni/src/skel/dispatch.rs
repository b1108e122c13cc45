//! From a call to the plugin's answer.

use std::os::unix::fs::MetadataExt;

use super::request::{self, Command};
use super::{CmdArgs, Failure, Plugin, Process, Reply};
use crate::types::{Code, PluginError};
use crate::version::{PluginInfo, decode_conf_version, greater_than_or_equal_to, reconcile};

/// Answers one call.
///
/// Without CNI_COMMAND, that is run by hand, a plugin with an about line tells what it is.
///
/// # Errors
/// The error object to print on standard output, before exiting with 1.
pub fn dispatch(plugin: &dyn Plugin, mut process: Process<'_>) -> Result<(), Failure> {
    let versions = plugin.versions();
    let (command, mut args) = match request::read(&mut process) {
        Ok(call) => call,
        Err(_) if by_hand(&process) && !plugin.about().is_empty() => {
            let supported = versions.supported_versions().join(", ");
            let about = plugin.about();
            // People who closed their terminal miss nothing.
            let _unread =
                writeln!(process.stderr, "{about}\nCNI protocol versions supported: {supported}");
            return Ok(());
        }
        Err(error) => return Err(Failure { error, version: None }),
    };
    if command == Command::Version {
        return version(&versions, &mut process).map_err(|error| Failure { error, version: None });
    }
    let version = decode_conf_version(&args.stdin).map_err(|error| Failure {
        error: PluginError::new(Code::DECODING_FAILURE, error.to_string()),
        version: None,
    })?;
    args.version.clone_from(&version);
    answer(plugin, command, &args, &versions, &mut process)
        .map_err(|error| Failure { error, version: Some(version) })
}

fn by_hand(process: &Process<'_>) -> bool {
    (process.variable)("CNI_COMMAND").is_empty()
}

fn version(versions: &PluginInfo, process: &mut Process<'_>) -> Result<(), PluginError> {
    let mut write = || -> std::io::Result<()> {
        serde_json::to_writer(&mut *process.stdout, versions)?;
        process.stdout.write_all(b"\n")
    };
    write_failure(write())
}

fn write_failure(written: std::io::Result<()>) -> Result<(), PluginError> {
    written.map_err(|error| PluginError::new(Code::IO_FAILURE, error.to_string()))
}

fn answer(
    plugin: &dyn Plugin,
    command: Command,
    args: &CmdArgs,
    versions: &PluginInfo,
    process: &mut Process<'_>,
) -> Result<(), PluginError> {
    agree(command, &args.version, versions)?;
    match command {
        Command::Add => {
            refuse_own_netns(args)?;
            let written = match plugin.add(args)? {
                Reply::Result(result) => result.print_to(process.stdout),
                Reply::Raw(bytes) => process.stdout.write_all(&bytes),
            };
            write_failure(written)
        }
        Command::Del => {
            refuse_own_netns(args)?;
            plugin.del(args)
        }
        Command::Check => plugin.check(args),
        Command::Gc => plugin.gc(args),
        Command::Status => plugin.status(args),
        Command::Version => Ok(()),
    }
}

/// Checks that configuration and plugin have a version in common that knows the command.
fn agree(command: Command, conf: &str, versions: &PluginInfo) -> Result<(), PluginError> {
    let incompatible = |msg: String| PluginError::new(Code::INCOMPATIBLE_VERSION, msg);
    let undecodable =
        |error: crate::Error| PluginError::new(Code::DECODING_FAILURE, error.to_string());
    let since = match command {
        Command::Add | Command::Del | Command::Version => None,
        Command::Check => Some("0.4.0"),
        Command::Gc | Command::Status => Some("1.1.0"),
    };
    if let Some(since) = since {
        let verb = command.as_str();
        if !greater_than_or_equal_to(conf, since).map_err(undecodable)? {
            return Err(incompatible(format!("config version does not allow {verb}")));
        }
        let mut new_enough = false;
        for version in versions.supported_versions() {
            new_enough |= greater_than_or_equal_to(version, conf).map_err(undecodable)?;
            if new_enough {
                break;
            }
        }
        if !new_enough {
            return Err(incompatible(format!("plugin version does not allow {verb}")));
        }
    }
    reconcile(conf, versions).map_err(|error| {
        incompatible("incompatible CNI versions".to_owned()).with_details(error.details())
    })
}

/// Refuses to work on the namespace the plugin itself runs in, before anything has happened,
/// unless CNI_NETNS_OVERRIDE says so. A namespace that cannot be looked at is the plugin's
/// affair: on DEL it may be gone.
fn refuse_own_netns(args: &CmdArgs) -> Result<(), PluginError> {
    let overridden = args.netns_override == "1"
        || args.netns_override.eq_ignore_ascii_case("true")
        || args.netns.is_empty();
    if overridden {
        return Ok(());
    }
    let identity =
        |path: &str| std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let own = identity("/proc/thread-self/ns/net");
    if own.is_some() && own == identity(&args.netns) {
        let msg = "plugin's netns and netns from CNI_NETNS should not be the same";
        return Err(PluginError::new(Code::INVALID_NETNS, msg));
    }
    Ok(())
}
