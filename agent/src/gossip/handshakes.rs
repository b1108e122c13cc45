//! Handshakes with callers that are under way: how many at once, of all and of one address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of all callers. A caller that says nothing holds its place for a handshake's timeout.
const MAX: usize = 64;
/// Of one address: a stranger does not keep members out by connections that it opens and leaves.
const OF_ONE_MAX: usize = 8;

/// The places.
#[derive(Debug, Clone)]
pub(super) struct Handshakes {
    slots: Arc<Semaphore>,
    callers: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Handshakes {
    pub(super) fn new() -> Self {
        Self { slots: Arc::new(Semaphore::new(MAX)), callers: Arc::default() }
    }

    /// Waits for a place; the next caller may be accepted then.
    pub(super) async fn slot(&self) -> OwnedSemaphorePermit {
        self.slots.clone().acquire_owned().await.expect("it is never closed")
    }

    /// Gives a caller its turn; `None` when too many of its address have theirs.
    pub(super) fn turn(&self, slot: OwnedSemaphorePermit, caller: IpAddr) -> Option<Turn> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = callers.entry(caller).or_default();
        if *count >= OF_ONE_MAX {
            return None;
        }
        *count += 1;
        Some(Turn { _slot: slot, caller, callers: self.callers.clone() })
    }
}

/// One handshake, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _slot: OwnedSemaphorePermit,
    caller: IpAddr,
    callers: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = callers.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                callers.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_address_has_a_few_places_and_gives_them_back() {
        let handshakes = Handshakes::new();
        let [stranger, member] = [[10, 0, 0, 9], [10, 0, 0, 1]].map(IpAddr::from);
        let mut turns = Vec::new();
        for _ in 0..OF_ONE_MAX {
            turns.push(handshakes.turn(handshakes.slot().await, stranger).unwrap());
        }
        assert!(handshakes.turn(handshakes.slot().await, stranger).is_none());
        assert!(handshakes.turn(handshakes.slot().await, member).is_some());
        turns.pop();
        assert!(handshakes.turn(handshakes.slot().await, stranger).is_some());
        turns.clear();
        assert!(handshakes.callers.lock().unwrap().is_empty());
        assert_eq!(handshakes.slots.available_permits(), MAX);
    }
}
