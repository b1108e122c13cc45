//! A packet of foca's, taken apart before foca sees it.

use bytes::BufMut;
use foca::Codec;

use crate::membership::identity::{Identity, Record};
use crate::wire::codec::{self, CodecError, FocaCodec};

/// Why a packet is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PacketError {
    /// It does not decode.
    Codec(CodecError),
    /// It names another sender than the one it was authenticated for.
    OtherSender,
}

impl From<CodecError> for PacketError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

/// Header and updates.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) header: foca::Header<Identity>,
    pub(crate) updates: Vec<Record>,
}

impl Packet {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        let (header, mut at) = codec::decode_prefix(bytes)?;
        let mut updates = Vec::new();
        if let Some(count) = bytes.get(at..at + 2) {
            at += 2;
            for _ in 0..u16::from_be_bytes([count[0], count[1]]) {
                let rest = bytes.get(at..).unwrap_or_default();
                let (member, used) = codec::decode_prefix::<foca::Member<Identity>>(rest)?;
                updates.push(Record::from(&member));
                at += used;
            }
        }
        Ok(Self { header, updates })
    }

    pub(crate) fn write(&self) -> Result<Vec<u8>, CodecError> {
        let mut bytes = codec::encode(&self.header)?;
        bytes.put_u16(u16::try_from(self.updates.len()).unwrap_or(u16::MAX));
        for update in &self.updates {
            FocaCodec.encode_member(&foca::Member::from(update.clone()), &mut bytes)?;
        }
        Ok(bytes)
    }
}
