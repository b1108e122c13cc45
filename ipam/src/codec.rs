//! The one place that turns values into bytes: bincode 2, standard configuration, bounded.

use serde::{Serialize, de::DeserializeOwned};

/// The most bytes one value may ask for: a /16 owned address by address takes a tenth of it.
const BYTES_MAX: usize = 8 << 20;

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .expect("plain data always encodes")
}

/// `None` when the bytes are not exactly one value.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let config = bincode::config::standard().with_limit::<BYTES_MAX>();
    let (value, used) = bincode::serde::decode_from_slice(bytes, config).ok()?;
    (used == bytes.len()).then_some(value)
}
