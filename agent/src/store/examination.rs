//! Whether the bytes of a state file are what was written, looked at before the file is used.
//!
//! redb reads pages without their checksums once a file was closed in good order, and may then
//! give other records than it was given, or panic while it writes. So all checksums are compared
//! first, and in a copy: redb mends what it opens, and what is damaged is to be left as it is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::backends::InMemoryBackend;
use redb::{Database, StorageBackend};

/// Says what is wrong with a file of this many bytes, if anything is.
///
/// # Errors
/// The file cannot be read.
pub(super) fn examine(file: &File, length: u64) -> io::Result<Result<(), String>> {
    let too_long = |_| io::Error::other("it does not fit into memory");
    let mut bytes = vec![0; usize::try_from(length).map_err(too_long)?];
    file.read_exact_at(&mut bytes, 0)?;
    let copy = InMemoryBackend::new();
    copy.set_len(length)?;
    copy.write(0, &bytes)?;
    drop(bytes);
    // What is no tree any more may lead redb anywhere. It has only the copy, which goes with it.
    let seen = catch_unwind(AssertUnwindSafe(|| look(copy)));
    Ok(seen.unwrap_or_else(|_| Err("its pages do not belong together".to_owned())))
}

fn look(copy: InMemoryBackend) -> Result<(), String> {
    let mut builder = Database::builder();
    let mut db = builder
        .set_cache_size(super::CACHE_BYTES)
        .create_with_backend(copy)
        .map_err(|error| error.to_string())?;
    match db.check_integrity() {
        Ok(true) => Ok(()),
        Ok(false) => Err("checksums of its pages are wrong".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
