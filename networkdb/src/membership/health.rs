//! Local health (Lifeguard): a node that is slow or badly connected trusts itself less.

use std::time::Duration;

/// The score of a healthy node is 0; every sign of our own trouble adds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Health {
    score: u32,
    /// The last probes, the newest in the lowest bit; set where nobody answered in time.
    missed: u64,
    /// How many bits of it there are.
    probes: u32,
}

/// What came of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Its target answered, itself or through others.
    Answered,
    /// Nobody did.
    Missed,
}

impl Health {
    /// The worst score, as memberlist's.
    pub(crate) const WORST: u32 = 7;

    /// A probe of ours is over.
    pub(crate) fn note_probe(&mut self, outcome: Probe) {
        self.missed = self.missed << 1 | u64::from(outcome == Probe::Missed);
        self.probes = (self.probes + 1).min(u64::BITS);
    }

    /// Returns how many of the last probes there were, and how many nobody answered in time.
    pub(crate) fn probes(self) -> (u32, u32) {
        (self.probes, self.missed.count_ones())
    }

    /// A probe of ours failed, we were suspected, or a timer of ours came late.
    pub(crate) fn worsen(&mut self) {
        self.score = (self.score + 1).min(Self::WORST);
    }

    /// A probe of ours succeeded.
    pub(crate) fn mend(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// Stretches a delay by the score.
    pub(crate) fn stretch(self, delay: Duration) -> Duration {
        delay * (self.score + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_64_probes_are_counted() {
        let mut health = Health::default();
        assert_eq!(health.probes(), (0, 0));
        for outcome in [Probe::Missed, Probe::Answered, Probe::Missed] {
            health.note_probe(outcome);
        }
        assert_eq!(health.probes(), (3, 2));
        for _ in 0..63 {
            health.note_probe(Probe::Answered);
        }
        assert_eq!(health.probes(), (64, 1));
    }

    #[test]
    fn delays_grow_with_trouble_up_to_eight_times_and_shrink_again() {
        let second = Duration::from_secs(1);
        let mut health = Health::default();
        assert_eq!(health.stretch(second), second);
        for _ in 0..20 {
            health.worsen();
        }
        assert_eq!(health.stretch(second), second * 8);
        for _ in 0..20 {
            health.mend();
        }
        assert_eq!(health.stretch(second), second);
    }
}
