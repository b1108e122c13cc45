//! Why a call came to nothing.

use std::io;
use std::path::PathBuf;

use weft_api::control::ControlError;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No agent can be reached on the socket. Nothing was changed.
    #[error("{}", explain(.path, .source))]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The agent answered no.
    #[error("{0}")]
    Refused(ControlError),
    /// The answer broke off or made no sense. The operation may have been carried out.
    #[error("the agent's answer on `{}` cannot be read: {reason}", .path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl ClientError {
    /// Says what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Socket { source, .. } => Some(
                match source.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        "start it with `weft agent`, or name its socket with --socket or \
                         WEFT_SOCKET"
                    }
                    io::ErrorKind::PermissionDenied => {
                        "run as root, or as a member of the socket's group"
                    }
                    _ => "check the path given with --socket or WEFT_SOCKET",
                }
                .to_owned(),
            ),
            Self::Refused(error) => error.hint.clone(),
            Self::Broken { .. } => Some(
                "the agent may have stopped just now, or be of another version; `weft status` \
                 tells"
                    .to_owned(),
            ),
        }
    }
}

fn explain(path: &std::path::Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("no agent runs here: `{path}` does not exist"),
        io::ErrorKind::ConnectionRefused => {
            format!("no agent runs here: nobody answers on `{path}`")
        }
        io::ErrorKind::PermissionDenied => format!("you may not use the control socket `{path}`"),
        _ => format!("the control socket `{path}` cannot be used: {error}"),
    }
}
