//! An endpoint's interface as a driver sees it at `create_endpoint`.

use std::fmt;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::id::Mac;

/// Tells a driver what is settled about an endpoint's interface, and lets it settle the rest.
pub trait InterfaceInfo: Send {
    /// Sets the MAC address, provided that none is set.
    ///
    /// # Errors
    /// Forbidden when one is set, even the same; invalid parameter when `mac` is not one
    /// interface's. The interface is unchanged then.
    fn set_mac_address(&mut self, mac: Mac) -> Result<(), Error>;

    /// Sets the IPv4 or the IPv6 address, whichever `address` is, provided that none is set.
    ///
    /// # Errors
    /// Forbidden when one is set, even the same; invalid parameter when `address` is the
    /// unspecified one. The interface is unchanged then.
    fn set_ip_address(&mut self, address: IpNetwork) -> Result<(), Error>;

    /// Returns the MAC address.
    fn mac_address(&self) -> Option<Mac>;

    /// Returns the IPv4 address with the prefix length of its subnet.
    fn address(&self) -> Option<IpNetwork>;

    /// Returns the IPv6 address with the prefix length of its subnet.
    fn address_ipv6(&self) -> Option<IpNetwork>;
}

/// Lets a driver name the interface it made for a sandbox.
pub trait InterfaceNameInfo: Send {
    /// Says which interface to move (`src_name`) and how names in the sandbox begin
    /// (`dst_prefix`); a number is added to make it unique there.
    ///
    /// # Errors
    /// Forbidden when names are set; invalid parameter when `src_name` is empty.
    fn set_names(&mut self, src_name: &str, dst_prefix: &str) -> Result<(), Error>;
}

/// An endpoint's addresses, plain.
///
/// ```
/// use weft_api::driver::{Interface, InterfaceInfo};
///
/// let address = Some("10.0.0.2/24".parse().unwrap());
/// let mut interface = Interface { address, ..Default::default() };
/// assert!(interface.set_ip_address("10.0.0.3/24".parse().unwrap()).is_err());
/// interface.set_ip_address("fd00::3/64".parse().unwrap()).unwrap();
/// assert_eq!(interface.address_ipv6(), Some("fd00::3/64".parse().unwrap()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Interface {
    /// MAC address.
    pub mac: Option<Mac>,
    /// IPv4 address and the prefix length of its subnet.
    pub address: Option<IpNetwork>,
    /// IPv6 address and the prefix length of its subnet.
    pub address_ipv6: Option<IpNetwork>,
}

impl InterfaceInfo for Interface {
    fn set_mac_address(&mut self, mac: Mac) -> Result<(), Error> {
        if let Some(present) = self.mac {
            return Err(present_error("MAC address", format_args!("({present})"), mac));
        }
        if mac == Mac::from_bytes([0; 6]) {
            return Err(Error::invalid_parameter(
                "tried to set nil MAC address to endpoint interface",
            ));
        }
        if !mac.is_unicast() {
            return Err(Error::invalid_parameter(format!(
                "tried to set group MAC address {mac} to endpoint interface"
            )));
        }
        self.mac = Some(mac);
        Ok(())
    }

    fn set_ip_address(&mut self, address: IpNetwork) -> Result<(), Error> {
        if address.ip().is_unspecified() {
            return Err(Error::invalid_parameter(
                "tried to set nil IP address to endpoint interface",
            ));
        }
        let slot = match address {
            IpNetwork::V4(_) => &mut self.address,
            IpNetwork::V6(_) => &mut self.address_ipv6,
        };
        if let Some(present) = slot {
            return Err(present_error(
                "IP",
                format_args!("({present})"),
                format_args!("({address})"),
            ));
        }
        *slot = Some(address);
        Ok(())
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

fn present_error(what: &str, present: impl fmt::Display, wanted: impl fmt::Display) -> Error {
    Error::forbidden(format!(
        "endpoint interface {what} present {present}. Cannot be modified with {wanted}."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn cidr(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_given_is_never_replaced() {
        let mac: Mac = "02:42:0a:00:00:02".parse().unwrap();
        let given = Interface {
            mac: Some(mac),
            address: Some(cidr("10.0.0.2/24")),
            address_ipv6: Some(cidr("fd00::2/64")),
        };
        let mut interface = given.clone();
        let table = [
            (
                interface.set_mac_address("02:42:0a:00:00:03".parse().unwrap()),
                "endpoint interface MAC address present (02:42:0a:00:00:02). \
                 Cannot be modified with 02:42:0a:00:00:03.",
            ),
            (
                interface.set_ip_address(cidr("10.0.0.2/24")),
                "endpoint interface IP present (10.0.0.2/24). \
                 Cannot be modified with (10.0.0.2/24).",
            ),
            (
                interface.set_ip_address(cidr("fd00::3/64")),
                "endpoint interface IP present (fd00::2/64). Cannot be modified with (fd00::3/64).",
            ),
        ];
        for (result, text) in table {
            assert_eq!(result, Err(Error::new(Kind::Forbidden, text)));
        }
        assert_eq!(interface, given);
    }

    #[test]
    fn each_absent_address_is_settled_once() {
        let mut interface = Interface::default();
        interface.set_mac_address("02:42:0a:00:00:02".parse().unwrap()).unwrap();
        interface.set_ip_address(cidr("fd00::2/64")).unwrap();
        assert_eq!(interface.address(), None);
        interface.set_ip_address(cidr("10.0.0.2/24")).unwrap();
        assert_eq!(interface.address(), Some(cidr("10.0.0.2/24")));
        assert_eq!(interface.address_ipv6(), Some(cidr("fd00::2/64")));
    }

    #[test]
    fn an_address_of_nothing_is_refused() {
        let mut interface = Interface::default();
        for mac in [[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
            let error = interface.set_mac_address(Mac::from_bytes(mac)).unwrap_err();
            assert_eq!(error.kind, Kind::InvalidParameter);
        }
        for address in ["0.0.0.0/24", "::/64"] {
            let error = interface.set_ip_address(cidr(address)).unwrap_err();
            assert_eq!(error.kind, Kind::InvalidParameter);
        }
        assert_eq!(interface, Interface::default());
    }
}
