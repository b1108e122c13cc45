//! The peer record: what a node tells the others of an endpoint that joined.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};
use weft_api::{Mac, Stamp};

/// The table of peers. Key: the endpoint's id in text. Value: a [`PeerRecord`].
pub const PEER_TABLE: &str = "overlay_peer_table";

/// No record is longer, in bytes.
pub const RECORD_BYTES_MAX: usize = 256;

/// One endpoint, as the other nodes must know it to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRecord {
    /// IPv4 address with the pool's prefix length.
    pub v4: Option<IpNetwork>,
    /// IPv6 address with the pool's prefix length.
    pub v6: Option<IpNetwork>,
    /// Address of its interface.
    pub mac: Mac,
    /// The host it is on.
    pub vtep: IpAddr,
    /// When and by whom its addresses were allocated: the lowest has an address that two claim.
    pub stamp: Stamp,
    /// The stamp of the record it takes the place of, after the range's owner released the
    /// address: that one gives way, although it is lower.
    pub replaces: Option<Stamp>,
}

/// Why bytes are not a peer record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Longer than [`RECORD_BYTES_MAX`].
    #[error("{0} bytes are too long")]
    TooLong(usize),
    /// Written by a version we do not know.
    #[error("version {0} is unknown")]
    Version(u8),
    /// Cut short, or not the layout of its version.
    #[error("the bytes are damaged")]
    Damaged,
    /// Something follows the record.
    #[error("bytes follow the record")]
    Trailing,
    /// A prefix length that its family does not have.
    #[error("prefix length {0} is too long")]
    Prefix(u8),
    /// Neither an IPv4 nor an IPv6 address.
    #[error("no address")]
    NoAddress,
}

/// The layout that follows the version byte.
const VERSION: u8 = 1;

/// What stands behind the version byte, in bincode's standard encoding. A golden test holds it.
#[derive(Serialize, Deserialize)]
struct WireV1 {
    v4: Option<([u8; 4], u8)>,
    v6: Option<([u8; 16], u8)>,
    mac: Mac,
    vtep: IpAddr,
    stamp: Stamp,
    replaces: Option<Stamp>,
}

const fn codec() -> Configuration<LittleEndian, Varint, Limit<RECORD_BYTES_MAX>> {
    bincode::config::standard().with_limit::<RECORD_BYTES_MAX>()
}

impl PeerRecord {
    /// Writes the record as a table value.
    pub fn encode(&self) -> Vec<u8> {
        let wire = WireV1 {
            v4: self.v4.and_then(|a| match a {
                IpNetwork::V4(a) => Some((a.ip().octets(), a.prefix())),
                IpNetwork::V6(_) => None,
            }),
            v6: self.v6.and_then(|a| match a {
                IpNetwork::V6(a) => Some((a.ip().octets(), a.prefix())),
                IpNetwork::V4(_) => None,
            }),
            mac: self.mac,
            vtep: self.vtep,
            stamp: self.stamp,
            replaces: self.replaces,
        };
        let body = bincode::serde::encode_to_vec(wire, codec())
            .expect("the fixed fields fit RECORD_BYTES_MAX");
        let mut bytes = Vec::with_capacity(1 + body.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads a table value. Whether its addresses belong to the network is asked elsewhere.
    ///
    /// # Errors
    /// The bytes are no record of a version known here.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong(bytes.len()));
        }
        let (&version, body) = bytes.split_first().ok_or(RecordError::Damaged)?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let (wire, read): (WireV1, usize) =
            bincode::serde::decode_from_slice(body, codec()).map_err(|_| RecordError::Damaged)?;
        if read != body.len() {
            return Err(RecordError::Trailing);
        }
        let v4 = wire.v4.map(|(octets, prefix)| {
            Ipv4Network::new(octets.into(), prefix).map_err(|_| RecordError::Prefix(prefix))
        });
        let v6 = wire.v6.map(|(octets, prefix)| {
            Ipv6Network::new(octets.into(), prefix).map_err(|_| RecordError::Prefix(prefix))
        });
        let record = Self {
            v4: v4.transpose()?.map(IpNetwork::V4),
            v6: v6.transpose()?.map(IpNetwork::V6),
            mac: wire.mac,
            vtep: wire.vtep,
            stamp: wire.stamp,
            replaces: wire.replaces,
        };
        if record.v4.is_none() && record.v6.is_none() {
            return Err(RecordError::NoAddress);
        }
        Ok(record)
    }

