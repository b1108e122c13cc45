//! Ids and ruled numbers: one newtype each, so that none is taken for another.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Says why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// The text is not 32 hexadecimal digits.
    #[error("`{0}` is not an id of 32 hexadecimal digits")]
    Hex(String),
    /// The text is not six octets.
    #[error("`{0}` is not a MAC address like 02:00:5e:10:00:01")]
    Mac(String),
    /// The MAC address is a group address or all zeros.
    #[error("`{0}` is not the address of one interface")]
    NotUnicast(Mac),
    /// The number does not fit 24 bits or is zero.
    #[error("VNI {0} is not in 1..=16777215")]
    Vni(u32),
}

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Takes the 16 bytes as they are.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Returns the 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Returns the first eight hexadecimal digits, for tables people read.
            pub fn short(&self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex16(text).map(Self).ok_or_else(|| ParseIdError::Hex(text.to_owned()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

id128! {
    /// A node: random, made with its data directory, never reused.
    NodeId
}
id128! {
    /// A network: random, made by the node that creates it.
    NetworkId
}
id128! {
    /// An endpoint: random; the key of its peer record.
    EndpointId
}
id128! {
    /// A cluster: random, made by `weft init`; clear in every packet.
    ClusterId
}

fn parse_hex16(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// One life of a node's process: the counter grows by one at each start, the nonce tells two
/// starts from one disk (a clone, a restored snapshot) apart. Fsynced before the first packet.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Boot {
    /// Starts of this data directory so far, this one included.
    pub counter: u64,
    /// Random, per start.
    pub nonce: u64,
}

/// A VXLAN network identifier: 24 bits, not zero (RFC 7348).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vni(u32);

impl Vni {
    /// The greatest VNI.
    pub const MAX: u32 = (1 << 24) - 1;

    /// Checks and wraps a number.
    ///
    /// # Errors
    /// [`ParseIdError::Vni`] when `value` is zero or needs more than 24 bits.
    pub const fn new(value: u32) -> Result<Self, ParseIdError> {
        if value == 0 || value > Self::MAX {
            return Err(ParseIdError::Vni(value));
        }
        Ok(Self(value))
    }

    /// Returns the number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Vni {
    type Error = ParseIdError;

    fn try_from(value: u32) -> Result<Self, Self::Error> {
        Self::new(value)
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> Self {
        vni.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    /// Takes the six octets as they are.
    pub const fn from_bytes(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// Returns the six octets.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Tells whether one interface may carry this address: not a group address, not all zeros.
    pub const fn is_unicast(self) -> bool {
        let [a, b, c, d, e, f] = self.0;
        a & 1 == 0 && (a | b | c | d | e | f) != 0
    }

    /// Derives a locally administered address from an IPv4 address: unique in a network because
    /// the IPv4 address is. The scheme (`02:42` and the four octets) is Docker's.
    pub const fn from_ipv4(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// Derives a locally administered address from the last 40 bits of an IPv6 address.
    pub const fn from_ipv6(address: Ipv6Addr) -> Self {
        let o = address.octets();
        Self([0x06, o[11], o[12], o[13], o[14], o[15]])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

impl FromStr for Mac {
    type Err = ParseIdError;

    /// Reads six octets of two digits, parted by colons or hyphens.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseIdError::Mac(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().ok_or_else(refused)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(refused());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        if parts.next().is_some() {
            return Err(refused());
        }
        Ok(Self(octets))
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            <[u8; 6]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        let id = NetworkId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
    }

    #[test]
    fn a_short_long_or_signed_text_is_no_id() {
        for text in ["", "12", &"a".repeat(33), &format!("+{}", "1".repeat(31)), &"é".repeat(16)] {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mac_reads_both_separators_and_nothing_else() {
        let mac: Mac = "02:42:0a:80:00:02".parse().unwrap();
        assert_eq!("02-42-0A-80-00-02".parse(), Ok(mac));
        assert_eq!(mac, Mac::from_ipv4(Ipv4Addr::new(10, 128, 0, 2)));
        for text in ["02:42:0a:80:00", "02:42:0a:80:00:02:03", "2:42:0a:80:00:02", "x"] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn group_and_zero_addresses_are_not_unicast() {
        assert!(!Mac::from_bytes([0; 6]).is_unicast());
        assert!(!Mac::from_bytes([0xff; 6]).is_unicast());
        assert!(!Mac::from_bytes([1, 0, 0x5e, 0, 0, 1]).is_unicast());
        assert!(Mac::from_ipv4(Ipv4Addr::LOCALHOST).is_unicast());
    }

    #[test]
    fn a_vni_has_24_bits_and_is_not_zero() {
        assert!(Vni::new(0).is_err());
        assert!(Vni::new(1 << 24).is_err());
        assert_eq!(Vni::new(Vni::MAX).unwrap().get(), 16_777_215);
    }
}
