//! Addresses as the specification writes them.

use std::net::{AddrParseError, IpAddr};

use ipnetwork::{IpNetwork, IpNetworkError};

/// Parses `address/prefix`, keeping the host's bits: `10.1.2.3/24` stays that.
///
/// Stricter than [`IpNetwork`]'s own parser: the prefix must be there, as a number.
///
/// # Errors
/// If either part is missing or malformed.
pub fn parse_cidr(text: &str) -> Result<IpNetwork, IpNetworkError> {
    let invalid = || IpNetworkError::InvalidCidrFormat(text.to_owned());
    let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let prefix = prefix.parse().map_err(|_| IpNetworkError::InvalidPrefix)?;
    let address: IpAddr = address.parse().map_err(|_: AddrParseError| invalid())?;
    IpNetwork::new(address, prefix)
}

/// Whether an address is one of IPv4, be it written in IPv6.
pub(crate) fn is_ipv4(address: IpAddr) -> bool {
    address.to_canonical().is_ipv4()
}

/// Serde for an `address/prefix`.
pub(crate) mod cidr {
    use ipnetwork::IpNetwork;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(
        address: &IpNetwork,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(address)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<IpNetwork, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_cidr(&text).map_err(D::Error::custom)
    }
}

/// Serde for an address that may be absent or, as Go has it, the empty text.
pub(crate) mod optional {
    use std::net::IpAddr;

    use serde::{Deserialize, Deserializer, de::Error};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<IpAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_the_bits_of_the_host() {
        for text in ["1.2.3.4/24", "2001:db8::5/64"] {
            assert_eq!(parse_cidr(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn addresses_without_a_numeric_prefix_are_refused() {
        let bad = ["1.2.3/13", "10.0.0.1", "10.0.0.1/", "10.0.0.0/255.0.0.0", "10.0.0.1/+8"];
        for text in bad.into_iter().chain(["1.2.3.4/33", "::1/129", "/8", "", "1.2.3.4/256"]) {
            assert!(parse_cidr(text).is_err(), "{text}");
        }
    }
}
