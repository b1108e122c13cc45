//! What DEL could not tell the agent: one file an attachment, in `cni-detached` beside the control
//! socket, until the agent has ended it.
//!
//! A file's name is a digest, so no name of a container or a network can lead out of the directory,
//! and a DEL that is repeated writes the same file again. Like the sandboxes it speaks of, the
//! directory need not outlive the machine's uptime.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use weft_api::control::AttachmentKey;

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

/// An attachment whose end the runtime has asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Detached {
    /// The network, by name.
    pub(crate) network: String,
    /// Which of its attachments.
    pub(crate) key: AttachmentKey,
}

/// What is in the directory.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// What is to be ended.
    pub(crate) detached: Vec<Detached>,
    /// Files that say nothing: they are removed.
    pub(crate) damaged: Vec<PathBuf>,
}

/// The directory.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    directory: PathBuf,
}

impl Spool {
    /// The one beside a control socket.
    pub(crate) fn beside(socket: &Path) -> Self {
        Self { directory: socket.with_file_name(DIRECTORY) }
    }

    /// Writes an attachment down, durably, or not at all.
    ///
    /// # Errors
    /// When the directory is full or cannot be written.
    pub(crate) fn add(&self, detached: &Detached) -> io::Result<()> {
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

    /// Whether anything was ever written down since the machine's start.
    pub(crate) fn is_there(&self) -> bool {
        self.directory.exists()
    }

    /// Whether an attachment is written down.
    pub(crate) fn has(&self, detached: &Detached) -> bool {
        self.path(detached).exists()
    }

    /// Strikes an attachment out, if it is written down.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub(crate) fn remove(&self, detached: &Detached) -> io::Result<()> {
        match fs::remove_file(self.path(detached)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Reads all there is, and clears away what can never be read.
    ///
    /// # Errors
    /// When the directory cannot be read; that there is none is no error.
    pub(crate) fn list(&self) -> io::Result<Listed> {
        let mut listed = Listed::default();
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listed),
            entries => entries?,
        };
        for entry in entries.take(FILES_MAX) {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(PARTIAL) {
                clear_if_old(&path);
                continue;
            }
            match read(&path) {
                Some(detached) if self.path(&detached) == path => listed.detached.push(detached),
                Some(_) | None => {
                    // It is told; one that stays is met again.
                    let _ = fs::remove_file(&path);
                    listed.damaged.push(path);
                }
            }
        }
        Ok(listed)
    }

    /// Makes the directory, and the one it is in where no agent has started yet.
    fn make(&self) -> io::Result<()> {
        if let Some(above) = self.directory.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(above)?;
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)
    }

    fn path(&self, detached: &Detached) -> PathBuf {
        self.directory.join(digest(detached) + WHOLE)
    }
}

/// Names an attachment. A zero byte is in no name, so no two attachments are spelled alike.
fn digest(Detached { network, key }: &Detached) -> String {
    let spelled = [&network[..], &key.container_id, &key.ifname].join("\0");
    Sha256::digest(spelled).iter().take(DIGEST_BYTES).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn read(path: &Path) -> Option<Detached> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
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
    use super::*;

    fn detached(container: &str, ifname: &str) -> Detached {
        let key = AttachmentKey { container_id: container.into(), ifname: ifname.into() };
        Detached { network: "blue".into(), key }
    }

    fn spool() -> (tempfile::TempDir, Spool) {
        let directory = tempfile::tempdir().unwrap();
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
            let hostile = Detached { network: name.into(), ..detached(name, name) };
            spool.add(&hostile).unwrap();
            assert!(spool.has(&hostile));
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(directory.path().join("run")).unwrap().count(), 1);
        assert_eq!(spool.list().unwrap().detached.len(), 5);
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
