//! Maps from intervals of integers to values, kept canonical: no two neighbours carry one value.

use std::collections::BTreeMap;

/// What an interval map holds where it holds anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IntervalMap<V> {
    spans: BTreeMap<u128, (u128, V)>,
}

/// A set of integers.
pub(crate) type IntervalSet = IntervalMap<()>;

impl<V> Default for IntervalMap<V> {
    fn default() -> Self {
        Self { spans: BTreeMap::new() }
    }
}

impl<V: Clone + Eq> IntervalMap<V> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u128, u128, &V)> {
        self.spans.iter().map(|(&low, (high, value))| (low, *high, value))
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// How many integers have a value; saturates.
    pub(crate) fn total(&self) -> u128 {
        self.iter().map(|(low, high, _)| width(low, high)).fold(0, u128::saturating_add)
    }

    pub(crate) fn get(&self, at: u128) -> Option<&V> {
        let (_, (high, value)) = self.spans.range(..=at).next_back()?;
        (*high >= at).then_some(value)
    }

    /// The intervals that lie in `low..=high`, cut to it.
    pub(crate) fn within(&self, low: u128, high: u128) -> impl Iterator<Item = (u128, u128, &V)> {
        let start = self.start_of(low).unwrap_or(low);
        // An inverted interval holds nothing; the map's own range would panic on it.
        let end = high.max(start);
        self.spans
            .range(start..=end)
            .filter(move |_| low <= high)
            .map(move |(&l, (h, value))| (l.max(low), (*h).min(high), value))
    }

    /// Sets `low..=high` to `value`.
    pub(crate) fn set(&mut self, low: u128, high: u128, value: V) {
        if low > high {
            return;
        }
        self.clear(low, high);
        let (mut first, mut last) = (low, high);
        if let Some((&l, (h, v))) = self.spans.range(..low).next_back()
            && h.checked_add(1) == Some(low)
            && *v == value
        {
            first = l;
        }
        if let Some(next) = high.checked_add(1)
            && let Some((h, v)) = self.spans.get(&next)
            && *v == value
        {
            last = *h;
            self.spans.remove(&next);
        }
        self.spans.insert(first, (last, value));
    }

    /// Takes the values of `low..=high` away.
    pub(crate) fn clear(&mut self, low: u128, high: u128) {
        if low > high {
            return;
        }
        let start = self.start_of(low).unwrap_or(low);
        let hit: Vec<u128> = self.spans.range(start..=high).map(|(&l, _)| l).collect();
        for l in hit {
            let Some((h, value)) = self.spans.remove(&l) else { continue };
            if l < low {
                self.spans.insert(l, (low - 1, value.clone()));
            }
            if h > high {
                self.spans.insert(high + 1, (h, value));
            }
        }
    }

    /// The whole intervals that overlap or adjoin `low..=high`.
    pub(crate) fn touching(&self, low: u128, high: u128) -> Vec<(u128, u128)> {
        let (low, high) = (low.saturating_sub(1), high.saturating_add(1));
        let start = self.start_of(low).unwrap_or(low);
        self.spans.range(start..=high).map(|(&l, (h, _))| (l, *h)).collect()
    }

    /// The first integer of `low..=high` that has a value.
    pub(crate) fn first_in(&self, low: u128, high: u128) -> Option<u128> {
        self.within(low, high).next().map(|(l, _, _)| l)
    }

    fn start_of(&self, at: u128) -> Option<u128> {
        let (&low, (high, _)) = self.spans.range(..=at).next_back()?;
        (*high >= at).then_some(low)
    }
}

/// How many integers lie in `low..=high`; saturates.
pub(crate) fn width(low: u128, high: u128) -> u128 {
    (high - low).saturating_add(1)
}

/// The parts of `low..=high` that are in none of `holes`.
pub(crate) fn complement(low: u128, high: u128, holes: &IntervalSet) -> Vec<(u128, u128)> {
    let mut left = IntervalSet::default();
    left.set(low, high, ());
    for (l, h, ()) in holes.within(low, high) {
        left.clear(l, h);
    }
    left.iter().map(|(l, h, ())| (l, h)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_interval_map_equals_one_value_per_integer(
            ops in prop::collection::vec((0u128..40, 0u128..12, prop::option::of(0u8..3)), 0..40),
        ) {
            let mut map = IntervalMap::default();
            let mut model: BTreeMap<u128, u8> = BTreeMap::new();
            for (low, more, value) in ops {
                let high = low + more;
                match value {
                    Some(v) => map.set(low, high, v),
                    None => map.clear(low, high),
                }
                for at in low..=high {
                    match value {
                        Some(v) => model.insert(at, v),
                        None => model.remove(&at),
                    };
                }
                for at in 0..60 {
                    prop_assert_eq!(map.get(at), model.get(&at));
                }
                prop_assert_eq!(map.total(), model.len() as u128);
                let spans: Vec<_> = map.iter().map(|(l, h, v)| (l, h, *v)).collect();
                for pair in spans.windows(2) {
                    let adjoin = pair[0].1 + 1 == pair[1].0;
                    prop_assert!(pair[0].1 < pair[1].0 && !(adjoin && pair[0].2 == pair[1].2));
                }
                let cut: Vec<_> = map.within(7, 21).flat_map(|(l, h, _)| l..=h).collect();
                let same: Vec<_> = model.range(7..=21).map(|(at, _)| *at).collect();
                prop_assert_eq!(cut, same);
            }
        }
    }

    #[test]
    fn the_greatest_integer_is_an_ordinary_one() {
        let mut set = IntervalSet::default();
        set.set(0, u128::MAX, ());
        assert_eq!(set.total(), u128::MAX);
        set.clear(u128::MAX, u128::MAX);
        assert_eq!(set.first_in(u128::MAX, u128::MAX), None);
        set.set(u128::MAX, u128::MAX, ());
        assert_eq!(set.touching(u128::MAX, u128::MAX), [(0, u128::MAX)]);
    }
}
