//! Pins are seen from other mount namespaces, whatever the mount they are on.

use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use weft_overlay::netlink::namespace;

/// Runs a closure with a mount of its own at a path, of the given propagation, and returns what
/// the mount table says about the path's folder `netns` afterwards.
fn prepared_on(propagation: MsFlags) -> (String, bool) {
    assert!(nix::unistd::geteuid().is_root(), "this test mounts: run it as root");
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().to_owned();
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        let own = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, own, none).unwrap();
        mount(Some("tmpfs"), &at, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        mount(none, &at, none, propagation, none).unwrap();
        let pins = at.join("netns");
        namespace::prepare_directory(&pins).unwrap();
        let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        namespace::make_pinned(pins.join("a")).unwrap();
        let seen = is_seen_elsewhere(&pins.join("a"));
        namespace::release_directory(&pins).unwrap();
        assert!(!pins.exists());
        (of(&table, &pins), seen)
    });
    thread.join().unwrap()
}

/// Lines of the mount table for a path.
fn of(table: &str, path: &Path) -> String {
    let point = format!(" {} ", path.display());
    table.lines().filter(|line| line.contains(&point)).collect()
}

/// True when a namespace is pinned at the path for a thread that copied the mounts before, too.
fn is_seen_elsewhere(path: &Path) -> bool {
    let (pins, name) = (path.parent().unwrap().to_owned(), path.with_extension("later"));
    let (ready, wait) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let later = name.clone();
    let other = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        ready.0.send(()).unwrap();
        wait.1.recv().unwrap();
        namespace::is_pinned(&later)
    });
    ready.1.recv().unwrap();
    namespace::make_pinned(&name).unwrap();
    assert!(namespace::list_pinned(pins).unwrap().len() == 2);
    wait.0.send(()).unwrap();
    other.join().unwrap()
}

#[test]
fn on_a_shared_mount_nothing_is_mounted_and_pins_are_seen() {
    let (mount, seen) = prepared_on(MsFlags::MS_SHARED);
    assert_eq!((mount.as_str(), seen), ("", true));
}

#[test]
fn on_a_private_mount_the_folder_is_bound_and_pins_are_seen() {
    let (mount, seen) = prepared_on(MsFlags::MS_PRIVATE);
    assert!(mount.contains("shared:") && seen, "{mount}");
}
