//! Which datagrams of a sender were seen.

use weft_api::Boot;

const WORDS: usize = 16;
/// How far behind the newest counter a datagram may arrive.
const WIDTH: u64 = WORDS as u64 * 64;

/// The window of one sender's boot. Another boot starts another window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Window {
    boot: Boot,
    /// One above the greatest counter seen; 0 when none was.
    top: u64,
    seen: [u64; WORDS],
}

impl Window {
    /// Takes note of a counter; false when it was seen before or is too old to tell.
    pub(crate) fn take(&mut self, boot: Boot, counter: u64) -> bool {
        if self.boot != boot {
            *self = Self { boot, ..Self::default() };
        }
        let Some(above) = counter.checked_add(1) else { return false };
        if above > self.top {
            let from = self.top.max(above.saturating_sub(WIDTH));
            for passed in from..above {
                self.set(passed, Seen::No);
            }
            self.top = above;
        } else if self.top - above >= WIDTH || self.is_set(counter) {
            return false;
        }
        self.set(counter, Seen::Yes);
        true
    }

    fn place(counter: u64) -> (usize, u64) {
        let slot = counter % WIDTH;
        (usize::try_from(slot / 64).unwrap_or(0), 1 << (slot % 64))
    }

    fn is_set(&self, counter: u64) -> bool {
        let (word, bit) = Self::place(counter);
        self.seen[word] & bit != 0
    }

    fn set(&mut self, counter: u64, seen: Seen) {
        let (word, bit) = Self::place(counter);
        match seen {
            Seen::Yes => self.seen[word] |= bit,
            Seen::No => self.seen[word] &= !bit,
        }
    }
}

#[derive(Clone, Copy)]
enum Seen {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const BOOT: Boot = Boot { counter: 1, nonce: 1 };

    #[test]
    fn a_datagram_is_taken_once_in_any_order() {
        let mut window = Window::default();
        for counter in [0, 5, 3, 4, 1, 2, 1000] {
            assert!(window.take(BOOT, counter), "{counter}");
            assert!(!window.take(BOOT, counter), "{counter} again");
        }
    }

    #[test]
    fn what_is_older_than_the_window_is_refused() {
        let mut window = Window::default();
        assert!(window.take(BOOT, WIDTH + 10));
        assert!(!window.take(BOOT, 10));
        assert!(window.take(BOOT, 11));
    }

    #[test]
    fn another_boot_starts_afresh() {
        let mut window = Window::default();
        assert!(window.take(BOOT, 7));
        assert!(window.take(Boot { counter: 2, nonce: 1 }, 7));
    }

    #[test]
    fn the_greatest_counter_does_not_overflow() {
        let mut window = Window::default();
        assert!(!window.take(BOOT, u64::MAX));
        assert!(window.take(BOOT, u64::MAX - 1));
    }

    proptest! {
        #[test]
        fn nothing_is_taken_twice(counters in prop::collection::vec(0_u64..4000, 0..500)) {
            let mut window = Window::default();
            let mut taken = BTreeSet::new();
            for counter in counters {
                if window.take(BOOT, counter) {
                    prop_assert!(taken.insert(counter));
                } else {
                    let newest = taken.last().copied().unwrap_or(0);
                    prop_assert!(taken.contains(&counter) || newest - counter >= WIDTH);
                }
            }
        }
    }
}
