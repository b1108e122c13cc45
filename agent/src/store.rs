//! Durable state: one redb file, one table, one fsynced transaction per drain.
//!
//! A key is its [`Space`] and the owner's own key behind it. The file is 0600: it holds the
//! cluster's keys.

mod examination;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use weft_api::{Space, Write};

/// The layout of keys and values this build reads and writes.
pub const FORMAT: u32 = 1;

/// What redb may keep in memory, in bytes: the state is small and read once.
const CACHE_BYTES: usize = 2 << 20;

const STATE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("state");
/// Space 0 is the store's own.
const FORMAT_KEY: &[u8] = b"\0format";

/// Why the state file cannot be used. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("state file `{0}` is in use by another agent")]
    InUse(PathBuf),
    /// Not a state file, or one that lost bytes.
    #[error("state file `{path}` is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What redb says.
        reason: String,
    },
    /// Written by a later version.
    #[error("state file `{path}` has format {found}; this version reads up to {FORMAT}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format it names.
        found: u32,
    },
    /// The file system refused.
    #[error("state file `{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// A transaction did not reach the disk; memory may be ahead of it.
    #[error("state could not be written: {0}")]
    Commit(String),
}

impl StoreError {
    /// Says what an operator can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::InUse(_) => "stop the other agent or give this one its own --data-dir",
            Self::Damaged { .. } => {
                "move the data directory away and join again as a new node; an older copy of it \
                 would be a disk that was rolled back"
            }
            Self::Newer { .. } => "run the version that wrote it, or a later one",
            Self::Io { .. } => "check that the data directory exists and that root may write it",
            Self::Commit(_) => "check the disk (space, errors) and start the agent again",
        }
    }
}

/// A key in its space, and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// The open state file.
#[derive(Debug)]
pub struct Store {
    db: Database,
}

impl Store {
    /// Opens the file, making it if it is not there.
    ///
    /// # Errors
    /// See [`StoreError`]; a damaged or newer file is left as it is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
        let file = open_private(path).map_err(io)?;
        // redb takes this lock again. Until then nobody writes what is examined.
        match file.try_lock() {
            Ok(()) => {}
            // Some file systems have no locks.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        // A file shorter than redb's own header that is not empty can only be a torn creation
        // or something else's; redb would take it for new.
        let length = file.metadata().map_err(io)?.len();
        if length > 0 && length < 512 {
            return Err(damaged(format!("only {length} bytes long")));
        }
        if length > 0 {
            examination::examine(&file, length).map_err(io)?.map_err(damaged)?;
        }
        let db = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_file(file)
            .map_err(|error| open_error(error, path))?;
        let store = Self { db };
        store.check_format(path)?;
        if length == 0
            && let Some(parent) = path.parent()
        {
            // A new file is found again after a power cut once its directory is on disk, too.
            File::open(parent).and_then(|directory| directory.sync_all()).map_err(io)?;
        }
        Ok(store)
    }

    fn check_format(&self, path: &Path) -> Result<(), StoreError> {
        let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
        let write = self.db.begin_write().map_err(|e| damaged(e.to_string()))?;
        let fresh = {
            let mut table = write.open_table(STATE).map_err(|e| damaged(e.to_string()))?;
            let found = table.get(FORMAT_KEY).map_err(|e| damaged(e.to_string()))?;
            let found = found.map(|value| value.value().to_vec());
            match found {
                None => {
                    table
                        .insert(FORMAT_KEY, &FORMAT.to_le_bytes()[..])
                        .map_err(|e| StoreError::Commit(e.to_string()))?;
                    true
                }
                Some(bytes) => {
                    let bytes: [u8; 4] = bytes
                        .as_slice()
                        .try_into()
                        .map_err(|_| damaged("its format record is malformed".to_owned()))?;
                    let found = u32::from_le_bytes(bytes);
                    if found > FORMAT {
                        return Err(StoreError::Newer { path: path.to_owned(), found });
                    }
                    false
                }
            }
        };
        if fresh {
            write.commit().map_err(|e| StoreError::Commit(e.to_string()))?;
        }
        Ok(())
    }

    /// Reads all records of a space, in the order of their keys.
    ///
    /// # Errors
    /// [`StoreError::Commit`] when the file cannot be read any more.
    pub fn load(&self, space: Space) -> Result<Vec<Record>, StoreError> {
        let fail = |error: String| StoreError::Commit(error);
        let read = self.db.begin_read().map_err(|e| fail(e.to_string()))?;
        let table = read.open_table(STATE).map_err(|e| fail(e.to_string()))?;
        let (first, after) = ([space as u8], [space as u8 + 1]);
        let mut records = Vec::new();
        for record in table.range(&first[..]..&after[..]).map_err(|e| fail(e.to_string()))? {
            let (key, value) = record.map_err(|e| fail(e.to_string()))?;
            records.push((key.value()[1..].to_vec(), value.value().to_vec()));
        }
        Ok(records)
    }

