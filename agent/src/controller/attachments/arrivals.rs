//! Waiting for files to arrive in a directory.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe::Receiver;

/// Bytes of events that are read at once, at least as many as one event may have.
const EVENTS_BYTES: usize = 4096;

/// A watch on one directory.
pub(super) struct Arrivals {
    /// The kernel writes an event for each change; it is waited for and read as a pipe is.
    events: Receiver,
}

impl Arrivals {
    /// Begins to watch. What is there already is not told.
    ///
    /// # Errors
    /// When there is no such directory, or the kernel gives no more watches.
    pub(super) fn watch(directory: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let told = AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(directory, told)?;
        Ok(Self { events: Receiver::from_owned_fd_unchecked(OwnedFd::from(inotify))? })
    }

    /// Returns when a file was renamed into the directory, or the directory is there no more.
    ///
    /// # Errors
    /// When the kernel does not tell any more.
    pub(super) async fn next(&self) -> io::Result<()> {
        let mut events = [0; EVENTS_BYTES];
        loop {
            self.events.readable().await?;
            match self.events.try_read(&mut events) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                told => return told.map(drop),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn each_arrival_and_the_end_of_the_directory_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let (watched, outside) = (directory.path().join("in"), directory.path().join("out"));
        fs::create_dir(&watched).unwrap();
        let arrivals = Arrivals::watch(&watched).unwrap();
        for name in ["a", "b"] {
            fs::write(&outside, name).unwrap();
            fs::rename(&outside, watched.join(name)).unwrap();
            arrivals.next().await.unwrap();
        }
        fs::remove_dir_all(&watched).unwrap();
        arrivals.next().await.unwrap();
        assert!(Arrivals::watch(&watched).is_err());
    }
}
