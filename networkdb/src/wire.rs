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

use crate::membership::join::JoinMessage;

/// The protocol's version: the first byte of every datagram and of every frame.
pub(crate) const VERSION: u8 = 1;

/// One message between two members. The order of the variants is on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// A packet of the membership protocol (SWIM), in its own encoding.
    Membership(Vec<u8>),
    /// Hellos, member lists, leaves.
    Join(JoinMessage),
    /// A message of another part of the agent.
    App { channel: u8, bytes: Vec<u8> },
}
