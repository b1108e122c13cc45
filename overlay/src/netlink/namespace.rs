//! Network namespaces: opened, entered, made, pinned.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs, statfs};

use super::error::NetlinkError;

/// The namespace of the thread that looks. `self` would be the main thread's.
const THREAD_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// A network namespace, held open: it lives at least as long as this.
#[derive(Debug)]
pub struct Namespace {
    file: OwnedFd,
    path: PathBuf,
    inode: u64,
}

impl Namespace {
    /// Opens a namespace by path: a pinned one, `/proc/PID/ns/net`, or what a runtime made.
    ///
    /// # Errors
    /// [`NetlinkError::NamespaceGone`] when nothing is there, [`NetlinkError::NotNamespace`] when
    /// something else is.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NetlinkError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| match error.raw_os_error() {
            // A process that ends takes its directory in /proc along in the midst of the open.
            Some(code)
                if [Errno::ENOENT as i32, Errno::ESRCH as i32, Errno::ENOTDIR as i32]
                    .contains(&code) =>
            {
                NetlinkError::NamespaceGone(path.to_owned())
            }
            _ => NetlinkError::io(format!("open network namespace `{}`", path.display()), error),
        })?;
        let described = || format!("look at network namespace `{}`", path.display());
        let kind = fstatfs(&file).map_err(|e| NetlinkError::io(described(), e))?;
        if kind.filesystem_type() != NSFS_MAGIC {
            return Err(NetlinkError::NotNamespace(path.to_owned()));
        }
        let inode = file.metadata().map_err(|e| NetlinkError::io(described(), e))?.ino();
        Ok(Self { file: file.into(), path: path.to_owned(), inode })
    }

    /// Opens the namespace this thread is in.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn current() -> Result<Self, NetlinkError> {
        Self::open(THREAD_NAMESPACE)
    }

    /// Opens the namespace of a process.
    ///
    /// # Errors
    /// [`NetlinkError::NamespaceGone`] when there is no such process.
    pub fn of_pid(pid: u32) -> Result<Self, NetlinkError> {
        Self::open(format!("/proc/{pid}/ns/net"))
    }

    /// Opens it once more.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn try_clone(&self) -> Result<Self, NetlinkError> {
        let file =
            self.file.try_clone().map_err(|e| NetlinkError::io("duplicate a descriptor", e))?;
        Ok(Self { file, path: self.path.clone(), inode: self.inode })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells namespaces apart while they are held open.
    pub fn inode(&self) -> u64 {
        self.inode
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs a closure on a thread of its own inside a namespace and waits for it. Sockets opened and
/// processes started there stay there: `ip netns exec`.
///
/// # Errors
/// When the namespace cannot be entered (root is needed), or the closure panicked.
pub fn run_in<R: Send>(
    namespace: &Namespace,
    closure: impl FnOnce() -> R + Send,
) -> Result<R, NetlinkError> {
    let doing = || format!("enter network namespace `{}`", namespace.path.display());
    let enter = || setns(namespace, CloneFlags::CLONE_NEWNET).map(|()| closure());
    on_own_thread(enter)
        .map_err(|error| NetlinkError::io(doing(), error))?
        .map_err(|errno| NetlinkError::io(doing(), errno))
}

/// Runs a closure on a thread of its own, whose namespace it may change, and waits for it.
fn on_own_thread<R: Send>(closure: impl FnOnce() -> R + Send) -> io::Result<R> {
    thread::scope(|scope| {
        let thread =
            thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, closure)?;
        thread.join().map_err(|_| io::Error::other("the thread panicked"))
    })
}

/// Makes a namespace and pins it at a path; one that is pinned there already is kept. A file left
/// where a namespace was pinned before (after a reboot, say) is used again: `ip netns add`.
///
/// The directory must exist; see [`prepare_directory`].
///
/// # Errors
/// Without root, or when the path is a directory.
pub fn make_pinned(path: impl AsRef<Path>) -> Result<Namespace, NetlinkError> {
    let path = path.as_ref();
    if is_pinned(path) {
        return Namespace::open(path);
    }
    let doing = || format!("make network namespace `{}`", path.display());
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|e| NetlinkError::io(doing(), e))?;
    let pin = || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(Some(THREAD_NAMESPACE), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    };
    let pinned = on_own_thread(pin).and_then(|result| result.map_err(io::Error::from));
    if let Err(error) = pinned {
        // The file is of no use; that it cannot be removed either is not the news.
        let _ = fs::remove_file(path);
        return Err(NetlinkError::io(doing(), error));
    }
    Namespace::open(path)
}

/// Makes a namespace that lasts as long as it is held open: `unshare -n`.
///
/// # Errors
/// Without root.
pub fn make_anonymous() -> Result<Namespace, NetlinkError> {
    let make = || unshare(CloneFlags::CLONE_NEWNET).map(|()| Namespace::current());
    let made = on_own_thread(make).and_then(|result| result.map_err(io::Error::from));
    made.map_err(|error| NetlinkError::io("make a network namespace", error))?
}

/// True when a namespace is pinned at the path.
pub fn is_pinned(path: impl AsRef<Path>) -> bool {
    statfs(path.as_ref()).is_ok_and(|kind| kind.filesystem_type() == NSFS_MAGIC)
}