    /// Carries out all writes in one transaction, and returns when they are on disk.
    ///
    /// # Errors
    /// [`StoreError::Commit`]; the file then holds none of them.
    pub fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        let fail = |error: String| StoreError::Commit(error);
        let transaction = self.db.begin_write().map_err(|e| fail(e.to_string()))?;
        {
            let mut table = transaction.open_table(STATE).map_err(|e| fail(e.to_string()))?;
            let mut key = Vec::with_capacity(64);
            for write in writes {
                key.clear();
                key.push(write.space as u8);
                key.extend_from_slice(&write.key);
                match &write.value {
                    Some(value) => table.insert(&key[..], &value[..]),
                    None => table.remove(&key[..]),
                }
                .map_err(|e| fail(e.to_string()))?;
            }
        }
        transaction.commit().map_err(|e| fail(e.to_string()))
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "redb may add variants; all mean damage")]
fn open_error(error: DatabaseError, path: &Path) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path),
        DatabaseError::Storage(redb::StorageError::Io(source))
            if source.kind() != io::ErrorKind::InvalidData =>
        {
            StoreError::Io { path, source }
        }
        other => StoreError::Damaged { path, reason: other.to_string() },
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of some hundred records, as a clean end leaves it or as a kill does.
    fn state_file(path: &Path, is_closed: bool) -> Vec<u8> {
        let store = Store::open(path).unwrap();
        for round in 0..6u8 {
            let record = |n: u8| write(Space::Facts, &[round, n], Some(&[n; 200]));
            store.commit(&(0..40).map(record).collect::<Vec<_>>()).unwrap();
        }
        if is_closed {
            drop(store);
            return std::fs::read(path).unwrap();
        }
        let bytes = std::fs::read(path).unwrap();
        drop(store);
        bytes
    }

    #[test]
    fn a_bit_that_flipped_anywhere_is_refused_or_means_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let whole = state_file(&path, true);
        std::fs::write(&path, &whole).unwrap();
        let records = Store::open(&path).unwrap().load(Space::Facts).unwrap();
        assert_eq!(records.len(), 240);
        let used = |at: &usize| whole[at & !4095..].iter().take(4096).any(|byte| *byte != 0);
        let mut refused = 0;
        for at in (0..512).chain((512..whole.len()).step_by(1021)).filter(used) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            std::fs::write(&path, &flipped).unwrap();
            match Store::open(&path) {
                Ok(store) => assert_eq!(store.load(Space::Facts).unwrap(), records, "byte {at}"),
                Err(error) => {
                    assert!(matches!(error, StoreError::Damaged { .. }), "byte {at}: {error}");
                    assert!(std::fs::read(&path).unwrap() == flipped, "byte {at}: left as it is");
                    refused += 1;
                }
            }
        }
        assert!(refused > 50, "only {refused} were refused");
    }

    #[test]
    fn after_a_kill_a_bit_that_flipped_is_refused_or_the_last_commit_is_undone_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let whole = state_file(&path, false);
        let used = |at: &usize| whole[at & !4095..].iter().take(4096).any(|byte| *byte != 0);
        for at in (0..512).chain((512..whole.len()).step_by(2041)).filter(used) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            std::fs::write(&path, &flipped).unwrap();
            match Store::open(&path) {
                Ok(store) => {
                    let kept = store.load(Space::Facts).unwrap();
                    assert!([200, 240].contains(&kept.len()), "byte {at}: {} records", kept.len());
                    assert!(kept.iter().all(|(key, value)| value[..] == [key[1]; 200]));
                }
                Err(error) => {
                    assert!(matches!(error, StoreError::Damaged { .. }), "byte {at}: {error}");
                }
            }
        }
    }

    #[test]
    fn a_file_that_ends_early_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let whole = state_file(&path, true);
        for length in [1, 511, 512, 4096, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = Store::open(&path).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{length}: {error}");
            assert!(std::fs::read(&path).unwrap() == whole[..length], "{length}");
        }
    }

    fn write(space: Space, key: &[u8], value: Option<&[u8]>) -> Write {
        Write { space, key: key.to_vec(), value: value.map(<[u8]>::to_vec) }
    }

    #[test]
    fn what_was_committed_is_there_after_reopening_and_spaces_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let store = Store::open(&path).unwrap();
        store
            .commit(&[
                write(Space::Facts, b"a", Some(b"1")),
                write(Space::Facts, b"b", Some(b"2")),
                write(Space::Ipam, b"a", Some(b"3")),
            ])
            .unwrap();
        store.commit(&[write(Space::Facts, b"a", None)]).unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.load(Space::Facts).unwrap(), [(b"b".to_vec(), b"2".to_vec())]);
        assert_eq!(store.load(Space::Ipam).unwrap(), [(b"a".to_vec(), b"3".to_vec())]);
        assert!(store.load(Space::Claims).unwrap().is_empty());
    }

    #[test]
    fn a_second_opener_is_told_that_the_file_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let _first = Store::open(&path).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::InUse(_))));
    }

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let store = Store::open(&path).unwrap();
        let newer = store.db.begin_write().unwrap();
        newer.open_table(STATE).unwrap().insert(FORMAT_KEY, &9u32.to_le_bytes()[..]).unwrap();
        newer.commit().unwrap();
        drop(store);
        assert!(matches!(Store::open(&path), Err(StoreError::Newer { found: 9, .. })));
        assert!(matches!(Store::open(&path), Err(StoreError::Newer { found: 9, .. })));
    }

    #[test]
    fn something_else_in_its_place_is_called_damaged_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("short", vec![7; 100]), ("long", vec![7; 10_000])] {
            let path = dir.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            let error = Store::open(&path).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{name}: {error}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "{name}");
        }
    }

    #[test]
    fn the_file_is_for_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        std::fs::write(&path, b"").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let _store = Store::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
