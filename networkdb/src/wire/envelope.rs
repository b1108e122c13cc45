//! The envelope of a datagram.
//!
//! | bytes | field |
//! | --- | --- |
//! | 1 | version |
//! | 1 | kind, 1: datagram |
//! | 16 | cluster id |
//! | 16 | sender's NodeId |
//! | 8 + 8 | sender's boot: counter, nonce (little endian) |
//! | 1 | key id |
//! | 8 | counter: how many datagrams the sender's boot sent this receiver before (little endian) |
//! | 24 | nonce |
//! | .. | XChaCha20-Poly1305 ciphertext, 16 bytes longer than its plaintext |
//!
//! Associated data: everything before the ciphertext, then the receiver's NodeId and boot. So a
//! datagram opens for one receiver, in one of its boots, and names its sender and its boot.

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use weft_api::{Boot, ClusterId, NodeId};

use crate::keys::{Key, KeyRing};
use crate::wire::VERSION;

const KIND_DATAGRAM: u8 = 1;
const TAG: usize = 16;
/// Bytes before the ciphertext.
pub(crate) const HEADER: usize = 1 + 1 + 16 + 16 + 16 + 1 + 8 + 24;
/// Bytes that an envelope adds to its plaintext.
pub(crate) const OVERHEAD: usize = HEADER + TAG;

/// One end of a datagram: a node in one of its boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) node: NodeId,
    pub(crate) boot: Boot,
}

impl End {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.node.as_bytes());
        out.extend_from_slice(&self.boot.counter.to_le_bytes());
        out.extend_from_slice(&self.boot.nonce.to_le_bytes());
    }
}

/// The clear part of a datagram, read and not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) cluster: ClusterId,
    pub(crate) sender: End,
    pub(crate) key_id: u8,
    pub(crate) counter: u64,
    pub(crate) nonce: [u8; 24],
}

/// Why a datagram is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EnvelopeError {
    /// Too short, or of no kind known.
    Malformed,
    /// Another protocol version.
    OtherVersion,
    /// The seal does not open under any key of the ring for this receiver.
    BadAuth,
}

/// Reads 16 bytes at `at`; the caller has checked the length.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl Header {
    /// Reads the clear part.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(_) => return Err(EnvelopeError::OtherVersion),
            None => return Err(EnvelopeError::Malformed),
        }
        if bytes.len() < OVERHEAD || bytes.get(1) != Some(&KIND_DATAGRAM) {
            return Err(EnvelopeError::Malformed);
        }
        Self::fields(bytes).ok_or(EnvelopeError::Malformed)
    }

    fn fields(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            cluster: ClusterId::from_bytes(array(bytes, 2)?),
            sender: End {
                node: NodeId::from_bytes(array(bytes, 18)?),
                boot: Boot {
                    counter: u64::from_le_bytes(array(bytes, 34)?),
                    nonce: u64::from_le_bytes(array(bytes, 42)?),
                },
            },
            key_id: *bytes.get(50)?,
            counter: u64::from_le_bytes(array(bytes, 51)?),
            nonce: array(bytes, 59)?,
        })
    }

    fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + 32);
        out.extend_from_slice(&[VERSION, KIND_DATAGRAM]);
        out.extend_from_slice(self.cluster.as_bytes());
        self.sender.write(&mut out);
        out.push(self.key_id);
        out.extend_from_slice(&self.counter.to_le_bytes());
        out.extend_from_slice(&self.nonce);
        out
    }
}

/// Seals a plaintext for one receiver. `header.key_id` is set to the ring's primary.
pub(crate) fn seal(keys: &KeyRing, mut header: Header, to: End, plaintext: &[u8]) -> Vec<u8> {
    let (key_id, key) = keys.primary();
    header.key_id = key_id;
    let clear = header.write();
    let mut associated = clear.clone();
    to.write(&mut associated);
    let mut bytes = Vec::with_capacity(HEADER + plaintext.len() + TAG);
    bytes.extend_from_slice(&clear);
    bytes.extend_from_slice(plaintext);
    let cipher = XChaCha20Poly1305::new(key.as_bytes().into());
    let tag = cipher
        .encrypt_in_place_detached(
            XNonce::from_slice(&header.nonce),
            &associated,
            &mut bytes[HEADER..],
        )
        .expect("a datagram is far below the cipher's limit");
    bytes.extend_from_slice(&tag);
    bytes
}

/// Opens a datagram whose header was read from the same bytes.
pub(crate) fn open(
    keys: &KeyRing,
    header: &Header,
    to: End,
    bytes: &[u8],
) -> Result<Vec<u8>, EnvelopeError> {
    let (clear, sealed) = bytes.split_at_checked(HEADER).ok_or(EnvelopeError::Malformed)?;
    let text_len = sealed.len().checked_sub(TAG).ok_or(EnvelopeError::Malformed)?;
    let (text, tag) = sealed.split_at(text_len);
    let mut associated = clear.to_vec();
    to.write(&mut associated);
    let (nonce, tag) = (XNonce::from_slice(&header.nonce), Tag::from_slice(tag));
    let open = |key: &Key| {
        let mut plaintext = text.to_vec();
        XChaCha20Poly1305::new(key.as_bytes().into())
            .decrypt_in_place_detached(nonce, &associated, &mut plaintext, tag)
            .ok()
            .map(|()| plaintext)
    };
    keys.candidates(header.key_id).find_map(open).ok_or(EnvelopeError::BadAuth)
}

#[cfg(test)]
mod tests;
