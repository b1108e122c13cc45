//! Messages that wait for the end of a drain, so that those for one peer share datagrams.

use std::collections::BTreeMap;

use weft_api::NodeId;

/// Encoded messages by receiver, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: BTreeMap<NodeId, Vec<Vec<u8>>>,
}

impl Outbox {
    pub(crate) fn push(&mut self, to: NodeId, message: Vec<u8>) {
        self.waiting.entry(to).or_default().push(message);
    }

    /// Takes one peer's messages, packed into plaintexts of at most `room` bytes.
    pub(crate) fn take(&mut self, room: usize) -> Option<(NodeId, Vec<Vec<u8>>)> {
        let (to, messages) = self.waiting.pop_first()?;
        let mut packed: Vec<Vec<u8>> = Vec::new();
        for message in messages {
            match packed.last_mut() {
                Some(last) if last.len() + message.len() <= room => last.extend(message),
                Some(_) | None => packed.push(message),
            }
        }
        Some((to, packed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_to_one_peer_share_datagrams_in_order() {
        let to = NodeId::from_bytes([1; 16]);
        let mut outbox = Outbox::default();
        for byte in 0..5 {
            outbox.push(to, vec![byte; 40]);
        }
        let (receiver, packed) = outbox.take(100).unwrap();
        assert_eq!(receiver, to);
        let lengths: Vec<usize> = packed.iter().map(Vec::len).collect();
        assert_eq!(lengths, [80, 80, 40]);
        assert_eq!((packed[0][0], packed[0][40], packed[2][0]), (0, 1, 4));
        assert!(outbox.take(100).is_none());
    }
}