    /// Names the fields for people.
    fn describe(&self) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::from([
            ("Host IP".to_owned(), self.vtep.to_string()),
            ("MAC".to_owned(), self.mac.to_string()),
        ]);
        for (name, address) in [("IPv4", self.v4), ("IPv6", self.v6)] {
            fields.extend(address.map(|a| (name.to_owned(), a.to_string())));
        }
        fields
    }
}

/// Shows an entry of a table to people, as libnetwork's `DecodeTableEntry`: the key, and `Host IP`
/// (the VTEP), `IPv4`, `IPv6` and `MAC` by name. Only the key when the value is no peer record.
pub fn decode_table_entry(
    table: &str,
    key: &str,
    value: &[u8],
) -> (String, BTreeMap<String, String>) {
    let record = (table == PEER_TABLE).then(|| PeerRecord::decode(value).ok()).flatten();
    (key.to_owned(), record.map(|r| r.describe()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weft_api::NodeId;

    fn record() -> PeerRecord {
        PeerRecord {
            v4: Some("10.128.0.2/20".parse().unwrap()),
            v6: Some("fd00::2/64".parse().unwrap()),
            mac: Mac::from_bytes([2, 0x42, 10, 128, 0, 2]),
            vtep: "192.0.2.7".parse().unwrap(),
            stamp: Stamp { lamport: 300, node: NodeId::from_bytes([0xaa; 16]) },
            replaces: Some(Stamp { lamport: 9, node: NodeId::from_bytes([0xbb; 16]) }),
        }
    }

    #[test]
    fn version_one_keeps_its_bytes() {
        let mut golden = vec![1];
        golden.extend([1, 10, 128, 0, 2, 20]);
        golden.extend([1, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 64]);
        golden.extend([2, 0x42, 10, 128, 0, 2]);
        golden.extend([0, 192, 0, 2, 7]);
        golden.extend([251, 0x2c, 0x01]);
        golden.extend([0xaa; 16]);
        golden.extend([1, 9]);
        golden.extend([0xbb; 16]);
        assert_eq!(record().encode(), golden);
        assert_eq!(PeerRecord::decode(&golden), Ok(record()));
    }

    #[test]
    fn each_damage_has_its_name() {
        let good = record().encode();
        let mut longer = good.clone();
        longer.push(0);
        assert_eq!(PeerRecord::decode(&longer), Err(RecordError::Trailing));
        assert_eq!(PeerRecord::decode(&good[..good.len() - 1]), Err(RecordError::Damaged));
        assert_eq!(PeerRecord::decode(&[]), Err(RecordError::Damaged));
        assert_eq!(PeerRecord::decode(&[9, 0]), Err(RecordError::Version(9)));
        assert_eq!(PeerRecord::decode(&[1; 257]), Err(RecordError::TooLong(257)));
        let mut prefix = good.clone();
        prefix[6] = 33;
        assert_eq!(PeerRecord::decode(&prefix), Err(RecordError::Prefix(33)));
        let nothing = PeerRecord { v4: None, v6: None, ..record() };
        assert_eq!(PeerRecord::decode(&nothing.encode()), Err(RecordError::NoAddress));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_decodes_survives(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            versioned: bool,
        ) {
            let mut bytes = bytes;
            if versioned && !bytes.is_empty() {
                bytes[0] = VERSION;
            }
            if let Ok(record) = PeerRecord::decode(&bytes) {
                prop_assert_eq!(PeerRecord::decode(&record.encode()), Ok(record));
            }
        }

        #[test]
        fn a_flipped_bit_never_panics(at in 0usize..80, bit in 0u8..8) {
            let mut bytes = record().encode();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let _ = PeerRecord::decode(&bytes);
        }
    }
}
