//! Where plugins are looked for: sockets first, then files that name an address.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt;
use weft_api::error::Error;

use super::location::Location;

/// Bytes of a `.spec` or `.json` file, at most.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Longest name of a plugin, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Names found in the directories, at most.
const NAMES_MAX: usize = 1024;
/// The name of this agent's own plugin.
const OWN_NAME: &str = "weft";

/// The directories that plugins are looked for in. The default is Docker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    /// Of sockets: `NAME.sock` or `NAME/NAME.sock`.
    pub sockets: PathBuf,
    /// Of files: `NAME.spec`, which holds an address, or `NAME.json`.
    pub files: Vec<PathBuf>,
}

impl Default for Directories {
    fn default() -> Self {
        Self {
            sockets: "/run/docker/plugins".into(),
            files: vec!["/etc/docker/plugins".into(), "/usr/lib/docker/plugins".into()],
        }
    }
}

impl Directories {
    /// Finds a plugin by name.
    ///
    /// # Errors
    /// Invalid parameter for what is no name or a file that is malformed, forbidden for this
    /// agent itself, not found when there is none.
    pub(super) async fn locate(&self, name: &str, own: &[PathBuf]) -> Result<Location, Error> {
        check_name(name)?;
        let found = match self.socket(name).await {
            Some(path) => Location::Unix(path),
            None => self.file(name).await?.ok_or_else(|| self.missing(name))?,
        };
        if let Location::Unix(path) = &found
            && is_one_of(path, own).await
        {
            return Err(Error::forbidden(format!(
                "plugin `{name}` is this agent itself (`{}`)",
                path.display()
            )));
        }
        Ok(found)
    }

    async fn socket(&self, name: &str) -> Option<PathBuf> {
        let file = format!("{name}.sock");
        for path in [self.sockets.join(&file), self.sockets.join(name).join(&file)] {
            if is_socket(&path).await {
                return Some(path);
            }
        }
        None
    }

    async fn file(&self, name: &str) -> Result<Option<Location>, Error> {
        for directory in &self.files {
            for ending in ["spec", "json"] {
                let path = directory.join(format!("{name}.{ending}"));
                let Some(text) = read(&path).await? else { continue };
                let location = match ending {
                    "spec" => Location::parse(&text),
                    _ => Location::from_json(&text),
                };
                let in_file = |error: Error| {
                    Error::new(error.kind, format!("file `{}`: {error}", path.display()))
                };
                return location.map(Some).map_err(in_file);
            }
        }
        Ok(None)
    }

    fn missing(&self, name: &str) -> Error {
        Error::not_found(format!("no plugin `{name}` is in {self}"))
    }

    /// Lists the names of what could be plugins.
    ///
    /// # Errors
    /// Unavailable when a directory that is there cannot be read.
    pub(super) async fn names(&self) -> Result<BTreeSet<String>, Error> {
        let mut names = BTreeSet::new();
        for directory in std::iter::once(&self.sockets).chain(&self.files) {
            let unread = |error: std::io::Error| {
                Error::unavailable(format!("directory `{}`: {error}", directory.display()))
            };
            let mut entries = match tokio::fs::read_dir(directory).await {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                read => read.map_err(unread)?,
            };
            while let Some(entry) = entries.next_entry().await.map_err(unread)? {
                let path = entry.path();
                let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
                let is_plugin = match path.extension().and_then(|ending| ending.to_str()) {
                    Some("sock") => directory == &self.sockets,
                    Some("spec" | "json") => directory != &self.sockets,
                    Some(_) | None => is_socket(&path.join(format!("{stem}.sock"))).await,
                };
                if is_plugin && check_name(stem).is_ok() && names.len() < NAMES_MAX {
                    names.insert(stem.to_owned());
                }
            }
        }
        Ok(names)
    }
}

impl std::fmt::Display for Directories {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.sockets.display())?;
        self.files.iter().try_for_each(|directory| write!(f, ", `{}`", directory.display()))
    }
}

/// A name becomes part of a path: it must not lead out of the directory.
fn check_name(name: &str) -> Result<(), Error> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name == OWN_NAME {
        return Err(Error::forbidden(format!("plugin `{name}` is this agent itself")));
    }
    if name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || name.starts_with('.')
        || !name.chars().all(fits)
    {
        return Err(Error::invalid_parameter(format!(
            "`{name}` is no plugin's name: letters, digits, `_`, `.` and `-`"
        )));
    }
    Ok(())
}

