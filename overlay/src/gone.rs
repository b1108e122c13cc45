//! Addresses that nobody has any more, and the MACs they had.
//!
//! Endpoints remember the MAC of whom they spoke to for up to a minute. An address that comes back
//! with another one, as that of a restarted container does, has to be announced to them. There is
//! no clock here: what went first is forgotten first, once there are too many.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weft_api::Mac;

use crate::peer_db::SegmentIndex;

/// So many addresses are remembered a network. Who returns after as many others went is not
/// announced, and is found when the endpoints' own entries have run out.
pub(crate) const GONE_MAX: usize = 1024;

/// The MACs by address, and the addresses in the order in which they went.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    macs: BTreeMap<(SegmentIndex, IpAddr), (u64, Mac)>,
    order: BTreeMap<u64, (SegmentIndex, IpAddr)>,
    next: u64,
}

impl Gone {
    /// Remembers what an address had.
    pub(crate) fn put(&mut self, key: (SegmentIndex, IpAddr), mac: Mac) {
        self.take(key);
        if self.macs.len() >= GONE_MAX
            && let Some((_, first)) = self.order.pop_first()
        {
            self.macs.remove(&first);
        }
        self.macs.insert(key, (self.next, mac));
        self.order.insert(self.next, key);
        self.next += 1;
    }

    /// Returns what an address had, and forgets it.
    pub(crate) fn take(&mut self, key: (SegmentIndex, IpAddr)) -> Option<Mac> {
        let (number, mac) = self.macs.remove(&key)?;
        self.order.remove(&number);
        Some(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> (SegmentIndex, IpAddr) {
        (0, std::net::Ipv4Addr::from_bits(u32::try_from(n).unwrap()).into())
    }

    fn mac(n: u8) -> Mac {
        Mac::from_bytes([2, 0, 0, 0, 0, n])
    }

    #[test]
    fn what_went_last_is_taken_once() {
        let mut gone = Gone::default();
        gone.put(key(1), mac(1));
        gone.put(key(1), mac(2));
        assert_eq!((gone.macs.len(), gone.order.len()), (1, 1));
        assert_eq!(gone.take(key(1)), Some(mac(2)));
        assert_eq!(gone.take(key(1)), None);
    }

    #[test]
    fn what_went_first_is_forgotten_first() {
        let mut gone = Gone::default();
        for n in 0..GONE_MAX {
            gone.put(key(n), mac(1));
        }
        gone.put(key(0), mac(2));
        gone.put(key(GONE_MAX), mac(3));
        assert_eq!((gone.macs.len(), gone.order.len()), (GONE_MAX, GONE_MAX));
        assert_eq!(gone.take(key(1)), None, "the first but for the one that went again");
        assert_eq!(gone.take(key(0)), Some(mac(2)));
        assert_eq!(gone.take(key(GONE_MAX)), Some(mac(3)));
    }
}
