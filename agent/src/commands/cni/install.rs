//! `weft cni install`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cni::invoke::blocking::{RawExec, get_version_info};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::{CniInstallArgs, DEFAULT_SOCKET};
use crate::cni_plugin::{MARK, NAME};
use crate::commands::output;
use crate::failure::Failure;

/// Where runtimes look for plugins unless told otherwise.
const BIN_DIR: &str = "/opt/cni/bin";
/// Where Debian and others have them; used where it is there.
const BIN_DIR_OF_DISTRIBUTIONS: &str = "/usr/lib/cni";
/// The configuration's file.
const CONFLIST: &str = "10-weft.conflist";
/// What is in it, but for the network's name and ports.
const TEMPLATE: &str = include_str!("../../../../dist/10-weft.conflist");
/// The reference plugin that publishes ports.
const PORTMAP: &str = "portmap";
/// The newest version of the specification, which not every `portmap` speaks.
const NEWEST: &str = cni::version::CURRENT;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Done {
    /// It was not there.
    Written,
    /// It was there.
    Replaced,
    /// It was there and is as it was.
    Kept,
}

/// A file to install.
#[derive(Debug, Serialize)]
struct Installed {
    path: PathBuf,
    done: Done,
}

/// Installs plugin and configuration, or nothing where a file of somebody else's is in the way.
pub(super) fn exec(args: &CniInstallArgs) -> Result<(), Failure> {
    let bin_dirs = bin_dirs(&args.bin_dir);
    let socket = &args.connection.socket;
    let socket = std::path::absolute(socket)
        .map_err(|error| Failure::usage(format!("`{}` is no path: {error}", socket.display())))?;
    let mut plan = Vec::new();
    for directory in &bin_dirs {
        plan.push(planned(directory.join(NAME), args, is_plugin, Done::Replaced)?);
    }
    plan.push(planned(args.conf_dir.join(CONFLIST), args, is_conflist, Done::Kept)?);
    for Installed { path, done } in &plan {
        let written = match (*done, path.ends_with(NAME)) {
            (Done::Kept, _) => Ok(()),
            (Done::Written | Done::Replaced, true) => place(path, 0o755, |file| {
                io::copy(&mut File::open("/proc/self/exe")?, file).map(drop)
            }),
            (Done::Written | Done::Replaced, false) => {
                let list = configuration(&args.network, &socket, &bin_dirs);
                if list["disableCheck"] == true {
                    output::say(&format!(
                        "`{PORTMAP}` stops before CNI {NEWEST}, so runtimes do without CHECK, GC \
                         and STATUS here; install again when it is newer, with --force"
                    ));
                }
                place(path, 0o644, |file| writeln!(file, "{list:#}"))
            }
        };
        written.map_err(|error| {
            Failure::failed(format!("`{}` cannot be written: {error}", path.display()))
                .with_hint("run as root, or name other directories with --bin-dir and --conf-dir")
        })?;
    }
    let kept = plan.iter().find(|installed| installed.done == Done::Kept);
    if let Some(other) = kept.and_then(|kept| other_network(&kept.path, &args.network)) {
        output::say(&format!(
            "`{CONFLIST}` is kept and is of the network `{other}`: --force writes one of `{}`",
            args.network
        ));
    }
    if let Some(before) = earlier(&args.conf_dir) {
        output::say(&format!(
            "`{before}` comes before `{CONFLIST}`: containerd and CRI-O use the first file by name"
        ));
    }
    if args.output.json {
        return output::json(&plan);
    }
    plan.iter().try_for_each(|Installed { path, done }| {
        let done = match done {
            Done::Written => "written",
            Done::Replaced => "replaced",
            Done::Kept => "kept as it was",
        };
        output::line(&format!("{} {done}", path.display()))
    })
}

/// The configuration that runtimes take for their default, where that is another.
fn earlier(conf_dir: &Path) -> Option<String> {
    let entries = fs::read_dir(conf_dir).ok()?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_read = |name: &String| {
        let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("conf" | "conflist" | "json"))
    };
    names.filter(is_read).filter(|name| name.as_str() < CONFLIST).min()
}

