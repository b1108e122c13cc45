//! One operation at a time for each pod.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::pod::PodNetwork;

/// A pod, to locks: an old sandbox of it and a new one count as the same.
type Key = (String, String);

/// A lock, and how many hold it or wait for it.
#[derive(Debug, Default)]
struct Lock {
    users: usize,
    lock: Arc<tokio::sync::Mutex<()>>,
}

/// The locks of the pods something is being done for; there are none of the others.
#[derive(Clone, Debug, Default)]
pub(super) struct PodLocks {
    locks: Arc<Mutex<BTreeMap<Key, Lock>>>,
}

/// The right to work on a pod, until dropped.
#[derive(Debug)]
pub(super) struct PodGuard {
    // Released before the place, so that who comes next finds the lock there or free.
    _held: OwnedMutexGuard<()>,
    _place: Place,
}

/// A place among those who use a lock; given back also by one that stopped waiting.
#[derive(Debug)]
struct Place {
    key: Key,
    locks: PodLocks,
}

impl PodLocks {
    /// Waits until nobody else works on the pod.
    pub(super) async fn lock(&self, pod: &PodNetwork) -> PodGuard {
        let key = (pod.namespace.clone(), pod.name.clone());
        let lock = {
            let mut locks = self.map();
            let entry = locks.entry(key.clone()).or_default();
            entry.users += 1;
            entry.lock.clone()
        };
        let place = Place { key, locks: self.clone() };
        PodGuard { _held: lock.lock_owned().await, _place: place }
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<Key, Lock>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut locks = self.locks.map();
        if let Some(lock) = locks.get_mut(&self.key) {
            lock.users -= 1;
            if lock.users == 0 {
                locks.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn pod(namespace: &str, name: &str) -> PodNetwork {
        PodNetwork::new("", namespace, name, "id")
    }

    #[test]
    fn one_pod_is_locked_once_and_others_are_free() {
        let locks = PodLocks::default();
        let mut context = Context::from_waker(Waker::noop());
        let (one, other) = (pod("a_b", "c"), pod("a", "b_c"));
        let mut first = pin!(locks.lock(&one));
        let Poll::Ready(held) = first.as_mut().poll(&mut context) else { panic!("free") };
        let mut second = pin!(locks.lock(&one));
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(pin!(locks.lock(&other)).poll(&mut context).is_ready());
        drop(held);
        assert!(second.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn nothing_is_kept_of_pods_nobody_works_on() {
        let locks = PodLocks::default();
        let mut context = Context::from_waker(Waker::noop());
        let one = pod("ns", "web");
        {
            let mut first = pin!(locks.lock(&one));
            let Poll::Ready(held) = first.as_mut().poll(&mut context) else { panic!("free") };
            {
                let mut given_up = pin!(locks.lock(&one));
                assert!(given_up.as_mut().poll(&mut context).is_pending());
            }
            assert_eq!(locks.map().len(), 1);
            drop(held);
        }
        assert!(locks.map().is_empty());
    }
}
