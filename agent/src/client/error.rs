//! Why a call came to nothing.

use std::io;
use std::path::PathBuf;

use weft_api::control::{ControlError, ErrorKind};

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
                match Reach::of(source) {
                    Reach::Absent | Reach::Deaf => {
                        "start it with `weft agent`, or name its socket with --socket or \
                         WEFT_SOCKET"
                    }
                    Reach::Denied => "run as root, or as a member of the socket's group",
                    Reach::Other => "check the path given with --socket or WEFT_SOCKET",
                }
                .to_owned(),
            ),
            Self::Refused(error) => {
                Some(error.hint.clone().unwrap_or_else(|| hint_for(error.kind).to_owned()))
            }
            Self::Broken { .. } => Some(
                "the agent may have stopped just now, or be of another version; `weft status` \
                 tells"
                    .to_owned(),
            ),
        }
    }
}

/// What can be said about every error of a kind, where the agent had nothing better.
const fn hint_for(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidParameter => "the command's --help says what it takes",
        ErrorKind::Forbidden => {
            "`weft status`, `weft endpoint ls` and `weft network ls` show what stands in the way"
        }
        ErrorKind::NotFound => "`weft network ls` and `weft endpoint ls` list what this node knows",
        ErrorKind::Conflict => "the `ls` commands list what there is; take another name",
        ErrorKind::NotImplemented => "`weft --help` lists what this version does",
        ErrorKind::Unavailable => "try again in a moment; `weft doctor` looks for what is wrong",
        ErrorKind::Timeout => "it may still be done; look before you try again",
        ErrorKind::Internal => "the agent's log says more; `weft doctor` looks for what is wrong",
    }
}

/// How far a connection got.
enum Reach {
    /// There is no socket.
    Absent,
    /// Nobody listens on it.
    Deaf,
    /// It may not be used.
    Denied,
    /// Anything else.
    Other,
}

impl Reach {
    fn of(error: &io::Error) -> Self {
        let kind = error.kind();
        if kind == io::ErrorKind::NotFound {
            Self::Absent
        } else if kind == io::ErrorKind::ConnectionRefused {
            Self::Deaf
        } else if kind == io::ErrorKind::PermissionDenied {
            Self::Denied
        } else {
            Self::Other
        }
    }
}

fn explain(path: &std::path::Path, error: &io::Error) -> String {
    let path = path.display();
    match Reach::of(error) {
        Reach::Absent => format!("no agent runs here: `{path}` does not exist"),
        Reach::Deaf => format!("no agent runs here: nobody answers on `{path}`"),
        Reach::Denied => format!("you may not use the control socket `{path}`"),
        Reach::Other => format!("the control socket `{path}` cannot be used: {error}"),
    }
}
