//! The durable records of this node: keys and values in `Space::Ipam` of the store.

use serde::{Deserialize, Serialize};
use weft_api::{EndpointId, NodeId, Write};

use crate::codec;
use crate::message::TransferId;
use crate::output::Output;
use crate::space::Space;

/// A key. The tags are on disk: never change one, never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// How often this machine was started: u64.
    Boot,
    /// An address bound to an endpoint of this node: [`Bound`].
    Endpoint(Space, u128),
    /// From here to the value (u128), addresses of ours that have rested.
    Settled(Space, u128),
    /// From here to the value (u128), VNIs and blocks that were taken.
    Spent(Space, u128),
    /// What was granted to a node on its request: [`Donation`].
    Donation(NodeId, TransferId),
    /// A release that the owner has yet to carry out: the generation (u64).
    Release(Space, u128),
    /// A forgotten member whose heir this node is: nothing more to say.
    Inherited(NodeId),
    /// Where serial order has come to by allocations without an endpoint: [`Cursor`].
    Cursor(Space),
}

/// An address's endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bound {
    pub(crate) endpoint: EndpointId,
    /// Grows with each allocation of this node, so that serial order survives a restart.
    pub(crate) stamp: u64,
}

/// The last address given out, of those that this node knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    pub(crate) at: u128,
    /// As in [`Bound`], so that the later of the two is known after a restart.
    pub(crate) stamp: u64,
}

/// A grant, kept to answer a repeated request in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Donation {
    pub(crate) subject: Vec<u8>,
    pub(crate) delta: Vec<u8>,
}

impl Key {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Boot => vec![1],
            Self::Endpoint(space, at) => at_key(2, space, *at),
            Self::Settled(space, at) => at_key(3, space, *at),
            Self::Spent(space, at) => at_key(4, space, *at),
            Self::Donation(node, id) => {
                let mut bytes = vec![5];
                bytes.extend(node.as_bytes());
                bytes.extend(id.boot.to_be_bytes());
                bytes.extend(id.serial.to_be_bytes());
                bytes
            }
            Self::Release(space, at) => at_key(6, space, *at),
            Self::Cursor(space) => {
                let mut bytes = vec![7];
                bytes.extend(space.subject());
                bytes
            }
            Self::Inherited(node) => [&[8], node.as_bytes().as_slice()].concat(),
        }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        match *tag {
            1 => rest.is_empty().then_some(Self::Boot),
            2 => parse_at(rest).map(|(space, at)| Self::Endpoint(space, at)),
            3 => parse_at(rest).map(|(space, at)| Self::Settled(space, at)),
            4 => parse_at(rest).map(|(space, at)| Self::Spent(space, at)),
            5 => {
                let (node, rest) = rest.split_first_chunk::<16>()?;
                let (boot, rest) = rest.split_first_chunk::<8>()?;
                let serial = u64::from_be_bytes(rest.try_into().ok()?);
                let id = TransferId { boot: u64::from_be_bytes(*boot), serial };
                Some(Self::Donation(NodeId::from_bytes(*node), id))
            }
            6 => parse_at(rest).map(|(space, at)| Self::Release(space, at)),
            7 => Space::from_subject(rest).map(Self::Cursor),
            8 => Some(Self::Inherited(NodeId::from_bytes(rest.try_into().ok()?))),
            _ => None,
        }
    }

    /// Sets the record.
    pub(crate) fn put<T: Serialize>(&self, value: &T) -> Output {
        self.write(Some(codec::encode(value)))
    }

    /// Removes the record.
    pub(crate) fn remove(&self) -> Output {
        self.write(None)
    }

    fn write(&self, value: Option<Vec<u8>>) -> Output {
        Output::Persist(Write { space: weft_api::Space::Ipam, key: self.bytes(), value })
    }
}

fn at_key(tag: u8, space: &Space, at: u128) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(space.subject());
    bytes.extend(at.to_be_bytes());
    bytes
}

/// Reads a space and an integer: the subject of an allocation's fact, and the tail of most keys.
pub(crate) fn parse_at(bytes: &[u8]) -> Option<(Space, u128)> {
    let (space, rest) = Space::split(bytes)?;
    let at = u128::from_be_bytes(rest.try_into().ok()?);
    let (low, high) = space.bounds();
    (low..=high).contains(&at).then_some((space, at))
}

/// The subject of an allocation's fact.
pub(crate) fn allocation_subject(space: &Space, at: u128) -> Vec<u8> {
    let mut bytes = space.subject();
    bytes.extend(at.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_api::NetworkId;

    #[test]
    fn keys_read_back() {
        let network = NetworkId::from_bytes([3; 16]);
        let space = Space::Subnet { network, pool: "10.0.0.0/24".parse().unwrap() };
        let id = TransferId { boot: 1, serial: 2 };
        for key in [
            Key::Boot,
            Key::Endpoint(space, 2),
            Key::Settled(space, 0),
            Key::Spent(Space::Vni, 8_388_608),
            Key::Donation(NodeId::from_bytes([9; 16]), id),
            Key::Release(space, 255),
            Key::Cursor(space),
            Key::Inherited(NodeId::from_bytes([8; 16])),
        ] {
            assert_eq!(Key::parse(&key.bytes()), Some(key));
        }
        assert_eq!(Key::parse(&Key::Release(space, 256).bytes()), None);
        assert_eq!(Key::parse(&[7]), None);
        assert_eq!(Key::parse(&[8]), None);
        assert_eq!(Key::parse(&[9]), None);
    }
}
