//! An address and its prefix length in one text, read as strictly as libnetwork reads it.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::error::Error;

/// Reads `ADDRESS/LENGTH` and keeps the address's host bits (libnetwork's `types.ParseCIDR`).
///
/// Stricter than `IpNetwork`'s own reading, which takes a bare address or a dotted netmask too.
///
/// # Errors
/// [`Kind::InvalidParameter`](crate::error::Kind::InvalidParameter) for any other text.
///
/// ```
/// let gateway = weft_api::cidr::parse_cidr("10.128.0.1/20").unwrap();
/// assert_eq!(gateway.to_string(), "10.128.0.1/20");
/// assert!(weft_api::cidr::parse_cidr("10.128.0.1").is_err());
/// ```
pub fn parse_cidr(text: &str) -> Result<IpNetwork, Error> {
    read(text).ok_or_else(|| Error::invalid_parameter(format!("invalid CIDR address: {text}")))
}

fn read(text: &str) -> Option<IpNetwork> {
    let (address, length) = text.split_once('/')?;
    if length.is_empty() || !length.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let address: IpAddr = address.parse().ok()?;
    IpNetwork::new(address, length.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_with_a_length_is_a_cidr() {
        for text in [
            "",
            "/",
            "10.0.0.1",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "::/129",
        ]
        .into_iter()
        .chain([
            "10.0.0.0/255.0.0.0",
            "10.0.0/8",
            "fe80::1%eth0/64",
            "10.0.0.0/8/8",
            " ::/0",
        ]) {
            let error = parse_cidr(text).unwrap_err();
            assert_eq!(error.text, format!("invalid CIDR address: {text}"));
        }
    }

    #[test]
    fn host_bits_are_kept() {
        assert_eq!(parse_cidr("2001:db8::33/64").unwrap().to_string(), "2001:db8::33/64");
    }
}
