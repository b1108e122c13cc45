//! What the configuration asks the host for when nobody said.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::config::{ConfigError, choose_advertise};

/// The host as the configuration sees it.
pub trait Host {
    /// Returns the host's name.
    ///
    /// # Errors
    /// [`ConfigError::Host`] when it has none that can be read.
    fn name(&self) -> Result<String, ConfigError>;

    /// Returns the address of the default route's interface.
    ///
    /// # Errors
    /// [`ConfigError::NoAdvertise`] when nothing or more than one thing could be meant.
    fn default_address(&self) -> Result<IpAddr, ConfigError>;

    /// Returns the directory that relative paths start from.
    fn current_dir(&self) -> PathBuf;
}

/// The host this process runs on, in the network namespace it runs in.
#[derive(Debug, Clone, Copy)]
pub struct SystemHost;

impl Host for SystemHost {
    fn name(&self) -> Result<String, ConfigError> {
        let failed = |source| ConfigError::Host { what: "the host's name", source };
        let name = fs::read_to_string("/proc/sys/kernel/hostname").map_err(failed)?;
        Ok(name.trim_end().to_owned())
    }

    fn default_address(&self) -> Result<IpAddr, ConfigError> {
        let failed = |source| ConfigError::Host { what: "the host's addresses", source };
        // A kernel without one of the families lacks that file, and has no such route.
        let routes4 = fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
        let routes6 = fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap_or_default();
        let addresses: Vec<(String, IpAddr)> = nix::ifaddrs::getifaddrs()
            .map_err(|errno| failed(errno.into()))?
            .filter_map(|interface| {
                let storage = interface.address?;
                let address = storage
                    .as_sockaddr_in()
                    .map(|v4| IpAddr::V4(v4.ip()))
                    .or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))?;
                Some((interface.interface_name, address))
            })
            .collect();
        Ok(choose_advertise(&routes4, &routes6, &addresses)?)
    }

    fn current_dir(&self) -> PathBuf {
        std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
    }
}