fn bin_dirs(given: &[PathBuf]) -> Vec<PathBuf> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let distribution = PathBuf::from(BIN_DIR_OF_DISTRIBUTIONS);
    let there = distribution.is_dir().then_some(distribution);
    [BIN_DIR.into()].into_iter().chain(there).collect()
}

/// Decides what becomes of a file; `own` is what becomes of one of ours that is there.
fn planned(
    path: PathBuf,
    args: &CniInstallArgs,
    is_own: fn(&[u8]) -> bool,
    own: Done,
) -> Result<Installed, Failure> {
    if fs::symlink_metadata(&path).is_err() {
        return Ok(Installed { path, done: Done::Written });
    }
    let is_own = fs::read(&path).is_ok_and(|bytes| is_own(&bytes));
    let done = match (args.force, is_own) {
        (true, _) => Done::Replaced,
        (false, true) => own,
        (false, false) => {
            let message = format!("`{}` is not Weft's; nothing was written", path.display());
            return Err(
                Failure::failed(message).with_hint("remove it, or overwrite it with --force")
            );
        }
    };
    Ok(Installed { path, done })
}

/// Whether a program is the plugin, of whatever version.
fn is_plugin(bytes: &[u8]) -> bool {
    bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes())
}

/// Whether a configuration names the plugin.
fn is_conflist(bytes: &[u8]) -> bool {
    let list: Option<Value> = serde_json::from_slice(bytes).ok();
    list.as_ref()
        .and_then(|list| list["plugins"].as_array())
        .is_some_and(|plugins| plugins.iter().any(|plugin| plugin["type"] == NAME))
}

/// The network of a configuration that is there, where it is not the one wanted.
fn other_network(path: &Path, wanted: &str) -> Option<String> {
    let list: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let own = list["plugins"].as_array()?.iter().find(|plugin| plugin["type"] == NAME)?;
    let network = own["network"].as_str().or(list["name"].as_str())?;
    (network != wanted).then(|| network.to_owned())
}

/// The configuration of a network, with ports where the plugin for them is there. An older one
/// fails at CHECK of a container with ports, so nobody is to ask it then.
fn configuration(network: &str, socket: &Path, bin_dirs: &[PathBuf]) -> Value {
    let portmap = cni::invoke::find_in_path(PORTMAP, bin_dirs).ok();
    let mut list: Value = serde_json::from_str(TEMPLATE).expect("the template is JSON");
    list["name"] = network.into();
    list["plugins"][0]["network"] = network.into();
    if socket != Path::new(DEFAULT_SOCKET) {
        list["plugins"][0]["socket"] = socket.to_string_lossy().into();
    }
    if let (Some(portmap), Some(plugins)) = (portmap, list["plugins"].as_array_mut()) {
        plugins.push(json!({
            "type": PORTMAP, "capabilities": {"portMappings": true}, "snat": true,
        }));
        if !speaks_newest(&portmap) {
            list["disableCheck"] = true.into();
            if let Some(versions) = list["cniVersions"].as_array_mut() {
                versions.retain(|version| version != NEWEST);
            }
        }
    }
    list
}

fn speaks_newest(plugin: &Path) -> bool {
    get_version_info(plugin, &RawExec::default())
        .is_ok_and(|info| info.supported_versions().iter().any(|version| version == NEWEST))
}

