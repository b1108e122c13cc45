//! Why the agent before ended, or did not start: kept beside the control socket, for whoever finds
//! that no agent answers there.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::Failure;

/// What goes behind the socket's name.
const SUFFIX: &str = ".ended";
/// Bytes of the reason that are read: a sentence and some.
const REASON_BYTES_MAX: usize = 4096;

/// How an agent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastEnd {
    /// Why, as its log has it.
    pub reason: String,
    /// How long ago; none when the clock was set back since.
    pub ago: Option<Duration>,
}

impl LastEnd {
    /// Keeps why the agent of this socket ends. Where another one answers on it, that one is the
    /// socket's, and nothing is kept.
    pub fn keep(socket: &Path, failure: &Failure) {
        if UnixStream::connect(socket).is_ok() {
            return;
        }
        // Whoever cannot write it has told it to the log.
        let _ = fs::write(beside(socket), failure.to_string());
    }

    /// Forgets it: an agent runs.
    pub fn forget(socket: &Path) {
        // There is none, as a rule.
        let _ = fs::remove_file(beside(socket));
    }

    /// Reads what the last one left, if it came to a bad end.
    pub fn read(socket: &Path) -> Option<Self> {
        let path = beside(socket);
        let bytes = fs::read(&path).ok()?;
        let reason = &bytes[..bytes.len().min(REASON_BYTES_MAX)];
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
        Some(Self {
            reason: String::from_utf8_lossy(reason).into_owned(),
            ago: modified.and_then(|at| at.elapsed().ok()),
        })
    }
}

fn beside(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(SUFFIX);
    path.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_bad_end_is_kept_until_an_agent_runs_and_not_where_another_one_does() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("weft.sock");
        assert_eq!(LastEnd::read(&socket), None);
        LastEnd::keep(&socket, &Failure::failed("the disk is full"));
        let read = LastEnd::read(&socket).unwrap();
        assert_eq!(read.reason, "the disk is full");
        LastEnd::forget(&socket);
        assert_eq!(LastEnd::read(&socket), None);
        let _agent = UnixListener::bind(&socket).unwrap();
        LastEnd::keep(&socket, &Failure::failed("the port is taken"));
        assert_eq!(LastEnd::read(&socket), None);
    }
}
