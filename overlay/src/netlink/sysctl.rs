//! Kernel settings of a namespace, by files of /proc/sys/net. They belong to the namespace of the
//! thread that opens them, so they are written by a thread inside it.

use std::fs;
use std::io;

use super::error::NetlinkError;
use super::namespace::{Namespace, run_in};

/// Writes settings in order: `sysctl -w KEY=VALUE`. Keys are paths below /proc/sys/net, so that a
/// dot in an interface's name does no harm. What this kernel lacks is passed over.
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
        // What is right already is left alone: the file may be read-only here (containers).
        Ok(present) if present.trim() == value => Ok(()),
        Ok(_) => fs::write(&path, value).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
