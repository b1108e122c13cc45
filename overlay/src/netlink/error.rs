//! What the kernel refused, in words.

use std::fmt;
use std::path::PathBuf;

use netlink_packet_core::ErrorMessage;

/// An operation on the kernel that failed. What it had half made is undone where its verb says so.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused a request.
    #[error("{doing}: {refusal}")]
    Refused {
        /// What was being done, for example "create bridge `br0`".
        doing: String,
        /// Error number and text of the kernel.
        refusal: Refusal,
    },
    /// The kernel did not answer in time; the state is not known.
    #[error("{doing}: no answer from the kernel in {seconds} s")]
    Timeout {
        /// What was being done.
        doing: String,
        /// How long it was waited.
        seconds: u64,
    },
    /// Answers were lost because the socket's buffer was full; the state is not known.
    #[error("{doing}: answers of the kernel were lost (receive buffer full)")]
    Overrun {
        /// What was being done.
        doing: String,
    },
    /// The socket is closed.
    #[error("{doing}: netlink socket closed")]
    Closed {
        /// What was being done.
        doing: String,
    },
    /// Part of a batch that failed as a whole; whether this one was carried out is not known.
    #[error("{doing}")]
    Unknown {
        /// What happened to the batch.
        doing: String,
    },
    /// A call other than netlink failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The path does not exist (any more).
    #[error("network namespace `{0}` does not exist")]
    NamespaceGone(PathBuf),
    /// The path exists and is something else.
    #[error("`{0}` is not a network namespace")]
    NotNamespace(PathBuf),
    /// The sandbox has an interface of that name that is not ours. Nothing was changed.
    #[error("interface `{ifname}` exists in `{}`", sandbox.display())]
    InterfaceExists {
        /// The name.
        ifname: String,
        /// The sandbox.
        sandbox: PathBuf,
    },
    /// The pair that is to be adopted is not there: its far end went with its container. Nothing
    /// was changed.
    #[error("port `{0}` is gone, and the interface that was handed over with it")]
    HandedGone(String),
    /// A program of the host, or another endpoint, has the port. Nothing was changed.
    #[error("{protocol} port `{at}` of this host is in use")]
    PortTaken {
        /// Of the port.
        protocol: crate::publish::Protocol,
        /// Address and port.
        at: std::net::SocketAddr,
    },
    /// No link of that name.
    #[error("link `{0}` does not exist")]
    NoLink(String),
    /// A link of that name exists and is of another kind. Nothing was changed.
    #[error("link `{name}` exists and is a {found}, not a {wanted}")]
    WrongKind {
        /// Its name.
        name: String,
        /// What it is.
        found: String,
        /// What was asked.
        wanted: &'static str,
    },
    /// Another VXLAN device has the VNI on this port. Nothing was changed.
    #[error("VNI {vni} on UDP port {port} is in use by {holder}")]
    VniInUse {
        /// The segment id.
        vni: u32,
        /// The UDP port.
        port: u16,
        /// The device that has it, and where it is.
        holder: String,
    },
}

/// Error number and, where it gave one, sentence of the kernel (extended acknowledgement).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Positive error number.
    pub errno: i32,
    /// The kernel's own words, for example "VXLAN ID must be lower than 16777216".
    pub message: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.errno);
        match &self.message {
            Some(message) => write!(f, "{message} ({text})"),
            None => write!(f, "{text}"),
        }
    }
}

/// Attribute number of the text in an extended acknowledgement (NLMSGERR_ATTR_MSG).
const EXT_ACK_TEXT: u16 = 1;
/// Length of the echoed netlink header; the payload is not echoed (NETLINK_CAP_ACK).
const ECHOED_HEADER: usize = 16;

impl Refusal {
    /// Decodes an answer. The request's payload is never kept: it could hold a secret.
    pub(crate) fn decode(answer: &ErrorMessage) -> Option<Self> {
        let errno = -answer.code?.get();
        let attributes = answer.header.get(ECHOED_HEADER..).unwrap_or_default();
        Some(Self { errno, message: ext_ack_text(attributes) })
    }
}

/// Finds the text among the attributes behind the echoed header.
fn ext_ack_text(mut attributes: &[u8]) -> Option<String> {
    while let [l0, l1, t0, t1, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let kind = u16::from_ne_bytes([t0, t1]) & 0x3fff;
        let value = attributes.get(4..length)?;
        if kind == EXT_ACK_TEXT {
            let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

impl NetlinkError {
    /// The error number of the kernel, where the kernel refused or a call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal.errno),
            Self::Io { source, .. } => source.raw_os_error(),
            Self::Timeout { .. }
            | Self::Overrun { .. }
            | Self::Closed { .. }
            | Self::Unknown { .. }
            | Self::NamespaceGone(_)
            | Self::NotNamespace(_)
            | Self::InterfaceExists { .. }
            | Self::HandedGone(_)
            | Self::PortTaken { .. }
            | Self::NoLink(_)
            | Self::WrongKind { .. }
            | Self::VniInUse { .. } => None,
        }
    }

    /// True when the kernel or a call answered this error number.
    pub fn is(&self, errno: nix::errno::Errno) -> bool {
        self.errno() == Some(errno as i32)
    }

    /// True when answers were lost, and the socket they were to come by is of no more use.
    pub(crate) fn lost_answers(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. }
                | Self::Overrun { .. }
                | Self::Closed { .. }
                | Self::Unknown { .. }
        )
    }

    pub(crate) fn io(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io { doing: doing.into(), source: source.into() }
    }
}

/// Turns an expected refusal into success.
pub(crate) trait Tolerate {
    /// Success when the error is one of these.
    fn tolerate(self, errnos: &[nix::errno::Errno]) -> Result<(), NetlinkError>;
}

impl Tolerate for Result<(), NetlinkError> {
    fn tolerate(self, errnos: &[nix::errno::Errno]) -> Result<(), NetlinkError> {
        match self {
            Err(error) if errnos.iter().any(|errno| error.is(*errno)) => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_found_behind_other_attributes() {
        let mut bytes = vec![8, 0, 2, 0, 9, 9, 9, 9];
        bytes.extend([9, 0, 1, 0, b'n', b'o', b't', b'!', 0, 0, 0, 0]);
        assert_eq!(ext_ack_text(&bytes).as_deref(), Some("not!"));
    }

    #[test]
    fn damaged_attributes_have_no_words() {
        assert_eq!(ext_ack_text(&[0, 0, 0, 0, 0, 0]), None);
        assert_eq!(ext_ack_text(&[200, 0, 1, 0, b'x']), None);
        assert_eq!(ext_ack_text(&[]), None);
    }
}
