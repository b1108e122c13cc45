//! Local health (Lifeguard): a node that is slow or badly connected trusts itself less.

use std::time::Duration;

/// The score of a healthy node is 0; every sign of our own trouble adds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Health {
    score: u32,
}

impl Health {
    /// The worst score, as memberlist's.
    pub(crate) const WORST: u32 = 7;

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