async fn is_socket(path: &Path) -> bool {
    tokio::fs::metadata(path).await.is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Tells whether a socket is one of these, by whatever path.
async fn is_one_of(path: &Path, own: &[PathBuf]) -> bool {
    let Ok(found) = tokio::fs::metadata(path).await else { return false };
    for path in own {
        if let Ok(mine) = tokio::fs::metadata(path).await
            && (mine.dev(), mine.ino()) == (found.dev(), found.ino())
        {
            return true;
        }
    }
    false
}

/// Reads a small file; `None` when there is none.
async fn read(path: &Path) -> Result<Option<String>, Error> {
    let unread =
        |error: std::io::Error| Error::unavailable(format!("file `{}`: {error}", path.display()));
    let is_file = match tokio::fs::metadata(path).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(unread)?.is_file(),
    };
    if !is_file {
        // A pipe would be read for ever.
        return Err(Error::invalid_parameter(format!("`{}` is no file", path.display())));
    }
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await.map_err(unread)?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).await.map_err(unread)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use weft_api::Kind;

    use super::*;

    fn directories(root: &Path) -> Directories {
        let directories = Directories {
            sockets: root.join("run"),
            files: vec![root.join("etc"), root.join("lib")],
        };
        for directory in std::iter::once(&directories.sockets).chain(&directories.files) {
            std::fs::create_dir_all(directory).unwrap();
        }
        directories
    }

    #[tokio::test]
    async fn a_socket_goes_before_a_file_and_etc_before_lib() {
        let root = tempfile::tempdir().unwrap();
        let directories = directories(root.path());
        let tcp = |port: u16| Ok(Location::Tcp(format!("127.0.0.1:{port}")));
        let missing = directories.locate("blue", &[]).await.unwrap_err();
        assert_eq!(missing.kind, Kind::NotFound);
        let json = r#"{"Name":"blue","Addr":"tcp://127.0.0.1:1"}"#;
        std::fs::write(root.path().join("lib/blue.json"), json).unwrap();
        assert_eq!(directories.locate("blue", &[]).await, tcp(1));
        std::fs::write(root.path().join("etc/blue.spec"), "tcp://127.0.0.1:2\n").unwrap();
        assert_eq!(directories.locate("blue", &[]).await, tcp(2));
        std::fs::create_dir(root.path().join("run/blue")).unwrap();
        let nested = root.path().join("run/blue/blue.sock");
        let _nested = UnixListener::bind(&nested).unwrap();
        assert_eq!(directories.locate("blue", &[]).await, Ok(Location::Unix(nested)));
        let flat = root.path().join("run/blue.sock");
        let _flat = UnixListener::bind(&flat).unwrap();
        assert_eq!(directories.locate("blue", &[]).await, Ok(Location::Unix(flat)));
        assert_eq!(directories.names().await.unwrap(), BTreeSet::from(["blue".to_owned()]));
    }

    #[tokio::test]
    async fn no_name_leads_out_of_the_directories() {
        let root = tempfile::tempdir().unwrap();
        let directories = directories(root.path());
        std::fs::write(root.path().join("blue.spec"), "tcp://127.0.0.1:1").unwrap();
        for name in ["", ".", "..", "../blue", "etc/../../blue", ".hidden", "a b", "a\0b"] {
            let error = directories.locate(name, &[]).await.unwrap_err();
            assert_eq!(error.kind, Kind::InvalidParameter, "{name}");
        }
    }

    #[tokio::test]
    async fn the_agent_does_not_find_itself() {
        let root = tempfile::tempdir().unwrap();
        let directories = directories(root.path());
        let own = root.path().join("own.sock");
        let _own = UnixListener::bind(&own).unwrap();
        let spec = format!("unix://{}", own.display());
        std::fs::write(root.path().join("etc/mirror.spec"), spec).unwrap();
        std::os::unix::fs::symlink(&own, root.path().join("run/link.sock")).unwrap();
        for name in ["mirror", "link", "weft"] {
            let error = directories.locate(name, std::slice::from_ref(&own)).await.unwrap_err();
            assert_eq!(error.kind, Kind::Forbidden, "{name}");
        }
    }

    #[tokio::test]
    async fn a_malformed_file_is_named() {
        let root = tempfile::tempdir().unwrap();
        let directories = directories(root.path());
        std::fs::write(root.path().join("etc/blue.spec"), "nonsense").unwrap();
        let error = directories.locate("blue", &[]).await.unwrap_err();
        assert_eq!(error.kind, Kind::InvalidParameter);
        assert!(error.text.contains("blue.spec"), "{error}");
    }
}
