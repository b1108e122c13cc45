//! Kernel settings are written from inside a container, too.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use weft_overlay::netlink::namespace::make_anonymous;
use weft_overlay::netlink::sysctl;

const KEY: &str = "ipv4/icmp_echo_ignore_all";

#[test]
fn a_read_only_proc_sys_is_no_obstacle_and_stays_as_it_is() {
    assert!(nix::unistd::geteuid().is_root(), "this test mounts: run it as root");
    let in_container = std::thread::spawn(|| {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("/proc/sys"), "/proc/sys", none, MsFlags::MS_BIND, none).unwrap();
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, "/proc/sys", none, read_only, none).unwrap();
        let namespace = make_anonymous().unwrap();
        let before = sysctl::read(&namespace, KEY).unwrap();

        sysctl::write_all(&namespace, &[(KEY.to_owned(), "1")]).unwrap();

        let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let mounts = table.lines().filter(|line| line.contains(" /proc")).count();
        let still_refused = std::fs::write(format!("/proc/sys/net/{KEY}"), "1").is_err();
        (before, sysctl::read(&namespace, KEY).unwrap(), mounts, still_refused)
    });
    let (before, after, mounts, still_refused) = in_container.join().unwrap();
    assert_eq!((before.as_deref(), after.as_deref()), (Some("0"), Some("1")));
    assert!(still_refused, "this test does not test what it says");
    let outside = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let outside = outside.lines().filter(|line| line.contains(" /proc")).count();
    assert_eq!(mounts, outside + 1, "the /proc that was written is nobody else's");
}
