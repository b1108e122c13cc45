//! The list of interfaces of an endpoint.

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::driver::InterfaceInfo;
use crate::driver::legacy::{EndpointInfo, LegacyInterfaceInfo};
use crate::error::Error;
use crate::id::Mac;

/// One interface of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyInterface {
    /// Unique within the endpoint.
    pub id: i32,
    /// MAC address.
    pub mac: Option<Mac>,
    /// IPv4 address and the prefix length of its subnet.
    pub address: Option<IpNetwork>,
    /// IPv6 address and the prefix length of its subnet.
    pub address_ipv6: Option<IpNetwork>,
}

impl LegacyInterfaceInfo for LegacyInterface {
    fn id(&self) -> i32 {
        self.id
    }

    fn mac_address(&self) -> Option<Mac> {
        self.mac
    }

    fn address(&self) -> Option<IpNetwork> {
        self.address
    }

    fn address_ipv6(&self) -> Option<IpNetwork> {
        self.address_ipv6
    }
}

/// An endpoint's interfaces: given, and then only read, or filled in by the driver.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LegacyEndpoint {
    interfaces: Vec<LegacyInterface>,
    filled_by: Filler,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Filler {
    Caller,
    #[default]
    Driver,
}

impl LegacyEndpoint {
    /// Makes the list a driver is told; an empty one is the driver's to fill in.
    pub fn new(interfaces: Vec<LegacyInterface>) -> Self {
        let filled_by = if interfaces.is_empty() { Filler::Driver } else { Filler::Caller };
        Self { interfaces, filled_by }
    }

    /// Makes the list out of the current form: one interface with id 0 if it has an address. A
    /// MAC address alone leaves the list to the driver.
    pub(super) fn of(interface: &dyn InterfaceInfo) -> Self {
        let given = LegacyInterface {
            id: 0,
            mac: interface.mac_address(),
            address: interface.address(),
            address_ipv6: interface.address_ipv6(),
        };
        let has_address = given.address.is_some() || given.address_ipv6.is_some();
        Self::new(if has_address { vec![given] } else { Vec::new() })
    }

    /// Returns the interfaces as they stand.
    pub fn into_interfaces(self) -> Vec<LegacyInterface> {
        self.interfaces
    }

    /// Writes what the driver filled in back to the current form.
    pub(super) fn settle(&self, interface: &mut dyn InterfaceInfo) -> Result<(), Error> {
        let (Filler::Driver, Some(first)) = (self.filled_by, self.interfaces.first()) else {
            return Ok(());
        };
        if let Some(mac) = first.mac.filter(|&mac| interface.mac_address() != Some(mac)) {
            interface.set_mac_address(mac)?;
        }
        for address in first.address.into_iter().chain(first.address_ipv6) {
            interface.set_ip_address(address)?;
        }
        Ok(())
    }
}

impl EndpointInfo for LegacyEndpoint {
    fn interfaces(&self) -> Vec<&dyn LegacyInterfaceInfo> {
        self.interfaces.iter().map(|interface| interface as &dyn LegacyInterfaceInfo).collect()
    }

    fn add_interface(
        &mut self,
        id: i32,
        mac: Option<Mac>,
        ipv4: Option<IpNetwork>,
        ipv6: Option<IpNetwork>,
    ) -> Result<(), Error> {
        if self.filled_by == Filler::Caller {
            return Err(Error::forbidden(format!(
                "endpoint interface list is not empty. Cannot add interface {id}."
            )));
        }
        if self.interfaces.iter().any(|interface| interface.id == id) {
            return Err(Error::forbidden(format!("endpoint interface {id} is present")));
        }
        if ipv4.is_some_and(|address| address.is_ipv6())
            || ipv6.is_some_and(|address| address.is_ipv4())
        {
            return Err(Error::invalid_parameter(format!(
                "endpoint interface {id} has an address of the wrong family"
            )));
        }
        self.interfaces.push(LegacyInterface { id, mac, address: ipv4, address_ipv6: ipv6 });
        Ok(())
    }
}
