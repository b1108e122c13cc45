//! What a finished plugin means.

use std::fmt;
use std::io::Write;
use std::process::{ExitStatus, Output};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::error::Error;
use crate::types::{PluginError, fold_keys};

/// How often a plugin is tried whose file is being written, a second apart: a package manager
/// may be at work.
pub(super) const BUSY_TRIES: u32 = 6;

/// Where the standard error of plugins that succeed goes.
#[derive(Clone, Default)]
pub enum StderrSink {
    /// To the standard error of this process.
    #[default]
    Inherit,
    /// Nowhere.
    Discard,
    /// To a writer, whole, when the plugin has ended.
    Writer(Arc<Mutex<dyn Write + Send>>),
}

impl fmt::Debug for StderrSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inherit => "Inherit",
            Self::Discard => "Discard",
            Self::Writer(_) => "Writer",
        })
    }
}

impl StderrSink {
    /// Passes on what a plugin wrote; a sink that refuses it is no reason to fail.
    fn forward(&self, bytes: &[u8]) {
        let _refused = match self {
            Self::Discard => Ok(()),
            Self::Inherit => std::io::stderr().write_all(bytes),
            Self::Writer(writer) => {
                writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
            }
        };
    }
}

/// Ends a plugin and all it started, as the plugin it takes addresses from: what went on behind
/// our back would undo the DEL that comes next. A plugin is the first of its process group, and
/// `id` is not anybody else's while it has not been waited for.
pub(super) fn kill_group(id: u32) {
    let Ok(id) = i32::try_from(id) else { return };
    // One that has ended by itself is ended.
    let _ended = killpg(Pid::from_raw(id), Signal::SIGKILL);
}

/// The output of a plugin that succeeded, or the error of one that did not.
pub(super) fn judge(output: Output, sink: &StderrSink) -> Result<Vec<u8>, Error> {
    if output.status.success() {
        sink.forward(&output.stderr);
        return Ok(output.stdout);
    }
    Err(failure(output.status, &output.stdout, &output.stderr))
}

fn failure(status: ExitStatus, stdout: &[u8], stderr: &[u8]) -> Error {
    if stdout.is_empty() {
        let stderr = String::from_utf8_lossy(stderr).into_owned();
        return if stderr.is_empty() {
            Error::Silent(status)
        } else {
            Error::Stderr { stderr, status }
        };
    }
    let decoded = serde_json::from_slice(stdout).and_then(|members| {
        serde_json::from_value::<PluginError>(fold_keys(members, &["code", "msg", "details"]))
    });
    match decoded {
        // An object with neither is no error object: the plugin printed something else.
        Ok(error) if error == PluginError::default() => Error::Silent(status),
        Ok(error) => Error::Plugin(error),
        Err(cause) => {
            Error::Diagnostic { stdout: String::from_utf8_lossy(stdout).into_owned(), cause }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::types::Code;

    fn judged(code: i32, stdout: &str, stderr: &str) -> Result<Vec<u8>, Error> {
        let status = ExitStatus::from_raw(code << 8);
        let output = Output { status, stdout: stdout.into(), stderr: stderr.into() };
        judge(output, &StderrSink::Discard)
    }

    #[test]
    fn output_of_success_is_returned_and_its_stderr_forwarded() {
        let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let sink = StderrSink::Writer(seen.clone());
        let status = ExitStatus::from_raw(0);
        let output = Output { status, stdout: b"out".to_vec(), stderr: b"err".to_vec() };
        assert_eq!(judge(output, &sink).unwrap(), b"out");
        assert_eq!(*seen.lock().unwrap(), b"err");
    }

    #[test]
    fn error_object_becomes_the_error() {
        let error = judged(1, r#"{"code":103,"msg":"banana","details":"d"}"#, "noise").unwrap_err();
        assert_eq!(error.to_string(), "banana; d");
        assert_eq!(error.code(), Some(Code(103)));
    }

    #[test]
    fn stderr_alone_becomes_the_error() {
        let error = judged(1, "", "no such bridge\n").unwrap_err();
        assert_eq!(error.to_string(), r#"netplugin failed: "no such bridge\n""#);
    }

    #[test]
    fn silence_names_the_exit_status() {
        let error = judged(1, "", "").unwrap_err().to_string();
        assert_eq!(error, "netplugin failed with no error message: exit status: 1");
        assert!(matches!(judged(1, "{}", ""), Err(Error::Silent(_))));
    }

    #[test]
    fn output_that_is_no_error_object_is_shown() {
        let error = judged(1, "not json", "").unwrap_err().to_string();
        let start = r#"netplugin failed but error parsing its diagnostic message "not json": "#;
        assert!(error.starts_with(start), "{error}");
    }
}
