//! The frame of a plugin: reads the environment and standard input, checks both, agrees on a
//! version, calls the plugin, prints its answer.
//!
//! ```no_run
//! use cni::skel::{CmdArgs, Plugin, Reply, plugin_main};
//! use cni::types::{CniResult, PluginError, v100};
//! use cni::version::PluginInfo;
//!
//! struct Null;
//!
//! impl Plugin for Null {
//!     fn versions(&self) -> PluginInfo {
//!         PluginInfo::supports(["1.0.0", "1.1.0"])
//!     }
//!     fn about(&self) -> String {
//!         "CNI plugin null v1".to_owned()
//!     }
//!     fn add(&self, args: &CmdArgs) -> Result<Reply, PluginError> {
//!         let result = v100::Result { cni_version: args.version.clone(), ..Default::default() };
//!         Ok(Reply::Result(CniResult::V100(result)))
//!     }
//!     fn check(&self, _args: &CmdArgs) -> Result<(), PluginError> {
//!         Ok(())
//!     }
//!     fn del(&self, _args: &CmdArgs) -> Result<(), PluginError> {
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     plugin_main(&Null)
//! }
//! ```

mod dispatch;
mod request;

use std::io::{self, Read, Write};
use std::process::ExitCode;

pub use dispatch::dispatch;
pub use request::Command;

use crate::types::{CniResult, PluginError};
use crate::version::PluginInfo;

/// What a plugin is called with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CmdArgs {
    /// CNI_CONTAINERID.
    pub container_id: String,
    /// CNI_NETNS; on DEL it may be empty or gone.
    pub netns: String,
    /// CNI_IFNAME.
    pub if_name: String,
    /// CNI_ARGS; see [`load_args`](crate::types::load_args).
    pub args: String,
    /// CNI_PATH.
    pub path: String,
    /// CNI_NETNS_OVERRIDE.
    pub netns_override: String,
    /// The configuration, as it came.
    pub stdin: Vec<u8>,
    /// The configuration's version; what a result should be of.
    pub version: String,
}

/// What ADD prints.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a process makes one")]
pub enum Reply {
    /// A result, printed in its own version.
    Result(CniResult),
    /// Bytes that are a result already, as of a plugin that delegates everything.
    Raw(Vec<u8>),
}

/// A plugin. Errors of any kind become an error object; `Code::INTERNAL` is for those that
/// have no code of their own.
pub trait Plugin {
    /// The versions it supports; what is of another does not reach it.
    fn versions(&self) -> PluginInfo;

    /// A line for people who run it by hand; may be empty.
    fn about(&self) -> String {
        String::new()
    }

    /// Attaches a container.
    ///
    /// # Errors
    /// The error object to print.
    fn add(&self, args: &CmdArgs) -> Result<Reply, PluginError>;

    /// Checks an attachment; from 0.4.0 on.
    ///
    /// # Errors
    /// The error object to print.
    fn check(&self, args: &CmdArgs) -> Result<(), PluginError>;

    /// Removes an attachment, or what is left of it.
    ///
    /// # Errors
    /// The error object to print.
    fn del(&self, args: &CmdArgs) -> Result<(), PluginError>;

    /// Removes what no valid attachment uses; from 1.1.0 on. Does nothing unless overridden.
    ///
    /// # Errors
    /// The error object to print.
    fn gc(&self, _args: &CmdArgs) -> Result<(), PluginError> {
        Ok(())
    }

    /// Tells whether ADD can be served; from 1.1.0 on. It can, unless overridden.
    ///
    /// # Errors
    /// The error object to print, with code 50 or 51.
    fn status(&self, _args: &CmdArgs) -> Result<(), PluginError> {
        Ok(())
    }
}

/// The process a plugin runs in, as far as the protocol goes. Tests make their own.
pub struct Process<'a> {
    /// Looks a variable up; empty is the same as unset.
    pub variable: &'a dyn Fn(&str) -> String,
    /// Where the configuration comes from; VERSION leaves it unread.
    pub stdin: &'a mut dyn Read,
    /// Where answers go.
    pub stdout: &'a mut dyn Write,
    /// Where talk for people goes.
    pub stderr: &'a mut dyn Write,
}

/// The whole `main` of a plugin: answers one call on this process' standard streams and gives
/// the exit code, 0 or 1.
#[must_use]
pub fn plugin_main(plugin: &dyn Plugin) -> ExitCode {
    // A variable that is not Unicode turns into one no rule lets pass.
    let variable = |name: &str| {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let process = Process {
        variable: &variable,
        stdin: &mut io::stdin(),
        stdout: &mut io::stdout(),
        stderr: &mut io::stderr(),
    };
    match dispatch(plugin, process) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Err(error) =
                failure.error.print_to(failure.version.as_deref(), &mut io::stdout())
            {
                // The exit code still tells; who reads stderr learns why stdout is empty.
                let _lost = writeln!(io::stderr(), "cannot write the error object: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

/// A failed call: what a plugin has to print.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// The error object.
    pub error: PluginError,
    /// The version of the configuration, when it came to be known.
    pub version: Option<String>,
}

#[cfg(test)]
mod tests;
