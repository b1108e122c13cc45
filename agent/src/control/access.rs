//! Who may speak on the control socket: root, the socket's owner, and the socket's group.
//!
//! The socket's mode (0660) already keeps others out; asking the kernel who is at the other end
//! keeps them out as well where the mode was loosened or the socket was mounted into a container.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;
use tokio::net::unix::UCred;

/// Mode of the control socket.
const SOCKET_MODE: u32 = 0o660;

/// Says why the control socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An agent answers on it.
    #[error("another agent answers on `{}`", .0.display())]
    InUse(PathBuf),
    /// Something else stands in its place.
    #[error("`{}` exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The operating system refused.
    #[error("socket `{}` cannot be made: {source}", .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl BindError {
    /// Says what to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::InUse(_) => "stop it, or give this one its own --run-dir and --data-dir",
            Self::NotASocket(_) => "remove it, or choose another path with --socket",
            Self::Io { .. } => "run as root, or choose another path with --socket",
        }
    }
}

/// The ids of whoever is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
}

/// The ids the socket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Tells whether `peer` may speak on a socket of `owner`.
pub(crate) fn may_speak(peer: &Peer, owner: Owner) -> bool {
    peer.uid == 0
        || peer.uid == owner.uid
        || peer.gid == owner.gid
        || peer.groups.contains(&owner.gid)
}

impl Peer {
    /// Takes what the kernel recorded when the peer connected. Supplementary groups are not part
    /// of that record; they are read from the process, which has to be alive for it.
    pub(crate) fn of(credentials: &UCred) -> Self {
        let groups = credentials
            .pid()
            .and_then(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok())
            .map(|status| parse_groups(&status))
            .unwrap_or_default();
        Self { uid: credentials.uid(), gid: credentials.gid(), groups }
    }
}

fn parse_groups(status: &str) -> Vec<u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))
        .map(|groups| groups.split_whitespace().filter_map(|gid| gid.parse().ok()).collect())
        .unwrap_or_default()
}

/// A socket's place in the file system, given back when it is dropped: an agent that cannot start
/// leaves none behind.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl SocketFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, socket = %self.0.display(), "socket not removed");
        }
    }
}

/// Makes the socket, in place of one that nobody listens on any more.
pub(crate) fn bind(path: &Path) -> Result<(UnixListener, Owner), BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    let metadata = fs::metadata(path).map_err(failed)?;
    Ok((listener, Owner { uid: metadata.uid(), gid: metadata.gid() }))
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(BindError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { uid: 0, gid: 990 };

    fn peer(uid: u32, gid: u32, groups: &[u32]) -> Peer {
        Peer { uid, gid, groups: groups.to_vec() }
    }

    #[test]
    fn root_the_owner_and_the_group_may_speak_and_nobody_else() {
        assert!(may_speak(&peer(0, 0, &[]), OWNER));
        assert!(may_speak(&peer(1000, 990, &[]), OWNER));
        assert!(may_speak(&peer(1000, 1000, &[4, 990]), OWNER));
        assert!(may_speak(&peer(7, 7, &[]), Owner { uid: 7, gid: 8 }));
        assert!(!may_speak(&peer(1000, 1000, &[4]), OWNER));
    }

    #[test]
    fn groups_are_read_from_a_process_status() {
        let status = "Name:\tx\nUid:\t1\t1\t1\t1\nGroups:\t4 24 990 \nVmPeak:\t1 kB\n";
        assert_eq!(parse_groups(status), [4, 24, 990]);
        assert!(parse_groups("Groups:\n").is_empty());
        assert!(parse_groups("").is_empty());
    }

    #[tokio::test]
    async fn a_socket_left_by_a_dead_agent_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/weft.sock");
        let (first, _) = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert!(matches!(bind(&path), Err(BindError::InUse(_))));
        drop(first);
        assert!(bind(&path).is_ok());
    }

    #[tokio::test]
    async fn a_file_in_the_sockets_place_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weft.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(BindError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
