//! Where a token comes from and goes to: a file or standard input, never the command line.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::token::Token;

/// Bytes read for a token, at most.
const SOURCE_BYTES_MAX: u64 = 4096;
/// The mode a token file should have.
const FILE_MODE: u32 = 0o600;

/// Where a token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl TokenSource {
    /// Takes what was given for `--token-file`: a path, `-` or nothing for standard input.
    pub fn given(path: Option<PathBuf>) -> Self {
        match path {
            Some(path) if path.as_os_str() != "-" => Self::File(path),
            Some(_) | None => Self::Stdin,
        }
    }
}

/// Reads a token. The second value, where there is one, is a warning for the operator.
///
/// # Errors
/// When the source cannot be read or holds no token; the message does not show what it holds.
pub fn read_token(source: &TokenSource) -> Result<(Token, Option<String>), Failure> {
    let (text, name, warning) = match source {
        TokenSource::File(path) => {
            let name = format!("`{}`", path.display());
            let failed = |error: io::Error| {
                Failure::failed(format!("the token file {name} cannot be read: {error}"))
                    .with_hint("write it with `weft token -o FILE` on a member of the cluster")
            };
            let file = File::open(path).map_err(failed)?;
            let mode = file.metadata().map_err(failed)?.mode();
            (read_text(file).map_err(failed)?, name, mode_warning(path, mode))
        }
        TokenSource::Stdin => {
            let failed = |error| Failure::failed(format!("standard input cannot be read: {error}"));
            (read_text(io::stdin().lock()).map_err(failed)?, "standard input".to_owned(), None)
        }
    };
    let token = text.parse::<Token>().map_err(|error| {
        Failure::failed(format!("no token can be taken from {name}: {error}"))
            .with_hint(error.hint())
    })?;
    Ok((token, warning))
}

fn read_text(source: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    source.take(SOURCE_BYTES_MAX).read_to_end(&mut bytes)?;
    // What is no UTF-8 is no token either, and the parser says so.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn mode_warning(path: &Path, mode: u32) -> Option<String> {
    (mode & 0o077 != 0).then(|| {
        format!(
            "the token file `{}` has mode {:04o}: others on this machine can read it\n\
             hint: chmod 600 {}",
            path.display(),
            mode & 0o7777,
            path.display()
        )
    })
}

/// Writes a token's text into a file of mode 0600, in place of what stood there.
///
/// # Errors
/// When the file cannot be written.
pub fn write_token(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(path)?;
        // An existing file keeps its mode at open; close it before the secret goes in.
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    };
    write().map_err(|error| {
        let is_absent = error.kind() == std::io::ErrorKind::NotFound;
        let path = path.display();
        let failure =
            Failure::failed(format!("the token file `{path}` cannot be written: {error}"));
        let hint = "its directory does not exist: make it first";
        if is_absent { failure.with_hint(hint) } else { failure }
    })
}

#[cfg(test)]
mod tests {
    use weft_api::ClusterId;

    use super::*;

    #[test]
    fn a_written_token_is_read_back_and_only_its_owner_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "something older and longer than a token".repeat(9)).unwrap();
        let token = Token { cluster: ClusterId::from_bytes([1; 16]), key: [2; 32] };

        write_token(&path, &token.to_text()).unwrap();

        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read_token(&TokenSource::File(path)).unwrap(), (token, None));
    }

    #[test]
    fn a_token_file_that_others_can_read_is_warned_of() {
        assert!(mode_warning(Path::new("t"), 0o100_644).unwrap().contains("0644"));
        assert_eq!(mode_warning(Path::new("t"), 0o100_600), None);
    }

    #[test]
    fn what_a_wrong_file_holds_is_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "swordfish").unwrap();
        let failure = read_token(&TokenSource::File(path)).unwrap_err();
        assert!(!failure.to_string().contains("swordfish"));
        assert!(failure.hint().is_some());
    }

    #[test]
    fn a_dash_and_nothing_mean_standard_input() {
        assert_eq!(TokenSource::given(None), TokenSource::Stdin);
        assert_eq!(TokenSource::given(Some("-".into())), TokenSource::Stdin);
        assert_eq!(TokenSource::given(Some("t".into())), TokenSource::File("t".into()));
    }
}
