//! Sets of seqs as ranges.

use serde::{Deserialize, Serialize};

/// A set of seqs: disjoint inclusive ranges, ascending, never adjacent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Tells whether `seq` is in the set.
    pub fn contains(&self, seq: u64) -> bool {
        let after = self.0.partition_point(|&(first, _)| first <= seq);
        after > 0 && self.0[after - 1].1 >= seq
    }

    /// Tells whether all of `first..=last` is in the set.
    pub(crate) fn spans(&self, first: u64, last: u64) -> bool {
        let after = self.0.partition_point(|&(start, _)| start <= first);
        after > 0 && self.0[after - 1].1 >= last
    }

    /// Adds `first..=last`.
    pub(crate) fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let start = self.0.partition_point(|&(_, end)| end.saturating_add(1) < first);
        let stop = self.0.partition_point(|&(begin, _)| begin <= last.saturating_add(1));
        let mut merged = (first, last);
        if start < stop {
            merged = (first.min(self.0[start].0), last.max(self.0[stop - 1].1));
        }
        self.0.splice(start..stop, [merged]);
    }

    /// Takes away what is at or next to `head` and returns the head that results.
    pub(crate) fn absorb(&mut self, mut head: u64) -> u64 {
        let mut taken = 0;
        for &(first, last) in &self.0 {
            if first > head.saturating_add(1) {
                break;
            }
            head = head.max(last);
            taken += 1;
        }
        self.0.drain(..taken);
        head
    }

    /// Counts the ranges.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether nothing is in the set.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the ranges.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Tells whether ranges from the wire are what this type promises.
    pub(crate) fn is_canonical(&self) -> bool {
        self.0.iter().all(|&(first, last)| first <= last)
            && self.0.windows(2).all(|pair| pair[0].1.saturating_add(1) < pair[1].0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_the_set_of_what_was_inserted(
            spans in proptest::collection::vec((1u64..60, 0u64..6), 0..20),
        ) {
            let mut ranges = Ranges::default();
            let mut model = BTreeSet::new();
            for (first, more) in spans {
                ranges.insert(first, first + more);
                model.extend(first..=first + more);
                prop_assert!(ranges.is_canonical());
            }
            for seq in 0..70 {
                prop_assert_eq!(ranges.contains(seq), model.contains(&seq));
            }
            let head = ranges.absorb(0);
            prop_assert_eq!(head, (1..).take_while(|seq| model.contains(seq)).count() as u64);
            prop_assert!(ranges.iter().all(|(first, _)| first > head + 1));
        }
    }
}
