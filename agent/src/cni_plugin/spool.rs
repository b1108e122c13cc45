//! What DEL could not tell the agent: one file an attachment, in `cni-detached` beside the control
//! socket, until the agent has ended it.
//!
//! A file's name is a digest, so no name of a container or a network can lead out of the directory,
//! and a DEL that is repeated writes the same file again. Like the sandboxes it speaks of, the
//! directory need not outlive the machine's uptime.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};
use weft_api::control::AttachmentRef;

/// The directory's name.
pub(crate) const DIRECTORY: &str = "cni-detached";
/// Files in it, at most.
const FILES_MAX: usize = 10_000;
/// Bytes of a file, at most.
const BYTES_MAX: u64 = 64 << 10;
/// How the names of files end that are whole.
const WHOLE: &str = ".json";
/// How they end before that.
const PARTIAL: &str = ".part";
/// How old a partial file is whose writer is dead.
const PARTIAL_AGE: Duration = Duration::from_secs(60);
/// Bytes of the digest that a file is named by.
const DIGEST_BYTES: usize = 20;

/// Links that a socket's path may lead through.
const LINKS_MAX: usize = 8;
/// Bits of a mode by which others may write.
const OTHERS_WRITE: u32 = 0o022;

/// What is in the directory.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// What is to be ended.
    pub(crate) detached: Vec<AttachmentRef>,
    /// Files that say nothing: they are removed.
    pub(crate) damaged: Vec<PathBuf>,
}

/// The directory.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    directory: PathBuf,
}

impl Spool {
    /// The one beside a control socket; of one that is a link, beside what it leads to.
    pub(crate) fn beside(socket: &Path) -> Self {
        Self { directory: target(socket).with_file_name(DIRECTORY) }
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes an attachment down, durably, or not at all.
    ///
    /// # Errors
    /// When the directory is full, cannot be written, or can be written by other users.
    pub(crate) fn add(&self, detached: &AttachmentRef) -> io::Result<()> {
        self.make()?;
        let files = fs::read_dir(&self.directory)?.take(FILES_MAX).count();
        if files == FILES_MAX && !self.has(detached) {
            return Err(io::Error::other(format!("{FILES_MAX} wait for the agent already")));
        }
        let bytes = serde_json::to_vec(detached)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(io::Error::other("the names are too long"));
        }
        let digest = digest(detached);
        let partial = self.directory.join(format!("{digest}.{}{PARTIAL}", std::process::id()));
        let written = write_durably(&partial, &bytes)
            .and_then(|()| fs::rename(&partial, self.directory.join(digest + WHOLE)))
            .and_then(|()| File::open(&self.directory)?.sync_all());
        if written.is_err() {
            // What failed is told; a partial file counts for nothing.
            let _ = fs::remove_file(&partial);
        }
        written
    }

    /// Whether an attachment is written down.
    pub(crate) fn has(&self, detached: &AttachmentRef) -> bool {
        self.check().is_ok() && self.path(detached).exists()
    }

    /// Strikes an attachment out, if it is written down.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub(crate) fn remove(&self, detached: &AttachmentRef) -> io::Result<()> {
        match fs::remove_file(self.path(detached)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Reads all there is, and clears away what can never be read.
    ///
    /// # Errors
    /// When the directory or a file in it cannot be read, or the directory can be written by other
    /// users; that there is none is no error.
    pub(crate) fn list(&self) -> io::Result<Listed> {
        let mut listed = Listed::default();
        match self.check() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listed),
            checked => checked?,
        }
        for entry in fs::read_dir(&self.directory)?.take(FILES_MAX) {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(PARTIAL) {
                clear_if_old(&path);
                continue;
            }
            match read(&path) {
                Ok(Some(detached)) if self.path(&detached) == path => {
                    listed.detached.push(detached);
                }
                // Struck out meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // It may be readable the next time.
                Err(error) => return Err(error),
                Ok(_) => {
                    // It is told; one that stays is met again.
                    let _ = fs::remove_file(&path);
                    listed.damaged.push(path);
                }
            }
        }
        Ok(listed)
    }

    /// Makes the directory where there is none, and the one it is in where no agent has run yet;
    /// sees that nobody else writes into it.
    ///
    /// # Errors
    /// When it cannot be made, is something else, or can be written by other users.
    pub(crate) fn make(&self) -> io::Result<()> {
        let make = |directory: &Path, mode| match DirBuilder::new().mode(mode).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
        if let Some(above) = self.directory.parent() {
            make(above, 0o755)?;
        }
        make(&self.directory, 0o700)?;
        self.check()
    }

    fn check(&self) -> io::Result<()> {
        let found = fs::symlink_metadata(&self.directory)?;
        let own = found.uid() == nix::unistd::geteuid().as_raw();
        if found.is_dir() && own && found.mode() & OTHERS_WRITE == 0 {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("`{}` is no directory of this user's alone", self.directory.display()),
        ))
    }

    fn path(&self, detached: &AttachmentRef) -> PathBuf {
        self.directory.join(digest(detached) + WHOLE)
    }
}

