//! Finding a plugin by its type.

use std::path::PathBuf;

use crate::error::Error;

/// Finds the file of a plugin: the first regular file of that name in the directories, in
/// order, symbolic links followed. Whether it can be executed is seen when it is.
///
/// # Errors
/// [`Error::NoPluginName`], [`Error::InvalidPluginName`] if the name has a `/`,
/// [`Error::NoPaths`], [`Error::PluginNotFound`].
pub fn find_in_path(plugin: &str, paths: &[PathBuf]) -> Result<PathBuf, Error> {
    if plugin.is_empty() {
        return Err(Error::NoPluginName);
    }
    if plugin.contains('/') || plugin == ".." || plugin == "." {
        return Err(Error::InvalidPluginName(plugin.to_owned()));
    }
    if paths.is_empty() {
        return Err(Error::NoPaths);
    }
    // An empty element would mean the working directory, which is nobody's intention.
    let directories = paths.iter().filter(|path| !path.as_os_str().is_empty());
    directories.map(|directory| directory.join(plugin)).find(|file| file.is_file()).ok_or_else(
        || Error::PluginNotFound {
            plugin: plugin.to_owned(),
            paths: paths.iter().map(|path| path.display().to_string()).collect(),
        },
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn first_directory_with_a_regular_file_wins() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second, third] = ["1", "2", "3"].map(|name| dir.path().join(name));
        fs::create_dir_all(first.join("weft.exe")).unwrap();
        for directory in [&second, &third] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("weft.exe"), "").unwrap();
        }
        let found = find_in_path("weft.exe", &[first, second.clone(), third]).unwrap();
        assert_eq!(found, second.join("weft.exe"));
    }

    #[test]
    fn symbolic_links_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("real"), "").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        assert!(find_in_path("link", &[dir.path().to_owned()]).is_ok());
    }

    #[test]
    fn missing_names_and_paths_are_named_in_the_error() {
        let error = |plugin: &str, paths: &[&str]| {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            find_in_path(plugin, &paths).unwrap_err().to_string()
        };
        assert_eq!(error("test", &[]), "no paths provided");
        assert_eq!(error("", &["/a"]), "no plugin name provided");
        assert_eq!(error("a/b", &["/a"]), "invalid plugin name: a/b");
        assert_eq!(
            error("x", &["/nope", "/no"]),
            r#"failed to find plugin "x" in path [/nope /no]"#
        );
    }
}