/// Takes the pin away; the namespace ends when nothing else holds it. An absent one is a success:
/// `ip netns delete`.
///
/// # Errors
/// Without root.
pub fn unpin(path: impl AsRef<Path>) -> Result<(), NetlinkError> {
    let path = path.as_ref();
    let doing = || format!("remove network namespace `{}`", path.display());
    while is_pinned(path) {
        umount2(path, MntFlags::MNT_DETACH).map_err(|e| NetlinkError::io(doing(), e))?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(NetlinkError::io(doing(), error))
        }
        _ => Ok(()),
    }
}

/// Names of the namespaces pinned in a directory; an absent directory has none: `ip netns list`.
///
/// # Errors
/// When the directory cannot be read.
pub fn list_pinned(directory: impl AsRef<Path>) -> Result<Vec<String>, NetlinkError> {
    let directory = directory.as_ref();
    let failed = |e| NetlinkError::io(format!("list `{}`", directory.display()), e);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if is_pinned(entry.path())
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Makes the directory for pins, and makes mounts in it seen from other mount namespaces: where the
/// mount it is on is not shared, it is bound onto itself and shared, as `ip netns` does.
///
/// # Errors
/// Without root.
pub fn prepare_directory(directory: impl AsRef<Path>) -> Result<(), NetlinkError> {
    let directory = directory.as_ref();
    let doing = || format!("prepare `{}` for network namespaces", directory.display());
    let failed = |e: io::Error| NetlinkError::io(doing(), e);
    fs::create_dir_all(directory).map_err(failed)?;
    let directory = directory.canonicalize().map_err(failed)?;
    let table = fs::read_to_string("/proc/thread-self/mountinfo").map_err(failed)?;
    let mounts = Mounts::parse(&table);
    if mounts.is_shared(&directory) {
        return Ok(());
    }
    let none = None::<&str>;
    if !mounts.is_mount_point(&directory) {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(&directory), &directory, none, flags, none).map_err(|e| failed(e.into()))?;
    }
    mount(none, &directory, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none)
        .map_err(|e| failed(e.into()))
}

/// Unpins all namespaces of a directory and undoes [`prepare_directory`]; the directory goes too
/// when nothing else is in it.
///
/// # Errors
/// The first failure; the rest is tried all the same.
pub fn release_directory(directory: impl AsRef<Path>) -> Result<(), NetlinkError> {
    let directory = directory.as_ref();
    let mut outcome = Ok(());
    for name in list_pinned(directory)? {
        outcome = outcome.and(unpin(directory.join(name)));
    }
    let Ok(canonical) = directory.canonicalize() else {
        return outcome;
    };
    let failed = |e| NetlinkError::io(format!("release `{}`", directory.display()), e);
    let table = fs::read_to_string("/proc/thread-self/mountinfo").map_err(failed)?;
    if Mounts::parse(&table).is_mount_point(&canonical) {
        let unmounted = umount2(&canonical, MntFlags::MNT_DETACH);
        outcome = outcome.and(unmounted.map_err(|e| failed(e.into())));
    }
    // What somebody else put there stays.
    let _ = fs::remove_dir(&canonical);
    outcome
}

/// The mount table: mount point, and whether it is shared, in the order of mounting.
struct Mounts(Vec<(PathBuf, bool)>);

impl Mounts {
    /// Reads /proc/PID/mountinfo (proc(5)): the fifth field is the mount point with spaces as
    /// `\040`; the optional fields from the seventh to a lone hyphen hold `shared:N`.
    fn parse(table: &str) -> Self {
        let mounts = table.lines().filter_map(|line| {
            let mut fields = line.split(' ');
            let point = fields.nth(4)?.replace("\\040", " ");
            let shared = fields.skip(1).take_while(|f| *f != "-").any(|f| f.starts_with("shared:"));
            Some((PathBuf::from(point), shared))
        });
        Self(mounts.collect())
    }

    /// The mount a path is on: the longest mount point above it, the last mounted of equals.
    fn of(&self, path: &Path) -> Option<&(PathBuf, bool)> {
        self.0
            .iter()
            .filter(|(point, _)| path.starts_with(point))
            .max_by_key(|(point, _)| point.components().count())
    }

    fn is_shared(&self, path: &Path) -> bool {
        self.of(path).is_some_and(|(_, shared)| *shared)
    }

    fn is_mount_point(&self, path: &Path) -> bool {
        self.of(path).is_some_and(|(point, _)| point == path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
42 27 0:9 / /run rw shared:5 - tmpfs tmpfs rw
43 42 0:9 /a /run/we\\040ft rw - tmpfs tmpfs rw
44 43 0:9 /a /run/we\\040ft rw shared:7 master:1 - tmpfs tmpfs rw
";

    #[test]
    fn a_path_is_on_the_innermost_last_mount() {
        let mounts = Mounts::parse(TABLE);
        assert!(!mounts.is_shared(Path::new("/var")));
        assert!(mounts.is_shared(Path::new("/run/other")));
        assert!(mounts.is_shared(Path::new("/run/we ft/netns")));
        assert!(mounts.is_mount_point(Path::new("/run/we ft")));
        assert!(!mounts.is_mount_point(Path::new("/run/we ft/netns")));
    }

    #[test]
    fn a_file_is_not_a_namespace() {
        let error = Namespace::open("/proc/version").expect_err("a file");
        assert!(matches!(error, NetlinkError::NotNamespace(_)), "{error}");
    }

    #[test]
    fn an_absent_path_is_a_namespace_gone() {
        let error = Namespace::open("/nonexistent/ns").expect_err("absent");
        assert!(matches!(error, NetlinkError::NamespaceGone(_)), "{error}");
    }
}
