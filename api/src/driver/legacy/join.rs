//! What a driver of 2015 says at `join`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::driver::legacy::{LegacyInterface, LegacyInterfaceNameInfo, LegacyJoinInfo};
use crate::driver::{InterfaceNameInfo as _, JoinInfo, JoinResult};
use crate::error::Error;

/// The names of one interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyNames {
    /// The interface's id within the endpoint.
    pub id: i32,
    /// The interface to move; empty while the driver has not named it.
    pub src_name: String,
    /// Its name in the sandbox.
    pub dst_name: String,
}

impl LegacyInterfaceNameInfo for LegacyNames {
    fn id(&self) -> i32 {
        self.id
    }

    fn set_names(&mut self, src_name: &str, dst_name: &str) -> Result<(), Error> {
        // The rules are the current form's.
        let mut names =
            JoinResult { src_name: std::mem::take(&mut self.src_name), ..Default::default() };
        let result = names.set_names(src_name, dst_name);
        self.src_name = names.src_name;
        if result.is_ok() {
            self.dst_name = names.dst_prefix;
        }
        result
    }
}

/// Records what a driver said at `join`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LegacyJoin {
    /// Names, one an interface.
    pub names: Vec<LegacyNames>,
    /// IPv4 default gateway.
    pub gateway: Option<IpAddr>,
    /// IPv6 default gateway.
    pub gateway_ipv6: Option<IpAddr>,
    /// The file to use as /etc/hosts.
    pub hosts_path: Option<String>,
    /// The file to use as /etc/resolv.conf.
    pub resolv_conf_path: Option<String>,
}

impl LegacyJoin {
    /// Starts an empty record for an endpoint's interfaces.
    pub fn new(interfaces: &[LegacyInterface]) -> Self {
        let unnamed = |interface: &LegacyInterface| LegacyNames {
            id: interface.id,
            src_name: String::new(),
            dst_name: String::new(),
        };
        Self { names: interfaces.iter().map(unnamed).collect(), ..Default::default() }
    }

    /// Tells the current form what it knows: the first interface and the gateways.
    pub(super) fn settle(&self, info: &mut dyn JoinInfo) -> Result<(), Error> {
        if let Some(first) = self.names.first().filter(|names| !names.src_name.is_empty()) {
            // The current form takes a prefix and adds a number, so the number goes.
            let prefix = first.dst_name.trim_end_matches(|c: char| c.is_ascii_digit());
            info.interface_name().set_names(&first.src_name, prefix)?;
        }
        if let Some(gateway) = self.gateway {
            info.set_gateway(gateway)?;
        }
        if let Some(gateway) = self.gateway_ipv6 {
            info.set_gateway_ipv6(gateway)?;
        }
        Ok(())
    }
}

impl LegacyJoinInfo for LegacyJoin {
    fn interface_names(&mut self) -> Vec<&mut dyn LegacyInterfaceNameInfo> {
        self.names.iter_mut().map(|names| names as &mut dyn LegacyInterfaceNameInfo).collect()
    }

    fn set_gateway(&mut self, gateway: IpAddr) -> Result<(), Error> {
        let mut join = JoinResult { gateway: self.gateway, ..Default::default() };
        join.set_gateway(gateway)?;
        self.gateway = join.gateway;
        Ok(())
    }

    fn set_gateway_ipv6(&mut self, gateway: IpAddr) -> Result<(), Error> {
        let mut join = JoinResult { gateway_ipv6: self.gateway_ipv6, ..Default::default() };
        join.set_gateway_ipv6(gateway)?;
        self.gateway_ipv6 = join.gateway_ipv6;
        Ok(())
    }

    fn set_hosts_path(&mut self, path: &str) -> Result<(), Error> {
        set_once(&mut self.hosts_path, "hosts path", path)
    }

    fn set_resolv_conf_path(&mut self, path: &str) -> Result<(), Error> {
        set_once(&mut self.resolv_conf_path, "resolv.conf path", path)
    }
}

fn set_once(slot: &mut Option<String>, what: &str, path: &str) -> Result<(), Error> {
    if let Some(present) = slot {
        return Err(Error::forbidden(format!(
            "endpoint {what} present ({present}). Cannot be modified with {path}."
        )));
    }
    *slot = Some(path.to_owned());
    Ok(())
}