/// Follows links, also to what is not there now.
fn target(socket: &Path) -> PathBuf {
    let mut path = socket.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(next) = fs::read_link(&path) else { break };
        path = path.parent().map(|above| above.join(&next)).unwrap_or(next);
    }
    path
}

/// Names an attachment by what tells it apart. A zero byte is in no name and no network is without
/// one, so no two attachments are spelled alike.
fn digest(AttachmentRef { network, configuration, key }: &AttachmentRef) -> String {
    let of = if configuration.is_empty() { network.clone() } else { format!("\0{configuration}") };
    let spelled = [&of[..], &key.container_id, &key.ifname].join("\0");
    Sha256::digest(spelled).iter().take(DIGEST_BYTES).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Left by a process of the same number.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a file; what is no file, or says nothing, is none.
fn read(path: &Path) -> io::Result<Option<AttachmentRef>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes).ok())
}

fn clear_if_old(path: &Path) {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|modified| modified.elapsed().ok());
    if age.is_some_and(|age| age > PARTIAL_AGE) {
        // Gone already, or met again.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use weft_api::control::AttachmentKey;

    use super::*;

    fn detached(container: &str, ifname: &str) -> AttachmentRef {
        let key = AttachmentKey { container_id: container.into(), ifname: ifname.into() };
        AttachmentRef { network: "blue".into(), configuration: "pods".into(), key }
    }

    fn spool() -> (tempfile::TempDir, Spool) {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("run")).unwrap();
        let spool = Spool::beside(&directory.path().join("run/weft.sock"));
        (directory, spool)
    }

    #[test]
    fn what_is_written_is_listed_until_it_is_struck_out() {
        let (_directory, spool) = spool();
        assert!(spool.list().unwrap().detached.is_empty());
        let (web, db) = (detached("web", "eth0"), detached("db", "eth0"));
        spool.add(&web).unwrap();
        spool.add(&web).unwrap();
        spool.add(&db).unwrap();
        assert_eq!(spool.list().unwrap().detached.len(), 2);
        assert!(spool.has(&web) && !spool.has(&detached("web", "eth1")));
        spool.remove(&web).unwrap();
        spool.remove(&web).unwrap();
        assert_eq!(spool.list().unwrap().detached, [db]);
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let (directory, spool) = spool();
        for name in ["../../../out", "/out", "", ".", "a\0b"] {
            let configuration = name.into();
            let hostile = AttachmentRef { configuration, ..detached(name, name) };
            spool.add(&hostile).unwrap();
            assert!(spool.has(&hostile));
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(directory.path().join("run")).unwrap().count(), 1);
        assert_eq!(spool.list().unwrap().detached.len(), 5);
    }

    #[test]
    fn an_attachment_goes_by_its_configuration_or_else_by_its_network() {
        let (_directory, spool) = spool();
        let before = AttachmentRef { network: "green".into(), ..detached("web", "eth0") };
        spool.add(&before).unwrap();
        assert!(spool.has(&detached("web", "eth0")), "the configuration has another network now");
        let nameless = |network: &str| {
            let (network, configuration) = (network.into(), String::new());
            AttachmentRef { network, configuration, ..detached("web", "eth0") }
        };
        assert!(!spool.has(&nameless("pods")) && !spool.has(&nameless("green")));
        spool.add(&nameless("blue")).unwrap();
        assert!(spool.has(&nameless("blue")) && !spool.has(&nameless("green")));
    }

    #[test]
    fn the_directory_of_the_socket_is_made_and_none_above_it() {
        let directory = tempfile::tempdir().unwrap();
        let near = Spool::beside(&directory.path().join("run/weft.sock"));
        near.add(&detached("web", "eth0")).unwrap();
        assert!(near.has(&detached("web", "eth0")));
        let far = Spool::beside(&directory.path().join("no/such/weft.sock"));
        assert!(far.add(&detached("web", "eth0")).is_err());
        assert!(!directory.path().join("no").exists());
    }

    #[test]
    fn a_socket_that_is_a_link_leads_to_the_agents_own_directory() {
        let (directory, spool) = spool();
        let (first, second) = (directory.path().join("a.sock"), directory.path().join("b.sock"));
        symlink("run/weft.sock", &first).unwrap();
        symlink(&first, &second).unwrap();
        Spool::beside(&second).add(&detached("web", "eth0")).unwrap();
        assert!(spool.has(&detached("web", "eth0")));
        symlink("round.sock", directory.path().join("round.sock")).unwrap();
        let round = Spool::beside(&directory.path().join("round.sock"));
        assert_eq!(round.directory(), directory.path().join(DIRECTORY));
    }

    #[test]
    fn a_directory_that_others_write_or_that_is_a_link_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let (directory, spool) = spool();
        spool.add(&detached("web", "eth0")).unwrap();
        let inside = directory.path().join("run").join(DIRECTORY);
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(spool.add(&detached("db", "eth0")).is_err());
        assert!(spool.list().is_err() && !spool.has(&detached("web", "eth0")));
        let elsewhere = directory.path().join("elsewhere");
        fs::rename(&inside, &elsewhere).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&elsewhere, &inside).unwrap();
        assert!(spool.add(&detached("db", "eth0")).is_err());
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    }

    #[test]
    fn what_is_written_and_read_is_followed_nowhere() {
        let (directory, spool) = spool();
        spool.make().unwrap();
        let inside = directory.path().join("run").join(DIRECTORY);
        let outside = directory.path().join("outside");
        fs::write(&outside, serde_json::to_vec(&detached("web", "eth0")).unwrap()).unwrap();
        let name = digest(&detached("web", "eth0"));
        symlink(&outside, inside.join(format!("{name}.{}{PARTIAL}", std::process::id()))).unwrap();
        symlink(&outside, inside.join(name + WHOLE)).unwrap();
        assert_eq!(spool.list().unwrap().damaged.len(), 1, "a link is no file");
        spool.add(&detached("web", "eth0")).unwrap();
        assert_eq!(spool.list().unwrap().detached.len(), 1);
        let kept: AttachmentRef = serde_json::from_slice(&fs::read(&outside).unwrap()).unwrap();
        assert_eq!(kept, detached("web", "eth0"), "what a link led to is as it was");
    }

    #[test]
    fn damaged_and_renamed_files_are_told_and_cleared() {
        let (directory, spool) = spool();
        spool.add(&detached("web", "eth0")).unwrap();
        let inside = directory.path().join("run").join(DIRECTORY);
        let whole = serde_json::to_vec(&detached("db", "eth0")).unwrap();
        for (name, bytes) in [("a.json", &b""[..]), ("b.json", b"{"), ("c.json", &whole)] {
            fs::write(inside.join(name), bytes).unwrap();
        }
        let listed = spool.list().unwrap();
        assert_eq!((listed.detached.len(), listed.damaged.len()), (1, 3));
        assert!(spool.list().unwrap().damaged.is_empty());
    }

    #[test]
    fn a_partial_file_counts_for_nothing_and_goes_when_its_writer_is_dead() {
        let (directory, spool) = spool();
        spool.add(&detached("web", "eth0")).unwrap();
        let partial = directory.path().join("run").join(DIRECTORY).join("x.1.part");
        fs::write(&partial, "{").unwrap();
        assert_eq!(spool.list().unwrap().detached.len(), 1);
        assert!(partial.exists());
        let old = std::time::SystemTime::now() - 2 * PARTIAL_AGE;
        File::options().write(true).open(&partial).unwrap().set_modified(old).unwrap();
        assert_eq!(spool.list().unwrap().detached.len(), 1);
        assert!(!partial.exists());
    }

    #[test]
    fn a_full_directory_takes_no_more() {
        let (directory, spool) = spool();
        spool.add(&detached("web", "eth0")).unwrap();
        let inside = directory.path().join("run").join(DIRECTORY);
        for number in 1..FILES_MAX {
            File::create(inside.join(format!("{number}{WHOLE}"))).unwrap();
        }
        assert!(spool.add(&detached("db", "eth0")).is_err());
    }
}
