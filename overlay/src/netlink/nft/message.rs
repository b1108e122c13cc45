//! The frame of an nftables message, and its attributes: numbers in network byte order, unlike
//! those of routing messages.

use netlink_packet_core::{DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};

/// The subsystem's number, the high octet of a message's type (NFNL_SUBSYS_NFTABLES).
const SUBSYSTEM: u16 = 10;
/// Begins a transaction (NFNL_MSG_BATCH_BEGIN).
const BATCH_BEGIN: u16 = 16;
/// Ends it, and carries it out (NFNL_MSG_BATCH_END).
const BATCH_END: u16 = 17;
/// Family, version, resource (struct nfgenmsg).
const HEADER_LEN: usize = 4;
/// Marks an attribute made of attributes (NLA_F_NESTED).
const NESTED: u16 = 1 << 15;

/// What is done to what (enum nf_tables_msg_types).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    NewTable = 0,
    DelTable = 2,
    NewChain = 3,
    GetChain = 4,
    DelChain = 5,
    NewRule = 6,
    GetRule = 7,
    DelRule = 8,
}

/// The protocol a table is for (enum nf_inet family numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// All: for dumps.
    Any = 0,
    /// IPv4 and IPv6 in one table.
    Inet = 1,
    Ip = 2,
    Ip6 = 10,
}

impl Family {
    pub(crate) fn from_octet(octet: u8) -> Option<Self> {
        [Self::Inet, Self::Ip, Self::Ip6].into_iter().find(|family| *family as u8 == octet)
    }
}

/// One message: type, header and attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NftMessage {
    kind: u16,
    bytes: Vec<u8>,
}

impl NftMessage {
    pub(crate) fn new(verb: Verb, family: Family, attributes: Attributes) -> Self {
        let mut bytes = vec![family as u8, 0, 0, 0];
        bytes.extend(attributes.0);
        Self { kind: SUBSYSTEM << 8 | verb as u16, bytes }
    }

    /// The message that begins a transaction.
    pub(crate) fn begin() -> Self {
        Self { kind: BATCH_BEGIN, bytes: Self::batch_header() }
    }

    /// The message that ends it.
    pub(crate) fn end() -> Self {
        Self { kind: BATCH_END, bytes: Self::batch_header() }
    }

    fn batch_header() -> Vec<u8> {
        let [high, low] = SUBSYSTEM.to_be_bytes();
        vec![Family::Any as u8, 0, high, low]
    }

    /// The family the kernel wrote, where it is one of those that matter here.
    pub(crate) fn family(&self) -> Option<Family> {
        Family::from_octet(*self.bytes.first()?)
    }

    /// Finds an attribute of the outermost level.
    pub(crate) fn attribute(&self, kind: u16) -> Option<&[u8]> {
        find(self.bytes.get(HEADER_LEN..)?, kind)
    }

    /// Finds a text.
    pub(crate) fn text(&self, kind: u16) -> Option<&str> {
        let value = self.attribute(kind)?;
        std::str::from_utf8(value.strip_suffix(b"\0").unwrap_or(value)).ok()
    }
}

impl NetlinkSerializable for NftMessage {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.bytes);
    }
}

impl NetlinkDeserializable for NftMessage {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { kind: header.message_type, bytes: payload.to_vec() })
    }
}

/// Finds an attribute among attributes.
pub(crate) fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [l0, l1, k0, k1, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([k0, k1]) & !NESTED == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Attributes being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).expect("an attribute of ours is short");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn number64(self, kind: u16, value: u64) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn nest(self, kind: u16, inner: Attributes) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_attributes_are_found_again() {
        let message = NftMessage::new(
            Verb::NewTable,
            Family::Inet,
            Attributes::default()
                .text(1, "weft")
                .nest(4, Attributes::default().number(2, 7))
                .number64(3, 9),
        );
        assert_eq!(message.text(1), Some("weft"));
        assert_eq!(message.attribute(3), Some(9u64.to_be_bytes().as_slice()));
        let nested = message.attribute(4).expect("written");
        assert_eq!(find(nested, 2), Some(7u32.to_be_bytes().as_slice()));
        assert_eq!(message.family(), Some(Family::Inet));
    }

    #[test]
    fn damaged_attributes_end_the_search() {
        assert_eq!(find(&[3, 0, 1, 0], 1), None);
        assert_eq!(find(&[255, 0, 2, 0, 1], 1), None);
        assert_eq!(find(&[0; 12], 1), None);
    }
}
