//! What travels between members: messages, the envelope of datagrams, the frames of streams.
//!
//! A datagram is an [`envelope`] around one or more messages of one sender. A frame is the
//! version byte and one message; the stream it travels on is authenticated by the caller.

pub(crate) mod codec;
pub(crate) mod envelope;
pub(crate) mod outbox;
pub(crate) mod replay;
pub(crate) mod streams;

use serde::{Deserialize, Serialize};

use crate::keys::KeysMessage;
use crate::membership::join::JoinMessage;
use crate::{claims, sync};

/// The protocol's version: the first byte of every datagram and of every frame.
pub(crate) const VERSION: u8 = 1;

/// One message between two members. The order of the variants is on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// A packet of the membership protocol (SWIM), in its own encoding.
    Membership(Vec<u8>),
    /// Hellos, member lists, leaves.
    Join(JoinMessage),
    /// Entries, attachments and facts.
    Sync(sync::Message),
    /// Claims.
    Claims(claims::Message),
    /// A message of another part of the agent.
    App { channel: u8, bytes: Vec<u8> },
    /// Keys. On streams only.
    Keys(KeysMessage),
}

impl Message {
    /// The frame of a stream: the version, then the message.
    pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(body.len() + 1);
        frame.push(VERSION);
        frame.extend_from_slice(body);
        frame
    }
}

#[cfg(test)]
mod tests;
