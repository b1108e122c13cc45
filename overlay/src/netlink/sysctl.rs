//! Kernel settings of a namespace, by files of /proc/sys/net. They belong to the namespace of the
//! thread that opens them, so they are written by a thread inside it.

use std::fs;
use std::io;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::error::NetlinkError;
use super::namespace::{Namespace, run_in};

/// Writes settings in order: `sysctl -w KEY=VALUE`. Keys are paths below /proc/sys/net, so that a
/// dot in an interface's name does no harm. What this kernel lacks is passed over. Runtimes give
/// containers a read-only /proc/sys; the settings are written all the same.
///
/// # Errors
/// The first setting that could not be written.
pub fn write_all(namespace: &Namespace, settings: &[(String, &str)]) -> Result<(), NetlinkError> {
    run_in(namespace, || settings.iter().try_for_each(|(key, value)| write_here(key, value)))?
}

/// Reads a setting: `sysctl -n KEY`. `None` when this kernel lacks it.
///
/// # Errors
/// When it could not be read.
pub fn read(namespace: &Namespace, key: &str) -> Result<Option<String>, NetlinkError> {
    run_in(namespace, || match fs::read_to_string(format!("/proc/sys/net/{key}")) {
        Ok(value) => Ok(Some(value.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(NetlinkError::io(format!("read `net/{key}`"), error)),
    })?
}

fn write_here(key: &str, value: &str) -> Result<(), NetlinkError> {
    let path = format!("/proc/sys/net/{key}");
    let failed = |error| NetlinkError::io(format!("set `net/{key}` to {value}"), error);
    match fs::read_to_string(&path) {
        Ok(present) if present.trim() == value => Ok(()),
        Ok(_) => match fs::write(&path, value) {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                mount_own_proc().and_then(|()| fs::write(&path, value)).map_err(failed)
            }
            written => written.map_err(failed),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Gives this thread a /proc of its own that can be written. It is seen by nobody else and ends
/// with the thread; mounts that others take away meanwhile go here as well.
fn mount_own_proc() -> io::Result<()> {
    let none = None::<&str>;
    let hardened = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    mount(Some("proc"), "/proc", Some("proc"), hardened, none)?;
    Ok(())
}
