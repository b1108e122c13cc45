//! The addresses of a network as a driver is told them, in libnetwork's JSON form.

use std::collections::BTreeMap;
use std::fmt;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::cidr::parse_cidr;
use crate::error::Error;

/// One pool of a network with what is set aside in it.
///
/// ```
/// use weft_api::driver::IpamData;
///
/// let json = r#"{"AddressSpace":"weft-global","Pool":"10.0.0.0/24","Gateway":"10.0.0.1/24"}"#;
/// let data: IpamData = serde_json::from_str(json).unwrap();
/// data.validate().unwrap();
/// assert_eq!(serde_json::to_string(&data).unwrap(), json);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IpamData {
    /// The address space the pool is from; empty where the caller does not say.
    #[serde(deserialize_with = "read_text")]
    pub address_space: String,
    /// The pool.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "write_cidr",
        deserialize_with = "read_cidr"
    )]
    pub pool: Option<IpNetwork>,
    /// The gateway, with the pool's prefix length.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "write_cidr",
        deserialize_with = "read_cidr"
    )]
    pub gateway: Option<IpNetwork>,
    /// Addresses set aside, by name.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        serialize_with = "write_cidrs",
        deserialize_with = "read_cidrs"
    )]
    pub aux_addresses: BTreeMap<String, IpNetwork>,
}

impl IpamData {
    /// Tells whether the pool is of IPv6; without a pool it is not.
    pub fn is_v6(&self) -> bool {
        self.pool.is_some_and(|pool| pool.is_ipv6())
    }

    /// Checks that pool, gateway and the addresses set aside fit together.
    ///
    /// # Errors
    /// Invalid parameter, in libnetwork's words.
    pub fn validate(&self) -> Result<(), Error> {
        let pool = self.pool.ok_or_else(|| Error::invalid_parameter("invalid pool"))?;
        let gateway =
            self.gateway.ok_or_else(|| Error::invalid_parameter("invalid gateway address"))?;
        if gateway.is_ipv6() != pool.is_ipv6() {
            return Err(Error::invalid_parameter("incongruent ip versions for pool and gateway"));
        }
        for (name, address) in &self.aux_addresses {
            if address.is_ipv6() != pool.is_ipv6() {
                return Err(Error::invalid_parameter(format!(
                    "incongruent ip versions for pool and secondary ip address {name}"
                )));
            }
        }
        // Go prints a net.IPNet with its host bits; so do we. libnetwork names the gateway where
        // the last text names the address, which helps nobody, so the address stands there.
        if !pool.contains(gateway.ip()) {
            return Err(Error::invalid_parameter(format!(
                "invalid gateway address ({gateway}) does not belong to the pool ({pool})"
            )));
        }
        for (name, address) in &self.aux_addresses {
            if !pool.contains(address.ip()) {
                return Err(Error::invalid_parameter(format!(
                    "invalid secondary address {name} ({address}) does not belong to the pool \
                     ({pool})"
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Display for IpamData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |cidr: Option<IpNetwork>| cidr.map_or("<nil>".to_owned(), |c| c.to_string());
        writeln!(f, "AddressSpace: {}", self.address_space)?;
        writeln!(f, "Pool: {}", text(self.pool))?;
        writeln!(f, "Gateway: {}", text(self.gateway))?;
        write!(f, "Addresses: map[")?;
        for (index, (name, address)) in self.aux_addresses.iter().enumerate() {
            write!(f, "{}{name}:{address}", if index == 0 { "" } else { " " })?;
        }
        write!(f, "]")
    }
}

fn read_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(clippy::ref_option, reason = "the shape serde asks for")]
fn write_cidr<S: Serializer>(cidr: &Option<IpNetwork>, to: S) -> Result<S::Ok, S::Error> {
    match cidr {
        Some(cidr) => to.collect_str(cidr),
        None => to.serialize_none(),
    }
}

fn read_cidr<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpNetwork>, D::Error> {
    let text: Option<String> = Option::deserialize(from)?;
    text.map(|text| parse_cidr(&text).map_err(de::Error::custom)).transpose()
}

fn write_cidrs<S: Serializer>(
    cidrs: &BTreeMap<String, IpNetwork>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_map(cidrs.iter().map(|(name, cidr)| (name, cidr.to_string())))
}

fn read_cidrs<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, IpNetwork>, D::Error> {
    let texts: Option<BTreeMap<String, String>> = Option::deserialize(from)?;
    texts
        .unwrap_or_default()
        .into_iter()
        .map(|(name, text)| Ok((name, parse_cidr(&text).map_err(de::Error::custom)?)))
        .collect()
}

#[cfg(test)]
mod tests;
