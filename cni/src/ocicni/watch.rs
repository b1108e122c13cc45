//! Waiting for directories to change.
//!
//! Every component of a directory's path is watched, for the next one to come, go or be
//! replaced. So a directory may be deleted and made again, or be made after the watch began.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

/// How long nothing must change before a change counts as complete.
const QUIET: Duration = Duration::from_millis(20);
/// How long a change is waited for to be complete.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often directories are looked at that cannot be watched.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why the wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// Something changed, or may have.
    Changed,
    /// The other end of the stop was dropped.
    Stopped,
}

/// What a watched directory is watched for.
#[derive(Clone, Debug, Default)]
struct Interest {
    /// It is one of the directories: everything in it counts.
    whole: bool,
    /// It leads to one: only these names in it count.
    names: Vec<OsString>,
}

/// A watch on directories, until the other end of `stop` is dropped.
#[derive(Debug)]
pub(super) struct DirectoryWatch {
    directories: Vec<PathBuf>,
    inotify: Inotify,
    interests: BTreeMap<WatchDescriptor, Interest>,
    /// Whether all there is to watch is watched.
    is_whole: bool,
    stop: UnixStream,
}

impl DirectoryWatch {
    pub(super) fn new(directories: Vec<PathBuf>, stop: UnixStream) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let directories = directories
            .into_iter()
            .map(std::path::absolute)
            .collect::<io::Result<Vec<PathBuf>>>()?;
        let interests = BTreeMap::new();
        let mut watch = Self { directories, inotify, interests, is_whole: true, stop };
        watch.arm();
        Ok(watch)
    }

    /// Waits for a change. What changes until the next call is not missed.
    pub(super) fn wait(&mut self) -> Woken {
        loop {
            let limit = if self.is_whole { None } else { Some(LOOK_EVERY) };
            let began = Instant::now();
            match self.readable(limit) {
                Ok(Readable::Stop) => return Woken::Stopped,
                Ok(Readable::Nothing) => {
                    self.arm();
                    return Woken::Changed;
                }
                Ok(Readable::Events) => match self.take_events() {
                    Ok(true) => return self.settle(),
                    Ok(false) => {}
                    Err(error) => return self.recover(&error, began),
                },
                Err(error) => return self.recover(&error, began),
            }
        }
    }

    /// Goes on without events, but not at once: whatever is wrong may still be.
    fn recover(&mut self, error: &io::Error, began: Instant) -> Woken {
        tracing::warn!(%error, "directories are looked at from time to time");
        std::thread::sleep(LOOK_EVERY.saturating_sub(began.elapsed()));
        self.arm();
        Woken::Changed
    }

    /// Lets a change end, as that of a package manager takes its time, and watches what is new.
    fn settle(&mut self) -> Woken {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match self.readable(Some(QUIET)) {
                Ok(Readable::Stop) => return Woken::Stopped,
                Ok(Readable::Events) if self.take_events().is_ok() => {}
                Ok(Readable::Events | Readable::Nothing) | Err(_) => break,
            }
        }
        self.arm();
        Woken::Changed
    }

    /// Watches all directories, and what leads to them, as far as it is there.
    fn arm(&mut self) {
        let mut interests = BTreeMap::new();
        let mut whole = true;
        for directory in &self.directories {
            if let Err(errno) = arm_one(&self.inotify, directory, &mut interests) {
                whole = false;
                // Once, and not every time.
                if self.is_whole {
                    let directory = directory.display();
                    tracing::warn!(%directory, %errno, "directory is looked at from time to time");
                }
            }
        }
        for descriptor in self.interests.keys().filter(|known| !interests.contains_key(known)) {
            // One that ended by itself, with its directory, is no failure.
            let _ended = self.inotify.rm_watch(*descriptor);
        }
        self.interests = interests;
        self.is_whole = whole;
    }

    /// Reads what happened; tells whether some of it counts.
    fn take_events(&mut self) -> io::Result<bool> {
        let mut counts = false;
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    counts |= events.iter().any(|event| counts_for(&self.interests, event));
                }
                Err(Errno::EAGAIN) => return Ok(counts),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn readable(&self, limit: Option<Duration>) -> io::Result<Readable> {
        let limit = match limit {
            None => PollTimeout::NONE,
            Some(limit) => PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX),
        };
        let mut waited = [
            PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
        ];
        loop {
            match poll(&mut waited, limit) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(0) => return Ok(Readable::Nothing),
                Ok(_) if waited[0].any().unwrap_or(true) => return Ok(Readable::Stop),
                Ok(_) => return Ok(Readable::Events),
            }
        }
    }
}

