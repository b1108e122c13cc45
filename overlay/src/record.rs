//! The peer record: what a node tells the others of an endpoint that joined.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
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