/// Puts a file in its place in one step: whoever looks sees the old one or the new one, whole.
fn place(path: &Path, mode: u32, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = directory.join(format!(".{name}.{}", std::process::id()));
    let placed = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&partial)
        .and_then(|mut file| {
            fill(&mut file)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&partial, path))
        .and_then(|()| File::open(directory)?.sync_all());
    if placed.is_err() {
        // What failed is told; this is only tidiness.
        let _ = fs::remove_file(&partial);
    }
    placed
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::cli::{Connection, Output};

    fn args(directory: &Path) -> CniInstallArgs {
        CniInstallArgs {
            connection: Connection { socket: DEFAULT_SOCKET.into() },
            output: Output { json: false },
            bin_dir: vec![directory.join("bin")],
            conf_dir: directory.join("net.d"),
            network: "pods".to_owned(),
            force: false,
        }
    }

    #[test]
    fn plugin_and_configuration_are_written_and_a_second_time_only_the_plugin() {
        let directory = tempfile::tempdir().unwrap();
        let args = args(directory.path());
        exec(&args).unwrap();
        let plugin = args.bin_dir[0].join(NAME);
        assert_eq!(fs::metadata(&plugin).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(is_plugin(&fs::read(&plugin).unwrap()));
        let conflist = args.conf_dir.join(CONFLIST);
        let list = cni::libcni::conf_list_from_file(&conflist).unwrap();
        assert_eq!((list.name.as_str(), list.cni_version.as_str()), ("pods", "1.1.0"));
        let named = |list: &cni::libcni::NetworkConfigList| {
            let own: Value = serde_json::from_slice(&list.plugins[0].bytes).unwrap();
            own["socket"].as_str().map(str::to_owned)
        };
        assert_eq!(named(&list), None);
        assert_eq!(earlier(&args.conf_dir), None);
        fs::write(args.conf_dir.join("10-containerd-net.conflist"), "{}").unwrap();
        fs::write(args.conf_dir.join("10-aside"), "{}").unwrap();
        assert_eq!(earlier(&args.conf_dir).as_deref(), Some("10-containerd-net.conflist"));
        // What the operator changed stays.
        let text = fs::read_to_string(&conflist).unwrap().replace("pods", "mine");
        fs::write(&conflist, &text).unwrap();
        exec(&args).unwrap();
        assert_eq!(fs::read_to_string(&conflist).unwrap(), text);
        assert_eq!(other_network(&conflist, "pods").as_deref(), Some("mine"));
        assert_eq!(other_network(&conflist, "mine"), None);
        let connection = Connection { socket: "/run/other.sock".into() };
        exec(&CniInstallArgs { force: true, connection, ..args }).unwrap();
        assert_ne!(fs::read_to_string(&conflist).unwrap(), text);
        let list = cni::libcni::conf_list_from_file(&conflist).unwrap();
        assert_eq!(named(&list).as_deref(), Some("/run/other.sock"));
        assert_eq!(fs::read_dir(plugin.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_of_somebody_elses_is_refused_and_nothing_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let args = args(directory.path());
        fs::create_dir_all(&args.conf_dir).unwrap();
        fs::write(args.conf_dir.join(CONFLIST), r#"{"plugins":[{"type":"bridge"}]}"#).unwrap();
        let refused = exec(&args).unwrap_err();
        assert!(refused.to_string().contains("is not Weft's"), "{refused}");
        assert!(!args.bin_dir[0].exists());
        fs::remove_file(args.conf_dir.join(CONFLIST)).unwrap();
        fs::create_dir_all(&args.bin_dir[0]).unwrap();
        symlink("/nowhere", args.bin_dir[0].join(NAME)).unwrap();
        assert!(exec(&args).is_err());
        assert!(!args.conf_dir.join(CONFLIST).exists());
        exec(&CniInstallArgs { force: true, ..args }).unwrap();
        assert!(directory.path().join("bin").join(NAME).is_file());
    }

    #[test]
    fn ports_are_published_where_portmap_is_and_its_versions_are_kept_to() {
        let directory = tempfile::tempdir().unwrap();
        let bin_dirs = [directory.path().to_owned()];
        let list = |bin_dirs: &[PathBuf]| {
            let list = configuration("pods", Path::new(DEFAULT_SOCKET), bin_dirs);
            cni::libcni::conf_list_from_bytes(list.to_string().as_bytes()).unwrap()
        };
        assert_eq!(list(&bin_dirs).plugins.len(), 1);
        for (versions, newest) in [(r#"["1.0.0"]"#, "1.0.0"), (r#"["1.0.0","1.1.0"]"#, "1.1.0")] {
            let portmap = directory.path().join(PORTMAP);
            let answer = format!(r#"{{"cniVersion":"1.0.0","supportedVersions":{versions}}}"#);
            fs::write(&portmap, format!("#!/bin/sh\ncat >/dev/null\necho '{answer}'\n")).unwrap();
            fs::set_permissions(&portmap, fs::Permissions::from_mode(0o755)).unwrap();
            let list = list(&bin_dirs);
            assert_eq!((list.plugins.len(), list.cni_version.as_str()), (2, newest));
            assert_eq!(list.disable_check, newest != NEWEST);
        }
    }
}