/// What a poll found.
enum Readable {
    Stop,
    Events,
    Nothing,
}

/// Changes in a directory, and its own end.
fn changes() -> AddWatchFlags {
    AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR
}

/// Watches one directory and all that leads to it, from the root on: what is made between two
/// steps is seen by the watch of the step before.
fn arm_one(
    inotify: &Inotify,
    directory: &Path,
    interests: &mut BTreeMap<WatchDescriptor, Interest>,
) -> Result<(), Errno> {
    let names: Vec<&std::ffi::OsStr> = directory
        .components()
        .filter(|component| !matches!(component, Component::RootDir))
        .map(Component::as_os_str)
        .collect();
    let mut path = PathBuf::from("/");
    for depth in 0..=names.len() {
        let descriptor = match inotify.add_watch(&path, changes()) {
            Ok(descriptor) => descriptor,
            // Not there, or no directory; its parent is watched.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let interest = interests.entry(descriptor).or_default();
        let Some(name) = names.get(depth) else {
            interest.whole = true;
            return Ok(());
        };
        interest.names.push((*name).to_owned());
        path.push(name);
    }
    Ok(())
}

fn counts_for(interests: &BTreeMap<WatchDescriptor, Interest>, event: &InotifyEvent) -> bool {
    if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
        return true;
    }
    let Some(interest) = interests.get(&event.wd) else { return false };
    match &event.name {
        Some(name) => interest.whole || is_on_the_way(interest, name, event.mask),
        // Of the directory itself: its end, or its attributes.
        None => true,
    }
}

/// Whether a name that leads to a directory came or went. That something in it was written, or
/// its attributes set, is the next watch's affair.
fn is_on_the_way(interest: &Interest, name: &OsString, mask: AddWatchFlags) -> bool {
    let moved = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE;
    mask.intersects(moved) && interest.names.contains(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A watch, and what stops it.
    fn watch(directories: Vec<PathBuf>) -> (DirectoryWatch, UnixStream) {
        let (stop, stopped) = UnixStream::pair().unwrap();
        (DirectoryWatch::new(directories, stopped).unwrap(), stop)
    }

    #[test]
    fn what_happens_beside_a_directory_and_above_it_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let watched = dir.path().join("a/b");
        fs::create_dir_all(&watched).unwrap();
        let (watch, _stop) = watch(vec![watched.clone()]);
        let mut watch = watch;
        for beside in [dir.path().join("x"), dir.path().join("a/x")] {
            fs::write(&beside, "").unwrap();
            fs::remove_file(&beside).unwrap();
        }
        fs::create_dir(watched.join("../c")).unwrap();
        assert!(!watch.take_events().unwrap());
        fs::write(watched.join("x"), "").unwrap();
        assert!(watch.take_events().unwrap());
    }

    #[test]
    fn change_between_two_waits_is_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        let watched = dir.path().join("a/b/c");
        let (mut watch, _stop) = watch(vec![watched.clone()]);
        for _ in 0..3 {
            fs::create_dir_all(&watched).unwrap();
            assert_eq!(watch.wait(), Woken::Changed);
            fs::write(watched.join("x"), "").unwrap();
            assert_eq!(watch.wait(), Woken::Changed);
            fs::remove_dir_all(dir.path().join("a")).unwrap();
            assert_eq!(watch.wait(), Woken::Changed);
        }
    }

    #[test]
    fn watch_ends_when_its_other_end_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watch, stop) = watch(vec![dir.path().to_owned()]);
        drop(stop);
        assert_eq!(watch.wait(), Woken::Stopped);
    }

    #[test]
    fn directory_that_cannot_be_watched_is_looked_at_from_time_to_time() {
        // No directory has a name of this length, and none can be watched for it.
        let (mut watch, stop) = watch(vec![PathBuf::from("/").join("x".repeat(300))]);
        assert!(!watch.is_whole);
        assert_eq!(watch.wait(), Woken::Changed);
        drop(stop);
        assert_eq!(watch.wait(), Woken::Stopped);
    }
}
