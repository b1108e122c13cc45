//! A digest of all that was put out: equal for equal runs, in any process.

use std::time::Duration;

/// FNV-1a over bytes, hosts and times.
#[derive(Debug)]
pub(super) struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    pub(super) fn add(&mut self, host: usize, at: Duration, bytes: &[u8]) {
        self.bytes(&(host as u64).to_le_bytes());
        self.bytes(&at.as_nanos().to_le_bytes());
        self.bytes(bytes);
    }

    pub(super) fn digest(&self) -> u64 {
        self.0
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
