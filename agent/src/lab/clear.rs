//! Removes a lab, whole, from nothing but its directory: processes, mounts, files.
//!
//! What a lab made is found, not remembered: each namespace it made is pinned below its directory,
//! each process it started is in one of them. So a lab whose maker was killed goes as well.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weft_overlay::netlink::Namespace;

/// Time a killed process may take to end.
const END_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Mounts on one spot, stacked by starts of one agent.
const ROUNDS_MAX: usize = 100;

/// Removes what is below `directory`, and it; goes on after an error, and returns all of them. An
/// absent directory is no error. Blocks.
pub(super) fn clear(directory: &Path) -> Vec<String> {
    let mut errors = Vec::new();
    let Ok(directory) = directory.canonicalize() else { return errors };
    let inodes: BTreeSet<u64> = mounts_below(&directory)
        .iter()
        .filter_map(|path| Namespace::open(path).ok())
        .map(|namespace| namespace.inode())
        .collect();
    errors.extend(end_processes(&inodes));
    errors.extend(unmount_all(&directory));
    if let Err(error) = fs::remove_dir_all(&directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        errors.push(format!("`{}` cannot be removed: {error}", directory.display()));
    }
    errors
}

/// Kills every process in one of the namespaces, and waits until there is none.
fn end_processes(inodes: &BTreeSet<u64>) -> Vec<String> {
    let deadline = Instant::now() + END_MAX;
    loop {
        let found = processes_in(inodes);
        if found.is_empty() {
            return Vec::new();
        }
        if Instant::now() >= deadline {
            return vec![format!("processes {found:?} do not end")];
        }
        for process in found {
            // One that ended meanwhile is what is wanted; one that may not be killed is reported
            // above when the time is up.
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn processes_in(inodes: &BTreeSet<u64>) -> Vec<i32> {
    if inodes.is_empty() {
        return Vec::new();
    }
    let own = std::process::id();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|process| *process != own)
        .filter(|process| {
            Namespace::of_pid(*process).is_ok_and(|namespace| inodes.contains(&namespace.inode()))
        })
        .filter_map(|process| i32::try_from(process).ok())
        .collect()
}

fn unmount_all(directory: &Path) -> Vec<String> {
    let mut errors = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let mounts = mounts_below(directory);
        errors.clear();
        for path in mounts.iter().rev() {
            if let Err(error) = umount2(path, MntFlags::MNT_DETACH) {
                errors.push(format!("`{}` cannot be unmounted: {error}", path.display()));
            }
        }
        if mounts.is_empty() || errors.len() == mounts.len() {
            break;
        }
    }
    errors
}

/// Returns the mount points below a directory, in the order of mounting.
fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mount_points(&table).filter(|path| path.starts_with(directory)).collect()
}

/// Reads mount points out of /proc/PID/mountinfo (proc(5)): the fifth field, in which blanks and
/// backslashes are octal.
fn mount_points(table: &str) -> impl Iterator<Item = PathBuf> {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| {
        let unescaped = field
            .replace("\\040", " ")
            .replace("\\011", "\t")
            .replace("\\012", "\n")
            .replace("\\134", "\\");
        PathBuf::from(unescaped)
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use weft_overlay::netlink::namespace::{make_pinned, run_in};

    use super::*;

    #[test]
    fn a_mount_point_is_read_as_it_is_named() {
        let table = "1 0 0:1 / /run/a\\040b\\134c rw - tmpfs tmpfs rw\n2 1 0:1 / /x rw - a b rw\n";
        let points: Vec<_> = mount_points(table).collect();
        assert_eq!(points, [PathBuf::from("/run/a b\\c"), PathBuf::from("/x")]);
    }

    #[test]
    fn an_absent_lab_is_cleared_already() {
        assert!(clear(Path::new("/nonexistent/lab")).is_empty());
    }

    #[test]
    fn processes_pins_and_files_go() {
        let directory = tempfile::tempdir().unwrap();
        let lab = directory.path().join("lab");
        fs::create_dir_all(lab.join("h1/run")).unwrap();
        fs::write(lab.join("h1/log"), "text").unwrap();
        let namespace = make_pinned(lab.join("h1/run/ns")).expect("root");
        let mut process =
            run_in(&namespace, || Command::new("sleep").arg("1000").spawn()).unwrap().unwrap();
        let inodes = BTreeSet::from([namespace.inode()]);
        assert_eq!(processes_in(&inodes), [process.id() as i32]);
        drop(namespace);
        let reaper = thread::spawn(move || process.wait().unwrap());
        assert_eq!(clear(&lab), Vec::<String>::new());
        assert!(!reaper.join().unwrap().success());
        assert!(!lab.exists());
        assert!(mounts_below(directory.path()).is_empty());
    }
}
