//! Reading and checking what a plugin is called with.

use super::{CmdArgs, Process};
use crate::types::{Code, NetConf, PluginError};
use crate::validate;

/// What a plugin is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Attach.
    Add,
    /// Check an attachment.
    Check,
    /// Remove an attachment.
    Del,
    /// Remove what is not in use.
    Gc,
    /// Tell whether ADD can be served.
    Status,
    /// Tell the supported versions.
    Version,
}

impl Command {
    /// The command as CNI_COMMAND has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Check => "CHECK",
            Self::Del => "DEL",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Add, Self::Check, Self::Del, Self::Gc, Self::Status, Self::Version]
            .into_iter()
            .find(|command| command.as_str() == text)
    }

    /// The variables it cannot do without, beside CNI_COMMAND.
    fn required(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Self::Gc | Self::Status => &["CNI_PATH"],
            Self::Version => &[],
        }
    }
}

/// Reads the command and its arguments, and for all but VERSION the configuration.
///
/// The order of the checks is that of the reference: formats of variables, missing variables,
/// the configuration, and only then whether the command is one.
pub(super) fn read(process: &mut Process<'_>) -> Result<(Command, CmdArgs), PluginError> {
    let name = (process.variable)("CNI_COMMAND");
    let command = Command::parse(&name);
    let mut args = variables(process);
    check_variables(&name, command, process)?;
    if command != Some(Command::Version) {
        args.stdin = configuration(process)?;
    }
    let unknown = || {
        let msg = format!("unknown CNI_COMMAND: {name}");
        PluginError::new(Code::INVALID_ENVIRONMENT, msg)
    };
    Ok((command.ok_or_else(unknown)?, args))
}

fn variables(process: &Process<'_>) -> CmdArgs {
    let variable = process.variable;
    CmdArgs {
        container_id: variable("CNI_CONTAINERID"),
        netns: variable("CNI_NETNS"),
        if_name: variable("CNI_IFNAME"),
        args: variable("CNI_ARGS"),
        path: variable("CNI_PATH"),
        netns_override: variable("CNI_NETNS_OVERRIDE"),
        ..CmdArgs::default()
    }
}

fn check_variables(
    name: &str,
    command: Option<Command>,
    process: &Process<'_>,
) -> Result<(), PluginError> {
    let mut missing = Vec::new();
    if name.is_empty() {
        missing.push("CNI_COMMAND");
    }
    for variable in command.map(Command::required).unwrap_or_default() {
        let value = (process.variable)(variable);
        match *variable {
            _ if value.is_empty() => missing.push(variable),
            "CNI_CONTAINERID" => validate::container_id(&value)?,
            "CNI_IFNAME" => validate::interface_name(&value)?,
            _ => {}
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let msg = format!("required env variables [{}] missing", missing.join(","));
    Err(PluginError::new(Code::INVALID_ENVIRONMENT, msg))
}

fn configuration(process: &mut Process<'_>) -> Result<Vec<u8>, PluginError> {
    let mut stdin = Vec::new();
    process.stdin.read_to_end(&mut stdin).map_err(|error| {
        PluginError::new(Code::IO_FAILURE, format!("error reading from stdin: {error}"))
    })?;
    let conf = NetConf::decode(&stdin).map_err(|error| {
        PluginError::new(
            Code::DECODING_FAILURE,
            format!("error unmarshall network config: {error}"),
        )
    })?;
    if conf.name.is_empty() {
        return Err(PluginError::new(Code::INVALID_NETWORK_CONFIG, "missing network name"));
    }
    validate::network_name(&conf.name)?;
    Ok(stdin)
}
