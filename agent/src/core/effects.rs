//! What follows a commit: packets, answers, news.

use weft_networkdb::TableEvent;

use super::calls::Decision;
use super::{Core, News};
use crate::node::Output;

impl Core {
    pub(super) fn carry_out(&mut self, effect: Output) {
        match effect {
            Output::Persist(write) => self.writes.push(write),
            Output::Datagram { to, bytes } => {
                // A datagram that the socket does not take now is lost, as datagrams are.
                if self.udp.try_send_to(&bytes, to).is_err() {
                    self.count("datagrams_not_sent");
                }
            }
            Output::OpenStream { stream, to } => self.streams.open(stream, to),
            Output::StreamFrame { stream, bytes } => self.streams.send(stream, bytes),
            Output::CloseStream { stream } => self.streams.close(stream),
            Output::Table(event) => self.news.push(News::Table(event)),
            Output::Watch { id, event } => self.notify_watcher(id, event),
            Output::Member(event) => {
                tracing::info!(?event, "member changed");
                self.news.push(News::Member(event));
            }
            Output::Claim { id, outcome, asked } => {
                if let Some(waiting) = self.claims.remove(&id) {
                    drop(waiting.send(Decision { outcome, asked }));
                }
            }
            Output::Granted { ticket, result } => {
                if let Some(waiting) = self.tickets.remove(&ticket.0) {
                    drop(waiting.send(result));
                }
            }
            Output::Defined(definition) => self.news.push(News::Defined(definition)),
            Output::Deleted(network) => self.news.push(News::Deleted(network)),
            Output::Joined => self.answer_join(),
            Output::JoinFailed(refusal) => self.join_failed(refusal),
            Output::HandedOver(unacknowledged) => self.handed_over(&unacknowledged),
            Output::Left => self.left(),
            Output::Ready => {
                tracing::info!("facts are in step with every live member");
                self.news.push(News::Ready);
            }
            Output::RolledBack(reason) => self.rolled_back(reason),
            Output::Keys(ring) => self.use_keys(ring),
            Output::Alarm(alarm) => {
                tracing::warn!(%alarm, "alarm");
                *self.alarms.entry(alarm).or_default() += 1;
            }
            Output::Overflow(bound) => {
                tracing::warn!(%bound, "bound met");
                self.count(&format!("overflow_{bound}"));
            }
        }
    }

    /// Adds one to a counter of `weft status`.
    pub(super) fn count(&mut self, name: &str) {
        match self.counters.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(self.counters.insert(name.to_owned(), 1)),
        }
    }

    fn notify_watcher(&mut self, id: weft_networkdb::WatchId, event: TableEvent) {
        let Some(watcher) = self.watches.get(&id) else { return };
        if watcher.try_send(event).is_err() {
            // Too slow or gone: the channel's end tells the watcher that it missed something.
            self.watches.remove(&id);
            if let Some(node) = &mut self.node {
                node.with_db(std::time::Instant::now(), |db| db.unwatch(id));
            }
        }
    }
}
