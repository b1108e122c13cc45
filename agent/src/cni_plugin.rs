//! The CNI plugin `weft-cni`: what runtimes call for each container.
//!
//! It is this same program under another name: called as `weft-cni` it is the plugin, blocking and
//! short-lived, without a runtime or a log. It has no state. What there is to know is the agent's,
//! which it asks over the control socket; only what the agent cannot be told now goes into a
//! directory beside that socket (`spool.rs`).

mod add;
mod check;
mod configuration;
mod del;
mod gc;
mod member;
mod refusal;
mod result;
mod socket;
pub(crate) mod spool;
mod status;
mod wishes;

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use cni::invoke::blocking::{Exec, RawExec};
use cni::skel::{CmdArgs, Plugin, Process, Reply, dispatch};
use cni::types::{Code, PluginError};
use cni::version::PluginInfo;

/// The plugin's name: that of its file, and `type` in a configuration.
pub const NAME: &str = "weft-cni";
/// The words by which a file is known as this plugin, of whatever version.
pub const MARK: &str = "weft-cni, the CNI plugin of the overlay network agent Weft";
/// The versions of the specification it speaks.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// Bytes of a configuration, at most: GC lists every attachment that is in use.
const STDIN_MAX: u64 = 8 << 20;

/// Whether a program that was started by this name is the plugin.
pub fn is_called_by(program: Option<&OsStr>) -> bool {
    program.and_then(|path| Path::new(path).file_name()).is_some_and(|name| name == NAME)
}

/// The plugin's `main`: answers one call on this process' standard streams.
#[must_use]
pub fn run() -> ExitCode {
    // A variable that is not Unicode turns into one no rule lets pass.
    let variable = |name: &str| {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let process = Process {
        variable: &variable,
        stdin: &mut io::stdin().take(STDIN_MAX),
        stdout: &mut io::stdout(),
        stderr: &mut io::stderr(),
    };
    let Err(failure) = dispatch(&WeftCni::new(Box::new(RawExec::default())), process) else {
        return ExitCode::SUCCESS;
    };
    if let Err(error) = failure.error.print_to(failure.version.as_deref(), &mut io::stdout()) {
        say(&format!("the error object cannot be written: {error}"));
    }
    ExitCode::FAILURE
}

/// Says something to whoever reads the runtime's log.
fn say(text: &str) {
    // The exit code and standard output tell what counts.
    let _ = writeln!(io::stderr(), "{NAME}: {text}");
}

/// The plugin.
struct WeftCni {
    /// Runs the plugin that addresses are delegated to.
    exec: Box<dyn Exec>,
}

impl WeftCni {
    fn new(exec: Box<dyn Exec>) -> Self {
        Self { exec }
    }
}

impl Plugin for WeftCni {
    fn versions(&self) -> PluginInfo {
        PluginInfo::supports(VERSIONS)
    }

    fn about(&self) -> String {
        format!("{MARK}, version {}", env!("CARGO_PKG_VERSION"))
    }

    fn add(&self, args: &CmdArgs) -> Result<Reply, PluginError> {
        add::exec(self.exec.as_ref(), args)
    }

    fn check(&self, args: &CmdArgs) -> Result<(), PluginError> {
        check::exec(self.exec.as_ref(), args)
    }

    fn del(&self, args: &CmdArgs) -> Result<(), PluginError> {
        del::exec(self.exec.as_ref(), args)
    }

    fn gc(&self, args: &CmdArgs) -> Result<(), PluginError> {
        gc::exec(self.exec.as_ref(), args)
    }

    fn status(&self, args: &CmdArgs) -> Result<(), PluginError> {
        status::exec(self.exec.as_ref(), args)
    }
}

/// What a plugin that was delegated to answered, in our own words where it had none.
fn delegated(plugin: &str, error: &cni::Error) -> PluginError {
    error.plugin_error().cloned().unwrap_or_else(|| {
        PluginError::new(Code::INTERNAL, format!("ipam plugin `{plugin}`: {error}"))
    })
}

#[cfg(test)]
mod tests;
