//! foca's settings, and the outbox that is its runtime.

use std::collections::VecDeque;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Notification, OwnedNotification, PeriodicParams, Runtime, Timer};
use weft_api::NodeId;

use crate::config::Timing;
use crate::membership::identity::Identity;

/// Loss that dissemination is made for.
const LOSS: f64 = 0.3;
/// Chance that an update misses somebody at that loss.
const MISS: f64 = 1e-3;

/// How often an update is sent: `(ln N + ln(1/p)) / (1 - loss)`, rounded up. foca's own presets
/// miss members in small clusters.
pub(crate) fn max_transmissions(members: usize) -> NonZeroU8 {
    let n = f64::from(u32::try_from(members.max(1)).unwrap_or(u32::MAX));
    let wanted = ((n.ln() + (1.0 / MISS).ln()) / (1.0 - LOSS)).ceil();
    (1..=u8::MAX)
        .find(|tx| f64::from(*tx) >= wanted)
        .and_then(NonZeroU8::new)
        .unwrap_or(NonZeroU8::MAX)
}

/// How long a suspect has to refute: grows with the logarithm of the size.
pub(crate) fn suspicion(timing: &Timing, members: usize) -> Duration {
    let n = f64::from(u32::try_from(members.max(1)).unwrap_or(u32::MAX));
    timing.suspicion.mul_f64(n.log10().max(1.0))
}

const fn count(n: usize) -> NonZeroUsize {
    match NonZeroUsize::new(n) {
        Some(n) => n,
        None => NonZeroUsize::MIN,
    }
}

pub(crate) fn settings(timing: &Timing, packet: usize, members: usize) -> foca::Config {
    foca::Config {
        probe_period: timing.probe_period,
        probe_rtt: timing.probe_rtt,
        num_indirect_probes: count(3),
        max_transmissions: max_transmissions(members),
        suspect_to_down_after: suspicion(timing, members),
        // A Down is remembered for as long as the process lives; a return has a new renewal.
        remove_down_after: None,
        max_packet_size: count(packet),
        notify_down_members: true,
        periodic_announce: Some(PeriodicParams {
            frequency: Duration::from_secs(30),
            num_members: count(1),
        }),
        // Lost members are tried by stream: their boot may have changed meanwhile.
        periodic_announce_to_down_members: None,
        // Sends only while there are updates, so it costs nothing when all is quiet.
        periodic_gossip: Some(PeriodicParams {
            frequency: Duration::from_millis(200),
            num_members: count(3),
        }),
    }
}

/// foca's runtime: a place where it leaves what it wants.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) packets: VecDeque<(NodeId, Vec<u8>)>,
    pub(crate) timers: VecDeque<(Duration, Timer<Identity>)>,
    pub(crate) notifications: VecDeque<OwnedNotification<Identity>>,
}

impl Outbox {
    /// Tells whether a failed probe is among the notifications.
    pub(crate) fn probe_failed(&self) -> bool {
        self.notifications.iter().any(|n| matches!(n, OwnedNotification::ProbeFailed(..)))
    }
}

impl Runtime<Identity> for Outbox {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        let noise =
            matches!(notification, Notification::DataReceived(_) | Notification::DataSent(_));
        if !noise {
            self.notifications.push_back(notification.to_owned());
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.packets.push_back((to.node, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        self.timers.push_back((after, event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transmissions_follow_the_formula() {
        let expected = [(1, 10), (2, 11), (10, 14), (25, 15), (100, 17), (1000, 20)];
        for (members, transmissions) in expected {
            assert_eq!(max_transmissions(members).get(), transmissions, "{members}");
        }
    }
}
