//! The one place that knows how a value becomes bytes: bincode 2, standard configuration
//! (little endian, variable-length integers), with a limit on what is read.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bytes::{Buf, BufMut};
use serde::{Serialize, de::DeserializeOwned};

use crate::membership::identity::Identity;

/// No value that is read may claim more bytes than this.
const LIMIT: usize = 2 << 20;

const CONFIG: Configuration<LittleEndian, Varint, Limit<LIMIT>> =
    bincode::config::standard().with_limit::<LIMIT>();

/// Bytes that are no value of the type asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("undecodable: {0}")]
pub(crate) struct CodecError(String);

/// Encodes a value. Fails for values above the limit only.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, CONFIG).map_err(|e| CodecError(e.to_string()))
}

/// Decodes a value that fills `bytes` to the last one.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = decode_prefix(bytes)?;
    if used == bytes.len() {
        Ok(value)
    } else {
        Err(CodecError(format!("{} bytes too many", bytes.len() - used)))
    }
}

/// Decodes a value from the front of `bytes` and says how many bytes it took.
pub(crate) fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), CodecError> {
    bincode::serde::decode_from_slice(bytes, CONFIG).map_err(|e| CodecError(e.to_string()))
}

/// foca's headers and members in the same encoding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FocaCodec;

fn put<T: Serialize>(value: &T, mut buf: impl BufMut) -> Result<(), CodecError> {
    let bytes = encode(value)?;
    // foca takes an error as "this packet is full"; put_slice would panic instead.
    if bytes.len() > buf.remaining_mut() {
        return Err(CodecError("the packet is full".to_owned()));
    }
    buf.put_slice(&bytes);
    Ok(())
}

fn take<T: DeserializeOwned>(mut buf: impl Buf) -> Result<T, CodecError> {
    let (value, used) = decode_prefix(buf.chunk())?;
    buf.advance(used);
    Ok(value)
}

impl foca::Codec<Identity> for FocaCodec {
    type Error = CodecError;

    fn encode_header(
        &mut self,
        header: &foca::Header<Identity>,
        buf: impl BufMut,
    ) -> Result<(), CodecError> {
        put(header, buf)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<foca::Header<Identity>, CodecError> {
        take(buf)
    }

    fn encode_member(
        &mut self,
        member: &foca::Member<Identity>,
        buf: impl BufMut,
    ) -> Result<(), CodecError> {
        put(member, buf)
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<foca::Member<Identity>, CodecError> {
        take(buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_the_bytes_do_not_hold_is_refused() {
        let huge = [253, 255, 255, 255, 255, 255, 255, 255, 255];
        assert!(decode::<Vec<u64>>(&huge).is_err());
        assert!(decode::<String>(&huge).is_err());
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&7_u64).unwrap();
        bytes.push(0);
        assert!(decode::<u64>(&bytes).is_err());
        assert_eq!(decode_prefix::<u64>(&bytes).unwrap(), (7, 1));
    }
}
